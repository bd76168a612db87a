"""-log p(x|z) of target tokens, without all of their logits at once. Torch only, no fairseq.

A batch's logits, N tokens x V words, are its largest tensor. Here they exist for some rows at a time. In training their
gradients are taken in the forward pass, since only a factor of the loss is not known before the backward pass.

Shapes: N tokens that are not padding, C width, V vocabulary.
"""

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ROWS", "ChunkedNLL", "autocast_dtype", "nll_each", "nll_sum", "smoothing"]

ROWS = 512  # tokens whose logits are held at a time: the fastest of 64 to 4,096 with 8,000 and 50,000 words on a CPU


def nll_sum(hidden: Tensor, weight: Tensor, target: Tensor, rows: int = ROWS) -> Tensor:
    """Sum over tokens of -log softmax(hidden @ weight.T)[target].

    In float32 torch's own chunked loss computes it (from torch 2.13). ChunkedNLL computes it with an older torch, and
    in half precision, where torch's sum would be rounded to the inputs' precision. Under autocast the products are in
    autocast's precision. There are no second derivatives.

    Args:
        hidden: N x C
        weight: V x C
        target: N
        rows: tokens at a time

    Returns:
        nats, a float32 scalar

    >>> nll_sum(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, 3]))  # 3 log 4
    tensor(4.1589)
    """
    autocast = autocast_dtype(hidden.device.type)
    if autocast is not None:
        hidden, weight = hidden.to(autocast), weight.to(autocast)
    if not len(target):
        return (hidden.sum() + weight.sum()).float() * 0.0
    if hidden.dtype == torch.float32 and hasattr(F, "linear_cross_entropy"):
        options = torch.nn.LinearCrossEntropyOptions(chunking_method=None, batch_chunk_size=min(rows, len(target)))
        return F.linear_cross_entropy(hidden, weight, target, reduction="sum", options=options)
    return ChunkedNLL.apply(hidden, weight, target, rows, torch.is_grad_enabled())


def nll_each(hidden: Tensor, weight: Tensor, target: Tensor, rows: int = ROWS) -> Tensor:
    """-log softmax(hidden @ weight.T)[target] of each token.

    It is for evaluation: without gradients it holds the logits of some rows at a time; with gradients, of all rows.

    Args:
        hidden: N x C
        weight: V x C
        target: N
        rows: tokens at a time

    Returns:
        nats, N, float32

    >>> nll_each(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, 3]))  # log 4 each
    tensor([1.3863, 1.3863, 1.3863])
    """
    parts = [
        F.cross_entropy((h @ weight.T).float(), t, reduction="none")
        for h, t in zip(hidden.split(rows), target.split(rows))
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def smoothing(hidden: Tensor, weight: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """fairseq's label-smoothed loss less nll_sum (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).

    The smoothed loss of a token, (1 - epsilon) nll + epsilon / (V - 1) sum over the other words v of -log p(v), is
    nll + epsilon / (V - 1) (V logit[target] - sum over all v of logit[v]). The difference is linear in `hidden`, so it
    needs no softmax.

    Args:
        hidden: N x C
        weight: V x C
        target: N
        epsilon: the probability of all other words together, 0 to 1

    Returns:
        nats, a float32 scalar

    >>> smoothing(torch.ones(1, 1), torch.tensor([[3.0], [1.0]]), torch.tensor([0]), epsilon=0.1)  # 0.1 (2 * 3 - 4)
    tensor(0.2000)
    """
    hidden, weight = hidden.float(), weight.float()
    vocabulary = len(weight)
    of_targets = (hidden * weight[target]).sum()
    of_all = (hidden.sum(0) * weight.sum(0)).sum()  # no product of matrices: autocast leaves it in float32
    return epsilon / (vocabulary - 1) * (vocabulary * of_targets - of_all)


def autocast_dtype(device: str) -> Optional[torch.dtype]:
    """The precision of matrix products under autocast.

    Args:
        device: torch's type of it, e.g. "cpu" or "cuda"

    Returns:
        None outside autocast

    >>> autocast_dtype("cpu") is None
    True
    """
    if hasattr(torch, "get_autocast_dtype"):  # from torch 2.4
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


class ChunkedNLL(torch.autograd.Function):
    """nll_sum in any precision: products in the inputs' precision, softmax and sums in float32.

    >>> ChunkedNLL.apply(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, 3]), 2, False)  # 3 log 4
    tensor(4.1589)
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, rows: int, gradients: bool) -> Tensor:
        """
        Args:
            ctx: of autograd
            hidden: N x C
            weight: V x C
            target: N
            rows: tokens at a time
            gradients: whether a backward pass may follow

        Returns:
            nats, a float32 scalar
        """
        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if gradients and ctx.needs_input_grad[0] else None
        grad_weight = None
        if gradients and ctx.needs_input_grad[1]:
            grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        for start in range(0, len(target), rows):
            h, t = hidden[start : start + rows], target[start : start + rows, None]
            # dtype=torch.float32 does the same from bfloat16, on a CPU in three times the time
            logprob = (h @ weight.T).float().log_softmax(dim=1)  # rows x V
            total -= logprob.gather(1, t).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            # d nll / d logits = softmax - onehot(target)
            grad = logprob.exp_().scatter_add_(1, t, torch.full_like(t, -1, dtype=torch.float32)).to(weight.dtype)
            if grad_hidden is not None:
                grad_hidden[start : start + rows] = grad @ weight
            if grad_weight is not None:
                grad_weight += grad.T @ h
        ctx.gradients = grad_hidden, grad_weight
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], Optional[Tensor], None, None, None]:
        """
        Args:
            ctx: of autograd
            grad: of the sum, a scalar

        Returns:
            the gradients of `hidden` and `weight`

        Raises:
            RuntimeError: this is the second backward pass; the first one has consumed the gradients
        """
        if ctx.gradients is None:
            raise RuntimeError("nll_sum: a second backward pass; its gradients are gone after the first")
        grad_hidden, grad_weight = ctx.gradients
        ctx.gradients = None
        if grad_hidden is not None:  # in float32: the factor of loss scaling may be too large for float16
            grad_hidden = (grad_hidden.float() * grad).to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(grad)
        return grad_hidden, grad_weight, None, None, None
