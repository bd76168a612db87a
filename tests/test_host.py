"""What the import says and does about its host; each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


FINDER = """
class Finder:
    @staticmethod
    def find_spec(name, *_):
        if name == "fairseq":
            raise {error}
sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize(
    "host, message",
    [
        (
            FINDER.format(error="ModuleNotFoundError('no fairseq', name='fairseq')"),
            "fairseq_vae needs fairseq, which is not installed",
        ),
        (
            "import types; sys.modules.update({n: types.ModuleType(n) for n in "
            "('fairseq', 'fairseq.checkpoint_utils', 'fairseq.dataclass')})",
            "the installed fairseq is older than 0.12.2",
        ),
        (FINDER.format(error="ValueError('mutable default')"), "does not import here (mutable default)"),
    ],
    ids=["missing", "too old", "broken"],
)
def test_the_import_says_what_to_install(host, message):
    done = python(f"import sys\n{host}\nfrom fairseq_vae import BARTVAEModel")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and last.startswith("ImportError") and message in last and "pip install" in last


def test_the_safe_loader_stays_on_and_takes_fairseqs_classes_only(tmp_path):
    done = python(
        "import argparse, torch, fairseq_vae, fairseq\n"
        "class Unknown: pass\n"
        f"torch.save(argparse.Namespace(a=1), {str(tmp_path / 'known.pt')!r})\n"
        f"torch.save(Unknown(), {str(tmp_path / 'unknown.pt')!r})\n"
        f"assert torch.load({str(tmp_path / 'known.pt')!r}).a == 1\n"
        f"torch.load({str(tmp_path / 'unknown.pt')!r})\n"
    )
    assert done.returncode and "Unsupported global" in done.stderr and "Unknown" in done.stderr


def test_the_import_touches_no_logging_and_no_seed():
    done = python(
        "import logging, torch, fairseq; torch.manual_seed(5); before = torch.random.get_rng_state()\n"
        "handlers = list(logging.root.handlers); level = logging.root.level\n"
        "import fairseq_vae\n"
        "assert torch.random.get_rng_state().equal(before)\n"
        "assert (logging.root.handlers, logging.root.level) == (handlers, level)\n"
    )
    assert done.returncode == 0, done.stderr
