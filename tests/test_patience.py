"""Early stopping counts on over a restart: fairseq-train in processes of their own, as they would be started."""

import multiprocessing
import os

import fairseq_cli.train
import pytest
import torch
import torch._dynamo  # which each process would import for its optimizer
from denoising import TRAIN, VALID
from helpers import configuration, write_data

from fairseq_vae.base.patience import early_stopping, restore_early_stopping
from fairseq_vae.task import VAEDenoisingTask

pytestmark = pytest.mark.slow

FLAGS = (
    "--task vae_denoising --arch bart_vae_tiny --latent-dim 4 --max-source-positions 32 --max-target-positions 32 "
    "--criterion vae_cross_entropy --optimizer adam --lr 0.05 --max-tokens 200 --cpu --num-workers 0 --patience 2 "
    "--best-checkpoint-metric kl --no-epoch-checkpoints --no-progress-bar"
)


def train(data, save_dir, *extra, kill=None):
    """One process of fairseq-train, killed at an update or not; what its last checkpoint has."""

    def child():
        step = VAEDenoisingTask.train_step

        def train_step(task, sample, model, criterion, optimizer, update_num, *arguments, **named):
            if update_num == kill:
                os._exit(9)
            return step(task, sample, model, criterion, optimizer, update_num, *arguments, **named)

        VAEDenoisingTask.train_step = train_step
        fairseq_cli.train.main(cfg)

    cfg = configuration("training", [data, "--save-dir", str(save_dir), *FLAGS.split(), *extra])
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == (0 if kill is None else 9)
    return torch.load(save_dir / "checkpoint_last.pt", map_location="cpu")


def end(state):
    """Updates, epoch, weights and what early stopping remembers."""
    own = state["extra_state"]["VAEDenoisingTask"]["early_stopping"]
    epoch = state["extra_state"]["train_iterator"]["epoch"]
    return state["optimizer_history"][-1]["num_updates"], epoch, state["model"], own


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    data = write_data(folder, train=TRAIN, valid=VALID)
    return data, end(train(data, folder / "save"))


def test_patience_runs_out_at_the_same_update_however_often_training_is_stopped(straight, tmp_path):
    data, (updates, epoch, weights, memory) = straight
    assert memory["num_runs"] == 2 and epoch > 3, "it stopped for want of patience, and not at once"
    for last in range(1, epoch - 1):  # a checkpoint at an epoch's end has the number of the next
        state = train(data, tmp_path, f"--max-epoch={last}")
    assert end(state)[3]["num_runs"] == 1
    train(data, tmp_path, kill=updates - 1)
    found = end(train(data, tmp_path))
    assert found[:2] == (updates, epoch) and found[3] == memory
    torch.testing.assert_close(found[2], weights, atol=0, rtol=0)


def test_a_new_training_from_a_checkpoint_has_all_its_patience(straight, tmp_path):
    data, (_, epoch, *_) = straight
    start = f"{data}/save/checkpoint_last.pt"
    for number, flags in enumerate(
        [
            (f"--finetune-from-model={start}", "--max-epoch=1"),
            (f"--restore-file={start}", "--reset-optimizer", "--reset-meters", f"--max-epoch={epoch}"),
        ]
    ):
        assert end(train(data, tmp_path / str(number), *flags))[3]["num_runs"] == 0


def test_nothing_is_remembered_before_the_first_validation(monkeypatch):
    function = fairseq_cli.train.should_stop_early
    for name in ("best", "num_runs"):
        monkeypatch.delattr(function, name, raising=False)
    assert early_stopping() == {}
    restore_early_stopping({})
    assert not hasattr(function, "best")
    monkeypatch.setattr(function, "best", 3.5, raising=False)
    monkeypatch.setattr(function, "num_runs", 1, raising=False)
    kept = early_stopping()
    function.best, function.num_runs = 1.0, 0
    restore_early_stopping(kept)
    assert (function.best, function.num_runs) == (3.5, 1)
