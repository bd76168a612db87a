"""Tables of evaluations and of papers, from made-up numbers."""

import math

import pytest

from fairseq_vae.measure.papers import PAPERS
from fairseq_vae.report.text import beside_paper, best, figure, grid, names, plain

NUMBERS = {
    "checkpoint": "run/checkpoint_best.pt",
    **{"neg_elbo": 50.0, "rec": 40.0, "kl": 10.0, "nll_iw": 48.0, "mi_batch": 3.1, "ppl_word": 90.5, "bleu": 31.0},
    **{"ppl_token_iw": 20.25, "self_bleu": 40.0, "distinct_2": 0.18, "au_curve": {"0.2": 7}},
    **{"sentences": 10, "tokens": 150},
}


@pytest.mark.parametrize("name", PAPERS)
def test_every_papers_rows_are_printed_with_ours_and_the_source(name):
    shown = beside_paper([NUMBERS], name)
    assert shown.count("here: run/checkpoint_best.pt") == len(PAPERS[name].tables) and PAPERS[name].source in shown
    without = beside_paper([{**NUMBERS, "bleu": None, "self_bleu": None, "distinct_2": None}], name)
    assert "here: run" in without


def test_ours_stand_under_the_papers_definition():
    lines = beside_paper([NUMBERS], "regavae").splitlines()
    ours = next(line for line in lines if line.startswith("here"))
    assert ours.split()[-4:] == ["20.25", "40.00", "18.00", "7"]
    lines = beside_paper([NUMBERS], "he-2019").splitlines()
    assert next(line for line in lines if line.startswith("here")).split()[-3:] == ["48.0", "10.0", "3.1"]


def test_numbers_become_text_and_json():
    assert [figure(value, 2) for value in (None, -0.001, 1.005, math.inf)] == ["-", "0.00", "1.00", "inf"]
    assert plain({"a": [1.5, math.inf], "b": (math.nan, "x", None, True, 3)}) == {
        "a": [1.5, None],
        "b": [None, "x", None, True, 3],
    }
    assert names(["/a/b/one/last.pt", "/a/b/two/last.pt"]) == ["one/last.pt", "two/last.pt"]
    assert grid([["x", "yy"], ["long", "1"]]) == "x     yy\nlong   1"
    assert grid([["x", "yy"], ["long", "1"]], markdown=True).splitlines()[1] == "|---|---:|"


@pytest.mark.parametrize(
    "intervals, better, expected",
    [
        ([(1, 2), (3, 4), (5, 6)], "lower", 0),
        ([(1, 2), (3, 4), (5, 6)], "higher", 2),
        ([(1, 2), (1.9, 4), (5, 6)], "lower", None),
        ([(1, 2), (3, 4)], None, None),
        ([(1, 2)], "lower", None),
        ([(1, 2), None], "lower", None),
    ],
)
def test_a_figure_is_best_only_where_intervals_separate(intervals, better, expected):
    results = [{"intervals": {} if ends is None else {"kl": list(ends)}} for ends in intervals]
    assert best(results, "kl", better) == expected
