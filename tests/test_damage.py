"""Files that are cut off or have one bit flipped: one line names the file, or what is read is what was written."""

import contextlib
import json
import random

import finetuning
import pytest
import torch
from fairseq.data import Dictionary
from helpers import save_bart, write_data
from huggingface import hugging_face

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.text import build_bpe, find_bpe, read_dictionary
from fairseq_vae.checkpoints.hf_read import from_hf
from fairseq_vae.checkpoints.read import check_file, read_checkpoint
from fairseq_vae.data import read_sentences
from fairseq_vae.finetune.plan import Plan
from fairseq_vae.finetune.steps import Finetuning

pytestmark = pytest.mark.usefixtures("quick_conversion")

CASES = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of each kind that is read."""
    folder = tmp_path_factory.mktemp("whole")
    save_bart(folder / "bart")
    state = torch.load(folder / "bart/model.pt")
    torch.save(state, folder / "bart/old.pt", _use_new_zipfile_serialization=False)
    hugging_face(folder / "safe")
    hugging_face(folder / "bin", safe=False)
    (folder / "data").mkdir()
    write_data(folder / "data", train=[[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    return folder


def cuts(path, shortest=0):
    """The file's beginning at CASES lengths."""
    content, draws = path.read_bytes(), random.Random(path.name)
    return [content[: draws.randrange(shortest, len(content))] for _ in range(CASES)]


def flips(path):
    """The file with one bit flipped, at CASES places."""
    draws = random.Random(path.name)
    for _ in range(CASES):
        content = bytearray(path.read_bytes())
        content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        yield bytes(content)


@contextlib.contextmanager
def one_line(path):
    """An InputError of one line that names the file, which stays as it was."""
    before = path.read_bytes()
    with pytest.raises(InputError) as error:
        yield
    assert "\n" not in str(error.value) and path.name in str(error.value), error.value
    assert path.read_bytes() == before


def same(found, expected):
    return found.keys() == expected.keys() and all(found[key].equal(expected[key]) for key in expected)


@pytest.mark.parametrize("name", ["bart/model.pt", "bart/old.pt", "bin/pytorch_model.bin"])
def test_a_checkpoint_that_is_cut_off_is_refused(made, tmp_path, name):
    path = tmp_path / (made / name).name
    for content in cuts(made / name):
        path.write_bytes(content)
        for read in check_file, read_checkpoint:
            with one_line(path):
                read(str(path))


def test_a_flipped_bit_in_a_checkpoint_changes_no_weight_unseen(made, tmp_path):
    """torch reads them without a word: its archives have checksums, which it does not compare."""
    path, refused, expected = tmp_path / "model.pt", 0, torch.load(made / "bart/model.pt")["model"]
    for content in flips(made / "bart/model.pt"):
        path.write_bytes(content)
        try:
            assert same(read_checkpoint(str(path))["model"], expected), "only bytes between the records may differ"
            check_file(str(path))
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert refused > CASES / 2


def test_every_byte_of_a_tensor_is_under_a_checksum(made, tmp_path):
    key, path = "decoder.layers.1.fc2.weight", tmp_path / "model.pt"
    weights = torch.load(made / "bart/model.pt")["model"][key].numpy().tobytes()
    content = (made / "bart/model.pt").read_bytes()
    start, draws = content.index(weights), random.Random(1)
    for _ in range(CASES):
        damaged = bytearray(content)
        damaged[start + draws.randrange(len(weights))] ^= 1 << draws.randrange(8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(
            InputError, match=r"model.pt is damaged \(checksum of .*/data/\d+\): copy or train it again"
        ):
            read_checkpoint(str(path))


def test_an_archive_that_was_written_without_checksums_is_read(made, tmp_path):
    if not hasattr(torch.serialization, "set_crc32_options"):
        return  # this torch always writes them
    state = torch.load(made / "bart/model.pt")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read_checkpoint(str(tmp_path / "model.pt"))["model"], state["model"])


@pytest.mark.parametrize("damage", [cuts, flips])
@pytest.mark.parametrize(
    "name", ["safe/model.safetensors", "bin/pytorch_model.bin", "safe/vocab.json", "safe/merges.txt"]
)
def test_a_damaged_folder_of_hugging_faces_is_one_line_or_read(made, tmp_path, name, damage):
    """safetensors, JSON and text have no checksum: what they still say is believed."""
    folder = tmp_path / "hf"
    folder.mkdir()
    for path in (made / name).parent.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    refused = 0
    for number, content in enumerate(damage(made / name)):
        (folder / (made / name).name).write_bytes(content)
        try:
            from_hf(str(folder), str(tmp_path / str(number) / "model.pt"))
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(folder) in str(error)
            assert not (tmp_path / str(number)).exists()
    assert refused or damage is flips


@pytest.mark.parametrize("suffix", ["idx", "bin"])
def test_binarised_text_that_is_cut_off_is_refused(made, tmp_path, suffix):
    for other in "idx", "bin":
        (tmp_path / f"train.{other}").write_bytes((made / f"data/train.{other}").read_bytes())
    dictionary = Dictionary.load(str(made / "data/dict.txt"))
    assert len(read_sentences(str(tmp_path / "train"), dictionary)) == 3
    path = tmp_path / f"train.{suffix}"
    for content in cuts(made / f"data/train.{suffix}", shortest=1):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"train.bin or .idx is cut off or damaged .*: run fairseq-preprocess again"
        ):
            read_sentences(str(tmp_path / "train"), dictionary)


@pytest.mark.parametrize("content", [b"w0 1\nw1", b"w0 1\nw1 \xff\n", b"w0 1\nw0 1\n", b"\x00\x01"])
def test_a_dictionary_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "dict.txt"
    path.write_bytes(content)
    with one_line(path):
        read_dictionary(str(path))


@pytest.mark.parametrize("name", ["encoder.json", "sentencepiece.bpe.model"])
def test_a_tokenizer_that_is_cut_off_is_refused(made, tmp_path, name):
    if name == "encoder.json":
        from_hf(str(made / "safe"), str(tmp_path / "model.pt"))
    else:
        finetuning.write_sentencepiece(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with one_line(path):
        build_bpe(find_bpe([str(tmp_path)]))


def test_damaged_settings_of_a_run_are_refused(tmp_path):
    given = finetuning.make(tmp_path)
    (tmp_path / "out").mkdir()
    path = tmp_path / "out/settings.json"
    plan = Plan(str(given / "data"), str(tmp_path / "out"), "naive", str(given / "bart/model.pt"))
    Finetuning(plan).check_settings()
    whole = path.read_bytes()
    assert json.loads(whole) == plan.settings
    for content in (whole[: len(whole) // 2], b"", b"\xff", b"[]"):
        path.write_bytes(content)
        with one_line(path) if content != b"[]" else pytest.raises(InputError, match="other settings"):
            Finetuning(plan).check_settings()
