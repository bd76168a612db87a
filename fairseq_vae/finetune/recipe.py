"""Recipes: the settings of the phases that finetune a BART into a VAE, as fairseq's own configuration.

A recipe is a folder of YAML files, phase1.yaml (not in every recipe) and phase2.yaml, each on top of
config/finetune.yaml. `fairseq-hydra-train --config-dir` composes them itself; here they become flags of fairseq-train.
"""

import dataclasses
import os
from typing import Any, Dict, List, Optional, Sequence

import yaml
from fairseq.dataclass.configs import FairseqConfig
from omegaconf import DictConfig, OmegaConf

from ..base.errors import InputError

CONFIG = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "config")
FOLDER = os.path.join(CONFIG, "recipe")
PHASES = ("phase1", "phase2")
CHOICES = {
    "task": "--task",
    "model": "--arch",
    "criterion": "--criterion",
    "optimizer": "--optimizer",
    "lr_scheduler": "--lr-scheduler",
}
GROUPS = sorted(field.name for field in dataclasses.fields(FairseqConfig) if not field.name.startswith("_"))
LENGTHS = (  # settings in updates that follow a phase's length where that is changed
    "checkpoint.save_interval_updates",
    "lr_scheduler.warmup_updates",
    "criterion.kl_warmup_updates",
    "criterion.kl_cycle_updates",
    "criterion.kl_zero_updates",
)


def names() -> List[str]:
    """The recipes in the package."""
    return sorted(os.listdir(FOLDER))


def read_recipe(
    name: str, overrides: Sequence[str] = (), updates: Optional[Dict[str, int]] = None
) -> Dict[str, DictConfig]:
    """Each phase's settings.

    Args:
        name: of a recipe in the package, or a folder of one's own
        overrides: GROUP.KEY=VALUE for all phases, phase1.GROUP.KEY=VALUE or phase2.… for one
        updates: a phase's length in updates; LENGTHS shrink or grow with it, unless overridden

    Raises:
        InputError: there is no such recipe, or an override is not of that form
    """
    folder = name if os.path.isdir(name) else os.path.join(FOLDER, name)
    if not os.path.isfile(os.path.join(folder, "phase2.yaml")):
        raise InputError(f"--recipe {name}: expected one of {', '.join(names())}, or a folder with a phase2.yaml")
    phases = {}
    for phase in PHASES:
        path = os.path.join(folder, f"{phase}.yaml")
        if os.path.isfile(path):
            phases[phase] = OmegaConf.merge(read(os.path.join(CONFIG, "finetune.yaml")), read(path))
            phases[phase].pop("defaults")
    for phase, length in (updates or {}).items():
        if phase not in phases:
            raise InputError(f"--{phase}-updates {length}: recipe {name} has no {phase}")
        if length < 1:
            raise InputError(f"--{phase}-updates {length}: expected 1 or more")
        settings = phases[phase]
        ratio = length / settings.optimization.max_update
        for key in LENGTHS:
            value = OmegaConf.select(settings, key)
            if value:
                OmegaConf.update(settings, key, max(1, round(value * ratio)))
        settings.optimization.max_update = length
    for override in overrides:
        where, equals, value = override.partition("=")
        parts = where.split(".")
        chosen = [parts.pop(0)] if parts[0] in PHASES else list(phases)
        if not equals or len(parts) != 2 or parts[0] not in GROUPS or chosen[0] not in phases:
            raise InputError(
                f"--set {override}: expected GROUP.KEY=VALUE or, for one phase, {'.GROUP.KEY=VALUE or '.join(phases)}"
                f".GROUP.KEY=VALUE, with GROUP one of {', '.join(GROUPS)}"
            )
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {override}: {value} is no YAML ({' '.join(str(error).split())})") from error
        for phase in chosen:
            OmegaConf.update(phases[phase], ".".join(parts), parsed)
    return phases


def read(path: str) -> DictConfig:
    try:
        return OmegaConf.load(path)
    except (yaml.YAMLError, OSError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error


def flags(settings: DictConfig, **overrides: Dict[str, Any]) -> List[str]:
    """The settings as flags of fairseq-train, the data folder first.

    overrides: further settings of a group, e.g. checkpoint={"save_dir": "out"}
    """
    values = OmegaConf.to_container(OmegaConf.merge(settings, overrides), resolve=True)
    result = [values["task"].pop("data")]
    for group, choice in CHOICES.items():
        result.append(f"{choice}={values[group].pop('_name')}")
    for group in values.values():
        for key, value in group.items():
            flag = f"--{key.replace('_', '-')}"
            if value is True:
                result.append(flag)
            elif isinstance(value, list):
                result.append(f"{flag}={','.join(map(str, value))}")
            elif value is not None and value is not False:
                result.append(f"{flag}={value}")
    return result
