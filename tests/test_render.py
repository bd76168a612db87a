"""Evaluations in every format."""
# ruff: noqa: F811  fixtures are imported

import json

from evaluation import checkpoint, everything, made, made_up, numbers  # noqa: F401  fixtures

from fairseq_vae.measure.summary import summarise
from fairseq_vae.report.render import as_json, as_markdown, as_text
from fairseq_vae.report.text import beside_paper, best, comparison, plain, table


def test_every_format_holds_each_evaluation_and_the_papers_rows():
    one = summarise(made_up(), mi_batch=3)
    two = {**one, "checkpoint": "run/other.pt", "rec": float("inf")}
    assert as_text([one]) == table(one) + "\n"
    assert as_text([one, two], "he-2019") == "".join(
        [f"run/model.pt\n{table(one)}\nrun/other.pt\n{table(two)}\n\n", comparison([one, two]), "\n\n"]
        + [beside_paper([one, two], "he-2019"), "\n"]
    )
    assert as_markdown([one]) == comparison([one], markdown=True) + "\n"
    assert as_markdown([one, two], "he-2019").endswith(beside_paper([one, two], "he-2019", markdown=True) + "\n")
    assert json.loads(as_json([one])) == plain(one)
    assert [numbers["rec"] for numbers in json.loads(as_json((one, two)))] == [one["rec"], None]


def test_the_best_is_marked_only_where_intervals_separate():
    def result(low, high):
        return {"intervals": {"neg_elbo": [low, high], "nll_gap_shuffled": [low, high]}}

    apart, near = [result(5, 6), result(1, 2), result(2.5, 3)], [result(1, 2), result(1.9, 3)]
    assert best(apart, "neg_elbo", "lower") == 1 and best(apart, "nll_gap_shuffled", "higher") == 0
    assert best(near, "neg_elbo", "lower") is None and best(apart[:1], "neg_elbo", "lower") is None
    assert best(apart, "neg_elbo", None) is None and best(apart, "mi", "higher") is None


def test_tables_are_aligned(numbers):
    lines = table(numbers).splitlines()
    assert all(line[18:20] == "  " or line[:20].rstrip() == line[:20].strip() for line in lines[:-1])
    assert {len(line[:30]) for line in lines} == {30}
    heads = comparison([numbers, {**numbers, "checkpoint": "/elsewhere/other.pt"}]).splitlines()[:3]
    assert heads[0].split()[0] == "checkpoint" and len(set(map(len, heads))) == 1
