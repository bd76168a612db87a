"""What `fairseq-vae finetune` left in its folder, read back. No fairseq here, and no model."""

import json
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from ..base.errors import InputError
from .process import VALUES
from .recipe import PHASES

__all__ = ["Curve", "Log", "Phase", "Run", "flags_of", "read_log", "read_run"]

Curve = Dict[int, Dict[str, float]]  # update to values by name
WORDS = ("epoch", "valid_kl_dims", "valid_diagnosis")  # values in a log that are no number of their own


class Log(NamedTuple):
    """Values that a training logged.

    Attributes:
        train: of training, by update
        valid: of validation, by update
        kl_dims: each dimension's KL at the last validation, nats per sentence; None without one
    """

    train: Curve
    valid: Curve
    kl_dims: Optional[List[float]] = None

    @property
    def updates(self) -> int:
        """The last update with a value; 0 without one."""
        return max([0, *self.train, *self.valid])


class Phase(NamedTuple):
    """One training of a run.

    Attributes:
        name: "phase1" or "phase2"
        flags: of fairseq-train, without dashes: their values, "" for a switch
        log: its values; none if it has not begun
        done: whether it ended
    """

    name: str
    flags: Dict[str, str]
    log: Log
    done: bool


class Run(NamedTuple):
    """A run as far as it has come.

    Attributes:
        folder: where it lies
        phases: in order; one that has not begun has no values
        evaluation: what evaluation.json holds; None without it
        checkpoint: of the last phase that has one; None without any
        lacks: a sentence for each thing that a whole run has and this one has not
    """

    folder: str
    phases: List[Phase]
    evaluation: Optional[Dict[str, Any]]
    checkpoint: Optional[str]
    lacks: List[str]


def read_log(path: "os.PathLike[str]") -> Log:
    """The values in what fairseq-train --log-format json printed.

    What a resumed run logged again replaces the first time. A line that a kill cut off is left out.

    Args:
        path: of the log
    """
    curves: Dict[str, Curve] = {"train_inner": {}, "valid": {}}
    dims = None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            found = VALUES.search(line.rstrip("\n"))
            if found is None:
                continue
            try:
                values = json.loads(found.group(2))
                metrics = {k.replace("valid_", "", 1): float(value) for k, value in values.items() if k not in WORDS}
                curves[found.group(1)][int(metrics["num_updates"])] = metrics
                dims = [float(value) for value in values.get("valid_kl_dims", "").split()] or dims
            except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
                continue
    return Log(curves["train_inner"], curves["valid"], dims)


def read_run(folder: str) -> Run:
    """Read the folder of a run, whole or stopped anywhere.

    Args:
        folder: what `fairseq-vae finetune` had as --output

    Raises:
        InputError: the folder is of no run
    """
    wanted = "expected the folder that `fairseq-vae finetune --output` made"
    try:
        recipe = json.loads(Path(folder, "settings.json").read_text(encoding="utf-8"))["recipe"]
        chosen = {phase: flags_of(recipe[phase]) for phase in PHASES if phase in recipe}
    except OSError as error:
        raise InputError(f"{folder} has no settings.json that can be read ({error.strerror}): {wanted}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}/settings.json is damaged or of another program: {wanted}") from error
    lacks: List[str] = []
    phases = [read_phase(folder, name, flags, lacks) for name, flags in chosen.items()]
    evaluation = read_evaluation(folder, lacks)
    paths = [os.path.join(folder, phase.name, "checkpoint_best.pt") for phase in reversed(phases)]
    checkpoint = next(filter(os.path.isfile, paths), None)
    if checkpoint is None:
        lacks.append("No phase has a checkpoint yet: without a model there is no map and no generated sentence.")
    elif checkpoint != paths[0]:
        lacks.append(f"The map and the sentences are of {phases[0].name}: {phases[-1].name} has no checkpoint yet.")
    return Run(folder, phases, evaluation, checkpoint, lacks)


def flags_of(arguments: List[str]) -> Dict[str, str]:
    """Flags of fairseq-train by name, the data folder left out.

    >>> flags_of(["data-bin", "--kl-weight=0.5", "--deterministic-latent"])
    {'kl-weight': '0.5', 'deterministic-latent': ''}
    """
    pairs = (argument[2:].partition("=") for argument in arguments if argument.startswith("--"))
    return {name: value for name, _, value in pairs}


def read_phase(folder: str, name: str, flags: Dict[str, str], lacks: List[str]) -> Phase:
    """Read a phase's log; what is missing is added to `lacks`."""
    log = Path(folder, f"{name}.log")
    values = read_log(log) if log.is_file() else Log({}, {})
    done = os.path.isfile(os.path.join(folder, f"{name}.done"))
    if not values.updates:
        lacks.append(f"{name} has logged nothing yet: its curves are missing.")
    elif not done:
        wanted = flags.get("max-update", "?")
        lacks.append(f"{name} has not ended: its curves stop at update {values.updates:,} of {wanted}.")
    return Phase(name, flags, values, done)


def read_evaluation(folder: str, lacks: List[str]) -> Optional[Dict[str, Any]]:
    """Read evaluation.json; where it is missing or damaged, a sentence is added to `lacks`."""
    path = Path(folder, "evaluation.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        lacks.append("evaluation.json does not hold one evaluation: its table is missing.")
    except OSError:
        lacks.append("The run has no evaluation.json, which its last steps make: the evaluation's table is missing.")
    except ValueError:
        lacks.append("evaluation.json is damaged: its table is missing.")
    return None
