"""scripts/gpu_check.py: its parts that need no GPU run here, and its JSON tells which ones did not."""

import json
import os
import subprocess
from pathlib import Path

import commands
import pytest

SCRIPT = Path(__file__).parent.parent / "scripts/gpu_check.py"
SMALL = "--size tiny --updates 2 --max-tokens 200 --vocabulary 50 --sentences 8".split()


def check(*arguments):
    command = [*commands.forked(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_parts_that_need_no_gpu_work_one_that_fails_ends_no_other_and_the_report_is_whole(tmp_path):
    done = check("--device", "cpu", "--output", tmp_path, *SMALL, "--recipes", "none,default")
    assert done.returncode == 1 and "7 of 10 parts work, 2 left out" in done.stdout, done.stdout + done.stderr[-3000:]
    results = json.loads((tmp_path / "gpu_check.json").read_text())["results"]
    assert [name for name, result in results.items() if "left out" in result] == ["stock bart, fp16", "fp16"]
    assert "--recipe none" in results.pop("recipe none")["failed"]
    for name, result in results.items():
        assert "failed" not in result and f"\n{name} " in f"\n{done.stdout}"
        if name.startswith("recipe"):
            assert result["neg_elbo"] > 0 and result["beam 5 words/s"] > 0
        elif "left out" not in result:
            assert result["words/s"] > 0 and result["peak MiB"] > 0 and result["loss"] > 0


@pytest.mark.slow
def test_a_missing_gpu_is_said_in_one_line(tmp_path):
    done = check("--device", "cuda", "--output", tmp_path)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("gpu_check: torch sees no GPU")
