"""Checkpoints from files, read safely and described."""

import contextlib
import os
import pickle
import re
import zipfile
from argparse import Namespace
from typing import Any, Dict, List, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from omegaconf import DictConfig, OmegaConf

from ..base.errors import InputError

SAFE = {"weights_only": True} if hasattr(torch.serialization, "add_safe_globals") else {}


def check_file(path: str) -> None:
    """Refuse a checkpoint that fairseq passes over or buries in a traceback.

    Raises:
        InputError: there is no such file, it was cut off, or it holds objects of a class that torch's safe loader does
            not admit (from torch 2.4; before, every class is loaded)
    """
    check_end(path)
    if not zipfile.is_zipfile(path):  # of torch before 1.6, as BART's archives are: only reading it tells
        with reading(path):
            torch.load(path, map_location="cpu", **SAFE)
    elif hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        with reading(path):
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if unsafe:
            raise InputError(UNSAFE.format(path=path, classes=", ".join(sorted(unsafe))))


UNSAFE = (
    "checkpoint {path} holds {classes}, which to load could run any code: expected tensors and fairseq's settings. If "
    "you trust its source, load and save it again without them"
)


def check_end(path: str) -> None:
    """Refuse a file that is missing, or one of torch's zip files (since 1.6) without its end."""
    if not os.path.isfile(path):
        raise InputError(f"checkpoint {path} does not exist")
    with open(path, "rb") as file:
        cut_off = file.read(2) == b"PK" and not zipfile.is_zipfile(path)
    if cut_off:
        raise InputError(f"checkpoint {path} is truncated ({os.path.getsize(path):,} bytes): copy or train it again")


def load_safely(path: str) -> Any:
    """What a file of torch's holds, on the CPU, by the safe loader (from torch 2.4; before, every class is loaded).

    Raises:
        InputError: the file is missing, cut off, of something else, or holds a class that the loader does not admit
    """
    check_end(path)
    with reading(path):
        return torch.load(path, map_location="cpu", **SAFE)


def read_checkpoint(path: str) -> Dict[str, Any]:
    """A checkpoint's contents, as load_safely.

    Raises:
        InputError: also if the file is no checkpoint of fairseq's
    """
    state = load_safely(path)
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise InputError(
            f"checkpoint {path} has no weights under `model`: expected one of fairseq's; for one of Hugging Face's, "
            "see `fairseq-vae convert`"
        )
    if not (state.get("cfg") or state.get("args")):
        raise InputError(f"checkpoint {path} has no settings (`args` or `cfg`): expected one of fairseq's")
    return state


@contextlib.contextmanager
def reading(path: str):
    """Turn what a loader raises over a bad file into one line."""
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise InputError(UNSAFE.format(path=path, classes=refused.group(1))) from error
        raise InputError(f"checkpoint {path} cannot be read ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def check_dictionary(path: str, dictionary: Dictionary, data: str) -> None:
    """Hold the data's dictionary against the dict.txt beside a checkpoint, if there is one. Neither fillers nor what
    one has beyond the other counts: how many rows the checkpoint has is its own affair.

    Raises:
        InputError: they give a number to different words: every embedding would be another word's
    """
    own_path = os.path.join(os.path.dirname(os.path.abspath(path)), "dict.txt")
    if not os.path.isfile(own_path):
        return
    own = Dictionary.load(own_path)
    for index, (symbol, expected) in enumerate(zip(dictionary.symbols, own.symbols)):
        if symbol != expected and symbol != "<mask>" and expected != "<mask>":
            raise InputError(
                f"{os.path.join(data, 'dict.txt')}, line {index - own.nspecial + 1}: {symbol!r} where the checkpoint's "
                f"{own_path} has {expected!r}. Binarise the data with that one (fairseq-preprocess --srcdict)"
            )


def model_settings(state: Dict[str, Any]) -> Namespace:
    """A checkpoint's settings of its model, what is not set by its architecture, with that one's name in `arch`
    ("unknown" if it has none)."""
    settings = (state.get("cfg") or {}).get("model") or state.get("args")
    if isinstance(settings, DictConfig):
        settings = OmegaConf.to_container(settings)
    values = settings if isinstance(settings, dict) else vars(settings)
    values = {key: value for key, value in values.items() if value is not None}
    result = Namespace(**{**values, "arch": values.get("_name") or values.get("arch") or "unknown"})
    if result.arch in ARCH_CONFIG_REGISTRY:
        ARCH_CONFIG_REGISTRY[result.arch](result)
    return result


def folders(checkpoint: str, data: Optional[str] = None) -> List[str]:
    """Where dictionary and BPE of a checkpoint may lie: beside it, above it, or with the data."""
    folder = os.path.dirname(os.path.abspath(checkpoint))
    return [folder, os.path.dirname(folder), *([os.path.abspath(data)] if data else [])]
