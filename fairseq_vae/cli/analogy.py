"""`fairseq-vae analogy`: a is to b as c is to what."""

import argparse

from .arguments import add_decoding, add_model, decoding, load

__all__ = ["add_arguments", "run"]

HELP = "the sentence that is to C as B is to A"
DESCRIPTION = "Decode mu(C) + mu(B) - mu(A)."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, three sentences, and the decoding."""
    add_model(command)
    for name in "abc":
        command.add_argument(name, metavar=name.upper(), help="a sentence")
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print the sentence."""
    print(load(args).analogy(args.a, args.b, args.c, **decoding(args)))
