import pytest
import torch

from fairseq_vae.objective.free_bits import FREE_BITS_MODES, free_bits

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


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="unknown free-bits mode 'token'"):
        free_bits(torch.ones(1, 1), 1.0, "token")


def test_the_noise_of_an_estimate_costs_nats_in_each_sentence_and_not_in_the_batch():
    """E max(KL + s u, KL + s) - (KL + s) = s (phi(1) - 1 + Phi(1)) for a standard normal u."""
    normal, scale = torch.distributions.Normal(0.0, 1.0), 2.0
    noise = normal.icdf((torch.arange(4000) + 0.5) / 4000)
    estimates = (5.0 + scale * noise).unsqueeze(1)  # of a KL of 5 in each sentence
    cost = scale * (normal.log_prob(torch.tensor(1.0)).exp() - 1 + normal.cdf(torch.tensor(1.0)))
    counted = {mode: free_bits(estimates, 5.0 + scale, mode).sum() / 4000 for mode in ("sentence", "batch-sentence")}
    torch.testing.assert_close(counted["sentence"], 5.0 + scale + cost, rtol=1e-4, atol=0)
    torch.testing.assert_close(counted["batch-sentence"], torch.tensor(5.0 + scale))
