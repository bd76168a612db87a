"""Examples in docstrings run, and `__all__` names what is there."""

import doctest
import importlib

import pytest
from test_layout import MODULES

SOURCES = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items() if "__init__" not in name}
WITH_A_MODEL = {"hub"}  # its example is test_hub's


@pytest.mark.parametrize("name", sorted({name for name in SOURCES if ">>>" in SOURCES[name]} - WITH_A_MODEL))
def test_examples_run(name):
    found = doctest.testmod(importlib.import_module(f"fairseq_vae.{name}"), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted and not found.failed


@pytest.mark.parametrize("name", sorted(name for name in SOURCES if "\n__all__" in SOURCES[name]))
def test_public_names_exist(name):
    module = importlib.import_module(f"fairseq_vae.{name}")
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public), public
