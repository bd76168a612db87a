import math

import pytest
import torch
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics
from helpers import EVERY_LATENT, POSTERIORS, PRIORS, SENTENCES, B, Z, bart, batch, criterion, model, task

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.criterion import VAECrossEntropyCriterion
from fairseq_vae.latent.distributions import Gaussian, has_closed_form, rate
from fairseq_vae.measure.metrics import active_units, mutual_information
from fairseq_vae.validation import MI_SENTENCES


def part(sample, rows):
    """Some rows of a batch, as a batch."""
    cut = {key: value[rows] for key, value in sample["net_input"].items()}
    target = sample["target"][rows]
    return {"id": sample["id"][rows], "ntokens": target.ne(1).sum().item(), "target": target, "net_input": cut}


def reduced(logs):
    with metrics.aggregate(new_root=True) as aggregate:
        VAECrossEntropyCriterion.reduce_metrics(logs)
    return aggregate.get_smoothed_values()


@pytest.mark.parametrize("injection", EVERY_LATENT)
def test_without_kl_an_autoencoder_is_fairseqs_cross_entropy(injection):
    built, sample = model(injection, std=0.3, deterministic_latent=True), batch(SENTENCES)
    stock, _, stock_log = CrossEntropyCriterion(task(), sentence_avg=False)(built, sample)
    built.train()
    loss, sample_size, log = criterion(kl_weight=0.0)(built, sample)
    torch.testing.assert_close(loss, stock)
    assert sample_size == stock_log["sample_size"] and log["rec"] == log["loss"]


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_of_a_batch_is_the_sum_of_its_parts(training):
    built, sample = model(std=0.3).train(training), batch(SENTENCES)
    built.set_num_updates(3)
    objective = criterion(kl_schedule="linear", kl_warmup_updates=10, free_bits=0.1)
    whole, _, log = objective(built, sample)
    parts = [objective(built, part(sample, rows)) for rows in ([0, 2], [4], [1, 3])]
    torch.testing.assert_close(whole, sum(loss for loss, _, _ in parts))
    for key, value in log.items():
        if key.startswith("_gap"):  # another's z is one of the same batch
            continue
        assert torch.allclose(torch.as_tensor(value).double(), torch.as_tensor(sum(p[2][key] for p in parts)).double())


def expected_terms(built, sample, purpose, when):
    eps = standard_normal(1, purpose, when, sample["id"].tolist(), Z)
    net_output = built(**sample["net_input"], eps=eps)
    nll, _ = CrossEntropyCriterion(task(), False).compute_loss(built, net_output, sample)
    return nll, net_output[1]["posterior"].kl()


def test_training_loss_is_nll_plus_beta_times_free_bits():
    built, sample = model(std=0.3).train(), batch(SENTENCES)
    objective = criterion(kl_weight=0.8, kl_start=0.2, kl_schedule="linear", kl_warmup_updates=10, free_bits=0.5)
    for update, beta in [(0, 0.2), (5, 0.5), (10, 0.8), (100, 0.8)]:
        built.set_num_updates(update)
        nll, kl = expected_terms(built, sample, Purpose.TRAINING, update)
        loss, _, log = objective(built, sample)
        torch.testing.assert_close(loss, nll + beta * kl.clamp(min=0.5).sum())
        torch.testing.assert_close(log["kl"], kl.sum())
        assert log["kl_weight"] == pytest.approx(beta * B)


@pytest.mark.parametrize(
    "flags", [PRIORS["mixture"], *(POSTERIORS[name] for name in ("diagonal", "flow") if name in POSTERIORS)], ids=str
)
def test_the_rate_of_an_autoencoder_is_a_kl(flags):
    """The flow begins as nothing, and one component as N(0, I): each KL is that of a diagonal Gaussian from N(0, I)."""
    built = model(deterministic_latent=True, mixture_components=1, **flags)
    with torch.no_grad():
        built.encoder.posterior.logvar.bias.fill_(-4.0)
    sample = batch(SENTENCES)
    with torch.no_grad():
        output = built(**sample["net_input"], target=sample["target"])
        logged = torch.stack([criterion(seed=seed)(built, sample)[2]["kl"] for seed in range(1, 51)])
    q = output.posterior
    mu, logvar = (getattr(q, f"base_{name}", getattr(q, name, None)) for name in ("mu", "logvar"))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mu, (logvar / 2).exp()), normal(0.0, 1.0)).sum()
    error = logged.std() / math.sqrt(len(logged))
    assert abs(logged.mean() - expected) < 4 * error + 1e-4 * expected
    if not has_closed_form(q, output.prior):
        assert rate(q, output.prior, q.mean).sum() - expected > 10 * error, "what it is at the mean of z"
    assert output.z.equal(q.mean), "the decoder reads mu"


@pytest.mark.parametrize(
    "flags, mode, told",
    [
        (PRIORS["mixture"], "sentence", True),
        (PRIORS["mixture"], "batch-sentence", False),
        (POSTERIORS["full"], "sentence", False),
        ({**PRIORS["layer-wise"], **POSTERIORS["layer-wise"], "latent_dim": 3}, "dimension", False),
        ({**PRIORS["mixture"], "latent_dim": 1}, "dimension", True),
        ({}, "sentence", False),
    ],
)
def test_free_bits_of_a_sentences_estimate_are_warned_of_once(flags, mode, told, caplog):
    built, objective, sample = model(**flags).train(), criterion(free_bits=1, free_bits_mode=mode), batch(SENTENCES)
    for _ in range(2):
        objective(built, sample)
    found = [record.getMessage() for record in caplog.records if record.name == "fairseq_vae.criterion"]
    assert len(found) == told
    assert not told or (found[0].startswith(f"--free-bits-mode {mode}: ") and "batch-sentence averages" in found[0])


def test_the_draw_of_an_autoencoders_rate_is_the_sentences_own():
    """Of (seed, update, sentence) in training, of (seed, sentence) in validation."""
    built, sample = model(deterministic_latent=True, latent_prior="mixture"), batch(SENTENCES)
    for training, purpose, when in ((False, Purpose.VALIDATION, 0), (True, Purpose.TRAINING, 7)):
        built.train(training).set_num_updates(7)
        loss, _, log = criterion()(built, sample)
        q, p = built.encoder.infer(*list(sample["net_input"].values())[:2]), built.encoder.prior()
        z = q.rsample(standard_normal(1, purpose, when, range(B), Z))
        torch.testing.assert_close(log["kl"], (q.log_prob(z) - p.log_prob(z)).sum().detach())
        torch.testing.assert_close(loss.detach(), log["rec"] + log["kl"])


def test_an_autoencoder_learns_of_its_reconstruction_alone():
    """With beta = 0 each gradient is, to the bit, that of the reconstruction from mu."""
    built, sample = model(std=0.3, deterministic_latent=True, latent_prior="mixture").train(), batch(SENTENCES)
    criterion(kl_weight=0.0)(built, sample)[0].backward()
    found = {name: parameter.grad.clone() for name, parameter in built.named_parameters()}
    built.zero_grad()
    built(**sample["net_input"], target=sample["target"]).nll.backward()
    for name, parameter in built.named_parameters():
        assert found[name].equal(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad), name


def test_label_smoothing_is_fairseqs_and_stays_out_of_the_report():
    built, sample = model(std=0.3, deterministic_latent=True).train(), batch(SENTENCES)
    config = LabelSmoothedCrossEntropyCriterionConfig(sentence_avg=False, label_smoothing=0.1)
    stock, _, stock_log = LabelSmoothedCrossEntropyCriterion.build_criterion(config, task())(built, sample)
    loss, _, log = criterion(kl_weight=0.0, label_smoothing=0.1)(built, sample)
    torch.testing.assert_close(loss, stock)
    torch.testing.assert_close(log["rec"], stock_log["nll_loss"])
    plain, _, _ = criterion()(built.eval(), sample)
    torch.testing.assert_close(criterion(label_smoothing=0.1)(built, sample)[0], plain)


def test_validation_is_the_plain_elbo_at_any_update():
    built, sample = model(std=0.3), batch(SENTENCES)
    objective = criterion(kl_weight=0.1, free_bits=2.0, kl_schedule="cyclical", kl_cycle_updates=7)
    nll, kl = expected_terms(built, sample, Purpose.VALIDATION, 0)
    for update in (0, 3, 1000):
        built.set_num_updates(update)
        loss, _, log = objective(built, sample)
        torch.testing.assert_close(loss, nll + kl.sum())
        assert "kl_weight" not in log


def test_beta_per_sentence_is_the_same_under_both_normalisations():
    built, sample = model(std=0.3).train(), batch(SENTENCES)
    by_token, tokens, _ = criterion()(built, sample)
    by_sentence, sentences, _ = criterion(sentence_avg=True)(built, sample)
    torch.testing.assert_close(by_token, by_sentence)
    assert tokens == sum(len(sentence) + 1 for sentence in SENTENCES) and sentences == B


@pytest.mark.parametrize("training", [False, True])
def test_logged_metrics_have_their_units(training):
    built, sample = model(std=0.3).train(training), batch(SENTENCES)
    _, _, log = criterion(kl_weight=0.3)(built, sample)
    shown = reduced([log])
    rec, kl, tokens = log["rec"].item(), log["kl"].item(), sample["ntokens"]
    beta = 0.3 if training else 1
    assert shown["loss"] == pytest.approx((rec + beta * kl) / tokens / math.log(2), abs=1e-3)
    assert shown["nll_loss"] == pytest.approx(rec / tokens / math.log(2), abs=1e-3)
    assert shown["rec"] == pytest.approx(rec / B, abs=1e-3)
    assert shown["kl"] == pytest.approx(kl / B, abs=1e-3)
    assert shown["neg_elbo"] == pytest.approx((rec + kl) / B, abs=1e-3)
    assert shown["ppl"] == pytest.approx(math.exp((rec + kl) / tokens), abs=0.01)
    assert shown["rec_ppl"] == pytest.approx(math.exp(rec / tokens), abs=0.01)
    assert ("kl_weight" in shown) == training and ("au" in shown) == ("mi" in shown) == (not training)


def test_active_units_and_mutual_information_are_those_of_the_whole_set():
    built, sample = model(std=0.3), batch(SENTENCES)
    rows = [[0, 3], [4, 1], [2]]
    shown = reduced([criterion()(built, part(sample, row))[2] for row in rows])
    mu, logvar = built.encoder.infer(sample["net_input"]["src_tokens"])
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    assert shown["au"] == active_units(mu.sum(0), mu.square().sum(0), B) > 0
    assert shown["mi"] == pytest.approx(mutual_information(Gaussian(mu, logvar), eps), abs=1e-3)
    assert shown["mi_cap"] == pytest.approx(math.log(B), abs=1e-3)


def test_mutual_information_takes_the_first_sentences_only():
    built, sample = model(std=0.3), batch(SENTENCES)
    sample["id"] = torch.tensor([0, MI_SENTENCES, MI_SENTENCES + 1, 7, MI_SENTENCES - 1])
    assert reduced([criterion()(built, sample)[2]])["mi_cap"] == pytest.approx(math.log(3), abs=1e-3)
    sample["id"] += MI_SENTENCES
    assert reduced([criterion()(built, sample)[2]])["mi_cap"] == 0


def test_metrics_survive_a_checkpoint_and_stay_off_progress_bars():
    from fairseq.logging.progress_bar import format_stat

    log = criterion()(model(), batch(SENTENCES))[2]
    assert format_stat(log["_mi_table"]) == f"{MI_SENTENCES}x{2 * Z + 1}"
    with metrics.aggregate(new_root=True) as aggregate:
        VAECrossEntropyCriterion.reduce_metrics([log])
    for _, _, _, state in aggregate.state_dict():
        assert {type(value) for value in state.values()} <= {torch.Tensor, int, float, type(None)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_are_float32_in_half_precision(dtype):
    built = model(std=0.1).to(dtype).train()
    loss, _, log = criterion()(built, batch(SENTENCES))
    assert loss.dtype == log["rec"].dtype == log["kl"].dtype == torch.float32
    full, _, _ = criterion()(model(std=0.1).train(), batch(SENTENCES))
    torch.testing.assert_close(loss, full, rtol=0.02, atol=0)


def test_a_model_without_latent_is_refused():
    with pytest.raises(InputError, match="--arch bart_vae"):
        criterion()(bart(), batch(SENTENCES))
