"""Files that are whole or not there at all, and their fingerprints."""

import contextlib
import hashlib
import os
from typing import Callable, Iterator, List, Union

from .errors import InputError

__all__ = ["complete", "fingerprint", "write", "write_text"]

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


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
