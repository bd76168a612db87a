"""`fairseq-vae interpolate`: sentences between two sentences."""

import argparse

from .arguments import add_decoding, add_model, decoding, load

__all__ = ["add_arguments", "run"]

HELP = "sentences between two sentences' latents"
DESCRIPTION = "Decode points at equal steps between the posterior means of two sentences."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, data folder, the two sentences, and the decoding."""
    add_model(command, data=True)
    command.add_argument("start", metavar="FROM", help="the first sentence")
    command.add_argument("end", metavar="TO", help="the last sentence")
    command.add_argument("--steps", type=int, default=7, help="sentences to print, with both ends (default: 7)")
    command.add_argument(
        "--path",
        choices=("lerp", "slerp", "typical"),
        default="lerp",
        help="lerp: straight line; slerp: arc; typical: straight line, moved to the norm of its ends (default: lerp)",
    )
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print one sentence a line, from the first sentence's reconstruction to the last one's."""
    from ..base.lines import one_line

    found = load(args).interpolate(args.start, args.end, args.steps, args.path, **decoding(args))
    print("\n".join(map(one_line, found)))
