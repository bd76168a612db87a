"""Laws of every registered posterior."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from helpers import moved

from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.blocks import least_vectors
from fairseq_vae.latent.distributions import Gaussian, has_closed_form, rate
from fairseq_vae.latent.pooling import build_pooling, poolings
from fairseq_vae.latent.posterior import LOGVAR_BOUND, committed_rate, posteriors

B, T, C, Z = 4, 7, 8, 3

every_posterior = pytest.mark.parametrize("name", posteriors.names())


def head(name="diagonal", pooling=None, dim=None, vectors=None, **flags):
    """A posterior of so many dimensions in all; of Z for each of as many vectors as it needs."""
    torch.manual_seed(1)
    vectors = vectors or least_vectors(posteriors, name)
    pool = build_pooling(pooling or ("mean" if vectors == 1 else "attention"), C, vectors=vectors)
    return posteriors[name](C, dim or Z * vectors, pool, posteriors.config(name, SimpleNamespace(**flags)))


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


@every_posterior
@pytest.mark.parametrize("left", [False, True])
def test_padding_and_the_others_of_a_batch_change_nothing(name, left):
    """Of densities, samples and mean, whatever stands where there is padding."""
    built, padding = moved(head(name), 0.3).eval(), 10 * torch.randn(3, B, C)
    hidden, mask, more = torch.randn(T, B, C), torch.zeros(B, T, dtype=torch.bool), torch.ones(B, 3, dtype=torch.bool)
    order = slice(None, None, -1 if left else 1)
    parts = (hidden, padding)[order], (mask, more)[order]
    with torch.no_grad():
        wide = built(torch.cat(parts[0]), torch.cat(parts[1], dim=1))
        z, eps = torch.randn(B, wide.mean.size(1)), torch.randn(B, built.eps_dim)
        for row in range(B):
            one = slice(row, row + 1)
            alone = built(hidden[:, one], mask[one])
            torch.testing.assert_close(wide.mean[one], alone.mean)
            torch.testing.assert_close(wide.rsample(eps)[one], alone.rsample(eps[one]))
            torch.testing.assert_close(wide.log_prob(z)[one], alone.log_prob(z[one]))


@pytest.mark.parametrize("name", ["diagonal", "full"])
def test_a_vectors_block_is_made_of_its_own_pooled_states(name):
    """Mean, samples and density of a block: those of a sum of blocks, each of which one vector decides."""
    built = moved(head(name, "attention", dim=3 * Z, vectors=3), 0.3).eval()
    pooled = torch.randn(B, 3, C)
    built.pooling.forward = lambda hidden, mask: pooled
    eps, mask = torch.randn(B, built.eps_dim), torch.zeros(B, T, dtype=torch.bool)
    with torch.no_grad():
        before = built(torch.zeros(T, B, C), mask)
        for vector in range(3):
            pooled = pooled.clone()
            pooled[:, vector] += 1
            after = built(torch.zeros(T, B, C), mask)
            for one, other in ((before.mean, after.mean), (before.rsample(eps), after.rsample(eps))):
                same = (one - other).view(B, 3, Z).abs().amax((0, 2)) < 1e-6
                assert same.tolist() == [place != vector for place in range(3)]
            before = after


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
        eps = torch.randn(20_000, built.eps_dim, generator=torch.Generator().manual_seed(3)).double()
        z = p.rsample(eps)
        weights = (p.log_prob(z + 0.1) - p.log_prob(z)).exp()
    assert weights.mean().item() == pytest.approx(1, abs=5 * weights.std().item() / math.sqrt(20_000))


@every_posterior
def test_it_starts_as_the_diagonal_posterior(name):
    """With the same maps to mu and logvar: the same samples, densities and rate."""
    plain, built = head(vectors=least_vectors(posteriors, name)), head(name)
    built.reset_parameters()
    built.load_state_dict(plain.state_dict(), strict=False)
    hidden, mask = torch.randn(T, B, C), torch.zeros(B, T, dtype=torch.bool)
    expected, found = plain(hidden, mask), built(hidden, mask)
    size = expected.mean.size(1)
    eps, z, standard = torch.randn(B, size), torch.randn(B, size), Gaussian.standard(torch.zeros(size))
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.mean, expected.mean, **close)
    torch.testing.assert_close(found.rsample(eps), expected.rsample(eps), **close)
    torch.testing.assert_close(found.log_prob(z), expected.log_prob(z), **close)
    if has_closed_form(found, standard):
        torch.testing.assert_close(rate(found, standard, z).sum(1), expected.kl().sum(1), **close)


@every_posterior
def test_its_rate_is_the_mean_of_log_q_less_log_p(name):
    built, size = head(name), 20_000
    p = built(torch.randn(T, 1, C), torch.zeros(1, T, dtype=torch.bool))
    standard = Gaussian.standard(torch.zeros_like(p.mean[0]))
    with torch.no_grad():
        z = p.rsample(torch.randn(size, built.eps_dim, generator=torch.Generator().manual_seed(3)))
        sampled = p.log_prob(z) - standard.log_prob(z)
        others = p.rsample(torch.randn(size, built.eps_dim, generator=torch.Generator().manual_seed(4)))
        known = rate(p, standard, others).sum(1).expand(size)  # of each z where it has no closed form
    spread = math.sqrt((sampled.var().item() + known.var().item()) / size)
    assert sampled.mean().item() == pytest.approx(known.mean().item(), abs=4 * spread)
    assert sampled.mean() > 0


def bounded():
    """The posteriors with --posterior-max-variance."""
    has = {name: {field.name for field in dataclasses.fields(posteriors.configs[name])} for name in posteriors.names()}
    return [name for name in has if "posterior_max_variance" in has[name]]


@pytest.mark.parametrize("name", bounded())
@pytest.mark.parametrize("most", [0.05, 0.5, 0.99])
def test_a_bounded_variance_commits_every_sentence_to_a_rate(name, most):
    """Also where all weights and states drive the variance up and mu to 0."""
    built = head(name, posterior_max_variance=most)
    mask = torch.zeros(B, T, dtype=torch.bool)
    built.mu.weight.data.zero_()
    built.mu.bias.data.zero_()
    for scale, bias in [(1.0, 0.0), (1e3, 0.0), (1e6, 0.0), (1.0, -1e6), (1.0, 1e6)]:
        built.logvar.bias.data.fill_(bias)
        p = built(scale * torch.randn(T, B, C), mask)
        sentences = rate(p, Gaussian.standard(torch.zeros(Z)), p.mean).sum(1)
        assert (sentences >= Z * committed_rate(most)).all()
        if name == "full":  # given the dimensions before
            assert (p.tril.diagonal(0, -2, -1) ** 2 < most).all()
        else:
            assert (p.variance < most).all()
    if name == "diagonal":  # the bound is no higher than it need be
        assert sentences.max().item() == pytest.approx(Z * committed_rate(most), abs=1e-3)


@pytest.mark.parametrize("name", bounded())
def test_a_bound_of_the_variance_is_the_formula_and_off_by_default(name):
    hidden, mask = torch.randn(T, B, C), torch.zeros(B, T, dtype=torch.bool)
    plain, off, on = (
        head(name, **flags)(hidden, mask) for flags in ({}, *({"posterior_max_variance": s} for s in (0.0, 0.3)))
    )
    assert all(mine.equal(theirs) for mine, theirs in zip(plain, off))
    if name == "diagonal":
        torch.testing.assert_close(1 / on.variance, 1 / plain.variance + 1 / 0.3)
    assert (
        on.mean.equal(plain.mean)
        and head(name).state_dict().keys() == head(name, posterior_max_variance=0.3).state_dict().keys()
    )


@pytest.mark.parametrize("name", bounded())
@pytest.mark.parametrize("most", [-0.1, 1.0, 2.0, math.nan])
def test_a_bound_that_commits_to_nothing_is_refused(name, most):
    with pytest.raises(InputError, match=f"--posterior-max-variance {most}: expected 0 .* or a number between 0 and 1"):
        head(name, posterior_max_variance=most)


def test_the_committed_rate_is_said_once(caplog):
    caplog.set_level("INFO")
    head(posterior_max_variance=0.5)
    [line] = [record.getMessage() for record in caplog.records]
    assert line.endswith("a committed rate of 0.2897 nats per sentence: it may say nothing (mu = 0): watch nll_gap")
