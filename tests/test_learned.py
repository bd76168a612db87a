"""Priors that are learned with the model: densities as another library has them, neutral settings, and training."""

import copy
import json
import math
from argparse import Namespace

import numpy as np
import pytest
import torch
from denoising import TRAIN, build
from fairseq.data.data_utils import collate_tokens
from helpers import SENTENCES, SMALL, B, Z, arguments, batch, criterion, dictionary, model, save_vae, write_data
from test_generation import found as lines_of
from test_generation import printed
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import Purpose, standard_normal, stream
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.collect import collect
from fairseq_vae.fit import fit_prior
from fairseq_vae.flags.model import check_promises
from fairseq_vae.hub import load
from fairseq_vae.latent.blocks import least_vectors
from fairseq_vae.latent.densities import Components, FullGaussian, Mixture
from fairseq_vae.latent.distributions import Gaussian, as_double, expanded, rate, rows
from fairseq_vae.latent.fitted import FittedFlow
from fairseq_vae.latent.learned import FlowPrior, MixtureConfig, MixturePrior, VampConfig, VampPrior, as_tokens
from fairseq_vae.latent.prior import priors
from fairseq_vae.measure.collection import Collection
from fairseq_vae.measure.scoring import on_cpu
from fairseq_vae.measure.summary import summarise
from fairseq_vae.report.text import figures

K = 3
LEARNED = [
    name
    for name in priors.names()
    if name != "standard" and least_vectors(priors, name) == 1 and not priors[name].conditional
]
NEUTRAL = {"mixture": {"mixture_components": 1}, "flow": {}}  # that are N(0, I) until they learn
every_learned = pytest.mark.parametrize("name", LEARNED)


def components():
    generator = torch.Generator().manual_seed(1)
    mu, logvar = torch.randn(2, K, Z, generator=generator, dtype=torch.float64)
    return Components(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64).log(), Gaussian(mu, logvar))


def test_components_of_gaussians_are_torchs_mixture():
    ours = components()
    each = Independent(Normal(ours.parts.mu, (0.5 * ours.parts.logvar).exp()), 1)
    theirs, z = MixtureSameFamily(Categorical(logits=ours.logits), each), torch.randn(50, Z, dtype=torch.float64)
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(ours.log_prob(z[:, None])[:, 0], theirs.log_prob(z))
    torch.testing.assert_close(ours.mean, theirs.mean)


def test_components_have_the_samples_of_the_mixture_of_full_gaussians():
    """The same draws, in the same order, through two implementations."""
    ours, eps = components(), torch.randn(40, Z + 1, dtype=torch.float64)
    theirs = Mixture(ours.logits, ours.parts.mu, torch.diag_embed((0.5 * ours.parts.logvar).exp()))
    torch.testing.assert_close(ours.rsample(eps), theirs.rsample(eps))
    assert ours.rsample().shape == (1, Z)


def test_helpers_reach_the_distribution_within():
    ours = components()
    assert as_double(Components(*(part for part in ours))).parts.mu.dtype == torch.float64
    half = Components(ours.logits.float(), Gaussian(*(field.float() for field in ours.parts)))
    assert as_double(half).parts.logvar.dtype == torch.float64 and on_cpu(half).parts.mu.equal(half.parts.mu)
    assert rows(half, [0, 1]) is half, "one for all sentences"


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_settings_are_the_standard_normal(name):
    """Densities, samples, the rate and its gradients."""
    prior = model(latent_prior=name, **NEUTRAL[name]).encoder.prior
    z, eps = 3 * torch.randn(20, Z), torch.randn(20, prior.eps_dim)
    standard = FullGaussian(torch.zeros(Z), torch.eye(Z))  # which has no closed form either
    torch.testing.assert_close(prior().log_prob(z), standard.log_prob(z))
    torch.testing.assert_close(prior().rsample(eps), eps[:, :Z])
    found = []
    for other in (prior(), standard):
        posterior = Gaussian(*torch.randn(2, 20, Z, generator=torch.Generator().manual_seed(3)).unbind())
        fields = [field.requires_grad_() for field in posterior]
        value = rate(posterior, other, posterior.rsample(eps[:, :Z]))
        found.append([value, *torch.autograd.grad(value.sum(), fields)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_neutral_rate_is_in_expectation_the_closed_form(name):
    built = model(latent_prior=name, **NEUTRAL[name])
    posterior = built.encoder.infer(batch(SENTENCES)["net_input"]["src_tokens"][:1])
    many = expanded(rows(posterior, 0), 5_000)
    sampled = rate(many, built.encoder.prior(), many.rsample(torch.randn(5_000, Z))).detach()
    expected = posterior.kl().sum().item()
    assert sampled.mean().item() == pytest.approx(expected, abs=4 * sampled.std().item() / math.sqrt(5_000))


def test_the_mixture_bounds_its_scales_from_below():
    prior = MixturePrior(Z, MixtureConfig(mixture_components=K))
    with torch.no_grad():
        prior.raw.fill_(-1e4)
    assert prior().parts.variance.sqrt().allclose(torch.tensor(0.01))
    assert prior().logits.exp().sum().item() == pytest.approx(1)


def test_a_flow_is_in_the_precision_of_its_input_and_leaves_its_weights_alone():
    prior = FlowPrior(Z)
    before = {name: weight.clone() for name, weight in prior.half().state_dict().items()}
    z = torch.randn(7, Z)
    exact = as_double(prior()).log_prob(z.double())
    assert exact.dtype == torch.float64 and prior().log_prob(z).dtype == torch.float32
    torch.testing.assert_close(prior().log_prob(z).double(), exact, rtol=1e-4, atol=1e-4)
    assert all(weight.equal(before[name]) and weight.dtype == torch.half for name, weight in prior.state_dict().items())
    with torch.autocast("cpu", torch.bfloat16):
        assert prior().log_prob(z).equal(prior().log_prob(z.clone()))
        torch.testing.assert_close(prior().log_prob(z).double(), exact, rtol=1e-4, atol=1e-4)


def test_a_flow_is_zukos():
    """The density by zuko's own flow of the same weights; the determinant of its samples by autograd."""
    from zuko.flows import NSF

    prior = FittedFlow({"mu": torch.zeros(Z), "tril": torch.eye(Z)}, hidden=16)
    theirs = NSF(Z, transforms=2, hidden_features=(16, 16))
    theirs.load_state_dict({name[5:]: value for name, value in prior.state_dict().items() if "flow" in name}, False)
    z = torch.randn(5, Z)
    torch.testing.assert_close(prior().log_prob(z), theirs().log_prob(z))
    eps = torch.randn(1, Z, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(as_double(prior()).rsample, eps)[0, :, 0]
    expected = Normal(0.0, 1.0).log_prob(eps).sum() - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(as_double(prior()).log_prob(as_double(prior()).rsample(eps))[0], expected)


def test_files_of_flows_with_masks_are_read_and_new_ones_hold_weights_alone():
    """Files of before held the masks, the orders and the base's moments too."""
    from zuko.flows import NSF

    theirs = NSF(Z, transforms=2, hidden_features=(64, 64))
    fields = {"mu": torch.ones(Z), "tril": 2 * torch.eye(Z)}
    prior = FittedFlow({**fields, **{f"flow.{name}": value for name, value in theirs.state_dict().items()}})
    z = torch.randn(5, Z)
    torch.testing.assert_close(prior().log_prob(z), theirs().log_prob((z - 1) / 2) - Z * math.log(2))
    names = {name for name in prior.state_dict() if name.startswith("flow.")}
    assert names == {f"flow.{name}" for name, _ in theirs.named_parameters()}


def vamp(**flags):
    built = model(std=0.3, latent_prior="vamp", **{"vamp_components": K, "vamp_length": 5, **flags})
    torch.nn.init.zeros_(built.encoder.prior.offsets)
    return built


@pytest.mark.parametrize("flags", [{}, {"latent_pooling": "attention"}])
def test_vamp_is_the_mean_of_the_posteriors_at_its_tokens(flags):
    built = vamp(**flags)
    prior, z = built.encoder.prior, torch.randn(4, Z)
    prior.begin([torch.tensor([7, 8, 2]), torch.tensor([7, 8, 2]), torch.tensor([9, 10, 11, 12, 13, 2])])
    tokens = as_tokens(prior.digits)
    assert tokens[:2].tolist() == [[0, 7, 8, 2, 1], [0, 9, 10, 11, 12]], "different ones, with <s>, cut and padded"
    assert tokens[2].ge(dictionary().nspecial)[1:-1].all(), "words by chance where there are no more"
    each = [built.encoder.infer(row[row != 1][None]) for row in tokens]
    expected = torch.stack([posterior.log_prob(z) for posterior in each]).logsumexp(0) - math.log(K)
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior().mean, torch.cat([posterior.mean for posterior in each]).mean(0))
    with torch.no_grad():
        prior.offsets[0, 1, 0] += 3
    assert not torch.allclose(prior().log_prob(z), expected), "the offsets count"


def test_of_sentences_that_are_all_the_text_the_vamp_prior_is_the_aggregated_posterior():
    """The KL of the aggregated posterior from it is 0, so that by samples the mean rate is the mutual information."""
    built = vamp(vamp_components=len(SENTENCES), vamp_length=9)
    sample = batch(SENTENCES)
    built.encoder.prior.begin(row[row != 1] for row in sample["target"])
    posterior = built.encoder.infer(sample["net_input"]["src_tokens"])
    z = posterior.rsample(torch.randn(B, Z))
    aggregate = posterior.log_prob(z[:, None]).logsumexp(1) - math.log(B)
    torch.testing.assert_close(built.encoder.prior().log_prob(z), aggregate, rtol=1e-4, atol=1e-4)


def test_pseudo_inputs_have_the_encoders_dropout_in_training():
    built = vamp(dropout=0.3).train()
    first, second = built.encoder.prior(), built.encoder.prior()
    assert not first.parts.mu.equal(second.parts.mu) and built.eval().encoder.prior().parts.mu.isfinite().all()


def test_a_copy_has_its_own_encoder_and_weights_are_saved_once():
    built = vamp()
    other = copy.deepcopy(built)
    assert other.encoder.prior.encoder[0] is other.encoder
    assert [name for name, _ in built.encoder.prior.named_parameters()] == ["offsets"]
    with torch.no_grad():
        for parameter in other.encoder.parameters():
            parameter.mul_(0.5)
    assert not other.encoder.prior().mean.allclose(built.encoder.prior().mean)


def test_tokens_survive_half_precision_and_averages():
    prior = VampPrior(Z, VampConfig(vamp_components=2, vamp_length=3))
    built = vamp()
    prior.connect(built.encoder)
    sentences = [torch.tensor([50_263, 2]), torch.tensor([51_200, 255])]
    prior.begin(sentences)
    for dtype in (torch.float16, torch.bfloat16):
        assert as_tokens(copy.copy(prior.digits).to(dtype)).tolist() == [[0, 50_263, 2], [0, 51_200, 255]]
    third = (prior.digits + prior.digits + prior.digits) / 3
    assert as_tokens(third).equal(as_tokens(prior.digits))


def test_the_task_gives_the_vamp_prior_the_training_text_and_a_checkpoint_its_own(tmp_path):
    data = write_data(tmp_path, train=TRAIN[:8], valid=TRAIN[8:10])
    flags = {"latent_prior": "vamp", "vamp_components": 4, "vamp_length": 6, "_name": "bart_vae_tiny"}
    built = build(data, train_subset="train").build_model(arguments(**flags))
    tokens = as_tokens(built.encoder.prior.digits)
    for row, sentence in zip(tokens, TRAIN):
        expected = [0, *(word + 4 for word in sentence), 2][:6]
        assert row[: len(expected)].tolist() == expected and row[len(expected) :].eq(1).all()
    loaded = build(data, train_subset="train").build_model(arguments(**flags), from_checkpoint=True)
    assert not as_tokens(loaded.encoder.prior.digits).equal(tokens)
    loaded.load_state_dict(built.state_dict())
    assert as_tokens(loaded.encoder.prior.digits).equal(tokens)


@every_learned
def test_the_objective_has_its_sampled_rate_and_it_learns(name):
    """Gradient descent on the rate alone brings the prior to posteriors away from N(0, I)."""
    built, sample = model(std=0.3, latent_prior=name).train(), batch(SENTENCES)
    with torch.no_grad():
        built.encoder.posterior.mu.bias.fill_(1.5)
    loss, _, log = criterion()(built, sample)
    torch.testing.assert_close(loss.detach(), log["rec"] + log["kl"])
    optimizer, rates = torch.optim.Adam(built.encoder.prior.parameters(), lr=0.03), []
    for _ in range(12):
        output = built(**sample["net_input"], eps=torch.zeros(B, Z), target=sample["target"])
        assert output.rate.shape == (B, 1)
        optimizer.zero_grad()
        output.rate.sum().backward()
        optimizer.step()
        rates.append(output.rate.sum().item())
    assert rates[-1] < rates[0] - 1, rates


@every_learned
def test_a_checkpoint_of_the_standard_prior_begins_it_and_one_without_latent_has_none(name):
    plain, built = model(std=0.3), model(latent_prior=name)
    own = {key: value.clone() for key, value in built.state_dict().items() if key.startswith("encoder.prior.")}
    built.load_state_dict(plain.state_dict())
    assert own and all(built.state_dict()[key].equal(value) for key, value in own.items())
    assert isinstance(model(latent_prior=name, zero_latent=True).encoder.prior, priors["standard"])


@pytest.fixture(scope="module", params=LEARNED)
def saved(request, tmp_path_factory):
    """A learned prior's name, and a folder with a checkpoint of it beside its data."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    flags = f"--latent-dim={Z} --latent-prior={name} --max-source-positions=32 --max-target-positions=32".split()
    save_vae(folder, *flags, words=[f"w{i}" for i in range(25)], std=0.15)
    write_data(folder, train=TRAIN[:20], valid=TRAIN[20:30], test=SENTENCES)
    return name, folder


@pytest.mark.slow
def test_the_evaluation_has_its_rate_and_keeps_what_is_of_tensors(saved, tmp_path, monkeypatch):
    name, folder, keep = saved[0], str(saved[1]), str(tmp_path / "kept")
    checkpoint = f"{folder}/checkpoint_best.pt"
    found = collect(checkpoint, folder, samples=2, generate=2, smoothness=2)
    prior, eps = load_model(checkpoint, folder)[0].double().encoder.prior(), []
    for index in range(B):
        eps.append([stream(1, Purpose.VALIDATION, k, index).standard_normal(Z, np.float32) for k in range(2)])
    with torch.no_grad():
        z = found.posterior.mu + (0.5 * found.posterior.logvar).exp() * torch.tensor(np.array(eps)).transpose(0, 1)
        each = Independent(Normal(found.posterior.mu, (0.5 * found.posterior.logvar).exp()), 1).log_prob(z)
        if isinstance(prior, Components):
            parts = Independent(Normal(prior.parts.mu, (0.5 * prior.parts.logvar).exp()), 1)
            expected = each - MixtureSameFamily(Categorical(logits=prior.logits), parts).log_prob(z.double())
        else:
            expected = each - prior.log_prob(z.double().flatten(0, 1)).view(2, B)
    torch.testing.assert_close(found.kl[:, 0], expected.double().mean(0), rtol=1e-4, atol=1e-4)
    assert found.from_prior.isfinite().all() and len(found.noised) > 2
    numbers = summarise(found)
    assert f"|prior:{name}|" in numbers["signature"] and len(numbers["kl_dims"]) == 1
    assert numbers["marginal_kl"] == pytest.approx(numbers["kl"] - numbers["mi"]) and not numbers["agg_gaussian_kl"]
    shown = {name.strip(): unit for name, _, unit in figures(numbers)}
    assert numbers["kl_sampled"] and "estimated by the K = 2 samples" in shown["KL"]
    assert shown["marginal KL"] == "nats, KL - MI"
    if name == "flow":
        with monkeypatch.context() as patch:  # before anything is inferred
            patch.setattr("fairseq_vae.measure.scoring.Scorer.distributions", None)
            with pytest.raises(InputError, match="Flow.flow is no tensor: a Flow cannot be kept .*; leave --keep out"):
                collect(checkpoint, folder, samples=2, generate=2, smoothness=2, keep=keep)
        return
    collect(checkpoint, folder, samples=2, generate=2, smoothness=2, keep=keep)
    again = Collection.load(keep)
    assert all(mine.equal(theirs) for mine, theirs in zip(again.prior.parts, found.prior.parts))
    assert summarise(again) == numbers


@pytest.mark.slow
def test_hub_and_fairseq_sample_it_and_a_fitted_prior_takes_its_place(saved, tmp_path):
    _, folder = saved
    checkpoint, path = str(folder / "checkpoint_best.pt"), str(tmp_path / "prior.safetensors")
    vae = load(checkpoint, str(folder), None)
    prior = vae.model.encoder.prior
    with torch.no_grad():
        z = prior().rsample(standard_normal(3, Purpose.GENERATION, 0, range(len(SENTENCES)), prior.eps_dim))
    lines = printed("generate", folder, "--latent-mode=prior --seed=3 --print-z --beam=1")
    printed_z = [json.loads(row) for _, [row] in sorted(lines_of(lines, "Z").items())][: len(z)]
    torch.testing.assert_close(torch.tensor(printed_z), z, rtol=1e-5, atol=1e-5)
    texts = [text for _, [text] in sorted(lines_of(lines, "D").items())]
    assert vae.sample(len(texts), seed=3, beam=1, max_len=10) == texts and len(set(texts)) > 1
    fit = fit_prior(checkpoint, str(folder), "gaussian", path)
    with torch.no_grad():
        posterior = vae.model.encoder.infer(collate_tokens([torch.tensor([0, *row, 2]) for row in words(20, 30)], 1))
        held_out = posterior.rsample(standard_normal(1, Purpose.FITTING, 1, range(10), Z))
    assert fit.standard == pytest.approx(prior().log_prob(held_out).mean().item(), rel=1e-4)
    assert load(checkpoint, str(folder), None, prior=path).model.encoder.prior.signature == "gaussian"


def words(first, last):
    """The tokens of some training sentences."""
    return [[word + 4 for word in sentence] for sentence in TRAIN[first:last]]


@every_learned
def test_neither_a_bound_from_the_standard_normal_nor_inner_steps_of_a_part_of_it_go_with_it(name, tmp_path):
    values = Namespace(latent_prior=name, bn_mu=0.6, mirror_slots=False, posterior_max_variance=0.0)
    with pytest.raises(InputError, match=f"--bn-mu 0.6 promises a least KL .*--latent-prior {name} may follow mu"):
        check_promises(values)
    task = build(
        write_data(tmp_path, train=TRAIN[:8], valid=TRAIN[8:10]), train_subset="train", aggressive_inference=True
    )
    cfg = arguments(latent_prior=name, _name="bart_vae_tiny", **SMALL.get(name, {}))
    if priors[name].of_posterior:
        with pytest.raises(InputError, match=f"of which --latent-prior {name} is made"):
            task.build_model(cfg)
    else:
        task.build_model(cfg)
    moved = model(latent_prior=name).encoder
    before = moved.prior().log_prob(torch.ones(1, Z))
    with torch.no_grad():
        for parameter in moved.posterior.parameters():
            parameter.add_(0.3)
    assert moved.prior().log_prob(torch.ones(1, Z)).allclose(before) == (not priors[name].of_posterior)


def test_pseudo_inputs_that_stay_words_by_chance_are_told_of(caplog):
    other = vamp()
    other.encoder.prior.begin([torch.tensor([7, 8, 2])])
    for begun, state in ((False, None), (False, model().state_dict()), (True, other.state_dict())):
        built = vamp().train()
        if state is not None:
            built.load_state_dict(dict(state))
        caplog.clear()
        criterion()(built, batch(SENTENCES))
        assert ("begin as words by chance: --task vae_denoising lets them" in caplog.text) == (not begun)


@every_learned
def test_free_bits_of_dimensions_are_refused(name):
    with pytest.raises(InputError, match="--free-bits-mode dimension: .* give --free-bits-mode batch-sentence"):
        criterion(free_bits=0.1)(model(latent_prior=name).train(), batch(SENTENCES))


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"latent_prior": "mixture", "mixture_components": 0}, "--mixture-components 0: expected 1 or more"),
        ({"latent_prior": "flow", "prior_flow_transforms": 0}, "--prior-flow-transforms 0: expected 1 or more"),
        ({"latent_prior": "flow", "prior_flow_hidden": 0}, "--prior-flow-hidden 0: expected 1 or more"),
        ({"latent_prior": "vamp", "vamp_components": 0}, "--vamp-components 0: expected 1 or more"),
        ({"latent_prior": "vamp", "vamp_length": 1}, "--vamp-length 1: expected 2 or more"),
        ({"latent_prior": "vamp", "vamp_length": 33}, "--vamp-length 33: expected 32 or less, --max-source-positions"),
    ],
)
def test_bad_sizes_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        model(**flags)
