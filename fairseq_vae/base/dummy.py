"""A mark on a model for a batch that must leave no trace.

A worker that has run out of data computes on a dummy batch, of which fairseq multiplies the loss by 0. Whatever a
module updates in its forward pass it must leave out then by itself.
"""

from contextlib import contextmanager
from typing import Any, Iterator, List

import torch.nn as nn

__all__ = ["dummy_batch"]


@contextmanager
def dummy_batch(model: nn.Module) -> Iterator[None]:
    """While the block runs, the attribute `dummy_batch` is true in each module that has it.

    A part of one's own whose forward pass updates a state declares `dummy_batch = False`, and reads it there. It still
    takes part in whatever workers do together.

    Args:
        model: or a wrapper of it

    >>> class Counter(nn.Module):
    ...     dummy_batch, rows = False, 0
    ...     def forward(self, x):
    ...         self.rows += 0 if self.dummy_batch else len(x)
    >>> counter = Counter()
    >>> with dummy_batch(nn.Sequential(counter)):
    ...     counter([7, 7, 7])
    >>> counter([1, 2])
    >>> counter.rows
    2
    """
    marked: List[Any] = [module for module in model.modules() if hasattr(module, "dummy_batch")]
    for module in marked:
        module.dummy_batch = True
    try:
        yield
    finally:
        for module in marked:
            module.dummy_batch = False
