"""Validation -ELBO of a study's trainings over updates: read from logs, told by the table's JSON, and drawn."""

import json
import logging

import pytest

from fairseq_vae.base import precision
from fairseq_vae.finetune import gather
from fairseq_vae.finetune.gather import validations
from fairseq_vae.report import drawing
from fairseq_vae.report.learning import learning


def line(kind, **numbers):
    return f"2026-01-02 03:04:05 | INFO | {kind} | {json.dumps({key: str(value) for key, value in numbers.items()})}\n"


def valid(update, bound, kl):
    return line("valid", epoch=1, valid_neg_elbo=bound, valid_kl=kl, valid_diagnosis="ok", valid_num_updates=update)


def test_validations_of_a_log_count_on_from_the_trainings_before(tmp_path):
    log = tmp_path / "train.log"
    again = valid(20, 60.5, 3)  # of a run that was stopped behind it
    log.write_text(line("train_inner", num_updates=10, neg_elbo=99) + valid(10, 70, 2) + valid(20, 60, 3) + again)
    assert validations(log, 200) == {"updates": [210, 220], "neg_elbo": [70, 60.5], "kl": [2, 3]}
    log.write_text("| valid | {damaged}\n" + line("valid", valid_loss=3))
    assert validations(log, 0) == validations(tmp_path / "none", 0) == {"updates": [], "neg_elbo": [], "kl": []}


def test_a_trainings_precision_is_told_where_it_is_known(tmp_path):
    log, flags = tmp_path / "train.log", {"autocast-bf16": ""}
    assert gather.precision(flags, log) is None
    log.write_text(valid(10, 70, 2))
    assert (gather.precision(flags, log), gather.precision({}, log)) == ("bfloat16", "float32")
    assert gather.precision({"fp16": ""}, log) is None
    log.write_text(f"| WARNING | fairseq_vae.base.precision | {bfloat16_warning()}\n" + valid(10, 70, 2))
    assert gather.precision(flags, log) == "float32"


def bfloat16_warning():
    """As base.precision words it."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger(precision.__name__)
    logger.addHandler(handler)
    precision.bfloat16_works.cache_clear()
    assert not precision.bfloat16_works("xpu")
    precision.bfloat16_works.cache_clear()
    logger.removeHandler(handler)
    return records[0]


def row(arm, seed, bounds, setting="kl-weight=1"):
    updates = [100 * (place + 1) for place in range(len(bounds))]
    validation = {"updates": updates, "neg_elbo": bounds, "kl": [4.0] * len(bounds)}
    return {"arm": arm, "seed": seed, "setting": setting, "zero_latent": arm == "no z", "validation": validation}


def lines(figure, panel=0):
    found = figure.axes[panel].get_lines()
    return {each.get_label(): (list(each.get_xdata()), list(each.get_ydata())) for each in found}


def test_a_line_is_the_mean_over_seeds_where_all_have_it():
    rows = [row("no z", 1, [9.0, 8.0]), row("two phases", 1, [9.0, 7.0, 6.0]), row("two phases", 2, [8.0, 6.0])]
    with drawing.style("test"):
        found = lines(learning(rows))
    assert found["no z"] == ([100, 200], [9.0, 8.0]) and found["two phases"] == ([100, 200], [8.5, 6.5])
    assert len(found) == 2 + 2, "thin lines of two seeds"


def test_points_of_an_arm_are_lines_of_their_own_and_a_figure_that_is_none_is_left_out():
    rows = [row("plain", 1, [9.0, None], "kl-weight=1"), row("plain", 1, [5.0], "kl-weight=0.1")]
    with drawing.style("test"):
        found = lines(learning(rows))
    assert found == {"plain, kl-weight 1": ([100], [9.0]), "plain, kl-weight 0.1": ([100], [5.0])}


NONE = {"updates": [100], "neg_elbo": [None], "kl": [None]}  # of a training that has diverged
OLDER = {"arm": "older", "setting": "only", "zero_latent": True}  # of a table from before


@pytest.mark.parametrize(
    "rows", [[], [row("plain", 1, [])], [OLDER], [{**row("plain", 1, [None]), "validation": NONE}]]
)
def test_nothing_is_drawn_of_no_validation(rows):
    with drawing.style("test"):
        assert learning(rows) is None
