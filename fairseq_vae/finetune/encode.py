"""Plain text to pieces: each line as the tokenizer makes it, with what the tokenizer changes counted."""

from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from fairseq.data import Dictionary
from tqdm import tqdm

from ..base.errors import InputError
from ..base.lines import read_lines
from ..base.text import BPE, pieces_of

__all__ = ["Cut", "Encoded", "Limit", "check_lines", "encode", "loss"]


class Limit(NamedTuple):
    """The most tokens that a sentence may have, its end not counted, and why.

    Attributes:
        tokens: the number
        reason: what has or takes no more of them
        remedy: what to do beside shortening the sentence; empty: nothing
    """

    tokens: int
    reason: str
    remedy: str


class Cut(NamedTuple):
    """What training keeps of a source that is too long for it.

    Attributes:
        tokens: their number, its end not counted
        side: what of it is cut off: "beginnings" or "ends"
    """

    tokens: int
    side: str


class Encoded(NamedTuple):
    """A file's sentences in pieces.

    Attributes:
        path: the file
        lines: its sentences, N
        pieces: of each sentence, with spaces between, N
        changed: numbers of the sentences that come back otherwise from their pieces, from 1, and how
    """

    path: Path
    lines: List[str]
    pieces: List[str]
    changed: List[Tuple[int, str]]


def check_lines(path: Path, blank: bool = False) -> int:
    """Refuse a file that is no text of a sentence a line, before any tokenizer reads it.

    Args:
        path: the file
        blank: whether lines may be empty

    Returns:
        the number of its lines

    Raises:
        InputError: it is no text, or empty, or has an empty line where none may be
    """
    lines = read_lines(path)
    empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if empty and not blank:
        both = ", of pairs from both files" if path.suffix == ".target" else ""
        raise InputError(f"{path}, line {empty[0]} is empty ({len(empty):,} in all): remove empty lines{both}")
    if not lines:
        raise InputError(f"{path} is empty: expected one sentence a line")
    return len(lines)


def encode(path: Path, bpe: BPE, dictionary: Dictionary, limit: Optional[Limit] = None, blank: bool = False) -> Encoded:
    """Encode a file's sentences, and decode them again to see what the tokenizer changes.

    Args:
        path: of a text file that check_lines lets pass
        bpe: the tokenizer
        dictionary: that the pieces will be binarised with
        limit: of a sentence's length; None: none
        blank: whether lines may be empty

    Raises:
        InputError: of a line the tokenizer makes nothing, more than the limit, or what the dictionary reads as a mark
    """
    lines, pieces, changed = read_lines(path), [], []
    for number, line in enumerate(tqdm(lines, desc=f"encoding {path.stem}", leave=False), 1):
        try:
            found = pieces_of(line, bpe, dictionary)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        if not found and not blank:
            raise InputError(
                f"{path}, line {number} has nothing that the tokenizer keeps ({line[:20]!a}): remove the line"
            )
        if limit is not None and len(found) > limit.tokens:
            raise InputError(
                f"{path}, line {number} is too long: {len(found):,} tokens, where {limit.reason} at most "
                f"{limit.tokens:,}; shorten it{limit.remedy}"
            )
        text = bpe.decode(" ".join(found))
        if text != line:
            changed.append((number, text))
        pieces.append(" ".join(found))
    return Encoded(path, lines, pieces, changed)


def loss(parts: List[Encoded]) -> Optional[str]:
    """What the tokenizer changes in a text, in a line; None: nothing.

    Args:
        parts: of the text
    """
    count = sum(len(part.changed) for part in parts)
    if not count:
        return None
    first = next(part for part in parts if part.changed)
    number, text = first.changed[0]
    line = first.lines[number - 1]
    at = next((i for i, (a, b) in enumerate(zip(line, text)) if a != b), min(len(line), len(text)))
    window = slice(max(0, at - 10), at + 20)
    total = sum(len(part.lines) for part in parts)
    return (
        f"the tokenizer changes {count:,} of {total:,} lines, which come back otherwise (first: {first.path.name}, "
        f"line {number}: {line[window]!a} comes back as {text[window]!a})"
    )
