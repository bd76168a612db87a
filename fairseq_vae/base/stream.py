"""Randomness that belongs to a sentence: the same for any batch, worker, device or restart. No fairseq.

Every draw comes from a generator of its own, seeded by (seed, what it is for, when, the sentence's index).
"""

from enum import IntEnum
from typing import Sequence

import numpy as np
import torch
from torch import Tensor


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
