"""The prior of a conditional model: a Gaussian of z that a network makes of the source.

Shapes: B sources, C model width, Z latent dimensions.
"""

from typing import Any, Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..base.errors import InputError
from .context import Context
from .distributions import Gaussian
from .posterior import bounded
from .prior import Prior, register_prior

__all__ = ["ConditionalPrior"]


@register_prior("conditional", help="a Gaussian with independent dimensions, made of the source (bart_cvae)")
class ConditionalPrior(Prior):
    """p(z | x) = N(mu(x), diag(exp(logvar(x)))), in float32 whatever the model's precision.

    mu and logvar are affine maps of tanh(W h + b), with the pooled source h and as many hidden numbers as h has; logvar
    is bounded as a posterior's. Zhao et al. 2017, https://arxiv.org/abs/1703.10960, the prior network of their released
    code. It begins as N(0, I) for every source.

    Args:
        dim: Z
        config: not used

    Raises:
        InputError: `connect`: the encoder's model is not conditional

    >>> from types import SimpleNamespace
    >>> prior = ConditionalPrior(3)
    >>> prior.connect(SimpleNamespace(conditional=True, embed_tokens=nn.Embedding(9, 4)))
    >>> prior.reset_parameters()
    >>> prior(Context(torch.ones(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool), torch.ones(2, 4))).mu.shape
    torch.Size([2, 3])
    """

    signature = "conditional"
    conditional = True

    def __init__(self, dim: int, config: Any = None):
        super().__init__(dim, config)

    def connect(self, encoder: Any) -> None:
        if not encoder.conditional:
            raise InputError("--latent-prior conditional has no source to read in bart_vae: give --arch bart_cvae")
        width: int = encoder.embed_tokens.embedding_dim
        self.hidden = nn.Linear(width, width)
        self.mu, self.logvar = nn.Linear(width, self.dim), nn.Linear(width, self.dim)

    def reset_parameters(self) -> None:
        """Start as N(0, I); the hidden numbers start of the size of the pooled source's."""
        nn.init.normal_(self.hidden.weight, std=self.hidden.in_features**-0.5)
        for layer in (self.mu, self.logvar):
            nn.init.zeros_(layer.weight)

    def forward(self, context: Optional[Context] = None) -> Gaussian:
        if context is None:
            raise InputError("--latent-prior conditional: a prior of a source, and there is none: give sources")
        with torch.autocast(context.pooled.device.type, enabled=False):
            hidden = torch.tanh(affine(self.hidden, context.pooled))
            return Gaussian(affine(self.mu, hidden), bounded(affine(self.logvar, hidden)))


def affine(layer: Any, x: Tensor) -> Tensor:
    """A linear layer in float32, whatever the precision of its weights."""
    return F.linear(x.float(), layer.weight.float(), layer.bias.float())
