"""The quickstart's smoke run, interrupted and resumed, and its text preparation."""

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import commands
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PREPARE = [sys.executable, str(ROOT / "scripts/prepare_data.py"), "--output"]


def prepare(output, *arguments):
    return subprocess.run([*PREPARE, str(output), *map(str, arguments)], capture_output=True, text=True)


def test_own_text_is_split_and_used_once(tmp_path):
    lines = [f"Sentence number {i} ." for i in range(300)]
    (tmp_path / "own.txt").write_text("\n".join(lines) + "\n")
    done = prepare(tmp_path / "text", "--data", tmp_path / "own.txt")
    assert done.returncode == 0, done.stderr
    splits = {split: (tmp_path / f"text/{split}.txt").read_text().splitlines() for split in ("train", "valid", "test")}
    assert sorted(sum(splits.values(), [])) == sorted(lines) and min(map(len, splits.values())) == 9


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no text"),
        (b"\n\n", "no text"),
        (b"one\n\ntwo\n \nthree\n", "line 2 is empty (2 empty lines"),
        (b"one\ntwo\n", "2 lines; expected at least 100"),
        (b"caf\xe9\n", "not UTF-8 at byte 3"),
        (None, "No such file"),
    ],
)
def test_bad_text_is_refused_in_one_line_and_nothing_is_written(tmp_path, content, message):
    if content is not None:
        (tmp_path / "own.txt").write_bytes(content)
    done = prepare(tmp_path / "text", "--data", tmp_path / "own.txt")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert "own.txt" in done.stderr and not (tmp_path / "text").exists()


def test_chat_is_clean_and_no_sentence_is_in_two_splits(tmp_path):
    assert prepare(tmp_path, "--limit", 3000).returncode == 0
    splits = [set((tmp_path / f"{split}.txt").read_text().splitlines()) for split in ("train", "valid", "test")]
    everything = set.union(*splits)
    assert sum(map(len, splits)) == len(everything) >= 3000
    assert all(5 <= len(line.split()) <= 20 and line[0].isupper() and line[-1] in ".?!" for line in everything)


def quickstart(output, *arguments, start=("bash", str(ROOT / "scripts/quickstart.sh"))):
    command = [*start, "--smoke", "--output", str(output), *arguments]
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "QUICKSTART_MARK": mark},
    )
    process.mark = mark
    return process


def marked(mark):
    """The processes with a mark in their environment, that is all that a quickstart started."""
    everything = subprocess.run(["ps", "axeww"], capture_output=True, text=True).stdout
    return [line for line in everything.splitlines() if f"QUICKSTART_MARK={mark}" in line]


def test_smoke_run_survives_being_killed_and_repeats_nothing(tmp_path):
    first = quickstart(tmp_path)
    deadline = time.time() + 300
    while not (tmp_path / "vae/phase1/checkpoint_last.pt").exists():
        assert first.poll() is None and time.time() < deadline, first.communicate()[0][-3000:]
        time.sleep(0.2)
    first.kill()  # that process only: whatever it started is to end by itself
    deadline = time.time() + 60
    while marked(first.mark):
        assert time.time() < deadline, "a process outlived the quickstart"
        time.sleep(0.1)
    first.communicate()
    assert not (tmp_path / "vae/phase1.done").exists()

    forked = commands.forked(ROOT / "scripts/quickstart.py")
    second = quickstart(tmp_path, start=forked)
    output, _ = second.communicate()
    assert second.returncode == 0, output[-3000:]
    assert "✓ text: done before" in output and "Loaded checkpoint" in (tmp_path / "vae/phase1.log").read_text()
    for row in "reconstruction", "KL", "negative ELBO", "PPL per word", "active units", "mutual information":
        assert f"\n{row}  " in output, row
    prior, reconstructions, line = (tmp_path / "vae/samples.txt").read_text().split("\n\n")
    assert [len(part.splitlines()) for part in (prior, reconstructions, line)] == [11, 11, 8]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    numbers = json.loads((tmp_path / "vae/evaluation.json").read_text())
    assert numbers["au"] > numbers["latent_dim"] / 2 and numbers["nll_gap_shuffled"] >= 1
    assert numbers["intervals"]["nll_gap_shuffled"][0] > 0

    third = quickstart(tmp_path, start=forked)
    output, _ = third.communicate()
    assert third.returncode == 0 and output.count("done before") == 9 and "fairseq-train" not in output
    other = quickstart(tmp_path, "--data", str(tmp_path / "text/train.txt"), start=forked)
    output, _ = other.communicate()
    assert other.returncode == 1 and "holds a run with other settings or data" in output
