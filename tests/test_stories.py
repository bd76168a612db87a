"""examples/stories/prepare.py: key phrases by hand, and pairs of stories."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_vae.base.errors import InputError

PATH = Path(__file__).parent.parent / "examples/stories/prepare.py"
STORY = ["Ann had a red paper boat.", "The boat sank; Ann cried.", "She built a very big red paper boat."]


@pytest.fixture(scope="module")
def prepare():
    spec = importlib.util.spec_from_file_location("prepare", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_candidates_stand_between_stop_words_and_punctuation(prepare):
    text = " ".join(STORY)
    expected = ["ann", "red paper boat", "boat sank", "ann cried", "built", "big red paper boat"]
    assert [" ".join(phrase) for phrase in prepare.candidates(text)] == expected
    assert prepare.candidates("It's hers, and don't!") == [] == prepare.candidates("")


def test_key_phrases_are_those_of_the_highest_sums_of_mean_lengths(prepare):
    """boat: 3 + 2 + 4 words in 3 candidates; red and paper: 7 in 2; big: 4; ann: 1 + 2 in 2."""
    text = " ".join(STORY)
    scores = {"red paper boat": 10, "boat sank": 5, "ann cried": 3.5, "ann": 1.5, "built": 1, "big red paper boat": 14}
    assert prepare.keywords(text, 99) == sorted(scores, key=text.lower().index)
    assert prepare.keywords(text, 1) == ["big red paper boat"]
    for count in range(1, 7):
        assert set(prepare.keywords(text, count)) == set(sorted(scores, key=scores.get)[-count:])


def test_pairs_are_the_rest_of_first_sentences_or_stories_of_key_phrases(prepare, tmp_path, monkeypatch, capsys):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.tsv").write_text("\t".join(STORY) + "\n")
    for folder, options in (("first", []), ("keys", ["--keywords", "2"])):
        monkeypatch.setattr(sys, "argv", ["prepare.py", str(tmp_path), str(tmp_path / folder), *options])
        prepare.main(prepare.parsed())
    assert "test: 1 pairs" in capsys.readouterr().out
    read = {path.name: path.read_text() for path in (tmp_path / "first").iterdir()}
    assert sorted(read) == [f"{split}.{side}" for split in ("test", "train", "valid") for side in ("source", "target")]
    assert (read["test.source"], read["test.target"]) == (f"{STORY[0]}\n", f"{' '.join(STORY[1:])}\n")
    assert (tmp_path / "keys/test.source").read_text() == "red paper boat | big red paper boat\n"
    assert (tmp_path / "keys/test.target").read_text() == " ".join(STORY) + "\n"


@pytest.mark.parametrize(
    "text, message", [(None, "has neither train.tsv nor train.tsv.gz"), ("A.\tB.\n\n", "train.tsv, line 2: expected")]
)
def test_what_is_no_story_is_named(prepare, tmp_path, text, message):
    if text is not None:
        (tmp_path / "train.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        prepare.stories(str(tmp_path), "train")


def test_files_that_cannot_be_read_or_written_are_one_line(tmp_path):
    def refused(*options):
        command = [sys.executable, str(PATH), str(tmp_path), str(tmp_path / "out"), *options]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith("prepare.py: ") and done.stderr.count("\n") == 1
        return done.stderr

    (tmp_path / "train.tsv").write_bytes(b"A.\tB.\ncaf\xe9\tC.\n")
    assert "train.tsv, line 2: not UTF-8" in refused() and "--keywords -1: expected 0 or more" in refused(
        "--keywords=-1"
    )
    (tmp_path / "train.tsv").rename(tmp_path / "train.tsv.gz")
    assert "train.tsv.gz" in refused()
    (tmp_path / "out").write_text("mine")
    assert "out is there already" in refused() and (tmp_path / "out").read_text() == "mine"
