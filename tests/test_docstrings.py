"""Examples in docstrings run, the mathematics has one for each public name, and every name in `__all__` exists."""

import doctest
import importlib
import inspect

import pytest
from test_layout import MODULES

SOURCES = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items() if "__init__" not in name}
WITH_A_MODEL = {"evaluate", "hub"}  # test_evaluate and test_hub run their examples
MATHEMATICS = ("latent.", "objective.", "base.corruption", "base.registry", "base.stream")


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


@pytest.mark.parametrize("name", sorted(name for name in SOURCES if name.startswith(MATHEMATICS)))
def test_every_public_function_and_class_has_an_example(name):
    module = importlib.import_module(f"fairseq_vae.{name}")
    for public in module.__all__:
        part = getattr(module, public)
        if not callable(part):  # a constant or a registry
            continue
        part = type(part.__self__) if inspect.ismethod(part) else part  # register_prior and others are of Registry
        methods = [member for member in vars(part).values() if inspect.isfunction(member)]
        assert any(">>>" in (found.__doc__ or "") for found in (part, *methods)), public
