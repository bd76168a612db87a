"""Ramps and cycles as beta has them, and the pictures of a training."""

import itertools

import pytest

from fairseq_vae.objective.schedule import kl_weight
from fairseq_vae.report import drawing
from fairseq_vae.report.curves import MOST, Part, bars, curves, points, spans

UPDATES = 97
FLAGS = [
    *(
        {"kl-schedule": "linear", "kl-warmup-updates": str(n), "kl-zero-updates": str(z)}
        for n, z in itertools.product((1, 30, 200), (0, 7))
    ),
    *(
        {"kl-schedule": "cyclical", "kl-cycle-updates": str(n), "kl-cycle-ratio": str(r), "kl-zero-updates": str(z)}
        for n, r, z in itertools.product((20, 100), (0.07, 0.5), (0, 4))
    ),
    {"kl-schedule": "cyclical", "kl-cycle-updates": "20"},
    {"kl-weight": "0.5"},
    {},
]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_beta_changes_within_ramps_and_where_a_cycle_begins_and_nowhere_else(flags):
    ramps, cycles = spans(flags, UPDATES)
    names = {"warmup_updates": int, "cycle_updates": int, "cycle_ratio": float, "zero_updates": int}
    given = {
        name: kind(flags[flag]) for name, kind in names.items() if (flag := f"kl-{name.replace('_', '-')}") in flags
    }
    beta = [kl_weight(u, flags.get("kl-schedule", "constant"), start=0.1, **given) for u in range(UPDATES + 1)]
    # zero to start is a step, not a ramp
    steps = {start + given.get("zero_updates", 0) - 1 for start in (cycles or [0]) if given.get("zero_updates")}
    for update in range(UPDATES):
        if update in steps or update + 1 in cycles:
            continue
        within = any(ramp.start <= update < ramp.end for ramp in ramps)
        assert (beta[update] != beta[update + 1]) == within, update
    assert all(0 <= ramp.start < ramp.end <= UPDATES for ramp in ramps)
    length = given.get("cycle_updates")
    assert cycles == (list(range(0, UPDATES, length)) if length else [])


def test_a_long_curve_is_thinned_by_means():
    curve = {update: {"kl": float(update % 2)} for update in range(2 * MOST)}
    x, y = points(curve, "kl")
    assert len(x) == MOST and set(y) == {0.5} and x[:2] == [0.5, 2.5]
    assert points({}, "kl") == ([], [])


def test_phases_and_cycles_are_marked():
    values = {10: {"rec": 3.0, "kl_weight": 0.0}, 20: {"rec": 2.0, "kl_weight": 1.0}}
    with drawing.style("a test"):
        parts = [Part("phase1", values, values), Part("phase2", values, {}, *spans(FLAGS[-3], 20))]
        figure = curves([parts[0], parts[1]._replace(cycles=[0, 10])])
    for axis in figure.axes:
        across = {tuple(line.get_xdata()): line.get_linestyle() for line in axis.lines if len(line.get_xdata()) == 2}
        assert across[(20, 20)] == "--" and across[(30, 30)] == ":"
        [area] = axis.patches
        assert (area.get_x(), area.get_width()) == (20, 10)
        assert [text.get_text() for text in axis.texts] == ["phase1", "phase2"]
        low, high = axis.get_ylim()
        assert low == 0 and all(max(line.get_ydata()) <= high for line in axis.lines)


def test_bars_are_in_order_and_free_bits_are_a_line():
    with drawing.style("a test"):
        [axis] = bars([0.5, 2.0, 0.0], 0.25).axes
    assert [bar.get_height() for bar in axis.patches] == [2.0, 0.5, 0.0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "0", "2"]
    assert list(axis.lines[0].get_ydata()) == [0.25, 0.25]


def test_a_picture_within_a_page_takes_its_colours_and_escapes_its_texts():
    with drawing.style("a test"):
        [[axis]] = drawing.axes(1, 1, 4, 3)
        axis.plot([1, 2], color=drawing.PALETTE[3], label="</svg><script>$\\frac{$")
        axis.legend()
        svg = drawing.inline(axis.figure, "one", "A <line>")
        again = drawing.inline(axis.figure, "one", "A <line>")
    assert svg == again and svg.startswith("<svg") and svg.endswith("</svg>")
    assert "<script" not in svg and svg.count("</svg") == 1 and 'aria-label="A &lt;line&gt;"' in svg
    assert "$\\frac{$" in svg and "var(--c3)" in svg and "currentColor" in svg and "http" not in svg
    assert not any(color in svg for color in (*drawing.PALETTE, drawing.INK, "DejaVu", "<style"))


def test_nothing_global_is_changed_and_a_file_has_no_date(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    paths = [str(tmp_path / name) for name in ("a.svg", "b.svg")]
    for path in paths:
        with drawing.style("a test"):
            drawing.save(bars([0.5]), path)
    assert dict(matplotlib.rcParams) == before
    first, second = (open(path, "rb").read() for path in paths)
    assert first == second and b"<dc:date" not in first
