"""A figure over seeds, with Student's interval. No torch, no fairseq."""

import math
from typing import NamedTuple, Sequence

import numpy as np

__all__ = ["OverSeeds"]


class OverSeeds(NamedTuple):
    """A figure's mean over seeds, and half its 95 % interval by Student's t; 0 with one seed.

    >>> mean, half = OverSeeds.of([0.6, 0.7, 0.8])
    >>> mean, round(half, 3)  # 4.303 * 0.1 / sqrt(3)
    (0.7, 0.248)
    """

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "OverSeeds":
        """The mean of a figure's values, one for each seed, and its interval."""
        from scipy.stats import t as student

        half = 0.0
        if len(values) > 1:
            spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
            half = float(student.ppf(0.975, len(values) - 1)) * spread
        return cls(round(float(np.mean(values)), 12), half)
