"""The scripts under examples/ run."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from fairseq.models.bart import BARTModel

import fairseq_vae  # noqa: F401  without it, torch's safe loader refuses BART's archives

ROOT = Path(__file__).parent.parent
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "script, arguments, made",
    [
        ("examples/latent_space/run.py", ["--updates", "8", "--output", "."], ["latent_space.png", "results.json"]),
        ("scripts/plot_schedules.py", ["--output", "schedules.svg"], ["schedules.svg"]),
    ],
)
def test_a_figure_is_drawn(tmp_path, script, arguments, made):
    command = [sys.executable, str(ROOT / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == made


@pytest.mark.slow
def test_a_small_bart_is_pretrained_and_exported_as_an_archive(tmp_path):
    words = product(("the dog", "a cat"), ("sleeps", "eats"), ("here", "there"))
    lines = [f"{who} {what} {where} ." for who, what, where in words]
    for split in ("train", "valid"):
        (tmp_path / f"{split}.txt").write_text("\n".join(lines * 5) + "\n")
    command = ["bash", str(ROOT / "examples/pretrain_small_bart/run.sh"), str(tmp_path), str(tmp_path / "bart"), "2"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": PATH, "PIECES": "300"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert sorted(path.name for path in (tmp_path / "bart").glob("*.*")) == [
        "dict.txt",
        "model.pt",
        "sentencepiece.bpe.model",
    ]
    bart = BARTModel.from_pretrained(str(tmp_path / "bart"), bpe="sentencepiece")
    assert len(bart.task.source_dictionary) == 4 + len((tmp_path / "bart/dict.txt").read_text().splitlines()) + 1
    assert bart.decode(bart.encode("the dog sleeps here .")) == "the dog sleeps here ."
    state = torch.load(tmp_path / "bart/model.pt")["model"]
    assert {value.dtype for key, value in state.items() if "version" not in key} == {torch.float16}
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
    assert len({state[name].untyped_storage().data_ptr() for name in names}) == 1
