"""Arguments that several commands share: the model, and how it decodes."""

import argparse
import sys
from typing import Any, Dict

__all__ = ["SHARED", "add_decoding", "add_model", "decoding", "load", "warn"]

MODEL, DECODING = "the model", "decoding"
SHARED = (MODEL, DECODING)  # titles of the groups, which the documentation shows once


def add_model(command: argparse.ArgumentParser, data: bool = False) -> None:
    """The checkpoint, and where its dictionary and BPE are.

    Args:
        command: the parser
        data: whether the folder of the data is an argument after the checkpoint, as older commands have it
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
    return hub.load(args.checkpoint, data, bpe, args.batch_size)


def add_decoding(command: argparse.ArgumentParser) -> None:
    """How words are chosen."""
    group = command.add_argument_group(DECODING)
    group.add_argument("--beam", type=int, default=5, metavar="N", help="beam width; 1 is greedy (default: 5)")
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
        "--max-len", type=int, metavar="N", help="most tokens of a sentence (default: the model's positions)"
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
