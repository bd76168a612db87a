"""Quality and variety of generated sentences, as pure functions of lists of strings. No fairseq, no torch.

Words are separated by spaces, but in BLEU and chrF, where sacrebleu cuts them as its signature says.
"""

from collections import Counter
from typing import Any, Dict, Iterable, List, Sequence, Tuple
from typing import Counter as Counts

import numpy as np
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

__all__ = [
    "ORDER",
    "bleu_counts",
    "bleu_of",
    "copied",
    "distinct",
    "length_distance",
    "length_distribution",
    "ngrams",
    "reconstruction",
    "samples",
    "self_bleu",
]

ORDER = 4  # of the longest n-grams in BLEU


def reconstruction(hypotheses: Sequence[str], references: Sequence[str]) -> Dict[str, Any]:
    """Likeness of reconstructions to their sentences.

    Args:
        hypotheses: N
        references: N

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


def bleu_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What the BLEU of a corpus is made of: counts of each sentence, whose sums over any sentences `bleu_of` takes.

    Args:
        hypotheses: N
        references: N

    Returns:
        N x 10: words of the hypothesis and of the reference, n-grams for n = 1 to 4 that both have, and those of the
        hypothesis
    """
    tokenize = BLEU().tokenizer
    rows = []
    for texts in zip(hypotheses, references):
        ours, theirs = (tokenize(text.rstrip()).split() for text in texts)
        found = [(ngrams(ours, n), ngrams(theirs, n)) for n in range(1, ORDER + 1)]
        common = [sum((mine & other).values()) for mine, other in found]
        rows.append([len(ours), len(theirs), *common, *(sum(mine.values()) for mine, _ in found)])
    return np.array(rows, dtype=np.int64).reshape(len(rows), 2 + 2 * ORDER)


def bleu_of(sums: Sequence[int]) -> float:
    """BLEU of the corpus with these sums of `bleu_counts`, as sacrebleu has it by default, 0 to 100.

    >>> round(bleu_of(bleu_counts(["a b c d", "a b"], ["a b c d", "b c"]).sum(0)), 2)
    88.91
    """
    ours, theirs, *grams = map(int, sums)
    return float(BLEU.compute_bleu(grams[:ORDER], grams[ORDER:], ours, theirs, smooth_method="exp").score)


def ngrams(words: Sequence[str], n: int) -> "Counts[Tuple[str, ...]]":
    """The n-grams of a sentence with their numbers.

    >>> ngrams(["a", "b", "a", "b"], 2)
    Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def self_bleu(sentences: Sequence[str]) -> float:
    """Mean over M sentences of the BLEU-4 of each against the M - 1 others, 0 (all differ) to 100 (Zhu et al. 2018).

    The scores are sacrebleu's sentence BLEU (13a words, exponential smoothing, effective order, closest reference
    length), but that of an empty sentence beside another empty one is 100. An n-gram is clipped at its largest count in
    any other sentence, which its two largest counts in all sentences give: the cost is linear in M.

    >>> self_bleu(["a b c d", "e f g h"])
    0.0
    """
    if len(sentences) < 2:
        return 0.0
    tokenize = BLEU().tokenizer
    words = [tokenize(sentence.rstrip()).split() for sentence in sentences]
    counted = [[ngrams(row, n) for n in range(1, ORDER + 1)] for row in words]
    largest: Dict[Any, List[int]] = {}  # n-gram to its two largest counts in sentences
    for orders in counted:
        for counts in orders:
            for gram, count in counts.items():
                largest[gram] = sorted([*largest.get(gram, [0, 0]), count])[1:]
    lengths = Counter(map(len, words))
    scores = []
    for row, orders in zip(words, counted):
        correct = [
            sum(min(count, largest[gram][0 if largest[gram][1] == count else 1]) for gram, count in counts.items())
            for counts in orders
        ]
        others = [length for length, times in lengths.items() if times > (length == len(row))]
        closest = min(others, key=lambda length: (abs(length - len(row)), length))
        total = [max(0, len(row) - n) for n in range(ORDER)]
        score = BLEU.compute_bleu(correct, total, len(row), closest, smooth_method="exp", effective_order=True)
        scores.append(score.score if row or closest else 100.0)  # two empty ones are alike
    return float(np.mean(scores))


def distinct(sentences: Sequence[str], n: int) -> float:
    """Different n-grams as a share of all n-grams of all sentences, 0 to 1 (Li et al. 2016).

    The share falls as the number of sentences grows, so only figures of equally many sentences compare.

    >>> distinct(["a b a", "a b"], 1)
    0.4
    """
    counts: Counts[Tuple[str, ...]] = Counter()
    for sentence in sentences:
        counts.update(ngrams(sentence.split(), n))
    return len(counts) / max(1, sum(counts.values()))


def length_distribution(sentences: Sequence[str]) -> Dict[str, float]:
    """Words a sentence: `mean`, standard deviation `sd`, and the quantiles of 5, 50 and 95 %, `p5`, `p50` and `p95`."""
    lengths = [len(sentence.split()) for sentence in sentences]
    low, median, high = np.quantile(lengths, (0.05, 0.5, 0.95))
    values = {"mean": np.mean(lengths), "sd": np.std(lengths), "p5": low, "p50": median, "p95": high}
    return {key: float(value) for key, value in values.items()}


def length_distance(a: Sequence[str], b: Sequence[str]) -> float:
    """Wasserstein-1 distance of two lists' lengths, in words: their mean difference under the best matching.

    It is the sum over n of |F_a(n) - F_b(n)|, with F_a(n) the share of the sentences of `a` with at most n words.

    >>> length_distance(["a", "a b"], ["a b", "a b c d"])
    1.5
    """
    counts = [np.bincount([len(sentence.split()) for sentence in rows]) for rows in (a, b)]
    size = max(map(len, counts))
    f, g = (np.cumsum(np.pad(c, (0, size - len(c)))) / c.sum() for c in counts)
    return float(np.abs(f - g).sum())


def samples(generated: Sequence[str], data: Sequence[str]) -> Dict[str, Any]:
    """Variety of sentences from the prior, and the likeness of their lengths to the data's.

    Args:
        generated: M sentences from the prior
        data: sentences of the split

    Returns:
        `prior_samples`: M, on which the next figures depend
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
    """Share of the sentences that stand in the training text as they are, 0 to 1.

    >>> copied(["a b", "c"], ["x", "a b"])
    0.5
    """
    wanted = Counter(generated)
    found = wanted.keys() & set(sentence for sentence in training if sentence in wanted)
    return sum(wanted[sentence] for sentence in found) / len(generated)
