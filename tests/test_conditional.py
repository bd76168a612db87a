"""Laws of a conditional model that no law of all models says: p(z|x), q(z|x, y), and what becomes of checkpoints."""

import math

import pytest
import torch
from fairseq.models.transformer import TransformerEncoderBase
from helpers import EVERY_INJECTION, GIVEN, PRIORS, SENTENCES, B, Z, bart, batch, criterion, model
from test_model import one_update
from torch.distributions import Independent, Normal, kl_divergence

from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.context import Context
from fairseq_vae.latent.distributions import Gaussian, rate
from fairseq_vae.latent.posterior import LOGVAR_BOUND
from fairseq_vae.measure.metrics import mutual_information
from fairseq_vae.validation import latent_statistics, mi, mi_cap

SELF = f"self-attention{GIVEN}"
CROSS = [injection for injection in EVERY_INJECTION if "cross-attention" in injection]
OTHERS = [[3, 1, 4], [1, 5, 9, 2], [6], [5, 3, 5, 8, 9], [7, 9]]  # sources, one for each of SENTENCES


def pairs(sources=OTHERS, targets=SENTENCES, **options):
    """A batch of sources and targets."""
    source, target = batch(sources, **options), batch(targets)
    names = ("src_tokens", "src_lengths")
    net_input = {**target["net_input"], **{name: source["net_input"][name] for name in names}}
    return {**target, "net_input": net_input}


def losses(built, sample, eps):
    with torch.no_grad():
        return built(**sample["net_input"], eps=eps, target=sample["target"])


@pytest.mark.parametrize("injection", EVERY_INJECTION)
def test_with_sources_of_no_token_and_a_standard_prior_it_is_the_vae(injection):
    vae, cvae = model(injection, std=0.3), model(f"{injection}{GIVEN}", std=0.3, latent_prior="standard")
    own = cvae.state_dict()
    for key, value in vae.state_dict().items():
        place = own[key][..., : value.size(-1)] if "encoder.posterior" in key and value.dim() > 1 else own[key]
        place.copy_(value)
    eps, sample = torch.randn(B, Z), batch(SENTENCES)
    empty = {**sample["net_input"], "src_tokens": torch.empty(B, 0, dtype=torch.long), "src_lengths": torch.zeros(B)}
    one, other = losses(vae, sample, eps), losses(cvae, {**sample, "net_input": empty}, eps)
    torch.testing.assert_close(one.nll_rows, other.nll_rows, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.rate, other.rate, rtol=1e-5, atol=1e-5)
    assert one.rate.min() > 1e-3 and one.nll_rows.min() > 1
    loss, _, _ = criterion()(vae, sample)
    torch.testing.assert_close(criterion()(cvae, {**sample, "net_input": empty})[0], loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("flags", [{}, {"target_encoder": "copy"}, {"target_encoder_layers": 1}])
def test_the_decoder_sees_the_target_through_z_alone(flags):
    """The z of another target, given as such, has what that target's own pass gives the decoder."""
    built, sample, eps = model(SELF, std=0.3, **flags), pairs(), torch.randn(B, Z)
    source, words = sample["net_input"]["src_tokens"], sample["net_input"]["prev_output_tokens"]
    found = []
    for target in (sample["target"], pairs(targets=SENTENCES[1:] + SENTENCES[:1])["target"]):
        with torch.no_grad():
            read = built.encoder(source, target=target, eps=eps)
            z = built.encoder.infer(source, target=target).rsample(eps)
            given = built.encoder(source, z=z)
            assert read["encoder_out"][0].equal(given["encoder_out"][0])
            assert read["encoder_padding_mask"][0].equal(given["encoder_padding_mask"][0])
            logits, right = (built.decoder(words, encoder_out=out)[0] for out in (read, given))
        assert logits.equal(right)
        found.append(logits)
    assert (found[0] - found[1]).abs().amax((1, 2)).min() > 1e-3, "z differs"


def test_the_rate_is_the_kl_of_two_gaussians_of_each_source():
    built = model(SELF, std=0.3)
    found = losses(built, pairs(), torch.randn(B, Z))
    q, p = (Independent(Normal(g.mu, (0.5 * g.logvar).exp()), 1) for g in (found.posterior, found.prior))
    torch.testing.assert_close(found.rate.sum(1), kl_divergence(q, p), rtol=1e-4, atol=1e-5)
    assert found.prior.mu.std(0).min() > 1e-3, "each source has a prior of its own"


def test_the_prior_begins_as_the_standard_normal_and_is_bounded():
    built = model(SELF)
    context = built.encoder.context(pairs()["net_input"]["src_tokens"])
    prior = built.encoder.prior(context)
    assert prior.mu.eq(0).all() and prior.logvar.eq(0).all()
    with torch.no_grad():
        built.encoder.prior.logvar.bias.fill_(1e6)
    assert built.encoder.prior(context).logvar.max() <= LOGVAR_BOUND


@pytest.mark.parametrize("injection", EVERY_INJECTION)
def test_rows_depend_on_their_own_source_and_target_alone(injection):
    built, eps = model(f"{injection}{GIVEN}", std=0.3), torch.randn(B, Z)
    expected = losses(built, pairs(), eps)
    order = [3, 0, 4, 1, 2]
    variants = {
        "permuted": (pairs([OTHERS[i] for i in order], [SENTENCES[i] for i in order]), order),
        "alone": (pairs([OTHERS[1]], [SENTENCES[1]]), [1]),
        "padded": (pairs(extra_padding=4), range(B)),
        "padded on the left": (pairs(left_pad=True, extra_padding=2), range(B)),
    }
    for what, (sample, places) in variants.items():
        found = losses(built, sample, eps[list(places)])
        for name in ("nll_rows", "rate"):
            wanted = getattr(expected, name)[list(places)]
            torch.testing.assert_close(getattr(found, name), wanted, rtol=1e-4, atol=2e-5, msg=f"{what}: {name}")
    changed = losses(built, pairs(OTHERS[1:] + OTHERS[:1]), eps)
    assert (changed.nll_rows - expected.nll_rows).abs().min() > 1e-3, "the source counts"


def test_a_target_that_begins_with_its_mark_is_read_once():
    """As the targets of stock denoising do, behind <s>."""
    built, sample = model(SELF, std=0.3), pairs()
    marked = torch.cat((torch.zeros(B, 1, dtype=torch.long), sample["target"]), dim=1)
    source = sample["net_input"]["src_tokens"]
    one, other = (built.encoder.infer(source, target=target) for target in (sample["target"], marked))
    torch.testing.assert_close(one.mu, other.mu, rtol=1e-4, atol=1e-5)
    without = built(**sample["net_input"])[1]["posterior"]
    torch.testing.assert_close(one.mu, without.mu, msg="a decoder's input has the target, too")


def test_without_a_target_z_is_the_priors():
    built, source = model(SELF, std=0.3), pairs()["net_input"]["src_tokens"]
    prior = built.encoder.prior(built.encoder.context(source))
    found, eps = built.encoder(source)["vae"], torch.randn(B, Z)
    assert found.z.equal(prior.mu) and found.posterior is None
    assert built.encoder(source, prior_eps=eps)["vae"].z.equal(prior.rsample(eps))
    with pytest.raises(InputError, match="there is no target"):
        built.encoder.infer(source)


def test_a_copy_of_the_encoder_begins_as_it_and_learns_by_itself():
    shared, copy = model(SELF), model(SELF, target_encoder="copy")
    state = bart().state_dict()
    for built in (shared, copy):
        built.load_state_dict(dict(state))
    key = "layers.1.fc1.weight"
    own = copy.state_dict()
    assert own[f"encoder.target_encoder.{key}"].equal(state[f"encoder.{key}"])
    target = pairs()["target"]
    for one, other in zip(shared.encoder.target_states(target), copy.encoder.target_states(target)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    changed, _ = one_update(copy)
    assert {f"encoder.{key}", f"encoder.target_encoder.{key}"} <= changed
    own = copy.state_dict()
    assert not own[f"encoder.target_encoder.{key}"].equal(own[f"encoder.{key}"])
    assert copy.encoder.target_encoder.embed_tokens is copy.encoder.embed_tokens


def test_a_copy_keeps_the_layer_norm_at_the_end_of_an_encoder_that_has_one():
    flags = {"encoder_normalize_before": True, "decoder_normalize_before": True}
    copy, state = model(SELF, target_encoder="copy", **flags), bart(**flags).state_dict()
    state["encoder.layer_norm.weight"].fill_(3)
    copy.load_state_dict(dict(state))
    assert copy.encoder.target_encoder.layer_norm.weight.eq(3).all()
    again = model(SELF, target_encoder="copy", **flags)
    saved = {key: value for key, value in copy.state_dict().items() if "version" not in key}  # as averages leave it
    again.load_state_dict(dict(saved))
    assert again.encoder.target_encoder.layer_norm.weight.eq(3).all()


@pytest.mark.parametrize("target_encoder", ["shared", "copy"])
@pytest.mark.parametrize("normalize_before", [False, True])
def test_a_target_is_read_by_as_many_layers_as_asked(target_encoder, normalize_before):
    """The oracle is the state that fairseq's own forward gives behind each layer."""
    flags = {name: normalize_before for name in ("encoder_normalize_before", "decoder_normalize_before")}
    built = model(SELF, target_encoder=target_encoder, target_encoder_layers=1, **flags)
    built.load_state_dict(dict(bart(**flags).state_dict()))
    tokens = torch.cat((torch.zeros(B, 1, dtype=torch.long), pairs()["target"]), dim=1)
    stock = TransformerEncoderBase.forward(built.encoder, tokens, return_all_hiddens=True)
    _, first, last = stock["encoder_states"]
    expected = built.encoder.layer_norm(first) if normalize_before else first
    found, padding_mask = built.encoder.target_states(pairs()["target"])
    torch.testing.assert_close(found, expected)
    assert padding_mask.equal(stock["encoder_padding_mask"][0]) and not found.allclose(last)
    whole = built.encoder.states(tokens)[0]
    torch.testing.assert_close(whole, stock["encoder_out"][0], msg="a source is read by all of them")
    own = [name for name in built.state_dict() if name.startswith("encoder.target_encoder.layers.")]
    assert bool(own) == (target_encoder == "copy") and all(".layers.0." in name for name in own)


@pytest.mark.parametrize("layers", [-1, 3])
def test_layers_that_an_encoder_lacks_are_refused(layers):
    with pytest.raises(InputError, match=f"^--target-encoder-layers {layers}: expected 0, for all, or 1 to 2, "):
        model(SELF, target_encoder_layers=layers)


def test_pruning_beside_an_encoder_of_targets_is_refused_as_fairseq_would_prune_that_too():
    with pytest.raises(InputError, match="^--target-encoder copy: with --encoder-layers-to-keep 0,1 fairseq drops the"):
        model(SELF, target_encoder="copy", encoder_layers_to_keep="0,1")


def test_layers_that_are_dropped_in_training_are_dropped_of_a_target_too():
    built = model(SELF, encoder_layerdrop=1.0, target_encoder_layers=1).train()
    states, _ = built.encoder.target_states(pairs()["target"])
    tokens = torch.cat((torch.zeros(B, 1, dtype=torch.long), pairs()["target"]), dim=1)
    embedded = TransformerEncoderBase.forward(built.encoder, tokens, return_all_hiddens=True)["encoder_states"][0]
    torch.testing.assert_close(states, embedded)


@pytest.mark.parametrize("target_encoder", ["shared", "copy"])
@pytest.mark.parametrize("layers", [0, 1])
def test_every_network_learns(target_encoder, layers):
    flags = {"target_encoder": target_encoder, "target_encoder_layers": layers}
    built = model(SELF, std=0.3, latent_pooling="attention", **flags)
    changed, before = one_update(built)
    assert all(name.endswith("k_proj.bias") for name in set(before) - changed)  # softmax does not see them


def test_zero_latent_is_bart_with_slots():
    built, sample = model(SELF, std=0.3, zero_latent=True), pairs()
    with torch.no_grad():
        logits, extra = built(**sample["net_input"], eps=torch.randn(B, Z))
        given, _ = built(**sample["net_input"], z=torch.randn(B, Z))
        other, _ = built(**pairs(OTHERS[::-1])["net_input"])
    assert logits.equal(given) and not logits.equal(other), "the source alone reaches the decoder"
    assert extra["posterior"].kl(extra["vae"].prior).eq(0).all()
    changed, before = one_update(built)
    idle = {name for name in before if name.startswith(("encoder.posterior", "encoder.prior"))}
    slots = {"encoder.memory.project.weight"}  # of z = 0
    assert all(name.endswith("k_proj.bias") for name in set(before) - changed - idle - slots)
    assert not idle & changed


def test_checkpoints_load_where_that_makes_sense():
    cvae, same = model(SELF, std=0.3), model(SELF)
    same.load_state_dict(dict(cvae.state_dict()))
    assert all(value.equal(cvae.state_dict()[key]) for key, value in same.state_dict().items())
    copy = model(SELF, target_encoder="copy", target_encoder_layers=1)
    standard = model(SELF, latent_prior="standard", std=0.3)
    began = model(SELF)
    began.load_state_dict(dict(standard.state_dict()))
    assert all(value.equal(began.state_dict()[key]) for key, value in standard.state_dict().items())
    refused = {
        ".*look at --latent-prior": (cvae, model(SELF, latent_prior="standard")),
        "a bart_vae, not a bart_cvae": (model(), cvae),
        "a bart_cvae, not a bart_vae": (cvae, model()),
        ".*look at --target-encoder, --target-encoder-layers": (copy, model(SELF, target_encoder="copy")),
    }
    for reason, (there, here) in refused.items():
        with pytest.raises(InputError, match=f"^the checkpoint is of another architecture: {reason}.* same --arch$"):
            here.load_state_dict(dict(there.state_dict()))


@pytest.mark.parametrize("flags", [{}, {"zero_latent": True}])
def test_a_copy_may_begin_as_a_trained_encoder(flags):
    """What the encoder of both has learned of targets, its copy goes on with: the posterior stays."""
    there, here = model(SELF, std=0.3, **flags), model(SELF, target_encoder="copy")
    here.load_state_dict(dict(there.state_dict()))
    for one, other in zip(
        there.encoder.target_states(pairs()["target"]), here.encoder.target_states(pairs()["target"])
    ):
        torch.testing.assert_close(one, other)
    if not flags:
        sample = pairs()["net_input"]["src_tokens"], None, pairs()["target"]
        one, other = (built.encoder.distributions(*sample)[0] for built in (there, here))
        torch.testing.assert_close(one.mu, other.mu)


@pytest.mark.parametrize(
    "injection, flags, message",
    [
        ("self-attention", {"latent_prior": "conditional"}, "--latent-prior conditional .* give --arch bart_cvae$"),
        (SELF, PRIORS["vamp"], "--latent-prior vamp: its pseudo-inputs"),
        (SELF, {"no_cross_attention": True}, "--no-cross-attention: bart_cvae's decoder reads the source by it"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(injection, flags, message):
    with pytest.raises(InputError, match=message):
        model(injection, **flags)


@pytest.mark.parametrize("name", sorted(set(PRIORS) - {"vamp"}))
@pytest.mark.parametrize("size", [1, 2, 3])
def test_without_a_target_z_is_the_priors_mean(name, size):
    """Of each source, or of one prior for all."""
    flags = {"latent_vectors": 2, "latent_pooling": "attention"} if name == "layer-wise" else {}
    built = model(SELF, **{**flags, **PRIORS[name]}, std=0.3)
    given = {key: value[:size] for key, value in pairs()["net_input"].items() if key.startswith("src")}
    with torch.no_grad():
        found, mean = built.encoder(**given)["vae"].z, built.encoder.prior(built.encoder.context(**given)).mean
    assert found.shape == (size, built.encoder.prior.dim)
    torch.testing.assert_close(found, mean.expand(size, -1))


def test_the_prior_without_a_source_says_so():
    with pytest.raises(InputError, match="give sources"):
        model(SELF).encoder.prior()


def test_a_mirrored_slot_is_the_sentences_and_not_the_sources():
    built = model(f"cross-attention{GIVEN}", latent_dim=16, latent_memory_slots=1, mirror_slots=True)
    sample = pairs()
    with torch.no_grad():
        posterior = built.encoder.infer(sample["net_input"]["src_tokens"], target=sample["target"])
        states, padding_mask = built.encoder.target_states(sample["target"])
        pooled = built.encoder.posterior.pooling(states, padding_mask)
        slot = built.encoder.memory(posterior.mu - built.encoder.posterior.mu.bias)[0]
    torch.testing.assert_close(slot - built.encoder.memory.project.bias, pooled, rtol=1e-4, atol=1e-5)


class Meter:
    def __init__(self, total):
        self.sum = total


def test_mutual_information_is_that_of_target_and_z_given_the_source():
    """A posterior that says no more than the prior of its source has none; z of the target alone has all of it."""
    generator = torch.Generator().manual_seed(3)
    means = 12 * torch.randn(40, 4, generator=generator)
    prior = Gaussian(means, torch.zeros(40, 4))
    standard = Gaussian.standard(torch.zeros(40, 4))

    def logged(posterior, prior, figure=mi):
        statistics = latent_statistics(range(40), posterior, rate(posterior, prior, posterior.mu), prior)
        return figure(
            {name: Meter(torch.as_tensor(total).as_subclass(torch.Tensor)) for name, total in statistics.items()}
        )

    for of_source in prior, standard:
        left = math.log(40) - logged(of_source, Gaussian.standard(torch.zeros(4)))
        assert logged(prior, of_source, mi_cap) == pytest.approx(left, abs=2e-3)
    assert logged(prior, prior) == pytest.approx(0, abs=0.02)
    assert logged(prior, standard) == pytest.approx(math.log(40), abs=0.05)
    eps = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    assert logged(prior, Gaussian.standard(torch.zeros(4))) == pytest.approx(mutual_information(prior, eps), abs=1e-3)
    active = [
        latent_statistics(range(40), prior, torch.zeros(40, 4), p)["_mu_square_sum"].sum() for p in (prior, standard)
    ]
    assert active[0] == 0 and active[1] > 0, "units are active beyond the prior of the source"


def test_the_loss_of_the_criterion_is_the_bound_given_the_source():
    built = model(SELF, std=0.3)
    sample = pairs()
    loss, _, log = criterion()(built, sample)
    eps = criterion().posterior_eps(built, sample)
    found = losses(built, sample, eps)
    assert loss.item() == pytest.approx((found.nll + found.rate.sum()).item(), rel=1e-5)
    assert log["kl"].item() == pytest.approx(found.rate.sum().item(), rel=1e-5)


def test_pooled_sources_stand_behind_pooled_sentences():
    context = Context(torch.zeros(0, 2, 4), torch.zeros(2, 0, dtype=torch.bool), torch.ones(2, 4))
    built = model(f"self-attention x 2{GIVEN}")
    states = torch.randn(5, 2, 16)
    with pytest.raises(RuntimeError):
        built.encoder.posterior(states, torch.zeros(2, 5, dtype=torch.bool), context)  # of another width
    context = context._replace(pooled=torch.ones(2, 16))
    found = built.encoder.posterior(states, torch.zeros(2, 5, dtype=torch.bool), context)
    assert found.mu.shape == (2, Z)
