import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from fairseq_vae.objective.free_bits import FREE_BITS_MODES, free_bits
from fairseq_vae.objective.schedule import RAMPS, SCHEDULES, kl_weight, ramp
from fairseq_vae.objective.terms import KERNELS, bag_of_words, mmd

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


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown schedule 'sigmoidal'"):
        kl_weight(0, "sigmoidal")
    with pytest.raises(ValueError, match="unknown ramp 'cubic'"):
        ramp(0.5, "cubic")
    with pytest.raises(ValueError, match="unknown free-bits mode 'token'"):
        free_bits(torch.ones(1, 1), 1.0, "token")
    with pytest.raises(ValueError, match="unknown kernel 'linear'"):
        mmd(torch.ones(2, 1), torch.ones(2, 1), "linear")


KL = [[0.0, 0.2, 0.9], [0.4, 0.1, 3.0]]  # sentences sum to 1.1 and 3.5, dimensions average to 0.2, 0.15, 1.95
BY_HAND = [  # mode, threshold, its sum, and where the gradient is the KL's own
    ("dimension", 0.5, 0.5 + 0.5 + 0.9 + 0.5 + 0.5 + 3.0, [[0, 0, 1], [0, 0, 1]]),
    ("dimension", 0.15, 0.15 + 0.2 + 0.9 + 0.4 + 0.15 + 3.0, [[0, 1, 1], [1, 0, 1]]),
    ("sentence", 2.0, 2.0 + 3.5, [[0, 0, 0], [1, 1, 1]]),
    ("batch-dimension", 0.18, 2 * (0.2 + 0.18 + 1.95), [[1, 0, 1], [1, 0, 1]]),
    ("batch-sentence", 2.2, 2 * 2.3, [[1, 1, 1], [1, 1, 1]]),
    ("batch-sentence", 2.4, 2 * 2.4, [[0, 0, 0], [0, 0, 0]]),
]


@pytest.mark.parametrize("mode, threshold, total, gradient", BY_HAND)
def test_free_bits_are_a_floor_without_gradient_below_it(mode, threshold, total, gradient):
    kl = torch.tensor(KL, dtype=torch.float64, requires_grad=True)
    floored = free_bits(kl, threshold, mode).sum()
    assert floored.item() == pytest.approx(total)
    floored.backward()
    torch.testing.assert_close(kl.grad, torch.tensor(gradient, dtype=torch.float64))


def test_groups_of_dimensions_share_their_free_bits():
    kl = torch.tensor([[0.3, 0.3, 1.0, 0.0], [0.1, 0.1, 0.2, 0.2]], requires_grad=True)
    floored = free_bits(kl, 0.5, "dimension", group=2)
    torch.testing.assert_close(floored, torch.tensor([[0.6, 1.0], [0.5, 0.5]]))
    torch.testing.assert_close(free_bits(kl, 0.5, "batch-dimension", 2), torch.tensor([2 * 0.5, 2 * 0.7]))
    torch.testing.assert_close(free_bits(kl, 0.5, "dimension", 4), free_bits(kl, 0.5, "sentence").unsqueeze(1))
    floored.sum().backward()
    assert kl.grad.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_a_mask_has_the_clamps_gradient():
    kl = torch.rand(4, 5, requires_grad=True)
    [clamp] = torch.autograd.grad(free_bits(kl, 0.4).sum(), kl)
    [mask] = torch.autograd.grad((kl * (kl > 0.4)).sum(), kl)  # Optimus
    assert clamp.equal(mask)


@pytest.mark.parametrize("mode", FREE_BITS_MODES)
def test_zero_free_bits_change_nothing(mode):
    kl = torch.rand(3, 4)
    assert free_bits(kl, 0.0, mode, 2) is kl


def test_bag_of_words_is_the_sum_over_real_words_of_their_nll():
    logits, target = torch.randn(3, 11, dtype=torch.float64), torch.randint(2, 11, (3, 5))
    target[0, 3:], target[2, 1:] = 1, 1
    expected = sum(
        cross_entropy(logits[b : b + 1], word[None]) for b in range(3) for word in target[b] if word.item() != 1
    )
    torch.testing.assert_close(bag_of_words(logits, target, 1), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_is_the_u_statistic_of_its_definition(kernel):
    z, prior = torch.randn(2, 6, 4, dtype=torch.float64) * torch.tensor([[[2.0]], [[1.0]]])

    def k(x, y):
        d = (x - y).square().sum().item()
        return math.exp(-d / 8) if kernel == "rbf" else 8 / (8 + d)

    pairs = [(i, j) for i in range(6) for j in range(6)]
    within = sum(k(x[i], x[j]) for x in (z, prior) for i, j in pairs if i != j) / 30
    across = sum(k(z[i], prior[j]) for i, j in pairs) / 36
    assert mmd(z, prior, kernel).item() == pytest.approx(within - 2 * across, abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_is_unbiased_at_the_prior_and_positive_away_from_it(kernel):
    draws = torch.randn(400, 2, 8, 3, dtype=torch.float64)
    same = torch.stack([mmd(z, prior, kernel) for z, prior in draws])
    assert abs(same.mean()) < 4 * same.std() / 20 and same.min() < 0
    moved = torch.stack([mmd(z + 1, prior, kernel) for z, prior in draws])
    assert moved.mean() > same.mean() + 10 * same.std() / 20
    assert mmd(draws[0, 0, :1], draws[0, 1, :1], kernel) == 0
