import logging

import pytest
import torch
from fairseq.logging import metrics
from helpers import SENTENCES, B, Z, batch, criterion, model

from fairseq_vae import validation
from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.criterion import VAECrossEntropyCriterion
from fairseq_vae.latent.distributions import GaussianPosterior
from fairseq_vae.measure.diagnosis import Watch
from fairseq_vae.measure.metrics import mutual_information
from fairseq_vae.measure.scoring import sentence_nll


def reduced(*logs):
    with metrics.aggregate(new_root=True) as aggregate:
        for log in logs:
            VAECrossEntropyCriterion.reduce_metrics([log])
    return aggregate.get_smoothed_values()


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(validation, "watch", Watch())


@torch.no_grad()
def test_the_gap_is_another_sentences_z_against_ones_own():
    built, sample = model(std=0.3), batch(SENTENCES)
    shown = reduced(criterion()(built, sample)[2])
    z = built(**sample["net_input"], eps=standard_normal(1, Purpose.VALIDATION, 0, range(B), Z))[1]["vae"].z
    gap = sentence_nll(built, sample, z.roll(1, 0)) - sentence_nll(built, sample, z)
    assert shown["nll_gap"] == pytest.approx(gap.mean().item(), abs=1e-3)


@torch.no_grad()
def test_the_gap_is_of_the_first_sentences_and_of_batches_of_two_or_more():
    built, sample = model(std=0.3), batch(SENTENCES)
    sample["id"] = torch.tensor([3, validation.MI_SENTENCES, 7, validation.MI_SENTENCES + 1, 9])
    log = criterion()(built, sample)[2]
    z = built(**sample["net_input"], eps=standard_normal(1, Purpose.VALIDATION, 0, sample["id"].tolist(), Z))[1][
        "vae"
    ].z
    part = batch([SENTENCES[i] for i in (0, 2, 4)])
    gap = sentence_nll(built, part, z[[4, 0, 2]]) - sentence_nll(built, part, z[[0, 2, 4]])
    assert log["_gap_sentences"] == 3 and log["_gap"].item() == pytest.approx(gap.sum().item(), abs=1e-3)
    alone = criterion()(built, batch([SENTENCES[0]]))[2]
    assert alone["_gap_sentences"] == 0 and reduced(alone)["nll_gap"] == 0
    both = reduced(log, alone)
    assert both["nll_gap"] == pytest.approx(gap.mean().item(), abs=1e-3)


def test_rate_is_split_into_information_and_marginal_kl_and_into_dimensions():
    built, sample = model(std=0.3), batch(SENTENCES)
    shown = reduced(criterion()(built, sample)[2])
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


def validated(*logs):
    """A whole validation as fairseq makes it: a report of each batch, then one of all, and the task's hook."""
    with metrics.aggregate(new_root=True) as whole:
        for log in logs:
            with metrics.aggregate() as one:
                VAECrossEntropyCriterion.reduce_metrics([log])
                one.get_smoothed_values()
    shown = whole.get_smoothed_values()
    validation.warn(whole)
    return shown


def test_batches_of_one_validation_are_not_validations(caplog):
    """Every batch is collapsed: three reports, but nothing that has lasted yet."""
    built = model(std=0.3)
    with torch.no_grad():
        for layer in (built.encoder.posterior.mu, built.encoder.posterior.logvar):
            layer.weight.zero_()
            layer.bias.fill_(1e-3)
    logs = [criterion()(built, batch([SENTENCES[i] for i in rows]))[2] for rows in ((0, 1), (2, 3, 4), (1, 2))]
    assert validated(*logs)["diagnosis"] == "collapsed" and not caplog.records
    with torch.no_grad():
        built.encoder.posterior.mu.bias.add_(1e-3)
    logs = [criterion()(built, batch([SENTENCES[i] for i in rows]))[2] for rows in ((0, 1), (2, 3, 4), (1, 2))]
    assert validated(*logs)["diagnosis"] == "collapsed"
    [record] = caplog.records
    assert record.getMessage().startswith("posterior collapse")


def validations(built, caplog, count=2):
    names = []
    for update in range(count):
        with torch.no_grad():
            built.encoder.memory.project.bias.add_(1e-3 * update)  # or they would be one
            built.encoder.posterior.mu.bias.add_(1e-4)
        names.append(validated(criterion()(built, batch(SENTENCES))[2])["diagnosis"])
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return names, warnings


def test_a_model_collapsed_on_purpose_is_diagnosed_as_collapsed(caplog):
    built = model(std=0.3)
    with torch.no_grad():
        for layer in (built.encoder.posterior.mu, built.encoder.posterior.logvar):
            layer.weight.zero_()
            layer.bias.zero_()
    names, warnings = validations(built, caplog, 3)
    assert names == ["collapsed"] * 3
    assert len(warnings) == 1 and "posterior collapse" in warnings[0] and "--free-bits" in warnings[0]


def test_a_decoder_that_ignores_a_held_rate_is_diagnosed_as_unused(caplog):
    built = model(std=0.3)
    with torch.no_grad():
        built.encoder.memory.project.weight.zero_()
    names, warnings = validations(built, caplog)
    assert names == ["unused"] * 2 and len(warnings) == 1 and "z is not used" in warnings[0]


def test_a_healthy_model_is_not_warned_of(caplog):
    """One that has learnt five sentences from z alone."""
    built = model(std=0.1).train()
    optimizer = torch.optim.Adam(built.parameters(), 0.01)
    for update in range(150):
        built.set_num_updates(update)
        loss, _, _ = criterion(kl_weight=0.3)(built, batch(SENTENCES))
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
