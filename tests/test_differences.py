"""The picture of what an arm has more of than the arm that it is held to, of planted numbers."""

import pytest

from fairseq_vae.report import drawing
from fairseq_vae.report.differences import differences


def row(arm, seed, bound, setting="kl-weight=1", **others):
    figures = {"kl": 3.0, "neg_elbo": bound, "mi": 2.0, **others}
    known = {"zero_latent": arm == "no z", "updates": 9, "state": "done"}
    return {"arm": arm, "seed": seed, "setting": setting, **known, "figures": figures}


def drawn(rows, versus):
    """By panel: where each line's bar ends and its point is; the names of the lines; the figure."""
    with drawing.style("test"):
        figure = differences(rows, versus)
    found = {}
    for axis in figure.axes:
        bars, points = axis.get_lines()[1::2], axis.get_lines()[2::2]
        found[axis.get_xlabel().partition(",")[0]] = [
            (*bar.get_xdata(), *point.get_xdata()) for bar, point in zip(bars, points)
        ]
    return found, [label.get_text() for label in figure.axes[0].get_yticklabels()], figure


def test_bars_are_of_seeds_where_there_are_several():
    bounds = {"plain": (50.0, 52.0), "other": (51.0, 55.0)}
    rows = [row(arm, seed, bound) for arm, both in bounds.items() for seed, bound in enumerate(both)]
    found, names, figure = drawn([*rows, row("no z", 0, 40.0)], {"other": "plain", "no z": "plain"})
    half = 12.7062  # of 1 and 3: Student's t of one degree of freedom, a standard error of 1
    assert found["−ELBO"] == [pytest.approx((2 - half, 2 + half, 2), abs=1e-3)] and names == ["other"]
    assert list(found) == ["rate", "−ELBO", "MI"] and found["MI"] == [(0, 0, 0)]
    assert figure.get_suptitle() == "each less: plain" and figure.get_supxlabel().endswith("over 2 seeds.")


def test_bars_of_one_seed_are_of_sentences_and_a_line_names_what_differs():
    less = {"neg_elbo": (1.0, 0.5, 1.25)}
    rows = [row("plain", 1, 50.0), row("third", 1, 40.0), row("other", 1, 51.0, less_versus=less)]
    found, names, figure = drawn(rows, {"other": ["plain", "third"]})
    assert found["−ELBO"] == [(0.5, 1.25, 1.0), (11.0, 11.0, 11.0)]
    assert names == ["other less plain", "other less third"] and not figure.get_suptitle()
    assert figure.get_supxlabel() == (
        "Bars: 95 % intervals over sentences, of one seed; of rate none; of MI none; of an arm's further comparisons "
        "none."
    )
    swept = [row(arm, 1, 50.0, f"kl-weight={beta}") for arm in ("plain", "other") for beta in (0.1, 1)]
    assert drawn(swept, {"other": "plain"})[1] == ["other, kl-weight 0.1", "other, kl-weight 1"]


def test_nothing_is_drawn_of_no_differences():
    with drawing.style("test"):
        assert differences([row("plain", 1, 50.0)], {}) is None
        assert differences([row("plain", 1, 50.0), row("no z", 1, 40.0)], {"no z": "plain"}) is None
