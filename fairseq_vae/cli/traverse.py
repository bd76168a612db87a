"""`fairseq-vae traverse`: one dimension of z walked."""

import argparse

from .arguments import add_decoding, add_model, decoding, load, numbers, print_rows

__all__ = ["add_arguments", "run"]

HELP = "a sentence decoded with one dimension of its z at several values"
DESCRIPTION = "Set one dimension of a sentence's posterior mean to several values, and decode each."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, sentence, dimension, values, and the decoding."""
    add_model(command)
    command.add_argument("sentence", metavar="SENTENCE", help="where the walk starts")
    command.add_argument("--dimension", type=int, required=True, metavar="D", help="of z, from 0")
    command.add_argument(
        "--values", default="-3,-2,-1,0,1,2,3", metavar="X,...", help="of that dimension (default: -3,-2,-1,0,1,2,3)"
    )
    command.add_argument("--json", action="store_true", help="print JSON, an object a line")
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print a sentence for each value."""
    values = numbers("--values", args.values)
    found = load(args).traverse(args.sentence, args.dimension, values, **decoding(args))
    rows = [{"value": value, "text": text} for value, text in zip(values, found)]
    print_rows(args, rows, "value", "text")
