"""A linear classifier of labels on the latent, by scikit-learn. No fairseq."""

import math
from typing import Any, Dict, List, Sequence

import numpy as np

from ..base.errors import InputError

__all__ = ["FOLDS", "check_labels", "probe", "wilson"]

FOLDS = 5


def check_labels(labels: Sequence[str], place: str = "--labels") -> None:
    """Refuse labels that no classifier can be trained and tested on.

    Args:
        labels: of sentences
        place: theirs, for messages

    Raises:
        InputError: there is a single class, or one has a single sentence
    """
    classes, counts = np.unique(np.asarray(labels), return_counts=True)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if len(classes) else "no lines"
        raise InputError(f"{place}: {found}; expected two or more different labels")
    if counts.min() < 2:
        raise InputError(
            f"{place}: {classes[counts.argmin()]!r} has one sentence; expected two or more of each, to train and test"
        )


def wilson(share: float, count: int) -> List[float]:
    """Wilson's 95 % interval of a share of so many trials, [low, high], within 0 to 1 (Wilson 1927).

    >>> [round(end, 3) for end in wilson(0.95, 20)]
    [0.764, 0.991]
    """
    z = 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [max(0.0, centre - half), min(1.0, centre + half)]


def probe(mu: np.ndarray, texts: Sequence[str], labels: List[str], seed: int = 1) -> Dict[str, Any]:
    """Accuracy of a logistic regression on standardised mu under stratified cross-validation, beside two baselines.

    Args:
        mu: N x Z
        texts: N sentences for the bag of words, or none
        labels: N
        seed: of the folds

    Returns:
        `probe`: accuracy, 0 to 1, on sentences that the classifier has not seen
        `probe_interval`: its 95 % interval, Wilson's, over sentences
        `probe_majority`: accuracy of the commonest label
        `probe_bag_of_words`: accuracy of the same classifier on the set of the sentence's words; None without texts
        `probe_classes`, `probe_folds`, `probe_signature`

    Raises:
        InputError: the numbers of labels and sentences differ, there is a single class, or one has a single sentence
    """
    import sklearn  # only where there are labels: its import takes a second
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(labels) != len(mu):
        raise InputError(f"--labels: {len(labels):,} lines; expected {len(mu):,}, one for each sentence of the split")
    check_labels(labels)
    target = np.asarray(labels)
    classes, counts = np.unique(target, return_counts=True)
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    right = cross_val_predict(scaled, mu, target, cv=folds) == target
    bag = None
    if texts:
        words = CountVectorizer(binary=True, token_pattern=r"\S+")
        predicted = cross_val_predict(make_pipeline(words, LogisticRegression(max_iter=1000)), texts, target, cv=folds)
        bag = float((predicted == target).mean())
    return {
        "probe": float(right.mean()),
        "probe_interval": wilson(float(right.mean()), len(right)),
        "probe_majority": float(counts.max() / len(target)),
        "probe_bag_of_words": bag,
        "probe_classes": len(classes),
        "probe_folds": folds.n_splits,
        "probe_signature": f"logistic|C:1|folds:{folds.n_splits}|seed:{seed}|sklearn:{sklearn.__version__}",
    }
