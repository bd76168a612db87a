"""-log p(x|z) of target tokens, without holding all of their logits. Torch only, no fairseq.

A batch's logits are its largest tensor: N tokens x V words. Here they exist for some rows at a time, and training takes
their gradients at once, in the forward pass, as the loss is linear in nothing but a factor that comes later.

Shapes: N tokens that are not padding, C width, V vocabulary.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 512  # tokens whose logits are held at a time: the fastest of 64 to 4,096 with 8,000 and 50,000 words on a CPU


def nll_sum(hidden: Tensor, weight: Tensor, target: Tensor, rows: int = ROWS) -> Tensor:
    """Sum over tokens of -log softmax(hidden @ weight.T)[target] in nats; a float32 scalar in any precision.

    torch's own chunked loss where there is one (from 2.13) in float32; in half precision its sum would be rounded to
    the inputs' precision, so ChunkedNLL is used, as with an older torch. Under autocast the products are in its
    precision. Gradients of gradients do not exist.

    Args:
        hidden: N x C
        weight: V x C
        target: N
        rows: tokens at a time
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
    """-log softmax(hidden @ weight.T)[target] of each token in nats, N, float32; for evaluation: without gradients it
    holds the logits of some rows at a time, with them, all.

    Arguments as for nll_sum.
    """
    parts = [
        F.cross_entropy((h @ weight.T).float(), t, reduction="none")
        for h, t in zip(hidden.split(rows), target.split(rows))
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def smoothing(hidden: Tensor, weight: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """What label smoothing adds to nll_sum, in nats: fairseq's smoothed loss (Szegedy et al. 2016) is their sum.

    The smoothed loss of a token, (1 - epsilon) nll + epsilon / (V - 1) sum over the other words v of -log p(v), is
    nll + epsilon / (V - 1) (V logit[target] - sum over all v of logit[v]): linear in `hidden`, so no softmax is needed.
    """
    hidden, weight = hidden.float(), weight.float()
    vocabulary = len(weight)
    of_targets = (hidden * weight[target]).sum()
    of_all = (hidden.sum(0) * weight.sum(0)).sum()  # no product of matrices: autocast leaves it in float32
    return epsilon / (vocabulary - 1) * (vocabulary * of_targets - of_all)


def autocast_dtype(device: str) -> Optional[torch.dtype]:
    """The precision of matrix products under autocast, None outside it."""
    if hasattr(torch, "get_autocast_dtype"):  # from torch 2.4
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


class ChunkedNLL(torch.autograd.Function):
    """nll_sum in any precision: products in the inputs', softmax and sums in float32."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, target: Tensor, rows: int, gradients: bool) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if gradients and ctx.needs_input_grad[0] else None
        grad_weight = None
        if gradients and ctx.needs_input_grad[1]:
            grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        for start in range(0, len(target), rows):
            h, t = hidden[start : start + rows], target[start : start + rows, None]
            logprob = torch.log_softmax(h @ weight.T, dim=1, dtype=torch.float32)  # rows x V
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
    def backward(ctx, grad: Tensor):
        if ctx.gradients is None:
            raise RuntimeError("nll_sum: a second backward pass; its gradients are gone after the first")
        grad_hidden, grad_weight = ctx.gradients
        ctx.gradients = None
        if grad_hidden is not None:  # in float32: the factor of loss scaling may be none of float16's numbers
            grad_hidden = (grad_hidden.float() * grad).to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(grad)
        return grad_hidden, grad_weight, None, None, None
