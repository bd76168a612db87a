"""Figures of the use of z that training's validation and evaluation share, as pure functions. No fairseq.

Shapes: N sentences, Z latent dimensions.
"""

import math

import torch
from torch import Tensor

from ..latent.distributions import Distribution, Gaussian, as_double

__all__ = ["ACTIVE_VARIANCE", "active_units", "information_each", "mutual_information", "perplexity"]

ACTIVE_VARIANCE = 0.01  # of mu over sentences, above which a dimension is active
PAIRS = 2**12  # of a z and a posterior that are in memory at a time, where the posterior is no diagonal Gaussian


def perplexity(nats: float) -> float:
    """exp(nats), or infinity where exp overflows.

    Args:
        nats: per token or word
    """
    return math.exp(nats) if nats < 709 else math.inf


def active_units(mu_sum: Tensor, mu_square_sum: Tensor, sentences: int, threshold: float = ACTIVE_VARIANCE) -> int:
    """Active units: the number of dimensions d with Var_x(mu_d(x)) > threshold (Burda et al. 2016, eq. in 5.1).

    From additive statistics, so that batches and workers add up; the variance is the unbiased one.

    Args:
        mu_sum: sum over sentences of mu, Z
        mu_square_sum: sum over sentences of mu^2, Z
        sentences: N; fewer than two have no variance, and no active unit
        threshold: of the variance

    Returns:
        0 to Z
    """
    if sentences < 2:
        return 0
    mu_sum, mu_square_sum = mu_sum.double(), mu_square_sum.double()
    variance = (mu_square_sum - mu_sum.square() / sentences) / (sentences - 1)
    return int((variance > threshold).sum())


def information_each(posterior: Distribution, eps: Tensor, chunk: int = 1024) -> Tensor:
    """log q(z_i|x_i) - log (1/N) sum_j q(z_i|x_j) of each sentence's z_i = rsample(eps_i), in nats.

    Args:
        posterior: of N sentences
        eps: standard normal draws, N x Z
        chunk: rows of the N x N table that are in memory at a time

    Returns:
        N, float64
    """
    posterior, eps = as_double(posterior), eps.to(posterior.mean).double()
    z, n = posterior.rsample(eps), len(eps)
    log_aggregate = torch.empty(n, dtype=z.dtype, device=z.device)
    if not isinstance(posterior, Gaussian):
        chunk = max(1, min(chunk, PAIRS // max(1, n)))
        for start in range(0, n, chunk):
            table = posterior.log_prob(z[start : start + chunk, None])  # chunk x N
            log_aggregate[start : start + chunk] = table.logsumexp(1)
        return posterior.log_prob(z) - log_aggregate + math.log(n)
    # log q(z_i|x_j) needs sum_d (z_i - mu_j)^2 / var_j: one matrix product instead of an N x N x Z table
    mu, logvar = posterior
    precision = torch.exp(-logvar)
    constant = (mu.square() * precision + logvar).sum(1)  # N; the term of 2 pi cancels
    right = torch.cat((precision, -2 * mu * precision), dim=1).T  # 2Z x N
    for start in range(0, n, chunk):
        s = z[start : start + chunk]
        table = torch.addmm(constant, torch.cat((s.square(), s), dim=1), right, beta=-0.5, alpha=-0.5)  # chunk x N
        log_aggregate[start : start + chunk] = table.logsumexp(1)
    return -0.5 * (eps.square() + logvar).sum(1) - log_aggregate + math.log(n)


def mutual_information(posterior: Distribution, eps: Tensor, chunk: int = 1024) -> float:
    """Estimate of I(x; z) under q(z|x) and the N given sentences; never above log N, so print log N beside it.

    (1/N) sum_i [ log q(z_i|x_i) - log (1/N) sum_j q(z_i|x_j) ] with one sample z_i of each posterior (Hoffman & Johnson
    2016; He et al. 2019). The same sample stands in both terms, so that a collapsed posterior gives 0 and far apart
    ones log N exactly; papers take the first in closed form, of equal expectation.

    Args:
        posterior: of N sentences
        eps: standard normal draws, N x Z
        chunk: rows of the N x N table that are in memory at a time

    Returns:
        nats
    """
    return float(information_each(posterior, eps, chunk).mean())
