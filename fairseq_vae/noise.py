"""Randomness that belongs to a sentence: the same for any batch, worker, device or restart. No fairseq.

Every draw comes from a generator of its own, seeded by (seed, what it is for, when, the sentence's index).
"""

from enum import IntEnum
from typing import Sequence

import numpy as np
import torch
from torch import Tensor

NOISES = ("none", "deletion", "masking")


class Draw(IntEnum):
    """What a draw is for: draws for different purposes are independent."""

    SOURCE = 0  # noise on the encoder's input; when = epoch
    TRAINING = 1  # z in training; when = update
    VALIDATION = 2  # z in validation and evaluation; when = 0, so that epochs compare
    GENERATION = 3  # z or its noise in generation; when = 0
    WORDS = 4  # words that the decoder does not see in training; when = update
    PRIOR = 5  # the prior's samples that the MMD compares with; when = update


def sentence_generator(seed: int, purpose: Draw, when: int, index: int) -> np.random.Generator:
    """The numpy generator of one sentence: Philox keyed by seed and purpose, its 256-bit counter starting at
    (when, index) in the upper half, so that streams never meet (Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, when, index]))


def standard_normal(seed: int, purpose: Draw, when: int, indices: Sequence[int], dim: int) -> Tensor:
    """One standard normal vector a sentence, B x dim, float32, on the CPU."""
    rows = [sentence_generator(seed, purpose, when, index).standard_normal(dim, np.float32) for index in indices]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, dim)


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
