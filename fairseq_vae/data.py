"""Sentences as fairseq's data sets."""

from typing import Callable, Optional, Sequence

import numpy as np
import torch
from fairseq.data import Dictionary, LanguagePairDataset, data_utils
from torch import Tensor


class SentenceDataset(LanguagePairDataset):
    """Sentences as pairs: source <s> w1 ... wn </s>, maybe noised, and target w1 ... wn </s>, always clean.

    Args:
        sentences: token tensors that end with </s>
        sizes: their lengths
        noise: (tokens, epoch, index) to noised tokens, or None for a clean source
        has_target: whether samples have a target
        seed: of the order in which sentences of the same length form batches
    """

    def __init__(
        self,
        sentences: Sequence[Tensor],
        sizes: Sequence[int],
        dictionary: Dictionary,
        noise: Optional[Callable[[Tensor, int, int], Tensor]] = None,
        has_target: bool = True,
        seed: int = 1,
    ):
        sizes = np.asarray(sizes)
        target = (sentences, sizes, dictionary) if has_target else ()
        super().__init__(sentences, sizes + 1, dictionary, *target, left_pad_source=False)
        self.noise = noise
        self.epoch = 1
        self.seed = seed

    def __getitem__(self, index):
        tokens = source = self.src[index]
        if self.noise is not None:
            source = self.noise(tokens, self.epoch, index)
        bos = tokens.new_tensor([self.src_dict.bos()])
        target = tokens if self.tgt is not None else None
        return {"id": index, "source": torch.cat((bos, source)), "target": target}

    def set_epoch(self, epoch):
        self.epoch = epoch

    def ordered_indices(self):
        """By length, random among equals; the same in every epoch. fairseq would order by the epoch in which a run
        (re)starts, and so resume with other batches than the run that was stopped."""
        with data_utils.numpy_seed(self.seed):
            return super().ordered_indices()

    def batch_by_size(self, indices, max_tokens=None, max_sentences=None, required_batch_size_multiple=1):
        """Batches of every sentence: fairseq drops the last one if its size is no multiple of
        --required-batch-size-multiple (8 by default), in training, validation and generation alike."""
        batches = super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        rest = indices[sum(map(len, batches)) :]
        return [*batches, rest] if len(rest) else batches
