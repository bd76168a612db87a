"""The estimators on a linear-Gaussian model, of which everything is known, and at their limits."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from fairseq_vae.latent.distributions import Gaussian, log_ratio
from fairseq_vae.measure.estimators import (
    Importance,
    active_curve,
    aggregate,
    batch_information,
    information,
    intervals,
    resampled_sums,
    saturates,
)
from fairseq_vae.measure.metrics import active_units, information_each, mutual_information

N, X, Z = 4000, 3, 2  # sentences, their dimensions, latent dimensions
PRIOR = Gaussian.standard(torch.zeros(Z, dtype=torch.float64))


class LinearGaussian:
    """z ~ N(0, I), x = W z + e, e ~ N(0, s^2 I); and q(z|x) = N(A x + b, diag(exp(logvar))), not its posterior."""

    W = torch.tensor([[1.0, 0.3], [-0.5, 0.8], [0.2, -0.6]], dtype=torch.float64)
    A = torch.tensor([[0.5, -0.2, 0.1], [0.05, 0.06, -0.04]], dtype=torch.float64)
    b = torch.tensor([0.2, -0.1], dtype=torch.float64)
    logvar = torch.tensor([-0.8, -0.3], dtype=torch.float64)
    s = 0.7

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.covariance = self.W @ self.W.T + self.s**2 * torch.eye(X, dtype=torch.float64)
        normal = torch.randn(N, X, generator=generator, dtype=torch.float64)
        self.x = normal @ torch.linalg.cholesky(self.covariance).T
        self.mu = self.x @ self.A.T + self.b
        self.posterior = Gaussian(self.mu, self.logvar.expand(N, Z))
        # z of the aggregated posterior, if x has the model's own distribution
        self.mu_covariance = self.A @ self.covariance @ self.A.T
        self.aggregated = MultivariateNormal(self.b, self.mu_covariance + torch.diag(self.logvar.exp()))

    def nll(self, z, x):
        """-log p(x|z), P."""
        square = ((x - z @ self.W.T) / self.s).square()
        return 0.5 * (square + math.log(2 * math.pi * self.s**2)).sum(1)

    def importance(self, samples, seed=2):
        generator = torch.Generator().manual_seed(seed)
        sums = Importance(N)
        for _ in range(samples):
            eps = torch.randn(N, Z, generator=generator, dtype=torch.float64)
            z = self.posterior.rsample(eps)
            nll = self.nll(z, self.x)
            sums.add(range(N), nll, log_ratio(self.posterior, PRIOR, z, eps) - nll)
        return sums


@pytest.fixture(scope="module")
def known():
    return LinearGaussian()


def test_the_likelihood_is_approached_from_above(known):
    exact = -MultivariateNormal(torch.zeros(X, dtype=torch.float64), known.covariance).log_prob(known.x)
    errors = [(known.importance(samples).nll_iw - exact) for samples in (1, 4, 16, 256)]
    means = [float(error.mean()) for error in errors]
    assert means == sorted(means, reverse=True)
    assert means[-1] == pytest.approx(0, abs=4 * float(errors[-1].std()) / math.sqrt(N) + 2e-3)
    assert means[0] > 10 * abs(means[-1]), "q is not the posterior"


def test_more_samples_never_raise_the_mean_of_their_groups():
    """The mean of estimates with K samples is at most that of their groups of fewer: Jensen's inequality."""
    weights = torch.randn(50, 64, dtype=torch.float64) * 5

    def estimate(size):
        groups = weights.view(50, -1, size)
        return float((math.log(size) - groups.logsumexp(2)).mean())

    found = [estimate(size) for size in (1, 2, 8, 64)]
    assert found == sorted(found, reverse=True)


def test_reconstruction_and_kl_have_their_closed_forms(known):
    sums = known.importance(20)
    spread = (known.W.square() @ known.logvar.exp()).sum() / known.s**2
    exact = known.nll(known.mu, known.x) + 0.5 * spread
    error = sums.nll - exact
    assert float(error.mean()) == pytest.approx(0, abs=4 * float(error.std()) / math.sqrt(N))
    standard = MultivariateNormal(torch.zeros(Z, dtype=torch.float64), torch.eye(Z, dtype=torch.float64))
    one = MultivariateNormal(known.mu, torch.diag(known.logvar.exp()))
    torch.testing.assert_close(known.posterior.kl().sum(1), kl_divergence(one, standard))


def test_information_and_marginal_kl_are_the_models(known):
    """Within the error over sentences and eps together, which one sample states."""
    eps = torch.randn(1, N, Z, dtype=torch.float64)
    mi, error = information(known.posterior, eps)
    exact = 0.5 * float(torch.logdet(known.aggregated.covariance_matrix) - known.logvar.sum())
    assert mi == pytest.approx(exact, abs=4 * error) and error < 0.05 * exact
    standard = MultivariateNormal(torch.zeros(Z, dtype=torch.float64), torch.eye(Z, dtype=torch.float64))
    kl = float(known.posterior.kl().sum(1).mean())
    marginal = float(kl_divergence(known.aggregated, standard))
    assert kl - mi == pytest.approx(marginal, abs=4 * error + 0.02)
    found = aggregate(known.posterior, PRIOR, known.posterior.kl())
    assert found["agg_gaussian_kl"] == pytest.approx(marginal, rel=0.1)  # it is Gaussian here
    assert found["agg_mean_norm"] == pytest.approx(float(known.b.norm()), rel=0.1)
    distance = float((known.aggregated.covariance_matrix - torch.eye(Z)).norm())
    assert found["agg_cov_distance"] == pytest.approx(distance, rel=0.1)


def test_active_units_are_the_models(known):
    variances = torch.diag(known.mu_covariance)
    thresholds = [float(variances.min()) * factor for factor in (0.5, 2)] + [float(variances.max()) * 2]
    assert list(active_curve(known.mu, thresholds).values()) == [2, 1, 0]
    assert active_curve(known.mu)["0.01"] == active_units(known.mu.sum(0), known.mu.square().sum(0), N)


def test_the_stated_error_is_the_spread_over_noise():
    mu, logvar = torch.randn(2, 60, 3, dtype=torch.float64)
    found = [information(Gaussian(mu, logvar), torch.randn(2, 60, 3, dtype=torch.float64)) for _ in range(300)]
    spread = np.std([mi for mi, _ in found])
    assert np.mean([error for _, error in found]) == pytest.approx(spread, rel=0.15)


def test_limits_of_a_collapsed_and_of_a_separated_posterior():
    eps, zero = torch.randn(2, 50, 3, dtype=torch.float64), torch.zeros(50, 3)
    collapse = Gaussian(zero, zero)
    collapsed = information(collapse, eps)
    assert collapsed == pytest.approx((0, 0), abs=1e-12) and not saturates(collapsed[0], 50)
    assert set(active_curve(torch.zeros(50, 3)).values()) == {0}
    apart = torch.arange(50.0)[:, None].expand(50, 3) * 100
    separated = information(Gaussian(apart, zero), eps)
    assert separated == pytest.approx((math.log(50), 0), abs=1e-9) and saturates(separated[0], 50)
    assert batch_information(Gaussian(apart, zero), zero, 10) == pytest.approx(math.log(10) - 1.5)
    assert aggregate(collapse, Gaussian.standard(torch.zeros(3)), collapse.kl())["agg_gaussian_kl"] == pytest.approx(
        0, abs=1e-12
    )


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_change_nothing(chunk):
    mu, logvar, eps = torch.randn(3, 40, 5)
    whole = information_each(Gaussian(mu, logvar), eps)
    torch.testing.assert_close(information_each(Gaussian(mu, logvar), eps, chunk), whole, rtol=1e-12, atol=1e-12)


def test_order_changes_nothing():
    mu, logvar, eps = torch.randn(3, 40, 5)
    order = torch.randperm(40)
    expected = mutual_information(Gaussian(mu, logvar), eps)
    assert mutual_information(Gaussian(mu[order], logvar[order]), eps[order]) == pytest.approx(expected, rel=1e-12)


def test_information_within_batches_is_the_papers():
    """A loop over batches and pairs, with the entropy in closed form."""
    mu, logvar, eps = torch.randn(3, 10, 2, dtype=torch.float64)
    total = 0.0
    for rows in (range(4), range(4, 8), range(8, 10)):
        for i in rows:
            z = mu[i] + torch.exp(logvar[i] / 2) * eps[i]
            density = [
                math.exp(
                    sum(
                        -0.5 * (math.log(2 * math.pi) + v + (a - m) ** 2 / math.exp(v))
                        for a, m, v in zip(z.tolist(), mu[j].tolist(), logvar[j].tolist())
                    )
                )
                for j in rows
            ]
            negative_entropy = sum(-0.5 * (math.log(2 * math.pi) + 1 + v) for v in logvar[i].tolist())
            total += negative_entropy - math.log(sum(density) / len(density))
    assert batch_information(Gaussian(mu, logvar), eps, 4) == pytest.approx(total / 10, rel=1e-9)


def test_bootstrap_intervals_cover_as_often_as_they_say():
    generator = torch.Generator().manual_seed(3)
    hits = 0
    for seed in range(200):
        values = torch.randn(60, generator=generator, dtype=torch.float64) + 5
        found = intervals({"a": values, "n": torch.ones(60)}, {"mean": lambda s: s["a"] / s["n"]}, seed)
        hits += found["mean"][0] <= 5 <= found["mean"][1]
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_resamples_columns_together_and_repeats():
    columns = torch.stack((torch.arange(9.0), 2 * torch.arange(9.0)), 1)
    sums = resampled_sums(columns, 5, 20)
    torch.testing.assert_close(sums[:, 1], 2 * sums[:, 0])
    assert resampled_sums(columns, 5, 20).equal(sums) and not resampled_sums(columns, 6, 20).equal(sums)


def test_importance_sums_do_not_depend_on_how_pairs_come():
    weights = torch.randn(4, 6, dtype=torch.float64) * 50
    whole, parts = Importance(4), Importance(4)
    whole.add(list(range(4)) * 6, -weights.T.flatten(), weights.T.flatten())
    for i, k in itertools.product(range(4), reversed(range(6))):
        parts.add([i], -weights[i, k : k + 1], weights[i, k : k + 1])
    expected = math.log(6) - weights.logsumexp(1)
    for sums in whole, parts:
        torch.testing.assert_close(sums.nll_iw, expected)
        torch.testing.assert_close(sums.nll, -weights.mean(1))
        assert (sums.nll_iw <= sums.nll).all()
        torch.testing.assert_close(sums.effective, 1 / weights.softmax(1).square().sum(1))
