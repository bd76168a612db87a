"""`fairseq-vae decode`: a file of vectors to a file of text."""

import argparse

from .arguments import add_decoding, add_model, add_sources, decoding, load, warn

__all__ = ["add_arguments", "run"]

HELP = "sentences of a file of vectors, a line for each row"
DESCRIPTION = (
    "Decode any z of the model's width, wherever it comes from: of `fairseq-vae encode`, an average, another model's "
    "output. Lines keep the order of the rows, and what an interrupted run wrote is kept."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, input, output and the decoding."""
    add_model(command, arch="bart_vae, bart_cvae")
    command.add_argument(
        "--input",
        required=True,
        metavar="FILE|-",
        help=".npy (N x Z), .jsonl or .parquet (column z, or else mu); -: .npy or .jsonl on standard input",
    )
    command.add_argument("--output", default="-", metavar="FILE|-", help="text to write (default: standard output)")
    add_sources(command)
    command.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave an empty line in the place of a row with NaN, null or infinity; without it, such a row is an error",
    )
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Decode the file; rows that are left blank are named on standard error."""
    from ..vectors import decode_file

    skip = warn if args.skip_invalid else None
    vae = load(args, conditional=True)
    decode_file(vae, args.checkpoint, args.input, args.output, skip, args.sources, warn, **decoding(args))
