"""Streams: seeded randomness that belongs to a sentence, the same for any batch, worker, device or restart.

Each stream is a generator of its own, of (seed, purpose, time, sentence).
"""

from enum import IntEnum
from typing import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Purpose", "standard_normal", "stream"]


class Purpose(IntEnum):
    """The use of a stream; streams for different uses are independent."""

    SOURCE = 0  # corruption of the encoder's input; when = epoch
    TRAINING = 1  # eps of z in training; when = update
    VALIDATION = 2  # eps of z in validation and evaluation; when = 0, or the sample's number
    GENERATION = 3  # eps of z in generation; when = 0
    WORDS = 4  # words that the decoder does not see in training; when = update
    PRIOR = 5  # eps of the prior's samples that the MMD compares with; when = update


def stream(seed: int, purpose: Purpose, when: int, index: int) -> np.random.Generator:
    """The numpy generator of one sentence: Philox keyed by seed and purpose, its 256-bit counter starting at
    (when, index) in the upper half, so that streams never meet (Salmon et al. 2011).

    Args:
        seed: 0 or more
        purpose: the stream's use
        when: the epoch, update or sample
        index: the sentence's number

    >>> stream(1, Purpose.SOURCE, 0, 5).integers(100) == stream(1, Purpose.SOURCE, 0, 5).integers(100)
    True
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, when, index]))


def standard_normal(seed: int, purpose: Purpose, when: int, indices: Sequence[int], dim: int) -> Tensor:
    """Standard normal draws, a row for each sentence of its own stream.

    Args:
        seed, purpose, when: as for stream
        indices: the sentences' numbers, B
        dim: draws a sentence

    Returns:
        B x dim, float32, on the CPU
    """
    draws = [stream(seed, purpose, when, index).standard_normal(dim, np.float32) for index in indices]
    return torch.from_numpy(np.stack(draws)) if draws else torch.empty(0, dim)
