"""Imports point one way: a module imports those of its own folder and of the layers below, and none in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from graphlib import TopologicalSorter

PACKAGE = Path(__file__).parent.parent / "fairseq_vae"
# each on the others before it
LAYERS = "base, latent, objective, measure edit, bart checkpoints flags, root, task, report finetune explore, cli"
HEIGHT = {folder: height for height, layer in enumerate(LAYERS.split(", ")) for folder in layer.split()}
PURE = ("base", "latent", "objective", "measure", "edit")  # folders that are importable without fairseq
FAIRSEQ = {"base.host", "base.text", "measure.scoring"}  # their modules that need it, the first when asked only
MODULES = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}


def imports(name):
    """Modules of the package, as the names of MODULES, and top-level names of others that a module imports anywhere."""
    own, others = set(), set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".")[: -node.level] + (node.module or "").split(".") * bool(node.module)
            found = ".".join(parts)
            submodules = {".".join([*parts, alias.name]) for alias in node.names} & set(MODULES)
            own |= submodules or {found if found in MODULES else ".".join([*parts, "__init__"])}
    return own - {name}, others


def folder(name):
    return name.rpartition(".")[0] or "root"


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__init__"}))
def test_imports_point_down(name):
    own, others = imports(name)
    for other in own - {"__init__"}:  # the version and register stand there
        assert folder(other) == folder(name) or HEIGHT[folder(other)] < HEIGHT[folder(name)], f"{name} imports {other}"
    if folder(name) in PURE and name not in FAIRSEQ:
        assert not others & {"fairseq", "fairseq_cli"}


def test_no_circle():
    TopologicalSorter({name: imports(name)[0] - {"__init__"} for name in MODULES if name != "__init__"}).prepare()


def test_the_pure_parts_and_the_command_line_load_no_fairseq():
    pure = [name for name in MODULES if folder(name) in PURE and name not in FAIRSEQ and "__init__" not in name]
    code = "import sys\nfrom fairseq_vae.cli.main import parser\nparser().format_help()\n"
    code += "assert not {'fairseq', 'torch'} & set(sys.modules), 'the command line'\n"
    code += f"import importlib\nfor name in {pure}: importlib.import_module('fairseq_vae.' + name)\n"
    code += "assert 'fairseq' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr


FIRST = """
import gc, importlib, os, sys
gc.disable()  # a collection would go through all that is imported
import fairseq  # whose own __init__ imports all of it, so before any part of it, whoever asks first
assert "torch" in sys.modules and "fairseq_vae" not in sys.modules
for name in {modules}:
    child = os.fork()
    if child == 0:
        importlib.import_module(name)
        from fairseq.criterions import CRITERION_REGISTRY
        from fairseq.models import ARCH_MODEL_REGISTRY
        from fairseq.tasks import TASK_REGISTRY
        known = "vae_denoising" in TASK_REGISTRY and "bart_vae_tiny" in ARCH_MODEL_REGISTRY
        os._exit(0 if known and "vae_cross_entropy" in CRITERION_REGISTRY else 1)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
"""


@pytest.mark.slow
def test_whatever_is_imported_first_everything_is_registered():
    loading = [name for name in sorted(MODULES) if "fairseq" in imports(name)[1]]  # they load it themselves
    needed, more = set(), {"model", "task.__init__", "criterion"}  # for the registration, in whose midst they may stand
    while more:
        needed |= more
        more = {other for name in more for other in imports(name)[0]} - needed
    others = ["finetune.steps", "latent.prior", "cli.main"]
    assert len(loading) > len(needed & set(loading)) > 20 and not needed & set(others[::2])
    modules = [f"fairseq_vae.{name}".replace(".__init__", "") for name in sorted(needed & set(loading)) + others]
    code = FIRST.format(modules=[*modules, "fairseq_vae"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
