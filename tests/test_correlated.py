"""Gaussians with full covariances against torch.distributions, and flows against autograd."""

import sys

import pytest
import torch
from test_posterior import head
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from fairseq_vae.base.errors import InputError
from fairseq_vae.fit import fit_prior
from fairseq_vae.latent.correlated import FlowedGaussian
from fairseq_vae.latent.distributions import BlockGaussian, Gaussian, expanded, has_closed_form, rate, rows
from fairseq_vae.latent.flows import SplineFlow
from fairseq_vae.latent.learned import FlowPrior
from fairseq_vae.measure.metrics import information_each, mutual_information

B, Z, H = 5, 6, 4
blocks = pytest.mark.parametrize("vectors", [1, 2, 3, Z])


def block_gaussian(vectors=1, size=B):
    tril = torch.randn(size, vectors, Z // vectors, Z // vectors, dtype=torch.float64).tril(-1)
    tril = tril + torch.diag_embed(torch.rand(size, vectors, Z // vectors, dtype=torch.float64) + 0.2)
    return BlockGaussian(torch.randn(size, Z, dtype=torch.float64), tril)


def as_torchs(p):
    return MultivariateNormal(p.mu, scale_tril=torch.stack([torch.block_diag(*one) for one in p.tril]))


def flow(features=3, passes=2, transforms=2):
    torch.manual_seed(2)
    return SplineFlow(features, transforms, 8, H, passes)


@blocks
def test_density_and_samples_are_torchs(vectors):
    p, z = block_gaussian(vectors), torch.randn(7, 1, Z, dtype=torch.float64)
    theirs = as_torchs(p)
    torch.testing.assert_close(p.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(p.log_prob(z[0]), theirs.log_prob(z[0]))
    torch.testing.assert_close(p.log_prob(z[:5, 0]), theirs.log_prob(z[:5, 0]))
    eps = torch.randn(B, Z, dtype=torch.float64)
    expected = p.mu + (theirs.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(p.rsample(eps), expected)
    assert p.mean is p.mu and p.rsample().shape == (B, Z)


@blocks
def test_the_kl_of_each_vector_is_torchs(vectors):
    p = block_gaussian(vectors)
    for prior in (
        Gaussian(torch.randn(Z).double(), torch.randn(Z).double()),
        Gaussian(torch.randn(B, Z).double(), torch.randn(B, Z).double()),
    ):
        found = rate(p, prior, p.mean)
        assert has_closed_form(p, prior) and found.shape == (B, vectors)
        other = MultivariateNormal(prior.mu, torch.diag_embed(prior.variance))
        torch.testing.assert_close(found.sum(1), kl_divergence(as_torchs(p), other).expand(B))
        part = slice(0, Z // vectors)  # the first vector alone
        first = BlockGaussian(p.mu[:, part], p.tril[:, :1])
        torch.testing.assert_close(first.kl(Gaussian(prior.mu[..., part], prior.logvar[..., part]))[:, 0], found[:, 0])
    torch.testing.assert_close(p.kl(), p.kl(Gaussian.standard(torch.zeros(Z).double())))


@blocks
def test_without_entries_below_the_diagonal_it_is_the_diagonal_gaussian(vectors):
    plain = Gaussian(torch.randn(B, Z, dtype=torch.float64), torch.randn(B, Z, dtype=torch.float64))
    p = BlockGaussian(plain.mu, torch.diag_embed(torch.exp(0.5 * plain.logvar).unflatten(-1, (vectors, -1))))
    prior, eps = Gaussian(torch.randn(Z).double(), torch.randn(Z).double()), torch.randn(B, Z)
    torch.testing.assert_close(p.kl(prior).sum(1), plain.kl(prior).sum(1))
    torch.testing.assert_close(p.rsample(eps), plain.rsample(eps))
    for chunk in (2, 1024):
        torch.testing.assert_close(information_each(p, eps, chunk), information_each(plain, eps))


@blocks
def test_rows_of_numbers_are_the_distribution_whatever_its_vectors(vectors):
    p = block_gaussian(vectors)
    back = BlockGaussian.from_rows(p.to_rows())
    assert back.mu.equal(p.mu) and back.tril.equal(p.tril)
    assert len(BlockGaussian.from_rows(rows(p, []).to_rows()).mean) == 0
    eps = torch.randn(B, Z)
    assert mutual_information(BlockGaussian.from_rows(p.to_rows()), eps) == mutual_information(p, eps)


def test_one_row_for_all_sentences_is_expanded():
    p = block_gaussian(2, size=1)
    one = BlockGaussian(p.mu[0], p.tril[0])
    z = torch.randn(B, Z, dtype=torch.float64)
    torch.testing.assert_close(one.log_prob(z), p.log_prob(z))
    torch.testing.assert_close(expanded(one, B).log_prob(z), p.log_prob(z))


def test_a_covariance_needs_two_dimensions():
    with pytest.raises(InputError, match="--latent-posterior full: --latent-dim 1 has no covariance"):
        head("full", dim=1)


@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("passes", [0, 2])
def test_the_inverse_of_a_flow_is_its_inverse_and_its_volume_autograds(features, passes):
    f, u = flow(features, passes).double(), 1.5 * torch.randn(4, features, dtype=torch.float64)
    context = torch.randn(4, H, dtype=torch.float64)
    with torch.no_grad():
        z = f.to_z(u, context)
    assert (z - u).abs().max() > 1e-3, "not the identity"
    back, volume = f.to_draws(z, context)
    torch.testing.assert_close(back, u, rtol=1e-6, atol=1e-6)
    for row in range(4):
        slope = torch.autograd.functional.jacobian(lambda x, row=row: f.to_draws(x, context[row])[0], z[row])
        torch.testing.assert_close(slope.slogdet()[1], volume[row], rtol=1e-6, atol=1e-6)


def test_a_flow_is_exact_whatever_its_weights_precision_and_keeps_weights_alone():
    f, u, context = flow(), torch.randn(4, 3, dtype=torch.float64), torch.randn(4, H, dtype=torch.float64)
    assert {value.dtype for value in f.state_dict().values()} == {torch.float32}, "no masks, no orders"
    half = flow().to(torch.bfloat16)
    rounded = flow()
    rounded.load_state_dict({name: value.to(torch.bfloat16) for name, value in f.state_dict().items()})
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, expected = half.to_z(u, context), rounded.double().to_z(u, context)
        assert found.equal(expected) and found.dtype == torch.float64
        assert half.to_draws(u.float(), context.float())[1].dtype == torch.float32
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}, "as before"


def test_a_flow_far_out_is_the_identity():
    u = torch.tensor([[9.0, -7.0, 30.0]])
    z = flow().to_z(u, torch.randn(1, H))
    assert z.equal(u)


def test_a_flowed_gaussian_under_a_neutral_flow_is_torchs():
    f = flow()
    f.reset_parameters()
    mu, logvar = torch.randn(4, 3), torch.randn(4, 3)
    p, z = FlowedGaussian(mu, mu, logvar, torch.randn(4, H), f), torch.randn(6, 1, 3)
    expected = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1).log_prob(z)
    torch.testing.assert_close(p.log_prob(z), expected, rtol=1e-4, atol=1e-4)
    assert not has_closed_form(p, Gaussian.standard(mu[0])) and not hasattr(p, "to_rows")
    assert rows(p, [2, 0]).log_prob(z[:2, 0]).shape == (2,)


@pytest.mark.parametrize("flag, value, least", [("transforms", 0, 1), ("hidden", 0, 1), ("passes", -1, 0)])
def test_bad_flags_of_the_flow_are_refused(flag, value, least):
    with pytest.raises(InputError, match=f"--posterior-flow-{flag} {value}: expected {least} or more"):
        head("flow", **{f"posterior_flow_{flag}": value})


def test_more_passes_of_a_flow_than_dimensions_are_refused_and_as_many_are_autoregressive():
    with pytest.raises(InputError, match="^--posterior-flow-passes 4: expected at most 3, the dimensions of z; 0 is "):
        head("flow", posterior_flow_passes=4)
    one, other = (head("flow", posterior_flow_passes=passes) for passes in (0, 3))
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            parameter.normal_()
            other.get_parameter(name).copy_(parameter)
    states, mask = torch.randn(4, 2, 8), torch.zeros(2, 4, dtype=torch.bool)
    torch.testing.assert_close(one(states, mask).mean, other(states, mask).mean)
    assert head("flow", dim=1).groups.shape == (1,), "the default suits one dimension"


def test_with_one_pass_a_flow_gives_no_dimension_another():
    f, z, context = flow(passes=1), torch.randn(3, dtype=torch.float64), torch.randn(H, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(lambda x: f.to_draws(x, context)[0], z)
    assert slope.equal(slope.diagonal().diag()) and (slope.diagonal() - 1).abs().min() > 1e-4


@pytest.mark.parametrize(
    "build",
    [lambda: head("flow"), lambda: FlowPrior(3), lambda: fit_prior("no model yet", "no data", "flow", "fitted.pt")],
    ids=["posterior", "prior", "fitted"],
)
def test_without_zuko_one_line_says_so(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(InputError, match="^a flow needs zuko, and torch 2: pip install zuko$"):
        build()
