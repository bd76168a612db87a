"""The figures of a sweep of edits, and which way is better."""

import pytest

from fairseq_vae.evaluate_edit import Row, dominance
from fairseq_vae.report.edits import verdicts


def rows(way, strength, accuracy, self_bleu, fluency, seeds=(1, 2, 3)):
    """A point's row for each seed; a figure is a number, or one for each seed."""

    def of(figure, i):
        return figure[i] if isinstance(figure, (list, tuple)) else figure

    return [
        Row(way, strength, seed, of(accuracy, i), of(self_bleu, i), of(fluency, i), 9.0, 0)
        for i, seed in enumerate(seeds)
    ]


REFERENCE = rows("vector", 1.0, [0.50, 0.52, 0.54], 40.0, 4.0)


@pytest.mark.parametrize(
    "accuracy, self_bleu, fluency, dominates",
    [
        ([0.60, 0.62, 0.64], 40.0, 4.0, True),  # paired by seed the difference is 0.1 without spread
        ([0.60, 0.62, 0.64], 41.0, 3.9, True),
        ([0.50, 0.52, 0.54], 41.0, 3.9, False),  # no more accuracy
        ([0.49, 0.62, 0.64], 41.0, 3.9, False),  # more in the mean, with an interval that holds 0
        ([0.60, 0.62, 0.64], 39.9, 3.9, False),
        ([0.60, 0.62, 0.64], [39.0, 41.0, 41.0], 3.9, True),  # no less in the mean
        ([0.60, 0.62, 0.64], [39.0, 40.0, 40.0], 3.9, False),
        ([0.60, 0.62, 0.64], 41.0, 4.1, False),
        ([0.60, 0.62, 0.64], 41.0, [3.9, 3.9, 4.3], False),
    ],
)
def test_a_point_dominates_if_its_accuracy_is_higher_and_no_other_mean_is_worse(
    accuracy, self_bleu, fluency, dominates
):
    found = dominance([*REFERENCE, *rows("energy", 2.0, accuracy, self_bleu, fluency)])
    assert (found["energy"] is not None) == dominates
    assert ("dominates" in verdicts(found)) == dominates


def test_the_best_pair_is_told_and_strength_0_takes_no_part():
    reference = [*rows("vector", 0.0, 0.1, 50.0, 4.0), *REFERENCE, *rows("vector", 2.0, 0.7, 30.0, 4.5)]
    ours = [*rows("gradient", 0.0, 0.9, 60.0, 1.0), *rows("gradient", 1.0, 0.75, 45.0, 4.0)]
    found = dominance([*reference, *ours])
    assert set(found) == {"gradient"}
    best = found["gradient"]
    assert (best.strength, best.other) == (1.0, 1.0)
    assert best.accuracy.mean == pytest.approx(0.23) and best.self_bleu.mean == pytest.approx(5.0)
    assert "gradient 1 dominates vector 1: accuracy +0.230 +- 0.050, self-BLEU +5.0 +- 0.0" in verdicts(found)


def test_the_order_of_the_seeds_does_not_matter_and_without_a_language_model_two_figures_decide():
    ours = rows("energy", 2.0, [0.60, 0.62, 0.64], 40.0, 4.0)
    assert dominance([*REFERENCE, *ours]) == dominance([*reversed(REFERENCE), *ours])
    bare = [row._replace(fluency=None) for row in [*REFERENCE, *ours]]
    assert dominance(bare)["energy"].fluency is None


def test_a_point_of_the_reference_that_went_too_far_is_none_and_one_that_it_beats_wins_nothing():
    far = rows("vector", 6.0, 0.4, 5.0, 9.0)  # worse in all than vector 1
    assert dominance([*REFERENCE, *far, *rows("energy", 1.0, 0.45, 10.0, 8.0)])["energy"] is None
    found = dominance([*REFERENCE, *far, *rows("energy", 1.0, [0.6, 0.62, 0.64], 41.0, 3.5)])
    assert found["energy"].other == 1.0


def test_one_seed_has_no_verdict_and_a_missing_fluency_is_no_good_one():
    one = [*rows("vector", 1.0, 0.5, 40.0, 4.0, seeds=(1,)), *rows("energy", 2.0, 0.9, 50.0, 3.0, seeds=(1,))]
    assert dominance(one) == {} and verdicts({}) == ""
    ours = [row._replace(fluency=None) for row in rows("energy", 2.0, [0.60, 0.62, 0.64], 41.0, 3.9)]
    assert dominance([*REFERENCE, *ours])["energy"] is None
    others = rows("energy", 2.0, [0.60, 0.62, 0.64], 41.0, 3.9, seeds=(4, 5, 6))
    assert dominance([*REFERENCE, *others])["energy"] is None, "seeds that differ are no pairs"
