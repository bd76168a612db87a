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
    mu, logvar = mu.double(), logvar.double()
    n, dim = mu.shape
    z = mu + torch.exp(0.5 * logvar) * noise.to(mu)
    # log q(z_i|x_j) needs sum_d (z_i - mu_j)^2 / var_j: three matrix products instead of an N x N x Z table
    precision = torch.exp(-logvar)
    constant = (mu.square() * precision + logvar).sum(1) + dim * math.log(2 * math.pi)  # N
    log_aggregate = torch.cat(
        [
            torch.logsumexp(-0.5 * (s.square() @ precision.T - 2 * s @ (mu * precision).T + constant), dim=1)
            for s in z.split(chunk)
        ]
    ) - math.log(n)
    log_own = -0.5 * (noise.to(mu).square() + logvar + math.log(2 * math.pi)).sum(1)
    return float((log_own - log_aggregate).mean())
