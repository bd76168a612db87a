"""Pictures of a training: its values over updates, and the KL of each dimension."""

import math
from fractions import Fraction
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..base.rational import exact
from . import drawing

__all__ = ["Part", "Span", "bars", "curves", "spans"]

PANELS = (
    ("rec", "reconstruction", "nats per sentence"),
    ("kl", "KL", "nats per sentence"),
    ("kl_weight", "β", "weight of the KL"),
    ("au", "active units", "dimensions"),
)
MOST = 600  # points of a curve
NEIGHBOURS = 4  # updates on either side that a running mean takes
MOST_NAMED = 64  # bars with their dimension's number

Values = Mapping[int, Mapping[str, float]]  # update to values by name


class Span(NamedTuple):
    """Updates from `start` to before `end`: a ramp of beta, within which it changes."""

    start: float
    end: float


class Part(NamedTuple):
    """One of a training's phases.

    Attributes:
        name: to write where it begins
        train: values of training by update
        valid: values of validation by update
        ramps: of beta
        cycles: updates at which a cycle of beta begins
    """

    name: str
    train: Values
    valid: Values
    ramps: Sequence[Span] = ()
    cycles: Sequence[int] = ()


def spans(flags: Mapping[str, str], updates: int) -> Tuple[List[Span], List[int]]:
    """Ramps of beta, and updates at which its cycles begin, as objective.schedule has them.

    Args:
        flags: of fairseq-train, without dashes
        updates: of the phase

    Returns:
        ramps that begin before `updates`, cut off there, and starts of cycles

    >>> spans({"kl-schedule": "cyclical", "kl-cycle-updates": "40", "kl-cycle-ratio": "0.25"}, 60)
    ([Span(start=0, end=10.0), Span(start=40, end=50.0)], [0, 40])
    >>> spans({"kl-schedule": "linear", "kl-warmup-updates": "30", "kl-zero-updates": "20"}, 40)
    ([Span(start=20, end=40.0)], [])
    """
    zero, schedule = int(flags.get("kl-zero-updates", 0)), flags.get("kl-schedule", "constant")
    lengths: Dict[str, Fraction] = {"linear": Fraction(int(flags.get("kl-warmup-updates", 0)))}
    cycles = [0]
    if schedule == "cyclical":
        cycle = max(1, int(flags.get("kl-cycle-updates", 1)))
        lengths["cyclical"] = cycle * exact(float(flags.get("kl-cycle-ratio", 0.5)))
        cycles = list(range(0, updates, cycle))
    length = lengths.get(schedule, Fraction(0))
    ramps = [Span(start + zero, min(float(updates), float(start + zero + length))) for start in cycles if length]
    return [ramp for ramp in ramps if ramp.start < updates], cycles if schedule == "cyclical" else []


def points(curve: Values, key: str) -> Tuple[List[float], List[float]]:
    """A curve's updates and values in order; of a long one, means of neighbours.

    >>> points({30: {"kl": 2.0}, 10: {"kl": 1.0}, 20: {}}, "kl")
    ([10.0, 30.0], [1.0, 2.0])
    """
    x: List[int] = sorted(update for update in curve if key in curve[update])
    y = [curve[update][key] for update in x]
    size = -(-len(x) // MOST) or 1
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    return [mean(x[part]) for part in parts], [mean(y[part]) for part in parts]


def mean(values: Sequence[Any]) -> float:
    return sum(values) / len(values)


def curves(phases: Sequence[Part]) -> Any:
    """A figure of a training's values over updates, phases one after another; drawn within drawing.style.

    Faint: batches of training; strong: their running mean; with points: validation. Dashed: the next phase begins;
    dotted: a cycle of beta begins; shaded: beta changes.

    Args:
        phases: in order
    """
    found = drawing.axes(2, 2, 9, 5.5, sharex=True)
    start = 0
    for number, phase in enumerate(phases):
        for axis, (key, *_) in zip(found.flat, PANELS):
            for ramp in phase.ramps:
                axis.axvspan(start + ramp.start, start + ramp.end, color=drawing.PALETTE[7], alpha=0.12, linewidth=0)
            for cycle in phase.cycles[1:]:
                axis.axvline(start + cycle, color=drawing.PALETTE[7], linewidth=0.8, linestyle=":")
            if number:
                axis.axvline(start, color=drawing.PALETTE[7], linewidth=0.9, linestyle="--")
            if len(phases) > 1:
                place = {"xy": (start, 1), "xycoords": ("data", "axes fraction"), "xytext": (3, -2)}
                axis.annotate(phase.name, **place, textcoords="offset points", va="top", fontsize=7, alpha=0.7)
            for curve, color, label in ((phase.train, 0, "training"), (phase.valid, 1, "validation")):
                updates, y = points(curve, key)
                if not updates:
                    continue
                x = [start + update for update in updates]
                look = {"color": drawing.PALETTE[color]}
                if curve is phase.train and key != "kl_weight":  # a batch's sentences are alike in length: values jump
                    axis.plot(x, y, linewidth=0.8, alpha=0.3, **look)
                    y = [mean(y[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1]) for i in range(len(y))]
                marker = "o" if curve is phase.valid else None
                named = None if number else label
                axis.plot(x, y, linewidth=1.4, marker=marker, markersize=3, label=named, **look)
        start += max([0, *phase.train, *phase.valid])
    for axis, (_, title, unit) in zip(found.flat, PANELS):
        axis.set_title(title)
        axis.set_ylabel(unit)
        top = axis.dataLim.y1
        axis.set_ylim(0, 1.05 * top if 0 < top < math.inf else 1)  # beta is 0 in a first phase
    for axis in found[1]:
        axis.set_xlabel("updates" + (" (dashed: the next phase)" if len(phases) > 1 else ""))
    found[0, 0].legend()
    return found[0, 0].figure


def bars(kl: Sequence[float], free_bits: Optional[float] = None) -> Any:
    """A figure of the KL of each dimension, the largest first; drawn within drawing.style.

    Args:
        kl: of Z dimensions, nats per sentence
        free_bits: nats of each dimension that cost nothing in training, as a line; None: no line
    """
    order = sorted(range(len(kl)), key=lambda dimension: -kl[dimension])
    [[axis]] = drawing.axes(1, 1, 9, 3)
    axis.bar(range(len(kl)), [kl[dimension] for dimension in order], color=drawing.PALETTE[0], width=0.8)
    if free_bits:
        axis.axhline(free_bits, color=drawing.PALETTE[1], linewidth=1.2, label=f"free bits, {free_bits:g} nats")
        axis.legend()
    few = len(kl) <= MOST_NAMED
    axis.set_xticks(range(len(kl)) if few else [], order if few else [], fontsize=7 if len(kl) > 16 else 9)
    axis.set_xlim(-0.7, len(kl) - 0.3)
    axis.grid(visible=False, axis="x")
    axis.set_xlabel("dimension of z, by its KL")
    axis.set_ylabel("KL, nats per sentence")
    return axis.figure
