"""What single dimensions and principal directions of mu say: the sentences at their ends. No torch, no fairseq.

Shapes: N sentences, Z latent dimensions.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from ..base.errors import InputError
from ..base.labelled import Task
from .disentangle import disentangled
from .probes import check_labels
from .representation import POOLED, of, pearson

__all__ = [
    "AT_AN_END",
    "MOST",
    "Dimensions",
    "End",
    "OfTask",
    "Reading",
    "principal_directions",
    "read_dimensions",
    "read_task_dimensions",
    "rows_to_read",
]

AT_AN_END = 20  # sentences
MOST = 5_000  # sentences of a task that are read: permuting their labels takes seconds


class End(NamedTuple):
    """Sentences at one end of a direction, of those AT_AN_END that are furthest out.

    Attributes:
        shortest: in words
        longest: in words
        different: the one that shares the fewest of its words with the other end's sentences
    """

    shortest: str
    longest: str
    different: str


class Reading(NamedTuple):
    """What one direction says.

    Attributes:
        name: "dimension 7" or "direction 1"
        weight: the variance of mu along it
        length: Pearson's correlation with the sentences' length in words, -1 to 1
        labels: that with whether a sentence has the label, for each label; of two labels the second alone
        low: the end of the smallest values
        high: the end of the largest values
    """

    name: str
    weight: float
    length: float
    labels: Dict[str, float]
    low: End
    high: End


class Dimensions(NamedTuple):
    """Readings of a model.

    Attributes:
        noise: 95 % of the correlations of what has nothing to do with one another lie within this of 0
        dimensions: in descending order of variance
        directions: principal directions of mu, in descending order of variance
    """

    noise: float
    dimensions: List[Reading]
    directions: List[Reading]


def principal_directions(mu: np.ndarray, count: int) -> np.ndarray:
    """Unit vectors along which mu varies most, each with its largest component positive.

    Args:
        mu: N x Z
        count: of them, at most Z

    Returns:
        count x Z

    >>> principal_directions(np.array([[0.0, -3.0], [1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]), 1).tolist()
    [[0.0, 1.0]]
    """
    _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(mu, rowvar=False)))
    vectors = vectors[:, ::-1][:, :count].T
    largest = np.abs(vectors).argmax(1)
    return vectors * np.sign(vectors[np.arange(len(vectors)), largest])[:, None] + 0.0


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's, 0 where one of the two is constant."""
    return float(np.nan_to_num(pearson(x, y)))


def read_end(rows: Sequence[int], others: Sequence[int], sentences: Sequence[str]) -> End:
    """The sentences to show of an end.

    Args:
        rows: the end's sentences, the furthest out first
        others: the other end's
        sentences: N
    """
    elsewhere = {word for row in others for word in sentences[row].split()}
    lengths = [len(sentences[row].split()) for row in rows]
    shared = [sum(word in elsewhere for word in sentences[row].split()) / max(1, n) for row, n in zip(rows, lengths)]
    chosen = (rows[int(np.argmin(lengths))], rows[int(np.argmax(lengths))], rows[int(np.argmin(shared))])
    return End(*(sentences[row] for row in chosen))


def read_dimensions(
    mu: np.ndarray, sentences: Sequence[str], labels: Optional[Sequence[str]] = None, count: int = 10
) -> Dimensions:
    """What the dimensions and the principal directions along which mu varies most say.

    Not those of the largest KL: a KL falls into dimensions only where the prior does.

    Args:
        mu: N x Z
        sentences: N
        labels: N; None: there are none
        count: dimensions, and directions, at most

    Raises:
        InputError: the numbers of vectors, sentences and labels differ, or there are fewer than two
    """
    for what, found in (("sentences", sentences), ("labels", labels)):
        if found is not None and len(found) != len(mu):
            raise InputError(f"{len(found):,} {what} for {len(mu):,} vectors: expected one for each")
    if len(mu) < 2:
        raise InputError(f"{len(mu)} vectors: expected two or more, whose ends differ")
    lengths = np.array([len(sentence.split()) for sentence in sentences], dtype=float)
    names = sorted(set(labels or ()))
    told = {name: np.array([label == name for label in labels or ()], dtype=float) for name in names}
    if len(names) == 2:  # the one's correlation is the other's with its sign changed
        del told[names[0]]
    ends = max(1, min(AT_AN_END, len(mu) // 2))

    def reading(name: str, values: np.ndarray, weight: float) -> Reading:
        order = np.argsort(values, kind="stable").tolist()
        low, high = order[:ends], order[::-1][:ends]
        correlations = {label: correlation(values, has) for label, has in told.items()}
        about = (correlation(values, lengths), correlations)
        return Reading(name, float(weight), *about, read_end(low, high, sentences), read_end(high, low, sentences))

    weights = mu.var(0)
    first = np.argsort(-weights, kind="stable")[:count].tolist()
    along = mu @ principal_directions(mu, count).T
    return Dimensions(
        float(1.96 / np.sqrt(len(mu))),
        [reading(f"dimension {number}", mu[:, number], weights[number]) for number in first],
        [reading(f"direction {place + 1}", values, values.var()) for place, values in enumerate(along.T)],
    )


class OfTask(NamedTuple):
    """What dimensions of mu say of a task's labels.

    Attributes:
        task: its name
        sentences: of test that were read
        disentangled: see disentangle.disentangled
        readings: of the same sentences
    """

    task: str
    sentences: int
    disentangled: Dict[str, Any]
    readings: Dimensions

    def content(self) -> Dict[str, Any]:
        """All of it under its keys, for JSON."""
        readings = self.readings._asdict()
        for name in ("dimensions", "directions"):
            readings[name] = [
                {**reading._asdict(), "low": reading.low._asdict(), "high": reading.high._asdict()}
                for reading in readings[name]
            ]
        return {"task": self.task, "sentences": self.sentences, **self.disentangled, **readings}


def rows_to_read(task: Task, most: int = MOST) -> List[int]:
    """The numbers of a task's test sentences that are read: all, or so many of them, drawn once.

    Args:
        task: of labelled sentences
        most: sentences

    Raises:
        InputError: they have a single label, or one of a single sentence; the message names the file
    """
    test = task.splits["test"]
    rows = np.sort(np.random.default_rng(POOLED).permutation(test.size)[:most]).tolist()
    labels = of(test.labels)
    read = "" if len(rows) == test.size else f", {len(rows):,} lines of {test.size:,}"
    check_labels([labels[row] for row in rows], f"--dimensions: {test.file}{read}")
    return rows


def read_task_dimensions(
    task: Task, mu: Callable[[Sequence[str]], np.ndarray], count: int, most: int = MOST, draws: int = 100
) -> OfTask:
    """What dimensions of mu say of the labels of a task's test sentences.

    Args:
        task: of labelled sentences
        mu: from sentences to vectors, N x Z
        count: dimensions, and directions, at most
        most: sentences
        draws: see disentangle.permuted

    Raises:
        InputError: see rows_to_read
    """
    test, rows = task.splits["test"], rows_to_read(task, most)
    sentences, labels = ([values[row] for row in rows] for values in (test.texts[0], of(test.labels)))
    vectors = mu(sentences)
    told = disentangled(vectors, labels, draws)
    return OfTask(task.name, len(rows), told, read_dimensions(vectors, sentences, labels, count))
