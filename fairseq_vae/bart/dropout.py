"""Dropout with cheap random numbers on a CPU, where drawing them costs stock training more than its softmax."""

import torch
import torch.nn as nn
from fairseq.modules import FairseqDropout
from torch import Tensor

LEVELS = 1 << 16  # a decision takes 16 random bits, so that a probability is met to 1 / 131,072


def dropout(x: Tensor, p: float) -> Tensor:
    """Each element 0 with probability p (rounded to a multiple of 1 / 65,536), else times 1 / (1 - p), on a CPU.

    Four decisions come of one 64-bit number of torch's global generator, which seeds and restores them as usual.
    """
    dropped = round(p * LEVELS)
    if dropped in (0, LEVELS):
        return x if dropped == 0 else x * 0
    numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = numbers.view(torch.int16)[: x.numel()].view(x.shape)  # -32,768 to 32,767
    return x * (bits >= dropped - LEVELS // 2).to(x.dtype).mul_(1 / (1 - dropped / LEVELS))


class Dropout(FairseqDropout):
    """fairseq's dropout; on a CPU by `dropout` above."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x, inplace)
        active = self.p > 0 and (self.training or self.apply_during_inference)
        return dropout(x, self.p) if active else x


def use_cheap_dropout(model: nn.Module) -> None:
    """Put Dropout in the place of every FairseqDropout."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is FairseqDropout:
                setattr(module, name, Dropout(child.p, child.module_name))
