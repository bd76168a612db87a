"""`fairseq-vae neighbours`: the nearest sentences of a text in z."""

import argparse
from typing import Any, Dict, List

from .arguments import add_input, add_model, given, load, print_rows, warn

__all__ = ["add_arguments", "run"]

HELP = "the sentences of a text that are nearest in z"
DESCRIPTION = (
    "Find the lines of a text whose posterior means are nearest to those of the given sentences. The text is encoded "
    "once, into a folder; later calls need the folder alone. Lines of the text that --skip-invalid leaves out are "
    "nobody's neighbours."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, the index, the queries and their number of neighbours."""
    add_model(command)
    add_input(command)
    command.add_argument("--index", required=True, metavar="DIR", help="folder of the index; made if --text is given")
    command.add_argument("--text", metavar="FILE", help="the text to search, a sentence a line, to make the index of")
    command.add_argument("--count", type=int, default=5, metavar="K", help="neighbours of each sentence (default: 5)")
    command.add_argument(
        "--metric", choices=("euclidean", "cosine"), default="euclidean", help="the distance (default: euclidean)"
    )
    command.add_argument(
        "--approximate",
        action="store_true",
        help="search a graph of the lines, made once and kept with the index, for texts of millions of lines; it may "
        "miss some, and says how many when it is made (pip install faiss-cpu)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the neighbours of each sentence, nearest first: distance, line number and text."""
    if args.count < 1:
        raise ValueError(f"--count {args.count}: expected 1 or more")
    vae = load(args)
    index = vae.index(args.index, args.text, warn if args.skip_invalid else None)
    if args.approximate:
        index.graph(args.metric, warn)
    for some in given(args, vae):
        found = vae.neighbours(some.z[0], index, args.count, args.metric, args.approximate)
        for text, row, good in zip(some.inputs, found, some.good):
            rows: List[Dict[str, Any]] = [
                {"input": text, "distance": round(near.distance, 4), "line": near.number, "output": near.text}
                for near in row
            ]
            blank = {"input": text, "distance": None, "line": None, "output": None}
            print_rows(args, rows if good else [blank], "distance", "line", "output")
