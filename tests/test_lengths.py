"""The longest sentence that fits, in every place that states it: <s> w </s> for the encoder, w </s> for the decoder."""

import pytest
import torch
from denoising import build, epoch
from helpers import arguments, model, save_vae, write_data

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.lengths import Bounds, told_apart
from fairseq_vae.collect import load_split
from fairseq_vae.hub import load

POSITIONS = [(8, 16, 6), (12, 12, 10), (16, 8, 7), (9, 8, 7), (8, 8, 6)]  # of source and target, and what fits


@pytest.mark.parametrize("source, target, longest", POSITIONS)
def test_the_longest_sentence_is_the_longest_one_that_the_model_can_run(source, target, longest):
    assert Bounds(source, target).longest == longest
    assert not Bounds(source, target).met_by(longest)
    built = model(max_source_positions=source, max_target_positions=target)

    def run(tokens):
        row = torch.full((1, tokens), 6)
        start, end = torch.tensor([[0]]), torch.tensor([[2]])
        built(torch.cat((start, row, end), 1), torch.tensor([tokens + 2]), torch.cat((end, row), 1))

    run(longest)
    with pytest.raises(IndexError):
        run(longest + 1)


@pytest.mark.parametrize("source, target, longest", POSITIONS)
def test_task_evaluation_and_hub_take_the_same_sentences(tmp_path, source, target, longest):
    positions = [f"--max-source-positions={source}", f"--max-target-positions={target}"]
    save_vae(tmp_path / "model", *positions)
    vae = load(str(tmp_path / "model/checkpoint_best.pt"), str(tmp_path / "model"))
    assert vae.encode(["a " * longest]).mu.shape == (1, 32)
    assert torch.isfinite(vae.log_prob(["a " * longest], samples=1)).all()
    with pytest.raises(InputError, match=f"has {longest + 1} tokens; expected 1 to {longest}"):
        vae.encode(["a " * (longest + 1)])
    task = build(write_data(tmp_path, train=[[1] * longest, [2]], test=[[1] * (longest + 1), [2]]))
    limits = {"max_positions": vae.model.max_positions()}
    assert len(epoch(task, "train", **limits)) and len(load_split(vae.model, task, "train", 100, 1)) == 2
    for refuse in (lambda: epoch(task, "test", **limits), lambda: load_split(vae.model, task, "test", 100, 1)):
        with pytest.raises(InputError, match=f"line 1 .* {longest + 1} tokens where {longest} fit"):
            refuse()


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path, train=[[1], [2] * 8, [3] * 12], valid=[[1], [2] * 8])


def batches(data, split, max_tokens, source=32, target=32, trained=False, train_tokens=100, **cfg):
    """As fairseq asks for them in training, where the tokens of a batch bound the positions, or in validation."""
    task = build(data, max_tokens=train_tokens, max_tokens_valid=9, **cfg)
    built = task.build_model(
        arguments(max_source_positions=source, max_target_positions=target, _name="bart_vae_tiny"), trained
    )
    return epoch(task, split, max_tokens=max_tokens, max_positions=built.max_positions())


@pytest.mark.parametrize(
    "split, limits, wanted",
    [
        ("train", {"max_tokens": 10, "train_tokens": 10}, "--max-tokens is 10 (14 needed). Shorten them, or raise the"),
        ("valid", {"max_tokens": 9}, "--max-tokens-valid is 9 (10 needed). Shorten them, or raise the flag, or skip"),
        ("train", {"max_tokens": 100, "source": 13}, "--max-source-positions is 13 (14 needed). Shorten them, or rai"),
        ("train", {"max_tokens": 100, "target": 12}, "--max-target-positions is 12 (13 needed). Shorten them, or rai"),
        (
            "train",
            {"max_tokens": 10, "train_tokens": 10, "source": 12},
            "--max-source-positions is 12 (14 needed) and --max-tokens is 10 (14 needed). Shorten them, or raise the f",
        ),
        (
            "train",
            {"max_tokens": 100, "source": 13, "trained": True},
            "--max-source-positions is 13 (14 needed). Shorten them, or skip them with --skip-invalid-size-inputs-val",
        ),
    ],
)
def test_a_sentence_that_is_too_long_names_the_bound_that_it_met_and_its_remedy(data, split, limits, wanted):
    with pytest.raises(InputError) as found:
        batches(data, split, **limits)
    assert wanted in str(found.value)
    if "-positions" not in wanted:
        assert "-positions" not in str(found.value)


def test_sentences_longer_than_a_batch_are_skipped_on_demand_and_one_must_stay(data):
    skip = {"skip_invalid_size_inputs_valid_test": True}
    found = batches(data, "train", 10, **skip)
    assert sorted(index for batch in found for index in batch["id"].tolist()) == [0, 1]
    with pytest.raises(InputError, match=r"\(such lines: 3\).*Shorten them, or raise the flag$"):
        batches(data, "train", 2, **skip)


def test_without_a_target_the_decoders_positions_do_not_bound(data):
    task = build(data)
    task.build_model(arguments(max_source_positions=12, max_target_positions=4, _name="bart_vae_tiny"), True)

    def lines(*lengths):
        tokens = [torch.tensor([6] * length + [2]) for length in lengths]
        dataset = task.build_dataset_for_inference(tokens, [length + 1 for length in lengths])
        task.get_batch_iterator(dataset, max_sentences=2, max_positions=(12, 4)).next_epoch_itr()

    lines(10, 3)
    with pytest.raises(InputError, match="input: line 4 of the text is too long, 11 tokens where 10 fit"):
        lines(1, 11)


def test_bounds_are_told_apart():
    assert told_apart((40, 32), (64, 32), True, 40, 40) == Bounds(64, 32, 40)
    assert told_apart((40, 50), (40, 64), True, 50, 50) == Bounds(40, 64, 50)
    assert told_apart((64, 32), (64, 32), True, 70, 70) == Bounds(64, 32)
    assert told_apart((9, 9), None, False) == Bounds(9)
