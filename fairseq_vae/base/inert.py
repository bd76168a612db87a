"""Settings that are only values: fairseq passes some strings of a configuration to Python's `eval`."""

import ast
from typing import Any, Optional

from .errors import InputError

__all__ = ["call_in", "check_inert"]


def call_in(value: Any) -> Optional[str]:
    """The first string in nested settings that would call something if it were evaluated; None if there is none.

    Without a call, no expression has an effect.

    >>> call_in({"adam_betas": "(0.9, 0.98)", "lr": ["1e-4"], "arch": "bart_base"})
    >>> call_in({"lr": [1e-4, "print(1)"]})
    'print(1)'
    """
    if isinstance(value, dict):
        return next(filter(None, map(call_in, value.values())), None)
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(call_in, value)), None)
    if not isinstance(value, str) or "(" not in value:
        return None
    try:
        tree = ast.parse(value.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # eval refuses it as well
        return None
    return value if any(isinstance(node, ast.Call) for node in ast.walk(tree)) else None


def check_inert(settings: Any, where: str) -> None:
    """Refuse settings that would run code in fairseq.

    Args:
        settings: nested dictionaries and lists
        where: they are from, for the message

    Raises:
        InputError: a string among them is a call
    """
    found = call_in(settings)
    if found is not None:
        raise InputError(f"{where} holds {found!r}, which to read could run any code: expected plain values")
