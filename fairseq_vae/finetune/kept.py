"""The settings that a study's folder and the folders of its points keep, and what may not differ from them."""

import json
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

from ..base.errors import InputError
from ..base.files import fingerprint
from .study import Point

__all__ = ["common_settings", "difference", "prints", "read_settings", "same", "settings"]

NEUTRAL = ("max-tokens",)  # flags of evaluate that change no figure but for its rounding


def common_settings(output: str) -> Dict[str, Any]:
    """What a study's folder says of all its points; empty where nothing was made.

    Raises:
        InputError: it is damaged
    """
    path = Path(output, "settings.json")
    return read_settings(path) if path.exists() else {}


def settings(point: Point, start: str) -> Dict[str, Any]:
    """All that must be the same for a point to go on in its folder; `start` is the study's own."""
    return {"start": point.before or start, "flags": point.flags}


def prints(paths: Sequence[Path]) -> str:
    """Short fingerprints of files."""
    return "+".join(fingerprint(path)[:16] for path in paths)


def same(path: Path, wanted: Mapping[str, Any], whose: str = "the study", where: str = "OUTPUT") -> Dict[str, Any]:
    """Refuse a file of settings that are not the wanted ones; NEUTRAL ones of an evaluation may be others.

    Args:
        path: of the file
        wanted: settings, which may be nested
        whose: they are, for the message
        where: another folder can be given

    Returns:
        the file's content

    Raises:
        InputError: it is damaged, or a setting is another one
    """
    kept = read_settings(path, where)
    found = difference(without_neutral(kept), without_neutral(wanted), whose)
    if found:
        raise InputError(f"{path.parent} was made with {found}: set it back, or give another {where}")
    return kept


def without_neutral(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Settings without the NEUTRAL flags of their evaluation, if they have one."""
    evaluate = settings.get("evaluate")
    if not isinstance(evaluate, dict):
        return dict(settings)
    return {**settings, "evaluate": {flag: value for flag, value in evaluate.items() if flag not in NEUTRAL}}


def read_settings(path: Path, where: str = "OUTPUT") -> Dict[str, Any]:
    """The content of a file of settings.

    Args:
        path: of the file
        where: another folder can be given

    Raises:
        InputError: it is damaged
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): delete its folder, or give another {where}") from error
    if not isinstance(kept, dict):
        raise InputError(f"{path} is damaged (no settings): delete its folder, or give another {where}")
    return kept


def difference(kept: Mapping[str, Any], wanted: Mapping[str, Any], whose: str = "the study") -> str:
    """The first setting that differs, with both values; empty if none does. Which `code` made it is none.

    >>> difference({"flags": {"lr": "0.1", "seed": "1"}}, {"flags": {"lr": "0.2", "seed": "1"}})
    'lr=0.1, the study has lr=0.2'
    >>> difference({"flags": {}}, {"flags": {"bow-weight": "1"}})
    'no bow-weight, the study has bow-weight=1'

    Args:
        kept: settings, which may be nested
        wanted: other ones
        whose: they are
    """
    for key in (key for key in dict.fromkeys([*kept, *wanted]) if key != "code"):
        old, new = kept.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found = difference(old, new, whose)
            if found:
                return found
        elif old != new:
            texts = (f"no {key}" if value is None else f"{key}={value}" if value != "" else key for value in (old, new))
            return f", {whose} has ".join(texts)
    return ""
