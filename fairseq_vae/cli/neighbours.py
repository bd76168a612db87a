"""`fairseq-vae neighbours`: the nearest sentences of a text in z."""

import argparse

from .arguments import add_input, add_model, load, print_rows, sentences, warn

__all__ = ["add_arguments", "run"]

HELP = "the sentences of a text that are nearest in z"
DESCRIPTION = (
    "Find the lines of a text whose posterior means are nearest to those of the given sentences, exactly. The text is "
    "encoded once, into a folder; later calls need the folder alone."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, the index, the queries and their number of neighbours."""
    add_model(command)
    add_input(command)
    command.add_argument("--index", required=True, metavar="DIR", help="folder of the index; made if --text is given")
    command.add_argument("--text", metavar="FILE", help="the text to search, a sentence a line, to make the index of")
    command.add_argument(
        "--skip-invalid", action="store_true", help="leave lines of the text out that cannot be encoded"
    )
    command.add_argument("--count", type=int, default=5, metavar="K", help="neighbours of each sentence (default: 5)")
    command.add_argument(
        "--metric", choices=("euclidean", "cosine"), default="euclidean", help="the distance (default: euclidean)"
    )


def run(args: argparse.Namespace) -> None:
    """Print the neighbours of each sentence, nearest first: distance, line number and text."""
    from ..index import Index

    if args.count < 1:
        raise ValueError(f"--count {args.count}: expected 1 or more")
    texts, vae = sentences(args), load(args)
    if args.text:
        index = Index.build(vae, args.checkpoint, args.text, args.index, warn if args.skip_invalid else None)
    else:
        index = Index(args.index, args.checkpoint)
    found = index.search(vae.encode(texts).mean, args.count, args.metric)
    rows = [
        {"text": text, "distance": round(near.distance, 4), "line": near.number, "neighbour": near.text}
        for text, row in zip(texts, found)
        for near in row
    ]
    print_rows(args, rows, "distance", "line", "neighbour")
