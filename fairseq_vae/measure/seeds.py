"""Figures over seeds, with Student's interval, and points of studies beside one another. No torch, no fairseq."""

import math
from typing import Any, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, TypeVar, Union

import numpy as np

__all__ = ["OverSeeds", "Versus", "bases", "beside"]


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


Row = TypeVar("Row", bound=Mapping[str, Any])


Versus = Mapping[str, Union[str, Sequence[str]]]  # arms to the one that each is held to, or to several


def bases(arms: Versus, arm: str) -> List[str]:
    """The arms that one is held to.

    >>> bases({"a": "b", "c": ["a", "b"]}, "c"), bases({"a": "b"}, "a"), bases({}, "a")
    (['a', 'b'], ['b'], [])
    """
    given = arms.get(arm, ())
    return [given] if isinstance(given, str) else list(given)


def beside(rows: Sequence[Row], arms: Versus) -> Iterator[Tuple[Row, Row]]:
    """Points of a study that are done, each beside those that it is held to.

    Those have its seed and its setting, or are of an arm of one point.

    >>> row = {"arm": "a", "seed": 1, "setting": "x=1", "state": "done"}
    >>> [(mine["arm"], other["arm"]) for mine, other in beside([row, {**row, "arm": "b"}], {"b": "a"})]
    [('b', 'a')]

    Args:
        rows: of finetune.gather
        arms: to those that they are held to, see bases
    """
    done = {(row["arm"], row["setting"], row["seed"]): row for row in rows if row["state"] == "done"}
    for row in done.values():
        for base in bases(arms, row["arm"]):
            own = list(dict.fromkeys(other["setting"] for other in rows if other["arm"] == base))
            found = done.get((base, own[0] if len(own) == 1 else row["setting"], row["seed"]))
            if found is not None:
                yield row, found
