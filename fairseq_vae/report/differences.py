"""How much more of each figure an arm of a study has than the one that it is held to, as a picture."""

from collections import Counter
from typing import Any, Mapping, Sequence

from ..measure.seeds import Versus
from . import drawing
from .rate import Mean, paired

__all__ = ["differences"]

PANELS = (
    ("kl", "rate, nats"),
    ("neg_elbo", "−ELBO, nats (less is better)"),
    ("nll_iw", "NLL, IW, nats (less is better)"),
    ("mi", "MI, nats (more is better)"),
)
LINE = 0.24  # inches of height of one difference


def differences(rows: Sequence[Mapping[str, Any]], versus: Versus) -> Any:
    """A figure of the differences between arms with z, a line each, with 95 % intervals; None without any.

    Drawn within drawing.style. Intervals are over seeds or, of one seed, over sentences, where there are such. Language
    models are left out: they are far from every other arm, and the table has them.

    Args:
        rows: of finetune.gather
        versus: arms to those that they are held to, see rate.paired
    """
    points = [point for point in paired(rows, versus) if not point.zero_latent and "neg_elbo" in point.figures]
    panels = [(key, unit) for key, unit in PANELS if any(key in point.figures for point in points)]
    if not points:
        return None
    bases = {point.base for point in points}
    arms = Counter(point.arm for point in points)
    names = [name(point, len(bases) == 1, arms[point.arm] > 1) for point in points]
    found = drawing.axes(1, len(panels), 2.2 * len(panels) + 2.4, LINE * len(points) + 1.3, sharey=True)
    for number, (axis, (key, unit)) in enumerate(zip(found.flat, panels)):
        axis.axvline(0, color=drawing.INK, linewidth=0.8)
        for height, point in enumerate(points):
            if key not in point.figures:
                continue
            mean, half = point.figures[key]
            low, high = point.intervals.get(key) or (mean - half, mean + half)
            look = {"color": drawing.SAFE[number % len(drawing.SAFE)]}
            axis.plot([low, high], [height, height], linewidth=1.6, solid_capstyle="butt", **look)
            axis.plot([mean], [height], "o", markersize=4, **look)
        axis.set_xlabel(unit)
    found[0, 0].set_yticks(range(len(points)), names)
    found[0, 0].set_ylim(len(points) - 0.5, -0.5)
    figure = found[0, 0].figure
    if len(bases) == 1:
        figure.suptitle(f"each less: {bases.pop()}", fontsize=10)
    kinds = [f"over {seeds} seeds" for seeds in sorted({point.seeds for point in points if point.seeds > 1})]
    kinds += ["over sentences, of one seed"] if any(point.intervals for point in points) else []
    if kinds:
        alone = [point for point in points if point.seeds == 1]
        told = [point for point in alone if point.intervals] or alone  # of several comparisons of an arm, the first
        bare = [unit for key, unit in panels if any(key in p.figures and key not in p.intervals for p in told)]
        none = "".join(f"; of {unit.rpartition(', nats')[0]} none" for unit in bare)
        none += "; of an arm's further comparisons none" if len(told) < len(alone) else ""
        figure.supxlabel(f"Bars: 95 % intervals {' or '.join(kinds)}{none}.", fontsize=8)
    return figure


def name(point: Mean, alone: bool, several: bool) -> str:
    """What a line is called.

    Args:
        point: of rate.paired
        alone: all are held to one arm, which then goes without saying
        several: its arm has several settings
    """
    arm = point.arm[: -len(f" less {point.base}")] if alone else point.arm
    return f"{arm}, {point.setting.replace('=', ' ')}" if several else arm
