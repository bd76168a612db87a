"""Several latent vectors: an affine map of its own for each, and the parts that need several.

Shapes: B batch, K latent vectors, I inputs and O outputs of a vector.
"""

import torch.nn.functional as F
from torch import Tensor

from ..base.errors import InputError
from ..base.registry import Registry
from .pooling import several

__all__ = ["blockwise", "check_least", "least_vectors"]


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


def least_vectors(registry: Registry, name: str) -> int:
    """The fewest latent vectors of which a part makes sense, its attribute `least_vectors`; 1 without one.

    Args:
        registry: of priors or posteriors
        name: of a registered part

    >>> from fairseq_vae.latent.prior import priors
    >>> least_vectors(priors, "standard")
    1
    """
    return getattr(registry[name], "least_vectors", 1)


def check_least(registry: Registry, name: str, vectors: int) -> None:
    """Refuse a part that needs more latent vectors than there are.

    Args:
        registry: of priors or posteriors
        name: of a registered part
        vectors: K

    Raises:
        InputError: K is too small; the message names the remedy

    >>> from fairseq_vae.latent.prior import priors
    >>> check_least(priors, "layer-wise", 1)
    Traceback (most recent call last):
    fairseq_vae.base.errors.InputError: --latent-prior layer-wise has no effect without --latent-vectors 2 or more: \
give that too, with --latent-pooling attention
    """
    least = least_vectors(registry, name)
    if vectors < least:
        raise InputError(
            f"--latent-{registry.kind} {name} has no effect without --latent-vectors {least} or more: give that too, "
            f"with --latent-pooling {' or '.join(several())}"
        )
