"""Dropout with cheap random numbers on a CPU, where drawing them costs stock training more than its softmax."""

import torch
import torch.nn as nn
from fairseq.modules import FairseqDropout
from torch import Tensor

__all__ = ["Dropout", "dropout", "use_cheap_dropout"]

LEVELS = 1 << 16  # a decision takes 16 random bits, so a probability is met to 1 / 131,072


def dropout(x: Tensor, p: float) -> Tensor:
    """Set each element to 0 with probability p, and multiply the others by 1 / (1 - p), on a CPU.

    p is rounded to a multiple of 1 / 65,536. Four decisions come of one 64-bit number of torch's global random state,
    so seeding and restoring it work as usual.

    Args:
        x: any shape; not changed
        p: 0 to 1

    Returns:
        the shape of x

    >>> dropout(torch.ones(4), 0.0), dropout(torch.ones(4), 1.0)
    (tensor([1., 1., 1., 1.]), tensor([0., 0., 0., 0.]))
    """
    dropped = round(p * LEVELS)
    if dropped in (0, LEVELS):
        return x if dropped == 0 else x * 0
    numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = numbers.view(torch.int16)[: x.numel()].view(x.shape)  # -32,768 to 32,767
    return x * (bits >= dropped - LEVELS // 2).to(x.dtype).mul_(1 / (1 - dropped / LEVELS))


class Dropout(FairseqDropout):
    """fairseq's dropout, on a CPU by `dropout` above.

    >>> Dropout(0.5, "example").eval()(torch.ones(2))
    tensor([1., 1.])
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """
        Args:
            x: any shape
            inplace: as in fairseq; has no effect on a CPU

        Returns:
            the shape of x
        """
        if x.device.type != "cpu":
            return super().forward(x, inplace)
        active = self.p > 0 and (self.training or self.apply_during_inference)
        return dropout(x, self.p) if active else x


def use_cheap_dropout(model: nn.Module) -> None:
    """Replace every FairseqDropout in a model by Dropout.

    Args:
        model: changed in place

    >>> model = nn.Sequential(FairseqDropout(0.5))
    >>> use_cheap_dropout(model)
    >>> type(model[0]).__name__
    'Dropout'
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is FairseqDropout:
                setattr(module, name, Dropout(child.p, child.module_name))
