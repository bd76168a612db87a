"""`fairseq-vae reconstruct`: sentences through z and back."""

import argparse

from .arguments import add_decoding, add_input, add_model, decoding, load, print_rows, sentences

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
    texts = sentences(args)
    found = load(args).reconstruct(texts, **decoding(args))
    print_rows(args, [{"text": text, "reconstruction": back} for text, back in zip(texts, found)], "reconstruction")
