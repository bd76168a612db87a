import gc
import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

gc.disable()  # until all is imported; each collection would go through what there is so far
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import torch  # noqa: E402

LONG = ("test_quickstart", "test_gpu_check", "test_workers", "test_layout")  # more than a minute in one test


def pytest_configure(config):
    """One server of commands for all processes of tests, unless no command is run."""
    workers = getattr(config.option, "numprocesses", None)
    if workers and not hasattr(config, "workerinput") and "not slow" not in config.option.markexpr:
        import commands

        os.environ[commands.FOLDER] = str(commands.folder())


def pytest_collection_modifyitems(items):
    """Let long tests start first, so that several processes end together.

    Cases of flows are left out where zuko is not installed: setup.py has it from Python 3.11 on, beside torch 2.
    """
    items.sort(key=lambda item: item.path.stem not in LONG)
    if importlib.util.find_spec("zuko") is None:
        for item in items:
            if re.search("(?<![a-z])flows?(?![a-z])", item.name):
                item.add_marker(pytest.mark.skip(reason="needs zuko"))


def pytest_collection_finish():
    """Leave what is imported out of garbage collections, of which each would go through all of it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def quick_conversion(monkeypatch):
    """finetune's configurations without a conversion by hydra for each set of flags; test_commands holds both alike."""
    import helpers

    name = "fairseq_vae.finetune.configuration.convert_namespace_to_omegaconf"
    monkeypatch.setattr(name, lambda args: helpers.converted("training", args))


@pytest.fixture
def short_lived_workers(monkeypatch):
    """torch waits 5 s for a data worker that it has lost sight of."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    yield
    gc.collect()
