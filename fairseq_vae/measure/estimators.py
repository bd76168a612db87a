"""What an evaluation estimates, as pure functions of posteriors, samples and log-likelihoods. No fairseq, no model.

Shapes: N sentences, Z latent dimensions, K samples of z a sentence, P pairs of a sentence and a sample. Everything is
in nats and float64. What a training's validation needs as well stands in metrics.py.
"""

import math
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..latent.distributions import GaussianPosterior
from .metrics import active_units, information_each

THRESHOLDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the curve of active units
RESAMPLES = 1000  # of the bootstrap


def log_weight(logvar: Tensor, noise: Tensor, z: Tensor, nll: Tensor) -> Tensor:
    """log p(x|z) p(z) / q(z|x) of each pair, P (Burda et al. 2016, eq. 8), where z = mu + exp(logvar / 2) * noise.

    log p(z) - log q(z|x) = 1/2 sum_d (noise^2 + logvar - z^2): the prior's and the posterior's constants cancel.

    Args:
        logvar, noise, z: P x Z
        nll: -log p(x|z), P
    """
    noise, z = noise.double(), z.double()
    return 0.5 * (noise.square() + logvar.double() - z.square()).sum(1) - nll.double()


class Importance:
    """Running sums over the samples of N sentences: memory does not depend on K, nor the result on the batches.

    nll: mean over the samples of -log p(x|z), N
    nll_iw: -log 1/K sum_k w_k of the importance weights w, N; in expectation above -log p(x), towards which it falls
        with K (Burda et al. 2016, theorem 1)
    effective: (sum_k w_k)^2 / sum_k w_k^2, N: how many samples carry the sum (Kong 1992), 1 to K
    """

    def __init__(self, sentences: int):
        self.count = np.zeros(sentences)
        self.nll_sum = np.zeros(sentences)
        self.log_sum = np.full(sentences, -np.inf)
        self.log_square_sum = np.full(sentences, -np.inf)

    def add(self, indices: Sequence[int], nll: Tensor, log_weights: Tensor) -> None:
        """indices: the sentence of each pair, P; a sentence may come several times, also in one call."""
        np.add.at(self.count, indices, 1)
        np.add.at(self.nll_sum, indices, nll.double().numpy())
        np.logaddexp.at(self.log_sum, indices, log_weights.numpy())
        np.logaddexp.at(self.log_square_sum, indices, 2 * log_weights.numpy())

    @property
    def nll(self) -> Tensor:
        return torch.from_numpy(self.nll_sum / self.count)

    @property
    def nll_iw(self) -> Tensor:
        return torch.from_numpy(np.log(self.count) - self.log_sum)

    @property
    def effective(self) -> Tensor:
        return torch.from_numpy(np.exp(2 * self.log_sum - self.log_square_sum))


def information(mu: Tensor, logvar: Tensor, noise: Tensor, chunk: int = 1024) -> Tuple[float, float]:
    """Estimate of I(x; z) under q(z|x) and the N given sentences, as metrics.mutual_information, and its Monte Carlo
    standard error: that of the samples of z, the sentences being given.

    Args:
        mu, logvar: N x Z
        noise: standard normal, S x N x Z: S samples a sentence. With S = 1 the error cannot tell the noise from the
            differences between sentences, and is too large
    """
    each = torch.stack([information_each(mu, logvar, sample, chunk) for sample in noise])  # S x N
    variance = each.var(0).mean() if len(each) > 1 else each.var()
    return float(each.mean()), math.sqrt(float(variance) / each.numel())


def saturates(mi: float, sentences: int) -> bool:
    """Whether I(x; z) may be far above its estimate, which log N caps: it is above log N - log 2 where on (geometric)
    average a sentence's z has more than half of the aggregated posterior's density from that sentence alone."""
    return sentences > 1 and mi > math.log(sentences) - math.log(2)


def batch_information(mu: Tensor, logvar: Tensor, noise: Tensor, batch: int) -> float:
    """Mutual information as older papers define it (He et al. 2019; Park & Lee 2021): within batches of consecutive
    sentences, averaged over sentences, with the posterior's entropy in closed form. Never far above log batch, so no
    estimate of I(x; z) of the set.

    Args:
        mu, logvar, noise: N x Z
        batch: sentences in a batch; the last one may have fewer
    """
    mu, logvar, noise = mu.double(), logvar.double(), noise.double()
    total = 0.0
    for m, v, e in zip(mu.split(batch), logvar.split(batch), noise.split(batch)):
        sampled = -0.5 * (e.square() + v).sum(1)  # log q(z|x), without a constant that cancels
        closed = -0.5 * (1 + v).sum(1)
        total += float((information_each(m, v, e) - sampled + closed).sum())
    return total / len(mu)


def aggregate(mu: Tensor, logvar: Tensor) -> Dict[str, Any]:
    """Moments of the aggregated posterior 1/N sum_i q(z|x_i) and their distance from those of N(0, I).

    Returns:
        `kl_dims`, `mu_variance_dims`, `variance_dims`: of each dimension, the mean KL, the (unbiased) variance of mu
            over sentences, and the mean variance of q(z|x); lists of Z
        `agg_mean_norm`: Euclidean norm of the aggregated posterior's mean
        `agg_cov_distance`: Frobenius norm of its covariance less the identity; Cov(mu) + diag(E[var]), over N
        `agg_gaussian_kl`: KL of the Gaussian with that mean and covariance from N(0, I): a lower bound of the marginal
            KL, as the Gaussian has the largest entropy of all densities with these moments
    """
    mu, logvar = mu.double(), logvar.double()
    variance = logvar.exp().mean(0)
    mean = mu.mean(0)
    covariance = (mu - mean).T @ (mu - mean) / len(mu) + torch.diag(variance)
    identity = torch.eye(len(mean), dtype=mu.dtype, device=mu.device)
    divergence = 0.5 * (torch.trace(covariance) + mean.square().sum() - len(mean) - torch.logdet(covariance))
    return {
        "kl_dims": GaussianPosterior(mu, logvar).kl().mean(0).tolist(),
        "mu_variance_dims": mu.var(0).tolist() if len(mu) > 1 else [0.0] * len(mean),
        "variance_dims": variance.tolist(),
        "agg_mean_norm": float(mean.norm()),
        "agg_cov_distance": float((covariance - identity).norm()),
        "agg_gaussian_kl": float(divergence),
    }


def active_curve(mu: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Dict[str, int]:
    """Active units (see metrics.active_units) for each threshold of Var(mu_d)."""
    mu = mu.double()
    return {f"{t:g}": active_units(mu.sum(0), mu.square().sum(0), len(mu), t) for t in thresholds}


def resampled_sums(columns: Tensor, seed: int, resamples: int = RESAMPLES) -> Tensor:
    """Sums over sentences drawn with replacement, resamples x M, of columns N x M (Efron 1979)."""
    generator = np.random.default_rng(seed)
    values, n = columns.double().cpu().numpy(), len(columns)
    counts = (np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(resamples))
    return torch.from_numpy(np.stack([count @ values for count in counts]))


def intervals(
    columns: Dict[str, Tensor], statistics: Dict[str, Callable[[Dict[str, Tensor]], Tensor]], seed: int
) -> Dict[str, List[float]]:
    """95 % bootstrap intervals over sentences (the percentile method) of statistics of sums.

    Args:
        columns: names to values of each sentence, N; all resampled together, so that ratios and differences are paired
        statistics: names to functions of the columns' sums, which are tensors over resamples
    """
    sums = dict(zip(columns, resampled_sums(torch.stack(list(columns.values()), 1), seed).T))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return {name: torch.quantile(function(sums), ends).tolist() for name, function in statistics.items()}
