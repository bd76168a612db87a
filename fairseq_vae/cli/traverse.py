"""`fairseq-vae traverse`: one dimension of z walked."""

import argparse

from .arguments import add_decoding, add_input, add_model, decoding, given, load, numbers, print_rows

__all__ = ["add_arguments", "run"]

HELP = "a sentence decoded with one dimension of its z at several values"
DESCRIPTION = "Set one dimension of a sentence's posterior mean to several values, and decode each."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, sentences, dimension, values, and the decoding."""
    add_model(command)
    add_input(command)
    command.add_argument("--dimension", type=int, required=True, metavar="D", help="of z, from 0")
    command.add_argument(
        "--values",
        default="-3,-2,-1,0,1,2,3",
        metavar="X,...",
        help="of that dimension; with = where the first is negative: --values=-3,0,3 (default: -3,-2,-1,0,1,2,3)",
    )
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print for each sentence a line for each value: value, tab, text; or JSON."""
    from ..vectors import LARGEST

    values = numbers("--values", args.values)
    if max(map(abs, values)) > LARGEST:
        raise ValueError(f"--values {args.values}: expected numbers, none beyond {LARGEST:,.0f}")
    vae = load(args)
    for some in given(args, vae):
        found = vae.traverse(some.z[0], args.dimension, values, first=some.first, **decoding(args))
        print_rows(args, some.rows(found, "value", values), "value", "output")
