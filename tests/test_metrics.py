import math

import pytest
import torch
from torch.distributions import Independent, Normal

from fairseq_vae.measure.metrics import active_units, mutual_information


def sums(mu):
    return mu.sum(0), mu.square().sum(0), len(mu)


def test_active_units_counts_dimensions_whose_mean_varies():
    mu = torch.randn(500, 4) * torch.tensor([1.0, 0.0, 0.05, 0.3]) + torch.tensor([0.0, 5.0, 2.0, -3.0])
    expected = int((mu.double().var(0) > 0.01).sum())
    assert active_units(*sums(mu.double())) == expected == 2


def test_active_units_statistics_add_up():
    mu = torch.randn(90, 6).double() * torch.logspace(-2, 0, 6)
    parts = [sums(part) for part in mu.split(20)]
    assert active_units(*(sum(values) for values in zip(*parts))) == active_units(*sums(mu))


def test_one_sentence_has_no_active_unit():
    assert active_units(torch.ones(3), torch.ones(3), 1) == 0


def naive_mutual_information(mu, logvar, noise):
    sigma = torch.exp(0.5 * logvar)
    z = mu + sigma * noise
    own = Independent(Normal(mu, sigma), 1).log_prob(z)
    table = Normal(mu[None], sigma[None]).log_prob(z[:, None]).sum(-1)  # N x N
    return (own - (torch.logsumexp(table, 1) - math.log(len(mu)))).mean().item()


def test_mutual_information_equals_the_definition_whatever_the_chunk():
    mu, logvar, noise = torch.randn(3, 40, 5, dtype=torch.float64)
    expected = naive_mutual_information(mu, logvar, noise)
    for chunk in (7, 1000):
        assert mutual_information(mu, logvar, noise, chunk) == pytest.approx(expected, abs=1e-9)


def test_mutual_information_of_far_apart_posteriors_is_the_cap():
    mu = torch.eye(16) * 1000
    assert mutual_information(mu, torch.zeros(16, 16), torch.randn(16, 16)) == pytest.approx(math.log(16))


def test_mutual_information_of_a_collapsed_posterior_is_zero():
    mu, logvar = torch.randn(2, 1, 3).expand(2, 50, 3)
    assert mutual_information(mu, logvar, torch.randn(50, 3)) == pytest.approx(0, abs=1e-9)


def test_mutual_information_has_the_textbooks_expectation():
    """The first term in closed form, as in the papers, averages to the same."""
    mu, logvar = torch.randn(2, 30, 3, dtype=torch.float64)
    noises = torch.randn(200, 30, 3, dtype=torch.float64)
    negative_entropy = -Independent(Normal(mu, torch.exp(0.5 * logvar)), 1).entropy()
    correction = [
        (negative_entropy + 0.5 * (noise.square() + logvar + math.log(2 * math.pi)).sum(1)).mean() for noise in noises
    ]
    paired = torch.tensor([mutual_information(mu, logvar, noise) for noise in noises])
    closed = paired + torch.tensor(correction)
    assert paired.mean().item() == pytest.approx(closed.mean().item(), abs=0.05)
