"""The package as pip installs it, without a clone in sight."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def install(folder):
    """Build a wheel from a copy of the sources and install it into a folder; returns its package's path there."""
    source, target = folder / "source", folder / "plain"
    shutil.copytree(ROOT / "fairseq_vae", source / "fairseq_vae", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return target / "fairseq_vae"
