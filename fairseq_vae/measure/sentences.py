"""What tells how good generated sentences are: pure functions of lists of strings. No fairseq, no torch.

Words are what stands between spaces, unless sacrebleu cuts them: its signature says how.
"""

from collections import Counter
from typing import Any, Dict, Iterable, List, Sequence

import numpy as np
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

ORDER = 4  # of the longest n-grams in BLEU


def reconstruction(hypotheses: Sequence[str], references: Sequence[str]) -> Dict[str, Any]:
    """How near reconstructions come to their sentences.

    Returns:
        `bleu`, `chrf`: of the corpus, 0 to 100 (Papineni et al. 2002; Popović 2015), by sacrebleu
        `exact_match`: share of the sentences that are equal, 0 to 1
        `bleu_signature`, `chrf_signature`: sacrebleu's
    """
    bleu, chrf = BLEU(), CHRF()
    return {
        "bleu": bleu.corpus_score(hypotheses, [references]).score,
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "exact_match": float(np.mean([a == b for a, b in zip(hypotheses, references)])),
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }


def ngrams(words: Sequence[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def self_bleu(sentences: Sequence[str]) -> float:
    """Mean over M sentences of the BLEU-4 of each against the M - 1 others, 0 (all differ) to 100 (Zhu et al. 2018).

    sacrebleu's sentence BLEU (13a words, exponential smoothing, effective order, closest reference length). The clip
    of an n-gram, its largest count in any other sentence, comes from its two largest counts in all: the cost is linear
    in M.
    """
    if len(sentences) < 2:
        return 0.0
    tokenize = BLEU().tokenizer
    words = [tokenize(sentence.rstrip()).split() for sentence in sentences]
    counted = [[ngrams(row, n) for n in range(1, ORDER + 1)] for row in words]
    largest: Dict[Any, List[int]] = {}  # n-gram to its two largest counts in sentences
    for row in counted:
        for counts in row:
            for gram, count in counts.items():
                largest[gram] = sorted([*largest.get(gram, [0, 0]), count])[1:]
    lengths = Counter(map(len, words))
    scores = []
    for row, counts in zip(words, counted):
        correct = [
            sum(min(count, largest[gram][0 if largest[gram][1] == count else 1]) for gram, count in c.items())
            for c in counts
        ]
        others = [length for length, times in lengths.items() if times > (length == len(row))]
        closest = min(others, key=lambda length: (abs(length - len(row)), length))
        total = [max(0, len(row) - n) for n in range(ORDER)]
        score = BLEU.compute_bleu(correct, total, len(row), closest, smooth_method="exp", effective_order=True)
        scores.append(score.score)
    return float(np.mean(scores))


def distinct(sentences: Sequence[str], n: int) -> float:
    """Different n-grams as a share of all n-grams of all sentences, 0 to 1 (Li et al. 2016). It falls as the
    number of sentences grows: only equal numbers compare."""
    counts: Counter = Counter()
    for sentence in sentences:
        counts.update(ngrams(sentence.split(), n))
    return len(counts) / max(1, sum(counts.values()))


def length_distribution(sentences: Sequence[str]) -> Dict[str, float]:
    """Words a sentence: mean, standard deviation, and the quantiles of 5, 50 and 95 %."""
    lengths = [len(sentence.split()) for sentence in sentences]
    low, median, high = np.quantile(lengths, (0.05, 0.5, 0.95))
    values = {"mean": np.mean(lengths), "sd": np.std(lengths), "p5": low, "p50": median, "p95": high}
    return {key: float(value) for key, value in values.items()}


def length_distance(a: Sequence[str], b: Sequence[str]) -> float:
    """By how many words lengths differ if the two lists are matched as well as possible: the Wasserstein-1 distance,
    sum over n of |F_a(n) - F_b(n)| of the distribution functions."""
    counts = [np.bincount([len(sentence.split()) for sentence in rows]) for rows in (a, b)]
    size = max(map(len, counts))
    f, g = (np.cumsum(np.pad(c, (0, size - len(c)))) / c.sum() for c in counts)
    return float(np.abs(f - g).sum())


def samples(generated: Sequence[str], data: Sequence[str]) -> Dict[str, Any]:
    """How varied sentences from the prior are, and how like the data's in length.

    Returns:
        `prior_samples`: their number M, without which the next ones do not compare
        `self_bleu`, `self_bleu_signature`, `distinct_1`, `distinct_2`, `distinct_3`; with `_data`: of the data's first
            M sentences
        `prior_length`, `data_length`: see length_distribution; `length_distance`: see there, words
        `empty_share`: of samples without a word
    """
    count = len(generated)
    settings = f"n:{ORDER}|case:mixed|eff:yes|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    return {
        "prior_samples": count,
        "self_bleu": self_bleu(generated),
        "self_bleu_data": self_bleu(data[:count]),
        "self_bleu_signature": f"m:{count}|{settings}",
        **{f"distinct_{n}": distinct(generated, n) for n in (1, 2, 3)},
        **{f"distinct_{n}_data": distinct(data[:count], n) for n in (1, 2, 3)},
        "prior_length": length_distribution(generated),
        "data_length": length_distribution(data),
        "length_distance": length_distance(generated, data),
        "empty_share": float(np.mean([not sentence.split() for sentence in generated])),
    }


def copied(generated: Sequence[str], training: Iterable[str]) -> float:
    """Share of the sentences that stand in the training text as they are."""
    wanted = Counter(generated)
    found = wanted.keys() & set(sentence for sentence in training if sentence in wanted)
    return sum(wanted[sentence] for sentence in found) / len(generated)
