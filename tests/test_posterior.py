"""Laws of every registered posterior."""

import itertools

import pytest
import torch

from fairseq_vae.latent.blocks import least_vectors
from fairseq_vae.latent.pooling import build_pooling, poolings
from fairseq_vae.latent.posterior import LOGVAR_BOUND, posteriors

B, T, C, Z = 4, 7, 8, 3

every_posterior = pytest.mark.parametrize("name", posteriors.names())


def head(name="diagonal", pooling=None, vectors=None):
    torch.manual_seed(1)
    vectors = vectors or least_vectors(posteriors, name)
    pooling = pooling or ("mean" if vectors == 1 else "attention")
    return posteriors[name](C, Z * vectors, build_pooling(pooling, C, vectors=vectors), posteriors.config(name, None))


def test_log_variance_is_bounded_smoothly():
    built = head().double()
    mask = torch.zeros(B, T, dtype=torch.bool)
    small = built(torch.randn(T, B, C) * 1e-3, mask).logvar
    torch.testing.assert_close(small, built.logvar.bias.float().expand(B, Z), atol=5e-3, rtol=1e-2)
    assert built(torch.randn(T, B, C) * 1e6, mask).logvar.abs().max() <= LOGVAR_BOUND


@every_posterior
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_is_float32_in_half_precision(name, dtype):
    built = head(name, "attention").to(dtype)
    hidden, mask = torch.randn(T, B, C).to(dtype), torch.zeros(B, T, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        p = built(hidden, mask)
    assert {part.dtype for part in p if torch.is_tensor(part)} == {torch.float32}
    for part, full in zip(p, built.float()(hidden.float(), mask)):
        if torch.is_tensor(part):
            torch.testing.assert_close(part, full, check_dtype=False)


@pytest.mark.parametrize(
    "name, pooling",
    [
        (name, pooling)
        for name, pooling in itertools.product(posteriors.names(), poolings.names())
        if poolings[pooling].several or least_vectors(posteriors, name) == 1
    ],
)
def test_every_parameter_gets_a_gradient_and_rows_are_apart(name, pooling):
    built, hidden, mask = head(name, pooling), torch.randn(T, B, C), torch.zeros(B, T, dtype=torch.bool)
    p = built(hidden, mask)
    p.log_prob(p.rsample(torch.randn(B, built.eps_dim)).detach() + 1).sum().backward()
    assert all(parameter.grad is not None for parameter in built.parameters())
    z = torch.randn(1, p.mean.size(1))
    alone = built.eval()(hidden[:, 2:3], mask[2:3])
    torch.testing.assert_close(built(hidden, mask).log_prob(z)[2], alone.log_prob(z)[0])


@pytest.mark.parametrize("pooling", poolings.names())
def test_checkpoints_have_the_poolings_weights_without_a_prefix(pooling):
    built = head(pooling=pooling)
    for parameter in built.pooling.parameters():
        parameter.data.normal_()
    state = built.state_dict()
    own = [name for name, _ in built.pooling.named_parameters()]
    assert set(own) <= set(state) and not any(key.startswith("pooling.") for key in state)
    again = head(pooling=pooling)
    again.load_state_dict(state)
    assert all(again.state_dict()[key].equal(value) for key, value in state.items())


@every_posterior
def test_samples_have_its_density(name):
    """The mean over samples of density(moved sample) / density is 1."""
    built = head(name).double()
    with torch.no_grad():
        p = built(torch.randn(T, 1, C).double(), torch.zeros(1, T, dtype=torch.bool))
        eps = torch.randn(100_000, built.eps_dim, generator=torch.Generator().manual_seed(3)).double()
        z = p.rsample(eps)
        weights = (p.log_prob(z + 0.1) - p.log_prob(z)).exp()
    assert weights.mean().item() == pytest.approx(1, abs=5 * weights.std().item() / 316)
