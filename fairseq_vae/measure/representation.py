"""What vectors of sentences are worth: small linear models on them, by scikit-learn, and plain cosines. No fairseq.

A representation is a function from sentences to vectors, or one of WORDS, whose vocabulary is learned. All that is
fitted is fitted on the training items that a figure says it is of: vocabularies, inverse document frequencies, means
and deviations, the linear model. Its penalty is chosen on valid. Nothing is fitted on test, which is scored once.

Shapes: N sentences or pairs, D numbers of a vector.
"""

import copy
import itertools
import math
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from tqdm import tqdm

from ..base.errors import InputError
from ..base.labelled import Task

__all__ = [
    "MAJORITY",
    "WORDS",
    "Draw",
    "Figure",
    "Representation",
    "chosen",
    "cosine",
    "drawn",
    "label_figures",
    "needed",
    "pearson",
    "probed",
    "spearman",
    "stratified",
]

WORDS = ("bag of words", "tf-idf")
MAJORITY = "majority"
TOKEN = r"\w+|[^\w\s]"  # a word, or a mark by itself
PENALTIES = tuple(10.0**power for power in range(4, -3, -1))  # of the squared weights, the strongest first
POOLED = 0  # the seed of the pool of labels

Representation = Union[str, Callable[[Sequence[str]], np.ndarray]]
Parts = Tuple[Any, ...]  # the vectors of sentences, or those of the first and of the second sentences of pairs


class Figure(NamedTuple):
    """One model's figures on test.

    Attributes:
        task: its name
        target: `label` or `score`
        representation: its name
        method: `logistic` regression, `ridge` regression, `cosine`, which learns nothing, `majority`, or `tuned`, where
            the encoder learns as well
        share: of the pool of training labels; None of a cosine, which needs none
        labels: number of training items that have been fitted
        seed: of their choice; None where the share takes the whole pool, or there is no choice
        penalty: chosen on valid; None where there is none
        valid: the criterion of that choice there: accuracy, or Pearson's correlation
        accuracy: share of test items whose label is told; None of scores
        macro_f1: mean over labels of F1 on test; None of scores
        pearson: correlation with the scores of test; None of labels, and of predictions that are all the same
        spearman: the same of ranks
    """

    task: str
    target: str
    representation: str
    method: str
    share: Optional[float]
    labels: int
    seed: Optional[int]
    penalty: Optional[float]
    valid: Optional[float]
    accuracy: Optional[float] = None
    macro_f1: Optional[float] = None
    pearson: Optional[float] = None
    spearman: Optional[float] = None


def stratified(labels: Sequence[str], share: float, seed: int) -> np.ndarray:
    """The numbers of a share of items, of each label as near as can be to its share.

    Of one seed, a smaller share lies within a larger one.

    Args:
        labels: N
        share: above 0 to 1
        seed: of the choice

    Returns:
        numbers from 0, in order

    Raises:
        InputError: a label is left without an item

    >>> stratified(["a", "b"] * 4, 0.5, seed=1).size
    4
    """
    found = []
    names, numbers, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    least = int(counts.min())
    if int(share * least + 0.5) < 1:
        digits = 10 ** (1 - math.floor(math.log10(0.5 / least)))  # two of the share's
        raise InputError(
            f"a share of {share:g} of {len(labels):,} labels leaves none of {least:,} of label "
            f"{str(names[counts.argmin()])!r}: expected {math.ceil(0.5 / least * digits) / digits:g} or more"
        )
    for index in range(len(names)):
        own = np.flatnonzero(numbers == index)
        size = int(share * len(own) + 0.5)
        found.append(np.random.default_rng([seed, index]).permutation(own)[:size])
    return np.sort(np.concatenate(found))


class Draw(NamedTuple):
    """Training items of one share and seed; see Figure.

    Attributes:
        share: of the pool
        seed: of the choice; None where there is none
        rows: the items' numbers
    """

    share: float
    seed: Optional[int]
    rows: np.ndarray


def drawn(task: Task, shares: Sequence[float], seeds: Sequence[int], most: int) -> List[Draw]:
    """The training items that are fitted: shares of a pool of at most so many, the pool one for all seeds.

    Args:
        task: pairs are all taken, as far as the pool has them
        shares: of the pool, above 0 to 1
        seeds: of the choice
        most: items in the pool

    Raises:
        InputError: a share leaves a label without an item, see stratified; the message names the file
    """
    train = task.splits["train"]
    pool = np.arange(train.size)
    try:
        if most < train.size and train.labels is not None:
            try:
                pool = stratified(train.labels, most / train.size, POOLED)
            except InputError as error:
                raise InputError(f"of {train.size:,} items at most {most:,} are taken, and {error}") from error
        elif most < train.size:
            pool = np.sort(np.random.default_rng(POOLED).permutation(train.size)[:most])
        if task.kind != "classification":
            return [Draw(1.0, None, pool)]
        labels = np.asarray(train.labels)
        return [
            Draw(share, None, pool) if share == 1 else Draw(share, seed, pool[stratified(labels[pool], share, seed)])
            for share in sorted(set(shares))
            for seed in (seeds if share < 1 else seeds[:1])
        ]
    except InputError as error:
        raise InputError(f"{train.file}: {error}") from error


def needed(task: Task, draws: Sequence[Draw]) -> Iterator[Tuple[str, str]]:
    """The sentences that the draws, valid and test have, each with its place for messages.

    Args:
        task: the draws are of it
        draws: of `drawn`
    """
    rows = np.unique(np.concatenate([draw.rows for draw in draws])).tolist()
    for name, split in task.splits.items():
        for row in rows if name == "train" else range(split.size):
            yield from ((part[row], f"{split.file}, line {row + 1}") for part in split.texts)


def pearson(a: Any, b: Any) -> float:
    """Pearson's correlation of N numbers; NaN where one side is constant.

    >>> round(pearson([1, 2, 3], [2, 4, 6]), 12)
    1.0
    """
    if not (np.ptp(a) > 0 and np.ptp(b) > 0):  # less their mean, they would be rounding
        return float("nan")
    x, y = (np.asarray(side, float) - np.mean(side) for side in (a, b))
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def spearman(a: Any, b: Any) -> float:
    """Spearman's correlation of N numbers: Pearson's of their ranks, equal numbers having the mean of theirs.

    >>> round(spearman([1, 2, 3], [1, 10, 100]), 12)
    1.0
    """
    return pearson(ranks(a), ranks(b))


def ranks(values: Any) -> np.ndarray:
    """The rank of each of N numbers, from 1.

    >>> ranks([3.0, 1.0, 3.0]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def cosine(a: Any, b: Any) -> np.ndarray:
    """The cosines of the rows of two matrices, perhaps sparse ones, N x D; 0 where a row is 0.

    >>> cosine(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 0.0]
    """
    product, first, second = (np.asarray(times(x, y).sum(1)).ravel() for x, y in ((a, b), (a, a), (b, b)))
    below = np.sqrt(first * second)
    return np.divide(product, below, out=np.zeros(len(below)), where=below > 0)


def times(a: Any, b: Any) -> Any:
    """The product, number by number, of two matrices, perhaps sparse ones, in float64."""
    if isinstance(a, np.ndarray):
        return a.astype(np.float64) * b.astype(np.float64)
    return a.multiply(b)


def together(parts: Parts) -> Any:
    """One vector an item: a sentence's own; of a pair |u - v| and u * v, behind each other (Tai et al. 2015).

    Tai et al. 2015, https://arxiv.org/abs/1503.00075; Conneau & Kiela 2018, SentEval, https://arxiv.org/abs/1803.05449.

    Args:
        parts: N x D each

    Returns:
        N x D, or N x 2D
    """
    if len(parts) == 1:
        return parts[0]
    u, v = parts
    if isinstance(u, np.ndarray):
        return np.concatenate((np.abs(u - v), u * v), 1)
    from scipy.sparse import hstack

    return hstack((abs(u - v), u.multiply(v))).tocsr()


def vectors(representation: Representation, train: Sequence[Sequence[str]], *others: Sequence[Sequence[str]]) -> Any:
    """The vectors of splits of which the first is the one to learn a vocabulary from.

    Args:
        representation: a function, which learns nothing here, or one of WORDS
        train: the training sentences, one sequence of them or two
        others: of other splits, likewise

    Returns:
        Parts for each split
    """
    splits = (train, *others)
    if not isinstance(representation, str):
        return [tuple(representation(part) for part in split) for split in splits]
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    if representation == WORDS[0]:
        made = CountVectorizer(binary=True, token_pattern=TOKEN, dtype=np.float64)
    else:
        made = TfidfVectorizer(sublinear_tf=True, token_pattern=TOKEN)
    made.fit(list(itertools.chain.from_iterable(train)))
    return [tuple(made.transform(part) for part in split) for split in splits]


class Chosen(NamedTuple):
    """A fitted linear model.

    Attributes:
        model: scikit-learn's
        scale: standardises vectors as those of training were
        penalty: the one that valid chose
        valid: the criterion of the choice there
    """

    model: Any
    scale: Callable[[Any], Any]
    penalty: float
    valid: float

    def predict(self, rows: Any) -> np.ndarray:
        """The labels or scores, N, of items' vectors, N x D."""
        return self.model.predict(self.scale(rows))


def chosen(train: Any, targets: Sequence[Any], valid: Any, valid_targets: Sequence[Any], method: str) -> Chosen:
    """Fit a linear model with each of PENALTIES on train, from the strongest on, and keep the one best on valid.

    Of equally good ones the strongest penalty is kept; two in a row that are worse end the search. Dense vectors are
    standardised by the mean and deviation of train.

    Args:
        train: N x D, sparse or dense
        targets: labels or scores, N
        valid: of other items, likewise
        valid_targets: theirs
        method: `logistic`, chosen by accuracy, or `ridge`, by Pearson's correlation
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    scale: Callable[[Any], Any] = StandardScaler().fit(train).transform if isinstance(train, np.ndarray) else unchanged
    fitted, held = scale(train), scale(valid)
    best: Optional[Chosen] = None
    start: Any = LogisticRegression(max_iter=2000, warm_start=True)  # each fit begins where the one before ended
    worse = 0
    for penalty in PENALTIES:
        if method == "logistic":
            model = copy.deepcopy(start.set_params(C=1 / penalty).fit(fitted, targets))
            reached = float(np.mean(model.predict(held) == np.asarray(valid_targets)))
        else:
            model = Ridge(alpha=penalty).fit(fitted, targets)
            reached = pearson(model.predict(held), valid_targets)
        if best is None or reached > best.valid or (math.isnan(best.valid) and not math.isnan(reached)):
            best = Chosen(model, scale, penalty, reached)
        worse = worse + 1 if reached < best.valid else 0
        if worse == 2:
            break
    assert best is not None
    return best


def unchanged(rows: Any) -> Any:
    """Rows as they are."""
    return rows


def label_figures(labels: Sequence[str], predicted: Sequence[str]) -> Tuple[float, float]:
    """Accuracy and macro-F1, the mean of F1 over all labels that occur on either side.

    >>> label_figures(["a", "a", "b"], ["a", "a", "a"])
    (0.6666666666666666, 0.4)
    """
    from sklearn.metrics import f1_score

    accuracy = float(np.mean(np.asarray(labels) == np.asarray(predicted)))
    return accuracy, float(f1_score(labels, predicted, average="macro", zero_division=0))


def probed(
    task: Task, representations: Mapping[str, Representation], draws: Sequence[Draw], progress: bool = False
) -> List[Figure]:
    """The figures of all representations on a task.

    Args:
        task: of sentences or of pairs
        representations: by name; beside them stand the words and the commonest label
        draws: of `drawn`
        progress: whether to show a bar
    """
    every: Dict[str, Representation] = {**representations, **{name: name for name in WORDS}}
    found: List[Figure] = []
    with tqdm(total=len(every) * len(draws), desc=task.name, unit="fit", leave=False, disable=not progress) as bar:
        for name, representation in every.items():
            for draw in draws:
                found += figures(task, name, representation, draw)
                bar.update()
    if task.splits["train"].labels is not None:
        found += [commonest(task, draw) for draw in draws]
    return found


def figures(task: Task, name: str, representation: Representation, draw: Draw) -> Iterator[Figure]:
    """The figures of one representation with one draw; arguments as in `probed`."""
    train, valid, test = (task.splits[split] for split in ("train", "valid", "test"))
    rows = draw.rows.tolist()
    own = [[part[row] for row in rows] for part in train.texts]
    parts = vectors(representation, own, valid.texts, test.texts)
    x, held, asked = map(together, parts)
    of_draw = (draw.share, len(rows), draw.seed)
    if train.scores is not None:
        scores = of(test.scores)
        told = cosine(*parts[2])
        figure = Figure(task.name, "score", name, "cosine", None, 0, None, None, None)
        yield figure._replace(pearson=pearson(told, scores), spearman=spearman(told, scores))
        best = chosen(x, [train.scores[row] for row in rows], held, of(valid.scores), "ridge")
        told = best.predict(asked)
        figure = Figure(task.name, "score", name, "ridge", *of_draw, best.penalty, best.valid)
        yield figure._replace(pearson=pearson(told, scores), spearman=spearman(told, scores))
    if train.labels is not None:
        best = chosen(x, [train.labels[row] for row in rows], held, of(valid.labels), "logistic")
        reached = label_figures(of(test.labels), best.predict(asked).tolist())
        yield Figure(task.name, "label", name, "logistic", *of_draw, best.penalty, best.valid, *reached)


def of(values: Optional[Sequence[Any]]) -> Sequence[Any]:
    """Labels or scores that are there, as those of train are."""
    assert values is not None
    return values


def commonest(task: Task, draw: Draw) -> Figure:
    """The figures of always saying the draw's commonest label, the first of them in the alphabet."""
    own = [of(task.splits["train"].labels)[row] for row in draw.rows.tolist()]
    label = max(sorted(set(own)), key=own.count)
    valid, test = (of(task.splits[split].labels) for split in ("valid", "test"))
    reached, of_draw = float(np.mean(np.asarray(valid) == label)), (draw.share, len(own), draw.seed)
    told = label_figures(test, [label] * len(test))
    return Figure(task.name, "label", MAJORITY, "majority", *of_draw, None, reached, *told)
