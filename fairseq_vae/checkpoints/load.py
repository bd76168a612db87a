"""A model from a checkpoint, ready to measure or to decode."""

import os
from typing import Any, Tuple

import torch
from fairseq import checkpoint_utils, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import BaseFairseqModel

from ..base.errors import InputError
from .read import check_dictionary, check_whole, model_settings, reading

__all__ = ["check_alone", "load_model"]

TASKS = {  # of checkpoints of bart_cvae, and the one that reads the same data for a measurement
    "translation": "vae_translation",
    "vae_denoising": "vae_denoising",
    "vae_translation": "vae_translation",
}


def load_model(path: str, data: str, **overrides: Any) -> Tuple[BaseFairseqModel, Any, Any]:
    """Load a trained model, in evaluation mode, on the GPU if there is one.

    Args:
        path: a checkpoint
        data: the folder of binarised text, or with dict.txt alone, to use in place of the one trained on
        overrides: values of the configuration to replace

    Returns:
        the model, fairseq's configuration (`cfg.task`, `cfg.model`, …) and the task

    Raises:
        InputError: checkpoint or folder is missing, the checkpoint cannot be read, it is not of bart_vae or bart_cvae,
            or of bart_cvae and of a task without pairs, or the dict.txt beside it has other words than the folder's
    """
    if not os.path.isdir(data):
        raise InputError(f"data folder {data} does not exist: give the one that fairseq-preprocess wrote")
    overrides = {"data": data, "noise": "none", **overrides}  # a figure is of clean sentences, of training ones too
    check_whole(path)
    with reading(path):
        state = checkpoint_utils.load_checkpoint_to_cpu(path, overrides)
    architecture = model_settings(state).arch
    if not architecture.startswith(("bart_vae", "bart_cvae")):
        raise InputError(f"checkpoint {path} is of architecture {architecture}, expected bart_vae or bart_cvae")
    cfg = convert_namespace_to_omegaconf(state["args"]) if state.get("args") else state["cfg"]
    if architecture.startswith("bart_cvae"):
        if cfg.task._name not in TASKS:
            raise InputError(
                f"checkpoint {path} is of bart_cvae and of the task {cfg.task._name}: expected one of "
                f"{', '.join(sorted(TASKS))}"
            )
        cfg.task._name = TASKS[cfg.task._name]
    task = tasks.setup_task(cfg.task, from_checkpoint=True)
    check_dictionary(path, task.target_dictionary, os.path.join(data, "dict.txt"))
    task.load_state_dict(state.get("task_state") or {})
    model = task.build_model(cfg.model, from_checkpoint=True)
    if state.get("optimizer_history"):
        model.set_num_updates(state["optimizer_history"][-1]["num_updates"])
    model.checkpoint = f"checkpoint {path}"
    model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    model.eval()
    return (model.cuda() if torch.cuda.is_available() else model), cfg, task


def check_alone(model: Any, path: str) -> None:
    """Refuse a conditional model where z has to be one of a sentence alone.

    Args:
        model: of a checkpoint
        path: its file

    Raises:
        InputError: the model is conditional; names what takes it
    """
    if model.conditional:
        raise InputError(
            f"checkpoint {path} is of bart_cvae, whose z is one of a source: expected bart_vae; `fairseq-vae respond` "
            "draws z given a source, `encode` and `decode` take --sources"
        )
