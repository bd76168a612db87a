"""Checkpoints read from files, by the safe loader, and their settings; bad files are refused in one line."""

import contextlib
import glob
import os
import re
import zipfile
from argparse import Namespace
from typing import Any, Dict, Iterator, List, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from omegaconf import DictConfig, OmegaConf

from ..base import text  # as a module: when it is imported first, this module runs before its end
from ..base.errors import InputError

__all__ = [
    "check_dictionary",
    "check_file",
    "check_whole",
    "find_data",
    "first_line",
    "folders",
    "has_dictionary",
    "load_safely",
    "model_settings",
    "read_checkpoint",
    "reading",
]

SAFE = {"weights_only": True} if hasattr(torch.serialization, "add_safe_globals") else {}
UNSAFE = (
    "checkpoint {path} holds {classes}, which to load could run any code: expected tensors and fairseq's settings. If "
    "you trust its source, load and save it again without them"
)


def check_file(path: str) -> None:
    """Refuse a checkpoint that fairseq passes over or buries in a traceback.

    Raises:
        InputError: the file is missing, was cut off, or holds objects of a class that torch's safe loader does
            not admit (from torch 2.4; before, every class is loaded)
    """
    check_whole(path)
    if not zipfile.is_zipfile(path):  # of torch before 1.6, as BART's archives are: only reading it tells
        with reading(path):
            torch.load(path, map_location="cpu", **SAFE)
    elif hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        with reading(path):
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if unsafe:
            raise InputError(UNSAFE.format(path=path, classes=", ".join(sorted(unsafe))))


def check_whole(path: str) -> None:
    """Refuse a file that is missing, and one of torch's zip files (since 1.6) that is cut off or of changed bytes.

    torch itself holds no record against its checksum. To do so takes 0.7 s for a gigabyte, a third of reading it.

    Raises:
        InputError: the file is one of these
    """
    if not os.path.isfile(path):
        raise InputError(f"checkpoint {path} does not exist")
    with reading(path), open(path, "rb") as file:
        if file.read(2) != b"PK":
            return
        if not zipfile.is_zipfile(path):
            raise InputError(
                f"checkpoint {path} is truncated ({os.path.getsize(path):,} bytes): copy or train it again"
            )
        with zipfile.ZipFile(path) as archive:
            without = not any(record.CRC for record in archive.infolist())  # torch can be told to write no checksums
            damaged = None if without else archive.testzip()
    if damaged is not None:
        raise InputError(f"checkpoint {path} is damaged (checksum of {damaged}): copy or train it again")


def load_safely(path: str) -> Any:
    """Load a file of torch.save's, on the CPU, by the safe loader (from torch 2.4; before, every class is loaded).

    Raises:
        InputError: the file is missing, cut off, of something else, or holds a class that the loader does not admit
    """
    check_whole(path)
    with reading(path):
        return torch.load(path, map_location="cpu", **SAFE)


def read_checkpoint(path: str) -> Dict[str, Any]:
    """Load a checkpoint of fairseq's, as load_safely does.

    Returns:
        its contents: the weights under `model`, the settings under `cfg` or `args`

    Raises:
        InputError: as load_safely, and if the file is no checkpoint of fairseq's
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
def reading(path: str) -> Iterator[None]:
    """Turn an exception that a loader raises over a bad file, which may be any, into an InputError of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise InputError(UNSAFE.format(path=path, classes=refused.group(1))) from error
        raise InputError(f"checkpoint {path} cannot be read ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type if it has none.

    >>> first_line(OSError("no space\\nleft")), first_line(EOFError())
    ('no space', 'EOFError')
    """
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def check_dictionary(path: str, dictionary: Dictionary, file: str) -> None:
    """Hold the data's dictionary against the dict.txt beside a checkpoint or else above it, if there is one.

    Only the symbols that both have at one place are compared: <mask> may stand elsewhere, one of the two may go on with
    fillers, and the number of the checkpoint's rows is checked where it is loaded.

    Args:
        path: the checkpoint
        dictionary: the data's
        file: that the dictionary is from, for messages

    Raises:
        InputError: one number means two different words, so every embedding would be another word's
    """
    paths = (os.path.join(folder, "dict.txt") for folder in folders(path))
    own_path = next(filter(os.path.isfile, paths), None)
    if own_path is None:
        return
    own = text.read_dictionary(own_path)
    for index, (symbol, expected) in enumerate(zip(dictionary.symbols, own.symbols)):
        if symbol != expected and symbol != "<mask>" and expected != "<mask>":
            raise InputError(
                f"{file}, line {index - own.nspecial + 1}: {symbol!r} where the checkpoint's "
                f"{own_path} has {expected!r}. Binarise the data with that one (fairseq-preprocess --srcdict)"
            )


def model_settings(state: Dict[str, Any]) -> Namespace:
    """A checkpoint's settings of its model.

    Args:
        state: the checkpoint's contents

    Returns:
        the settings, with the architecture's own values for those that the checkpoint leaves open, and the
        architecture's name in `arch` ("unknown" if there is none)
    """
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
    """The folders where dictionary and BPE of a checkpoint may lie: beside it, above it, or with the data.

    >>> folders("/run/phase2/checkpoint_best.pt", "/data")
    ['/run/phase2', '/run', '/data']
    """
    folder = os.path.dirname(os.path.abspath(checkpoint))
    return [folder, os.path.dirname(folder), *([os.path.abspath(data)] if data else [])]


def has_dictionary(folder: str) -> bool:
    """Whether a folder has a dict.txt, or the dict.LANGUAGE.txt of data with two sides."""
    return os.path.isfile(os.path.join(folder, "dict.txt")) or bool(glob.glob(f"{glob.escape(folder)}/dict.*.txt"))


def find_data(checkpoint: str) -> str:
    """The folder with the dictionary of a checkpoint's training: near it, or the one that it was trained with.

    Args:
        checkpoint: a file

    Raises:
        InputError: neither is there
    """
    near = folders(checkpoint)
    for folder in [*near, *(os.path.join(folder, "data-bin") for folder in near)]:
        if has_dictionary(folder):
            return folder
    trained = str(getattr(model_settings(read_checkpoint(checkpoint)), "data", ""))
    if has_dictionary(trained):
        return trained
    raise InputError(
        f"no dict.txt beside {checkpoint} or above it: give the folder of its training's data (--data DIR)"
    )
