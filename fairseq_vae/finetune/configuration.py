"""The configuration that fairseq-train makes of its flags, without its conversion for each set of them."""

import contextlib
import copy
import io
import re
from argparse import Namespace
from typing import Dict, List

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, overwrite_args_by_name
from omegaconf import DictConfig

from ..base.errors import InputError
from ..base.registry import Registry

__all__ = ["configuration", "converted"]

PLACES = ("data", "save_dir", "finetune_from_model", "user_dir")  # flags of files and folders


def configuration(arguments: List[str], where: str) -> DictConfig:
    """The configuration that fairseq-train makes of its flags, by its own parser.

    Args:
        arguments: the data folder and the flags
        where: the flags stand, for messages

    Raises:
        InputError: a flag is unknown or its value has another type
    """
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return converted(options.parse_args_and_arch(options.get_training_parser(), input_args=arguments))
    except SystemExit as error:
        reason = messages.getvalue().strip().splitlines()[-1].split("error: ")[-1]
        raise InputError(f"{where}: {reason}") from error


def converted(args: Namespace) -> DictConfig:
    """A configuration as fairseq's convert_namespace_to_omegaconf makes it of a command's parsed arguments.

    That takes hydra a second. It is done once for arguments that differ in files and folders alone, which are then set
    by name, as fairseq does with the settings of a checkpoint; not where hydra could read a name as something else.
    """
    given = vars(args)
    there = [name for name in PLACES if name in given]
    places = {name: given[name] for name in there if re.fullmatch(r"[\w ./:-]+", given[name] or "none")}
    rest = repr([(name, value) for name, value in given.items() if name not in places])
    if rest not in CONVERTED:
        made = convert_namespace_to_omegaconf(args)
        if any(isinstance(part, Namespace) for part in made.values()):  # of an older model; a deep copy would share it
            return made
        CONVERTED[rest] = made
    cfg = copy.deepcopy(CONVERTED[rest])
    overwrite_args_by_name(cfg, places)
    return cfg


CONVERTED: Dict[str, DictConfig] = {}
for registry in Registry.every:
    registry.on_change(CONVERTED.clear)  # a new part has flags of its own
