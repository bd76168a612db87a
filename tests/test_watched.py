"""What lasts from validation to validation: each subset's by itself, in each task by itself, and over a restart."""

import pytest
import torch
from denoising import TRAIN, VALID, build, epoch
from fairseq.logging import metrics
from helpers import Z, criterion, model, write_data

SUBSETS = ("valid", "valid1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), train=TRAIN, valid=VALID, valid1=VALID[::-1])


def tell(built, kl):
    """Give every sentence the same posterior, with this KL in nats."""
    with torch.no_grad():
        for layer in (built.encoder.posterior.mu, built.encoder.posterior.logvar):
            layer.weight.zero_()
            layer.bias.zero_()
        built.encoder.posterior.mu.bias.fill_((2 * kl / Z) ** 0.5)


def validation_of(task, built, subset, kl_weight=1.0):
    """A validation of a subset as fairseq-train makes it: its figures."""
    objective = criterion(kl_weight=kl_weight)
    with metrics.aggregate(new_root=True) as whole:
        for sample in epoch(task, subset):
            _, _, log = task.valid_step(sample, built, objective)
            task.reduce_metrics([log], objective)
    shown = whole.get_smoothed_values()
    task.post_validate(built, shown, whole)
    return shown


def subsets(task, built, kl_weight=1.0):
    """The diagnoses of both subsets, validated in turn."""
    return [validation_of(task, built, subset, kl_weight)["diagnosis"] for subset in SUBSETS]


def test_each_subset_is_watched_by_itself(data, caplog):
    """Both are collapsed, which lasts for two validations only in the second one; each is warned of by its name."""
    task, built = build(data, valid_subset=",".join(SUBSETS)), model(std=0.3)
    tell(built, 0.02)
    assert subsets(task, built) == ["collapsed"] * 2 and not caplog.records
    tell(built, 0.03)
    assert subsets(task, built) == ["collapsed"] * 2
    told = [record.getMessage() for record in caplog.records]
    assert [message.split(": ")[:2] for message in told] == [
        ["valid", "posterior collapse"],
        ["valid1", "posterior collapse"],
    ]
    assert subsets(task, built) == ["collapsed"] * 2 and len(caplog.records) == 2


def test_an_outrun_rate_is_found_in_every_subset(data):
    task, built = build(data, valid_subset=",".join(SUBSETS)), model(std=0.3)
    tell(built, 3.0)
    before = subsets(task, built, kl_weight=0.2)
    tell(built, 0.4)
    assert subsets(task, built, kl_weight=0.5) == ["outrun"] * 2 and "outrun" not in before


def test_two_tasks_share_no_watch_and_one_subset_has_no_name(data, caplog):
    first, second, built = build(data), build(data), model(std=0.3)
    tell(built, 0.02)
    subsets(first, built), subsets(second, built)
    assert not caplog.records
    tell(built, 0.03)
    subsets(second, built)
    assert caplog.records[0].getMessage().startswith("posterior collapse")


def test_a_resumed_training_warns_as_one_that_was_not_stopped(data, caplog):
    straight, built, resumed, told = build(data), model(std=0.3), [], []
    for kl in (0.02, 0.03, 0.04):
        tell(built, kl)
        task = build(data)
        for state in resumed[-1:]:
            task.set_checkpoint_dict(state)
        for trained in (straight, task):
            caplog.clear()
            subsets(trained, built)
            told.append([record.getMessage() for record in caplog.records])
        resumed.append(task.get_checkpoint_dict()["VAEDenoisingTask"])
    assert told[::2] == told[1::2] and list(map(len, told[::2])) == [0, 2, 0]
    for flag in ("reset_meters", "reset_optimizer"):
        task = build(data, **{flag: True})
        task.set_checkpoint_dict(resumed[-1])
        assert not task.watches, "a new training"


def test_combined_subsets_are_one(data, caplog):
    """fairseq's --combine-valid-subsets loads all of them under the first one's name."""
    task, built = build(data), model(std=0.3)
    task.load_dataset("valid", combine=True)
    found = validation_of(task, built, "valid")
    assert len(task.dataset("valid")) == 2 * len(VALID) and list(task.watches) == ["valid"]
    assert "nll_gap" in found


def test_a_worker_without_a_batch_logs_nothing(data):
    """fairseq-validate gives such workers empty batches."""
    task, objective = build(data), criterion()
    loss, size, log = task.valid_step({}, model(), objective)
    assert (loss.item(), size, log) == (0, 0, {})
    built = model()
    _, _, log = task.valid_step(next(iter(epoch(task, "valid"))), built, objective)
    found = []
    for logs in ([log], [{}, log]):
        with metrics.aggregate(new_root=True) as logged:
            task.reduce_metrics(logs, objective)
        found.append(logged.get_smoothed_values())
    assert found[0] == found[1] and found[0]["rec"] > 0
    task.reduce_metrics([{}], objective)
