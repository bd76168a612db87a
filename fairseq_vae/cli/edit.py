"""`fairseq-vae edit`: sentences changed in attributes, by a strength."""

import argparse
from typing import Any, List, NamedTuple, Optional

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


class Edited(NamedTuple):
    """Edits of some of a command's items.

    Attributes:
        rows: the numbers, within these items, of those that are edited, R
        strengths: to print for each of them; None: too small
        z: at each of these, R x Z
    """

    rows: List[int]
    strengths: List[List[Optional[float]]]
    z: List[Any]


def solved(args: argparse.Namespace, some: Any, learned: List[Any], strengths: List[Any]) -> Edited:
    """Edit the items that can be; with --skip-invalid one whose equation has no solution is told of and left out.

    Args:
        args: of the command
        some: a batch of `given`
        learned: attributes, each with its target's number and weight
        strengths: of the edit

    Raises:
        Unsolved: an equation has no solution; the message has the item's number
    """
    import torch

    from ..edit.ways import Unsolved, Wish, smallest, sweep

    rows = [row for row, good in enumerate(some.good) if good]
    while True:
        z = some.z[0][rows]
        wishes = [Wish(a, torch.full((len(z),), target, device=z.device), weight) for a, target, weight in learned]
        try:
            if not args.smallest:
                return Edited(rows, [strengths for _ in rows], sweep(args.way, z, wishes, strengths))
            edited, used, reached = smallest(args.way, z, wishes, sorted(strengths))
            return Edited(rows, [[s if ok else None] for s, ok in zip(used.tolist(), reached.tolist())], [edited])
        except Unsolved as error:
            named = error.at([some.first + row for row in rows])
            if not args.skip_invalid:
                raise named from error
            warn(f"{named}; skipped")
            rows.pop(error.row)


def run(args: argparse.Namespace) -> None:
    """Print for each sentence a line for each strength: strength, tab, text; or JSON."""
    from ..edit.ways import solver

    strengths = numbers("--strengths", args.strengths)
    if args.way == "energy":
        solver()  # before the model is loaded: is it installed?
    vae = load(args)
    short = total = 0
    learned = wished(args, vae)
    for some in given(args, vae):
        edited = solved(args, some, learned, strengths)
        good, numbered = edited.rows, [some.first + row for row in edited.rows]
        texts = zip(*(vae.decode(z, numbers=numbered, **decoding(args)) for z in edited.z))
        found = dict(zip(good, zip(edited.strengths, texts)))
        blank: Any = ([None], [None]) if args.smallest else (strengths, [None] * len(strengths))
        for row, text in enumerate(some.inputs):
            pairs = zip(*found.get(row, blank))
            print_rows(args, ({"input": text, "strength": s, "output": o} for s, o in pairs), "strength", "output")
        total += len(good)
        short += sum(used == [None] for used in edited.strengths)
    if short:
        warn(
            f"{short:,} of {total:,} sentences do not have the labels at any of --strengths {args.strengths}: their "
            f"text is that of {max(strengths):g}"
        )
