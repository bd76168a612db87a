"""A map of the latent space: the posterior means in two dimensions, and the groups that colour them.

Shapes: N sentences, Z latent dimensions.
"""

import math
from collections import Counter
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..base.errors import InputError

__all__ = ["Dot", "Group", "Map", "by_label", "by_length", "draw", "pca", "tsne"]

NAMED = 9  # labels with a colour of their own
BINS = 5  # of lengths
SIZE, MARGIN = 640, 8  # of the picture, and between its edge and a point, in units of its own
PERPLEXITY = 30  # of t-SNE: neighbours that a point looks at
LEAST = 5  # sentences that t-SNE needs
TITLE = 90  # characters of a sentence that shows above its point


class Dot(NamedTuple):
    """A sentence on the map: its place in units of the picture, the number of its group, and its text, cut off."""

    x: float
    y: float
    group: int
    text: str


class Group(NamedTuple):
    """Sentences of one colour: its name, and how many there are."""

    name: str
    size: int


class Map(NamedTuple):
    """All that a map's picture shows.

    Attributes:
        kind: "pca" or "tsne"
        size: width and height of the picture, in units of its own
        dots: a sentence each, in the order in which they are drawn
        groups: in the order of their numbers
        ordered: whether the groups are steps of one quantity, whose colours are a scale
        unit: length of one unit of the plane in units of the picture
        shares: of the variance that the two axes have; None for t-SNE
        left_out: sentences whose mean is not finite
    """

    kind: str
    size: int
    dots: List[Dot]
    groups: List[Group]
    ordered: bool
    unit: float
    shares: Optional[Tuple[float, float]]
    left_out: int


def pca(mu: np.ndarray) -> Tuple[np.ndarray, Tuple[float, float]]:
    """The plane in which the means vary most; an axis points to where its largest loading is positive.

    Args:
        mu: N x Z

    Returns:
        N x 2, in the units of z, and the two axes' shares of the variance, 0 to 1
    """
    centred = mu.astype(np.float64) - mu.mean(0, dtype=np.float64)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)  # axes: min(N, Z) x Z
    rows = np.zeros((2, mu.shape[1]))
    rows[: len(axes[:2])] = axes[:2]
    largest = rows[np.arange(2), np.abs(rows).argmax(1)]
    rows *= np.where(largest < 0, -1.0, 1.0)[:, None]
    variance = np.zeros(2)
    variance[: len(values[:2])] = values[:2] ** 2
    first, second = (variance / max(float((values**2).sum()), 1e-300)).tolist()
    return centred @ rows.T, (first, second)


def tsne(mu: np.ndarray, seed: int) -> np.ndarray:
    """Neighbours in z as neighbours in a plane (van der Maaten & Hinton 2008), by scikit-learn, in one thread.

    Args:
        mu: N x Z
        seed: of scikit-learn

    Returns:
        N x 2, without unit

    Raises:
        InputError: there are fewer than LEAST sentences
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(mu) < LEAST:
        raise InputError(f"--map tsne with {len(mu)} sentences: expected {LEAST} or more; --map pca takes any")
    perplexity = min(PERPLEXITY, (len(mu) - 1) / 3)
    with threadpool_limits(1):  # sums of several threads differ from run to run
        return TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(mu.astype(np.float64))


def by_label(labels: Sequence[str]) -> Tuple[List[int], List[Group]]:
    """Each sentence's group by its label, the commonest first; rare ones share the last group.

    >>> by_label(["good", "bad", "good"])
    ([0, 1, 0], [Group(name='good', size=2), Group(name='bad', size=1)])
    """
    counts = sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    named = counts if len(counts) <= NAMED + 1 else counts[:NAMED]
    groups = [Group(name, count) for name, count in named]
    if len(named) < len(counts):
        groups.append(Group(f"{len(counts) - NAMED} other labels", sum(count for _, count in counts[NAMED:])))
    number = {name: index for index, (name, _) in enumerate(named)}
    return [number.get(label, len(named)) for label in labels], groups


def by_length(lengths: Sequence[int]) -> Tuple[List[int], List[Group]]:
    """Each sentence's group by its length, in groups of like size, the shortest first.

    Args:
        lengths: in tokens

    >>> by_length([2, 9, 2])
    ([0, 1, 0], [Group(name='2 tokens', size=2), Group(name='9 tokens', size=1)])
    """
    # the largest length of each group; equal lengths stay together
    ends = sorted({sorted(lengths)[math.ceil(len(lengths) * (bin + 1) / BINS) - 1] for bin in range(BINS)})
    groups, numbers = [], [int(np.searchsorted(ends, length)) for length in lengths]
    for number in range(len(ends)):
        some = [length for length, group in zip(lengths, numbers) if group == number]
        low, high = min(some), max(some)
        groups.append(Group(f"{low} to {high} tokens" if low < high else f"{low} tokens", len(some)))
    return numbers, groups


def draw(
    mu: np.ndarray,
    texts: Sequence[str],
    lengths: Sequence[int],
    labels: Optional[Sequence[str]] = None,
    kind: str = "pca",
    seed: int = 1,
) -> Optional[Map]:
    """The map of N sentences, one scale for both axes.

    Args:
        mu: N x Z
        texts: N
        lengths: in tokens, N; they colour the map where there are no labels
        labels: N
        kind: "pca" or "tsne"
        seed: of t-SNE

    Returns:
        None if no mean is finite, or all of several are the same

    Raises:
        InputError: too few sentences for t-SNE
    """
    good = np.flatnonzero(np.isfinite(mu).all(1))
    if not len(good) or (len(good) > 1 and (mu[good] == mu[good[0]]).all()):
        return None
    shares = None
    if kind == "tsne":
        plane = tsne(mu[good], seed)
    else:
        plane, shares = pca(mu[good])
    low, high = plane.min(0), plane.max(0)
    unit = (SIZE - 2 * MARGIN) / max(float((high - low).max()), 1e-9)
    places = (plane - (low + high) / 2) * np.array([unit, -unit]) + SIZE / 2  # up is up
    some = [(lengths if labels is None else labels)[i] for i in good]
    numbers, groups = by_length(some) if labels is None else by_label(some)  # type: ignore[arg-type]
    dots = [
        Dot(round(float(x), 1), round(float(y), 1), group, shortened(texts[i]))
        for (x, y), group, i in zip(places, numbers, good)
    ]
    return Map(kind, SIZE, dots, groups, labels is None, unit, shares, len(mu) - len(good))


def shortened(text: str) -> str:
    """A text of at most TITLE characters."""
    return text if len(text) <= TITLE else f"{text[: TITLE - 1]}…"
