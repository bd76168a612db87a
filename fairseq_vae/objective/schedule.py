"""beta, the weight of the KL, as a pure function of the update number."""

import math
from fractions import Fraction
from typing import Dict, Union

from ..base.rational import exact

__all__ = ["RAMPS", "SCHEDULES", "kl_weight", "ramp"]

SCHEDULES = ("constant", "linear", "cyclical")

RAMPS = ("linear", "sigmoid", "cosine")


def ramp(t: float, shape: str = "linear") -> float:
    """A monotone path from exactly 0 at t <= 0 to exactly 1 at t >= 1, with 1/2 at t = 1/2.

    linear: t.
    sigmoid: s(12 t - 6) with the logistic function s, rescaled to meet 0 and 1; the notebook of Fu et al. 2019,
        https://arxiv.org/abs/1903.10145, does not rescale it.
    cosine: (1 - cos(pi t)) / 2.

    Args:
        t: share of the ramp's length
        shape: one of RAMPS

    Returns:
        0 to 1

    Raises:
        ValueError: the shape is unknown

    >>> ramp(-1.0), ramp(0.25), ramp(0.5, "sigmoid"), ramp(1.5, "cosine")
    (0.0, 0.25, 0.5, 1.0)
    """
    if shape not in RAMPS:
        raise ValueError(f"unknown ramp {shape!r}: choose one of {', '.join(RAMPS)}")
    if t <= 0 or t >= 1:
        return float(t >= 1)
    if shape == "sigmoid":  # s(x) - 1/2 = tanh(x / 2) / 2
        return 0.5 + 0.5 * math.tanh(6 * t - 3) / math.tanh(3)
    return t if shape == "linear" else 0.5 - 0.5 * math.cos(math.pi * t)


def kl_weight(
    update: int,
    schedule: str = "constant",
    final: float = 1.0,
    start: float = 0.0,
    warmup_updates: int = 0,
    cycle_updates: int = 0,
    cycle_ratio: float = 0.5,
    shape: str = "linear",
    zero_updates: int = 0,
) -> float:
    """beta, the weight of the KL, at an update.

    constant: `final` throughout.
    linear: start + (final - start) * ramp(update / warmup_updates), then `final`; the monotonic annealing of Bowman et
        al. 2016, https://arxiv.org/abs/1511.06349. `start` may be above `final`.
    cyclical: with tau = (update mod cycle_updates) / cycle_updates, start + (final - start) * ramp(tau / cycle_ratio)
        while tau < cycle_ratio, then `final` until the cycle ends; cycles repeat for ever (Fu et al. 2019,
        https://arxiv.org/abs/1903.10145, eq. 6-7).

    Args:
        update: the update's number; the first update has number 0
        schedule: one of SCHEDULES
        final: beta at the end of a ramp
        start: beta at the start of a ramp
        warmup_updates: length of the linear schedule's ramp
        cycle_updates: length of the cyclical schedule's cycle, 1 or more
        cycle_ratio: share of a cycle that its ramp takes, 0 to 1
        shape: of the ramp, one of RAMPS
        zero_updates: number of updates with beta = 0 that precede everything else; in the cyclical schedule they begin
            every cycle, whose length stays: zero, ramp, hold (Li et al. 2020, Optimus, https://arxiv.org/abs/2004.04092)

    Returns:
        beta, without unit

    Raises:
        ValueError: the schedule or the shape is unknown

    >>> [kl_weight(update, "linear", warmup_updates=4) for update in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    >>> [kl_weight(update, "cyclical", cycle_updates=4) for update in range(6)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if schedule == "cyclical":
        update %= cycle_updates
    update -= zero_updates
    if update < 0:
        return 0.0
    lengths: Dict[str, Union[int, Fraction]] = {"constant": 0, "linear": warmup_updates}
    length = lengths.get(schedule, cycle_updates * exact(cycle_ratio))
    if update >= length:  # the end point too, so that beta meets `final` exactly
        return final
    beta = start + (final - start) * ramp(float(update / length), shape)
    return min(max(beta, min(start, final)), max(start, final))  # against rounding
