"""Pooling: from the encoder's states to one vector for each sentence. Padding on either side never counts.

Shapes: B batch, T source length, C model width.
"""

import math
from typing import Any, ClassVar, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..base.registry import Registry

__all__ = ["Pooling", "poolings", "register_pooling"]


class Pooling(nn.Module):
    """From the states of a sentence's tokens to one vector.

    Args:
        width: C
        config: the pooling's own flags, see Registry.register

    Attributes:
        optional_state: as a posterior's

    >>> states, padding = torch.ones(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)
    >>> poolings["mean"](4)(states, padding).shape
    torch.Size([2, 4])
    """

    optional_state: ClassVar[Tuple[str, ...]] = ()

    def __init__(self, width: int, config: Any = None):
        super().__init__()

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        """
        Args:
            hidden: states, T x B x C
            padding_mask: true where a token is padding, B x T

        Returns:
            pooled states in float32, B x C
        """
        raise NotImplementedError


poolings: Registry = Registry("pooling", ("forward",), counts=lambda name: {"latent_pooling": (name,)})
register_pooling = poolings.register


def weighted(hidden: Tensor, scores: Tensor, padding_mask: Tensor) -> Tensor:
    """Mean of states, weighted by the softmax of scores over time.

    Args:
        hidden: states, B x T x C
        scores: B x T
        padding_mask: true where a token is padding, B x T

    Returns:
        B x C
    """
    weights = scores.masked_fill(padding_mask, -math.inf).softmax(dim=1)
    return torch.einsum("bt,btc->bc", weights, hidden)


@register_pooling("mean", help="over the sentence")
class MeanPooling(Pooling):
    """Mean over time."""

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        hidden = hidden.float().transpose(0, 1)  # B x T x C
        return weighted(hidden, torch.zeros_like(padding_mask, dtype=hidden.dtype), padding_mask)


@register_pooling("max", help="over the sentence, each channel by itself")
class MaxPooling(Pooling):
    """Maximum over time, each channel by itself (Park & Lee 2021, https://arxiv.org/abs/2108.02446)."""

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        hidden = hidden.float().transpose(0, 1)  # B x T x C
        return hidden.masked_fill(padding_mask.unsqueeze(-1), -math.inf).amax(dim=1)


@register_pooling("first", help="the first token")
class FirstPooling(Pooling):
    """State of the first token that is not padding (Li et al. 2020, Optimus, https://arxiv.org/abs/2004.04092)."""

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        hidden = hidden.float().transpose(0, 1)  # B x T x C
        first = padding_mask.logical_not().int().argmax(dim=1)  # B
        return hidden[torch.arange(len(hidden), device=hidden.device), first]


@register_pooling("attention", help="with one learned query")
class AttentionPooling(Pooling):
    """Mean over time, weighted by softmax(hidden . query / sqrt(C)) with a learned query of C numbers.

    Args:
        width: C
        config: not used
    """

    def __init__(self, width: int, config: Any = None):
        super().__init__(width, config)
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        hidden = hidden.float().transpose(0, 1)  # B x T x C
        scores = hidden @ self.query.float() / math.sqrt(hidden.size(-1))  # B x T
        return weighted(hidden, scores, padding_mask)
