"""Whether a label stands in one dimension of mu or in many. No torch, no fairseq.

Shapes: N sentences, Z latent dimensions, K classes of the label.
"""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from ..base.errors import InputError
from .probes import check_labels

__all__ = [
    "BINS",
    "completeness",
    "disentangled",
    "gap",
    "importance",
    "label_information",
    "mutual_information_gap",
    "permuted",
    "separated_attribute_predictability",
    "threshold_accuracy",
]

BINS = 20
Score = Callable[[np.ndarray], float]


def binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Numbers of quantile bins; equal values share a bin.

    >>> binned(np.array([5.0, 1.0, 1.0, 9.0]), 2).tolist()
    [1, 0, 0, 1]
    """
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return np.unique(np.searchsorted(edges, values), return_inverse=True)[1]


def label_information(mu: np.ndarray, labels: Sequence[str], bins: int = BINS) -> Tuple[np.ndarray, float]:
    """Mutual information of a label and each dimension alone, which is cut into bins of equally many sentences.

    I = sum p(b, k) log [p(b, k) / p(b) p(k)], less (C - B - K + 1) / 2N, with C the pairs of bin and class that occur:
    what bins and classes that have nothing to do with one another show on average (Miller 1955). It is within 0 and the
    label's entropy.

    Args:
        mu: N x Z
        labels: N
        bins: B, at most

    Returns:
        nats, Z; and the label's entropy, nats

    >>> mu = np.array([[0.0, 5.0], [0.1, 5.0]] * 20 + [[1.0, 5.0], [1.1, 5.0]] * 20)
    >>> information, entropy = label_information(mu, ["no"] * 40 + ["yes"] * 40, bins=2)
    >>> information.round(2).tolist(), round(entropy, 2)
    ([0.69, 0.0], 0.69)
    """
    return cells_information([binned(column, bins) for column in mu.T], np.unique(labels, return_inverse=True)[1])


def cells_information(cells: Sequence[np.ndarray], classes: np.ndarray) -> Tuple[np.ndarray, float]:
    """label_information of dimensions that are cut already.

    Args:
        cells: for each of Z dimensions the numbers of bins, N
        classes: numbers, N
    """
    total, kinds = len(classes), classes.max() + 1
    of_class = np.bincount(classes) / total
    entropy = float(-(of_class * np.log(of_class)).sum())
    found = []
    for own in cells:
        joint = np.bincount(own * kinds + classes, minlength=(own.max() + 1) * kinds).reshape(-1, kinds) / total
        apart = np.outer(joint.sum(1), of_class)
        there = joint > 0
        information = (joint[there] * np.log(joint[there] / apart[there])).sum()
        information -= (there.sum() - len(joint) - kinds + 1) / (2 * total)
        found.append(min(max(0.0, information), entropy))
    return np.array(found), entropy


def gap(scores: np.ndarray, least: float = 0.0) -> float:
    """The best dimension's score less the second best's; of one dimension, less that of one that says nothing.

    >>> gap(np.array([1.0, 4.0, 2.5])), gap(np.array([0.75]), least=0.5)
    (1.5, 0.25)

    Args:
        scores: Z
        least: the score of a dimension that says nothing
    """
    ordered = np.sort([*scores, least])[::-1]
    return float(ordered[0] - ordered[1])


def mutual_information_gap(mu: np.ndarray, labels: Sequence[str], bins: int = BINS) -> float:
    """MIG: the gap of label_information over the label's entropy (Chen et al. 2018, https://arxiv.org/abs/1802.04942).

    Args:
        mu, labels, bins: see label_information

    Returns:
        0 (no dimension says more than another) to 1 (one says all of the label, the others nothing)
    """
    information, entropy = label_information(mu, labels, bins)
    return gap(information) / entropy


def threshold_accuracy(mu: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The balanced accuracy of the best threshold on each dimension, mean over one class against the rest.

    It is (1 + D) / 2 with D the largest distance of the two distribution functions (Kolmogorov and Smirnov's).

    Args:
        mu: N x Z
        labels: N

    Returns:
        0.5 to 1, Z

    >>> threshold_accuracy(np.array([[0.0, 3.0], [0.0, 3.0], [1.0, 3.0], [2.0, 3.0]]), ["a", "a", "b", "b"]).tolist()
    [1.0, 0.5]
    """
    return ranks_accuracy(ranked(mu), np.unique(labels, return_inverse=True)[1])


def ranked(mu: np.ndarray) -> List[Tuple[np.ndarray, np.ndarray]]:
    """For each dimension its sentences in order, and whether a threshold may lie behind each: between two values."""
    orders = [np.argsort(column, kind="stable") for column in mu.T]
    return [(order, np.append(np.diff(column[order]) > 0, True)) for order, column in zip(orders, mu.T)]


def ranks_accuracy(ranks: Sequence[Tuple[np.ndarray, np.ndarray]], classes: np.ndarray) -> np.ndarray:
    """threshold_accuracy of dimensions that are ordered already.

    Args:
        ranks: of ranked, Z
        classes: numbers, N
    """
    found = []
    for order, last in ranks:
        distances = []
        for number in range(classes.max() + 1):
            inside = (classes == number)[order]
            apart = np.cumsum(inside) / inside.sum() - np.cumsum(~inside) / (~inside).sum()
            distances.append(np.abs(apart[last]).max())
        found.append((1 + np.mean(distances)) / 2)
    return np.array(found)


def separated_attribute_predictability(mu: np.ndarray, labels: Sequence[str]) -> float:
    """SAP: the gap of threshold_accuracy (Kumar et al. 2018, https://arxiv.org/abs/1711.00848).

    Args:
        mu, labels: see threshold_accuracy

    Returns:
        0 to 0.5
    """
    return gap(threshold_accuracy(mu, labels), least=0.5)


def importance(mu: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
    """How much each dimension has to do with a linear classifier of all of them.

    Args:
        mu: N x Z
        labels: N

    Returns:
        the mean absolute coefficient of standardised dimensions in a logistic regression with an L1 penalty, Z
    """
    from sklearn.linear_model import LogisticRegression  # its import takes a second

    scaled = (mu - mu.mean(0)) / np.where(mu.std(0) > 0, mu.std(0), 1)
    # the penalty's name went out of use in scikit-learn 1.8
    lasso: Dict[str, Any] = {"l1_ratio": 1} if LogisticRegression().penalty == "deprecated" else {"penalty": "l1"}
    fitted = LogisticRegression(**lasso, solver="saga", C=0.1, max_iter=1000, random_state=0, tol=1e-3)
    return np.abs(fitted.fit(scaled, np.asarray(labels)).coef_).mean(0)


def completeness(weights: np.ndarray) -> float:
    """DCI's completeness of one label: 1 - H(weights / their sum) / log Z (Eastwood & Williams 2018,
    https://openreview.net/forum?id=By-7dz-AZ).

    Args:
        weights: importance of each dimension, Z

    Returns:
        0 (all dimensions alike, or none) to 1 (one alone)

    >>> completeness(np.array([0.0, 3.0])), completeness(np.array([2.0, 2.0]))
    (1.0, 0.0)
    """
    if weights.sum() <= 0 or len(weights) < 2:
        return float(weights.sum() > 0)
    shares = weights[weights > 0] / weights.sum()
    return float(1 + (shares * np.log(shares)).sum() / np.log(len(weights)))


def permuted(score: Score, classes: np.ndarray, draws: int = 100, seed: int = 1) -> List[float]:
    """Where 95 % of the scores lie that the same mu has with the labels in random order.

    Args:
        score: of classes
        classes: numbers, N
        draws: random orders
        seed: of them

    Returns:
        the quantiles 0.025 and 0.975
    """
    random = np.random.default_rng(seed)
    return np.quantile([score(random.permutation(classes)) for _ in range(draws)], (0.025, 0.975)).tolist()


def disentangled(mu: np.ndarray, labels: Sequence[str], draws: int = 100, seed: int = 1) -> Dict[str, Any]:
    """How far a label stands in a single dimension of mu.

    Args:
        mu: N x Z
        labels: N
        draws: see permuted
        seed: see permuted

    Returns:
        `mig`, `sap`, `completeness`; each with `_permuted` behind its name, see permuted; `information`, nats, and
        `accuracy`, see threshold_accuracy, of each dimension, lists of Z; `entropy` of the label, nats

    Raises:
        InputError: the numbers of labels and sentences differ, the labels are none to tell apart, or mu is not finite
    """
    if not np.isfinite(mu).all():
        raise InputError("mu has values that are not finite: the model is broken")
    if len(labels) != len(mu):
        raise InputError(f"--labels: {len(labels):,} lines; expected {len(mu):,}, one for each sentence")
    check_labels(labels)
    classes = np.unique(labels, return_inverse=True)[1]
    cells, ranks = [binned(column, BINS) for column in mu.T], ranked(mu)
    (information, entropy), accuracy = cells_information(cells, classes), ranks_accuracy(ranks, classes)

    def mig(classes: np.ndarray) -> float:
        return gap(cells_information(cells, classes)[0]) / entropy

    def sap(classes: np.ndarray) -> float:
        return gap(ranks_accuracy(ranks, classes), least=0.5)

    def complete(classes: np.ndarray) -> float:
        return completeness(importance(mu, classes.tolist()))

    return {
        "mig": gap(information) / entropy,
        "mig_permuted": permuted(mig, classes, draws, seed),
        "sap": gap(accuracy, least=0.5),
        "sap_permuted": permuted(sap, classes, draws, seed),
        "completeness": completeness(importance(mu, labels)),
        "completeness_permuted": permuted(complete, classes, draws, seed),
        "information": information.tolist(),
        "accuracy": accuracy.tolist(),
        "entropy": entropy,
    }
