"""The parser of fairseq-vae and its entry point; a command is a module with HELP, DESCRIPTION, add_arguments and run.

Neither torch nor fairseq is imported here or by a command's module, so `path`, `--help` and `--version` answer at once;
`run` imports the parts that a command needs.
"""

import argparse
import logging
import os
import signal
import sys
from typing import List, Optional, Sequence

from ..base.host import load_user_dir, require_fairseq
from ..base.version import __version__
from . import (
    analogy,
    convert,
    curve,
    decode,
    dialogs,
    edit,
    encode,
    evaluate,
    evaluate_edit,
    explore,
    finetune,
    fit_prior,
    interpolate,
    neighbours,
    path,
    reconstruct,
    report,
    represent,
    respond,
    sample,
    traverse,
)

__all__ = ["COMMANDS", "main", "parser"]

COMMANDS = {
    "path": path,
    "finetune": finetune,
    "curve": curve,
    "convert": convert,
    "dialogs": dialogs,
    "evaluate": evaluate,
    "represent": represent,
    "encode": encode,
    "decode": decode,
    "fit-prior": fit_prior,
    "sample": sample,
    "respond": respond,
    "reconstruct": reconstruct,
    "interpolate": interpolate,
    "analogy": analogy,
    "traverse": traverse,
    "neighbours": neighbours,
    "edit": edit,
    "evaluate-edit": evaluate_edit,
    "explore": explore,
    "report": report,
}


def parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    >>> parser().parse_args(["interpolate", "model.pt", "data-bin", "a dog", "a cat"]).steps
    7
    """
    about = "Train, measure and use BART text VAEs, beside fairseq's own commands."
    result = argparse.ArgumentParser(prog="fairseq-vae", description=about)
    result.add_argument("--version", action="version", version=__version__)
    commands = result.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION))
    return result


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, sentences among and behind the flags too, which argparse alone takes before all flags only."""
    commands = parser()
    args, rest = commands.parse_known_args(argv)
    flags = [word for word in rest[: rest.index("--") if "--" in rest else None] if word.startswith("-")]
    if rest and (flags or not hasattr(args, "sentences")):
        commands.error(f"unrecognized arguments: {' '.join(rest)}")
    if "--" in rest:
        rest.remove("--")
    if rest:
        args.sentences += rest
    return args


def silence() -> None:
    """Drop what standard output still holds and cannot write: Python would try again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Optional[List[str]] = None) -> int:
    """Run a command; bad input, or an unfit fairseq, is one line on standard error.

    Args:
        argv: the arguments; None: those of the process

    Returns:
        the exit status: 0, 1 for bad input, 130 after an interrupt, 141 where the reader of a pipe is gone (`| head`)
    """
    args = parsed(sys.argv[1:] if argv is None else argv)
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # fairseq's reports, and errors that are printed below
    try:
        if args.command != "path":
            require_fairseq()
            load_user_dir(getattr(args, "user_dir", None))
        COMMANDS[args.command].run(args)
        sys.stdout.flush()  # here, where a full disk is still an error of its own
    except BrokenPipeError:
        silence()
        return 141
    except (ValueError, OSError, ImportError) as error:
        print(f"fairseq-vae {args.command}: {error}", file=sys.stderr)
        silence()
        return 1
    except KeyboardInterrupt:
        print(f"fairseq-vae {args.command}: interrupted; run it again", file=sys.stderr)
        return 130
    finally:
        logging.disable(disabled)
        signal.signal(signal.SIGTERM, terminate)
    return 0
