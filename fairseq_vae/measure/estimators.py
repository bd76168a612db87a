"""An evaluation's estimators, as pure functions of posteriors, samples and log-likelihoods. No fairseq, no model.

Shapes: N sentences, Z latent dimensions, K samples of z a sentence, P pairs of a sentence and a sample. Everything is
in nats and float64. Estimators that training's validation needs as well are in metrics.py.
"""

import math
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..latent.distributions import Distribution, Gaussian, as_double, rows
from .metrics import active_units, information_each

__all__ = [
    "RESAMPLES",
    "THRESHOLDS",
    "Importance",
    "active_curve",
    "aggregate",
    "batch_information",
    "information",
    "intervals",
    "resampled_sums",
    "saturates",
]

THRESHOLDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the curve of active units
RESAMPLES = 1000  # of the bootstrap


class Importance:
    """Running sums over the samples of N sentences: memory does not depend on K, nor the result on the batches.

    Args:
        sentences: N
    """

    def __init__(self, sentences: int):
        self.count = np.zeros(sentences)
        self.nll_sum = np.zeros(sentences)
        self.weight_sum = np.zeros(sentences)
        self.log_sum = np.full(sentences, -np.inf)
        self.log_square_sum = np.full(sentences, -np.inf)

    def add(self, indices: Sequence[int], nll: Tensor, log_weights: Tensor) -> None:
        """Add pairs of a sentence and a sample.

        Args:
            indices: the sentence of each pair, P; a sentence may come several times, also in one call
            nll: -log p(x|z), P
            log_weights: of importance, log p(x|z) + log p(z) - log q(z|x), P
        """
        np.add.at(self.count, indices, 1)
        np.add.at(self.nll_sum, indices, nll.double().numpy())
        np.add.at(self.weight_sum, indices, log_weights.numpy())
        np.logaddexp.at(self.log_sum, indices, log_weights.numpy())
        np.logaddexp.at(self.log_square_sum, indices, 2 * log_weights.numpy())

    @property
    def nll(self) -> Tensor:
        """Mean over the samples of -log p(x|z), N."""
        return torch.from_numpy(self.nll_sum / self.count)

    @property
    def kl(self) -> Tensor:
        """Mean over the samples of log q(z|x) - log p(z), N: an unbiased estimate of the KL."""
        return torch.from_numpy(-(self.weight_sum + self.nll_sum) / self.count)

    @property
    def nll_iw(self) -> Tensor:
        """-log 1/K sum_k w_k of the importance weights w, N.

        In expectation it is above -log p(x), towards which it falls with K (Burda et al. 2016, theorem 1).
        """
        return torch.from_numpy(np.log(self.count) - self.log_sum)

    @property
    def effective(self) -> Tensor:
        """The number of samples that carry the sum, (sum_k w_k)^2 / sum_k w_k^2 (Kong 1992), N, 1 to K."""
        return torch.from_numpy(np.exp(2 * self.log_sum - self.log_square_sum))


def information(posterior: Distribution, eps: Tensor, chunk: int = 1024) -> Tuple[float, float]:
    """Estimate of I(x; z) under q(z|x) and the N given sentences, as metrics.mutual_information, with its error.

    Args:
        posterior: of N sentences
        eps: standard normal draws, S x N x Z: S samples a sentence
        chunk: rows of the N x N table that are in memory at a time

    Returns:
        the estimate and its Monte Carlo standard error, which is of the samples of z, the sentences being given. With
        S = 1 the error cannot tell the draws from the differences between sentences, and is too large
    """
    each = torch.stack([information_each(posterior, sample, chunk) for sample in eps])  # S x N
    variance = each.var(0).mean() if len(each) > 1 else each.var()
    return float(each.mean()), math.sqrt(float(variance) / each.numel())


def saturates(mi: float, sentences: int) -> bool:
    """Whether I(x; z) may be far above its estimate, which log N caps.

    The estimate is above log N - log 2 where on (geometric) average a sentence's z has more than half of the
    aggregated posterior's density from that sentence alone.

    Args:
        mi: the estimate
        sentences: N
    """
    return sentences > 1 and mi > math.log(sentences) - math.log(2)


def batch_information(posterior: Distribution, eps: Tensor, batch: int) -> Optional[float]:
    """Mutual information as older papers define it (He et al. 2019; Park & Lee 2021): within batches of consecutive
    sentences, averaged over sentences, with the posterior's entropy in closed form. It is never far above log batch,
    so no estimate of I(x; z) of the set.

    Args:
        posterior: of N sentences
        eps: standard normal draws, N x Z
        batch: sentences in a batch; the last batch may have fewer

    Returns:
        None if the posterior is not Gaussian
    """
    if not isinstance(posterior, Gaussian):
        return None
    gaussian, eps = as_double(posterior), eps.double()
    total = 0.0
    for start in range(0, len(eps), batch):
        part = slice(start, start + batch)
        e, v = eps[part], gaussian.logvar[part]
        sampled = -0.5 * (e.square() + v).sum(1)  # log q(z|x), without a constant that cancels
        closed = -0.5 * (1 + v).sum(1)
        total += float((information_each(rows(gaussian, part), e) - sampled + closed).sum())
    return total / len(eps)


def aggregate(posterior: Distribution, prior: Distribution, kl: Tensor) -> Dict[str, Any]:
    """Moments of the aggregated posterior 1/N sum_i q(z|x_i) and their distance from the prior's.

    Args:
        posterior: of N sentences
        prior: one for all of them
        kl: of each sentence, N x G

    Returns:
        `kl_dims`, `mu_variance_dims`, `variance_dims`: of each dimension, the mean KL, the (unbiased) variance of mu
            over sentences, and the mean variance of q(z|x); lists of Z (`kl_dims` of as many as the KL has columns)
        `agg_mean_norm`: Euclidean norm of the aggregated posterior's mean less the prior's
        `agg_cov_distance`: Frobenius norm of its covariance, Cov(mu) + diag(E[var]) over N, less the prior's
        `agg_gaussian_kl`: KL from the prior of the Gaussian with that mean and covariance: a lower bound of the
            marginal KL, as the Gaussian has the largest entropy of all densities with these moments

        None for `variance_dims` unless the posterior is Gaussian, and for the last three unless the prior is, too.
    """
    posterior, prior, kl = as_double(posterior), as_double(prior), kl.double()
    mu = posterior.mean
    result: Dict[str, Any] = {
        "kl_dims": kl.mean(0).tolist(),
        "mu_variance_dims": mu.var(0).tolist() if len(mu) > 1 else [0.0] * mu.size(1),
        **dict.fromkeys(("variance_dims", "agg_mean_norm", "agg_cov_distance", "agg_gaussian_kl")),
    }
    if isinstance(posterior, Gaussian):
        result["variance_dims"] = posterior.variance.mean(0).tolist()
    if isinstance(posterior, Gaussian) and isinstance(prior, Gaussian) and prior.mu.dim() == 1:
        covariance = (mu - mu.mean(0)).T @ (mu - mu.mean(0)) / len(mu) + torch.diag(posterior.variance.mean(0))
        away, spread = mu.mean(0) - prior.mu, prior.variance
        trace, square = torch.trace(covariance / spread), (away.square() / spread).sum()
        divergence = 0.5 * (trace + square - len(away) - (torch.logdet(covariance) - prior.logvar.sum()))
        result["agg_mean_norm"] = float(away.norm())
        result["agg_cov_distance"] = float((covariance - torch.diag(spread)).norm())
        result["agg_gaussian_kl"] = float(divergence)
    return result


def active_curve(mu: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Dict[str, int]:
    """Active units (see metrics.active_units) for several thresholds of Var(mu_d).

    Args:
        mu: N x Z
        thresholds: of the variance

    Returns:
        threshold, as text, to number of dimensions
    """
    mu = mu.double()
    return {f"{t:g}": active_units(mu.sum(0), mu.square().sum(0), len(mu), t) for t in thresholds}


def resampled_sums(columns: Tensor, seed: int, resamples: int = RESAMPLES) -> Tensor:
    """Sums over sentences that are drawn with replacement (Efron 1979).

    Args:
        columns: N x M
        seed: of the draws
        resamples: their number R

    Returns:
        R x M, float64
    """
    generator = np.random.default_rng(seed)
    values, n = columns.double().cpu().numpy(), len(columns)
    counts = (np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(resamples))
    return torch.from_numpy(np.stack([count @ values for count in counts]))


def intervals(
    columns: Dict[str, Tensor], statistics: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]], seed: int
) -> Dict[str, List[float]]:
    """95 % bootstrap intervals over sentences (the percentile method) of statistics of sums.

    Args:
        columns: names to values of each sentence, N; all resampled together, so that ratios and differences are paired
        statistics: names to functions of the columns' sums, which are tensors over resamples
        seed: of the draws

    Returns:
        names to [low, high]
    """
    sums = dict(zip(columns, resampled_sums(torch.stack(list(columns.values()), 1), seed).T))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return {name: torch.quantile(function(sums), ends).tolist() for name, function in statistics.items()}
