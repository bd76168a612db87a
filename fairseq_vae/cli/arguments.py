"""Arguments that several commands share: the model, and how it decodes."""

import argparse
import sys
from typing import Any, Dict, Iterable, List

__all__ = [
    "LABELLED",
    "SHARED",
    "add_decoding",
    "add_input",
    "add_model",
    "decoding",
    "load",
    "numbers",
    "print_rows",
    "sentences",
    "warn",
]

MODEL, DECODING, LABELLED = "the model", "decoding", "labelled sentences"
SHARED = (MODEL, DECODING, LABELLED)  # titles of the groups, which the documentation shows once


def add_model(command: argparse.ArgumentParser, data: bool = False, prior: bool = False) -> None:
    """The checkpoint, and where its dictionary and BPE are.

    Args:
        command: the parser
        data: whether the folder of the data is an argument after the checkpoint, as older commands have it
        prior: whether the command draws from the prior
    """
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint of bart_vae")
    if data:
        command.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote")
    group = command.add_argument_group(MODEL)
    if not data:
        group.add_argument(
            "--data",
            metavar="DIR",
            help="folder with the dict.txt of its training (default: beside the checkpoint, above it, in data-bin "
            "there, or where it was trained)",
        )
    group.add_argument(
        "--sentencepiece-model",
        metavar="FILE",
        help="encode sentences with it (default: what lies beside checkpoint or data; else they are tokens)",
    )
    if prior:
        group.add_argument(
            "--prior",
            metavar="FILE",
            help="draw from this prior, of `fairseq-vae fit-prior` (default: the model's own)",
        )
    group.add_argument("--batch-size", type=int, default=64, metavar="N", help="sentences at a time (default: 64)")
    group.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def load(args: argparse.Namespace) -> Any:
    """The hub interface of the arguments of add_model.

    Raises:
        ValueError: the model cannot be loaded
    """
    from .. import hub
    from ..base.text import find_bpe
    from ..checkpoints.read import folders

    if args.batch_size < 1:
        raise ValueError(f"--batch-size {args.batch_size}: expected 1 or more")
    data = args.data or hub.find_data(args.checkpoint)
    given = args.sentencepiece_model
    settings = {"bpe": "sentencepiece", "sentencepiece_model": given}
    bpe = settings if given else find_bpe(folders(args.checkpoint, data))
    return hub.load(args.checkpoint, data, bpe, args.batch_size, getattr(args, "prior", None))


def add_decoding(command: argparse.ArgumentParser) -> None:
    """How words are chosen."""
    group = command.add_argument_group(DECODING)
    group.add_argument(
        "--beam", type=int, default=5, metavar="N", help="beam width; 1 is greedy (default: 5; explore: 1)"
    )
    group.add_argument("--sampling", action="store_true", help="draw words instead of searching by a beam")
    group.add_argument(
        "--sampling-topk", type=int, default=-1, metavar="K", help="draw from the K most probable words (default: all)"
    )
    group.add_argument(
        "--sampling-topp",
        type=float,
        default=1.0,
        metavar="P",
        help="draw from the most probable words that together have the probability P (default: 1)",
    )
    group.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of the softmax (default: 1)")
    group.add_argument(
        "--max-len",
        type=int,
        metavar="N",
        help="most tokens of a sentence (default: the model's positions; explore: 64)",
    )
    group.add_argument("--seed", type=int, default=1, help="of all draws (default: 1)")


def decoding(args: argparse.Namespace) -> Dict[str, Any]:
    """The arguments of add_decoding, as the hub's `decode` takes them."""
    names = ("beam", "sampling", "sampling_topk", "sampling_topp", "temperature", "max_len", "seed")
    return {name: getattr(args, name) for name in names}


def warn(message: str) -> None:
    """Print a line on standard error, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)


def add_input(command: argparse.ArgumentParser) -> None:
    """Sentences as arguments or in a file, and the form of the output."""
    command.add_argument("sentences", nargs="*", metavar="SENTENCE", help="here, before all flags, or in --input")
    command.add_argument("--input", metavar="FILE|-", help="text, one sentence a line; -: standard input")
    command.add_argument("--json", action="store_true", help="print JSON, an object a line")


def sentences(args: argparse.Namespace) -> List[str]:
    """The sentences of the arguments of add_input.

    Raises:
        ValueError: none are given, or they are given twice
    """
    from ..base.lines import stream_lines

    if bool(args.sentences) == bool(args.input):
        raise ValueError("give sentences as arguments, or a file of them as --input FILE, - for standard input")
    found = list(args.sentences or stream_lines(args.input))
    if not found:
        raise ValueError(f"--input {args.input} has no lines: expected one sentence a line")
    return found


def numbers(flag: str, value: str) -> List[float]:
    """Numbers with commas between.

    >>> numbers("--values", "-1,0.5")
    [-1.0, 0.5]

    Raises:
        ValueError: the value has something else
    """
    try:
        return [float(part) for part in value.split(",")]
    except ValueError as error:
        raise ValueError(f"{flag} {value}: expected numbers with commas between, e.g. 0,0.5,1") from error


def print_rows(args: argparse.Namespace, rows: Iterable[Dict[str, Any]], *columns: str) -> None:
    """Print rows, one a line: as JSON with --json, otherwise some of their columns with tabs between."""
    import json

    for row in rows:
        shown = json.dumps(row, ensure_ascii=False) if args.json else "\t".join(str(row[name]) for name in columns)
        print(shown)
