"""Figures of responses: sacrebleu, loops and closed forms as oracles, and what must not change them."""

import itertools
import random
import re
import sys

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU

from fairseq_vae.base.errors import InputError
from fairseq_vae.measure.definitions import RESPONSES, STORIES, WORDS, names
from fairseq_vae.measure.responses import (
    Embedding,
    average,
    bleu_scores,
    bow_scores,
    common_subsequence,
    compared,
    embedding,
    extrema,
    precision_recall,
    response_columns,
    response_figures,
    rouge,
    rouge_columns,
    rouge_figures,
)
from fairseq_vae.measure.sentences import distinct, self_bleu

TEXTS = ["the dog barks .", "the dog", "a cat sleeps on the dog .", "Oh, no: it's a the the the", "dog", ""]
TABLE = np.random.default_rng(1).normal(size=(26, 5))
MADE_UP = Embedding("made_up", lambda text: TABLE[[ord(c) - 97 for c in text.lower() if "a" <= c <= "z"]])
HYPOTHESES = [
    ["the dog barks", "a cat", "the dog barks"],
    ["", "a dog", "it is a cat"],
    ["yes", "no", "yes it is a dog"],
]
REFERENCES = [["the dog barks loudly", "a cat sleeps"], ["a dog"], ["yes", "it is", "no it is not a dog at all"]]
SCORES = re.compile("bleu_|[ae]_bow_")


def test_bleu_is_sacrebleus_of_each_pair_and_order():
    found = bleu_scores(TEXTS, TEXTS[::-1])
    for n in range(1, 5):
        metric = BLEU(max_ngram_order=n, effective_order=True, smooth_method="exp")
        for (i, ours), (j, theirs) in itertools.product(enumerate(TEXTS), enumerate(TEXTS[::-1])):
            expected = metric.sentence_score(ours, [theirs]).score / 100
            assert found[n - 1, i, j] == pytest.approx(expected, abs=1e-12), (n, ours, theirs)
    assert not found[:, TEXTS.index("")].any()
    signature = response_figures([["a"]], [["b"]])["responses_signature"]
    assert signature == str(metric.get_signature()).replace("nrefs:1|", "bleu:")


@pytest.mark.parametrize("text", [text for text in TEXTS if text])
def test_a_response_that_equals_the_reference_has_1(text):
    found = response_figures([[text]], [[text]], MADE_UP)
    assert all(found[name] == pytest.approx(1) for name in found if SCORES.match(name)), found


def test_precision_and_recall_are_those_of_a_loop():
    found = response_columns(HYPOTHESES, REFERENCES, MADE_UP)
    for number, (ours, theirs) in enumerate(zip(HYPOTHESES, REFERENCES)):
        for n in range(1, 5):
            metric = BLEU(max_ngram_order=n, effective_order=True, smooth_method="exp")
            score = {(a, b): metric.sentence_score(a, [b]).score / 100 for a in ours for b in theirs}
            precision = sum(max(score[a, b] for b in theirs) for a in ours) / len(ours)
            recall = sum(max(score[a, b] for a in ours) for b in theirs) / len(theirs)
            assert found[f"bleu_{n}_precision"][number].item() == pytest.approx(precision)
            assert found[f"bleu_{n}_recall"][number].item() == pytest.approx(recall)
        assert found["within_distinct_2"][number] == distinct(ours, 2)
        assert found["within_self_bleu"][number].item() == pytest.approx(self_bleu(ours))
        assert found["within_unique"][number].item() == len(set(ours)) / len(ours)


def test_f1_is_of_the_averages_and_across_is_of_all_responses():
    columns, found = (function(HYPOTHESES, REFERENCES) for function in (response_columns, response_figures))
    precision, recall = (columns[f"bleu_2_{kind}"].mean().item() for kind in ("precision", "recall"))
    assert found["bleu_2_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["across_distinct_1"] == distinct(sum(HYPOTHESES, []), 1)
    assert (found["contexts"], found["responses"], found["references"]) == (3, 3, 2)
    assert response_figures([["x"]], [["y"]])["bleu_1_f1"] == 0, "where both are 0"


def test_orders_of_contexts_responses_and_references_change_nothing():
    found = response_figures(HYPOTHESES, REFERENCES, MADE_UP)
    turned = [[row[::-1] for row in rows] for rows in (HYPOTHESES, REFERENCES)]
    for rows in ((HYPOTHESES[::-1], REFERENCES[::-1]), turned):
        other = response_figures(*rows, MADE_UP)
        for name in set(found) - {"intervals", "responses_signature"}:
            assert other[name] == pytest.approx(found[name], abs=1e-12), name


def test_copies_of_one_response_are_worth_that_one_and_are_seen_by_variety_alone():
    one = response_figures([row[:1] for row in REFERENCES], REFERENCES, MADE_UP)
    many = response_figures([row[:1] * 4 for row in REFERENCES], REFERENCES, MADE_UP)
    for name in one:
        if SCORES.match(name):
            assert many[name] == pytest.approx(one[name]), name
    assert many["within_unique"] == 1 / 4 and many["within_self_bleu"] == pytest.approx(100)
    assert many["within_distinct_1"] == pytest.approx(one["within_distinct_1"] / 4)
    assert one["within_self_bleu"] is None, "there is no other"


def test_lists_of_other_forms_are_refused():
    for lists, name in (((["yes"], [["yes"]]), "responses"), (([["yes"]], ["yes"]), "references")):
        with pytest.raises(InputError, match=f"{name} of a context: expected a list of texts, found a text"):
            response_figures(*lists)
    one, two = (response_columns([["yes"] * n], [["yes"]]) for n in (1, 2))
    with pytest.raises(InputError, match="one response to a context and several"):
        compared(one, two)


def test_with_one_response_and_one_reference_precision_is_recall():
    found = response_figures([["the dog"], ["a cat"]], [["the cat barks"], ["a cat sleeps"]], MADE_UP)
    for score in ("bleu_1", "bleu_3", "a_bow", "e_bow"):
        assert found[f"{score}_precision"] == found[f"{score}_recall"] == pytest.approx(found[f"{score}_f1"])


def test_a_further_response_never_lowers_recall_and_a_further_reference_never_precision():
    scores = np.random.default_rng(1).random((5, 4))
    tables = [precision_recall(scores[:n]) for n in range(1, 6)]
    assert all(before[1] <= after[1] for before, after in zip(tables, tables[1:]))
    tables = [precision_recall(scores[:, :m]) for m in range(1, 5)]
    assert all(before[0] <= after[0] for before, after in zip(tables, tables[1:]))
    assert precision_recall(scores) == precision_recall(scores.T)[::-1]


@pytest.mark.parametrize("bag", [average, extrema])
def test_the_likeness_of_bags_is_a_cosine_that_scale_and_order_do_not_change(bag):
    ours, theirs = [MADE_UP.vectors("dog"), MADE_UP.vectors("cat")], [MADE_UP.vectors("barks"), MADE_UP.vectors("")]
    found = bow_scores(ours, theirs, bag)
    for i, vectors in enumerate(ours):
        a, b = bag(vectors), bag(theirs[0])
        assert found[i, 0] == pytest.approx((1 + a @ b / np.sqrt((a @ a) * (b @ b))) / 2)
        assert found[i, 1] == 0, "without tokens"
    assert np.allclose(bow_scores([3 * vectors[::-1] for vectors in ours], theirs, bag), found)
    assert bow_scores([np.eye(2)[:1]], [-np.eye(2)[:1]], bag)[0, 0] == 0, "the opposite"


def test_extrema_are_those_of_a_loop():
    vectors = np.random.default_rng(2).normal(size=(6, 4))
    assert extrema(vectors).tolist() == [max(column, key=abs) for column in vectors.T.tolist()]
    assert extrema(np.array([[1.0, -2.0], [-1.0, 2.0]])).tolist() == [1, 2], "of two as far, the positive one"
    assert extrema(vectors[:1]).tolist() == average(vectors[:1]).tolist() == vectors[0].tolist()


def test_the_packaged_vectors_find_like_sentences_alike_and_their_absence_is_one_line(monkeypatch):
    embedding.cache_clear()
    words = embedding()
    assert words.vectors("a dog").shape[1] == 256 and words.vectors("").shape == (0, 256)
    assert "wordllama" not in sys.modules and words.name.startswith("wordllama_")
    near, far = bow_scores(
        [words.vectors("a puppy runs")], [words.vectors(text) for text in ("a dog ran", "tax law")], average
    )[0]
    assert near > far
    embedding.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs wordllama: pip install 'wordllama<0.3.4'$"):
        embedding()


def test_intervals_hold_their_figure_and_a_single_context_has_none_of_width():
    found = response_figures(HYPOTHESES * 9, REFERENCES * 9)
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] + 1e-12 and found[name] - 1e-12 <= high, name
    assert {"bleu_1_f1", "within_distinct_1"} < set(found["intervals"]) and "across_distinct_1" not in found[
        "intervals"
    ]
    alone = response_figures(HYPOTHESES[:1], REFERENCES[:1])
    assert all(low == high == alone[name] for name, (low, high) in alone["intervals"].items())


def test_two_models_are_compared_context_by_context():
    firsts = [row[:1] * 3 for row in REFERENCES]
    ours, theirs = (response_columns(rows * 9, REFERENCES * 9) for rows in (HYPOTHESES, firsts))
    found = compared(ours, theirs)
    figures = [response_figures(rows * 9, REFERENCES * 9) for rows in (HYPOTHESES, firsts)]
    for name, (difference, low, high) in found.items():
        assert difference == pytest.approx(figures[0][name] - figures[1][name], abs=1e-12)
        assert low - 1e-12 <= difference <= high + 1e-12, name
    assert all(ends == pytest.approx((0, 0, 0), abs=1e-12) for ends in compared(ours, ours).values())
    shifted = {name: column + 0.25 for name, column in rouge_columns(["a b", "c"], ["a", "c d"]).items()}
    widths = compared(shifted, rouge_columns(["a b", "c"], ["a", "c d"]))
    assert all(ends == pytest.approx((0.25,) * 3) for ends in widths.values()), "an equal gain in each has no width"
    with pytest.raises(InputError, match="27 contexts and 1: expected the same ones"):
        compared(ours, response_columns(HYPOTHESES[:1], REFERENCES[:1]))


@pytest.mark.parametrize(
    "hypotheses, references",
    [([], []), ([["a"]], []), ([["a"], ["a", "b"]], [["a"], ["a"]]), ([[]], [["a"]]), ([["a"]], [[]])],
)
def test_lists_that_do_not_fit_are_refused(hypotheses, references):
    with pytest.raises(InputError, match="expected one context or more in both, as many responses to each"):
        response_figures(hypotheses, references)


def test_responses_without_a_word_count_0():
    found = response_figures([["", " "]], [["a dog"]], MADE_UP)
    assert all(found[name] == 0 for name in found if SCORES.match(name))
    assert found["within_distinct_1"] == found["response_words"] == 0


def test_every_figure_is_defined_once():
    found = response_figures(HYPOTHESES, REFERENCES, MADE_UP)
    assert set(found) - {"intervals"} == set(names(RESPONSES))
    without = response_figures([["a"]], [["a"]])
    assert set(without) == set(found)
    assert {key for key, value in without.items() if value is None} == set(names(RESPONSES)) - set(names(RESPONSES, ""))
    assert set(names(RESPONSES, WORDS)) > set(names(RESPONSES, ""))
    assert set(rouge_figures(["a"], ["a"])) - {"intervals"} == set(names(STORIES))
    keys = names([*RESPONSES, *STORIES])  # of the object under the key `responses`
    assert len(set(keys)) == len(keys)


def subsequences(words):
    return {tuple(itertools.compress(words, chosen)) for chosen in itertools.product((0, 1), repeat=len(words))}


def test_the_longest_common_subsequence_is_that_of_an_enumeration():
    draws = random.Random(1)
    for _ in range(60):
        a, b = ([draws.choice("abc") for _ in range(draws.randrange(8))] for _ in range(2))
        assert common_subsequence(a, b) == max(map(len, subsequences(a) & subsequences(b)))


def test_rouge_by_hand_and_its_symmetries():
    assert rouge("police killed the gunman", "police kill the gunman") == {
        "rouge_1": pytest.approx(3 / 4),
        "rouge_2": pytest.approx(1 / 3),
        "rouge_l": pytest.approx(3 / 4),
    }
    assert rouge("The gunman kill police.", "police kill the gunman")["rouge_l"] == pytest.approx(2 / 4)
    assert rouge("It's A dog!", "it s a dog") == dict.fromkeys(("rouge_1", "rouge_2", "rouge_l"), 1)
    for a, b in itertools.product(TEXTS, TEXTS):
        assert rouge(a, b) == rouge(b, a)
        assert rouge(a, b)["rouge_l"] <= rouge(a, b)["rouge_1"] + 1e-12
    assert rouge("", "") == rouge("", "a") == dict.fromkeys(("rouge_1", "rouge_2", "rouge_l"), 0)


def test_rouge_of_a_corpus_is_the_mean():
    columns, found = rouge_columns(TEXTS, TEXTS[::-1]), rouge_figures(TEXTS, TEXTS[::-1])
    expected = [rouge(a, b)["rouge_l"] for a, b in zip(TEXTS, TEXTS[::-1])]
    assert torch.equal(columns["rouge_l"], torch.tensor(expected, dtype=torch.float64))
    assert found["rouge_l"] == pytest.approx(np.mean(expected))
    low, high = found["intervals"]["rouge_l"]
    assert low <= found["rouge_l"] <= high
    with pytest.raises(InputError, match="1 texts, 2 references"):
        rouge_columns(["a"], ["a", "b"])
