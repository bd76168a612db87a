"""What an edit costs: attribute accuracy, likeness to the input and fluency over a sweep of strengths.

No single strength is a method's figure: a stronger edit meets the attribute more often and keeps less of the sentence.
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from sacrebleu.metrics import BLEU
from tqdm import tqdm

from .base.errors import InputError
from .collect_texts import told
from .edit.attributes import fit_label
from .edit.ways import Wish, ways
from .hub import BARTVAEHubInterface
from .measure.seeds import OverSeeds

__all__ = ["Dominance", "Row", "dominance", "evaluate_edit", "judge", "summary"]

DEFAULT_STRENGTHS = {
    "vector": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
    "gradient": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.5, 7.0, 8.0),
    "energy": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
}


class Row(NamedTuple):
    """The figures of one way at one strength with one seed.

    Attributes:
        way: its name; "input" for the unchanged sentences, whose accuracy is the judge's share of errors
        strength: in the way's own unit
        seed: of the halves and of the attribute's classifier
        accuracy: share of the edited sentences in which a classifier of words, trained on other sentences than the
            attribute, sees the target
        self_bleu: BLEU of the edited sentences against their inputs
        fluency: nats per token of the edited sentences under a language model; None without one
        words: mean length of the edited sentences
        empty: edited sentences without a word; they have no fluency
        long: edited sentences longer than the language model takes, whose fluency is that of their beginnings
    """

    way: str
    strength: float
    seed: int
    accuracy: float
    self_bleu: float
    fluency: Optional[float]
    words: float
    empty: int
    long: int = 0


def judge(texts: Sequence[str], labels: Sequence[str], seed: int) -> Any:
    """A classifier of words and word pairs: TF-IDF and logistic regression, by scikit-learn.

    Args:
        texts: of the training sentences
        labels: theirs
        seed: of the solver
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, token_pattern=r"\S+", sublinear_tf=True)
    return make_pipeline(words, LogisticRegression(max_iter=1000, random_state=seed)).fit(texts, labels)


def evaluate_edit(
    vae: BARTVAEHubInterface,
    texts: Sequence[str],
    labels: Sequence[str],
    inputs: Sequence[str],
    input_labels: Sequence[str],
    strengths: Optional[Dict[str, Sequence[float]]] = None,
    seeds: Sequence[int] = (1, 2, 3),
    language_model: Optional[BARTVAEHubInterface] = None,
    hidden: int = 0,
    **decoding: Any,
) -> List[Row]:
    """Edit sentences towards the other label, by each way at each strength.

    With each seed the labelled sentences fall into two halves: the attribute learns from one, the judge from the other.

    Args:
        vae: the model
        texts: labelled sentences to learn from
        labels: theirs, two kinds
        inputs: sentences to edit
        input_labels: theirs; each is edited towards the other label
        strengths: of each way, by its name
        seeds: of halves and classifiers
        language_model: trained with --zero-latent, on sentences that the VAE has not seen
        hidden: width of the attribute's hidden layer; 0: it is linear
        decoding: as for the hub's decode

    Raises:
        InputError: there are not two labels, or texts and labels differ in number
    """
    for name, some, theirs in (("text", texts, labels), ("input", inputs, input_labels)):
        if len(some) != len(theirs):
            raise InputError(f"{len(some):,} sentences of the {name} and {len(theirs):,} labels: expected as many")
    kinds = sorted(set(labels))
    if len(kinds) != 2 or not set(input_labels) <= set(kinds):
        found = ", ".join(sorted({*labels, *input_labels}))
        raise InputError(f"labels {found}: expected two, the same in the text and in the input")
    chosen = DEFAULT_STRENGTHS if strengths is None else strengths
    z, start = vae.encode(texts).mean, vae.encode(inputs).mean
    other = {kinds[0]: kinds[1], kinds[1]: kinds[0]}
    targets = [other[label] for label in input_labels]
    rows = []
    total = len(seeds) * sum(map(len, chosen.values()))
    with tqdm(total=total, desc="edits", unit="sweep point", leave=False) as bar:
        for seed in seeds:
            order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
            ours, theirs_half = order[: len(order) // 2], order[len(order) // 2 :]
            attribute = fit_label(z[ours].cpu(), [labels[i] for i in ours], hidden, seed).to(z.device)
            classifier = judge([texts[i] for i in theirs_half], [labels[i] for i in theirs_half], seed)
            wish = Wish(attribute, attribute.numbers(targets).to(z.device))
            rows.append(figures("input", 0.0, seed, inputs, inputs, targets, classifier, language_model))
            for way, values in chosen.items():
                for strength in values:
                    edited = vae.decode(ways[way](start, [wish], strength), **decoding)
                    rows.append(figures(way, strength, seed, edited, inputs, targets, classifier, language_model))
                    bar.update()
    return rows


def figures(
    way: str,
    strength: float,
    seed: int,
    edited: Sequence[str],
    inputs: Sequence[str],
    targets: Sequence[str],
    classifier: Any,
    language_model: Optional[BARTVAEHubInterface],
) -> Row:
    """The figures of one point of a sweep; arguments as in evaluate_edit."""
    accuracy = float(np.mean(classifier.predict(list(edited)) == np.array(targets)))
    bleu = BLEU(tokenize="none", force=True).corpus_score(list(edited), [list(inputs)]).score
    empty = sum(not text.strip() for text in edited)
    fluency, long = None, 0
    if language_model is not None and empty < len(edited):
        found, long = told(language_model, edited)
        nats, tokens = found.sum(0).tolist()
        fluency = nats / tokens
    words = float(np.mean([len(text.split()) for text in edited]))
    return Row(way, strength, seed, accuracy, bleu, fluency, words, empty, long)


def summary(rows: Sequence[Row]) -> List[Dict[str, Any]]:
    """Each way and strength with the means and intervals of its figures over seeds, in the order of the rows; one seed
    has no interval, and half of it is NaN.

    >>> rows = [Row("vector", 1.0, seed, 0.5 + seed / 10, 40.0, None, 9.0, 0) for seed in (1, 2, 3)]
    >>> [row] = summary(rows)
    >>> row["accuracy"].mean, round(row["accuracy"].half, 3)
    (0.7, 0.248)
    """
    found = []
    for key in dict.fromkeys((row.way, row.strength) for row in rows):
        same = [row for row in rows if (row.way, row.strength) == key]
        result: Dict[str, Any] = {"way": key[0], "strength": key[1]}
        for name in ("accuracy", "self_bleu", "fluency", "words"):
            values = [getattr(row, name) for row in same if getattr(row, name) is not None]
            over = OverSeeds.of(values) if values else None
            result[name] = over if over is None or len(values) > 1 else over._replace(half=math.nan)
        found.append(result)
    return found


class Dominance(NamedTuple):
    """A point of one way that is better than a point of another in all figures.

    Attributes:
        way: the better one
        strength: its strength
        other: the strength of the worse one
        accuracy: the difference, better minus worse, paired by seed
        self_bleu: the same of BLEU with the input
        fluency: the same of nats per token, where less is better; None without a language model
    """

    way: str
    strength: float
    other: float
    accuracy: OverSeeds
    self_bleu: OverSeeds
    fluency: Optional[OverSeeds]


def dominance(rows: Sequence[Row], reference: str = "vector") -> Dict[str, Optional[Dominance]]:
    """For each way its point that dominates a point of the reference by the greatest difference of accuracy.

    A point dominates if its accuracy is higher, with the whole 95 % interval of the difference, paired by seed, and its
    self-BLEU no lower and its nats per token no more in the mean. Points that a point of the reference is better than,
    in the means of all figures, take no part: neither one of the reference's own nor one of another way. So a strength
    that goes too far is no reference. Strength 0 is no edit and takes no part either.

    Args:
        rows: of evaluate_edit, with the same seeds at each point
        reference: a way

    Returns:
        for each other way its best point, None if it has none; nothing with less than two seeds, which have no interval

    >>> rows = [Row("vector", 1.0, seed, 0.5, 40.0, None, 9.0, 0) for seed in (1, 2)]
    >>> rows += [Row("gradient", 2.0, seed, 0.6, 41.0, None, 9.0, 0) for seed in (1, 2)]
    >>> best = dominance(rows)["gradient"]
    >>> best.strength, best.other, round(best.accuracy.mean, 3)
    (2.0, 1.0, 0.1)
    """
    if len({row.seed for row in rows}) < 2:
        return {}
    with_fluency = any(row.fluency is not None for row in rows)
    points: Dict[str, List[List[Row]]] = {}
    for way, strength in dict.fromkeys((row.way, row.strength) for row in rows if row.strength):
        same = sorted((row for row in rows if (row.way, row.strength) == (way, strength)), key=lambda row: row.seed)
        if not with_fluency or all(row.fluency is not None for row in same):
            points.setdefault(way, []).append(same)
    theirs = points.get(reference, [])
    frontier = [point for point in theirs if not any(better(other, point) for other in theirs)]
    found: Dict[str, Optional[Dominance]] = {}
    for way in dict.fromkeys(row.way for row in rows if row.strength and row.way != reference):
        ours = [point for point in points.get(way, []) if not any(better(other, point) for other in theirs)]
        pairs = [compared(way, one, other) for one in ours for other in frontier]
        found[way] = max((pair for pair in pairs if pair), key=lambda pair: pair.accuracy.mean, default=None)
    return found


def signed(point: Sequence[Row]) -> List[List[float]]:
    """The figures of a point, each for all seeds, more being better: accuracy, self-BLEU and, if known, -fluency."""
    figures = [[row.accuracy for row in point], [row.self_bleu for row in point]]
    return figures + ([[-row.fluency for row in point]] if point[0].fluency is not None else [])  # type: ignore[operator]


def better(one: Sequence[Row], other: Sequence[Row]) -> bool:
    """Whether a point's means are no worse than another's in any figure, and better in one."""
    pairs = [(float(np.mean(a)), float(np.mean(b))) for a, b in zip(signed(one), signed(other))]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def compared(way: str, ours: Sequence[Row], theirs: Sequence[Row]) -> Optional[Dominance]:
    """How one point dominates another; None if it does not, or if their seeds differ."""
    if [row.seed for row in ours] != [row.seed for row in theirs]:
        return None
    gains = [OverSeeds.of([a - b for a, b in zip(*pair)]) for pair in zip(signed(ours), signed(theirs))]
    accuracy, self_bleu = gains[:2]
    fluency = OverSeeds(-gains[2].mean, gains[2].half) if len(gains) > 2 else None
    if accuracy.mean - accuracy.half > 0 and all(gain.mean >= 0 for gain in gains):
        return Dominance(way, ours[0].strength, theirs[0].strength, accuracy, self_bleu, fluency)
    return None
