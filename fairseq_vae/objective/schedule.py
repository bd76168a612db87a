"""beta, the weight of the KL, as a pure function of the update number."""

import math

SCHEDULES = ("constant", "linear", "cyclical")

RAMPS = ("linear", "sigmoid", "cosine")


def ramp(t: float, shape: str = "linear") -> float:
    """A monotone path from exactly 0 at t <= 0 to exactly 1 at t >= 1, and 1/2 at 1/2.

    linear: t. sigmoid: s(12 t - 6) of the logistic function s, rescaled to meet 0 and 1, which Fu et al.'s notebook
    leaves out. cosine: (1 - cos(pi t)) / 2.
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
    """beta, the weight of the KL, at an update (the first has number 0); a function of that number alone.

    constant: `final` throughout.
    linear: start + (final - start) * ramp(update / warmup_updates), then `final` (Bowman et al. 2016's monotonic
        annealing); `start` may be above `final`.
    cyclical: with tau = (update mod cycle_updates) / cycle_updates, start + (final - start) * ramp(tau / cycle_ratio)
        while tau < cycle_ratio, then `final` till the cycle ends; cycles repeat for ever (Fu et al. 2019, eq. 6-7).
    zero_updates: beta is 0 for so many updates first, and all of the above comes so much later; of the cyclical
        schedule in every cycle, which keeps its length: zero, ramp, hold (Li et al. 2020, Optimus).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if schedule == "cyclical":
        update %= cycle_updates
    update -= zero_updates
    if update < 0:
        return 0.0
    length = {"constant": 0, "linear": warmup_updates, "cyclical": cycle_updates * cycle_ratio}[schedule]
    if update >= length:  # also the end point itself, so that `final` is met exactly
        return final
    beta = start + (final - start) * ramp(update / length, shape)
    return min(max(beta, min(start, final)), max(start, final))  # against rounding
