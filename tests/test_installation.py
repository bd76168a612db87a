"""The wheel: all sub-packages and data are inside, and its command runs."""

import os
import shutil
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


def test_an_entered_environment_that_is_out_of_date_is_made_anew(tmp_path):
    """Though its own python3 is the first to be found; what cannot be installed here leaves it without packages."""
    (tmp_path / "scripts").mkdir()
    for name in ("setup.py", "scripts/constraints.txt", "scripts/environment.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    made = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    (made / "installed").write_text("another\n")
    environment = {**os.environ, "PATH": f"{made / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(made)}
    environment |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(tmp_path)}
    command = ["bash", "-c", f"source {tmp_path / 'scripts/environment.sh'}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "ERROR: " in done.stderr, done.stderr  # of pip
    assert not (made / "installed").exists()
    assert subprocess.run([made / "bin/python", "-c", "import pip"], capture_output=True).returncode == 0
