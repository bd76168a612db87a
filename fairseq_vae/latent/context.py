"""Context: what the prior, the posterior and the decoder of a conditional model know of a source beside z.

Shapes: B batch, T source length, C model width.
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

__all__ = ["Context", "pooled_with"]


class Context(NamedTuple):
    """The sources of a batch.

    Attributes:
        states: the encoder's, T x B x C
        padding_mask: true where a token is padding, B x T
        pooled: one vector of each source in float32, B x C

    >>> from fairseq_vae.latent.pooling import poolings
    >>> states, padding = torch.ones(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)
    >>> Context.of(states, padding, poolings["mean"](4)).pooled.shape
    torch.Size([2, 4])
    """

    states: Tensor
    padding_mask: Tensor
    pooled: Tensor

    @classmethod
    def of(cls, states: Tensor, padding_mask: Tensor, pooling: Any) -> "Context":
        """The context of states; of sources without a token it has no states, and 0 for the pooled vector.

        Args:
            states, padding_mask: the attributes
            pooling: to one vector, see latent.pooling

        >>> from fairseq_vae.latent.pooling import poolings
        >>> Context.of(torch.ones(0, 2, 4), torch.ones(2, 0, dtype=torch.bool), poolings["max"](4)).pooled.sum()
        tensor(0.)
        """
        if not len(states):
            return cls(states, padding_mask, states.new_zeros(states.shape[1:], dtype=torch.float32))
        with torch.autocast(states.device.type, enabled=False):
            return cls(states, padding_mask, pooling(states, padding_mask))

    def rows(self, places: Tensor) -> "Context":
        """Some of the sources, as often as given.

        Args:
            places: of the sources in the batch, N

        >>> states, padding = torch.ones(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)
        >>> Context(states, padding, torch.ones(2, 4)).rows(torch.tensor([1, 1, 0])).states.shape
        torch.Size([5, 3, 4])
        """
        return Context(
            self.states.index_select(1, places),
            self.padding_mask.index_select(0, places),
            self.pooled.index_select(0, places),
        )


def pooled_with(pooled: Tensor, context: Optional[Context]) -> Tensor:
    """Pooled states with the context's behind them.

    Args:
        pooled: B x C, or B x K x C
        context: None: there is none

    Returns:
        B x 2C, or B x K x 2C; without a context, the pooled states

    >>> context = Context(torch.zeros(0, 2, 4), torch.zeros(2, 0, dtype=torch.bool), torch.ones(2, 4))
    >>> pooled_with(torch.zeros(2, 3, 4), context).shape
    torch.Size([2, 3, 8])
    """
    if context is None:
        return pooled
    own = context.pooled if pooled.dim() == 2 else context.pooled.unsqueeze(1).expand_as(pooled)
    return torch.cat((pooled, own), dim=-1)
