import logging
import random

import numpy as np
import pytest
import torch
from denoising import TRAIN, build, epoch
from fairseq.logging import metrics
from fairseq.logging.meters import AverageMeter
from helpers import GIVEN, SENTENCES, B, Z, batch, criterion, dictionary, model, write_data

from fairseq_vae import criterion as criterion_module
from fairseq_vae import validation
from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.criterion import VAECrossEntropyCriterion
from fairseq_vae.data import SentenceDataset
from fairseq_vae.latent.distributions import GaussianPosterior
from fairseq_vae.latent.posterior import committed_rate
from fairseq_vae.measure.diagnosis import Watch
from fairseq_vae.measure.metrics import mutual_information
from fairseq_vae.measure.scoring import Scorer, sentence_nll


def reduced(*logs):
    with metrics.aggregate(new_root=True) as aggregate:
        for log in logs:
            VAECrossEntropyCriterion.reduce_metrics([log])
    return aggregate.get_smoothed_values()


def partnered(sample, data):
    return {**sample, "partner": data.partners(sample["id"].tolist(), validation.MI_SENTENCES)}


def split(sentences):
    words = dictionary()
    tokens = [torch.tensor([words.index(f"w{i}") for i in sentence] + [words.eos()]) for sentence in sentences]
    return SentenceDataset(tokens, [len(row) for row in tokens], words, split="valid")


@torch.no_grad()
def test_the_gap_is_the_next_sentences_z_against_ones_own():
    built, sample = model(std=0.3), batch(SENTENCES)
    shown = reduced(criterion()(built, partnered(sample, split(SENTENCES)))[2])
    z = built(**sample["net_input"], eps=standard_normal(1, Purpose.VALIDATION, 0, range(B), Z))[1]["vae"].z
    gap = sentence_nll(built, sample, z.roll(-1, 0)) - sentence_nll(built, sample, z)
    assert shown["nll_gap"] == pytest.approx(gap.mean().item(), abs=1e-3)


@torch.no_grad()
def test_an_evaluation_with_one_sample_has_the_same_gap():
    built, data = model(std=0.3), split(SENTENCES)
    shown = reduced(criterion()(built, partnered(batch(SENTENCES), data))[2])
    scorer = Scorer(built, data)
    posterior, _ = scorer.distributions()
    z = posterior.rsample(scorer.eps([(i, 0) for i in range(B)]))
    gap = scorer.nll(z.roll(-1, 0), "shuffled") - scorer.nll(z, "own")
    assert shown["nll_gap"] == pytest.approx(gap.mean().item(), abs=1e-3)


def test_partners_belong_to_the_split_and_go_round(monkeypatch):
    data = split([[i] for i in range(7)])
    for first, kept, expected in [
        (1024, range(7), {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 0}),
        (4, range(7), {0: 1, 1: 2, 2: 3, 3: 0}),
        (4, [0, 2, 3, 5], {0: 2, 2: 3, 3: 0}),  # sentence 1 is skipped for its length
    ]:
        data.kept = np.array(kept)
        for rows in ([6, 3, 0], [1, 2], [5, 4], [2]):
            rows = [row for row in rows if row in kept]
            found = data.partners(rows, first)
            assert [rows[row] for row in found["rows"]] == [row for row in rows if row in expected]
            assert found["numbers"] == [expected[row] for row in rows if row in expected]
            sources = [data[index]["source"].tolist() for index in found["numbers"]]
            assert found["src_tokens"].tolist() == sources and found["src_lengths"].tolist() == list(map(len, sources))
    assert data.partners([0], 1) is None
    data.kept = np.array([3])
    assert data.partners([3], 1024) is None


@torch.no_grad()
@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_a_committed_rate_that_says_nothing_is_called_so(posterior):
    """Where it ends if the decoder does without z: mu = 0, and the KL is what the bound costs."""
    built, sample = model(std=0.3, latent_posterior=posterior, posterior_max_variance=0.2), batch(SENTENCES)
    for parameter in (*built.encoder.posterior.parameters(), built.encoder.memory.project.weight):
        parameter.zero_()
    shown = reduced(criterion()(built, partnered(sample, split(SENTENCES)))[2])
    assert shown["kl"] >= Z * committed_rate(0.2) > 2
    assert shown["nll_gap"] == 0 and shown["diagnosis"] == "unused"


@torch.no_grad()
def test_without_a_partner_there_is_no_gap():
    shown = reduced(criterion()(model(std=0.3), batch(SENTENCES))[2])
    assert "nll_gap" not in shown and shown["diagnosis"] == "ok"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    shuffled = random.Random(2).sample(TRAIN, len(TRAIN))
    return write_data(tmp_path_factory.mktemp("data"), valid=TRAIN, valid1=shuffled, single=[[1, 2, 3]])


def partitions(task, subset):
    """Batches of several sizes, orders and compositions; in the last one workers load the data."""
    for options in [{}, {"max_tokens": 24}, {"max_tokens": 2000}, {"required_batch_size_multiple": 1}]:
        yield epoch(task, subset, **options)
    everyone, found = list(range(len(task.dataset(subset)))), task.dataset(subset)
    for size in (1, 2, 7):
        random.Random(size).shuffle(everyone)
        yield [
            found.collater([found[index] for index in everyone[start : start + size]])
            for start in range(0, len(everyone), size)
        ]
    yield epoch(task, subset, workers=2)


def validate(task, batches, built):
    """A validation as fairseq makes it; every figure without rounding."""
    objective = criterion()
    with metrics.aggregate(new_root=True) as whole:
        for sample in batches:
            _, _, log = task.valid_step(sample, built, objective)
            task.reduce_metrics([log], objective)
    shown = whole.get_smoothed_values()
    averages = {key: float(meter.avg) for key, meter in whole.items() if isinstance(meter, AverageMeter)}
    return {**shown, **averages}, whole


OF_BATCHES = ("wps", "wpb", "bsz")  # fairseq's: words a second and a batch, sentences a batch


NOISE = {"noise": "deletion", "noise_ratio": 0.5, "noise_splits": "valid"}


@pytest.mark.parametrize("flags, corrupt", [({}, {}), ({"deterministic_latent": True}, NOISE), ({"bn_mu": 0.6}, NOISE)])
def test_every_figure_is_the_same_for_any_batches(data, flags, corrupt, monkeypatch, short_lived_workers):
    for module in (validation, criterion_module):
        monkeypatch.setattr(module, "round", lambda value, digits: value, raising=False)
    monkeypatch.setattr(validation, "MI_SENTENCES", 40)
    task, built = build(data, **corrupt), model(std=0.4, **flags)
    expected, *others = [validate(task, batches, built)[0] for batches in partitions(task, "valid")]
    figures = [key for key, value in expected.items() if isinstance(value, (int, float)) and key not in OF_BATCHES]
    for found in others:
        assert [found[key] for key in figures] == pytest.approx([expected[key] for key in figures], rel=1e-5, abs=1e-5)
        assert found["diagnosis"] == expected["diagnosis"]
        dims = [[float(value) for value in one["kl_dims"].split()] for one in (found, expected)]
        assert dims[0] == pytest.approx(dims[1], abs=1.1e-3)  # as text, of 3 digits
    assert {"nll_gap", "mi", "au", "marginal_kl", "ppl", "rec", "kl", "loss"} <= set(figures)
    assert abs(expected["nll_gap"]) > 0.01


def test_a_pass_for_partners_is_no_larger_than_the_batch(data):
    """The partners of short sentences may be long ones."""
    task, built, sizes = build(data), model(), []
    built.encoder.register_forward_pre_hook(
        lambda module, arguments, named: sizes.append(
            named["z_source"]["src_tokens"].shape if "z_source" in named else arguments[0].shape
        ),
        with_kwargs=True,
    )
    for sample in epoch(task, "valid", max_tokens=60):
        sizes.clear()
        task.valid_step(sample, built, criterion())
        largest = max(sample["net_input"]["src_tokens"].numel(), sample["target"].numel())
        lengths = task.dataset("valid").src_sizes
        for rows, columns in sizes[1:]:
            assert rows * columns <= largest or (rows == 1 and columns in lengths)
        assert sum(rows for rows, _ in sizes[1:]) == len(sample["id"])


def test_a_split_of_one_sentence_has_no_gap(data):
    task, built = build(data), model(std=0.3)
    shown, _ = validate(task, epoch(task, "single"), built)
    assert "nll_gap" not in shown and shown["mi"] == 0


def test_rate_is_split_into_information_and_marginal_kl_and_into_dimensions():
    built, sample = model(std=0.3), batch(SENTENCES)
    shown = reduced(criterion()(built, partnered(sample, split(SENTENCES)))[2])
    mu, logvar = (part.detach() for part in built(**sample["net_input"])[1]["posterior"])
    kl = GaussianPosterior(mu, logvar).kl()
    eps = torch.randn(B, Z, generator=torch.Generator().manual_seed(0))
    assert shown["mi"] == pytest.approx(mutual_information(GaussianPosterior(mu, logvar), eps), abs=1e-3)
    assert shown["marginal_kl"] == pytest.approx(kl.sum(1).mean().item() - shown["mi"], abs=2e-3)
    dims = kl.mean(0)
    assert [float(value) for value in shown["kl_dims"].split()] == pytest.approx(dims.tolist(), abs=1e-3)
    assert shown["kl_dim_max"] == pytest.approx(dims.max().item(), abs=1e-3)
    assert shown["kl_dim_median"] == pytest.approx(dims.median().item(), abs=1e-3)
    assert shown["kl_dim_min"] == pytest.approx(dims.min().item(), abs=1e-3)
    numbers = {key for key, value in shown.items() if isinstance(value, (int, float))}
    assert {"nll_gap", "marginal_kl", "kl_dim_max", "mi", "au"} <= numbers, "what TensorBoard takes"
    assert not [key for key in shown if key.startswith("_")]


def validated(watch, *logs):
    """A whole validation as fairseq makes it: a report of each batch, then one of all, and the task's hook."""
    with metrics.aggregate(new_root=True) as whole:
        for log in logs:
            with metrics.aggregate() as one:
                VAECrossEntropyCriterion.reduce_metrics([log])
                one.get_smoothed_values()
    shown = whole.get_smoothed_values()
    validation.warn(whole, watch)
    return shown


def test_batches_of_one_validation_are_not_validations(caplog):
    """Every batch is collapsed: three reports, but nothing that has lasted yet."""
    built = model(std=0.3)
    with torch.no_grad():
        for layer in (built.encoder.posterior.mu, built.encoder.posterior.logvar):
            layer.weight.zero_()
            layer.bias.fill_(1e-3)
    logs = [criterion()(built, batch([SENTENCES[i] for i in rows]))[2] for rows in ((0, 1), (2, 3, 4), (1, 2))]
    watch = Watch()
    assert validated(watch, *logs)["diagnosis"] == "collapsed" and not caplog.records
    with torch.no_grad():
        built.encoder.posterior.mu.bias.add_(1e-3)
    logs = [criterion()(built, batch([SENTENCES[i] for i in rows]))[2] for rows in ((0, 1), (2, 3, 4), (1, 2))]
    assert validated(watch, *logs)["diagnosis"] == "collapsed"
    [record] = caplog.records
    assert record.getMessage().startswith("posterior collapse")


EITHER = pytest.mark.parametrize("injection", ["self-attention", f"self-attention{GIVEN}"])


def given(built):
    """A batch of sentences with their partners; for a conditional model, of one source that all have."""
    sample = partnered(batch(SENTENCES), split(SENTENCES))
    if built.conditional:
        source = batch([[3, 1]] * B)["net_input"]
        source = {name: source[name] for name in ("src_tokens", "src_lengths")}
        sample = {**sample, "net_input": {**sample["net_input"], **source}, "partner": {**sample["partner"], **source}}
    return sample


def validations(built, caplog, count=2):
    names, watch = [], Watch()
    for update in range(count):
        with torch.no_grad():
            built.encoder.memory.project.bias.add_(1e-3 * update)  # or they would be one
            built.encoder.posterior.mu.bias.add_(1e-4)
        names.append(validated(watch, criterion()(built, given(built))[2])["diagnosis"])
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return names, warnings


@EITHER
def test_a_model_collapsed_on_purpose_is_diagnosed_as_collapsed(injection, caplog):
    """Its posterior, and p(z) or p(z given x), are N(0, I)."""
    built = model(injection, std=0.3)
    with torch.no_grad():
        networks = [built.encoder.posterior, *([built.encoder.prior] if built.conditional else [])]
        for layer in (layer for network in networks for layer in (network.mu, network.logvar)):
            layer.weight.zero_()
            layer.bias.zero_()
    names, warnings = validations(built, caplog, 3)
    assert names == ["collapsed"] * 3
    assert len(warnings) == 1 and "posterior collapse" in warnings[0] and "--free-bits" in warnings[0]


@EITHER
def test_a_decoder_that_ignores_a_held_rate_is_diagnosed_as_unused(injection, caplog):
    built = model(injection, std=0.3)
    with torch.no_grad():
        built.encoder.memory.project.weight.zero_()
    names, warnings = validations(built, caplog)
    assert names == ["unused"] * 2 and len(warnings) == 1 and "z is not used" in warnings[0]


@EITHER
def test_a_healthy_model_is_not_warned_of(injection, caplog):
    """One that has learnt five sentences from z alone, since all have one source."""
    built = model(injection, std=0.1).train()
    optimizer = torch.optim.Adam(built.parameters(), 0.01)
    for update in range(150):
        built.set_num_updates(update)
        loss, _, _ = criterion(kl_weight=0.3)(built, given(built))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    names, warnings = validations(built.eval(), caplog)
    assert names == ["ok"] * 2 and not warnings


def test_no_class_of_ours_is_in_the_meters_that_checkpoints_keep():
    """fairseq's sum over workers gives every value of a log the class of one of them."""
    objective = criterion()
    with torch.no_grad():
        *_, log = objective(model(std=0.3), batch(SENTENCES))
    summed = {key: torch.as_tensor(value).as_subclass(validation.Statistic) for key, value in log.items()}
    with metrics.aggregate(new_root=True) as found:
        objective.reduce_metrics([summed])
    kept = [value for meter in found.values() for value in vars(meter).values() if torch.is_tensor(value)]
    assert kept and all(type(value) is torch.Tensor for value in kept)
