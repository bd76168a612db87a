"""`fairseq-vae reconstruct`: sentences through z and back."""

import argparse

from .arguments import add_decoding, add_input, add_model, decoding, given, load, print_rows

__all__ = ["add_arguments", "run"]

HELP = "sentences through z and back"
DESCRIPTION = "Decode each sentence from its own posterior's mean. For large files see encode and decode."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, input, and the decoding."""
    add_model(command)
    add_input(command)
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print a reconstruction for each sentence."""
    vae = load(args)
    for some in given(args, vae):
        found = vae.decode(some.z[0], sources=some.sources, first=some.first, **decoding(args))
        rows = zip(some.inputs, found, some.good)
        print_rows(args, ({"input": a, "output": b if good else None} for a, b, good in rows), "output")
