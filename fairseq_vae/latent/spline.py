"""Invertible maps of z: neural spline flows, by zuko.

Shapes: B rows, Z features, H numbers of a context.
"""

from typing import Any, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError

__all__ = ["SplineFlow"]


class SplineFlow(nn.Module):
    """f(u | c): monotone rational-quadratic splines behind one another, whose knots a masked network makes of the
    features before and of a context (Durkan et al. 2019, https://arxiv.org/abs/1906.04032).

    With `passes` = 2 half of the features are changed, given the other half, by each spline (coupling), and f costs two
    passes of its network and the inverse one. With 0 each feature is given all before it (autoregressive), and f costs
    Z passes. Outside of [-5, 5] splines leave a feature as it is. Checkpoints hold the weights alone: what moving
    averages of models refuse, masks and orders, is made again.

    Args:
        features: Z
        context: H
        transforms: number of splines
        hidden: width of the two hidden layers of each network
        passes: groups of features that are changed one after another; 0: each feature alone
        slope: the least slope of a spline at a knot, and its inverse the largest

    Raises:
        InputError: zuko is not installed

    >>> flow = SplineFlow(features=3, context=4)
    >>> u, context = torch.randn(2, 3), torch.randn(2, 4)
    >>> (z,) = flow.exactly(u, context, inverse=False)
    >>> torch.allclose(flow.exactly(z, context, inverse=True)[0], u, atol=1e-4)
    True
    """

    def __init__(
        self,
        features: int,
        context: int,
        transforms: int = 2,
        hidden: int = 64,
        passes: int = 2,
        slope: float = 1e-3,
    ):
        super().__init__()
        try:
            from torch.func import functional_call
            from zuko.flows import NSF
        except ImportError as error:  # torch.func is of torch 2
            raise InputError("a spline flow needs zuko and torch 2: pip install zuko") from error
        self.call = functional_call
        sizes = {"transforms": transforms, "hidden_features": (hidden, hidden), "passes": passes or None}
        self.transform: Any = NSF(features, context, slope=slope, **sizes).transform
        for module in self.transform.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                exact = buffer.float() if buffer.dtype == torch.bool else buffer  # averages subtract buffers
                module.register_buffer(name, exact, persistent=False)

    def reset_parameters(self) -> None:
        """Make f the identity, whatever the context: the networks' last layers are 0."""
        for module in self.transform.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        for step in self.transform.transforms:
            for parameter in step.hyper[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor, inverse: bool) -> Tuple[Tensor, ...]:
        """f or its inverse in the weights' precision, see `exactly`."""
        transform = self.transform(context)
        return transform.call_and_ladj(x) if inverse else (transform.inv(x),)

    def exactly(self, x: Tensor, context: Tensor, inverse: bool) -> Tuple[Tensor, ...]:
        """f or its inverse in the arguments' precision, float32 or float64, whatever the weights' and autocast.

        Args:
            x: B x Z, on any device
            context: B x H; x and context broadcast
            inverse: whether x are values of f

        Returns:
            (f(x),); or (u, log|det du/dx|) with x = f(u), B x Z and B; on the device of x
        """
        dtype = torch.promote_types(x.dtype, context.dtype)
        everything = [*self.named_parameters(), *self.named_buffers()]
        weights = {name: tensor for name, tensor in everything if tensor.is_floating_point()}
        device = next((weight.device for weight in weights.values()), x.device)
        arguments = (x.to(device, dtype), context.to(device, dtype), inverse)
        with torch.autocast(device.type, enabled=False):
            if any(weight.dtype != dtype for weight in weights.values()):
                exact = {name: weight.to(dtype) for name, weight in weights.items()}
                found = self.call(self, exact, arguments)
            else:
                found = self(*arguments)
        return tuple(part.to(x.device) for part in found)
