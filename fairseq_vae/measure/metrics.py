"""What tells whether a text VAE uses its latent, as pure functions. Torch only, no fairseq."""

import math

import torch
from torch import Tensor

ACTIVE_VARIANCE = 0.01


def perplexity(nats: float) -> float:
    """exp(nats), infinite where that overflows; nats per token or word."""
    return math.exp(nats) if nats < 709 else math.inf


def active_units(mu_sum: Tensor, mu_square_sum: Tensor, sentences: int, threshold: float = ACTIVE_VARIANCE) -> int:
    """Active units: the number of dimensions d with Var_x(mu_d(x)) > threshold (Burda et al. 2016, eq. in 5.1).

    From additive statistics, so that batches and workers add up; the variance is the unbiased one.

    Args:
        mu_sum: sum over sentences of mu, Z
        mu_square_sum: sum over sentences of mu^2, Z
        sentences: their number N; fewer than two have no variance, and no active unit
    """
    if sentences < 2:
        return 0
    mu_sum, mu_square_sum = mu_sum.double(), mu_square_sum.double()
    variance = (mu_square_sum - mu_sum.square() / sentences) / (sentences - 1)
    return int((variance > threshold).sum())


def information_each(mu: Tensor, logvar: Tensor, noise: Tensor, chunk: int = 1024) -> Tensor:
    """log q(z_i|x_i) - log (1/N) sum_j q(z_i|x_j) of each sentence's z_i = mu_i + exp(logvar_i / 2) * noise_i, N,
    float64. Arguments as for mutual_information."""
    mu, logvar, noise = mu.double(), logvar.double(), noise.to(mu).double()
    n = len(mu)
    z = mu + torch.exp(0.5 * logvar) * noise
    # log q(z_i|x_j) needs sum_d (z_i - mu_j)^2 / var_j: one matrix product instead of an N x N x Z table
    precision = torch.exp(-logvar)
    constant = (mu.square() * precision + logvar).sum(1)  # N; the term of 2 pi cancels
    right = torch.cat((precision, -2 * mu * precision), dim=1).T  # 2Z x N
    log_aggregate = torch.empty(n, dtype=mu.dtype, device=mu.device)
    for start in range(0, n, chunk):
        s = z[start : start + chunk]
        table = torch.addmm(constant, torch.cat((s.square(), s), dim=1), right, beta=-0.5, alpha=-0.5)  # chunk x N
        log_aggregate[start : start + chunk] = table.logsumexp(1)
    return -0.5 * (noise.square() + logvar).sum(1) - log_aggregate + math.log(n)


def mutual_information(mu: Tensor, logvar: Tensor, noise: Tensor, chunk: int = 1024) -> float:
    """Estimate in nats of I(x; z) under q(z|x) and the N given sentences; never above log N, so print that beside it.

    (1/N) sum_i [ log q(z_i|x_i) - log (1/N) sum_j q(z_i|x_j) ] with one sample z_i = mu_i + exp(logvar_i / 2) * noise_i
    (Hoffman & Johnson 2016; He et al. 2019). The same sample stands in both terms, so that a collapsed
    posterior gives 0 and far apart ones log N exactly; papers take the first in closed form, of equal expectation.

    Args:
        mu, logvar: posteriors, N x Z
        noise: standard normal, N x Z
        chunk: rows of the N x N table held at a time
    """
    return float(information_each(mu, logvar, noise, chunk).mean())
