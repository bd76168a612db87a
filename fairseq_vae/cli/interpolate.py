"""`fairseq-vae interpolate`: sentences between two sentences."""

import argparse

from .arguments import add_decoding, add_input, add_model, decoding, given, load, print_rows

__all__ = ["add_arguments", "run"]

HELP = "sentences between two sentences' latents"
DESCRIPTION = "Decode points at equal steps between the posterior means of two sentences."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, data folder, pairs of sentences, and the decoding."""
    add_model(command, data=True)
    add_input(command, parts=2)
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
    if args.steps < 2:
        raise ValueError(f"--steps {args.steps}: expected 2 or more, with both ends")
    vae = load(args)
    for some in given(args, vae):
        found = vae.interpolate(*some.z, args.steps, args.path, first=some.first, **decoding(args))
        print_rows(args, some.rows(found, "step", range(args.steps)), "output")
