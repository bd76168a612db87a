"""Laws of every registered prior, and of every kind that is fitted after training."""

import math

import pytest
import torch
from helpers import choosing, model, moved

from fairseq_vae.latent.blocks import least_vectors
from fairseq_vae.latent.context import Context
from fairseq_vae.latent.distributions import rows
from fairseq_vae.latent.fitted import KINDS
from fairseq_vae.latent.prior import StandardNormal, priors

Z = 2

NAMES = [*priors.names(), *(f"fitted {kind}" for kind in KINDS)]
every_prior = pytest.mark.parametrize("name", NAMES)
# as it begins, and after some learning: a constant that is right at the beginning alone makes every figure wrong later
LATER = [(name, scale) for name in NAMES for scale in (0.0, 0.1 if "flow" in name else 0.3)]
as_it_begins_and_later = pytest.mark.parametrize("name, scale", LATER)
MAPPED = (
    "flow",
    "fitted flow",
    "layer-wise",
)  # whose mean is that of their draws, mapped: once they learn, not z's own
TRILS = torch.tensor([[[1.0, 0.0], [0.5, 0.7]], [[0.6, 0.0], [-0.8, 1.2]]])
FITTED = {
    "gaussian": {"mu": torch.tensor([0.5, -1.0]), "tril": TRILS[0]},
    "mixture": {
        "logits": torch.tensor([0.3, 0.7]).log(),
        "mus": torch.tensor([[-2.0, 1.0], [1.0, 0.0]]),
        "trils": TRILS,
    },
    "flow": {"mu": torch.tensor([0.5, -1.0]), "tril": TRILS[0]},
}


def made(name, scale=0.0):
    torch.manual_seed(1)
    if name.startswith("fitted "):
        kind = name.split()[1]
        return moved(KINDS[kind](FITTED[kind]), scale)
    prior = moved(model(**choosing(priors, name, latent_dim=Z // least_vectors(priors, name))).encoder.prior, scale)
    if prior.conditional:  # then of one source
        states = torch.randn(3, 1, prior.hidden.in_features)
        context, forward = Context(states, torch.zeros(1, 3, dtype=torch.bool), states.mean(0)), prior.forward
        prior.forward = lambda: rows(forward(context), 0)
    return prior


def draws(prior, size):
    return torch.randn(size, prior.eps_dim, generator=torch.Generator().manual_seed(2))


@as_it_begins_and_later
def test_its_density_integrates_to_one(name, scale):
    axis = torch.linspace(-12, 12, 601)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = made(name, scale)().log_prob(grid).double().exp()
    assert density.sum().item() * (24 / 600) ** 2 == pytest.approx(1, abs=1e-3)


@as_it_begins_and_later
def test_its_samples_have_its_density(name, scale):
    """The mean over samples of 1 / density within a box is the box's area."""
    prior = made(name, scale)
    with torch.no_grad():
        z = prior().rsample(draws(prior, 50_000))
        inside = (z.abs() < 1).all(1)
        weights = (-prior().log_prob(z)).exp() * inside
    assert z.shape == (50_000, Z)
    assert weights.mean().item() == pytest.approx(4, abs=5 * weights.std().item() / math.sqrt(50_000))


@pytest.mark.parametrize("name, scale", [(name, scale) for name, scale in LATER if not (scale and name in MAPPED)])
def test_its_mean_is_its_samples_mean(name, scale):
    prior = made(name, scale)
    with torch.no_grad():
        z, mean = prior().rsample(draws(prior, 100_000)), prior().mean
    assert (z.mean(0) - mean).abs().max() < 5 * z.std(0).max() / math.sqrt(100_000)


@every_prior
def test_samples_are_differentiable_and_gradients_reach_every_parameter(name):
    prior = made(name)
    eps = draws(prior, 8).requires_grad_()
    prior().rsample(eps).sum().backward()
    assert eps.grad is not None
    prior.zero_grad()
    (-prior().log_prob(torch.randn(8, Z)).sum()).backward() if list(prior.parameters()) else None
    assert all(parameter.grad is not None for parameter in prior.parameters())


@every_prior
def test_it_is_in_float32_whatever_the_precision_and_survives_a_checkpoint(name):
    prior = made(name)
    z = torch.randn(5, Z)
    before = prior().log_prob(z)
    assert prior.half()().log_prob(z).dtype == torch.float32
    again = made(name)
    again.load_state_dict(made(name).state_dict())
    torch.testing.assert_close(again().log_prob(z), before)
    assert prior.signature and "|" not in prior.signature, "the evaluation's signature is cut at |"


def test_the_standard_normal_is_in_no_checkpoint():
    assert not StandardNormal(Z).state_dict()
