"""An affine map of its own for each latent vector.

Shapes: B batch, K latent vectors, I inputs and O outputs of a vector.
"""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["blockwise"]


def blockwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map each vector by the block of the weight that is its own.

    Args:
        x: B x I for one vector, or B x K x I
        weight: K*O x I, vector by vector
        bias: K*O

    Returns:
        B x K*O, vector by vector

    >>> import torch
    >>> weight = torch.tensor([[1.0], [10.0]])  # two vectors of one number
    >>> blockwise(torch.tensor([[[2.0], [3.0]]]), weight, torch.zeros(2))
    tensor([[ 2., 30.]])
    """
    if x.dim() == 2:
        return F.linear(x, weight, bias)
    size, vectors, width = x.shape
    mapped = (x.transpose(0, 1) @ weight.view(vectors, -1, width).transpose(1, 2)).transpose(0, 1)  # B x K x O
    return mapped.reshape(size, -1) + bias
