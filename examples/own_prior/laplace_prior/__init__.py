"""A prior of one's own: fairseq-train --user-dir examples/own_prior/laplace_prior --latent-prior laplace."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

import fairseq_vae
from fairseq_vae.latent.prior import Prior, register_prior


class Laplace(NamedTuple):
    """Independent Laplace distributions with density exp(-|z - mean| / scale) / (2 scale) in each dimension.

    Attributes:
        mean: Z
        scale: Z
    """

    mean: Tensor
    scale: Tensor

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """z, B x Z, of standard normal draws eps, B x Z: the same quantiles of the other distribution."""
        if eps is None:
            eps = torch.randn_like(self.mean)
        tail = torch.special.log_ndtr(-eps.abs().to(self.mean))  # log of the mass beyond |eps|, at most log 1/2
        return self.mean - eps.to(self.mean).sign() * self.scale * (tail + math.log(2))

    def log_prob(self, z: Tensor) -> Tensor:
        """Nats, B."""
        return -((z - self.mean).abs() / self.scale + torch.log(2 * self.scale)).sum(-1)


@dataclass
class LaplaceFlags:
    laplace_scale: float = field(
        default=1.0,
        metadata={"help": "scale of the Laplace prior at the start of training, which then learns it (default: 1)"},
    )


@register_prior("laplace", LaplaceFlags, help="independent Laplace distributions whose scales are learned")
class LaplacePrior(Prior):
    signature = "Laplace"

    def __init__(self, dim: int, config: LaplaceFlags):
        super().__init__(dim, config)
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(config.laplace_scale)))

    def forward(self, context: Optional[Tensor] = None) -> Laplace:
        scale = self.log_scale.float().exp()
        return Laplace(torch.zeros_like(scale), scale)


fairseq_vae.register()
