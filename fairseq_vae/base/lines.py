"""Lines of text: what a file of sentences is, what ends a line, and what of a line is its sentence."""

import contextlib
import gzip
import json
import os
import re
import sys
import zlib
from typing import Iterable, Iterator, List, Union

from .errors import InputError

__all__ = ["one_line", "read_lines", "read_references", "sentence", "stream_lines", "whole_lines"]

OTHERS = {  # the first bytes of files that are taken for text by mistake, and what to do with them
    b"\x1f\x8b": "it is compressed by gzip: unpack it with gunzip",
    b"PK\x03\x04": "it is a zip archive: unpack it",
    b"\xfd7zXZ": "it is compressed by xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd: unpack it with unzstd",
    b"BZh": "it is compressed by bzip2: unpack it with bunzip2",
    b"\xff\xfe\0\0": "it looks like UTF-32: convert it with iconv -f UTF-32 -t UTF-8",
    b"\xff\xfe": "it looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "it looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
}
CONVERT = "convert it, e.g. with iconv -f LATIN1 -t UTF-8"
NUL = "a NUL byte, which no text has: is it UTF-16, or no text at all?"
LONE = "a carriage return within it, where lines end in \\n or \\r\\n; tr '\\r' '\\n' makes a line end of each"
SURROGATE = re.compile("[\ud800-\udfff]")


def read_lines(path: Union[str, "os.PathLike[str]"]) -> List[str]:
    """Read a text's sentences, one a line, at once; see `stream_lines`."""
    return list(stream_lines(path))


def read_references(path: Union[str, "os.PathLike[str]"], size: int) -> List[str]:
    """Read a file of references, a JSON list of strings a line.

    Args:
        path: the file
        size: lines that it is to have, one a source

    Raises:
        InputError: names the line that is none
    """
    lines = read_lines(path)
    if len(lines) != size:
        raise InputError(f"{os.fspath(path)}: {len(lines):,} lines; expected {size:,}, one a source of the split")
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if (
            not isinstance(found, list)
            or not found
            or not all(isinstance(text, str) and text.strip() for text in found)
        ):
            raise InputError(f"{os.fspath(path)}, line {number}: expected a JSON list of strings, none empty")
    return lines


def stream_lines(path: Union[str, "os.PathLike[str]"]) -> Iterator[str]:
    """Read a text's sentences, one a line, one by one.

    A line ends in \\n or \\r\\n, whatever else Unicode counts as a line's end; the last one may lack it. What a line
    has beside its sentence is left out: see `sentence`.

    Args:
        path: of a file in UTF-8, or "-" for standard input

    Yields:
        a sentence a line; of an empty line, ""

    Raises:
        InputError: the path is a folder's, or the text is not UTF-8, has a NUL, or a carriage return within a line
    """
    return map(sentence, whole_lines(path))


def whole_lines(path: Union[str, "os.PathLike[str]"], packed: bool = False) -> Iterator[str]:
    """Read a text's lines as they are, white space at their ends included, one by one; see `stream_lines`.

    Args:
        path: of a file in UTF-8, or "-" for standard input
        packed: whether a file whose name ends in .gz is unpacked

    Raises:
        InputError: as in stream_lines, or the packed file is damaged
    """
    name = "standard input" if path == "-" else os.fspath(path)
    if path != "-" and os.path.isdir(path):
        raise InputError(f"{name} is a folder: expected a text file, one sentence a line")
    opened = gzip.open if packed and name.endswith(".gz") else open
    done, hint = 0, None
    with contextlib.ExitStack() as stack:
        lines = unpacked(sys.stdin.buffer if path == "-" else stack.enter_context(opened(path, "rb")), name)
        for number, content in enumerate(lines, 1):
            if number == 1:
                hint = next((hint for start, hint in OTHERS.items() if content.startswith(start)), None)
            try:
                line = content.decode("utf-8")
            except UnicodeDecodeError as error:
                where = f"{name}, line {number}: not UTF-8 at byte {done + error.start} of the file"
                raise InputError(f"{where}; {hint or CONVERT}") from error
            done += len(content)
            line = re.sub("\r?\n$", "", line)
            for character, what in (("\0", hint or NUL), ("\r", LONE)):
                if character in line:
                    raise InputError(f"{name}, line {number}: {what}")
            yield line


def unpacked(lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The lines of a file that is open, gzip's errors in one line."""
    try:
        yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} cannot be unpacked ({error}): copy it again") from error


def sentence(line: str) -> str:
    """The sentence of a line: without white space at its ends, and without a byte order mark at its head.

    The mark, U+FEFF, tells a file's encoding, and comes within a text where files that begin with it were joined.
    Within a line, it is text.

    Raises:
        InputError: half of a surrogate pair stands alone, which no encoding can write

    >>> sentence("\\ufeff a dog\\t")
    'a dog'
    """
    alone = SURROGATE.search(line)
    if alone:
        raise InputError(f"{line[:60]!r} has half of a surrogate pair at character {alone.start()}: it is no text")
    return line.lstrip("\ufeff").strip(" \t\r\n")


def one_line(text: str) -> str:
    """A generated text as one line of a list: with a space in place of each character that ends a line."""
    return re.sub("[\r\n]", " ", text)
