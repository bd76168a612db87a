"""Streams: seeded randomness of one sentence each, the same for any batch, worker, device or restart.

A stream is given by (seed, purpose, time, sentence), and by nothing else.
"""

from enum import IntEnum
from typing import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["APART", "Purpose", "standard_normal", "stream"]

# draw k of a sentence, where generation makes several, has the stream of the number sentence + k * APART; inner step k
# of an update has the streams of the time update + k * APART
APART = 2**40


class Purpose(IntEnum):
    """The use of a stream; streams for different uses are independent.

    >>> stream(1, Purpose.SOURCE, 0, 5).integers(10**9) == stream(1, Purpose.WORDS, 0, 5).integers(10**9)
    False
    """

    SOURCE = 0  # corruption of the encoder's input; when = epoch
    TRAINING = 1  # eps of z in training; when = update
    VALIDATION = 2  # eps of z in validation and evaluation; when = 0, or the sample's number
    GENERATION = 3  # eps of z in generation; when = 0
    WORDS = 4  # dropout of words of the decoder's input in training; when = update
    PRIOR = 5  # eps of the prior's samples in the MMD; when = update
    TOKENS = 6  # words drawn in generation; when = the number of words before
    PAIRS = 7  # sentences paired in evaluation; when = sentence = 0
    INNER = 8  # batches of aggressive inference; when = update, sentence = inner step
    FITTING = 9  # eps of the z's that a prior is fitted to; when = 0 of training sentences, 1 of those held out


def stream(seed: int, purpose: Purpose, when: int, index: int) -> np.random.Generator:
    """The stream of one sentence.

    It is numpy's Philox (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405), keyed by seed and purpose. Its
    256-bit counter has (when, index) in the upper half and starts at 0 in the lower half, so streams never meet.

    Args:
        seed: 0 or more
        purpose: the stream's use
        when: the number of the epoch, update or sample, 0 or more
        index: the sentence's number, 0 or more

    Returns:
        the stream; numpy's class for it is Generator

    >>> stream(1, Purpose.SOURCE, 0, 5).integers(100) == stream(1, Purpose.SOURCE, 0, 5).integers(100)
    True
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, when, index]))


def standard_normal(seed: int, purpose: Purpose, when: int, indices: Sequence[int], dim: int) -> Tensor:
    """Standard normal draws, for each sentence a row from its own stream.

    Args:
        seed: 0 or more
        purpose: the streams' use
        when: the number of the epoch, update or sample, 0 or more
        indices: the sentences' numbers, B
        dim: draws for each sentence

    Returns:
        B x dim, float32, on the CPU

    >>> together = standard_normal(1, Purpose.TRAINING, 7, [3, 1], dim=4)
    >>> together[1:].equal(standard_normal(1, Purpose.TRAINING, 7, [1], dim=4))
    True
    """
    draws = [stream(seed, purpose, when, index).standard_normal(dim, np.float32) for index in indices]
    return torch.from_numpy(np.stack(draws)) if draws else torch.empty(0, dim)
