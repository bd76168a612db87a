"""Pooling: from the encoder's states to the vectors of each sentence. Padding on either side never counts.

Shapes: B batch, T source length, C model width, K latent vectors.
"""

import math
from typing import Any, ClassVar, List, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError
from ..base.registry import Registry

__all__ = ["Pooling", "build_pooling", "check_vectors", "poolings", "register_pooling"]


class Pooling(nn.Module):
    """From the states of a sentence's tokens to one vector, or several.

    Args:
        width: C
        config: the pooling's own flags, see Registry.register
        vectors: K; more than 1 for a class with `several` alone

    Attributes:
        several: whether the class makes more than one vector
        vectors: K
        positions: the fewest that the pooling reads: the encoder puts padding behind shorter batches
        optional_state: as a posterior's

    >>> states, padding = torch.ones(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)
    >>> poolings["mean"](4)(states, padding).shape
    torch.Size([2, 4])
    """

    several: ClassVar[bool] = False
    optional_state: ClassVar[Tuple[str, ...]] = ()

    def __init__(self, width: int, config: Any = None, vectors: int = 1):
        super().__init__()
        self.vectors = vectors
        self.positions = 0

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        """
        Args:
            hidden: states, T x B x C
            padding_mask: true where a token is padding, B x T

        Returns:
            pooled states in float32, B x C, or B x K x C for K > 1
        """
        raise NotImplementedError


poolings: Registry = Registry("pooling", ("forward",), counts=lambda name: {"latent_pooling": (name,)})
register_pooling = poolings.register


def build_pooling(name: str, width: int, values: Any = None, vectors: int = 1) -> Pooling:
    """Build a pooling.

    Args:
        name: of a registered pooling
        width: C
        values: an object with the flags of poolings as attributes; None: their defaults
        vectors: K

    Raises:
        InputError: see check_vectors

    >>> build_pooling("attention", 4, vectors=3)(torch.ones(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)).shape
    torch.Size([2, 3, 4])
    """
    check_vectors(name, vectors)
    config = poolings.config(name, values)
    return poolings[name](width, config) if vectors == 1 else poolings[name](width, config, vectors)


def check_vectors(name: str, vectors: int) -> None:
    """Refuse several vectors of a pooling that makes one.

    Args:
        name: of a registered pooling
        vectors: K

    Raises:
        InputError: the pooling makes one vector, and K is more, or K is below 1; the message names the remedy

    >>> check_vectors("mean", 1)
    >>> check_vectors("mean", 2)
    Traceback (most recent call last):
    fairseq_vae.base.errors.InputError: --latent-vectors 2 has no effect without --latent-pooling attention: give that \
too; mean makes one vector
    """
    if vectors < 1:
        raise InputError(f"--latent-vectors {vectors}: expected 1 or more")
    if vectors > 1 and name not in several():
        raise InputError(
            f"--latent-vectors {vectors} has no effect without --latent-pooling {' or '.join(several())}: give that "
            f"too; {name} makes one vector"
        )


def several() -> List[str]:
    """The names of the poolings that make more than one vector."""
    return [name for name in poolings.names() if getattr(poolings[name], "several", False)]


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


@register_pooling("attention", help="with a learned query for each latent vector")
class AttentionPooling(Pooling):
    """Mean over time, weighted by softmax(hidden . query / sqrt(C)) with a learned query of C numbers.

    Of K > 1 vectors each has a query, and its scores have a further term: -sharpness_k (K (t + 1/2) / n - (k + 1/2))^2
    for token t of n and vector k, both from 0. So vector k starts as the mean of about the k-th part of the sentence;
    the sharpness is learned. Without it all vectors would start equal.

    Args:
        width: C
        config: not used
        vectors: K
    """

    SHARPNESS = 8.0  # at the start: e^-2 at the ends of a vector's part
    several = True

    def __init__(self, width: int, config: Any = None, vectors: int = 1):
        super().__init__(width, config, vectors)
        self.query = nn.Parameter(torch.zeros(width) if vectors == 1 else torch.zeros(vectors, width))
        if vectors > 1:
            self.sharpness = nn.Parameter(torch.full((vectors,), self.SHARPNESS))

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        hidden = hidden.float().transpose(0, 1)  # B x T x C
        scores = hidden @ self.query.float().t() / math.sqrt(hidden.size(-1))  # B x T, or B x T x K
        if self.vectors == 1:
            return weighted(hidden, scores, padding_mask)
        scores = (scores - self.sharpness.float() * self.distance(padding_mask)).masked_fill(
            padding_mask.unsqueeze(-1), -math.inf
        )
        return scores.softmax(dim=1).transpose(1, 2) @ hidden

    def distance(self, padding_mask: Tensor) -> Tensor:
        """The squared distance of each token from the middle of each vector's part, in parts, B x T x K."""
        real = padding_mask.logical_not().float()
        place = (real.cumsum(1) - 0.5) / real.sum(1, keepdim=True).clamp(min=1)  # B x T, 0 to 1
        middle = torch.arange(self.vectors, device=real.device) + 0.5
        return (self.vectors * place.unsqueeze(-1) - middle).square()
