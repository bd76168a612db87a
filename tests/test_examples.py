"""The scripts under examples/ run."""

import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import commands
import pytest
import torch
from fairseq.models.bart import BARTModel

import fairseq_vae  # noqa: F401  without it, torch's safe loader refuses BART's archives

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "script, arguments, made",
    [
        ("examples/latent_space/run.py", ["--updates", "8", "--output", "."], ["latent_space.svg", "results.json"]),
        ("scripts/plot_schedules.py", ["--output", "schedules.svg"], ["schedules.svg"]),
    ],
)
def test_a_figure_is_drawn(tmp_path, script, arguments, made):
    command = [*commands.forked(ROOT / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == made


def test_a_small_bart_is_pretrained_and_exported_as_an_archive(tmp_path):
    words = product(("the dog", "a cat"), ("sleeps", "eats"), ("here", "there"))
    lines = [f"{who} {what} {where} ." for who, what, where in words]
    for split in ("train", "valid"):
        (tmp_path / f"{split}.txt").write_text("\n".join(lines * 5) + "\n")
    path = os.pathsep.join((str(commands.folder()), str(Path(sys.executable).parent), os.environ["PATH"]))
    losses = {}
    for precision in ("float32", "bfloat16"):
        output = tmp_path / precision
        command = ["bash", str(ROOT / "examples/pretrain_small_bart/run.sh"), str(tmp_path), str(output), "2"]
        settings = {**os.environ, "PATH": path, "PIECES": "300", "PRECISION": precision}
        done = subprocess.run(command, capture_output=True, text=True, env=settings)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        losses[precision] = [float(loss) for loss in re.findall(r"\| train \| .*?\| loss ([\d.]+)", done.stdout)]
        assert sorted(path.name for path in output.glob("*.*")) == ["dict.txt", "model.pt", "sentencepiece.bpe.model"]
        bart = BARTModel.from_pretrained(str(output), bpe="sentencepiece")
        assert len(bart.task.source_dictionary) == 4 + len((output / "dict.txt").read_text().splitlines()) + 1
        assert bart.decode(bart.encode("the dog sleeps here .")) == "the dog sleeps here ."
        state = torch.load(output / "model.pt")["model"]
        assert {value.dtype for key, value in state.items() if "version" not in key} == {torch.float16}
        names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
        assert len({state[name].untyped_storage().data_ptr() for name in names}) == 1
    assert len(losses["float32"]) == 2 and losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)
    refused = subprocess.run(command, capture_output=True, text=True, env={**settings, "PRECISION": "float16"})
    assert refused.returncode == 1 and "PRECISION=float16: expected float32 or bfloat16" in refused.stderr


def test_the_annealing_report(tmp_path):
    """Two seeds: means, Student's interval, and differences seed by seed; a resumed run's repeated line counts once,
    and one that is not done does not."""
    ends = {"monotonic": {1: 4.0, 2: 6.0, 3: 9.0}, "cyclical": {1: 5.0, 2: 7.5, 4: 9.0}}
    for arm, kls in ends.items():
        for seed, kl in kls.items():
            values = {"valid_kl": f"{kl}", "valid_neg_elbo": "120.5", "valid_mi": "3.0", "valid_au": "32"}
            lines = [{**values, "valid_kl": "9", "valid_num_updates": "40"}, {**values, "valid_num_updates": "80"}]
            text = "".join(f"2026 | INFO | valid | {json.dumps(line)}\n" for line in [*lines, lines[1]])
            (tmp_path / f"{arm}-{seed}.log").write_text(text)
            if (arm, seed) != ("monotonic", 3):
                (tmp_path / f"{arm}-{seed}.done").touch()
    command = [sys.executable, str(ROOT / "examples/annealing/report.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row[1]: row[2:4] for row in (re.split(r" *\| *", line) for line in done.stdout.splitlines())}
    assert rows["monotonic"] == ["2", "5.00 ± 12.71"]  # 12.706 * sqrt(2) / sqrt(2)
    assert rows["cyclical"][0] == "3" and rows["cyclical − monotonic, seed by seed"] == ["2", "1.25 ± 3.18"]
    assert "monotonic-3.log is of a run that is not done: left out" in done.stderr
    assert (tmp_path / "annealing.svg").stat().st_size > 1000
