"""`fairseq-vae edit`: sentences changed in an attribute, by a strength."""

import argparse
from typing import Any, List, Tuple

from .arguments import LABELLED, add_decoding, add_input, add_model, decoding, load, numbers, print_rows, sentences

__all__ = ["add_arguments", "add_labelled", "learned", "read_labelled", "run"]

HELP = "sentences edited towards a label, at several strengths"
DESCRIPTION = (
    "Learn an attribute of z from labelled sentences, and move other sentences towards one of its labels. A stronger "
    "edit meets the label more often and keeps less of the sentence: look at several strengths."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, input, labelled text, the label and the way to it, and the decoding."""
    add_model(command)
    add_input(command)
    add_labelled(command)
    command.add_argument("--to", required=True, metavar="LABEL", help="the label to move the sentences towards")
    command.add_argument(
        "--way",
        choices=("vector", "gradient", "energy"),
        default="gradient",
        help="vector: between the labels' mean z's; gradient: steps up a classifier's; energy: LatentOps' differential "
        "equation (pip install torchdiffeq) (default: gradient)",
    )
    command.add_argument(
        "--strengths", default="0,0.5,1,2,4", metavar="X,...", help="of the edit; 0: none (default: 0,0.5,1,2,4)"
    )
    command.add_argument(
        "--smallest",
        action="store_true",
        help="of these strengths, print for each sentence the smallest at which the label is seen in z",
    )
    add_decoding(command)


def add_labelled(command: argparse.ArgumentParser, required: bool = True) -> None:
    """Labelled sentences to learn an attribute from.

    Args:
        command: the parser
        required: whether the command does nothing without them
    """
    group = command.add_argument_group(LABELLED)
    group.add_argument("--text", required=required, metavar="FILE", help="labelled sentences to learn from, one a line")
    group.add_argument("--labels", required=required, metavar="FILE", help="their labels, one a line")
    group.add_argument(
        "--hidden",
        type=int,
        default=0,
        metavar="N",
        help="width of the classifier's hidden layer; 0: linear (default: 0)",
    )


def read_labelled(args: argparse.Namespace) -> Tuple[List[str], List[str]]:
    """The sentences and the labels of the arguments of add_labelled.

    Raises:
        ValueError: one of the files is not given, or they differ in number
    """
    from ..base.lines import read_lines

    if not (args.text and args.labels):
        raise ValueError("labelled sentences are two files: give both --text FILE and --labels FILE")
    texts, labels = read_lines(args.text), read_lines(args.labels)
    if len(texts) != len(labels):
        raise ValueError(f"--labels {args.labels}: {len(labels):,} lines; expected {len(texts):,}, as --text has")
    return texts, labels


def learned(args: argparse.Namespace, vae: Any, texts: List[str], labels: List[str]) -> Any:
    """The attribute of labelled sentences, by the arguments of add_labelled and --seed."""
    from ..edit.attributes import fit_label

    return fit_label(vae.encode(texts).mean.cpu(), labels, args.hidden, args.seed).to(vae.device)


def run(args: argparse.Namespace) -> None:
    """Print each sentence at each strength: strength, tab, text; or JSON."""
    from ..edit.ways import Wish, smallest

    strengths, texts = numbers("--strengths", args.strengths), sentences(args)
    labelled = read_labelled(args)
    vae = load(args)
    attribute = learned(args, vae, *labelled)
    wishes = [Wish(attribute, attribute.numbers([args.to] * len(texts)).to(vae.device))]
    if args.smallest:
        z, used = smallest(args.way, vae.encode(texts).mean, wishes, sorted(strengths))
        found = [
            (text, strength, back)
            for text, strength, back in zip(texts, used.tolist(), vae.decode(z, **decoding(args)))
        ]
    else:
        rows = zip(strengths, vae.edit(texts, wishes, args.way, strengths, **decoding(args)))
        found = [(text, strength, back) for strength, edited in rows for text, back in zip(texts, edited)]
    print_rows(args, [dict(zip(("text", "strength", "edited"), row)) for row in found], "strength", "edited")
