"""Checkpoints read from files: what is refused, and what is said of a good one."""

from argparse import Namespace
from pathlib import PurePosixPath

import pytest
import torch
from fairseq.data import Dictionary
from helpers import save_bart, save_vae
from omegaconf import OmegaConf

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.read import (
    check_dictionary,
    check_file,
    folders,
    load_safely,
    model_settings,
    read_checkpoint,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bart")
    save_bart(folder)
    return (folder / "model.pt").read_bytes()


@pytest.fixture
def bart(whole, tmp_path):
    (tmp_path / "model.pt").write_bytes(whole)
    return tmp_path / "model.pt"


def resave(path, change, **options):
    state = torch.load(path)
    change(state)
    torch.save(state, path, **options)


def unsafe(state):
    state["extra_state"]["path"] = PurePosixPath("x")


def cut_off_archive(path):
    """One of the file format of BART's own archives, half of it."""
    resave(path, dict, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: path.unlink(), "model.pt does not exist"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), r"model.pt is truncated \(5,000 bytes\)"),
        (lambda path: path.write_bytes(b"weights"), "model.pt cannot be read"),
        (lambda path: resave(path, unsafe), "model.pt holds pathlib.*, which to load could run any code"),
        (lambda path: resave(path, unsafe, _use_new_zipfile_serialization=False), "model.pt holds pathlib"),
        (cut_off_archive, "model.pt cannot be read"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(bart, spoil, message):
    spoil(bart)
    for refuse in check_file, load_safely, read_checkpoint:
        with pytest.raises(InputError, match=message) as error:
            refuse(str(bart))
        assert "\n" not in str(error.value)


def test_a_file_of_something_else_is_no_checkpoint(bart):
    torch.save({"shared.weight": torch.zeros(2)}, bart)
    check_file(str(bart))
    with pytest.raises(InputError, match="no weights under `model`: .*fairseq-vae convert"):
        read_checkpoint(str(bart))
    torch.save({"model": {"a": torch.zeros(2)}}, bart)
    with pytest.raises(InputError, match="has no settings"):
        read_checkpoint(str(bart))


def test_a_good_file_is_read_in_both_formats(bart):
    for zipped in True, False:
        resave(bart, dict, _use_new_zipfile_serialization=zipped)
        check_file(str(bart))
        assert "encoder.embed_tokens.weight" in read_checkpoint(str(bart))["model"]


def test_settings_are_told_whichever_way_they_were_saved(bart):
    settings = model_settings(read_checkpoint(str(bart)))
    assert (settings.arch, settings.encoder_embed_dim, settings.activation_fn) == ("bart_base", 16, "gelu")
    values = {"_name": "bart_base", "encoder_embed_dim": 16, "encoder_layers": None}
    for state in (
        {"cfg": {"model": values}},
        {"cfg": OmegaConf.create({"model": values})},
        {"cfg": {"model": Namespace(arch="bart_base", encoder_embed_dim=16)}},
        {"args": Namespace(arch="bart_base", encoder_embed_dim=16)},
    ):
        found = model_settings(state)
        assert (found.arch, found.encoder_embed_dim, found.encoder_layers) == ("bart_base", 16, 6)
    assert model_settings({"args": Namespace(encoder_layers=3)}).arch == "unknown"


def words(*symbols):
    result = Dictionary()
    for symbol in symbols:
        result.add_symbol(symbol)
    return result


def test_a_dictionary_of_other_words_is_refused(bart):
    path = str(bart)
    bart.with_name("dict.txt").write_text("a 1\nb 1\nc 1\n")
    check_dictionary(path, words("a", "b", "c"), "data/dict.txt")
    check_dictionary(path, words("a", "b"), "data/dict.txt")
    check_dictionary(path, words("a", "b", "c", "more"), "data/dict.txt")
    check_dictionary(path, words("a", "b", "<mask>"), "data/dict.txt")
    with pytest.raises(InputError, match="data/dict.txt, line 2: 'c' where the checkpoint's .*/dict.txt has 'b'"):
        check_dictionary(path, words("a", "c", "b"), "data/dict.txt")
    below = str(bart.parent / "phase2" / "model.pt")
    with pytest.raises(InputError, match="line 2: 'c' where the checkpoint's .*/dict.txt has 'b'"):
        check_dictionary(below, words("a", "c", "b"), "data/dict.txt")
    bart.with_name("dict.txt").unlink()
    for each in path, below:
        check_dictionary(each, words("a", "c", "b"), "data/dict.txt")


def test_folders_of_dictionary_and_bpe(tmp_path):
    assert folders(str(tmp_path / "phase2/model.pt")) == [str(tmp_path / "phase2"), str(tmp_path)]
    assert folders("/a/model.pt", "/data/") == ["/a", "/", "/data"]


def test_a_vaes_settings_hold_its_latent(tmp_path):
    save_vae(tmp_path, "--latent-dim=5")
    settings = model_settings(read_checkpoint(str(tmp_path / "checkpoint_best.pt")))
    assert (settings.arch, settings.latent_dim) == ("bart_vae_tiny", 5)
