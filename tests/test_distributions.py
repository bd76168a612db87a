"""Distributions of z against torch.distributions, and rates in closed form against their estimates by samples."""

from typing import NamedTuple

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from fairseq_vae.latent.distributions import Gaussian, as_double, expanded, log_ratio, rate, rows

B, Z = 4, 3


def gaussian(dtype=torch.float64, size=B):
    return Gaussian(torch.randn(size, Z, dtype=dtype), torch.randn(size, Z, dtype=dtype))


def as_normal(p):
    return Normal(p.mu, torch.exp(0.5 * p.logvar))


class Opaque(NamedTuple):
    """A Gaussian that is none for `isinstance`: it has no closed forms."""

    mu: torch.Tensor
    logvar: torch.Tensor
    mean = property(lambda self: self.mu)

    def rsample(self, eps=None):
        return Gaussian(*self).rsample(eps)

    def log_prob(self, z):
        return Gaussian(*self).log_prob(z)


def test_kl_from_the_standard_normal_equals_torch_distributions():
    p = gaussian()
    standard = Normal(torch.zeros_like(p.mu), torch.ones_like(p.mu))
    torch.testing.assert_close(p.kl(), kl_divergence(as_normal(p), standard))


def test_kl_of_two_gaussians_equals_torch_distributions():
    p, other = gaussian(), gaussian()
    torch.testing.assert_close(p.kl(other), kl_divergence(as_normal(p), as_normal(other)))
    one = rows(other, 2)
    torch.testing.assert_close(p.kl(one), kl_divergence(as_normal(p), as_normal(one)))


def test_kl_of_equals_is_exactly_zero():
    assert Gaussian.standard(torch.ones(B, Z)).kl().eq(0).all()
    p = gaussian()
    assert p.kl(p).eq(0).all()


def test_kl_is_never_negative_near_the_prior():
    assert (Gaussian(torch.zeros(100), torch.linspace(-1e-3, 1e-3, 100)).kl() >= 0).all()


def test_log_prob_equals_torch_distributions_and_broadcasts():
    p, z = gaussian(), torch.randn(B, Z, dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), Independent(as_normal(p), 1).log_prob(z))
    table = p.log_prob(z[:, None])  # B x B
    for i in range(B):
        torch.testing.assert_close(table[i], p.log_prob(z[i].expand(B, Z)))


def test_rsample_is_affine_in_eps_and_has_the_moments():
    p = gaussian()
    torch.testing.assert_close(p.rsample(torch.zeros(B, Z)), p.mu)
    torch.testing.assert_close(p.rsample(torch.ones(B, Z)) - p.mu, torch.exp(0.5 * p.logvar))
    many = Gaussian(torch.full((100_000, 1), 2.0), torch.full((100_000, 1), -1.0)).rsample()
    assert many.mean().item() == pytest.approx(2.0, abs=0.01)
    assert many.var().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.02)


def test_the_rate_is_in_closed_form_for_gaussians_alone():
    p, prior = gaussian(), Gaussian.standard(torch.zeros(Z, dtype=torch.float64))
    z = p.rsample(torch.randn(B, Z))
    assert rate(p, prior, z).equal(p.kl(prior)) and rate(p, prior, z).shape == (B, Z)
    for pair in ((Opaque(*p), prior), (p, Opaque(*prior))):
        sampled = rate(*pair, z)
        assert sampled.shape == (B, 1)
        torch.testing.assert_close(sampled[:, 0], p.log_prob(z) - prior.log_prob(z))


def test_the_sampled_rate_is_an_unbiased_estimate_of_the_closed_form():
    p, prior = gaussian(size=1), Gaussian(torch.randn(Z).double(), torch.randn(Z).double())
    many = expanded(rows(p, 0), 40_000)
    sampled = rate(Opaque(*many), prior, many.rsample(torch.randn(40_000, Z)))
    assert sampled.mean().item() == pytest.approx(p.kl(prior).sum().item(), abs=4 * sampled.std().item() / 200)


def test_the_log_ratio_is_the_difference_of_log_densities():
    p, prior = gaussian(), gaussian()
    eps = torch.randn(B, Z, dtype=torch.float64)
    z = p.rsample(eps)
    expected = prior.log_prob(z) - p.log_prob(z)
    torch.testing.assert_close(log_ratio(p, prior, z, eps), expected)
    assert log_ratio(Opaque(*p), prior, z, eps).equal(expected)


def test_rows_and_precision_are_of_every_tensor():
    p = gaussian(torch.float32)
    part = rows(p, [2, 0])
    assert part.mu.equal(p.mu[[2, 0]]) and part.logvar.equal(p.logvar[[2, 0]])
    one = rows(p, 1)
    assert rows(one, [2, 0]) is one, "a distribution for all sentences"
    assert expanded(one, 5).mu.equal(one.mu.expand(5, Z)) and expanded(p, 5) is p
    assert as_double(p).logvar.dtype == torch.float64


def test_rows_of_numbers_are_the_distribution():
    p = gaussian()
    back = Gaussian.from_rows(p.to_rows())
    assert back.mu.equal(p.mu) and back.logvar.equal(p.logvar)
