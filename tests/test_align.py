"""Alignment of z with the frozen encoder: its closed form, what never changes, and what checkpoints keep of it."""

import copy

import pytest
import torch
from helpers import SENTENCES, B, bart, batch, criterion, model, save_vae
from test_criterion import reduced

from fairseq_vae.bart.frozen import with_start
from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.adapt import ALIGNMENT, PRETRAINED
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.latent.distributions import Gaussian
from fairseq_vae.objective.terms import Alignment, AlignmentConfig, TermBatch, cosine_distance, whitening

EOS, PAD = 2, 1
ON = dict(align_weight=0.7)


def text(sample):
    return [row[row != PAD] for row in sample["target"]]


def objective(sample=None, **flags):
    """The criterion, of a task that shows the sentences of a batch as its training text."""
    made = criterion(**flags)
    if sample is not None:
        made.task.datasets = {"train": [{"target": row, "source": row} for row in text(sample)]}
    return made


def step(built, sample, update=0, **flags):
    built.train().set_num_updates(update)
    built.zero_grad()
    loss, _, log = objective(sample, **flags)(built, sample)
    loss.backward()
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.01)
    return loss.detach(), log


def clones(built, prefix=""):
    return {key: value.clone() for key, value in built.state_dict().items() if key.startswith(prefix)}


def equal(one, two):
    return one.keys() == two.keys() and all(value.equal(two[key]) for key, value in one.items())


class Given(torch.nn.Module):
    """In the place of an encoder: it says of sentence i the i-th row given."""

    padding_idx = PAD

    def __init__(self, rows):
        super().__init__()
        self.rows, self.width = rows, rows.size(1)

    def frozen(self):
        return self

    def means(self, tokens):
        return self.rows[tokens[:, 0] - 4]


def term_of(rows, latent_dim, weight=2.0):
    term = Alignment(AlignmentConfig(align_weight=weight), latent_dim, 0, 0).double()
    term.connect(Given(rows))
    term = term.double()
    z = torch.randn(len(rows), latent_dim, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([[4 + row, EOS] for row in range(len(rows))])
    return term, z, TermBatch(z, None, Gaussian.standard(torch.zeros(latent_dim)), tokens, PAD)


def test_the_gradients_are_the_closed_form_of_the_cosine():
    torch.manual_seed(3)
    rows = torch.randn(7, 5, dtype=torch.float64)
    term, z, given = term_of(rows, 3)
    loss = term.loss(given)
    h, t = term.head(z).detach(), rows
    length, cosine = h.norm(dim=1, keepdim=True), torch.cosine_similarity(h, t)
    assert loss.item() == pytest.approx(2 * (1 - cosine).sum().item())
    loss.backward()
    of_h = -2 * (t / t.norm(dim=1, keepdim=True) - cosine[:, None] * h / length) / length
    torch.testing.assert_close(z.grad, of_h @ term.head.weight)
    torch.testing.assert_close(term.head.weight.grad, of_h.T @ z.detach())
    torch.testing.assert_close(term.head.bias.grad, of_h.sum(0))


def test_weight_0_is_the_plain_bound_to_the_bit():
    found = []
    for flags in ({}, {"align_weight": 0.0}):
        built = model("self-attention,embedding", std=0.3, **flags).train()
        torch.manual_seed(7)
        loss, _, log = criterion()(built, batch(SENTENCES))
        loss.backward()
        found.append((loss, log["rec"] + log["kl"], {name: p.grad for name, p in built.named_parameters()}))
    (plain, bound, gradients), (loss, _, others) = found
    assert loss.equal(plain) and loss.equal(bound) and others.keys() == gradients.keys()
    assert all(others[name].equal(gradient) for name, gradient in gradients.items())


def test_of_mu_the_noise_of_z_is_no_part():
    rows = torch.randn(7, 5, dtype=torch.float64)
    term, z, given = term_of(rows, 3)
    mu = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    given = given._replace(posterior=Gaussian(mu, torch.zeros_like(mu)))
    of_z = term.loss(given)
    term.latent = "mu"
    of_mu = term.loss(given)
    of_mu.backward()
    assert z.grad is None and mu.grad.abs().min() > 0 and not of_mu.equal(of_z)
    assert of_mu.equal(term.loss(given._replace(z=mu, posterior=None)))
    assert model(**ON, align_latent="mu").align.latent == "mu"


def test_a_target_that_z_predicts_costs_nothing_and_its_opposite_twice_the_weight():
    torch.manual_seed(3)
    rows = torch.randn(7, 5, dtype=torch.float64)
    for sign, expected in ((3.0, 0.0), (-0.5, 2.0 * 2 * 7)):
        term, _, given = term_of(rows, 5)
        term.head.weight.data.copy_(torch.eye(5))
        term.head.bias.data.zero_()
        found = term.loss(given._replace(z=sign * rows))
        assert found.item() == pytest.approx(expected, abs=1e-12)
    assert cosine_distance(torch.zeros(2, 3), torch.ones(2, 3)).tolist() == [1, 1]


def test_whitening_makes_every_direction_as_wide_and_is_symmetric():
    torch.manual_seed(3)
    rows = torch.randn(500, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64) + 9
    white = whitening(rows, floor=0.0)
    torch.testing.assert_close((rows @ white).T.cov(correction=0), torch.eye(4, dtype=torch.float64))
    assert white.T.allclose(white) and whitening(torch.ones(3, 4)).equal(torch.eye(4))
    widths = torch.linalg.eigvalsh((rows @ whitening(rows, floor=0.5)).T.cov(correction=0))
    assert (widths < 1).all() and widths[0] < widths[-1], "the floor"


def test_the_text_is_measured_once_at_equal_distances_whatever_its_order_of_lengths():
    rows = torch.randn(9, 5, dtype=torch.float64) + 20
    term, _, given = term_of(rows, 3)
    term.TEXT, term.TOKENS = 3, 6
    asked = []

    def sentence(number):
        asked.append(number)
        return torch.tensor([4 + number, *[EOS] * (1 + number % 2)])

    term.begin(9, sentence)
    found = term.target(given.target)
    chosen = rows[[0, 3, 6]]
    assert asked == [0, 3, 6] and term.measured == 1 and not term.text
    torch.testing.assert_close(found, (rows - chosen.mean(0)) @ whitening(chosen), atol=1e-6, rtol=1e-6)
    term.begin(9, sentence)
    assert len(asked) == 3 and term.target(given.target).equal(found)


@pytest.mark.parametrize("share, known", [(0.095, False), (0.9999, True)])
def test_moments_that_an_average_over_updates_has_of_zeros_are_taken_again(share, known):
    """--store-ema averages buffers as it averages weights."""
    term, _, _ = term_of(torch.randn(9, 5, dtype=torch.float64), 3)
    term.measured.fill_(share)
    assert term.is_measured() == known


def test_a_measurement_that_fails_is_made_again_with_the_next_batch(monkeypatch):
    rows = torch.randn(9, 5, dtype=torch.float64) + 20
    term, _, given = term_of(rows, 3)
    term.begin(9, lambda number: torch.tensor([4 + number, EOS]))
    with monkeypatch.context() as patch:
        patch.setattr(term.pretrained, "means", lambda tokens: (_ for _ in ()).throw(RuntimeError("out of memory")))
        with pytest.raises(RuntimeError, match="out of memory"):
            term.target(given.target)
    assert not term.is_measured()
    torch.testing.assert_close(term.target(given.target), (rows - rows.mean(0)) @ whitening(rows), atol=1e-6, rtol=1e-6)
    assert term.measured == 1


def test_without_a_text_the_target_stays_raw_and_says_so(caplog):
    built, sample = model(std=0.3, **ON).train(), batch(SENTENCES)
    objective()(built, sample)
    assert "shows no training text" in caplog.text and built.align.measured == 0
    assert built.align.target(sample["target"]).equal(built.align.pretrained.means(sample["target"]))


def test_centring_parts_what_raw_means_put_together():
    built, sample = model(std=0.3, **ON).train(), batch(SENTENCES)
    raw = torch.nn.functional.normalize(built.align.pretrained.means(sample["target"]))
    objective(sample)(built, sample)
    target = torch.nn.functional.normalize(built.align.target(sample["target"]))
    off = ~torch.eye(B, dtype=torch.bool)
    assert (target @ target.T)[off].mean() < 0 < (raw @ raw.T)[off].mean()


def test_the_loss_is_the_plain_one_and_the_weighted_distances_and_no_draw_moves():
    sample = batch(SENTENCES)
    found = []
    for flags in ({}, ON):
        built = model(std=0.3, dropout=0.2, **flags)
        plain = model(std=0.3, dropout=0.2)
        built.load_state_dict(plain.state_dict())
        built.train()
        torch.manual_seed(5)
        loss, _, log = objective(sample)(built, sample)
        state = torch.get_rng_state()
        loss.backward()
        found.append((loss, log, state, {name: part.grad for name, part in built.named_parameters()}, built))
    (plain, log, state, gradients, _), (loss, more, moved, others, built) = found
    assert state.equal(moved) and log["rec"].equal(more["rec"]) and log["kl"].equal(more["kl"])
    torch.testing.assert_close(loss, plain + 0.7 * more["term_align"])
    assert all(others[name].equal(value) for name, value in gradients.items() if name.startswith("decoder.layers"))
    assert set(others) - set(gradients) == {"align.head.weight", "align.head.bias"}
    assert all(gradient is not None for gradient in others.values())
    assert "align" not in reduced([log]) and not any(key.startswith(ALIGNMENT) for key in model().state_dict())
    mean = reduced([more])["align"]
    assert mean == pytest.approx(more["term_align"].item() / B, abs=1e-3) and 0 < mean < 2
    loss, _, log = criterion()(built.eval(), sample)
    torch.testing.assert_close(loss, log["rec"] + log["kl"])  # validation has the ELBO alone


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"encoder_layerdrop": 0.5, "dropout": 0.3},
        {"checkpoint_activations": True},
        {"freeze_decoder": True, "freeze_embeddings": True},
        {"deterministic_latent": True},
        {"arch": "bart_cvae"},
        {"latent_vectors": 2, "latent_pooling": "attention"},
    ],
    ids=lambda flags: " ".join(flags) or "plain",
)
def test_the_target_has_no_gradient_and_stays_while_the_encoder_learns(flags):
    sample = batch(SENTENCES)
    built = model(std=0.3, **ON, **flags)
    assert not {key for key, _ in built.named_parameters()} & set(clones(built, PRETRAINED))
    step(built, sample)
    encoder, target = clones(built, "encoder.layers"), built.align.target(sample["target"])
    state = clones(built, PRETRAINED)
    for update in (1, 2):
        step(built, sample, update)
    assert not target.requires_grad and equal(state, clones(built, PRETRAINED))
    assert built.align.target(sample["target"]).equal(target) and not built.align.pretrained.training
    assert not equal(encoder, clones(built, "encoder.layers"))


def test_a_sentences_target_depends_on_no_neighbour_and_no_padding_and_counts_words_and_ends():
    built, sample = model(**ON), batch(SENTENCES)
    built.load_state_dict(bart().state_dict())
    frozen, whole = built.align.pretrained, built.align.pretrained.means(sample["target"])
    padded = frozen.means(batch(SENTENCES, extra_padding=4)["target"])
    started = frozen.means(with_start(sample["target"], PAD, 0))
    for row, tokens in enumerate(text(sample)):
        alone = frozen.means(tokens[None])[0]
        states, _ = built.encoder.states(torch.tensor([[0, *tokens]]))
        torch.testing.assert_close(alone, states[1:, 0].mean(0).detach())  # without <s>
        for others in (whole, padded, started):
            torch.testing.assert_close(others[row], alone, atol=1e-5, rtol=1e-5)
    long = torch.full((1, 60), 7)
    assert frozen.means(long).equal(frozen.means(long[:, : frozen.max_source_positions]))


@pytest.mark.parametrize("arch", ["bart_vae", "bart_cvae"])
def test_the_target_is_of_the_clean_sentence_whatever_the_source(arch):
    built, sample = model(std=0.3, arch=arch, **ON).train(), batch(SENTENCES)
    asked = []
    built.align.pretrained.means = lambda tokens: asked.append(tokens) or torch.ones(len(tokens), 16)
    sample["net_input"]["src_tokens"] = sample["net_input"]["src_tokens"].flip(0)
    objective()(built, sample)
    assert len(asked) == 1 and asked[0].equal(sample["target"])


def test_the_frozen_encoder_is_the_barts_through_two_phases():
    sample, start = batch(SENTENCES), bart()
    first = model(std=0.3, **ON)
    first.load_state_dict(start.state_dict())
    expected = {key: start.state_dict()[f"encoder.{key[len(PRETRAINED) :]}"] for key in clones(first, PRETRAINED)}
    assert equal(clones(first, PRETRAINED), expected)
    step(first, sample)
    second = model(std=0.3, **ON)
    second.load_state_dict(clones(first))
    assert equal(clones(second, ALIGNMENT), clones(first, ALIGNMENT)) and second.align.measured == 1
    assert equal(clones(second, PRETRAINED), expected)
    assert not second.encoder.layers[0].fc1.weight.equal(start.encoder.layers[0].fc1.weight)
    without = model(std=0.3)
    without.load_state_dict(clones(second))  # as for inference
    late = model(std=0.3, **ON)
    late.load_state_dict(clones(without))
    assert late.align.pretrained.layers[0].fc1.weight.equal(first.encoder.layers[0].fc1.weight)
    assert late.align.pretrained.embed_tokens.weight.equal(first.encoder.embed_tokens.weight)
    assert late.align.measured == 0, "moments of another encoder"


def test_a_resumed_training_goes_on_to_the_bit():
    sample, other = batch(SENTENCES), batch(SENTENCES[::-1])
    whole = model(std=0.3, **ON)
    step(whole, sample)
    resumed = model(std=0.5, **ON)
    resumed.load_state_dict(copy.deepcopy(clones(whole)))
    for update, rows in ((1, other), (2, sample)):
        losses = [step(built, rows, update)[0] for built in (whole, resumed)]
        assert losses[0].equal(losses[1])
    assert equal(clones(whole), clones(resumed))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_the_moments_stay_exact(dtype):
    built, sample = model(std=0.3, **ON), batch(SENTENCES)
    exact = model(std=0.3, **ON)
    built.to(dtype)
    (_, half), (_, full) = step(built, sample), step(exact, sample)
    assert built.align.pretrained.embed_tokens.weight.dtype == dtype and built.align.centre.dtype == torch.float32
    torch.testing.assert_close(half["term_align"], full["term_align"], atol=0.25, rtol=0)


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_loaded_for_inference_has_none_of_it(tmp_path, kept):
    built = save_vae(tmp_path, "--align-weight=2", "--max-source-positions=16", "--max-target-positions=16")
    assert not hasattr(built, "align")
    state = torch.load(tmp_path / "checkpoint_best.pt", weights_only=False)
    if kept:
        state["model"].update({f"{PRETRAINED}layers.0.fc1.weight": torch.ones(3), "align.head.weight": torch.ones(3)})
    torch.save(state, tmp_path / "checkpoint_best.pt")
    loaded, cfg, _ = load_model(str(tmp_path / "checkpoint_best.pt"), str(tmp_path))
    assert equal(clones(loaded), clones(built))
    assert cfg.model.align_weight == 2, "the settings stay"


@pytest.mark.parametrize("flag", ["encoder_layers_to_keep", "decoder_layers_to_keep"])
def test_pruned_layers_are_refused(flag):
    with pytest.raises(InputError, match=f"--align-weight 0.7: with --{flag.replace('_', '-')} 0 fairseq drops"):
        model(**ON, **{flag: "0"})
