"""Priors fitted after training: densities as another library has them, fits of known truths, files."""

import math

import pytest
import torch
from helpers import save_vae, write_data
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.checkpoints.priors import load_prior, save_prior
from fairseq_vae.fit import fit_flow, fit_gaussian, fit_mixture, fit_prior, mean_density, one_each
from fairseq_vae.latent.densities import FullGaussian, Mixture
from fairseq_vae.latent.distributions import Gaussian, as_double, rate, rows, sampled
from fairseq_vae.latent.fitted import KINDS, FittedFlow, FittedGaussian
from fairseq_vae.measure.scoring import Scorer

Z, K = 4, 3
GENERATOR = torch.Generator().manual_seed(1)
Z_VALUES = torch.randn(50, Z, generator=GENERATOR, dtype=torch.float64) * 2
MUS = torch.randn(K, Z, generator=GENERATOR, dtype=torch.float64)
TRILS = torch.randn(K, Z, Z, generator=GENERATOR, dtype=torch.float64).tril() * 0.3 + torch.eye(Z) * 0.9
LOGITS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64).log()


def test_the_full_gaussian_is_torchs():
    theirs = MultivariateNormal(MUS[0], scale_tril=TRILS[0])
    torch.testing.assert_close(FullGaussian(MUS[0], TRILS[0]).log_prob(Z_VALUES), theirs.log_prob(Z_VALUES))


def test_the_mixture_is_torchs():
    theirs = MixtureSameFamily(Categorical(logits=LOGITS), MultivariateNormal(MUS, scale_tril=TRILS))
    ours = Mixture(LOGITS, MUS, TRILS)
    torch.testing.assert_close(ours.log_prob(Z_VALUES), theirs.log_prob(Z_VALUES))
    torch.testing.assert_close(ours.mean, theirs.mean)


def test_the_gaussian_and_the_mixture_are_scipys():
    from scipy.special import logsumexp
    from scipy.stats import multivariate_normal

    each = [multivariate_normal(mu, tril @ tril.T).logpdf(Z_VALUES) for mu, tril in zip(MUS.numpy(), TRILS.numpy())]
    mixture = logsumexp([logit + one for logit, one in zip(LOGITS.tolist(), each)], axis=0)
    gaussian = FittedGaussian({"mu": MUS[0], "tril": TRILS[0]})
    torch.testing.assert_close(
        gaussian().log_prob(Z_VALUES.float()).double(), torch.from_numpy(each[0]), rtol=1e-4, atol=1e-3
    )
    found = fitted("mixture")().log_prob(Z_VALUES.float()).double()
    torch.testing.assert_close(found, torch.from_numpy(mixture), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_density_integrates_to_1_and_its_samples_have_its_moments(kind):
    """By scipy's integration over the plane; the flow's weights are far from the identity."""
    from scipy.integrate import simpson

    generator = torch.Generator().manual_seed(6)
    mus, trils = torch.randn(K, 2, generator=generator), torch.randn(K, 2, 2, generator=generator).tril() * 0.3
    trils = trils + torch.eye(2) * 0.8
    fields = {"mu": mus[0], "tril": trils[0]}
    prior = KINDS[kind]({"logits": LOGITS.float(), "mus": mus, "trils": trils} if kind == "mixture" else fields)
    if kind == "flow":
        with torch.no_grad():
            for parameter in prior.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    axis = torch.linspace(-9, 9, 541)
    plane = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = prior().log_prob(plane).double().exp().view(len(axis), len(axis))
        z = prior().rsample(torch.randn(20_000, prior.eps_dim, generator=generator)).double()

    def integral(values):
        return float(simpson(simpson(values.numpy(), x=axis.numpy()), x=axis.numpy()))

    assert integral(density) == pytest.approx(1, abs=2e-3)
    for power in 1, 2:
        for dimension in 0, 1:
            of_plane = plane[:, dimension].double().view(len(axis), len(axis)) ** power
            wanted = integral(density * of_plane)
            assert (z[:, dimension] ** power).mean().item() == pytest.approx(wanted, abs=0.05 + 0.03 * abs(wanted))


def test_a_mixture_of_one_is_the_gaussian_and_shares_are_met():
    one = Mixture(torch.zeros(1), MUS[:1].float(), TRILS[:1].float())
    eps = torch.randn(7, Z + 1)
    torch.testing.assert_close(one.rsample(eps), FullGaussian(MUS[0].float(), TRILS[0].float()).rsample(eps[:, :-1]))
    apart = Mixture(LOGITS, MUS * 0 + torch.arange(K)[:, None] * 100, TRILS)
    found = (apart.rsample(torch.randn(20_000, Z + 1, generator=GENERATOR))[:, 0] / 100).round()
    for component, share in enumerate([0.2, 0.3, 0.5]):
        assert (found == component).double().mean().item() == pytest.approx(share, abs=0.02)


def test_a_distribution_for_all_sentences_is_one_in_every_helper():
    mixture = Mixture(LOGITS.float(), MUS.float(), TRILS.float())
    assert rows(mixture, [0]) is mixture and as_double(mixture).mus.dtype == torch.float64
    posterior = FullGaussian(MUS[0], TRILS[0])
    assert rate(posterior, mixture, Z_VALUES).shape == (50, 1)


class Counted:
    """A density that keeps how many z's each call has."""

    def __init__(self, density):
        self.density, self.calls = density, []

    def log_prob(self, z):
        self.calls.append(len(z))
        return self.density.log_prob(z)


def test_densities_are_taken_of_some_z_at_a_time_and_a_prior_is_made_once():
    z = torch.randn(700, Z, generator=GENERATOR, dtype=torch.float64)
    density, made = Counted(Mixture(LOGITS, MUS, TRILS)), []
    found = mean_density(lambda: made.append(density) or density, z)
    assert found == pytest.approx(density.density.log_prob(z).mean().item(), rel=1e-12)
    assert density.calls == [256, 256, 188] and len(made) == 1


@pytest.mark.parametrize("chunk", [1, 3, 5, 8])
def test_samples_by_chunks_are_the_samples_of_all(chunk):
    posterior, eps = Gaussian(MUS.repeat(2, 1)[:5], MUS.repeat(2, 1)[:5]), torch.randn(5, Z, dtype=torch.float64)
    assert sampled(posterior, eps, chunk).equal(posterior.rsample(eps))


def linear_gaussian(sentences, dimensions=Z, centre=0.0, spread=1.0):
    """x = W z + s noise, W diagonal: means and variances of its exact posteriors under the prior N(0, I).

    The data's own z's are of N(centre, spread^2 I).
    """
    weight = torch.diag(torch.tensor([2.0, 1.0, 0.5, 0.1], dtype=torch.float64)[:dimensions])
    noise = 0.5
    precision = weight.T @ weight / noise**2 + torch.eye(dimensions)
    z = torch.randn(sentences, dimensions, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z = centre + spread * z
    x = z @ weight.T + noise * torch.randn(z.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    covariance = precision.inverse()
    return x @ weight @ covariance / noise**2, covariance.diagonal().expand_as(z)


def test_the_prior_fitted_to_a_linear_gaussian_model_is_its_aggregated_posterior():
    """Of a model whose data come from itself, the aggregated posterior is the prior, N(0, I)."""
    prior = fit_gaussian(*linear_gaussian(200_000))()
    assert prior.mu.abs().max() < 0.01
    torch.testing.assert_close(prior.tril @ prior.tril.T, torch.eye(Z), atol=0.01, rtol=0)


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "flow"])
def test_of_data_that_the_prior_does_not_fill_it_is_the_aggregated_posterior_too(kind):
    """Of data with z's of N(m, c^2 I) the aggregated posterior is a Gaussian in closed form, diagonal as W is.

    With g = w^2 / s^2 / (w^2 / s^2 + 1) in a dimension, mu(x) = g x / w, so that its mean is g m and its variance
    g^2 (c^2 + s^2 / w^2) + 1 - g.
    """
    size = 200_000 if kind == "gaussian" else 6_000
    mean, variance = linear_gaussian(size, centre=1.5, spread=0.4)
    signal = torch.tensor([2.0, 1.0, 0.5, 0.1], dtype=torch.float64).square() / 0.25
    gain = signal / (signal + 1)
    wanted = torch.distributions.Normal(1.5 * gain, (gain**2 * (0.16 + 1 / signal) + 1 - gain).sqrt())
    if kind == "gaussian":
        prior = fit_gaussian(mean, variance)
    else:
        z = mean + variance.sqrt() * torch.randn(mean.shape, generator=GENERATOR, dtype=torch.float64)
        z, held_out = z.float().split(5_000)
        prior = fit_mixture(z, held_out, components=2) if kind == "mixture" else fit_flow(z, held_out, epochs=10)
    points = wanted.sample((2_000,))
    with torch.no_grad():
        gap = (wanted.log_prob(points).sum(1) - prior().log_prob(points.float()).double()).mean()  # the KL
    assert -0.02 < gap < (0.001 if kind == "gaussian" else 0.05)


def test_the_gaussian_has_the_moments_of_samples_of_the_aggregated_posterior():
    mean, variance = torch.randn(500, Z, generator=GENERATOR) * 3, torch.rand(500, Z, generator=GENERATOR)
    prior = fit_gaussian(mean, variance)()
    samples = mean.repeat(400, 1) + variance.sqrt().repeat(400, 1) * torch.randn(200_000, Z, generator=GENERATOR)
    torch.testing.assert_close(prior.tril @ prior.tril.T, torch.cov(samples.T), atol=0.1, rtol=0)


def clusters(size, seed):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    chosen = torch.randint(3, (size,), generator=generator)
    return centres[chosen] + 0.5 * torch.randn(size, 2, generator=generator)


def test_held_out_points_choose_the_mixture_of_clusters_and_the_flow_beats_the_gaussian():
    """Three clusters of deviation 1/2: their entropy is log 3 + log(2 pi e / 4), since they hardly overlap."""
    train, held_out = clusters(1500, 1), clusters(1500, 2)
    entropy = math.log(3) + math.log(2 * math.pi * math.e / 4)
    mixture = fit_mixture(train, held_out, components=4)
    assert len(mixture.logits) in (2, 4) and mean_density(mixture, held_out) == pytest.approx(-entropy, abs=0.1)
    gaussian = mean_density(fit_gaussian(train, torch.zeros_like(train)), held_out)
    flow = mean_density(fit_flow(train, held_out, epochs=12), held_out)
    assert gaussian < -entropy - 0.5 and gaussian + 0.3 < flow < -entropy + 0.1


def fitted(kind):
    if kind == "flow":
        return FittedFlow({"mu": torch.zeros(Z), "tril": torch.eye(Z)})
    fields = {"mu": MUS[0], "tril": TRILS[0]} if kind == "gaussian" else {"logits": LOGITS, "mus": MUS, "trils": TRILS}
    return KINDS[kind](fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_prior_back_and_is_of_one_checkpoint(tmp_path, kind):
    prior, path = fitted(kind), str(tmp_path / "prior.safetensors")
    save_prior(prior, path, "abc")
    again = load_prior(path, Z, "abc")
    z = Z_VALUES.float()
    assert again().log_prob(z).equal(prior().log_prob(z)) and again.eps_dim == prior.eps_dim
    assert again().rsample(torch.ones(1, prior.eps_dim)).equal(prior().rsample(torch.ones(1, prior.eps_dim)))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    with pytest.raises(InputError, match=r"fitted to another checkpoint .*: fit it to this one"):
        load_prior(path, Z, "abd")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_file_that_is_no_prior_is_refused(tmp_path, content):
    path = tmp_path / "prior.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no prior that this `fairseq-vae fit-prior` wrote"):
        load_prior(str(path), Z, "abc")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="does not exist: `fairseq-vae fit-prior` writes it"):
        load_prior(str(tmp_path / "prior.safetensors"), Z, "abc")


def test_a_fitted_prior_is_of_its_models_width():
    assert FittedGaussian({"mu": MUS[0], "tril": TRILS[0]}).dim == Z and fitted("mixture").eps_dim == Z + 1


def test_what_is_held_out_is_not_known_from_the_training_sentences_draws():
    """Of a collapsed model all posteriors are N(0, I): no fitted prior is a better one of z's that it has not seen."""
    size, dim = 1500, 8
    posterior = Gaussian(torch.zeros(size, dim), torch.zeros(size, dim))
    z, held_out = (one_each(posterior, 1, dim, held_out=others) for others in (False, True))
    correlation = torch.corrcoef(torch.stack((z.flatten(), held_out.flatten())))[0, 1]
    assert abs(correlation) < 5 / math.sqrt(size * dim)
    fitted = mean_density(fit_mixture(z, held_out[:750]), held_out)
    assert fitted < Gaussian.standard(torch.zeros(dim)).log_prob(held_out).mean().item()


def test_of_an_autoencoder_the_means_alone_are_fitted(tmp_path):
    save_vae(tmp_path, "--latent-dim=4", "--deterministic-latent", words=[f"w{i}" for i in range(25)])
    write_data(tmp_path, train=[[i % 5, 1, 2 + i % 7] for i in range(40)], valid=[[1, 2], [3]])
    checkpoint = str(tmp_path / "checkpoint_best.pt")
    fit = fit_prior(checkpoint, str(tmp_path), "gaussian", str(tmp_path / "prior"))
    built, _, task = load_model(checkpoint, str(tmp_path))
    task.load_dataset("train")
    mu = Scorer(built, task.dataset("train"), 100).distributions()[0].mean
    expected = fit_gaussian(mu, torch.zeros_like(mu))
    torch.testing.assert_close(fit.prior.mu, expected.mu)
    torch.testing.assert_close(fit.prior.tril, expected.tril)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_needs_more_sentences_than_dimensions(kind, tmp_path):
    save_vae(tmp_path, "--latent-dim=16", words=[f"w{i}" for i in range(25)])
    write_data(tmp_path, train=[[i % 5, 1, 2] for i in range(16)], valid=[[1, 2], [3]])
    checkpoint, output = str(tmp_path / "checkpoint_best.pt"), str(tmp_path / "prior")
    if kind == "flow":
        with pytest.raises(InputError, match="--kind flow: .* has 16 sentences to train on; expected more than the 16"):
            fit_prior(checkpoint, str(tmp_path), kind, output)
    else:
        assert math.isfinite(fit_prior(checkpoint, str(tmp_path), kind, output).density)
