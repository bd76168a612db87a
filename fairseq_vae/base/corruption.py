"""Corruption of sentences on their way into encoder or decoder, as pure functions of tokens and a generator."""

from typing import Sequence

import numpy as np
import torch
from torch import Tensor

NOISES = ("none", "deletion", "masking")


def noised(tokens: Tensor, noise: str, ratio: float, mask: int, generator: np.random.Generator) -> Tensor:
    """A sentence with noise; its last token (the end of sentence) always stays.

    none: as it is. deletion: k tokens go, k uniform on {0, ..., floor(ratio * length)}, which ones uniform (Park & Lee
    2021). masking: each token is replaced by `mask` with probability `ratio`. `length` leaves the last token out.

    Args:
        tokens: T
        ratio: between 0 and 1

    Returns:
        the noised sentence, at most T long; `tokens` itself is not changed
    """
    length = len(tokens) - 1
    if noise == "none":
        return tokens
    keep = torch.ones(len(tokens), dtype=torch.bool)
    if noise == "deletion":
        count = generator.integers(int(ratio * length) + 1)
        keep[torch.from_numpy(generator.permutation(length)[:count])] = False
        return tokens[keep]
    if noise == "masking":
        keep[:-1] = torch.from_numpy(generator.random(length) >= ratio)
        return torch.where(keep, tokens, torch.full_like(tokens, mask))
    raise ValueError(f"unknown noise {noise!r}: choose one of {', '.join(NOISES)}")


def word_dropout(
    tokens: Tensor, ratio: float, unknown: int, padding: int, generators: Sequence[np.random.Generator]
) -> Tensor:
    """The decoder's input with each token replaced by `unknown` with probability `ratio` (Bowman et al. 2016).

    Never a row's first token, which starts the sentence, nor padding; which ones does not depend on padding.

    Args:
        tokens: B x U; not changed
        generators: one a sentence
    """
    tokens = tokens.clone()
    for row, generator in zip(tokens, generators):
        places = row.ne(padding).nonzero().flatten()[1:]
        dropped = torch.from_numpy(generator.random(len(places)) < ratio)
        row[places[dropped.to(places.device)]] = unknown
    return tokens
