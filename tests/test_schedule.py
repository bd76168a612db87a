import math

import pytest

from fairseq_vae.objective.schedule import RAMPS, SCHEDULES, kl_weight, ramp

every_ramp = pytest.mark.parametrize("shape", RAMPS)
ENDS = [(0.0, 1.0), (0.1, 0.7), (1.0, 0.2)]


def test_constant_is_the_final_value_always():
    assert [kl_weight(update, final=0.3) for update in (0, 7, 10**6)] == [0.3] * 3


@every_ramp
def test_a_ramp_goes_from_0_to_1_exactly_by_a_half_and_never_back(shape):
    values = [ramp(t / 1000, shape) for t in range(-10, 1011)]
    assert values[:11] == [0.0] * 11 and values[1010:] == [1.0] * 11
    assert all(a < b for a, b in zip(values[10:1010], values[11:1011]))
    assert ramp(0.5, shape) == pytest.approx(0.5, abs=1e-15)
    assert [ramp(1 - t, shape) for t in (0.1, 0.3)] == pytest.approx([1 - ramp(t, shape) for t in (0.1, 0.3)])


def test_ramps_are_fu_et_als_but_for_the_sigmoids_ends():
    def logistic(x):
        return 1 / (1 + math.exp(-x))

    for t in (0.05, 0.25, 0.6, 0.99):
        span = logistic(6) - logistic(-6)
        assert ramp(t, "sigmoid") == pytest.approx((logistic(12 * t - 6) - logistic(-6)) / span, abs=1e-14)
        assert ramp(t, "cosine") == pytest.approx((1 - math.cos(math.pi * t)) / 2, abs=1e-14)
        assert ramp(t) == t


@pytest.mark.parametrize(
    "flags, table",
    [  # update, beta: worked out by hand, from the papers' formulas
        (
            dict(schedule="linear", final=1.0, warmup_updates=4),
            [(0, 0), (1, 0.25), (2, 0.5), (3, 0.75), (4, 1), (5, 1)],
        ),
        (dict(schedule="linear", final=0.2, start=0.6, warmup_updates=4), [(0, 0.6), (1, 0.5), (3, 0.3), (4, 0.2)]),
        (
            dict(schedule="linear", final=2.0, warmup_updates=6, shape="cosine"),
            [(0, 0), (1, 1 - math.sqrt(3) / 2), (2, 0.5), (3, 1), (4, 1.5), (5, 1 + math.sqrt(3) / 2), (6, 2), (7, 2)],
        ),
        (
            dict(schedule="linear", final=1.0, warmup_updates=12, shape="sigmoid"),
            [(0, 0), (6, 0.5), (7, 0.5 + 0.2310586 / 0.9950547), (11, 0.5 + 0.4933071 / 0.9950547), (12, 1)],
        ),
        (  # M = 2 cycles of T / M = 10 updates, R = 0.5
            dict(schedule="cyclical", final=1.0, cycle_updates=10, cycle_ratio=0.5),
            [(0, 0), (1, 0.2), (4, 0.8), (5, 1), (9, 1), (10, 0), (11, 0.2), (15, 1), (19, 1), (20, 0)],
        ),
        (
            dict(schedule="cyclical", final=0.9, start=0.1, cycle_updates=4, cycle_ratio=1.0, shape="cosine"),
            [(0, 0.1), (1, 0.1 + 0.8 * (1 - math.sqrt(0.5)) / 2), (2, 0.5), (4, 0.1), (6, 0.5)],
        ),
        (  # Optimus: half of the updates 0, a quarter ramp, a quarter 1
            dict(schedule="cyclical", final=1.0, cycle_updates=8, cycle_ratio=0.25, zero_updates=4),
            [(0, 0), (3, 0), (4, 0), (5, 0.5), (6, 1), (7, 1), (8, 0), (12, 0), (13, 0.5), (15, 1)],
        ),
        (
            dict(schedule="linear", final=1.0, start=0.2, warmup_updates=4, zero_updates=3),
            [(0, 0), (2, 0), (3, 0.2), (5, 0.6), (7, 1), (100, 1)],
        ),
        (dict(schedule="constant", final=0.7, start=0.2, zero_updates=2), [(0, 0), (1, 0), (2, 0.7), (9, 0.7)]),
    ],
)
def test_a_schedule_is_its_table(flags, table):
    for update, beta in table:
        assert kl_weight(update, **flags) == pytest.approx(beta, abs=1e-7), update


@every_ramp
@pytest.mark.parametrize("start, final", ENDS)
def test_linear_meets_both_ends_exactly_and_is_monotone(start, final, shape):
    beta = [kl_weight(u, "linear", final, start, warmup_updates=10, shape=shape) for u in range(14)]
    assert beta[0] == start and beta[10:] == [final] * 4
    signs = {math.copysign(1, b - a) for a, b in zip(beta[:10], beta[1:11])}
    assert signs == {math.copysign(1, final - start)}


def test_a_ramp_of_no_length_is_constant():
    assert kl_weight(0, "linear", 0.5, warmup_updates=0) == 0.5
    assert kl_weight(0, "cyclical", 0.5, cycle_updates=4, cycle_ratio=0.0) == 0.5


def test_a_ramp_ends_at_the_update_that_the_ratio_as_typed_says():
    """All cycles to 200 updates and all ratios of two digits, where the ramp's end is a whole number of updates."""
    wrong = []
    for cycle in range(2, 201):
        for percent in range(1, 100):
            end, rest = divmod(percent * cycle, 100)
            if not rest and kl_weight(end, "cyclical", 0.9, 0.1, 0, cycle, float(f"{percent / 100:.2f}")) != 0.9:
                wrong.append((cycle, percent))
    assert not wrong


@every_ramp
@pytest.mark.parametrize("zero", [0, 2])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_cyclical_waits_ramps_holds_and_repeats(ratio, zero, shape):
    cycle, start, final = 8, 0.1, 0.9
    beta = [kl_weight(u, "cyclical", final, start, 0, cycle, ratio, shape, zero) for u in range(3 * cycle)]
    assert beta[:cycle] == beta[cycle : 2 * cycle] == beta[2 * cycle :]
    edge = zero + int(ratio * cycle)
    assert beta[:zero] == [0] * zero and beta[zero] == start and beta[edge:cycle] == [final] * (cycle - edge)
    assert all(a < b for a, b in zip(beta[zero:edge], beta[zero + 1 : edge]))


@every_ramp
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("start, final", ENDS)
def test_beta_stays_between_its_ends(schedule, start, final, shape):
    for warmup, cycle, ratio in [(7, 5, 0.6), (3, 997, 1.0), (1000, 13, 0.1)]:
        beta = [kl_weight(u, schedule, final, start, warmup, cycle, ratio, shape) for u in range(1100)]
        assert min(beta) >= min(start, final) and max(beta) <= max(start, final)
        beta = [kl_weight(u, schedule, final, start, warmup, cycle, ratio, shape, 2) for u in range(1100)]
        assert min(beta) >= 0 and max(beta) <= max(start, final)


def test_unknown_schedules_and_ramps_are_refused():
    with pytest.raises(ValueError, match="unknown schedule 'sigmoidal'"):
        kl_weight(0, "sigmoidal")
    with pytest.raises(ValueError, match="unknown ramp 'cubic'"):
        ramp(0.5, "cubic")
