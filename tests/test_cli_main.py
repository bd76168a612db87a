"""The project's own command: its parser, its exit statuses, and the answers that wait for no fairseq."""

import importlib
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_vae.base.version import __version__
from fairseq_vae.cli.main import COMMANDS, main

PACKAGE = Path(__file__).parent.parent / "fairseq_vae"
MODULE = importlib.import_module("fairseq_vae.cli.main")  # the package's attribute of that name is the function


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    output = capsys.readouterr()
    assert stop.value.code == 0 and not output.err
    assert output.out.startswith(f"usage: fairseq-vae {name} ")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert COMMANDS[name].HELP.split()[0] in capsys.readouterr().out


def test_the_help_of_finetune_names_the_recipes(capsys):
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "one of cyclical-2019, default, language-model, li-2019-free-bits, naive, optimus-2020," in shown


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"


def test_path_prints_the_packages_folder_and_nothing_else(capfd):
    assert main(["path"]) == 0
    assert capfd.readouterr() == (f"{PACKAGE}\n", "")


def test_path_and_every_help_load_neither_fairseq_nor_torch():
    """In a process of its own, as the console script imports it; `path` prints nothing else on either stream."""
    code = """
import contextlib, io, sys
from fairseq_vae.cli import main
from fairseq_vae.cli.main import COMMANDS
for arguments in [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(arguments)
main(["path"])
assert not {"fairseq", "torch", "numpy", "omegaconf"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{PACKAGE}\n", "")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["convert", "--from-hf", "a", "--to-hf", "b"], "convert: expected --from-hf DIR with --to FILE"),
        (["convert", "--from-hf", "none", "--to", "b"], "convert: none has no config.json"),
        (["evaluate", "data"], "evaluate: data: expected one or more checkpoints, then the data folder"),
        (["evaluate", "a.pt", "data", "--json", "no/such/file"], "evaluate: --json no/such/file: the folder"),
        (["evaluate", "a.pt", "data", "--markdown", "no/such/file"], "evaluate: --markdown no/such/file: the folder"),
        (["finetune", "none", "--output", "out"], "none has no dict.txt: expected"),
        (["interpolate", "none.pt", "none", "a", "b"], "interpolate: none has no dict.txt: give the folder"),
    ],
)
def test_bad_input_is_one_line_and_status_1(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fairseq-vae {arguments[0]}: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_host_is_one_line(monkeypatch, capsys):
    """The message itself is test_host's."""

    def missing():
        raise ImportError("fairseq_vae needs fairseq")

    monkeypatch.setattr(MODULE, "require_fairseq", missing)
    assert main(["convert", "--from", "a", "--to-hf", "b"]) == 1
    assert capsys.readouterr().err == "fairseq-vae convert: fairseq_vae needs fairseq\n"
    assert main(["path"]) == 0


def test_an_interrupt_is_one_line_and_status_130_and_nothing_global_stays_changed(monkeypatch, capsys):
    def interrupt(args):
        assert logging.root.manager.disable == logging.ERROR
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), logging.root.manager.disable
    monkeypatch.setattr(MODULE.COMMANDS["path"], "run", interrupt)
    assert main(["path"]) == 130
    assert capsys.readouterr().err == "fairseq-vae path: interrupted; run it again\n"
    assert (signal.getsignal(signal.SIGTERM), logging.root.manager.disable) == before


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["finetune", "data"], ["convert", "--to", "b"]])
def test_bad_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and "usage: fairseq-vae" in capsys.readouterr().err
