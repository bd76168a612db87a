"""The short form of soak.py: nothing is left behind by a cycle. Memory takes longer to show a slope."""

import logging

import numpy as np
import pytest
from soak import slope, soak


@pytest.mark.slow
def test_cycles_of_training_and_use_leave_nothing_open(tmp_path):
    logging.disable(logging.WARNING)
    try:
        first, *others = soak(tmp_path, cycles=4)[1:]  # the first cycle imports
    finally:
        logging.disable(logging.NOTSET)
    for kind in ("handles", "threads", "children", "tensors"):
        assert [row[kind] for row in others] == [first[kind]] * len(others), kind


def test_the_slope_and_its_interval_are_those_of_a_line_with_noise():
    seconds, noise = np.arange(0.0, 3600.0, 10), np.tile([1.0, -1.0], 180)
    found, width = slope(seconds, 400 + 5 * seconds / 3600 + noise)
    assert found - width < 5 < found + width and 0 < width < 0.5
    assert slope(seconds, 400 + 0 * seconds) == pytest.approx((0, 0), abs=1e-6)
