"""Activation checkpointing: a layer keeps its inputs alone, and runs again in the backward pass.

fairseq's own runs a layer again without the autocast of the forward pass, and fails where none of a layer's inputs and
weights has a gradient. torch's does neither.
"""

import functools
import logging
from contextlib import nullcontext
from typing import Any, Callable, ContextManager

import torch
import torch.nn as nn
from torch.utils import checkpoint

from ..base.precision import same_attention
from ..objective.likelihood import autocast_dtype

__all__ = ["recomputed", "use_recomputation"]

logger = logging.getLogger(__name__)


def recomputed(forward: Callable[..., Any], offload: bool, *args: Any, **kwargs: Any) -> Any:
    """A layer's output, of which the backward pass makes the activations again, to the bit.

    The second run has the first one's autocast, kernels of attention and random state. Without gradients, and with a
    cache of keys and values among the arguments, which a second run would change again, the layer just runs.

    Args:
        forward: of the layer
        offload: whether the tensors among `args` wait for the backward pass in the host's memory
        args: of the layer; the first one is a tensor
        kwargs: of the layer

    Returns:
        what `forward` returns

    >>> x = torch.ones(3, requires_grad=True)
    >>> recomputed(torch.exp, False, x).sum().backward()
    >>> x.grad.equal(x.exp())
    True
    """
    cached = any(isinstance(argument, dict) for argument in (*args, *kwargs.values()))
    if cached or not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    device = args[0].device.type
    attention = same_attention()
    dtype = autocast_dtype(device)  # torch 1.12 would run again in float16, and on a CPU in float32

    def run(*args: Any) -> Any:  # with its keywords, which torch 1.12 does not pass on
        with nullcontext() if dtype is None else torch.autocast(device, dtype), attention():
            return forward(*args, **kwargs)

    place: ContextManager[Any] = torch.autograd.graph.save_on_cpu() if offload else nullcontext()
    with place:
        return checkpoint.checkpoint(run, *args, use_reentrant=False)


def use_recomputation(model: nn.Module, offload: bool) -> None:
    """Replace fairseq's checkpointing of layers by `recomputed`.

    Args:
        model: changed in place
        offload: see recomputed

    >>> from fairseq.modules.checkpoint_activations import checkpoint_wrapper
    >>> model = nn.Sequential(checkpoint_wrapper(nn.Linear(2, 2)))
    >>> use_recomputation(model, offload=False)
    >>> model[0].forward.func is recomputed
    True
    """
    # what sharded wrappers pass on of the layer inside is not in their own __dict__
    layers = [module for module in model.modules() if "precheckpoint_forward" in vars(module)]
    for layer in layers:
        forward: Any = layer.precheckpoint_forward
        setattr(layer, "forward", functools.partial(recomputed, forward, offload))  # noqa: B010
    if layers and offload and not hasattr(checkpoint, "set_checkpoint_early_stop"):
        logger.warning(
            f"--offload-activations has no effect with torch {torch.__version__}, only from 2.1 on: the layers' inputs "
            "stay on the device"
        )
