"""A linear-Gaussian world: x = W z + noise, with log p(x) known under every prior.

Under each pair of a prior and a posterior, its parameters off their beginnings, the package's importance weights meet
log p(x) within their Monte Carlo error, and the bound misses it by the KL to the exact posterior. The plane of z is
summed over; under N(0, I) the sum is held against the closed form.
"""

import functools
import math
from types import SimpleNamespace

import pytest
import torch
from helpers import moved
from test_posterior import C, T, head
from test_prior import Z, made
from torch.distributions import MultivariateNormal

from fairseq_vae.latent.conditional import ConditionalPrior
from fairseq_vae.latent.context import Context
from fairseq_vae.latent.distributions import as_double, log_ratio, rate, rows
from fairseq_vae.latent.posterior import posteriors
from fairseq_vae.latent.prior import priors
from fairseq_vae.measure.estimators import Importance

WEIGHT = torch.tensor([[0.9, -0.4], [0.3, 0.8], [-0.5, 0.6]], dtype=torch.float64)
NOISE = 0.9
X = torch.tensor([[0.2, -0.5, 0.4], [0.9, 0.7, -0.2], [-0.3, -1.0, -0.8]], dtype=torch.float64)  # N x 3
STEP, SAMPLES = 0.125, 3000
KINKS = 5e-3  # nats, which the sum over the plane may be off where a spline's density has kinks
AXIS = torch.arange(-7, 7 + STEP / 2, STEP, dtype=torch.float64)
PLANE = torch.cartesian_prod(AXIS, AXIS)


def log_likelihood(z):
    """log p(x_i | z) of each z and each sentence."""
    square = (X - z.unsqueeze(-2) @ WEIGHT.T).square().sum(-1) / NOISE**2
    return -0.5 * (square + X.size(1) * math.log(2 * math.pi * NOISE**2))


def integral(log_values):
    """log of the integral over the plane."""
    return log_values.logsumexp(0) + 2 * math.log(STEP)


@functools.lru_cache(maxsize=None)
def prior_of(name):
    """The prior's distribution in float64, and of each sentence log p(x) and log p(x, z) over the plane."""
    with torch.no_grad():
        prior = as_double(moved(made(name), 0.05).requires_grad_(False)())
    joint = prior.log_prob(PLANE)[:, None] + log_likelihood(PLANE)
    return prior, integral(joint), joint


@functools.lru_cache(maxsize=None)
def posterior_of(name):
    """The posteriors of the sentences in float64, their draws, and log q over the plane."""
    built = head(name, dim=Z)
    built.reset_parameters()
    states = 0.5 * torch.randn(T, len(X), C, generator=torch.Generator().manual_seed(6))
    moved(built).requires_grad_(False)
    posterior = as_double(built(states, torch.zeros(len(X), T, dtype=torch.bool)))
    eps = torch.randn(SAMPLES * len(X), built.eps_dim, generator=torch.Generator().manual_seed(7))
    return posterior, eps, posterior.log_prob(PLANE[:, None])


def test_under_the_standard_normal_the_plane_has_the_closed_form():
    covariance = WEIGHT @ WEIGHT.T + NOISE**2 * torch.eye(3)
    expected = MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(X)
    torch.testing.assert_close(prior_of("standard")[1], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("posterior_name", posteriors.names())
@pytest.mark.parametrize("prior_name", priors.names())
def test_importance_weights_and_the_bound_meet_the_likelihood(prior_name, posterior_name):
    prior, likelihood, joint = prior_of(prior_name)
    posterior, eps, density = posterior_of(posterior_name)
    torch.testing.assert_close(integral(density), torch.zeros(len(X)).double(), rtol=0, atol=KINKS)
    places = list(range(len(X))) * SAMPLES
    own = rows(posterior, places)
    z = own.rsample(eps)
    ratio, nll = log_ratio(own, prior, z, eps), -log_likelihood(z)[range(len(places)), places]
    sums = Importance(len(X))
    sums.add(places, nll, ratio - nll)
    error = (1 / sums.effective - 1 / SAMPLES).sqrt()  # of the log of the mean weight
    assert error.max() < 0.1, "too few samples to tell anything"
    assert ((sums.nll_iw + likelihood).abs() < 4 * error + KINKS).all()

    each = (rate(own, prior, z).sum(1) + nll).view(SAMPLES, len(X))
    bound, error = each.mean(0), each.std(0) / math.sqrt(SAMPLES)
    gap = (density.exp() * (density - joint + likelihood)).sum(0) * STEP**2  # KL(q || the exact posterior)
    assert (gap > 0).all()
    assert ((bound + likelihood - gap).abs() < 4 * error + KINKS).all()
    assert (bound > -likelihood - 4 * error).all()


@pytest.mark.parametrize("posterior_name", posteriors.names())
def test_given_sources_each_of_which_has_its_prior_they_meet_the_closed_form(posterior_name):
    """y = W z + B h + noise, z of what the prior network makes of h, the pooled source: log p(y|x) is known."""
    generator = torch.Generator().manual_seed(8)
    pooled, to_y = (torch.randn(3, 4, generator=generator) for _ in range(2))
    network = ConditionalPrior(Z)
    network.connect(SimpleNamespace(conditional=True, embed_tokens=torch.nn.Embedding(9, 4)))
    network.reset_parameters()
    moved(network, 0.4).requires_grad_(False)
    prior = as_double(network(Context(pooled[None], torch.zeros(len(X), 1, dtype=torch.bool), pooled)))
    assert prior.mu.std(0).min() > 0.05 and prior.logvar.std(0).min() > 0.05, "every source has the same prior"
    shift = 0.5 * pooled.double() @ to_y.double().T  # N x 3
    covariance = WEIGHT @ torch.diag_embed(prior.variance) @ WEIGHT.T + NOISE**2 * torch.eye(3)
    likelihood = MultivariateNormal(prior.mu @ WEIGHT.T + shift, covariance).log_prob(X)
    posterior, eps, _ = posterior_of(posterior_name)
    places = list(range(len(X))) * SAMPLES
    own = rows(posterior, places)
    z = own.rsample(eps)
    square = (X[places] - shift[places] - z @ WEIGHT.T).square().sum(-1) / NOISE**2
    nll = 0.5 * (square + X.size(1) * math.log(2 * math.pi * NOISE**2))
    sums = Importance(len(X))
    sums.add(places, nll, log_ratio(own, rows(prior, places), z, eps) - nll)
    error = (1 / sums.effective - 1 / SAMPLES).sqrt()
    assert error.max() < 0.15, "too few samples to tell anything"
    assert ((sums.nll_iw + likelihood).abs() < 4 * error).all()
    bound = (rate(own, rows(prior, places), z).sum(1) + nll).view(SAMPLES, len(X))
    assert (bound.mean(0) > -likelihood - 4 * bound.std(0) / math.sqrt(SAMPLES)).all()
