"""Ratios as the user wrote them: exact, where the float that stands for a decimal number is a little off."""

import functools
from fractions import Fraction

__all__ = ["exact"]


@functools.lru_cache(maxsize=None)
def exact(ratio: float) -> Fraction:
    """The decimal number of which a float is the nearest one.

    Products of floats with numbers of tokens or updates miss whole numbers: 0.35 * 180 is below 63, 0.07 * 100 above 7.

    Args:
        ratio: finite, as read from a flag

    >>> int(0.35 * 180), int(exact(0.35) * 180)
    (62, 63)
    """
    return Fraction(str(ratio))
