import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from fairseq_vae.objective.terms import KERNELS, bag_of_words, mmd


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


def test_unknown_kernels_are_refused():
    with pytest.raises(ValueError, match="unknown kernel 'linear'"):
        mmd(torch.ones(2, 1), torch.ones(2, 1), "linear")
