"""Batches of sentences of like length. No fairseq."""

from typing import Iterator, List, Sequence, Tuple

__all__ = ["Pairs", "packed"]

Pairs = Sequence[Tuple[int, int]]  # of a sentence and a sample's number k


def packed(lengths: Sequence[int], indices: Sequence[int], samples: int, max_tokens: int) -> Iterator[Pairs]:
    """Batches of all pairs of these sentences and k < samples, of like length, longest first.

    Args:
        lengths: tokens of each sentence of the split
        indices: of the sentences to batch
        samples: K
        max_tokens: tokens of a batch with padding, unless a single sentence is longer

    >>> list(packed([2, 5, 3], indices=[0, 1, 2], samples=1, max_tokens=10))
    [[(1, 0), (2, 0)], [(0, 0)]]
    """
    order = sorted(indices, key=lambda index: (-lengths[index], index))
    batch: List[Tuple[int, int]] = []
    for index in order:
        for k in range(samples):
            if batch and (len(batch) + 1) * lengths[batch[0][0]] > max_tokens:
                yield batch
                batch = []
            batch.append((index, k))
    if batch:
        yield batch
