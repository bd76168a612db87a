"""Corruption of the encoder's input, by name, and word dropout of the decoder's: functions of tokens and streams.

A corruption is a function (tokens, ratio, mask, stream) -> tokens. Its tokens are a sentence's without the last one,
the end of sentence, which always stays. The ratio is 0 to 1, and mask is the number of <mask>.

Shapes: B sentences, T and U lengths in tokens.
"""

from typing import Sequence

import numpy as np
import torch
from torch import Tensor

from .rational import exact
from .registry import Registry
from .transfer import on_device

__all__ = ["corrupted", "corruptions", "register_corruption", "word_dropout"]

# the kind is named after its flag, --noise
corruptions: Registry = Registry("noise", counts=lambda name: {"noise": (name,)})
register_corruption = corruptions.register


@register_corruption("none")
def none(tokens: Tensor, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """Return the sentence as it is."""
    return tokens


@register_corruption(
    "deletion", help="takes a uniform number between 0 and floor(ratio x length) of a sentence's tokens away"
)
def deletion(tokens: Tensor, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """Delete k tokens, k uniform on {0, ..., floor(ratio * length)}; each choice of k tokens is equally probable.

    Park & Lee 2021, https://arxiv.org/abs/2108.02446.

    Args:
        tokens: T
        ratio: 0 to 1
        mask: not used
        stream: the sentence's own

    Returns:
        T - k
    """
    keep = torch.ones(len(tokens), dtype=torch.bool)
    count = stream.integers(int(exact(ratio) * len(tokens)) + 1)
    keep[torch.from_numpy(stream.permutation(len(tokens))[:count])] = False
    return tokens[keep]


@register_corruption("masking", help="replaces each with probability ratio by <mask>")
def masking(tokens: Tensor, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """Replace each token by `mask` with probability `ratio`.

    Args:
        tokens: T
        ratio: 0 to 1
        mask: the number of <mask>
        stream: the sentence's own

    Returns:
        T
    """
    keep = torch.from_numpy(stream.random(len(tokens)) >= ratio)
    return torch.where(keep, tokens, torch.full_like(tokens, mask))


def corrupted(tokens: Tensor, corruption: str, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """Corrupt a sentence; its last token, the end of sentence, always stays.

    Args:
        tokens: T; not changed
        corruption: the name of a registered corruption
        ratio: its strength, 0 to 1
        mask: the number of <mask>
        stream: the sentence's own

    Returns:
        tokens; at most T with the corruptions here

    Raises:
        InputError: no corruption has that name

    >>> corrupted(torch.tensor([7, 8, 2]), "masking", 1.0, 9, np.random.default_rng(1)).tolist()
    [9, 9, 2]
    """
    return torch.cat((corruptions[corruption](tokens[:-1], ratio, mask, stream), tokens[-1:]))


def word_dropout(
    tokens: Tensor, ratio: float, unknown: int, padding: int, streams: Sequence[np.random.Generator]
) -> Tensor:
    """Replace each token of the decoder's input by `unknown` with probability `ratio`.

    Bowman et al. 2016, https://arxiv.org/abs/1511.06349. The first token of a row, which starts the sentence, stays,
    and so does padding. A row's result does not depend on its padding.

    Args:
        tokens: B x U; not changed
        ratio: 0 to 1
        unknown: the number of <unk>
        padding: the number of <pad>
        streams: the sentences' own, B

    Returns:
        B x U

    >>> word_dropout(torch.tensor([[2, 7, 8, 1]]), 1.0, 3, 1, [np.random.default_rng(1)]).tolist()
    [[2, 3, 3, 1]]
    """
    # a number for each token but the first of a row; rows with padding take the first ones
    draws = torch.from_numpy(np.stack([stream.random(tokens.size(1) - 1) < ratio for stream in streams]))
    draws = on_device(torch.cat((draws.new_zeros(len(draws), 1), draws), dim=1), tokens.device)  # B x U
    word = tokens.ne(padding)
    dropped = draws.gather(1, (word.cumsum(1) - 1).clamp(min=0)) & word
    return tokens.masked_fill(dropped, unknown)
