"""Papers' tables are complete."""

import math

import pytest

from fairseq_vae.measure.papers import PAPERS, with_starts


@pytest.mark.parametrize("name", PAPERS)
def test_every_paper_has_its_source_and_a_value_a_column(name):
    paper = PAPERS[name]
    assert paper.title and paper.source and paper.definition
    for rows in paper.tables.values():
        assert all(len(row) == 1 + len(paper.columns) for row in rows)


def test_starts_count_as_tokens():
    numbers = {"nll_iw": 48.0, "sentences": 10, "tokens": 150}
    assert with_starts(numbers) == pytest.approx(math.exp(480 / 160))
    assert with_starts({**numbers, "nll_iw": 1e6}) == math.inf
