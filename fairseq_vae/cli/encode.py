"""`fairseq-vae encode`: a file of text to a file of vectors."""

import argparse

from .arguments import add_model, add_sources, load, warn

__all__ = ["add_arguments", "run"]

HELP = "vectors of a file of sentences: the posterior's mean of each line"
DESCRIPTION = (
    "Write the posterior of each line: its mean mu as a row of a .npy file (float32), or text, mu and logvar as .jsonl "
    "or .parquet. Lines keep their order; memory does not grow with their number; an interrupted run goes on where it "
    "was."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, input and output."""
    add_model(command, arch="bart_vae, bart_cvae")
    command.add_argument(
        "--input", required=True, metavar="FILE|-", help="text, one sentence a line; -: standard input"
    )
    command.add_argument("--output", required=True, metavar="FILE", help="to write: .npy, .jsonl or .parquet")
    add_sources(command)
    command.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave NaN (null) in the place of a line that cannot be encoded, and go on; without this flag such a line "
        "is an error",
    )


def run(args: argparse.Namespace) -> None:
    """Encode the file; lines that are left blank are named on standard error."""
    from ..vectors import encode_file

    skip = warn if args.skip_invalid else None
    encode_file(load(args, conditional=True), args.checkpoint, args.input, args.output, skip, args.sources, warn)
