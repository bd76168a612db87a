"""How smooth the space of z is: BLEU as noise on z grows, and how straight the text goes between two sentences.

The decodings come from a collection. POT and wordllama's files are needed for the second part alone, and are loaded
when it is asked for: nothing is downloaded, and no code of wordllama runs.

Shapes: N sentences, L noise scales, P pairs, S points of a path, D dimensions of word vectors.
"""

import functools
import importlib.metadata
import importlib.util
import os
from collections import Counter
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..base.errors import InputError
from ..base.stream import Purpose, stream
from ..latent.paths import PATHS
from .estimators import intervals
from .sentences import ORDER, bleu_counts, bleu_of

__all__ = [
    "POINTS",
    "SCALES",
    "WordMover",
    "area",
    "interpolation",
    "noise",
    "pairs",
    "signature",
    "straightness",
    "token_vectors",
    "word_mover",
]

SCALES = tuple(i / 10 for i in range(11))  # s of the noise, from the reconstruction to a sample of the prior
POINTS = 11  # S, ends included: LangSpace's ten steps
VECTORS, TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
Figures = Dict[str, Any]


def pairs(seed: int, count: int) -> List[Tuple[int, int]]:
    """Random pairs of N sentences, each in one pair at most.

    Args:
        seed: of the draw
        count: N

    Returns:
        P = N // 2 pairs of sentences' numbers
    """
    order = stream(seed, Purpose.PAIRS, 0, 0).permutation(count).tolist()
    return list(zip(order[::2], order[1::2]))


def area(curve: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """Area under a curve by the trapezoid rule, as a share of its width: the curve's mean height.

    Args:
        curve: height at each scale, L, or L x R for R curves
        scales: L, rising

    Returns:
        no dimension, or R

    >>> area(torch.tensor([100.0, 50.0, 0.0]), [0.0, 0.5, 1.0]).item()
    50.0
    """
    x = torch.tensor(scales, dtype=curve.dtype)
    return torch.trapezoid(curve, x, dim=0) / (x[-1] - x[0])


def noise(noised: Sequence[str], texts: Sequence[str], seed: int) -> Figures:
    """BLEU of decodings under growing noise, and the area under it, with 95 % bootstrap intervals over sentences.

    Two references: the sentences themselves, and their decodings without noise. The second curve begins at 100, and
    stays there if the decoder ignores z; so the first one, which pays for what z does not hold, is the figure.

    Args:
        noised: for each of SCALES the decodings of N sentences, L * N
        texts: the sentences, N
        seed: of the bootstrap

    Returns:
        `aubleu`, `noise_bleu`: area and curve against the sentences; `aubleu_own`, `noise_bleu_own`: against the
        decodings without noise; `noise_scales`; `intervals` of both areas
    """
    size = len(texts)
    width = 2 + 2 * ORDER  # counts of a sentence
    columns: Dict[str, Tensor] = {}
    for suffix, references in (("", texts), ("_own", noised[:size])):
        counts = torch.from_numpy(bleu_counts(noised, list(references) * len(SCALES)))  # L N x 10
        table = counts.reshape(len(SCALES), size, width)
        columns.update(
            (f"{level}.{k}{suffix}", table[level, :, k]) for level in range(len(SCALES)) for k in range(width)
        )

    def curve(sums: Mapping[str, Tensor], suffix: str) -> Tensor:
        """BLEU at each scale, L; L x R of sums that have R entries."""
        levels = []
        for level in range(len(SCALES)):
            rows = torch.stack([sums[f"{level}.{k}{suffix}"] for k in range(width)], -1)  # 10, or R x 10
            scores = [bleu_of(row) for row in rows.reshape(-1, width).tolist()]
            levels.append(torch.tensor(scores, dtype=torch.float64).reshape(rows.shape[:-1]))
        return torch.stack(levels)

    sums = {name: values.sum() for name, values in columns.items()}
    result: Figures = {"noise_scales": list(SCALES)}
    statistics: Dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {}
    for suffix in ("", "_own"):
        found = curve(sums, suffix)
        result[f"noise_bleu{suffix}"] = found.tolist()
        result[f"aubleu{suffix}"] = float(area(found))
        statistics[f"aubleu{suffix}"] = lambda s, suffix=suffix: area(curve(s, suffix))  # type: ignore[misc]
    return {**result, "intervals": intervals(columns, statistics, seed)}


class WordMover:
    """Word mover's distance of two sentences (Kusner et al. 2015, https://proceedings.mlr.press/v37/kusnerb15.html).

    min over T >= 0 of sum_ij T_ij |v_i - w_j|, where T moves the shares of one sentence's tokens, at their vectors v,
    into those of the other's, at w: the Wasserstein-1 distance of the two, a metric on such shares. It is exact, by
    POT's network simplex. A sentence without tokens is one token at the zero vector.

    Args:
        tokens: a sentence to its tokens' numbers
        vectors: of all tokens, V x D

    >>> mover = WordMover(lambda text: [int(word) for word in text.split()], np.array([[0.0, 0.0], [3.0, 4.0]]))
    >>> mover("0 0", "0"), mover("0", "1"), mover("0 1", "1"), mover("", "1")
    (0.0, 5.0, 2.5, 5.0)
    """

    def __init__(self, tokens: Callable[[str], Sequence[int]], vectors: np.ndarray):
        self.tokens, self.vectors = tokens, vectors

    def shares(self, sentence: str) -> Tuple[np.ndarray, np.ndarray]:
        """The vectors of a sentence's different tokens, n x D, and their shares of it, n, which add up to 1."""
        counts = sorted(Counter(self.tokens(sentence)).items())
        if not counts:
            return np.zeros((1, self.vectors.shape[1])), np.ones(1)
        shares = np.array([count for _, count in counts], dtype=np.float64)
        return self.vectors[[token for token, _ in counts]].astype(np.float64), shares / shares.sum()

    def __call__(self, a: str, b: str) -> float:
        """The distance, in the vectors' unit."""
        import ot

        (v, p), (w, q) = self.shares(a), self.shares(b)
        if np.array_equal(v, w) and np.array_equal(p, q):
            return 0.0
        return max(0.0, float(ot.emd2(p, q, np.linalg.norm(v[:, None] - w[None], axis=2))))


def token_vectors() -> Tuple[Callable[[str], List[int]], np.ndarray]:
    """The token vectors that wordllama's wheel holds, 256 numbers for each of 32,000 tokens.

    Only these two files are read. The package itself is not imported: it would set up logging and look for a tokenizer
    on the network.

    Returns:
        a text to its tokens' numbers, and the vectors, V x D

    Raises:
        ImportError: wordllama is not installed
    """
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    found = importlib.util.find_spec("wordllama")
    if found is None or not found.origin:
        raise ImportError("wordllama")
    folder = os.path.dirname(found.origin)
    [vectors] = load_file(os.path.join(folder, VECTORS)).values()
    tokenizer = Tokenizer.from_file(os.path.join(folder, TOKENIZER))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids, vectors


@functools.lru_cache(maxsize=1)
def word_mover() -> WordMover:
    """The distance by wordllama's token vectors.

    Raises:
        InputError: POT or wordllama is not installed
    """
    try:
        import ot  # noqa: F401  takes seconds: so it is found missing before anything is decoded

        return WordMover(*token_vectors())
    except ImportError as error:
        raise InputError("--smoothness needs POT and wordllama: pip install POT 'wordllama<0.3.4'") from error


def straightness(sentences: Sequence[str], distance: Callable[[str, str], float]) -> Tuple[float, float]:
    """How straight a path is, and how much of it is one step.

    The first is the distance of its ends over the sum of the distances of neighbours, LangSpace's smoothness of an
    interpolation: at most 1, by the triangle inequality, and near 0 where the path wanders. It says nothing of
    evenness: a path that stays at its start and jumps to its end has 1. So there is a second, the largest step's share
    of that sum: 1 for such a path, and 1 / (S - 1) for one of equal steps.

    Args:
        sentences: of the path, S, the two ends not at distance 0
        distance: a metric

    >>> straightness(["0", "1", "3"], lambda a, b: abs(float(a) - float(b)))
    (1.0, 0.6666666666666666)
    >>> straightness(["0", "3", "1"], lambda a, b: abs(float(a) - float(b)))
    (0.2, 0.6)
    """
    steps = [distance(a, b) for a, b in zip(sentences, sentences[1:])]
    return min(1.0, distance(sentences[0], sentences[-1]) / sum(steps)), max(steps) / sum(steps)


def interpolation(walked: Sequence[str], distance: Callable[[str, str], float], seed: int) -> Figures:
    """Straightness of the decoded paths of each kind, as means over pairs with 95 % bootstrap intervals over pairs.

    Pairs whose ends are at distance 0 have no figure; they are the same for all kinds, as the ends are.

    Args:
        walked: for each of PATHS and each pair the sentences of its path, 3 * P * S
        distance: a metric
        seed: of the bootstrap

    Returns:
        for each kind `smoothness_KIND` and `largest_step_KIND`, see straightness; `smoothness_slerp_gain`: the mean
        difference of slerp and lerp, pair by pair; None without a pair; `smoothness_pairs`: that have a figure;
        `smoothness_same_ends`: that have none; `intervals`
    """
    whole = [walked[start : start + POINTS] for start in range(0, len(walked), POINTS)]
    size = len(whole) // len(PATHS)
    columns: Dict[str, List[float]] = {
        f"{name}_{kind}": [] for name in ("smoothness", "largest_step") for kind in PATHS
    }
    for number, path in enumerate(whole):
        kind = list(PATHS)[number // size]
        if distance(path[0], path[-1]) > 0:
            for name, value in zip(("smoothness", "largest_step"), straightness(path, distance)):
                columns[f"{name}_{kind}"].append(value)
    values = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    values["smoothness_slerp_gain"] = values["smoothness_slerp"] - values["smoothness_lerp"]
    counted = len(values["smoothness_lerp"])
    result: Figures = {"smoothness_pairs": counted, "smoothness_same_ends": size - counted}
    if not counted:
        return {**result, **dict.fromkeys(values), "intervals": {}}
    means = {name: lambda s, name=name: s[name] / counted for name in values}  # type: ignore[misc]
    found = {name: float(column.mean()) for name, column in values.items()}
    return {**result, **found, "intervals": intervals(values, means, seed)}


def signature(count: int) -> str:
    """What the figures of N sentences depend on beside the model: counts, scales, decoding, vectors and versions."""
    versions = "/".join(f"{name}_{importlib.metadata.version(name)}" for name in ("wordllama", "POT"))
    scales = f"{SCALES[0]:g}_to_{SCALES[-1]:g}_by_{SCALES[1]:g}"
    return f"first_{count}/noise_{scales}/{count // 2}_pairs/{POINTS}_points/greedy/{versions}"
