"""Trained models from files, for the commands of this project."""

import os
import pickle
import zipfile
from typing import Any, Dict, Tuple

import torch
from fairseq import checkpoint_utils

from .errors import InputError
from .model import BARTVAEModel


def check_file(path: str) -> None:
    """Refuse a checkpoint that is missing or was cut off, which fairseq passes over or buries in a traceback.

    Raises:
        InputError: there is no such file, or one of torch's zip files (since 1.6) lacks its end
    """
    if not os.path.isfile(path):
        raise InputError(f"checkpoint {path} does not exist")
    with open(path, "rb") as file:
        if file.read(2) == b"PK" and not zipfile.is_zipfile(path):
            raise InputError(
                f"checkpoint {path} is truncated ({os.path.getsize(path):,} bytes): copy or train it again"
            )


def load_model(path: str, data: str, **overrides: Any) -> Tuple[BARTVAEModel, Any, Any]:
    """A trained model in evaluation mode, on the GPU if there is one, with its configuration and task.

    Args:
        path: a checkpoint
        data: the folder of binarised text to use in place of the one trained on
        overrides: configuration values to replace

    Raises:
        InputError: one of them is missing, the checkpoint cannot be read, or is not of bart_vae
    """
    check_file(path)
    if not os.path.isdir(data):
        raise InputError(f"data folder {data} does not exist: give the one that fairseq-preprocess wrote")
    overrides = {"data": data, **overrides}
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(path, overrides)
    except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} is not one of fairseq ({reason})") from error
    architecture = describe(state)
    if not architecture.startswith("bart_vae"):
        raise InputError(f"checkpoint {path} is of architecture {architecture}, expected bart_vae")
    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([path], overrides, state=state)
    model = models[0].eval()
    return (model.cuda() if torch.cuda.is_available() else model), cfg, task


def describe(state: Dict[str, Any]) -> str:
    """The architecture's name in a loaded checkpoint, "unknown" if it has none."""
    model = (state.get("cfg") or {}).get("model") or state.get("args")
    return getattr(model, "_name", None) or getattr(model, "arch", None) or "unknown"
