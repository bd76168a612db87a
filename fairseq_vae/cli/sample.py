"""`fairseq-vae sample`: new sentences."""

import argparse

from .arguments import add_decoding, add_json, add_model, decoding, load, print_rows

__all__ = ["add_arguments", "run"]

HELP = "new sentences from the prior"
DESCRIPTION = "Draw z from the prior and decode it. Sentence n of a seed is the same, however many are drawn."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, the number of sentences, and the decoding."""
    add_model(command, prior=True)
    command.add_argument("-n", "--number", type=int, default=10, metavar="N", help="sentences to draw (default: 10)")
    add_json(command)
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print one sentence a line, batch by batch."""
    if args.number < 1:
        raise ValueError(f"--number {args.number}: expected 1 or more")
    vae = load(args, without_z=True)
    for first in range(0, args.number, vae.batch_size):
        found = vae.sample(min(vae.batch_size, args.number - first), first=first, **decoding(args))
        rows = ({"number": number, "output": text} for number, text in enumerate(found, first + 1))
        print_rows(args, rows, "output")
