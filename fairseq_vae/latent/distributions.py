"""Distributions of z."""

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor


class GaussianPosterior(NamedTuple):
    """Diagonal Gaussian q(z|x) = N(mu, diag(exp(logvar))), one row a sentence; always float32.

    Attributes:
        mu: mean, B x Z
        logvar: log-variance, B x Z
    """

    mu: Tensor
    logvar: Tensor

    def rsample(self, noise: Optional[Tensor] = None) -> Tensor:
        """z = mu + exp(logvar / 2) * noise, B x Z (Kingma & Welling 2014, the reparameterisation).

        noise: standard normal, B x Z; drawn from torch's global generator if None.
        """
        if noise is None:
            noise = torch.randn_like(self.mu)
        return self.mu + torch.exp(0.5 * self.logvar) * noise.to(self.mu)

    def kl(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) of each dimension in nats, B x Z (Kingma & Welling 2014, appendix B).

        0.5 * (mu^2 + exp(logvar) - 1 - logvar), written so that it is exactly 0 at mu = logvar = 0.
        """
        return 0.5 * (self.mu.square() + torch.expm1(self.logvar) - self.logvar)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) of each row in nats, B."""
        square = (z - self.mu).square() * torch.exp(-self.logvar)
        return -0.5 * (square + self.logvar + math.log(2 * math.pi)).sum(-1)
