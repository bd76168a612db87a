"""Layer-wise latents: the chain of conditionals, its rate, and the models that it begins as."""

import math

import pytest
import torch
from helpers import SENTENCES, batch, criterion, model
from torch.distributions import Normal, kl_divergence

from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.distributions import Gaussian, as_double, expanded, log_ratio, rate, rows
from fairseq_vae.latent.layerwise import Chain, LayerWise
from fairseq_vae.latent.posterior import LOGVAR_BOUND
from fairseq_vae.measure.metrics import information_each
from fairseq_vae.measure.scoring import joined

B, K, D = 5, 3, 2
Z = K * D
LAYERED = {"latent_vectors": 2, "latent_dim": 3, "latent_pooling": "attention"}


def layered(*shape, vectors=K, scale=1.0, seed=0):
    """A distribution of B sentences, or of one shape for all, whose vectors depend on those below, in float64."""
    torch.manual_seed(seed)
    chain = Chain(shape[-1], vectors).double()
    for parameter in chain.parameters():
        torch.nn.init.normal_(parameter, std=scale * parameter.size(-1) ** -0.5)
    return LayerWise.of(torch.randn(shape).double(), torch.randn(shape).double(), chain)


def conditional(p, row, k, below):
    """The distribution of vector k of a sentence given the vectors below, step by step, as Normal."""
    chain, own = p.chain, slice(k * D, (k + 1) * D)
    h, z = torch.zeros(chain.size).double(), torch.zeros(D).double()
    for step in range(k + 1):
        h = torch.tanh(chain.state.weight @ h + chain.below.weight @ z + chain.below.bias)
        z = below[step] if step < k else None
    mu = p.mu[row, own] + chain.mu.weight[own] @ h
    raw = p.raw[row, own] + chain.logvar.weight[own] @ h
    return Normal(mu, torch.exp(LOGVAR_BOUND * torch.tanh(raw / LOGVAR_BOUND) / 2))


def test_density_and_conditionals_are_those_written_out_vector_by_vector():
    p, z = layered(B, Z), torch.randn(B, Z).double()
    density, found = p.log_prob(z), p.conditionals(z)
    for row in range(B):
        parts = z[row].split(D)
        each = [conditional(p, row, k, parts[:k]) for k in range(K)]
        torch.testing.assert_close(density[row], sum(q.log_prob(part).sum() for q, part in zip(each, parts)))
        torch.testing.assert_close(found.mu[row], torch.cat([q.mean for q in each]))
        torch.testing.assert_close(found.logvar[row].exp(), torch.cat([q.variance for q in each]))
    assert (found.mu - p.mu)[:, D:].abs().min() > 1e-3, "the vectors depend on one another"


def test_samples_and_mean_are_those_written_out_vector_by_vector():
    p, eps = layered(B, Z), torch.randn(B, Z)
    for row in range(B):
        for found, draws in ((p.rsample(eps), eps[row].double().split(D)), (p.mean, torch.zeros(K, D).double())):
            parts = []
            for k in range(K):
                q = conditional(p, row, k, parts)
                parts.append(q.mean + q.stddev * draws[k])
            torch.testing.assert_close(found[row], torch.cat(parts))


def test_its_density_integrates_to_one_and_its_mean_is_the_integral_where_it_is_affine():
    axis = torch.linspace(-16, 16, 321).double()
    grid, cell = torch.cartesian_prod(axis, axis), 0.1**2
    p = layered(2, vectors=2)
    with torch.no_grad():
        assert p.log_prob(grid).exp().sum().item() * cell == pytest.approx(1, abs=1e-4)
        p.chain.logvar.weight.zero_()
        p.chain.below.bias.zero_()
        p.chain.below.weight.mul_(1e-4)  # where tanh is affine
        p.chain.mu.weight.mul_(1e4)
        affine = LayerWise.of(p.mu, p.raw, p.chain)
        density = affine.log_prob(grid).exp() * cell
    mean = density @ grid
    torch.testing.assert_close(affine.mean, mean, atol=1e-3, rtol=0)
    covariance = density @ (grid - mean).prod(1)
    assert abs(covariance) > 0.05, "the vectors depend on one another"


def test_a_table_has_every_pair():
    p, z = layered(B, Z), torch.randn(4, Z).double()
    table = p.log_prob(z[:, None])
    assert table.shape == (4, B)
    for i in range(4):
        torch.testing.assert_close(table[i], p.log_prob(z[i].expand(B, Z)))


def standard():
    return Gaussian.standard(torch.zeros(Z).double())


PAIRS = {
    "posterior alone": lambda: (layered(1, Z), standard()),
    "prior alone": lambda: (Gaussian(torch.randn(1, Z).double(), torch.randn(1, Z).double()), layered(Z, scale=0.5)),
    "both": lambda: (layered(1, Z), layered(Z, scale=0.5, seed=1)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_the_rate_of_each_dimension_is_unbiased_and_never_negative(pair):
    """Its mean over z is that of log q - log p, in less variance, and the first vector's is the closed form."""
    torch.manual_seed(2)
    one, prior = PAIRS[pair]()
    with torch.no_grad():
        size = 20_000
        many = rows(one, torch.zeros(size, dtype=torch.long))
        z = many.rsample(torch.randn(size, Z))
        found, ratio = rate(many, prior, z), many.log_prob(z) - prior.log_prob(z)
        assert found.shape == (size, Z) and found.min() >= 0
        error = (found.sum(1) - ratio).std().item() / math.sqrt(size)
        assert found.sum(1).mean().item() == pytest.approx(ratio.mean().item(), abs=4 * error)
        assert found.sum(1).var() < ratio.var()
        q, p = (Normal(c.mu[0, :D], (0.5 * c.logvar[0, :D]).exp()) for c in (many.conditionals(z), prior_of(prior, z)))
        torch.testing.assert_close(found[:, :D], kl_divergence(q, p).expand(size, D))
        eps = torch.randn(size, Z)
        z = many.rsample(eps)
        torch.testing.assert_close(log_ratio(many, prior, z, eps), prior.log_prob(z) - many.log_prob(z))


def prior_of(prior, z):
    return expanded(prior.conditionals(z), len(z))


def test_equals_have_a_rate_of_exactly_zero():
    p, z = layered(Z), torch.randn(B, Z).double()
    assert rate(expanded(p, B), p, z).eq(0).all()


def test_gaussians_are_their_own_conditionals():
    p, z = Gaussian(torch.randn(B, Z), torch.randn(B, Z)), torch.randn(B, Z)
    assert p.conditionals(z) is p and rate(p, standard(), z).equal(p.kl(standard()))


def test_rows_joins_and_precision_keep_the_chain():
    p, z = layered(B, Z), torch.randn(B, Z).double()
    part = rows(p, [3, 0])
    torch.testing.assert_close(part.log_prob(z[:2]), p.log_prob(z[:2, None])[[0, 1], [3, 0]])
    torch.testing.assert_close(joined([rows(p, [0, 1]), rows(p, [2, 3, 4])]).log_prob(z), p.log_prob(z))
    prior = layered(Z)
    assert rows(prior, [0]) is prior and expanded(prior, B).mean.equal(prior.mean.expand(B, Z))
    single = p._replace(mean=p.mean.float(), mu=p.mu.float(), raw=p.raw.float(), chain=p.chain.float())
    assert single.log_prob(z.float()).dtype == torch.float32
    double = as_double(single)
    torch.testing.assert_close(double.log_prob(z), p.log_prob(z), rtol=1e-5, atol=1e-5)
    assert double.log_prob(z).dtype == double.rsample(z).dtype == torch.float64
    exact = single.log_prob(z.float()), single.rsample(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert single.log_prob(z.float()).equal(exact[0]) and single.rsample(z).equal(exact[1])


def test_mutual_information_is_that_of_the_mixtures_density():
    p, eps = layered(B, Z), torch.randn(B, Z)
    z = p.rsample(eps.double())
    table = torch.stack([p.log_prob(row.expand(B, Z)) for row in z])
    expected = table.diagonal() - table.logsumexp(1) + math.log(B)
    torch.testing.assert_close(information_each(p, eps), expected)


@pytest.mark.parametrize("flags", [{"latent_posterior": "layer-wise"}, {"latent_prior": "layer-wise"}])
def test_it_begins_as_the_plain_model(flags):
    plain, built = model(**LAYERED), model(**LAYERED, **flags)
    missing, unexpected = built.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all("chain" in key or "prior" in key for key in missing)
    for training in (False, True):
        found = [criterion()(one.train(training), batch(SENTENCES))[0] for one in (plain, built)]
        torch.testing.assert_close(*found)
        for one, loss in zip((plain, built), found):
            one.zero_grad()
            loss.backward() if training else None
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(dict(built.named_parameters())[name].grad, parameter.grad, msg=name)
    grads = {name: parameter.grad for name, parameter in built.named_parameters() if "chain" in name}
    assert any(grad.abs().max() > 1e-6 for grad in grads.values()), "and leaves it"


def test_a_checkpoint_of_the_plain_model_begins_it():
    plain, built = model(**LAYERED), model(**LAYERED, latent_posterior="layer-wise", latent_prior="layer-wise")
    before = built.encoder.posterior.chain.mu.weight.clone()
    built.load_state_dict(plain.state_dict())
    assert built.encoder.posterior.mu.weight.equal(plain.encoder.posterior.mu.weight)
    assert built.encoder.posterior.chain.mu.weight.equal(before)


def test_free_bits_of_dimensions_have_each_dimensions_rate():
    flags = {"latent_posterior": "layer-wise", "latent_prior": "layer-wise"}
    built = model("layer", std=0.5, **LAYERED, **flags)
    sample = batch(SENTENCES)
    _, _, log = criterion()(built, sample)
    assert log["_kl_dims"].shape == (6,)
    low = criterion(free_bits=1e4)(built.train(), sample)
    assert low[0].item() - low[2]["rec"].item() == pytest.approx(1e4 * 6 * len(SENTENCES), rel=1e-5)


def test_a_vector_reaches_its_own_layer_alone():
    built = model("layer", std=0.5, **LAYERED)
    sample, z = batch(SENTENCES), torch.randn(len(SENTENCES), 6)
    inputs = []
    for layer in built.decoder.layers:
        layer.register_forward_hook(lambda module, given, made: inputs.append(made[0].detach()))
    for moved in (None, 0, 1):
        changed = z.clone()
        if moved is not None:
            changed[:, 3 * moved : 3 * moved + 3] += 1
        built(**sample["net_input"], z=changed)
    first = inputs[0::2]  # what the first layer makes of each z
    assert first[2].equal(first[0]) and not first[1].allclose(first[0])
    assert not inputs[5].allclose(inputs[1])


@pytest.mark.parametrize("part", ["prior", "posterior"])
def test_one_vector_has_nothing_below(part):
    with pytest.raises(
        InputError,
        match=f"^--latent-{part} layer-wise has no effect without --latent-vectors 2 or more: give that too, with "
        "--latent-pooling attention$",
    ):
        model(**{f"latent_{part}": "layer-wise", "latent_vectors": 1})
