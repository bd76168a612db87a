"""The wheel: all sub-packages and data are inside, and its command runs."""

import os
import subprocess
import sys

import pytest
from installation import ROOT, install

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return install(tmp_path_factory.mktemp("installation"))


def contents(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".py", ".yaml", ".typed")}


def test_everything_is_inside(package):
    found = contents(package)
    assert found == contents(ROOT / "fairseq_vae")
    assert {"py.typed", "cli/main.py", "config/finetune.yaml", "config/recipe/default/phase2.yaml"} <= found


def test_hugging_faces_library_loads_beside_the_plug_in():
    """It looks for torchaudio, which fairseq requires and which may not fit the build of torch."""
    code = (
        "import transformers; transformers.BartForConditionalGeneration\n"
        "from fairseq_vae import BARTVAEModel\n"
        "import importlib.util, sys\n"
        "if importlib.util.find_spec('torchaudio'): import torchaudio"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_its_command_answers(package, tmp_path):
    command = package.parent / "bin/fairseq-vae"
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    done = subprocess.run([str(command), "path"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.stdout, done.stderr) == (f"{package}\n", "")
    done = subprocess.run(
        [str(command), "finetune", "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert "park-lee-2021" in done.stdout, done.stderr
