"""`fairseq-vae respond`: different responses to each context, by a conditional VAE."""

import argparse

from .arguments import add_decoding, add_json, add_model, decoding, load, warn

__all__ = ["add_arguments", "run"]

HELP = "different responses to each line, by a conditional VAE"
DESCRIPTION = (
    "Draw z's from the prior p(z|x) of each line x, and decode them beside it: a line's number, a tab and a response. "
    "The draws belong to the line's number and the seed. To a file, what an interrupted run wrote is kept."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, contexts, the number of responses, output and the decoding."""
    add_model(command, arch="bart_cvae")
    command.add_argument(
        "input",
        nargs="?",
        default="-",
        metavar="FILE|-",
        help="contexts, one a line, as the sources of the training; an empty one is allowed, one that is too long is "
        "cut as training cut them, and else an error (default: standard input)",
    )
    command.add_argument(
        "-n", "--number", type=int, default=5, metavar="N", help="responses to each context (default: 5)"
    )
    command.add_argument("--output", default="-", metavar="FILE|-", help="to write (default: standard output)")
    command.add_argument(
        "--skip-invalid",
        action="store_true",
        help="print blanks (JSON: null) for a context that is too long, and go on (default: off)",
    )
    add_json(command)
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Respond to all contexts."""
    from ..vectors import respond_file

    if args.number < 1:
        raise ValueError(f"--number {args.number}: expected 1 or more")
    vae, skip = load(args, conditional=True, without_z=True), warn if args.skip_invalid else None
    given = (args.checkpoint, args.input, args.output, args.number, args.json, skip, warn)
    respond_file(vae, *given, **decoding(args))
