"""Checkpoints from files: read safely, described, loaded."""

import contextlib
import os
import pickle
import zipfile
from argparse import Namespace
from typing import Any, Dict, List, Tuple

import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from omegaconf import DictConfig, OmegaConf

from .errors import InputError
from .model import BARTVAEModel


def check_file(path: str) -> None:
    """Refuse a checkpoint that fairseq passes over or buries in a traceback.

    Raises:
        InputError: there is no such file, one of torch's zip files (since 1.6) lacks its end, or it holds objects of a
            class that the safe loader does not admit
    """
    if not os.path.isfile(path):
        raise InputError(f"checkpoint {path} does not exist")
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            return  # of an older torch: only reading it tells
    if not zipfile.is_zipfile(path):
        raise InputError(f"checkpoint {path} is truncated ({os.path.getsize(path):,} bytes): copy or train it again")
    if hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        try:
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except Exception as error:  # whatever is wrong inside
            raise InputError(f"checkpoint {path} is not one of torch ({first_line(error)})") from error
        if unsafe:
            raise InputError(
                f"checkpoint {path} holds {', '.join(sorted(unsafe))}, which to load could run any code: expected "
                "tensors and fairseq's settings only. If you trust its source, load and save it again without them"
            )


def read_checkpoint(path: str) -> Dict[str, Any]:
    """A checkpoint's contents on the CPU, by torch's safe loader (from torch 1.13; before, there is none).

    Raises:
        InputError: as check_file, or the file is no checkpoint of fairseq's
    """
    with reading(path):
        safe = {"weights_only": True} if hasattr(torch.serialization, "add_safe_globals") else {}
        state = torch.load(path, map_location="cpu", **safe)
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
    check_file(path)
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(f"checkpoint {path} is not one of fairseq ({first_line(error)})") from error


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


def load_model(path: str, data: str, **overrides: Any) -> Tuple[BARTVAEModel, Any, Any]:
    """A trained model in evaluation mode, on the GPU if there is one, with its configuration and task.

    Args:
        path: a checkpoint
        data: the folder of binarised text, or with dict.txt alone, to use in place of the one trained on
        overrides: configuration values to replace

    Raises:
        InputError: one of them is missing, the checkpoint cannot be read, or is not of bart_vae
    """
    if not os.path.isdir(data):
        raise InputError(f"data folder {data} does not exist: give the one that fairseq-preprocess wrote")
    overrides = {"data": data, **overrides}
    with reading(path):
        state = checkpoint_utils.load_checkpoint_to_cpu(path, overrides)
    architecture = model_settings(state).arch
    if not architecture.startswith("bart_vae"):
        raise InputError(f"checkpoint {path} is of architecture {architecture}, expected bart_vae")
    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([path], overrides, state=state)
    model = models[0].eval()
    return (model.cuda() if torch.cuda.is_available() else model), cfg, task


def model_settings(state: Dict[str, Any]) -> Namespace:
    """A checkpoint's settings of its model, with the architecture's name in `arch` ("unknown" if it has none)."""
    settings = (state.get("cfg") or {}).get("model") or state.get("args")
    values = OmegaConf.to_container(settings) if isinstance(settings, DictConfig) else dict(vars(settings))
    values["arch"] = values.get("_name") or values.get("arch") or "unknown"
    return Namespace(**values)


def folders(checkpoint: str, data: str) -> List[str]:
    """Where dictionary and BPE of a checkpoint may lie: beside it, above it, or with the data."""
    folder = os.path.dirname(os.path.abspath(checkpoint))
    return [folder, os.path.dirname(folder), os.path.abspath(data)]
