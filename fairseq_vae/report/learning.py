"""Validation -ELBO and KL of a study's trainings over updates, as a picture: whether they have stopped falling."""

import itertools
from typing import Any, Dict, List, Mapping, Sequence

from . import drawing
from .rate import finite

__all__ = ["learning", "lines"]

PANELS = (("neg_elbo", "validation −ELBO, nats per sentence"), ("kl", "validation KL, nats per sentence"))


def lines(rows: Sequence[Mapping[str, Any]]) -> Dict[str, List[Mapping[str, Any]]]:
    """The validations of each arm's seeds, by its name, and its point's where arms have several.

    >>> row = {"arm": "a", "setting": "kl-weight=1", "zero_latent": False, "validation": {"updates": [9]}}
    >>> lines([row, {**row, "validation": {"updates": []}}])
    {'a': [{'updates': [9]}]}

    Args:
        rows: of finetune.gather
    """
    found: Dict[str, List[Mapping[str, Any]]] = {}
    several = len({row["setting"] for row in rows if not row["zero_latent"]}) > 1
    for row in rows:
        if row.get("validation", {}).get("updates"):
            setting = row["setting"].replace("=", " ") if several and "=" in row["setting"] else ""
            found.setdefault(", ".join(filter(None, (row["arm"], setting))), []).append(row["validation"])
    return found


def learning(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A figure of -ELBO and KL over updates, a line an arm and point, the mean over seeds; None without a validation.

    Drawn within drawing.style; thin lines are single seeds where there are several. A first phase has no line, but its
    updates are counted; the mean goes where all seeds have a validation.

    Args:
        rows: of finetune.gather
    """
    seen = lines(rows)
    if not seen:
        return None
    panels = [(key, unit) for key, unit in PANELS if any(any(seed[key]) for seeds in seen.values() for seed in seeds)]
    if not panels:
        return None
    without_z = {row["arm"] for row in rows if row["zero_latent"]}
    colors = dict(zip((name for name in seen if name not in without_z), itertools.cycle(drawing.SAFE)))  # as rate.curve
    found = drawing.axes(1, len(panels), 4.9 * len(panels), 4.2)
    for axis, (key, unit) in zip(found.flat, panels):
        for number, (name, seeds) in enumerate(seen.items()):
            look: Dict[str, Any] = {"color": colors.get(name, drawing.INK)}
            each = [
                {x: y for x, y in zip(seed["updates"], seed[key]) if finite(y)}  # a training may have diverged
                for seed in seeds
            ]
            for seed in each if len(each) > 1 else []:
                axis.plot(list(seed), list(seed.values()), linewidth=0.6, alpha=0.4, **look)
            x = [update for update in each[0] if all(update in seed for seed in each)]
            y = [sum(seed[update] for seed in each) / len(each) for update in x]
            marker = drawing.MARKERS[number % len(drawing.MARKERS)]
            axis.plot(x, y, marker=marker, markersize=4, linewidth=1.4, label=name, **look)
        axis.set_xlabel("updates since the study's start")
        axis.set_ylabel(unit)
        axis.set_xlim(left=0)
        if key == "kl":
            axis.set_ylim(bottom=0)
    figure = found[0, 0].figure
    figure.legend(*found[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
