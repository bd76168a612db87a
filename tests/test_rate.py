"""The rate-distortion curve of planted numbers: its table, its caption and its picture."""

import math

import pytest
from scipy.stats import t as student

from fairseq_vae.report import drawing
from fairseq_vae.report.rate import caption, cell, curve, means, paired, table

RATES = {"kl-weight=0.01": 40.0, "kl-weight=0.1": 20.0, "kl-weight=1": 3.0}


def row(arm, seed, setting, kl, rec, state="done", **others):
    figures = {"kl": kl, "rec": rec, "neg_elbo": rec + kl, "mi": min(kl, 8.0), "mi_cap": 8.5, "au": 7, "samples": 5}
    figures.update({"nll_gap_shuffled": kl, "bleu_greedy": kl + 1, "exact_match_greedy": kl / 100, **others})
    figures.update({"split": "valid", "sentences": 5000})
    reason = "out of memory" if state == "failed" else ""
    return {
        **{"arm": arm, "seed": seed, "setting": setting, "zero_latent": setting == "only", "updates": 1000},
        **{"start": "bart", "state": state, "reason": reason, "figures": figures if state == "done" else {}},
    }


def study(seeds=(1,), arms=("plain",), **others):
    rows = [row("language model", seed, "only", 0.0, 50.0 + seed, samples=1, **others) for seed in seeds]
    for arm in arms:
        for seed in seeds:
            rows += [row(arm, seed, s, kl, 52 - kl / 2 + seed, **others) for s, kl in RATES.items()]
    return rows


def test_figures_are_means_over_seeds_with_students_interval():
    found = {(point.arm, point.setting): point for point in means(study((1, 2, 4)))}
    rec = found["plain", "kl-weight=0.1"].figures["rec"]
    values = [52 - 10 + seed for seed in (1, 2, 4)]
    mean = sum(values) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    assert rec.mean == pytest.approx(mean) and rec.half == pytest.approx(student.ppf(0.975, 2) * deviation / 3**0.5)
    gap = found["plain", "kl-weight=0.1"].figures["lm_gap"]
    assert (gap.mean, gap.half) == (pytest.approx(52 + 10 - 50), pytest.approx(0)), "seed by seed, seeds cancel"


def test_a_seed_without_a_language_model_is_held_against_the_mean_of_the_others():
    rows = [found for found in study((1, 3, 5)) if not (found["zero_latent"] and found["seed"] == 5)]
    point = means(rows)[1].figures["lm_gap"]
    ours = [52 + 20 + seed for seed in (1, 3, 5)]
    assert point.mean == pytest.approx(sum(a - b for a, b in zip(ours, (51, 53, 52))) / 3)
    without = [found for found in rows if not found["zero_latent"]]
    assert "lm_gap" not in means(without)[0].figures and "less LM" not in table(without)


def test_of_several_arms_without_z_the_first_is_taken():
    rows = study((1, 2))
    rows += [row("other model", seed, "only", 0, 60, zero_latent=True) for seed in (1, 2)]
    found = {point.arm: point.figures["lm_gap"].mean for point in means(rows) if point.zero_latent}
    assert found == {"language model": 0, "other model": pytest.approx(60 - 51.5)}


def test_an_evaluations_own_gap_is_told_where_it_was_held_to_the_model_that_is_there():
    """The model's nats are 51 of seed 1; one that was trained anew since has others."""
    rows = study((1,))
    model = next(row for row in rows if row["zero_latent"])["figures"]["neg_elbo"]
    for nats, gap, interval in ((model + 0.001, 7.0, [6.0, 8.0]), (model + 1, None, None)):
        own = {"lm_nll": nats, "lm_gap": 7.0, "intervals": {"lm_gap": [6.0, 8.0]}}
        for found in rows:
            found["figures"].update({} if found["zero_latent"] else own)
        point = next(point for point in means(rows) if not point.zero_latent)
        expected = point.figures["neg_elbo"].mean - model if gap is None else gap
        assert point.figures["lm_gap"].mean == pytest.approx(expected) and point.intervals.get("lm_gap") == interval


def test_differences_from_an_arm_are_taken_seed_by_seed():
    rows = study((1, 2, 3)) + [row("other", seed, "kl-weight=1", 4, 50 + 3 * seed) for seed in (2, 3, 4)]
    [other] = paired(rows, {"other": "plain"})
    own = {seed: 52 - RATES["kl-weight=1"] / 2 + seed for seed in (2, 3)}
    gaps = [50 + 3 * seed - own[seed] for seed in (2, 3)]
    assert other.seeds == 2 and other.figures["rec"].mean == pytest.approx(sum(gaps) / 2)
    assert other.figures["rec"].half == pytest.approx(student.ppf(0.975, 1) * abs(gaps[0] - gaps[1]) / 2)
    assert paired(rows, {}) == [] and other.arm == "other less plain"
    assert table(rows, versus={"other": "plain"}).count("\n\n") == 1
    assert "differences between" in caption(rows, False, {"other": "plain"}) and "differences" not in caption(
        rows, False
    )
    assert "[intervals]" not in caption(rows, False, {"other": "plain"}), "several seeds have their own"
    both = paired(rows, {"other": ["plain", "language model"]})
    assert [(each.arm, each.seeds) for each in both] == [("other less plain", 2), ("other less language model", 2)]
    assert both[0] == other
    less = {"rec": (-1.0, -2.0, 0.5), "of no column": (1, 1, 1)}
    one = [{**row("other", 1, "kl-weight=1", 4, 50)}]
    one[0]["figures"]["less_versus"] = less
    [single] = paired([*study((1,)), *one], {"other": "plain"})
    assert single.intervals == {"rec": (-2.0, 0.5)} and " [-2.00, 0.50]" in table(
        [*study((1,)), *one], versus={"other": "plain"}
    )
    assert "[intervals] are over sentences" in caption([*study((1,)), *one], False, {"other": "plain"})
    failed = [{**found, "state": "failed"} if found["setting"] == "kl-weight=1" else found for found in rows[:-3]]
    assert not paired([*failed, *rows[-3:]], {"other": "plain"}), "a point that is left is no arm of one point"


def test_the_table_has_a_line_a_point_and_says_what_failed():
    rows = study((1, 2))
    rows[-1] = row("plain", 2, "kl-weight=1", 0, 0, "failed")
    rows += [row("wide", seed, "kl-weight=1", 0, 0, "failed") for seed in (1, 2)]
    rows.append(row("late", 1, "kl-weight=1", 0, 0, "missing"))
    lines = table(rows).splitlines()
    assert lines[0].split()[:5] == ["arm", "point", "updates", "seeds", "rate"] and len(lines[1:6]) == 5
    assert lines[1].split()[:6] == ["language", "model", "-", "1,000", "2", "0.00"]
    assert lines[4].split()[3:] == "1,000 1 3.00 (1 failed) 51.50 54.50 3.50 3.00 3.00 7.0 4.00 0.030".split()
    assert lines[5].split()[:6] == ["wide", "kl-weight", "1", "1,000", "0", "failed"]
    assert "plain, seed 2, kl-weight 1 failed: out of memory" in lines and not any("late" in line for line in lines)
    assert table(rows, markdown=True).splitlines()[1].startswith("|---|---:|")


def test_where_all_failed_there_is_a_table_still():
    lines = table([row("plain", 1, "kl-weight=1", 0, 0, "failed")]).splitlines()
    assert lines[1].split() == ["plain", "kl-weight", "1", "1,000", "failed"] and lines[-1].endswith("out of memory")


def test_figures_that_are_no_numbers_are_left_out():
    rows = study(bleu_greedy=None, exact_match_greedy=None)
    assert table(rows).splitlines()[0].split()[-1] == "AU"
    rows[1]["figures"]["rec"] = None  # JSON's infinity
    assert table(rows).splitlines()[2].split()[4:6] == ["40.00", "-"]
    for found in rows[0], rows[2]:
        found["figures"]["neg_elbo"] = None
    assert "less LM" not in table(rows)
    assert [cell(None, 2, 1), cell(means(study())[0].figures["kl"], 1, 1)] == ["-", "0.0"]


def of_pairs(rows):
    """The same with responses, and differences to the model without z of all that have one."""
    for number, found in enumerate(rows):
        figures = found["figures"]
        some = {"bleu_4_recall": 0.1 + number / 100, "rouge_l": 0.2, "within_self_bleu": 30.0, "responses": 5}
        figures["responses"] = {**some, "contexts": 9, "intervals": {"rouge_l": [0.1, 0.3]}}
        figures["intervals"] = {"nll_gap_shuffled": [1.0, 4.0], "rec": [0.0, 1.0]}
        if not found["zero_latent"]:
            figures["less_lm"] = {"neg_elbo": [3.5, 3.0, 4.5], "bleu_4_recall": [number / 100, -0.01, 0.05]}
    return rows


def test_responses_are_a_table_of_their_own_and_gaps_of_one_seed_have_the_intervals_of_sentences():
    found = table(of_pairs(study()))
    first, second = ([line.split("  ") for line in part.splitlines()] for part in found.split("\n\n"))
    assert len(first) == len(second) == 5 and "BLEU-4 recall" in found and "distinct-1" not in found
    cells = {part.strip() for line in first for part in line}
    assert {"3.50 [3.00, 4.50]", "3.00 [1.00, 4.00]"} <= cells and "less LM" in cells
    last = [part.strip() for part in second[-1] if part.strip()]
    assert last == ["plain", "kl-weight 1", "1,000", "0.130", "0.030 [-0.010, 0.050]", "0.200", "30.0"]
    assert "| --- " not in found and table(of_pairs(study()), markdown=True).count("|---|---:|") == 2
    told = caption(of_pairs(study()), warm=False)
    assert "5 responses to each of 9 sources" in told and "Less LM:" in told


def test_over_seeds_differences_have_students_interval():
    points = means(of_pairs(study((1, 2))))
    gap = points[1].figures["bleu_4_recall_gap"]
    assert gap.mean == pytest.approx((0.02 + 0.05) / 2) and gap.half > 0.1 and not points[1].intervals
    assert "±" in table(of_pairs(study((1, 2)))) and "[" not in table(of_pairs(study((1, 2))))


def test_what_has_a_phase1_says_so():
    rows = [{**found, "start": "phase1"} for found in study()]
    assert "behind its phase1" in caption(rows, warm=False) and "phase1" not in caption(study(), warm=False)


def test_the_caption_says_how_points_were_trained_and_measured():
    told = caption(study((1, 2)), warm=True)
    assert "each from the one before (a warm start)" in told and "Means over 2 seeds" in told
    assert "the split valid, 5,000 sentences, K = 5; MI at most 8.50" in told and "not there yet" not in told
    rows = [*study(), row("late", 1, "kl-weight=1", 0, 0, "missing")]
    told = caption(rows, warm=False)
    assert "Each point was trained anew from the study's start." in told and "seeds" not in told
    assert "1 of 5 points are not there yet" in told


def test_samples_are_a_table_of_their_own_and_estimated_rates_are_named():
    rows = study(self_bleu=30.0, distinct_1=0.25, distinct_2=0.5, length_distance=1.5, nll_iw=47.5)
    rows[1]["figures"]["kl_sampled"] = True
    first, second = ([line.split("  ") for line in part.splitlines()] for part in table(rows).split("\n\n"))
    assert "47.50" in {part.strip() for part in first[-1]}
    assert [part.strip() for part in second[-1] if part.strip()][-4:] == ["30.0", "0.250", "0.500", "1.5"]
    told = caption(rows, warm=False)
    assert "The rate of plain is an estimate by the K samples. The second table: samples of the prior" in told
    told = caption(study(), warm=False)
    assert "estimate" not in told and "second table" not in told and "\n\n" not in table(study())


@pytest.fixture
def drawn():
    pytest.importorskip("matplotlib")

    def draw(rows, warm=True):
        with drawing.style("the test"):
            return curve(rows, warm)

    return draw


def test_the_picture_shows_the_planted_points_and_the_bound(drawn):
    figure = drawn(study(arms=("plain", "wide")))
    distortion, bound, mi, bleu = figure.axes
    lines = {line.get_label(): line for line in distortion.lines}
    assert list(lines["plain"].get_xdata()) == [40, 20, 3] and list(lines["plain"].get_ydata()) == [33, 43, 51.5]
    assert (list(lines["language model (no z)"].get_xdata()), list(lines["language model (no z)"].get_ydata())) == (
        [0],
        [51],
    )
    dotted = [line for line in distortion.lines if line.get_linestyle() == ":"]
    sums = [{round(x + y, 6) for x, y in line.get_xydata()} for line in dotted]
    assert all(len(each) == 1 for each in sums), "rate + distortion is the same all along"
    assert {float(text.get_text()) for text in distortion.texts} == {each.pop() for each in sums} and len(sums) > 2
    [dashed] = [line for line in distortion.lines if line.get_linestyle() == "--" and line.get_label()[0] == "_"]
    assert {round(x + y, 6) for x, y in dashed.get_xydata()} == {51}
    assert list(bound.lines[0].get_ydata()) == [73, 63, 54.5] and list(bleu.lines[0].get_ydata()) == [41, 21, 4]
    assert bound.get_ylim()[0] > 40, "differences of -ELBO can be seen"
    assert (
        "nats per sentence" in distortion.get_ylabel() and "nats" in mi.get_ylabel() and "0 to 100" in bleu.get_ylabel()
    )
    assert max(mi.lines[0].get_ydata()) == 8.0 and mi.get_ylim()[1] > 8.5


def test_of_pairs_the_picture_shows_responses(drawn):
    figure = drawn(of_pairs(study((1, 2))))
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert len(labels) == 4 and "BLEU-4, %" in labels[2] and "self-BLEU" in labels[3]
    lines = {line.get_label(): line for line in figure.axes[2].lines}
    assert list(lines["plain"].get_ydata()) == pytest.approx([100 * (0.1 + n / 100) for n in (3.5, 4.5, 5.5)])
    assert list(lines["language model (no z)"].get_ydata()) == pytest.approx([10.5])


def test_arms_differ_in_more_than_colour_and_seeds_are_shown(drawn):
    arms = [f"arm {number}" for number in range(10)]
    figure = drawn(study((1, 2), arms=arms))
    lines = [line for line in figure.axes[0].lines if line.get_label() in arms]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == len(arms) == len(lines)
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(arms)
    single = [line for line in figure.axes[0].lines if line.get_markersize() == 2.5]
    assert len(single) == len(arms) and all(len(line.get_xdata()) == 6 for line in single)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.texts] == [*arms, "language model (no z)"]


@pytest.mark.parametrize("rows", [study(bleu_greedy=None), study()[1:2], study()[1:]])
def test_what_is_lacking_leaves_no_empty_panel(drawn, rows):
    figure = drawn(rows)
    assert len(figure.axes) == (3 if rows[0]["figures"]["bleu_greedy"] is None else 4)
    assert all(axis.lines for axis in figure.axes)


def test_nothing_overlaps_or_is_cut_off(drawn):
    """The legend above the panels, the note below, and every label within the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = drawn(study((1, 2), arms=[f"an arm of a long name {number}" for number in range(7)]))
    FigureCanvasAgg(figure).draw()
    whole, [legend] = figure.bbox, figure.legends
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    top = legend.get_window_extent()
    assert all(box.y1 <= top.y0 + 1 for box in boxes) and top.y1 <= whole.y1 + 1
    assert top.x0 >= whole.x0 - 1 and top.x1 <= whole.x1 + 1
    for box in boxes:
        assert box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1 and box.y0 >= whole.y0 - 1
    assert figure._supxlabel.get_window_extent().y1 <= min(box.y0 for box in boxes) + 1
