"""Sentences as fairseq's data sets."""

import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, ConcatDataset, Dictionary, LanguagePairDataset, data_utils
from fairseq.data.indexed_dataset import infer_dataset_impl
from torch import Tensor

from .base.errors import InputError

__all__ = [
    "LastTokens",
    "PairDataset",
    "SentenceDataset",
    "WholeDataset",
    "check_format",
    "read_sentences",
    "uncut_sizes",
]


def check_format(path: str, given: Optional[str]) -> None:
    """Refuse a split whose files are of another format than --dataset-impl says, or of one that cannot be read.

    Args:
        path: of the split, without suffix
        given: the value of --dataset-impl; None: fairseq finds the format

    Raises:
        InputError: names the format that is there
    """
    found = infer_dataset_impl(path)
    if found and given not in (None, found) and {given, found} != {"lazy", "cached"}:
        raise InputError(f"--dataset-impl {given}: {path} is of format {found}; leave the flag out")
    raw = f"{path}.None-None"  # as fairseq-preprocess --only-source --dataset-impl raw names it
    if not found and os.path.exists(raw):
        raise InputError(f"{raw} is of format raw, not binarised: run fairseq-preprocess without --dataset-impl")


def largest_token(sentences: Any) -> int:
    """The largest number of a token in memory-mapped sentences; -1 of other formats, and of none."""
    found = [-1]
    for part in getattr(sentences, "datasets", [sentences]):
        buffer = getattr(part, "_bin_buffer", None)
        if buffer is not None and len(buffer):
            found.append(int(np.frombuffer(buffer, dtype=part._index.dtype).max()))
    return max(found)


def read_sentences(path: str, dictionary: Dictionary, kind: Optional[str] = None, combine: bool = False) -> Any:
    """Read binarised sentences, by fairseq's own reader.

    Args:
        path: of the .bin and .idx, without these endings
        dictionary: of the tokens
        kind: fairseq's --dataset-impl
        combine: whether to go on with path1, path2, ...

    Returns:
        the sentences, None if there is no such file

    Raises:
        InputError: a file is cut off or of something else; neither has a checksum, so other changes are not seen
    """
    try:
        sentences = data_utils.load_indexed_dataset(path, dictionary, kind, combine=combine)
        if getattr(sentences, "supports_prefetch", False):  # the old format has no single sentence before
            sentences.prefetch(range(len(sentences)))
        if sentences is not None and len(sentences):
            sentences[len(sentences) - 1]  # the last one is missing where the file is cut off
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        raise InputError(
            f"{path}.bin or .idx is cut off or damaged ({' '.join(str(error).split()) or type(error).__name__}): run "
            "fairseq-preprocess again"
        ) from error
    return sentences


class WholeDataset(LanguagePairDataset):
    """fairseq's pairs of source and target: each once an epoch, in batches that are the same wherever a run starts.

    Attributes:
        seed: of the order in which pairs of the same length form batches
        on_batch: a function that is given the numbers of each batch's pairs as the batch is made
        split: its name, which batches carry as `split`; None: batches carry none
        kept: the numbers, in order, of the pairs that are not skipped for their length
    """

    def prepare(
        self, seed: int, on_batch: Optional[Callable[[List[int]], None]] = None, split: Optional[str] = None
    ) -> None:
        """Set the attributes; the pairs are there.

        Args:
            seed, on_batch, split: see the class
        """
        self.seed = seed
        self.on_batch = on_batch
        self.split = split
        self.kept = np.arange(len(self))

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
        return {**batch, "split": self.split} if batch and self.split is not None else batch

    def partners(self, indices: Sequence[int], first: int) -> Optional[Dict[str, Any]]:
        """The next pair of each pair among the first ones; the last one's next is the first one.

        A pair's partner belongs to the data set, so it is the same in any batch and for any number of workers. Pairs
        that are skipped for their length have no part in it.

        Args:
            indices: the pairs' numbers, B
            first: pairs with lower numbers have a partner

        Returns:
            `rows`: the places of the M pairs that have a partner, M; of their partners `src_tokens`, M x T,
            `src_lengths`, M, and `target`, M x U, with padding at the end; and as lists, for the host, their `numbers`
            and `lengths`, each of the longer one of source and target. None where the data set has no two such pairs
        """
        ring = self.kept[self.kept < first]
        if len(ring) < 2:
            return None
        numbers = np.asarray(indices)
        rows = np.flatnonzero(np.isin(numbers, ring))
        partners = ring[(np.searchsorted(ring, numbers[rows]) + 1) % len(ring)]
        pairs, pad = [self[partner] for partner in partners.tolist()], self.src_dict.pad()
        sources, targets = ([pair[side][pair[side] != pad] for pair in pairs] for side in ("source", "target"))
        sizes = [len(source) for source in sources]
        return {
            "rows": torch.from_numpy(rows),
            "src_tokens": collated(sources, pad),
            "src_lengths": torch.tensor(sizes, dtype=torch.long),
            "target": collated(targets, pad),
            "numbers": partners.tolist(),
            "lengths": [max(size, len(target)) for size, target in zip(sizes, targets)],
        }

    def ordered_indices(self) -> np.ndarray:
        """The pairs' numbers by length, in random order among equal lengths; the same in every epoch.

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
        """Batches that together have every pair.

        fairseq drops the last batch if its size is no multiple of --required-batch-size-multiple (8 by default), in
        training, validation and generation alike.

        Args:
            indices: the pairs' numbers, in order
            max_tokens: in a batch
            max_sentences: in a batch
            required_batch_size_multiple: of the number of pairs in a batch

        Returns:
            the pairs' numbers, batch by batch
        """
        batches = super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        rest = indices[sum(map(len, batches)) :]
        return [*batches, rest] if len(rest) else batches


class SentenceDataset(WholeDataset):
    """Sentences as pairs: source <s> w1 ... wn </s>, corrupted or clean, and target w1 ... wn </s>, always clean.

    Args:
        sentences: N tensors of tokens, each with </s> at its end
        sizes: their lengths, N
        dictionary: of source and target
        corrupt: a function from (tokens, epoch, index) to corrupted tokens; None for a clean source
        has_target: whether samples have a target
        seed: of the order in which sentences of the same length form batches
        on_batch: a function that is given the numbers of each batch's sentences as the batch is made
        split: its name, which batches carry as `split`; None: batches carry none
        constraints: of constrained decoding, as fairseq packs them, N x L

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
        split: Optional[str] = None,
        constraints: Optional[Tensor] = None,
    ):
        lengths = np.asarray(sizes)
        target = (sentences, lengths, dictionary) if has_target else ()
        super().__init__(sentences, lengths + 1, dictionary, *target, left_pad_source=False, constraints=constraints)
        self.corrupt = corrupt
        self.epoch = 1
        self.prepare(seed, on_batch, split)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """A pair: `id`, `source` and `target`, which is None without targets."""
        tokens = source = self.src[index]
        if self.corrupt is not None:
            source = self.corrupt(tokens, self.epoch, index)
        bos = tokens.new_tensor([self.src_dict.bos()])
        target = tokens if self.tgt is not None else None
        pair = {"id": index, "source": torch.cat((bos, source)), "target": target}
        return pair if self.constraints is None else {**pair, "constraints": self.constraints[index]}

    def set_epoch(self, epoch: int) -> None:
        """Keep the number of the epoch, on which the corruption depends."""
        self.epoch = epoch


class PairDataset(WholeDataset):
    """Pairs as fairseq's task translation has read them: source w1 ... wn </s>, which may be </s> alone, and target.

    Args:
        pairs: fairseq's own data set
        last: tokens of a source that are kept at most, the last ones, </s> among them; None: all
        seed, on_batch, split: see WholeDataset
    """

    def __init__(
        self,
        pairs: LanguagePairDataset,
        last: Optional[int] = None,
        seed: int = 1,
        on_batch: Optional[Callable[[List[int]], None]] = None,
        split: Optional[str] = None,
    ):
        self.__dict__.update(pairs.__dict__)  # whatever it was made with, alignments and buckets among it
        if last is not None:
            self.src: Any = LastTokens(pairs.src, last)
            self.src_sizes = self.src.sizes
            self.sizes = self.src_sizes if self.tgt_sizes is None else np.stack((self.src_sizes, self.tgt_sizes), 1)
        self.prepare(seed, on_batch, split)


class LastTokens(BaseWrapperDataset):
    """The last tokens of each sentence, </s> among them.

    Args:
        sentences: N tensors of tokens, with their sizes
        count: tokens that a sentence keeps at most
    """

    def __init__(self, sentences: Any, count: int):
        super().__init__(sentences)
        self.count = count

    def __getitem__(self, index: int) -> Tensor:
        """A sentence's last tokens."""
        return self.dataset[index][-self.count :]

    @property
    def sizes(self) -> np.ndarray:
        """Lengths, N."""
        return np.minimum(self.dataset.sizes, self.count)

    def size(self, index: int) -> int:
        """A sentence's length."""
        return int(self.sizes[index])

    num_tokens = size


def uncut_sizes(sentences: Any) -> np.ndarray:
    """The lengths of sentences, N, as they stand in their files, beneath what fairseq has wrapped around these."""
    if isinstance(sentences, ConcatDataset):
        parts = zip(sentences.datasets, sentences.sample_ratios)
        return np.concatenate([np.tile(uncut_sizes(part), ratio) for part, ratio in parts])
    return uncut_sizes(sentences.dataset) if hasattr(sentences, "dataset") else np.asarray(sentences.sizes)


def collated(sentences: Sequence[Tensor], pad: int) -> Tensor:
    """Sentences as rows with padding at the end, N x T; N may be 0."""
    return data_utils.collate_tokens(sentences, pad) if sentences else torch.empty(0, 0, dtype=torch.long)
