"""`fairseq-vae edit`: sentences changed in attributes, by a strength."""

import argparse
from typing import Any, List

from .arguments import (
    LABELLED,
    add_decoding,
    add_input,
    add_model,
    decoding,
    given,
    labelled,
    load,
    numbers,
    print_rows,
    warn,
)

__all__ = ["add_arguments", "add_hidden", "add_labelled", "run"]

HELP = "sentences edited towards a label, at several strengths"
DESCRIPTION = (
    "Learn an attribute of z from labelled sentences, and move other sentences towards one of its labels, or towards "
    "several attributes at once: repeat --labels (or --numbers) and --to. A stronger edit meets the label more often "
    "and keeps less of the sentence: look at several strengths."
)


class Attribute(argparse.Action):
    """Keep the files of --labels and of --numbers in one list, with the flag, in the order in which they are given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), (option_string, values)])


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, input, labelled text, the labels and the way to them, and the decoding."""
    add_model(command)
    add_input(command)
    command.add_argument(
        "--text",
        action="append",
        required=True,
        metavar="FILE",
        help="labelled sentences, one a line; once, or as often as --labels and --numbers together",
    )
    command.add_argument(
        "--labels", action=Attribute, dest="attributes", metavar="FILE", help="their labels, one a line; repeatable"
    )
    command.add_argument(
        "--numbers",
        action=Attribute,
        dest="attributes",
        metavar="FILE",
        help="instead of labels: a number for each, e.g. its length; repeatable, for --way energy",
    )
    command.add_argument(
        "--to",
        action="append",
        required=True,
        metavar="LABEL",
        help="the label or number to move the sentences towards; the first one is of the first file, and so on",
    )
    command.add_argument("--weights", metavar="X,...", help="of several attributes beside each other (default: 1 each)")
    add_hidden(command)
    command.add_argument(
        "--way",
        choices=("vector", "gradient", "energy"),
        default="gradient",
        help="vector: between the labels' mean z's; gradient: the smallest steps along a "
        "classifier's gradient to log odds of the strength; energy: LatentOps' differential "
        "equation (pip install torchdiffeq) (default: gradient)",
    )
    command.add_argument(
        "--strengths", default="0,0.5,1,2,4", metavar="X,...", help="of the edit; 0: none (default: 0,0.5,1,2,4)"
    )
    command.add_argument(
        "--smallest",
        action="store_true",
        help="of these strengths, print for each sentence the smallest at which the labels are seen in z; where they "
        "are at none, the strength is left blank (JSON: null) and the text is of the greatest",
    )
    add_decoding(command)


def add_labelled(command: argparse.ArgumentParser, required: bool = True) -> None:
    """Labelled sentences to learn one attribute from.

    Args:
        command: the parser
        required: whether the command does nothing without them
    """
    group = command.add_argument_group(LABELLED)
    group.add_argument("--text", required=required, metavar="FILE", help="sentences to learn from, one a line")
    group.add_argument("--labels", required=required, metavar="FILE", help="their labels, one a line")
    add_hidden(group)


def add_hidden(command: Any) -> None:
    """The size of the attributes' networks."""
    command.add_argument(
        "--hidden",
        type=int,
        default=0,
        metavar="N",
        help="width of the classifier's hidden layer; 0: linear (default: 0)",
    )


def wished(args: argparse.Namespace, vae: Any) -> List[Any]:
    """The attributes of the arguments, learned, each with its target's number and weight.

    Raises:
        ValueError: flags do not go together, or a file cannot be used
    """
    from ..edit.attributes import fit_label, fit_number

    files, texts = args.attributes or [], args.text
    if not files or len(args.to) != len(files):
        raise ValueError(
            f"{len(files)} of --labels and --numbers, {len(args.to)} of --to: expected as many, one at least"
        )
    if len(texts) not in (1, len(files)):
        raise ValueError(f"{len(texts)} of --text: expected one, or {len(files)}, one for each --labels and --numbers")
    weights = numbers("--weights", args.weights) if args.weights else [1.0] * len(files)
    if len(weights) != len(files) or min(weights) < 0:
        raise ValueError(f"--weights {args.weights}: expected {len(files)} numbers of 0 or more, one for each --to")
    found, skip = [], warn if args.skip_invalid else None
    for index, ((flag, path), to, weight) in enumerate(zip(files, args.to, weights)):
        text = texts[index if len(texts) > 1 else 0]
        is_number = flag == "--numbers"
        sentences, values = labelled(vae, text, path, skip, only_number if is_number else str)
        fit = fit_number if is_number else fit_label
        attribute: Any = fit(vae.encode(sentences).mean.cpu(), values, args.hidden, args.seed)
        target = one_number("--to", to) if is_number else int(attribute.numbers([to])[0])
        found.append((attribute.to(vae.device), target, weight))
    return found


def one_number(flag: str, value: str) -> float:
    """The number of a flag.

    >>> one_number("--to", "2.5")
    2.5

    Raises:
        ValueError: it is none, not finite, or there are several, as a decimal comma makes
    """
    found = numbers(flag, value)
    if len(found) != 1:
        raise ValueError(f"{flag} {value}: expected one number, its decimals behind a point, e.g. 2.5")
    return found[0]


def only_number(line: str) -> float:
    """The number of a line, as of a flag."""
    return one_number("", line)


def run(args: argparse.Namespace) -> None:
    """Print for each sentence a line for each strength: strength, tab, text; or JSON."""
    import torch

    from ..edit.ways import Wish, smallest, solver

    strengths = numbers("--strengths", args.strengths)
    if args.way == "energy":
        solver()  # before the model is loaded: is it installed?
    vae = load(args)
    short = total = 0
    learned = wished(args, vae)
    for some in given(args, vae):
        z, size = some.z[0], len(some.inputs)
        wishes = [Wish(a, torch.full((size,), target, device=z.device), weight) for a, target, weight in learned]
        if args.smallest:
            edited, used, reached = smallest(args.way, z, wishes, sorted(strengths))
            texts = vae.decode(edited, first=some.first, **decoding(args))
            shown = [s if enough else None for s, enough in zip(used.tolist(), reached.tolist())]
            rows = zip(some.inputs, shown, texts, some.good)
            found = [
                {"input": a, "strength": s if good else None, "output": b if good else None} for a, s, b, good in rows
            ]
            total += sum(some.good)
            short += sum(s is None and good for s, good in zip(shown, some.good))
        else:
            swept = vae.edit(z, wishes, args.way, strengths, first=some.first, **decoding(args))
            found = list(some.rows(list(zip(*swept)), "strength", strengths))
        print_rows(args, found, "strength", "output")
    if short:
        warn(
            f"{short:,} of {total:,} sentences do not have the labels at any of --strengths {args.strengths}: their "
            f"text is that of {max(strengths):g}"
        )
