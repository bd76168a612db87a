"""`fairseq-vae path`: where the plug-in lies."""

import argparse
import os

__all__ = ["add_arguments", "run"]

HELP = "print the folder to give to fairseq as --user-dir"
DESCRIPTION = "Print the folder to give to fairseq: fairseq-train --user-dir $(fairseq-vae path) ..."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command has no arguments."""


def run(args: argparse.Namespace) -> None:
    """Print the package's folder and nothing else."""
    print(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
