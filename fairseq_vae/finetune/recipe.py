"""Recipes: the settings of the phases that finetune a BART into a VAE, as fairseq's own configuration.

A recipe is a folder of YAML files, phase1.yaml (not in every recipe) and phase2.yaml, each on top of
config/finetune.yaml. `fairseq-hydra-train --config-dir` composes them itself; here they become flags of fairseq-train.

The import loads neither fairseq nor omegaconf, since the command line's help names the recipes.
"""

import dataclasses
import math
import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from ..base.errors import InputError
from ..base.inert import check_inert

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["CONFIG", "LATER", "PHASES", "draw_anew", "flags", "groups", "names", "read", "read_recipe"]

CONFIG = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "config")
FOLDER = os.path.join(CONFIG, "recipe")
LATER = 1000  # between the seeds of a chain's trainings: with one seed each would begin with the same batches
PHASES = ("phase1", "phase2")
CHOICES = {  # a group of settings to the flag that chooses its class
    "task": "--task",
    "model": "--arch",
    "criterion": "--criterion",
    "optimizer": "--optimizer",
    "lr_scheduler": "--lr-scheduler",
}
PLACES = {  # settings of one group that under another would come before or after its own, and have no effect
    "data": "task",
    "user_dir": "common",
    "save_dir": "checkpoint",
    "finetune_from_model": "checkpoint",
    "max_source_positions": "model",
    "max_target_positions": "model",
}
LENGTHS = (  # settings in updates that follow a phase's length where that is changed
    "checkpoint.save_interval_updates",
    "lr_scheduler.warmup_updates",
    "criterion.kl_warmup_updates",
    "criterion.kl_cycle_updates",
    "criterion.kl_zero_updates",
)


def names() -> List[str]:
    """The recipes in the package, by name.

    >>> "park-lee-2021" in names()
    True
    """
    return sorted(os.listdir(FOLDER))


def groups() -> List[str]:
    """The groups of fairseq's configuration, by name.

    >>> [group for group in groups() if group.startswith("c")]
    ['checkpoint', 'common', 'common_eval', 'criterion']
    """
    from fairseq.dataclass.configs import FairseqConfig

    return sorted(field.name for field in dataclasses.fields(FairseqConfig) if not field.name.startswith("_"))


def read_recipe(
    name: str, overrides: Sequence[str] = (), updates: Optional[Dict[str, int]] = None
) -> "Dict[str, DictConfig]":
    """Read a recipe, change the lengths of its phases, then its other settings.

    >>> read_recipe("default", ["model.latent_dim=8"], {"phase2": 100})["phase2"].model.latent_dim
    8

    Args:
        name: of a recipe in the package, or the path of a folder of the same form
        overrides: GROUP.KEY=VALUE for all phases, phase1.GROUP.KEY=VALUE or phase2.… for one
        updates: a phase's length in updates; LENGTHS shrink or grow with it, unless overridden

    Returns:
        each phase's settings, in the order of the phases

    Raises:
        InputError: there is no recipe of that name, or an override is not of that form
    """
    from omegaconf import DictConfig

    folder = name if os.path.isdir(name) else os.path.join(FOLDER, name)
    if not os.path.isfile(os.path.join(folder, "phase2.yaml")):
        raise InputError(f"--recipe {name}: expected one of {', '.join(names())}, or a folder with a phase2.yaml")
    phases: Dict[str, DictConfig] = {}
    for phase in PHASES:
        path = os.path.join(folder, f"{phase}.yaml")
        if os.path.isfile(path):
            phases[phase] = read(os.path.join(CONFIG, "finetune.yaml"))
            phases[phase].merge_with(read(path))
            phases[phase].pop("defaults")
    for phase, length in (updates or {}).items():
        if phase not in phases:
            raise InputError(f"--{phase}-updates {length}: recipe {name} has no {phase}")
        if length < 1:
            raise InputError(f"--{phase}-updates {length}: expected 1 or more")
        rescale(phases[phase], length)
    for override in overrides:
        change(phases, override)
    return phases


def rescale(settings: "DictConfig", length: int) -> None:
    """Change a phase's length, in updates, and in proportion the settings that LENGTHS names."""
    from omegaconf import OmegaConf

    ratio = Fraction(length, settings.optimization.max_update)
    for key in LENGTHS:
        value = OmegaConf.select(settings, key)
        if value:  # a cycle is rounded up, or the last updates would begin another one
            rounded = math.ceil(value * ratio) if key.endswith("kl_cycle_updates") else round(value * ratio)
            OmegaConf.update(settings, key, max(1, rounded))
    settings.optimization.max_update = length


def change(phases: "Dict[str, DictConfig]", override: str) -> None:
    """Apply an override, GROUP.KEY=VALUE or PHASE.GROUP.KEY=VALUE.

    Raises:
        InputError: the override is not of that form, or its value is no YAML
    """
    import yaml
    from omegaconf import OmegaConf

    where, equals, value = override.partition("=")
    parts = where.split(".")
    chosen = [parts.pop(0)] if parts[0] in PHASES else list(phases)
    if not equals or len(parts) != 2 or parts[0] not in groups() or chosen[0] not in phases:
        raise InputError(
            f"--set {override}: expected GROUP.KEY=VALUE or, for one phase, {'.GROUP.KEY=VALUE or '.join(phases)}"
            f".GROUP.KEY=VALUE, with GROUP one of {', '.join(groups())}"
        )
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: {value} is no YAML ({' '.join(str(error).split())})") from error
    for phase in chosen:
        OmegaConf.update(phases[phase], ".".join(parts), parsed)


def draw_anew(phases: "Dict[str, DictConfig]") -> None:
    """Raise each later phase's seed by LATER where all have one, or it would begin with the first one's batches.

    >>> phases = read_recipe("default")
    >>> draw_anew(phases)
    >>> [settings.common.seed for settings in phases.values()]
    [1, 1001]
    """
    seeds = [settings.common.get("seed") for settings in phases.values()]
    if isinstance(seeds[0], int) and len(set(seeds)) == 1:
        for number, settings in enumerate(phases.values()):
            settings.common.seed += LATER * number


def read(path: str) -> "DictConfig":
    """Read a YAML file's settings.

    Raises:
        InputError: the file cannot be read, is no YAML, or holds something else than groups of settings
    """
    import yaml
    from omegaconf import DictConfig, OmegaConf

    try:
        found = OmegaConf.load(path)
    except (yaml.YAMLError, OSError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(found, DictConfig):
        raise InputError(f"{path}: expected groups of settings, found a list")
    return found


def flags(settings: "DictConfig", **overrides: Dict[str, Any]) -> List[str]:
    """The flags of fairseq-train that say the same as a phase's settings, the data folder first.

    >>> flags(read_recipe("naive")["phase2"], task={"data": "data-bin"}, common={"user_dir": None})[:3]
    ['data-bin', '--task=vae_denoising', '--arch=bart_vae']

    Args:
        settings: a phase's settings
        overrides: further settings of a group, e.g. checkpoint={"save_dir": "out"}; None leaves a flag out

    Raises:
        InputError: a value is code, or a folder or file stands under another name than its own
    """
    from omegaconf import OmegaConf

    values: Dict[str, Dict[str, Any]]
    values = OmegaConf.to_container(OmegaConf.merge(settings, overrides), resolve=True)  # type: ignore[assignment]
    for group, chosen in values.items():
        for key in chosen:
            name = key.replace("-", "_")
            if key != name or PLACES.get(name, group) != group:
                raise InputError(f"the recipe or --set has {group}.{key}: expected {PLACES.get(name, group)}.{name}")
    result = [values["task"].pop("data")]
    for group, choice in CHOICES.items():
        result.append(f"{choice}={values[group].pop('_name')}")
    for chosen in values.values():
        for key, value in chosen.items():
            flag = f"--{key.replace('_', '-')}"
            if value is True:
                result.append(flag)
            elif isinstance(value, list):
                result.append(f"{flag}={','.join(map(str, value))}")
            elif value is not None and value is not False:
                result.append(f"{flag}={value}")
    # fairseq evaluates a flag's whole value, a list's too
    check_inert([flag.partition("=")[2] for flag in result[1:]], "the recipe or --set")
    return result
