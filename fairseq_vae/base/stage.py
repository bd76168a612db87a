"""A file that grows step by step and outlives interruptions: whole at the end, and until then beside its place."""

import json
import os
from typing import Any, Dict

from .errors import InputError
from .files import Path, write, writing

__all__ = ["Stage"]


class Stage:
    """A file in the making. A run that is stopped at any moment goes on after the last whole step.

    Until the file is finished, its contents are PATH.part and its journal is PATH.part.json.

    Args:
        path: of the file
        settings: all that the contents depend on, JSON; a beginning of other settings is refused

    Attributes:
        items: the number of items that the file has, from earlier runs too
        digest: what `append` was given last; "" at the beginning

    Raises:
        InputError: a beginning of other settings lies there
    """

    def __init__(self, path: Path, settings: Dict[str, Any]):
        self.path = os.fspath(path)
        self.part, self.journal = f"{self.path}.part", f"{self.path}.part.json"
        self.settings = json.loads(json.dumps(settings))
        self.items, self.size, self.digest = 0, 0, ""
        if os.path.isfile(self.journal):
            self.resume()
        else:
            open(self.part, "wb").close()

    def resume(self) -> None:
        """Take over what an earlier run wrote; what it wrote after its last whole step is cut off."""
        try:
            with open(self.journal, encoding="utf-8") as file:
                found = json.load(file)
            settings, items, size, digest = (found[key] for key in ("settings", "items", "size", "digest"))
            whole = os.path.getsize(self.part) >= size
        except (OSError, ValueError, LookupError, TypeError):
            settings, whole = None, False
        if settings != self.settings or not whole:
            raise InputError(
                f"{self.journal} is of another run, or damaged: to begin anew, delete it; to go on, give the arguments "
                "of that run"
            )
        self.items, self.size, self.digest = items, size, digest
        os.truncate(self.part, size)

    def append(self, content: bytes, items: int, digest: str = "") -> None:
        """Add a step.

        Args:
            content: to add to the file
            items: in the content
            digest: of the input so far, which the next run can compare

        Raises:
            NotWritten: the system does not let it; the next run goes on after the last whole step
        """
        with writing(self.path, []), open(self.part, "ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.items, self.size, self.digest = self.items + items, self.size + len(content), digest
        state = {"settings": self.settings, "items": self.items, "size": self.size, "digest": digest}
        write(self.journal, json.dumps(state))

    def finish(self, head: bytes = b"") -> None:
        """Give the file its name.

        Args:
            head: takes the place of the file's first bytes
        """
        with open(self.part, "r+b") as file:
            file.write(head)
        if os.path.exists(self.journal):  # first: a journal without its file would be refused as damaged
            os.remove(self.journal)
        os.replace(self.part, self.path)
