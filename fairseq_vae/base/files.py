"""Text files, whole or not at all."""

import os
from typing import List

from .errors import InputError


def write(path, text: str) -> None:
    """Write a file whole or not at all: beside its place first, then renamed."""
    temporary = f"{path}.part"
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.replace(temporary, path)


def read_lines(path) -> List[str]:
    """A text's lines; only a newline ends one, whatever else Unicode counts as a line's end.

    Raises:
        InputError: the text is not UTF-8
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}") from error
    return lines[:-1] if lines[-1] == "" else lines
