import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from fairseq_vae.measure.sentences import (
    copied,
    distinct,
    length_distance,
    length_distribution,
    reconstruction,
    samples,
    self_bleu,
)

TEXTS = [
    "the dog barks .",
    "a cat sleeps on the dog .",
    "the cat barks",
    "the dog barks .",
    "Oh, no: it's a the the the",
    "",
]


def test_reconstruction_scores_are_sacrebleus():
    found = reconstruction(TEXTS, TEXTS[::-1])
    assert found["bleu"] == BLEU().corpus_score(TEXTS, [TEXTS[::-1]]).score
    assert found["chrf"] == CHRF().corpus_score(TEXTS, [TEXTS[::-1]]).score
    assert found["exact_match"] == 0 and "tok:13a" in found["bleu_signature"]
    same = reconstruction(TEXTS, TEXTS)
    assert (same["bleu"], same["exact_match"]) == (pytest.approx(100), 1)


def test_self_bleu_is_sacrebleus_against_all_others():
    metric = BLEU(effective_order=True)
    rows = TEXTS + [" ".join(np.random.default_rng(i).choice(["a", "b", "c", "."], 3 + i)) for i in range(9)]
    expected = [metric.sentence_score(row, rows[:i] + rows[i + 1 :]).score for i, row in enumerate(rows)]
    assert self_bleu(rows) == pytest.approx(np.mean(expected), rel=1e-9)
    assert self_bleu(["a b c d e"] * 4) == pytest.approx(100) and self_bleu(["a"]) == 0
    assert self_bleu(["a b c d", "e f g h"]) == 0
    assert self_bleu(["", "", ""]) == 100 and self_bleu(["", "a b"]) == 0
    assert self_bleu(["", "", "a b c d"]) == pytest.approx(200 / 3), "an empty one is like another one alone"


def test_distinct_counts_different_n_grams():
    rows = ["a b a", "a b"]
    assert [distinct(rows, n) for n in (1, 2, 3)] == [2 / 5, 2 / 3, 1]
    assert distinct([""], 2) == 0


def test_length_distance_is_the_cost_of_the_best_matching():
    a, b = ["x " * n for n in (1, 4, 9, 2)], ["x " * n for n in (3, 3, 8, 2)]
    expected = np.mean(np.abs(np.sort([1, 4, 9, 2]) - np.sort([3, 3, 8, 2])))
    assert length_distance(a, b) == pytest.approx(expected) and length_distance(a, a) == 0
    assert length_distribution(["x x", "x x x x"]) == {"mean": 3, "sd": 1, "p5": 2.1, "p50": 3, "p95": 3.9}


def test_copies_of_the_training_text_are_counted_with_their_number():
    assert copied(["a b", "a b", "c", "d"], iter(["x", "a b", "d e"])) == 0.5


def test_samples_are_told_with_their_number_and_the_datas_figures():
    found = samples(TEXTS[:3], TEXTS)
    assert found["prior_samples"] == 3 and found["self_bleu_signature"].startswith("m:3|n:4|")
    assert found["self_bleu"] == found["self_bleu_data"] and found["empty_share"] == 0
