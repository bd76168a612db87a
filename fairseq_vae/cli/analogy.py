"""`fairseq-vae analogy`: a is to b as c is to what."""

import argparse

from .arguments import add_decoding, add_input, add_model, decoding, given, load, print_rows

__all__ = ["add_arguments", "run"]

HELP = "the sentence that is to C as B is to A"
DESCRIPTION = "Decode mu(C) + mu(B) - mu(A)."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, triples of sentences, and the decoding."""
    add_model(command)
    add_input(command, parts=3)
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print a sentence for each triple."""
    vae = load(args)
    for some in given(args, vae):
        rows = zip(some.inputs, vae.analogy(*some.z, first=some.first, **decoding(args)), some.good)
        print_rows(args, ({"input": a, "output": b if good else None} for a, b, good in rows), "output")
