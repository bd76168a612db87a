"""Turn a checkpoint of fairseq-train into the form of the published BART archives: export.py CHECKPOINT MODEL.

Weights in float16 and settings as one Namespace; no optimizer. The stock BARTModel.from_pretrained reads this form.
"""

import sys
from argparse import Namespace
from pathlib import Path

import torch
from omegaconf import OmegaConf

from fairseq_vae.checkpoints.read import read_checkpoint


def main(source: Path, target: Path) -> None:
    state = read_checkpoint(str(source))
    cfg = state["cfg"] if isinstance(state["cfg"], dict) else OmegaConf.to_container(state["cfg"], enum_to_str=True)
    settings = {}
    for group in cfg.values():
        values = vars(group) if isinstance(group, Namespace) else group if isinstance(group, dict) else {}
        settings.update(values)
    for choice in ("task", "optimizer", "lr_scheduler"):
        settings[choice] = cfg[choice]["_name"]
    model = vars(cfg["model"]) if isinstance(cfg["model"], Namespace) else cfg["model"]
    settings.update(model, arch="bart_base", _name="bart_base", data=".", bpe=None, user_dir=None)
    settings["criterion"] = "cross_entropy"  # whatever the precision of its products was
    halves = {}  # tied weights, stored once in the checkpoint, stay one
    for value in state["model"].values():
        halves.setdefault(value.data_ptr(), value.half() if value.is_floating_point() else value)
    temporary = target.with_name(f".{target.name}")
    archive = {
        "args": Namespace(**settings),
        "model": {key: halves[value.data_ptr()] for key, value in state["model"].items()},
        "optimizer_history": state["optimizer_history"],
        "extra_state": {},
        "task_state": {},
        "last_optimizer_state": None,
    }
    torch.save(archive, temporary)
    temporary.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
