"""Pooling."""

import math
from typing import Optional

import torch
from torch import Tensor

POOLINGS = ("mean", "max", "first", "attention")


def pool(hidden: Tensor, padding_mask: Tensor, how: str, query: Optional[Tensor] = None) -> Tensor:
    """One vector a sentence from the encoder's states; padding never counts, on either side.

    Args:
        hidden: encoder states, T x B x C
        padding_mask: true where a token is padding, B x T
        how: "mean", "max" (over time, each channel by itself), "first" (the first token that is not padding),
            "attention" (softmax over time of hidden . query / sqrt(C))
        query: learned vector of "attention", C

    Returns:
        pooled states in float32, B x C
    """
    hidden = hidden.float().transpose(0, 1)  # B x T x C
    if how == "first":
        first = padding_mask.logical_not().int().argmax(dim=1)  # B
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    if how == "max":
        return hidden.masked_fill(padding_mask.unsqueeze(-1), -math.inf).amax(dim=1)
    if how == "mean":
        scores = torch.zeros_like(padding_mask, dtype=hidden.dtype)
    elif how == "attention":
        scores = hidden @ query.float() / math.sqrt(hidden.size(-1))  # B x T
    else:
        raise ValueError(f"unknown pooling {how!r}: choose one of {', '.join(POOLINGS)}")
    weights = scores.masked_fill(padding_mask, -math.inf).softmax(dim=1)
    return torch.einsum("bt,btc->bc", weights, hidden)
