"""What a study's points have measured, read back from its folder."""

import contextlib
import csv
import functools
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..base.errors import InputError
from ..measure.collection import Collection
from ..measure.responses import compared
from ..measure.seeds import bases, beside
from ..measure.summary import less
from .kept import common_settings, difference, read_settings, same, settings
from .process import VALUES
from .study import Study

__all__ = ["FIGURES", "gather"]

FIGURES = (  # of an evaluation, for tables and pictures
    *("rec", "kl", "neg_elbo", "nll_iw", "ppl_token", "ppl_word", "bits_per_byte", "mi", "mi_cap", "mi_saturated"),
    *("marginal_kl", "au", "latent_dim", "nll_gap_shuffled", "nll_gap_zero", "nll_gap_prior", "bleu", "bleu_greedy"),
    *("exact_match", "exact_match_greedy", "self_bleu", "diagnosis", "split", "sentences", "tokens", "samples"),
    *("text_sentences", "signature", "intervals", "responses", "kl_sampled", "distinct_1", "distinct_2"),
    *("length_distance", "lm_nll", "lm_gap", "samples_nll", "samples_nll_data"),
)
HALF = {"fp16", "bf16", "amp", "memory-efficient-fp16", "memory-efficient-bf16"}  # flags of fairseq's
LESS = ("rec", "kl", "nll_iw")  # nats of a sentence that two arms are compared by; and neg_elbo, the sum of two


def gather(study: Study, output: str) -> List[Dict[str, Any]]:
    """What there is of a study's points, in its order.

    Args:
        study: of the folder
        output: the folder

    Returns:
        for each point arm, seed, setting, zero_latent, start, updates (since the study's start, its own training's and
        those of the points before it), state ("done", "failed" or "missing"), reason (of a failure, or why a point is
        not held to the language model), code (fingerprints of what made it and those before) and figures: those of
        FIGURES that its evaluation has, `seconds` that an update took, `precision` (see there), of pairs also
        `less_lm`, see hold, and of an arm that is held to others `less_versus`, what LESS and `neg_elbo` are less than
        the first's, sentence by sentence, with their intervals; and `validation`, see validations, also of a training
        that is not done. A PHASE1 is none. A point that was made with other settings than the study's, or starts from
        one that was, has failed.

    Raises:
        InputError: an evaluation or a file of settings is damaged, or the folder's evaluations had other flags
    """
    rows: List[Dict[str, Any]] = []
    common = common_settings(output)
    if common:
        same(Path(output, "settings.json"), {**common, "evaluate": study.evaluate})
    start = "bart" if common.get("bart", study.bart) else "random weights"
    failed, other, seen = "", "", 0
    code: List[str] = []
    for point in study.points:
        folder = Path(output, point.place)
        path, told, made = folder / f"{study.split}.json", folder / "failed.txt", folder / "settings.json"
        figures, reason, kept = {}, "", read_settings(made) if made.exists() else {}
        failed, seen = (failed, seen + point.updates) if point.before else ("", point.updates)
        found = difference(kept, settings(point, start)) if kept else ""
        other = other if point.before else ""
        code = list(dict.fromkeys([*(code if point.before else []), *kept.get("code", [])]))
        if not other and found:
            other = f"{point.setting} was made with {found}"
        if other:
            reason = failed = other
        elif path.exists():
            try:
                numbers = json.loads(path.read_text(encoding="utf-8"))
                figures = {key: numbers[key] for key in FIGURES if key in numbers}
            except (ValueError, TypeError) as error:
                raise InputError(f"{path} is damaged ({error}): delete it and run the study again") from error
            figures["seconds"] = pace(folder / "train.log")
            figures["precision"] = precision(point.flags, folder / "train.log")
        elif told.exists():
            reason = told.read_text(encoding="utf-8").strip()
            failed = f"{point.setting} failed" if point.evaluated else f"{point.setting} failed: {reason}"
        elif failed:
            reason = f"not trained, since {failed}"
        if not point.evaluated:
            continue
        rows.append(
            {
                **{"arm": point.arm, "seed": point.seed, "setting": point.setting, "zero_latent": point.zero_latent},
                **{"updates": seen, "start": point.before or start, "code": code},
                **{"state": "done" if figures else "failed" if reason else "missing", "reason": reason},
                "figures": figures,
                "validation": validations(folder / "train.log", seen - point.updates),
            }
        )
    places = {(p.arm, p.seed, p.setting): Path(output, p.place, f"{study.split}.tsv") for p in study.points}
    pairs = list(beside(rows, study.versus))
    for row, base in pairs:
        alike = (row["arm"], row["setting"], base["arm"])
        seeds = {mine["seed"] for mine, other in pairs if (mine["arm"], mine["setting"], other["arm"]) == alike}
        if len(seeds) > 1 or base["arm"] != bases(study.versus, row["arm"])[0]:
            continue  # several seeds have an interval of their own
        ours, theirs = (of_sentences(places[each["arm"], each["seed"], each["setting"]]) for each in (row, base))
        if ours and theirs and len(ours["rec"]) == len(theirs["rec"]):
            row["figures"]["less_versus"] = compared(ours, theirs, row["seed"])
    tell_unheld(rows, study)
    if study.pairs:
        hold(rows, {(p.arm, p.seed, p.setting): str(Path(output, p.place, study.split)) for p in study.points})
    return rows


def tell_unheld(rows: Sequence[Dict[str, Any]], study: Study) -> None:
    """Give sentences' points that were evaluated before the language model was there that as their `reason`."""
    if study.pairs or not any(row["zero_latent"] and row["state"] == "done" for row in rows):
        return
    for row in (row for row in rows if row["state"] == "done" and not row["zero_latent"]):
        if row["figures"].get("lm_nll") is None:
            row["reason"] = f"evaluated without a language model: delete its {study.split}.json and run again"


def of_sentences(path: Path) -> Dict[str, Tensor]:
    """Columns of LESS and `neg_elbo`, nats of each sentence, N, float64, of an evaluation; empty without its file.

    Raises:
        InputError: the file is damaged
    """
    if not path.exists():
        return {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
        found = {key: torch.tensor([float(row[key]) for row in rows], dtype=torch.float64) for key in LESS}
    except (ValueError, TypeError, LookupError, csv.Error) as error:
        raise InputError(
            f"{path} is damaged ({error}): delete it and the .json beside it, and run the study again"
        ) from error
    return {**found, "neg_elbo": found["rec"] + found["kl"]}


def pace(log: Path) -> Optional[float]:
    """Seconds an update of a training took by the clock, between the lines of updates of its log; None without two.

    An interrupted training's clock begins anew: what lies between two runs does not count.
    """
    before: Optional[Tuple[int, float]] = None
    updates, seconds = 0, 0.0
    for kind, numbers in logged(log):
        if kind == "train_inner" and {"num_updates", "wall"} <= set(numbers):
            after = int(numbers["num_updates"]), numbers["wall"]
            if before and after[0] > before[0] and after[1] > before[1]:
                updates, seconds = updates + after[0] - before[0], seconds + after[1] - before[1]
            before = after
        elif kind == "start":
            before = None
    return seconds / updates if updates else None


def precision(flags: Mapping[str, str], log: Path) -> Optional[str]:
    """What a training's products were in, "bfloat16" or "float32"; None where flags of fairseq's or a lost log leave it
    open. A GPU may take products in float32 as TF32.

    Args:
        flags: of the training
        log: of the training, which says where a machine lacked bfloat16
    """
    if not log.exists() or HALF & set(flags):
        return None
    lacked = "--autocast-bf16 has no effect" in log.read_text(encoding="utf-8", errors="replace")
    return "bfloat16" if "autocast-bf16" in flags and not lacked else "float32"


def validations(log: Path, before: int) -> Dict[str, List[float]]:
    """What a training's validations found, by its log: `updates` since the study's start, `neg_elbo` and `kl`.

    Args:
        log: of the training
        before: updates of the trainings that it goes on from
    """
    found = {}
    for kind, numbers in logged(log):
        if kind == "valid" and {"valid_num_updates", "valid_neg_elbo", "valid_kl"} <= set(numbers):
            found[before + int(numbers["valid_num_updates"])] = numbers["valid_neg_elbo"], numbers["valid_kl"]
    updates = sorted(found)
    both = [found[update] for update in updates]
    return {"updates": [*updates], "neg_elbo": [bound for bound, _ in both], "kl": [kl for _, kl in both]}


def logged(log: Path) -> Iterator[Tuple[str, Dict[str, float]]]:
    """The lines of a training's log that tell values, as "train_inner" or "valid", and the numbers among them; and
    "start" for each line that a start of fairseq-train writes. Nothing of a log that is not there."""
    if not log.exists():
        return
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        found = VALUES.search(line)
        if found:
            numbers: Dict[str, float] = {}
            with contextlib.suppress(ValueError):
                for key, value in json.loads(found[2]).items():
                    with contextlib.suppress(ValueError, TypeError):
                        numbers[key] = float(value)
            yield found[1], numbers
        elif " | fairseq_cli.train | " in line:
            yield "start", {}


def hold(rows: Sequence[Dict[str, Any]], folders: Mapping[Tuple[str, int, str], str]) -> None:
    """Add to the figures of each point `less_lm`: what they are less than the language model's of the same seed, or of
    the first seed that has one, source by source; see measure.summary's less. The first arm without z is taken. What
    cannot be compared has no `less_lm`, and why, as its `reason`.

    Args:
        rows: of a study of pairs
        folders: of the points' collections, by arm, seed and setting
    """

    def kept(row: Mapping[str, Any]) -> Collection:
        return Collection.load(folders[row["arm"], row["seed"], row["setting"]])

    done = [row for row in rows if row["state"] == "done"]
    models = [row for row in done if row["zero_latent"]]
    models = [row for row in models if row["arm"] == models[0]["arm"]]
    of_model = functools.lru_cache(maxsize=None)(lambda place: kept(models[place]))  # of several points
    for row in (row for row in done if models and not row["zero_latent"]):
        place = next((place for place, model in enumerate(models) if model["seed"] == row["seed"]), 0)
        try:
            row["figures"]["less_lm"] = less(kept(row), of_model(place))
        except InputError as error:
            row["reason"] = f"not held to {models[place]['arm']!r}: {error}"
