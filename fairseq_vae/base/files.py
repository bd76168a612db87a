"""Files that are whole or not there at all, and their fingerprints."""

import contextlib
import filecmp
import hashlib
import os
from pathlib import Path as Folder
from typing import Callable, Iterable, Iterator, List, Sequence, Union

from .errors import InputError, NotWritten

__all__ = ["complete", "fingerprint", "killed", "source_fingerprint", "write", "write_bytes", "write_text"]

Path = Union[str, "os.PathLike[str]"]

THERE = "{} is there already: give another folder, or delete it"


def write(path: Path, content: Union[str, bytes]) -> None:
    """Write a file whole or not at all: under another name beside its place, then renamed.

    Raises:
        NotWritten: the system does not let it; what stood there before still does
    """
    temporary = f"{os.fspath(path)}.part"
    with writing(path, [temporary]):
        if isinstance(content, bytes):
            write_bytes(temporary, content)
        else:
            write_text(temporary, content)
        os.replace(temporary, path)


@contextlib.contextmanager
def writing(path: Path, temporary: Iterable[str], kept: Callable[[], Sequence[str]] = list) -> Iterator[None]:
    """Delete temporary files after an exception, and say in one line what the system does not let one write.

    Args:
        path: what is written, for the message
        temporary: paths of the temporary files that the block makes
        kept: those of them that stay where the system is the reason; asked for then

    Raises:
        NotWritten: an OSError left the block
    """
    try:
        yield
    except BaseException as error:
        stay = kept() if isinstance(error, OSError) else []
        for name in (name for name in temporary if name not in stay):
            with contextlib.suppress(OSError):
                os.remove(name)
        if isinstance(error, OSError):
            raise NotWritten(
                f"{os.fspath(path)} cannot be written ({error.strerror}), and what was there is as it was: mend that "
                "and run it again, or write elsewhere"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 whose lines end in a newline on every system."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file."""
    with open(path, "wb") as file:
        file.write(content)


def part(folder: str, name: str) -> str:
    """The temporary path of a file that `complete` writes."""
    return os.path.join(folder, f".{name}.part")


def killed(folder: str, last: str) -> bool:
    """Whether `complete` was killed in a folder, so that the next run may find some of its files there."""
    return os.path.exists(part(folder, last))


@contextlib.contextmanager
def complete(folder: str, last: str) -> Iterator[Callable[[str], str]]:
    """Write several files into a folder, all or none.

    Within the block, `new(name)` gives the temporary path to write a file to. At the block's end the files get their
    names; after an exception they are deleted, and so is the folder if the block made it. A kill between two renames
    leaves some of the files and the last one's temporary file: then the next run may find files that are there, if they
    are the same to the byte.

    Args:
        folder: made if it is missing
        last: name of the file that is renamed after the others, so that its presence means that all are there

    Raises:
        InputError: a file of that name is there already, or the system does not let it be written
    """

    def temporary(name: str) -> str:
        return part(folder, name)

    def new(name: str) -> str:
        """The temporary path of a file."""
        if os.path.exists(os.path.join(folder, name)) and not (begun and name != last):
            raise InputError(THERE.format(os.path.join(folder, name)))
        names.append(name)
        return temporary(name)

    names: List[str] = []
    made, begun = not os.path.isdir(folder), killed(folder, last)
    try:

        def kept() -> List[str]:
            """The last file's, by which the next run knows of a kill between two renames."""
            others = any(os.path.exists(os.path.join(folder, name)) for name in names if name != last)
            return [temporary(last)] if begun and others else []

        with writing(folder, map(temporary, names), kept):
            os.makedirs(folder, exist_ok=True)
            yield new
            for name in names:
                path = os.path.join(folder, name)
                if os.path.exists(path) and not filecmp.cmp(path, temporary(name), shallow=False):
                    raise InputError(THERE.format(path))
            for name in sorted(names, key=lambda name: name == last):
                os.replace(temporary(name), os.path.join(folder, name))
    except BaseException:
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


def source_fingerprint(folders: Iterable[Path]) -> str:
    """The SHA-256 of names and contents of all Python and YAML files in folders, in hexadecimal."""
    digest = hashlib.sha256()
    for folder in map(Folder, folders):
        for path in sorted(path for kind in ("*.py", "*.yaml") for path in folder.rglob(kind)):
            digest.update(f"{path.relative_to(folder).as_posix()} {fingerprint(path)}\n".encode())
    return digest.hexdigest()
