"""What the steps of a run need, from the text's lines to the disk's space, checked before the first update."""

import importlib
import math
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence

import numpy as np
from omegaconf import DictConfig

from ..base.errors import InputError
from ..measure.definitions import LOGGED, names
from .encode import Cut, Limit
from .process import environment

__all__ = [
    "as_settings",
    "check_saving",
    "check_space",
    "check_splits",
    "check_surroundings",
    "cut_of",
    "limit",
    "source_limit",
    "written",
]

COMMANDS = ("fairseq-train", "fairseq-generate", "fairseq-interactive", "fairseq-vae")
SKIP = "skip_invalid_size_inputs_valid_test"
EVALUATED = 2  # sentences of the split at least: evaluation tells the z of one from another's


def limit(split: str, evaluated: str, phases: Dict[str, DictConfig], fixed: bool = False) -> Limit:
    """The most tokens of a split's sentence in any step. Evaluation leaves no sentence out, training may.

    The encoder reads <s> and </s> with the tokens, the decoder one of them. A batch has room for --max-tokens.

    Args:
        split: its name
        evaluated: the split of the evaluation
        phases: fairseq's configuration of each phase
        fixed: whether the numbers of positions are a BART's
    """
    found: List[Limit] = []
    for cfg in phases.values():
        data, source, target = cfg.dataset, cfg.model.max_source_positions, cfg.model.max_target_positions
        raised = "--set model.max_source_positions=N and --set model.max_target_positions=N"
        remedy = "" if fixed else f", or raise {raised}"
        skipped = getattr(data, SKIP)
        if split != evaluated:
            remedy += f", or leave such lines out with --set dataset.{SKIP}=true"
        elif skipped:
            remedy += f"; dataset.{SKIP} does not help, since the evaluation leaves no line out"
        if split == evaluated or not skipped:
            found.append(Limit(min(source - 2, target - 1), "the model's positions take", remedy))
        if split == data.train_subset and data.max_tokens and not skipped:
            raised = ", or raise --set dataset.max_tokens=N"
            found.append(Limit(data.max_tokens - 2, "a batch (dataset.max_tokens) takes", f"{raised}{remedy}"))
        if split in data.valid_subset.split(",") and data.max_tokens_valid:  # fairseq leaves none of these out
            raised = ", or raise --set dataset.max_tokens_valid=N"
            found.append(Limit(data.max_tokens_valid - 2, "a batch (dataset.max_tokens_valid) takes", raised))
    return min(found, default=Limit(10**9, "", ""), key=lambda part: part.tokens)


def cut_of(phases: Iterable[DictConfig]) -> Optional[Cut]:
    """What all phases keep of a source that is too long for them; None: one of them cuts none, or at another side.

    Args:
        phases: fairseq's configuration of each
    """
    cuts = set()
    for cfg in phases:
        first, last = (getattr(cfg.task, name, False) for name in ("truncate_source", "truncate_source_left"))
        cuts.add(Cut(cfg.model.max_source_positions - 1, "ends" if first else "beginnings") if first or last else None)
    return cuts.pop() if len(cuts) == 1 else None


def source_limit(split: str, phases: Dict[str, DictConfig]) -> Limit:
    """The most tokens of a source in any step, which are the model's positions unless a batch has less room.

    Longer ones are cut to the positions, so only a limit below them refuses any.

    Args:
        split: its name
        phases: fairseq's configuration of each phase
    """
    found: List[Limit] = []
    for cfg in phases.values():
        data, subsets = cfg.dataset, cfg.dataset.valid_subset.split(",")
        remedy = ", or keep its end with --set task.truncate_source_left=true, or its beginning with "
        remedy += "--set task.truncate_source=true"
        found.append(Limit(cfg.model.max_source_positions - 1, "the model's positions take", remedy))
        if split == data.train_subset and data.max_tokens and not getattr(data, SKIP):
            remedy = ", or raise --set dataset.max_tokens=N"
            found.append(Limit(data.max_tokens - 1, "a batch (dataset.max_tokens) takes", remedy))
        if split in subsets and data.max_tokens_valid:
            remedy = ", or raise --set dataset.max_tokens_valid=N"
            found.append(Limit(data.max_tokens_valid - 1, "a batch (dataset.max_tokens_valid) takes", remedy))
    return min(found, key=lambda part: part.tokens)


def check_splits(folder: Path, task: Any, evaluated: str, phases: Dict[str, DictConfig], fixed: bool) -> None:
    """Refuse binarised splits that a step cannot use.

    Args:
        folder: of the data
        task: of it
        evaluated, phases, fixed: see limit

    Raises:
        InputError: a split is missing, has too few sentences, or one that is empty or too long
    """
    wanted = [cfg.dataset.train_subset for cfg in phases.values()]
    wanted += [name for cfg in phases.values() for name in cfg.dataset.valid_subset.split(",")]
    for split in dict.fromkeys([*wanted, evaluated]):
        task.load_dataset(split)
        sizes = np.asarray(task.dataset(split).tgt_sizes) - 1  # without </s>
        most = limit(split, evaluated, phases, fixed)
        where = folder / split
        long = np.flatnonzero(sizes > most.tokens)
        if len(long):
            raise InputError(
                f"{where}: line {long[0] + 1} of the text is too long ({len(long):,} such lines in all): "
                f"{sizes[long[0]]:,} tokens, where {most.reason} at most {most.tokens:,}; shorten it{most.remedy}"
            )
        if split == evaluated:
            check_number(f"{where}", len(sizes), split)
        for cfg in phases.values():
            room = min(cfg.model.max_source_positions - 2, cfg.model.max_target_positions - 1)
            if (sizes > room).all():
                raise InputError(
                    f"{where}: every line is longer than {room} tokens, so that none is left: shorten them"
                )


def check_number(where: str, count: int, split: str) -> None:
    """Refuse a split that is too small to be evaluated.

    Raises:
        InputError: it has fewer than two sentences
    """
    if count < EVALUATED:
        raise InputError(
            f"{where} has {count} sentence{'' if count == 1 else 's'}; expected {EVALUATED} or more, since the "
            "evaluation tells the z of a sentence from another's"
            + ("; without a test split it takes the validation split" if split == "test" else "")
        )


def check_saving(phases: Dict[str, DictConfig]) -> None:
    """Refuse settings that leave no checkpoint_best.pt, which the next step reads.

    Raises:
        InputError: a phase saves nothing, does not validate, or selects by a figure that nothing logs
    """
    for phase, cfg in phases.items():
        last = cfg.optimization.max_update
        for setting, bad in (
            ("checkpoint.no_save=true", cfg.checkpoint.no_save),
            ("dataset.disable_validation=true", cfg.dataset.disable_validation),
            (f"checkpoint.checkpoint_suffix={cfg.checkpoint.checkpoint_suffix}", cfg.checkpoint.checkpoint_suffix),
            (
                f"dataset.validate_after_updates={cfg.dataset.validate_after_updates}",
                last and cfg.dataset.validate_after_updates > last,
            ),
        ):
            if bad:
                raise InputError(
                    f"--set {setting}: {phase} would leave no checkpoint_best.pt, which the steps after it read: leave "
                    "it out"
                )
        metric = cfg.checkpoint.best_checkpoint_metric
        if cfg.criterion._name == "vae_cross_entropy" and metric not in names(LOGGED):
            raise InputError(
                f"checkpoint.best_checkpoint_metric={metric} of {phase}: expected a figure that validation logs, e.g. "
                "--set checkpoint.best_checkpoint_metric=neg_elbo"
            )


def check_surroundings(output: Path, folders: Sequence[Path] = ()) -> None:
    """Refuse to begin where a later command, its packages or its permission to write is missing.

    Args:
        output: the folder for everything made
        folders: others that will be written to, if they are there already

    Raises:
        InputError: one is missing; the message says which
    """
    for command in COMMANDS:
        if shutil.which(command, path=environment()["PATH"]) is None:
            raise InputError(f"the command {command} is not found, which a later step calls: install it, or mend PATH")
    try:
        importlib.import_module("fairseq_vae.evaluate")
    except ImportError as error:
        raise InputError(f"the evaluation cannot run here ({error}): install what is missing with pip") from error
    for folder in (output, *folders):
        if folder.exists():
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise InputError(
                    f"--output {output}: {folder} cannot be written to ({error.strerror}): give another folder, or "
                    "permission"
                ) from error


def written(cfg: DictConfig, model: Any) -> int:
    """The most bytes that a phase has on the disk at a time: its checkpoints, and one that is being written.

    A checkpoint has the weights and, with Adam, two more numbers for each one that is trained.

    Args:
        cfg: fairseq's configuration of the phase
        model: as the phase builds it
    """
    saving = cfg.checkpoint
    tensors = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}  # shared ones are written once
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    moments = 0 if saving.no_save_optimizer_state or cfg.optimizer._name != "adam" else 2
    files = 2 + (not saving.no_last_checkpoints) + max(0, saving.keep_best_checkpoints)
    if saving.save_interval_updates:
        all_of_them = math.ceil(cfg.optimization.max_update / saving.save_interval_updates)
        files += all_of_them if saving.keep_interval_updates < 0 else min(all_of_them, saving.keep_interval_updates)
    if not saving.no_epoch_checkpoints:
        files += max(1, saving.keep_last_epochs)
    return files * (weights + 4 * moments * trained)


def check_space(output: Path, needed: int) -> None:
    """Refuse a run whose checkpoints will not fit on the disk.

    Args:
        output: the folder for everything made; checkpoints that are there already take no new space
        needed: bytes of all phases' checkpoints

    Raises:
        InputError: the disk has too little space
    """
    there = sum(path.stat().st_size for path in output.glob("*/checkpoint*.pt"))
    parent = next(folder for folder in (output, *output.parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    if free + there < needed:
        raise InputError(
            f"--output {output}: {free / 1e9:,.2f} GB are free, and the run writes about {needed / 1e9:,.2f} GB of "
            "checkpoints: make space, give a folder on another disk, or keep fewer with --set "
            "checkpoint.save_interval_updates=0 or --set checkpoint.no_save_optimizer_state=true"
        )


def as_settings(message: str, cfg: DictConfig) -> str:
    """A message that names flags of fairseq-train, with the settings of `fairseq-vae finetune` that they are.

    Args:
        message: of an error
        cfg: fairseq's configuration
    """
    found = []
    for flag in dict.fromkeys(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", message)):
        key = flag.replace("-", "_")
        group = next((name for name in map(str, cfg) if isinstance(cfg[name], DictConfig) and key in cfg[name]), None)
        if group and flag not in ("user-dir", "set"):
            value = "true" if isinstance(cfg[group][key], bool) else "VALUE"
            found.append(f"--set {group}.{key}={value}")
    return f"{message} (to finetune, flags are given as {', '.join(found)})" if found else message
