"""Corruption of sentences on their way into the encoder, by name, and of the decoder's input.

Pure functions of tokens and a stream of random numbers.

Shapes: B sentences, T and U lengths in tokens.
"""

from typing import Sequence

import numpy as np
import torch
from torch import Tensor

from .registry import Registry

__all__ = ["corrupted", "corruptions", "register_corruption", "word_dropout"]

# A corruption is a function (tokens, ratio, mask, stream) -> tokens: of a sentence's tokens without its last one (the
# end of sentence, which always stays), a ratio from 0 to 1, the number of <mask>, and a numpy generator.
corruptions: Registry = Registry("noise")
register_corruption = corruptions.register


@register_corruption("none")
def none(tokens: Tensor, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """The sentence as it is."""
    return tokens


@register_corruption(
    "deletion", help="takes a uniform number between 0 and floor(ratio x length) of a sentence's tokens away"
)
def deletion(tokens: Tensor, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """The sentence without k of its tokens, k uniform on {0, ..., floor(ratio * length)}, any k of them (Park & Lee
    2021)."""
    keep = torch.ones(len(tokens), dtype=torch.bool)
    count = stream.integers(int(ratio * len(tokens)) + 1)
    keep[torch.from_numpy(stream.permutation(len(tokens))[:count])] = False
    return tokens[keep]


@register_corruption("masking", help="replaces each with probability ratio by <mask>")
def masking(tokens: Tensor, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """The sentence with each token replaced by `mask` with probability `ratio`."""
    keep = torch.from_numpy(stream.random(len(tokens)) >= ratio)
    return torch.where(keep, tokens, torch.full_like(tokens, mask))


def corrupted(tokens: Tensor, corruption: str, ratio: float, mask: int, stream: np.random.Generator) -> Tensor:
    """A corrupted sentence; its last token, the end of sentence, always stays.

    Args:
        tokens: T; not changed
        corruption: the name of a registered one
        ratio: its strength, 0 to 1
        mask: the number of <mask>
        stream: a numpy generator

    Returns:
        tokens, at most T

    Raises:
        InputError: no corruption has that name

    >>> corrupted(torch.tensor([7, 8, 2]), "masking", 1.0, 9, np.random.default_rng(1)).tolist()
    [9, 9, 2]
    """
    return torch.cat((corruptions[corruption](tokens[:-1], ratio, mask, stream), tokens[-1:]))


def word_dropout(
    tokens: Tensor, ratio: float, unknown: int, padding: int, streams: Sequence[np.random.Generator]
) -> Tensor:
    """The decoder's input with each token replaced by `unknown` with probability `ratio` (Bowman et al. 2016).

    A row's first token, which starts the sentence, stays, and so does padding; a row's result does not depend on its
    padding.

    Args:
        tokens: B x U; not changed
        ratio: 0 to 1
        unknown: the number of <unk>
        padding: the number of <pad>
        streams: a numpy generator for each sentence

    Returns:
        B x U
    """
    tokens = tokens.clone()
    for row, stream in zip(tokens, streams):
        places = row.ne(padding).nonzero().flatten()[1:]
        dropped = torch.from_numpy(stream.random(len(places)) < ratio)
        row[places[dropped.to(places.device)]] = unknown
    return tokens
