"""Trained models from files, for the commands of this project."""

import os
import pickle
from typing import Any, Dict, Tuple

import torch
from fairseq import checkpoint_utils

from .errors import InputError
from .model import BARTVAEModel


def load_model(path: str, data: str, **overrides: Any) -> Tuple[BARTVAEModel, Any, Any]:
    """A trained model in evaluation mode, on the GPU if there is one, with its configuration and task.

    Args:
        path: a checkpoint
        data: the folder of binarised text to use in place of the one trained on
        overrides: configuration values to replace

    Raises:
        InputError: one of them is missing, the checkpoint cannot be read, or is not of bart_vae
    """
    if not os.path.isfile(path):
        raise InputError(f"checkpoint {path} does not exist")
    if not os.path.isdir(data):
        raise InputError(f"data folder {data} does not exist: give the one that fairseq-preprocess wrote")
    overrides = {"data": data, **overrides}
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(path, overrides)
    except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"checkpoint {path} is truncated or not of fairseq ({reason}): train or copy it again"
        ) from error
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
