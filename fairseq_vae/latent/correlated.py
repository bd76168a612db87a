"""Posteriors whose dimensions depend on one another: Gaussians with a full covariance, and flows.

Shapes: B sentences, C model width, Z latent dimensions, K latent vectors of D = Z / K dimensions each, H numbers of a
flow's context.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..base.errors import InputError
from ..base.needs import check_sizes, shown
from .blocks import blockwise
from .distributions import BlockGaussian, Gaussian
from .flows import SplineFlow
from .pooling import Pooling
from .posterior import BoundedConfig, DiagonalPosterior, register_posterior

__all__ = ["FlowPosterior", "FlowedGaussian", "FullPosterior"]

BELOW_BOUND = 8.0  # of the entries below the diagonal of L, in its row's own deviation: smooth, as the log-variance's

# The least slope of a spline at a knot, and its inverse the largest: log q of a sample passes through the flow and
# back, where gradients grow with the slope before they cancel, beyond half precision's largest number.
SLOPE = 0.1


@register_posterior("full", BoundedConfig, help="a Gaussian with a full covariance of each latent vector")
class FullPosterior(DiagonalPosterior):
    """N(mu(x), L(x) L(x)^T), L with a lower triangular block for each latent vector.

    L_ii = sigma_i, the deviations of the diagonal posterior, and L_ij = sigma_i a_ij for i > j, with
    a = BELOW_BOUND * tanh(raw / BELOW_BOUND) and an affine map `raw` of the pooled states. The map starts at 0, where
    this is the diagonal posterior.

    Args:
        width: C
        dim: Z
        pooling: from the encoder's states to one vector, or to K
        config: the flags; None: their defaults

    Raises:
        InputError: a latent vector has one dimension, or as for the diagonal posterior

    >>> from fairseq_vae.latent.pooling import poolings
    >>> posterior = FullPosterior(4, 3, poolings["mean"](4))
    >>> posterior(torch.randn(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)).tril.shape
    torch.Size([2, 1, 3, 3])
    """

    optional_state = ("below",)  # a diagonal posterior's checkpoint begins it
    places: Tensor

    def __init__(self, width: int, dim: int, pooling: Pooling, config: Optional[BoundedConfig] = None):
        super().__init__(width, dim, pooling, config)
        self.vectors = pooling.vectors
        size = dim // self.vectors
        if size < 2:
            raise InputError(
                f"--latent-posterior full: --latent-dim {size} has no covariance; expected 2 or more dimensions, or "
                "--latent-posterior diagonal"
            )
        self.below = nn.Linear(width, self.vectors * (size * (size - 1) // 2))
        self.register_buffer("places", torch.tril_indices(size, size, -1), persistent=False)

    def reset_parameters(self) -> None:
        """Start as the diagonal posterior."""
        super().reset_parameters()
        nn.init.zeros_(self.below.weight)
        nn.init.zeros_(self.below.bias)

    def distribution(self, pooled: Tensor, gaussian: Gaussian) -> BlockGaussian:
        raw = blockwise(pooled, self.below.weight.float(), self.below.bias.float())
        raw = raw.unflatten(-1, (self.vectors, -1))  # B x K x D (D - 1) / 2
        sigma = torch.exp(0.5 * gaussian.logvar).unflatten(-1, (self.vectors, -1))  # B x K x D
        unit = torch.diag_embed(torch.ones_like(sigma))  # B x K x D x D
        row, column = self.places
        unit[..., row, column] = BELOW_BOUND * torch.tanh(raw / BELOW_BOUND)
        return BlockGaussian(gaussian.mu, sigma.unsqueeze(-1) * unit)


class FlowedGaussian(NamedTuple):
    """z = f(u | c), u of a diagonal Gaussian, f invertible with the sentence's context c.

    Attributes:
        mean: f(mu | c), which stands for the mean of z, B x Z; the flow has none in closed form
        base_mu: mean of u, B x Z
        base_logvar: log-variance of u, B x Z
        context: c, B x H
        flow: whose `to_z` is f

    >>> base, context = torch.zeros(2, 3), torch.zeros(2, 4)
    >>> flow = SplineFlow(3, transforms=2, hidden=8, context=4, passes=2)
    >>> flow.reset_parameters()  # f is the identity
    >>> z = FlowedGaussian(base, base, base, context, flow).rsample(torch.ones(2, 3)).detach()
    >>> torch.allclose(z, torch.ones(2, 3), atol=1e-5)
    True
    """

    mean: Tensor
    base_mu: Tensor
    base_logvar: Tensor
    context: Tensor
    flow: SplineFlow

    @property
    def mi_sentences(self) -> int:
        """Most sentences among which an evaluation measures mutual information: each pair takes a pass of the flow."""
        return 1024

    @property
    def base(self) -> Gaussian:
        """The distribution of u."""
        return Gaussian(self.base_mu, self.base_logvar)

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """f(mu + sigma eps | c).

        Args:
            eps: standard normal draws, B x Z; None takes them from torch's global random state

        Returns:
            B x Z
        """
        return self.flow.to_z(self.base.rsample(eps), self.context)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(u; mu, sigma^2) + log|det du/dz| of each row of z = f(u | c).

        Args:
            z: B x Z, or with more dimensions in front for a table

        Returns:
            nats, B, or a table
        """
        u, volume = self.flow.to_draws(z, self.context)
        return self.base.log_prob(u) + volume


@dataclass
class PosteriorFlowConfig:
    """Flags of the flow."""

    posterior_flow_transforms: int = field(
        default=2,
        metadata={
            "help": "splines behind one another in the posterior's flow (default: 2)",
        },
    )
    posterior_flow_hidden: int = field(
        default=64,
        metadata={
            "help": "width of the context and of the hidden layers of the posterior's flow (default: 64)",
        },
    )
    posterior_flow_passes: int = field(
        default=2,
        metadata={
            "help": "groups of dimensions that a spline of the posterior's flow changes one after another, each given "
            "those before: 1 gives each the context alone, 2 is coupling, 0 as many as there are dimensions "
            "(autoregressive), and a draw takes as much time (default: 2)",
        },
    )


@register_posterior(
    "flow", PosteriorFlowConfig, help="a Gaussian behind a neural spline flow, whose KL is sampled; needs zuko"
)
class FlowPosterior(DiagonalPosterior):
    """z = f(mu(x) + sigma(x) eps | c(x)), with the diagonal posterior's mu and sigma.

    f is a neural spline flow (see SplineFlow), c an affine map of the pooled states to as many numbers as its hidden
    layers have. f starts as the identity, where this is the diagonal posterior. The rate has no closed form. Amortised
    posteriors that are flows are of Rezende & Mohamed 2015, https://arxiv.org/abs/1505.05770.

    Args:
        width: C
        dim: Z
        pooling: from the encoder's states to one vector, or to K
        config: the flags; None: their defaults

    Raises:
        InputError: zuko is not installed, or a flag has a bad value

    >>> from fairseq_vae.latent.pooling import poolings
    >>> posterior = FlowPosterior(4, 3, poolings["mean"](4))
    >>> posterior(torch.randn(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)).context.shape
    torch.Size([2, 64])
    """

    has_rows = False
    optional_state = ("context", "flow", "groups")  # a diagonal posterior's checkpoint begins them

    def __init__(self, width: int, dim: int, pooling: Pooling, config: Optional[PosteriorFlowConfig] = None):
        super().__init__(width, dim, pooling, config)
        config = config or PosteriorFlowConfig()
        check_sizes(config, posterior_flow_transforms=1, posterior_flow_hidden=1, posterior_flow_passes=0)
        transforms, hidden = config.posterior_flow_transforms, config.posterior_flow_hidden
        passes = config.posterior_flow_passes
        if passes > max(dim, PosteriorFlowConfig.posterior_flow_passes):
            raise InputError(
                f"{shown('posterior_flow_passes', passes)}: expected at most {dim}, the dimensions of z; 0 is as many"
            )
        self.context = nn.Linear(width * pooling.vectors, hidden)
        self.flow = SplineFlow(dim, transforms, hidden, hidden, passes, SLOPE)
        # weights have the same shapes whatever the passes: by this one's shape a checkpoint of others is refused
        self.register_buffer("groups", torch.zeros(min(passes or dim, dim)))

    def reset_parameters(self) -> None:
        """Start as the diagonal posterior, with a context as large as the pooled states."""
        super().reset_parameters()
        nn.init.normal_(self.context.weight, std=self.context.in_features**-0.5)
        self.flow.reset_parameters()

    def distribution(self, pooled: Tensor, gaussian: Gaussian) -> FlowedGaussian:
        context: Any = F.linear(pooled.flatten(1), self.context.weight.float(), self.context.bias.float())
        return FlowedGaussian(self.flow.to_z(gaussian.mu, context), *gaussian, context, self.flow)
