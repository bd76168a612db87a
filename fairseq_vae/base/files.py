"""Files that are whole or not there at all, lines of text, and fingerprints."""

import contextlib
import hashlib
import os
import sys
from typing import Callable, Iterator, List, Union

from .errors import InputError

__all__ = ["complete", "fingerprint", "read_lines", "stream_lines", "write", "write_text"]

Path = Union[str, "os.PathLike[str]"]


def write(path: Path, content: Union[str, bytes]) -> None:
    """Write a file whole or not at all: under another name beside its place, then renamed."""
    temporary = f"{os.fspath(path)}.part"
    if isinstance(content, bytes):
        with open(temporary, "wb") as file:
            file.write(content)
    else:
        write_text(temporary, content)
    os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 whose lines end in a newline on every system."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


@contextlib.contextmanager
def complete(folder: str, last: str) -> Iterator[Callable[[str], str]]:
    """Write several files into a folder, all or none.

    Within the block, `new(name)` gives the temporary path to write a file to. At the block's end the files get their
    names; after an exception they are deleted, and so is the folder if the block made it.

    Args:
        folder: made if it is missing
        last: name of the file that is renamed after the others, so that its presence means that all are there

    Raises:
        InputError: a file of that name is there already
    """
    names: List[str] = []
    made = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)

    def new(name: str) -> str:
        """The temporary path of a file."""
        if os.path.exists(os.path.join(folder, name)):
            raise InputError(f"{os.path.join(folder, name)} is there already: give another folder, or delete it")
        names.append(name)
        return os.path.join(folder, f".{name}.part")

    try:
        yield new
        for name in sorted(names, key=lambda name: name == last):
            os.replace(os.path.join(folder, f".{name}.part"), os.path.join(folder, name))
    except BaseException:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, f".{name}.part"))
        if made:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise


def read_lines(path: Path) -> List[str]:
    """Read a text's lines; only a newline ends one, whatever else Unicode counts as a line's end.

    Raises:
        InputError: the text is not UTF-8
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{os.fspath(path)} is not UTF-8 at byte {error.start}") from error
    return lines[:-1] if lines[-1] == "" else lines


def stream_lines(path: Path) -> Iterator[str]:
    """A text's lines one by one, as read_lines reads them.

    Args:
        path: of the file; "-": standard input

    Raises:
        InputError: a line is not UTF-8
    """
    name = "standard input" if path == "-" else os.fspath(path)
    with contextlib.ExitStack() as stack:
        stream = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
        for number, line in enumerate(stream, 1):
            try:
                yield line.decode("utf-8").rstrip("\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{name}, line {number} is not UTF-8 at its byte {error.start + 1}") from error


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
