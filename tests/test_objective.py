import pytest
import torch

from fairseq_vae.objective import SCHEDULES, free_bits, kl_weight


def test_constant_is_the_final_value_always():
    assert [kl_weight(update, final=0.3) for update in (0, 7, 10**6)] == [0.3] * 3


@pytest.mark.parametrize("start, final", [(0.0, 1.0), (0.1, 0.7), (1.0, 0.2)])
def test_linear_meets_both_ends_exactly_and_is_straight_between(start, final):
    beta = [kl_weight(u, "linear", final, start, warmup_updates=10) for u in range(14)]
    assert beta[0] == start and beta[10:] == [final] * 4
    assert [b - a for a, b in zip(beta[:10], beta[1:11])] == pytest.approx([(final - start) / 10] * 10)


def test_a_ramp_of_no_length_is_constant():
    assert kl_weight(0, "linear", 0.5, warmup_updates=0) == 0.5
    assert kl_weight(0, "cyclical", 0.5, cycle_updates=4, cycle_ratio=0.0) == 0.5


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_cyclical_ramps_holds_and_repeats(ratio):
    cycle, start, final = 8, 0.1, 0.9
    beta = [kl_weight(u, "cyclical", final, start, cycle_updates=cycle, cycle_ratio=ratio) for u in range(3 * cycle)]
    assert beta[:cycle] == beta[cycle : 2 * cycle] == beta[2 * cycle :]
    ramp = int(ratio * cycle)
    assert beta[0] == start and beta[ramp:cycle] == [final] * (cycle - ramp)
    assert beta[:ramp] == pytest.approx([start + (final - start) * u / ramp for u in range(ramp)])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_beta_stays_between_its_ends(schedule):
    beta = [kl_weight(u, schedule, 0.8, 0.2, 7, 5, 0.6) for u in range(50)]
    assert min(beta) >= 0.2 and max(beta) == 0.8


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="unknown schedule 'sigmoidal'"):
        kl_weight(0, "sigmoidal")


def test_free_bits_is_a_floor_without_gradient_below_it():
    kl = torch.tensor([[0.0, 0.2, 0.9], [0.5, 0.1, 3.0]], requires_grad=True)
    floored = free_bits(kl, 0.5)
    torch.testing.assert_close(floored, torch.tensor([[0.5, 0.5, 0.9], [0.5, 0.5, 3.0]]))
    floored.sum().backward()
    assert kl.grad[0].tolist() == [0, 0, 1] and kl.grad[1, 1:].tolist() == [0, 1]


def test_zero_free_bits_change_nothing():
    kl = torch.rand(3, 4)
    assert free_bits(kl, 0.0) is kl
