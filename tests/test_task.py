import json
import shutil
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path, PurePosixPath

import pytest
import torch
from denoising import TRAIN, VALID, build, clean, epoch, sources
from helpers import Z, arguments, model, save_vae, write_data

from fairseq_vae.base.corruption import corruptions
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import APART, Purpose, standard_normal
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.collect import load_split


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), train=TRAIN, valid=VALID)


@pytest.mark.parametrize("noise", [name for name in corruptions.names() if name != "none"])
def test_corruption_is_on_the_training_source_alone(data, noise):
    task = build(data, noise=noise, noise_ratio=0.5)
    batches = epoch(task, "train")
    assert sources(batches) != clean(TRAIN)
    for batch in batches:
        for index, target in zip(batch["id"].tolist(), batch["target"].tolist()):
            assert [token for token in target if token != 1] == clean(TRAIN)[index][1:]
    assert sources(epoch(task, "valid")) == clean(VALID)
    assert sources(epoch(build(data, noise=noise, noise_splits="train,valid", noise_ratio=0.5), "valid")) != clean(
        VALID
    )


def test_corruption_differs_by_epoch_and_is_the_same_for_any_number_of_workers(data, short_lived_workers):
    def corrupted(number, **options):
        return sources(epoch(build(data, noise="deletion", noise_ratio=0.5), "train", number, **options))

    assert corrupted(1) != corrupted(2)
    assert corrupted(2) == corrupted(2, max_tokens=60) == corrupted(2, workers=2)


def test_corruption_differs_by_epoch_in_one_iterator_with_workers(data, short_lived_workers):
    task = build(data, noise="deletion", noise_ratio=0.5)
    task.load_dataset("train")
    iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=100, num_workers=1)
    first = sources(list(iterator.next_epoch_itr(shuffle=True)))
    second = sources(list(iterator.next_epoch_itr(shuffle=True)))
    assert first != second
    assert second == sources(epoch(build(data, noise="deletion", noise_ratio=0.5), "train", 2))


def test_the_mask_is_the_last_symbol(data):
    task = build(data)
    assert task.mask == len(task.dictionary) - 1 and task.dictionary[task.mask] == "<mask>"


def given(rows):
    """A generator that keeps the draws which inference_step hands to it, by number."""

    def generate(models, sample, **_):
        own = sample["net_input"].get("prior_eps", sample["net_input"].get("eps", []))
        rows.update(zip(sample["id"].tolist(), own))
        return [[] for _ in sample["id"]]

    return Namespace(generate=generate)


def generated(data, mode, batch_size, **cfg):
    """The draws of each sentence, of the posterior or of the prior."""
    task, rows = build(data, latent_mode=mode, **cfg), {}
    for batch in epoch(task, "valid", max_sentences=batch_size):
        task.inference_step(given(rows), [model()], batch)
    return rows


@pytest.mark.parametrize("mode, count", [("sample", len(VALID)), ("prior", 11)])
def test_generations_eps_belongs_to_the_sentence(data, mode, count):
    cfg = {"num_samples": count} if mode == "prior" else {}
    rows = generated(data, mode, 3, **cfg)
    expected = standard_normal(1, Purpose.GENERATION, 0, range(count), Z)
    assert torch.stack([rows[i] for i in range(count)]).equal(expected)
    assert all(row.equal(rows[i]) for i, row in generated(data, mode, 7, **cfg).items())
    assert not generated(data, mode, 7, seed=2, **cfg)[0].equal(rows[0])


def test_the_mean_needs_no_eps(data):
    assert generated(data, "mean", 3) == {}


def test_draws_of_a_sentence_have_numbers_of_their_own(data):
    """More draws than are generated from together; the first is the only one without the flag."""
    rows = generated(data, "sample", 5, latent_samples=30)
    numbers = [index + k * APART for k in range(30) for index in range(len(VALID))]
    assert sorted(rows) == numbers
    assert torch.stack([rows[number] for number in numbers]).equal(
        standard_normal(1, Purpose.GENERATION, 0, numbers, Z)
    )
    assert all(row.equal(rows[i]) for i, row in generated(data, "sample", 5).items())
    assert len({tuple(row.tolist()) for row in rows.values()}) == len(numbers)


@pytest.mark.parametrize("mode", ["mean", "sample", "prior"])
def test_the_zs_that_are_decoded_are_printed_exactly(data, capsys, mode):
    """By sentence and draw, for each model of an ensemble, the first columns of whose draws are the same."""
    models = [model(std=0.4), model(std=0.4, latent_dim=Z - 2)]
    draws = 1 if mode == "mean" else 2
    task = build(data, latent_mode=mode, latent_samples=draws, print_z=True, num_samples=9 * (mode == "prior"))
    generator = task.build_generator(models, Namespace(beam=2, max_len_b=4))
    for batch in epoch(task, "valid", max_sentences=4):
        capsys.readouterr()
        found = task.inference_step(generator, models, batch)
        lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        numbers = batch["id"].tolist()
        assert [name for name, _ in lines] == [f"Z-{number}" for number in numbers for _ in range(2 * draws)]
        assert [len(beams) for beams in found] == [2 * draws] * len(numbers)
        for i, built in enumerate(models):
            z = torch.tensor([json.loads(z) for _, z in lines[i::2]]).view(len(numbers), draws, -1)
            for k in range(draws):
                own = standard_normal(1, Purpose.GENERATION, 0, [n + k * APART for n in numbers], built.latent_dim)
                source = {name: batch["net_input"][name] for name in ("src_tokens", "src_lengths")}
                with torch.no_grad():
                    posterior = built.encoder.infer(**source)
                expected = {"mean": posterior.mu, "sample": posterior.rsample(own), "prior": own}[mode]
                torch.testing.assert_close(z[:, k], expected, rtol=1e-6, atol=1e-6)


def test_the_longest_source_of_a_batch_bounds_nobody_elses_length(data):
    """fairseq's own bound, --max-len-a times the source's length, is that of the batch."""
    built, task = model(std=0.4), build(data)
    generator = task.build_generator([built], Namespace(beam=2, max_len_a=0.5, max_len_b=1))
    [batch] = epoch(task, "valid", max_sentences=99, max_tokens=None, required_batch_size_multiple=1)
    together = task.inference_step(generator, [built], batch)
    lengths = batch["net_input"]["src_lengths"].tolist()
    assert len(set(lengths)) > 3
    for length, beams in zip(lengths, together):
        assert all(len(best["tokens"]) <= int(0.5 * length + 1) + 1 for best in beams)
    alone = [task.inference_step(generator, [built], one) for one in epoch(task, "valid", max_sentences=1)]
    assert sorted(tuple(one[0][0]["tokens"].tolist()) for one in alone) == sorted(
        tuple(beams[0]["tokens"].tolist()) for beams in together
    )


def test_lines_without_number_get_one_each(data):
    task, rows = build(data, latent_mode="prior"), {}
    for size in (1, 2):
        task.inference_step(given(rows), [model()], {"net_input": {"src_tokens": torch.zeros(size, 3).long()}})
    assert torch.stack([rows[i] for i in range(3)]).equal(standard_normal(1, Purpose.GENERATION, 0, range(3), Z))


LINES = [[9, 3, 7], [4], [5, 5, 5, 5], [8, 2], [6], [7, 3, 1, 2]]


@pytest.mark.parametrize("mode", ["mean", "sample"])
@pytest.mark.parametrize("sampling", [{}, {"sampling": True}, {"sampling": True, "sampling_topp": 0.8}])
def test_what_fairseq_interactive_generates_does_not_depend_on_its_buffer_or_batches(data, mode, sampling):
    """As it makes its batches, sorted by length within a buffer, and gives them back without the sentences' numbers."""
    built = model(std=0.4)

    def texts(buffer, batch_size):
        task, found = build(data, latent_mode=mode), {}
        generator = task.build_generator([built], Namespace(beam=2, max_len_b=8, **sampling))
        for start in range(0, len(LINES), buffer):
            tokens = [torch.tensor([word + 4 for word in line] + [2]) for line in LINES[start : start + buffer]]
            lines = task.build_dataset_for_inference(tokens, [len(line) for line in tokens], constraints=None)
            for made in task.get_batch_iterator(lines, max_sentences=batch_size).next_epoch_itr(shuffle=False):
                net_input = {key: made["net_input"][key] for key in ("src_tokens", "src_lengths")}
                for index, best in zip(
                    made["id"].tolist(), task.inference_step(generator, [built], {"net_input": net_input})
                ):
                    found[start + index] = best[0]["tokens"].tolist()
        return found

    expected = texts(6, 6)
    assert len({tuple(words) for words in expected.values()}) > 1
    for buffer, batch_size in [(1, 1), (2, 2), (4, 3), (6, 2)]:
        assert texts(buffer, batch_size) == expected


@pytest.mark.parametrize(
    "cfg, message",
    [
        ({"noise_ratio": 1.2}, "--noise-ratio 1.2"),
        ({"latent_samples": 0}, "--latent-samples 0: expected 1 or more"),
        ({"num_samples": 3}, "--num-samples 3 has no effect without --latent-mode prior"),
    ],
)
def test_bad_flags_are_refused_by_name(data, cfg, message):
    with pytest.raises(InputError, match=message):
        build(data, **cfg)


def test_the_prior_needs_a_number_of_sentences_where_there_are_no_lines(data):
    with pytest.raises(InputError, match="--num-samples 0: --latent-mode prior needs 1 or more"):
        build(data, latent_mode="prior").load_dataset("test")
    task = build(data, latent_mode="prior", num_samples=3)
    task.cfg.path = "checkpoint.pt"
    with pytest.raises(
        InputError, match="--num-samples 3 has no effect in fairseq-interactive, which draws a sentence"
    ):
        task.build_generator([model()], Namespace(beam=1))


def test_missing_and_truncated_checkpoints_are_refused_by_name(data, tmp_path):
    checkpoint = tmp_path / "model.pt"
    with pytest.raises(InputError, match="model.pt does not exist"):
        build(data, path=str(checkpoint))
    torch.save({"model": {}}, checkpoint)
    build(data, path=str(checkpoint))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"model.pt is truncated \("):
        build(data, path=str(checkpoint))


@pytest.mark.parametrize("flag", ["restore_file", "finetune_from_model", "save_dir"])
def test_a_checkpoint_to_train_from_must_be_whole(data, tmp_path, flag):
    checkpoint = tmp_path / ("checkpoint_last.pt" if flag == "save_dir" else "model.pt")
    task = build(data, **{flag: str(tmp_path if flag == "save_dir" else checkpoint)})
    torch.save({"model": {}}, checkpoint)
    task.build_model(arguments(_name="bart_vae_tiny"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-30])
    with pytest.raises(InputError, match=f"{checkpoint.name} is truncated"):
        task.build_model(arguments(_name="bart_vae_tiny"))
    task.build_model(arguments(_name="bart_vae_tiny"), from_checkpoint=True)
    checkpoint.unlink()
    if flag != "save_dir":
        with pytest.raises(InputError, match="model.pt does not exist"):
            task.build_model(arguments(_name="bart_vae_tiny"))


def test_a_checkpoint_to_start_from_must_be_safe_and_of_the_same_words(data, tmp_path):
    checkpoint = tmp_path / "bart/model.pt"
    checkpoint.parent.mkdir()
    task = build(data, finetune_from_model=str(checkpoint))
    torch.save({"model": {}, "extra_state": {"path": PurePosixPath("x")}}, checkpoint)
    if hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        with pytest.raises(InputError, match="model.pt holds pathlib.*, which to load could run any code"):
            task.build_model(arguments(_name="bart_vae_tiny"))
    torch.save({"model": {}}, checkpoint)
    lines = Path(data, "dict.txt").read_text().splitlines(keepends=True)
    own = checkpoint.with_name("dict.txt")
    own.write_text("".join(lines))
    task.build_model(arguments(_name="bart_vae_tiny"))
    own.write_text("".join([*lines[:3], lines[4], lines[3], *lines[5:]]))
    with pytest.raises(
        InputError, match=rf"dict.txt, line 4: '{lines[3].split()[0]}' where the checkpoint's {own} has"
    ):
        task.build_model(arguments(_name="bart_vae_tiny"))


def test_what_fairseq_would_do_without_a_word_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="--valid-subset valid,train: a validation of train would move"):
        build(data, train_subset="train", valid_subset="valid,train").build_model(arguments(_name="bart_vae_tiny"))
    state = {"model": {}, "extra_state": {}, "args": Namespace(arch="bart_base")}
    torch.save(state, tmp_path / "model.pt")
    given = {"store_ema": True, "finetune_from_model": str(tmp_path / "model.pt")}
    with pytest.raises(InputError, match="--store-ema: fairseq cannot begin an average at .*model.pt, which has none"):
        build(data, **given).build_model(arguments(_name="bart_vae_tiny"))
    task = build(data)
    task.load_dataset("train")
    with pytest.raises(InputError, match="--grouped-shuffling with several workers leaves the same longest sentences"):
        task.get_batch_iterator(task.dataset("train"), max_sentences=2, num_shards=2, grouped_shuffling=True)
    for flags, refused in (({}, True), ({"zero_latent": True}, False), ({"deterministic_latent": True}, False)):
        task.build_model(arguments(_name="bart_vae_tiny", **flags))
        stock = Namespace(_name="cross_entropy", sentence_avg=False)
        with pytest.raises(InputError, match="--criterion cross_entropy has no KL") if refused else nullcontext():
            task.build_criterion(stock)


def test_a_measurement_of_training_sentences_is_of_clean_ones(tmp_path):
    """Though the model was trained with noise, which the checkpoint's task has."""
    save_vae(tmp_path, "--noise=masking", "--noise-ratio=0.9", words=[f"w{i}" for i in range(25)])
    write_data(tmp_path, train=TRAIN, valid=TRAIN)
    built, _, task = load_model(str(tmp_path / "checkpoint_best.pt"), str(tmp_path))
    of_train, of_valid = (load_split(built, task, split, 100, 1).distributions()[0] for split in ("train", "valid"))
    torch.testing.assert_close(of_train.mean, of_valid.mean)


def test_words_of_another_dictionary_are_refused(data, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(data, tmp_path / name)
    both = f"{tmp_path}/a:{tmp_path}/b"
    build(both)
    lines = Path(data, "dict.txt").read_text().splitlines(keepends=True)
    (tmp_path / "b/dict.txt").write_text("".join(lines[::-1]))
    with pytest.raises(InputError, match="b/dict.txt is another dictionary than .*a/dict.txt"):
        build(both)
    (tmp_path / "b/dict.txt").write_text("".join(lines[:2]))
    with pytest.raises(InputError, match=r"b/train.bin has tokens up to \d+, and .*b/dict.txt gives 7: expected"):
        build(str(tmp_path / "b")).load_dataset("train")


def test_bad_data_is_refused_by_file_and_line(tmp_path, data, caplog):
    with pytest.raises(InputError, match="dict.txt does not exist"):
        build(str(tmp_path))
    with pytest.raises(InputError, match="test.bin does not exist: --testpref"):
        build(data).load_dataset("test")
    broken = write_data(tmp_path, train=[], valid=[[1, 2], [], [3], []], test=[[1], [2] * 40, [3]])
    with pytest.raises(InputError, match="train.bin has no sentences"):
        build(broken).load_dataset("train")
    with pytest.raises(InputError, match=r"valid: line 2 of the text is empty \(2 empty lines"):
        build(broken).load_dataset("valid")
    with pytest.raises(InputError, match=r"test: line 2 of the text is too long, 40 tokens where 30 fit"):
        epoch(build(broken), "test", max_positions=(32, 32))
    assert [record.levelname for record in caplog.records if record.name.startswith("fairseq_vae")] == ["ERROR"] * 5
    skipping = build(broken, skip_invalid_size_inputs_valid_test=True)
    assert set(sources(epoch(skipping, "test", max_positions=(32, 32)))) == {0, 2}
    assert skipping.dataset("test").partners([0, 2], 1024)["numbers"] == [2, 0], "a skipped one is no partner"
