"""`fairseq-vae sample`: new sentences."""

import argparse

from .arguments import add_decoding, add_model, decoding, load

__all__ = ["add_arguments", "run"]

HELP = "new sentences from the prior"
DESCRIPTION = "Draw z from the prior and decode it. Sentence n of a seed is the same, however many are drawn."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, the number of sentences, and the decoding."""
    add_model(command, prior=True)
    command.add_argument("-n", "--number", type=int, default=10, metavar="N", help="sentences to draw (default: 10)")
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print one sentence a line."""
    if args.number < 1:
        raise ValueError(f"--number {args.number}: expected 1 or more")
    print("\n".join(load(args).sample(args.number, **decoding(args))))
