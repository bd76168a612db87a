"""Sentences as fairseq's data sets."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import numpy as np
import torch
from fairseq.data import Dictionary, LanguagePairDataset, data_utils
from torch import Tensor

__all__ = ["SentenceDataset"]


class SentenceDataset(LanguagePairDataset):
    """Sentences as pairs: source <s> w1 ... wn </s>, corrupted or clean, and target w1 ... wn </s>, always clean.

    Args:
        sentences: N tensors of tokens, each with </s> at its end
        sizes: their lengths, N
        dictionary: of source and target
        corrupt: a function from (tokens, epoch, index) to corrupted tokens; None for a clean source
        has_target: whether samples have a target
        seed: of the order in which sentences of the same length form batches
        on_batch: a function that is given the numbers of each batch's sentences as the batch is made

    Attributes:
        epoch: the number of the epoch, from 1
    """

    def __init__(
        self,
        sentences: Sequence[Tensor],
        sizes: Union[Sequence[int], np.ndarray],
        dictionary: Dictionary,
        corrupt: Optional[Callable[[Tensor, int, int], Tensor]] = None,
        has_target: bool = True,
        seed: int = 1,
        on_batch: Optional[Callable[[List[int]], None]] = None,
    ):
        lengths = np.asarray(sizes)
        target = (sentences, lengths, dictionary) if has_target else ()
        super().__init__(sentences, lengths + 1, dictionary, *target, left_pad_source=False)
        self.corrupt = corrupt
        self.epoch = 1
        self.seed = seed
        self.on_batch = on_batch

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """A pair: `id`, `source` and `target`, which is None without targets."""
        tokens = source = self.src[index]
        if self.corrupt is not None:
            source = self.corrupt(tokens, self.epoch, index)
        bos = tokens.new_tensor([self.src_dict.bos()])
        target = tokens if self.tgt is not None else None
        return {"id": index, "source": torch.cat((bos, source)), "target": target}

    def collater(self, samples: Sequence[Dict[str, Any]], pad_to_length: Optional[Dict[str, int]] = None) -> Any:
        """fairseq's batch of some pairs, with what the host has to know of it when it is on a device.

        Returns:
            fairseq's batch; with `numbers`, those in `id`, as a list, which stays on the host, and, where there are
            targets, `places`, those of target tokens that are not padding among all B x U, row by row
        """
        batch = super().collater(samples, pad_to_length)
        if batch:
            batch["numbers"] = batch["id"].tolist()
            if batch["target"] is not None:
                batch["places"] = batch["target"].flatten().ne(self.tgt_dict.pad()).nonzero().flatten()
        if self.on_batch is not None and batch:
            self.on_batch(batch["numbers"])
        return batch

    def set_epoch(self, epoch: int) -> None:
        """Keep the number of the epoch, on which the corruption depends."""
        self.epoch = epoch

    def ordered_indices(self) -> np.ndarray:
        """The sentences' numbers by length, in random order among equal lengths; the same in every epoch.

        fairseq's own order depends on the epoch in which a run starts or resumes, so a resumed run would have other
        batches than the run that was stopped.

        Returns:
            N
        """
        with data_utils.numpy_seed(self.seed):
            return super().ordered_indices()

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        required_batch_size_multiple: int = 1,
    ) -> List[np.ndarray]:
        """Batches that together have every sentence.

        fairseq drops the last batch if its size is no multiple of --required-batch-size-multiple (8 by default), in
        training, validation and generation alike.

        Args:
            indices: the sentences' numbers, in order
            max_tokens: in a batch
            max_sentences: in a batch
            required_batch_size_multiple: of the number of sentences in a batch

        Returns:
            the sentences' numbers, batch by batch
        """
        batches = super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        rest = indices[sum(map(len, batches)) :]
        return [*batches, rest] if len(rest) else batches
