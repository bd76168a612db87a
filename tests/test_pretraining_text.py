"""The text that examples/pretrain_small_bart/prepare.py makes of Debian's dictionaries and of chat."""

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_vae.base.dialogs import Utterance

PATH = Path(__file__).parent.parent / "examples/pretrain_small_bart/prepare.py"
ENTRY = """\
Affect \\Af*fect"\\, v. t. [imp. & p. p. {Affected}; p. pr. & vb.
   n. {Affecting}.] [L. affectus.]
   1. To act upon; to produce a change upon {things}.
      [1913 Webster]

            The climate affected their health and spirits.
                                                  --Macaulay.
      [1913 Webster]

   Syn: Sway.
"""


@pytest.fixture
def prepare(monkeypatch):
    spec = importlib.util.spec_from_file_location("prepare_pretraining", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    chat = [[Utterance("a", "Hello to you. What the fuck is that?"), Utterance("b", "See www.example.org for it")]]
    monkeypatch.setattr(module, "read_chitchat", lambda tally: chat)
    return module


@pytest.fixture
def debian(tmp_path):
    wordnet, dictd = tmp_path / "usr/share/wordnet", tmp_path / "usr/share/dictd"
    wordnet.mkdir(parents=True)
    dictd.mkdir()
    for part in ("noun", "verb", "adj", "adv"):
        (wordnet / f"data.{part}").write_text("  1 This software is licensed to you\n")
    (wordnet / "data.noun").write_text('7 03 n 01 whole 0 000 | a set of parts; "the team is a unit"; short  \n')
    (dictd / "gcide.dict.dz").write_bytes(gzip.compress(ENTRY.encode()))
    return tmp_path


def test_definitions_examples_quotations_and_messages(prepare, debian, capsys):
    prepare.main(debian, debian / "text")
    lines = [(debian / f"text/{split}.txt").read_text().splitlines() for split in ("train", "valid")]
    assert sorted(lines[0] + lines[1]) == [
        "Hello to you.",  # not the sentence with profanity, nor the message with an address
        "The climate affected their health and spirits.",  # without its author
        "To act upon; to produce a change upon things.",  # without its number and note
        "a set of parts",
        "the team is a unit",
    ]
    assert capsys.readouterr().out == "WordNet: 2 lines\nGCIDE: 2 lines\nchitchat: 1 lines\n"


def test_the_same_lines_are_held_out_on_every_machine(prepare, debian):
    (debian / "usr/share/wordnet/data.verb").write_text("".join(f"7 | this is number {n}\n" for n in range(3000)))
    prepare.main(debian, debian / "text")
    held = (debian / "text/valid.txt").read_text().splitlines()
    assert held[:3] == ["this is number 20", "this is number 34", "this is number 127"] and 20 <= len(held) <= 40


def test_a_folder_without_the_packages_is_refused_by_its_file(tmp_path):
    done = subprocess.run([sys.executable, PATH, tmp_path, tmp_path / "text"], capture_output=True, text=True)
    missing = tmp_path / "usr/share/wordnet/data.noun"
    remedy = "unpack wordnet-base and dict-gcide in DEBIAN with dpkg -x"
    assert (done.returncode, done.stderr) == (1, f"prepare.py: {missing} is missing: {remedy}\n")
    assert not (tmp_path / "text").exists()
