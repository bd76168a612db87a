"""Terms of the objective beside reconstruction and KL."""

import torch
from torch import Tensor

KERNELS = ("rbf", "imq")


def bag_of_words(logits: Tensor, target: Tensor, padding: int) -> Tensor:
    """-sum over sentences and tokens t of log softmax(logits)[x_t] in nats, a scalar (Zhao et al. 2017, eq. 5).

    Args:
        logits: of the words of each sentence, in no order, B x V
        target: the sentences with their ends, B x U
        padding: token that does not count
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprob = torch.log_softmax(logits, dim=1).gather(1, target)  # B x U
    return -logprob.masked_fill(target.eq(padding), 0.0).sum()


def mmd(z: Tensor, prior: Tensor, kernel: str = "rbf") -> Tensor:
    """Squared maximum mean discrepancy of two samples of the same size B >= 2, without unit, a scalar.

    The unbiased estimate (Gretton et al. 2012, eq. 3): mean over i != j of k(z_i, z_j) + k(p_i, p_j), less twice the
    mean over all i, j of k(z_i, p_j). It may be negative. Kernels of the squared distance d, at the scale 2 Z that it
    has between two samples of N(0, I): rbf exp(-d / 2Z) (Zhao et al. 2019, InfoVAE), imq 2Z / (2Z + d) (Tolstikhin
    et al. 2018, WAE). One sentence has no estimate: 0.

    Args:
        z, prior: B x Z
    """
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}: choose one of {', '.join(KERNELS)}")
    size, dim = z.shape
    if size < 2:
        return z.sum() * 0.0

    def k(x: Tensor, y: Tensor) -> Tensor:  # B x B
        square = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)
        return torch.exp(-square / (2 * dim)) if kernel == "rbf" else 2 * dim / (2 * dim + square)

    within = k(z, z) + k(prior, prior)
    within = within.sum() - within.diagonal().sum()
    return within / (size * (size - 1)) - 2 * k(z, prior).mean()
