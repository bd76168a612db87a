"""The tokenizer in Hugging Face's folder of a BART: vocab.json with merges.txt, or tokenizer.json.

Releases of `transformers` before 5 write the first two files, and most of them tokenizer.json as well; release 5 writes
tokenizer.json alone.
"""

import os
from typing import Any, Dict, List, Tuple

from ..base.errors import InputError
from ..base.lines import read_lines
from .hf_names import MASK, SPECIALS, read_json

__all__ = ["read_merges", "read_vocabulary"]

TOKENIZER = "tokenizer.json"


def read_vocabulary(folder: str) -> Tuple[str, List[str]]:
    """Read the pieces in the order of their ids, from vocab.json or else from tokenizer.json.

    Returns:
        the name of the file, and the pieces

    Raises:
        InputError: the file is missing, the ids have gaps, or the specials stand elsewhere than in a BART
    """
    name = chosen(folder, "vocab.json")
    path = os.path.join(folder, name)
    if name == TOKENIZER:
        tokenizer = read_tokenizer(path)
        added = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
        ids = {**tokenizer["model"]["vocab"], **added}
    else:
        ids = read_json(path)
    vocabulary = sorted(ids, key=lambda piece: ids[piece])
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{path}: expected the ids 0 to {len(ids) - 1}, each once")
    if tuple(vocabulary[: len(SPECIALS)]) != SPECIALS or vocabulary[-1] != MASK:
        raise InputError(f"{path}: expected {' '.join(SPECIALS)} first and {MASK} last, as in every BART")
    return name, vocabulary


def read_merges(folder: str) -> Tuple[str, List[str]]:
    """Read the merges, each of two pieces with a space between, from merges.txt or else from tokenizer.json.

    Returns:
        the name of the file, and the merges

    Raises:
        InputError: the file is missing or not UTF-8, or a merge is not of two pieces
    """
    name = chosen(folder, "merges.txt")
    path = os.path.join(folder, name)
    if name == TOKENIZER:  # in older ones a merge is a string
        merges = [m if isinstance(m, str) else " ".join(m) for m in read_tokenizer(path)["model"]["merges"]]
    else:
        merges = [line for line in read_lines(path) if line and not line.startswith("#version")]
    bad = [number for number, merge in enumerate(merges, 1) if len(merge.split(" ")) != 2]
    if bad:
        raise InputError(f"{path}: merge {bad[0]} is {merges[bad[0] - 1]!r}, expected two pieces")
    return name, merges


def chosen(folder: str, name: str) -> str:
    """The name of the file to read: the given one or, where it is missing, tokenizer.json.

    Raises:
        InputError: neither is there
    """
    for candidate in (name, TOKENIZER):
        if os.path.isfile(os.path.join(folder, candidate)):
            return candidate
    raise InputError(
        f"{folder} has no {name} and no {TOKENIZER}: expected a folder of Hugging Face's BART, with its tokenizer"
    )


def read_tokenizer(path: str) -> Dict[str, Any]:
    """Read tokenizer.json and hold it against the one kind that a BART has.

    Raises:
        InputError: it is no JSON, or the tokenizer is another than byte-level BPE
    """
    tokenizer = read_json(path)
    model, before = tokenizer.get("model") or {}, tokenizer.get("pre_tokenizer") or {}
    kinds = (model.get("type", "BPE"), before.get("type"), tokenizer.get("normalizer"))
    if kinds != ("BPE", "ByteLevel", None):
        raise InputError(
            f"{path}: model, pre-tokenizer and normalizer are {', '.join(map(str, kinds))}; expected those of a BART: "
            "BPE, ByteLevel and None"
        )
    for owner, key in ((model, "vocab"), (model, "merges"), (tokenizer, "added_tokens")):
        if key not in owner:
            raise InputError(f"{path} has no {key}: expected the tokenizer of a BART")
    return tokenizer
