"""Posteriors."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .distributions import GaussianPosterior
from .pooling import pool

# Soft bound of the log-variance: the standard deviation stays in (0.018, 55), so no exp() overflows in half precision
# and a long phase without KL cannot drive it to minus infinity.
LOGVAR_BOUND = 8.0


class FixedScaleBatchNorm(nn.Module):
    """gamma * (mu - mean) / sqrt(var + EPSILON) + shift: gamma is fixed, the shift learned (Zhu et al. 2020, BN-VAE).
    The mean KL of a sentence is then at least Z * gamma^2 / 2 nats, less what EPSILON takes.

    In training, mean and (biased) variance over the batch that this worker sees at a time: its rows depend on one
    another. Otherwise their moving averages, of the rows of all workers; so, too, in training for a batch of one row.
    """

    EPSILON = 1e-5
    MOMENTUM = 0.1

    def __init__(self, dim: int, gamma: float):
        super().__init__()
        self.gamma = gamma
        self.shift = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))

    def forward(self, mu: Tensor) -> Tensor:
        if self.training:
            mean, var = mu.mean(0), mu.var(0, unbiased=False)  # Z
            self.remember(mean.detach(), var.detach(), len(mu))
        if not self.training or len(mu) == 1:
            mean, var = self.mean.to(mu, copy=True), self.var.to(mu, copy=True)  # the next batch changes them in place
        return self.gamma * (mu - mean) * torch.rsqrt(var + self.EPSILON) + self.shift.to(mu)

    def remember(self, mean: Tensor, var: Tensor, rows: int) -> None:
        """Move the averages towards the moments of all workers' rows; one row alone has no variance."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            sums = rows * torch.stack((mean, var + mean.square(), torch.ones_like(mean)))  # 3 x Z
            torch.distributed.all_reduce(sums)
            mean, square = sums[:2] / sums[2]
            var = (square - mean.square()).clamp(min=0)
        elif rows == 1:
            return
        for average, value in ((self.mean, mean), (self.var, var)):
            average.lerp_(value.to(average), self.MOMENTUM)


class PosteriorHead(nn.Module):
    """Encoder states T x B x C to a GaussianPosterior over Z dimensions, computed in float32 whatever the model's
    precision; the log-variance is LOGVAR_BOUND * tanh(raw / LOGVAR_BOUND). bn_mu: the scale of a batch normalisation of
    the mean, 0 for none."""

    def __init__(self, embed_dim: int, latent_dim: int, pooling: str, bn_mu: float = 0.0):
        super().__init__()
        self.pooling = pooling
        self.bn_mu = FixedScaleBatchNorm(latent_dim, bn_mu) if bn_mu > 0 else None
        self.query = nn.Parameter(torch.zeros(embed_dim)) if pooling == "attention" else None
        self.mu = nn.Linear(embed_dim, latent_dim)
        self.logvar = nn.Linear(embed_dim, latent_dim)

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> GaussianPosterior:
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = pool(hidden, padding_mask, self.pooling, self.query)  # B x C
            mu, raw = (F.linear(pooled, m.weight.float(), m.bias.float()) for m in (self.mu, self.logvar))  # B x Z
            if self.bn_mu is not None:
                mu = self.bn_mu(mu)
            return GaussianPosterior(mu, LOGVAR_BOUND * torch.tanh(raw / LOGVAR_BOUND))
