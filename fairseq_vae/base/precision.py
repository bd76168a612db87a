"""bfloat16 where the machine has it, with one warning where not, and buffers that stay exact. No fairseq."""

import functools
import logging
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Callable, ContextManager, Iterator

import torch
import torch.nn as nn
from torch import Tensor

__all__ = ["ExactBuffers", "bfloat16_lack", "bfloat16_products", "bfloat16_works", "same_attention"]

logger = logging.getLogger(__name__)
PLAIN: ContextVar[bool] = ContextVar("PLAIN", default=False)  # whether plain_attention is on
SHORT = 160  # positions below which plain attention is the faster one, both passes together


class ExactBuffers(nn.Module):
    """A module whose buffers lose no precision: model.half() and its like mean the weights.

    Sums, counters and moving averages would end at float16's 65,504, or stand still where a step is below its rounding.
    Buffers are in floating point all the same: moving averages of models and averages of checkpoints refuse integers.

    >>> module = ExactBuffers()
    >>> module.register_buffer("count", torch.tensor(100_001.0))
    >>> module.half().count
    tensor(100001.)
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> "ExactBuffers":
        """Move the buffers to another device, but lower no precision."""
        kept = dict(self._buffers)
        super()._apply(fn, *args, **kwargs)
        for name, value in kept.items():
            moved = self._buffers[name]
            if value is None or moved is None or moved.dtype == value.dtype:
                continue  # so a device without data, "meta", is left too
            if torch.promote_types(moved.dtype, value.dtype) == value.dtype:
                self._buffers[name] = value.to(moved.device)
        return self


def bfloat16_lack(device: str) -> str:
    """The reason why products in bfloat16 are no faster than in float32 on a device.

    Args:
        device: torch's type of it, e.g. "cpu" or "cuda"

    Returns:
        the reason, or "" if they are faster
    """
    if device == "cuda":  # Ampere or newer; older ones emulate it
        return "" if torch.cuda.get_device_capability() >= (8, 0) else "this GPU has no bfloat16"
    if device != "cpu":
        return f"it is untested on {device}"
    if not hasattr(torch.cpu, "get_capabilities"):
        return f"torch {torch.__version__} does not tell what the processor has; 2.13 does"
    has = torch.cpu.get_capabilities()
    if torch.backends.mkldnn.is_available() and (has.get("amx_bf16") or has.get("avx512_bf16")):
        return ""
    return "this processor has neither AMX nor AVX-512 BF16"


@contextmanager
def plain_attention() -> Iterator[None]:
    """A context in which torch's attention is its formula's products one after the other, on a torch that can."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # before torch 2.3
        yield
        return
    before = PLAIN.set(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        PLAIN.reset(before)


def same_attention() -> Callable[[], ContextManager[None]]:
    """What gives, later, the plain attention that is on now; outside of it nothing is changed.

    >>> with plain_attention():
    ...     later = same_attention()
    >>> later is plain_attention, same_attention() is plain_attention
    (True, False)
    """
    return plain_attention if PLAIN.get() else nullcontext


@contextmanager
def bfloat16_products(device: str, width: int) -> Iterator[None]:
    """A context in which matrix products are in bfloat16, as autocast has it.

    On a CPU torch's fused attention takes 2.5 times as long in bfloat16 as plain products, forward and backward, for
    sentences of 32 tokens, 1.7 times for 128; from 192 on it is the faster one. It holds no scores, where plain
    attention holds T numbers a position and head.

    Args:
        device: torch's type of it, e.g. "cpu" or "cuda"
        width: positions of the longest sequence

    >>> with bfloat16_products("cpu", width=8):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    short = device == "cpu" and width < SHORT
    with torch.autocast(device, torch.bfloat16), plain_attention() if short else nullcontext():
        yield


@functools.lru_cache(maxsize=None)
def bfloat16_works(device: str) -> bool:
    """Whether products in bfloat16 are faster on a device; a warning gives the reason if not, once a process.

    Args:
        device: torch's type of it, e.g. "cpu" or "cuda"
    """
    lack = bfloat16_lack(device)
    if lack:
        logger.warning(f"--autocast-bf16 has no effect: {lack}; training goes on in float32")
    return not lack
