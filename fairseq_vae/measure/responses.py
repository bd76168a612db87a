"""How good and how various the responses to a context are, as pure functions of strings. No fairseq, no model.

Shapes: C contexts, each with N responses of a model (hypotheses) and M references, M of its own; D dimensions of
vectors. A column has a value for each context; all that has an interval is a function of columns' sums, so models are
compared context by context.
"""

import functools
import importlib.metadata
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import sacrebleu
import torch
from sacrebleu.metrics import BLEU
from torch import Tensor

from ..base.errors import InputError
from .estimators import intervals, resampled_sums
from .sentences import ORDER, distinct, ngrams, self_bleu
from .smoothness import token_vectors

__all__ = [
    "Embedding",
    "average",
    "bleu_scores",
    "bow_scores",
    "compared",
    "embedding",
    "extrema",
    "precision_recall",
    "response_columns",
    "response_figures",
    "rouge",
    "rouge_columns",
    "rouge_figures",
]

Columns = Dict[str, Tensor]
Texts = Sequence[Sequence[str]]


def precision_recall(scores: np.ndarray) -> Tuple[float, float]:
    """How near the responses are to references, and how well the references are met (Zhao et al. 2017).

    precision = 1/N sum_i max_j s_ij, recall = 1/M sum_j max_i s_ij. A further response never lowers recall, and may
    lower precision; all of them twice change neither.

    Args:
        scores: s of each response and each reference, N x M

    >>> precision_recall(np.array([[1.0, 0.0], [0.0, 0.0]]))
    (0.5, 0.5)
    """
    return float(scores.max(1).mean()), float(scores.max(0).mean())


def bleu_scores(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Sentence BLEU-1 to BLEU-4 of each response against each reference, 0 to 1.

    They are sacrebleu's: `BLEU(max_ngram_order=n, effective_order=True, smooth_method="exp").sentence_score`. The
    effective order makes a response of fewer than n words that equals the reference 1; one without a common word has 0.
    Released code of CVAEs takes NLTK's smoothing 7 and BLEU-3: its figures are others.

    Args:
        hypotheses: N
        references: M

    Returns:
        4 x N x M, the order first

    >>> bleu_scores(["yes"], ["yes", "no"])[0].tolist()
    [[1.0, 0.0]]
    """
    tokenize = BLEU().tokenizer
    ours, theirs = (
        [
            (len(words), [ngrams(words, n) for n in range(1, ORDER + 1)])
            for words in map(str.split, map(tokenize, texts))
        ]
        for texts in ([text.rstrip() for text in hypotheses], [text.rstrip() for text in references])
    )
    scores = np.zeros((ORDER, len(ours), len(theirs)))
    for i, (length, counts) in enumerate(ours):
        total = [max(0, length - n) for n in range(ORDER)]
        for j, (wanted, others) in enumerate(theirs):
            common = [sum((mine & other).values()) for mine, other in zip(counts, others)]
            for n in range(1, ORDER + 1) if common[0] else ():
                score = BLEU.compute_bleu(
                    common[:n],
                    total[:n],
                    length,
                    wanted,
                    smooth_method="exp",
                    effective_order=True,
                    max_ngram_order=n,
                )
                scores[n - 1, i, j] = min(1.0, score.score / 100)
    return scores


def average(vectors: np.ndarray) -> np.ndarray:
    """The mean of a text's vectors, D; of none, 0.

    Args:
        vectors: n x D

    >>> average(np.array([[1.0, -3.0], [2.0, 1.0]])).tolist()
    [1.5, -1.0]
    """
    return vectors.mean(0) if len(vectors) else np.zeros(vectors.shape[1])


def extrema(vectors: np.ndarray) -> np.ndarray:
    """Of each dimension the value farthest from 0, with its sign, D; of two as far, the positive one; of none, 0.

    Forgues et al. 2014.

    Args:
        vectors: n x D

    >>> extrema(np.array([[1.0, -3.0], [2.0, 1.0]])).tolist()
    [2.0, -3.0]
    """
    if not len(vectors):
        return np.zeros(vectors.shape[1])
    high, low = vectors.max(0), vectors.min(0)
    return np.where(high >= -low, high, low)


def bow_scores(
    hypotheses: Sequence[np.ndarray], references: Sequence[np.ndarray], bag: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Likeness of each response to each reference by one vector of either, (1 + cosine) / 2, 0 to 1.

    A text without tokens, or whose vector is 0, is like nothing: 0.

    Args:
        hypotheses: the vectors of each one's tokens, N of n x D
        references: M of them
        bag: `average` or `extrema`

    Returns:
        N x M

    >>> bow_scores([np.array([[1.0, 0.0]])], [np.array([[3.0, 0.0]]), np.array([[0.0, 2.0]])], average).tolist()
    [[1.0, 0.5]]
    """
    ours, theirs = (
        np.stack([bag(vectors.astype(np.float64)) for vectors in texts]) for texts in (hypotheses, references)
    )
    size = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)[None]
    cosine = ours @ theirs.T / np.where(size > 0, size, 1)
    return np.where(size > 0, np.clip((1 + cosine) / 2, 0, 1), 0)


class Embedding(NamedTuple):
    """Vectors of words.

    Attributes:
        name: for signatures
        vectors: a text to the vectors of its tokens, n x D; n may be 0
    """

    name: str
    vectors: Callable[[str], np.ndarray]


@functools.lru_cache(maxsize=1)
def embedding() -> Embedding:
    """The token vectors in wordllama's wheel, 256 numbers for a token; nothing is downloaded.

    Raises:
        InputError: wordllama is not installed
    """
    try:
        tokens, vectors = token_vectors()
    except ImportError as error:
        raise InputError("the likeness of bags of words needs wordllama: pip install 'wordllama<0.3.4'") from error
    version = importlib.metadata.version("wordllama")
    return Embedding(f"wordllama_{version}", lambda text: vectors[np.array(tokens(text), dtype=np.int64)])


OF_SEVERAL = "within_self_bleu"  # a column where there is more than one response to a context


def response_columns(hypotheses: Texts, references: Texts, words: Optional[Embedding] = None) -> Columns:
    """The figures of each context.

    Args:
        hypotheses: of each of C contexts N responses
        references: of each, one or more
        words: see embedding; None leaves `a_bow` and `e_bow` out

    Returns:
        names to C: `bleu_1` to `bleu_4`, `a_bow` and `e_bow` with `_precision` and `_recall`; `within_distinct_1`,
        `within_distinct_2`, `within_unique` and (unless N is 1) `within_self_bleu` of the N responses together;
        `response_words`, `reference_words`: mean lengths

    Raises:
        InputError: the lists do not fit one another
    """
    for name, lists in (("responses", hypotheses), ("references", references)):
        if any(isinstance(texts, str) for texts in lists):
            raise InputError(f"{name} of a context: expected a list of texts, found a text")
    counts = sorted({len(texts) for texts in hypotheses})
    if len(hypotheses) != len(references) or not hypotheses or len(counts) > 1 or not counts[0] or not all(references):
        few = min(map(len, references), default=0)
        raise InputError(
            f"responses to {len(hypotheses)} contexts, {' or '.join(map(str, counts))} each, and references of "
            f"{len(references)}, {few} or more each: expected one context or more in both, as many responses to each, "
            "and a reference or more of each"
        )
    rows: List[Dict[str, float]] = []
    for ours, theirs in zip(hypotheses, references):
        scores = {f"bleu_{n}": table for n, table in enumerate(bleu_scores(ours, theirs), 1)}
        if words:
            found, wanted = ([words.vectors(text) for text in texts] for texts in (ours, theirs))
            scores.update(a_bow=bow_scores(found, wanted, average), e_bow=bow_scores(found, wanted, extrema))
        row = {}
        for name, table in scores.items():
            row[f"{name}_precision"], row[f"{name}_recall"] = precision_recall(table)
        row.update((f"within_distinct_{n}", distinct(ours, n)) for n in (1, 2))
        row["within_unique"] = len(set(ours)) / len(ours)
        if len(ours) > 1:
            row[OF_SEVERAL] = self_bleu(ours)
        for name, texts in (("response_words", ours), ("reference_words", theirs)):
            row[name] = float(np.mean([len(text.split()) for text in texts]))
        rows.append(row)
    return columns_of(rows)


def columns_of(rows: Sequence[Mapping[str, float]]) -> Columns:
    """The columns of rows with the same names."""
    return {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}


def statistics(names: Sequence[str], count: int) -> Dict[str, Callable[[Mapping[str, Tensor]], Tensor]]:
    """Functions of columns' sums: the mean of each, and behind each pair of `_precision` and `_recall` the `_f1`."""
    found: Dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {}
    for name in names:
        found[name] = lambda sums, name=name: sums[name] / count  # type: ignore[misc]
        if name.endswith("_recall"):
            score = name[: -len("_recall")]
            found[f"{score}_f1"] = lambda sums, score=score: f1(  # type: ignore[misc]
                sums[f"{score}_precision"] / count, sums[f"{score}_recall"] / count
            )
    return found


def f1(precision: Tensor, recall: Tensor) -> Tensor:
    """The harmonic mean of two averages; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall).clamp(min=1e-300)


def means(columns: Columns, seed: int) -> Dict[str, Any]:
    """The statistics of columns, and `intervals`, their 95 % bootstrap intervals over contexts."""
    functions = statistics(list(columns), len(next(iter(columns.values()))))
    sums = {name: column.sum() for name, column in columns.items()}
    found: Dict[str, Any] = {name: float(function(sums)) for name, function in functions.items()}
    return {**found, "intervals": intervals(columns, functions, seed)}


def response_figures(
    hypotheses: Texts, references: Texts, words: Optional[Embedding] = None, seed: int = 1
) -> Dict[str, Any]:
    """The figures of all contexts, which measure/definitions.py defines (RESPONSES).

    Args:
        hypotheses, references, words: see response_columns
        seed: of the bootstrap

    Returns:
        the means of response_columns' columns; of each score `_f1`, the harmonic mean of its mean precision and mean
        recall; `across_distinct_1`, `across_distinct_2` of all responses; `contexts`, `responses` (N), `references`
        (mean M); `responses_signature`; `intervals`, names to [low, high]. None for what there is no value of

    Raises:
        InputError: the lists do not fit one another

    >>> found = response_figures([["a dog", "a cat"]], [["a dog"]])
    >>> found["bleu_2_precision"], found["bleu_2_recall"], found["within_distinct_1"]
    (0.75, 1.0, 0.75)
    """
    found = means(response_columns(hypotheses, references, words), seed)
    missing = [f"{score}_{kind}" for score in ("a_bow", "e_bow") for kind in ("precision", "recall", "f1")]
    everything = [text for texts in hypotheses for text in texts]
    settings = f"bleu:case:mixed|eff:yes|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    if words:
        settings += f"|bow:{words.name}"
    return {
        **dict.fromkeys((*missing, OF_SEVERAL)),
        **found,
        "across_distinct_1": distinct(everything, 1),
        "across_distinct_2": distinct(everything, 2),
        "contexts": len(hypotheses),
        "responses": len(hypotheses[0]),
        "references": float(np.mean([len(texts) for texts in references])),
        "responses_signature": settings,
    }


def compared(ours: Columns, theirs: Columns, seed: int = 1) -> Dict[str, Tuple[float, float, float]]:
    """Differences of two models' figures, ours less theirs, with 95 % bootstrap intervals paired by context.

    Args:
        ours, theirs: of response_columns or rouge_columns, of the same contexts in the same order
        seed: of the bootstrap

    Returns:
        names that both have to the difference and the ends of its interval

    Raises:
        InputError: they have not as many contexts, or one response to each in one and several in the other
    """
    if "bleu_1_recall" in ours and "bleu_1_recall" in theirs and len({OF_SEVERAL in ours, OF_SEVERAL in theirs}) > 1:
        raise InputError("one response to a context and several: expected as many of both models")
    names = [name for name in ours if name in theirs]
    sizes = [len(next(iter(columns.values()))) for columns in (ours, theirs)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{sizes[0]} contexts and {sizes[1]}: expected the same ones of both models")
    table = torch.stack([columns[name] for columns in (ours, theirs) for name in names], 1)  # C x 2 names
    sums = torch.cat((table.sum(0, keepdim=True), resampled_sums(table, seed)))  # those of all contexts first
    first, second = (dict(zip(names, part.T)) for part in sums.split(len(names), dim=1))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    found = {}
    for name, function in statistics(names, sizes[0]).items():
        difference = function(first) - function(second)
        low, high = torch.quantile(difference[1:], ends).tolist()
        found[name] = (float(difference[0]), low, high)
    return found


def rouge(hypothesis: str, reference: str) -> Dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L as F1, 0 to 1 (Lin 2004): common words, bigrams, and longest common subsequence.

    Words are runs of letters and digits, in lower case, without stemming; of a text of A to Z these are those of
    Google's rouge-score.

    Returns:
        `rouge_1`, `rouge_2`, `rouge_l`

    >>> rouge("The dog barks.", "the dog sleeps")
    {'rouge_1': 0.6666666666666666, 'rouge_2': 0.5, 'rouge_l': 0.6666666666666666}
    """
    ours, theirs = (re.findall(r"[^\W_]+", text.lower()) for text in (hypothesis, reference))
    found = {}
    for n in (1, 2):
        mine, other = ngrams(ours, n), ngrams(theirs, n)
        found[f"rouge_{n}"] = dice(sum((mine & other).values()), sum(mine.values()), sum(other.values()))
    return {**found, "rouge_l": dice(common_subsequence(ours, theirs), len(ours), len(theirs))}


def dice(common: int, ours: int, theirs: int) -> float:
    """F1 of common / ours and common / theirs."""
    return 2 * common / (ours + theirs) if common else 0.0


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest sequence of words that both have in this order, gaps allowed.

    >>> common_subsequence("a b c d".split(), "b x d a".split())
    2
    """
    lengths = [0] * (len(b) + 1)  # of the words of a so far and each beginning of b
    for word in a:
        before = lengths
        lengths = [0]
        for j, other in enumerate(b):
            lengths.append(before[j] + 1 if word == other else max(before[j + 1], lengths[j]))
    return lengths[-1]


def rouge_columns(hypotheses: Sequence[str], references: Sequence[str]) -> Columns:
    """ROUGE of each text.

    Args:
        hypotheses: C
        references: C

    Returns:
        `rouge_1`, `rouge_2`, `rouge_l`, each C

    Raises:
        InputError: the lists do not fit one another
    """
    if len(hypotheses) != len(references) or not hypotheses:
        raise InputError(
            f"{len(hypotheses)} texts, {len(references)} references: expected one or more, as many of both"
        )
    return columns_of([rouge(ours, theirs) for ours, theirs in zip(hypotheses, references)])


def rouge_figures(hypotheses: Sequence[str], references: Sequence[str], seed: int = 1) -> Dict[str, Any]:
    """The means of rouge_columns, with `intervals`; see there."""
    return means(rouge_columns(hypotheses, references), seed)
