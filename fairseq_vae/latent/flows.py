"""Neural spline flows, by zuko: of posteriors, of priors that are learned with the model, and of fitted ones.

Shapes: B rows, Z latent dimensions, H numbers of a context.
"""

import math
from typing import Any, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError

__all__ = ["Flow", "SplineFlow"]


def libraries() -> Tuple[Any, Any]:
    """torch's functional_call and zuko's spline flow, which every flow needs.

    Raises:
        InputError: zuko is not installed, or torch is older than 2
    """
    try:
        from torch.func import functional_call
        from zuko.flows import NSF
    except ImportError as error:
        raise InputError("a flow needs zuko, and torch 2: pip install zuko") from error
    return functional_call, NSF


class SplineFlow(nn.Module):
    """An invertible map between z and draws u, given a context.

    It is of monotone rational-quadratic splines behind one another, whose knots a masked network makes of the
    dimensions before and of the context (Durkan et al. 2019, https://arxiv.org/abs/1906.04032). Beyond 5 from 0 it is
    the identity. From z to u it takes one pass of each network, and from u to z `passes`: with 2 a spline changes half
    of the dimensions, given the other half (coupling); with 0 it takes Z, and each dimension is given all before it.

    Both ways are in float32, or in float64 where an argument is, whatever the weights' precision and autocast.
    Checkpoints hold the weights alone: masks and orders, which moving averages of models refuse, are made again.

    Args:
        dim: Z
        transforms: number of splines
        hidden: width of the two hidden layers of each network
        context: H
        passes: groups of dimensions that are changed one after another; 0: each alone
        slope: the least slope of a spline at a knot, and its inverse the largest

    Raises:
        InputError: zuko is not installed, or torch is older than 2

    >>> flow = SplineFlow(2, transforms=1, hidden=4)
    >>> flow.reset_parameters()
    >>> draws, volume = flow.to_draws(torch.ones(3, 2))
    >>> torch.allclose(draws, torch.ones(3, 2)), volume.eq(0).all().item(), torch.allclose(flow.to_z(draws), draws)
    (True, True, True)
    """

    def __init__(self, dim: int, transforms: int, hidden: int, context: int = 0, passes: int = 0, slope: float = 1e-3):
        super().__init__()
        self.call, NSF = libraries()
        sizes: Any = {"transforms": transforms, "hidden_features": (hidden, hidden), "passes": passes or None}
        self.transform = NSF(dim, context, slope=slope, **sizes).transform
        for module in self.transform.modules():  # what averages of models would refuse: an order that only repr reads
            for name, mask in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, None if name == "order" else mask.float(), persistent=False)

    def reset_parameters(self) -> None:
        """Start at the identity, whatever the context: the last layer of each network gives 0."""
        for module in self.transform.modules():
            layers = [layer for layer in getattr(module, "hyper", ()) if isinstance(layer, nn.Linear)]
            for layer in layers:
                layer.reset_parameters()
            for parameter in layers[-1].parameters() if layers else getattr(module, "phi", ()):
                nn.init.zeros_(parameter)  # without `hyper` there is one dimension, and `phi` is its spline

    def to_draws(self, z: Tensor, context: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """
        Args:
            z: B x Z, on any device
            context: B x H; z and context broadcast

        Returns:
            u, B x Z, and log|det du/dz|, B, on the device of z
        """
        return self.exactly(z, context, False)

    def to_z(self, draws: Tensor, context: Optional[Tensor] = None) -> Tensor:
        """The inverse of to_draws.

        Args:
            draws: u, B x Z
            context: B x H

        Returns:
            z, B x Z
        """
        return self.exactly(draws, context, True)[0]

    def forward(self, x: Tensor, context: Optional[Tensor], inverse: bool) -> Tuple[Tensor, ...]:
        """to_draws, or with `inverse` to_z, in the weights' precision and on their device."""
        transform = self.transform(context)
        return (transform.inv(x),) if inverse else transform.call_and_ladj(x)

    def exactly(self, x: Tensor, context: Optional[Tensor], inverse: bool) -> Any:
        """`forward` in the arguments' precision, and on the weights' device on the way."""
        dtype = torch.promote_types(x.dtype, torch.float32 if context is None else context.dtype)
        weights = {name: tensor.to(dtype) for name, tensor in (*self.named_parameters(), *self.named_buffers())}
        device = next(iter(weights.values())).device
        given = None if context is None else context.to(device, dtype)
        with torch.autocast(device.type, enabled=False):
            found = self.call(self, weights, (x.to(device, dtype), given, inverse))
        return tuple(part.to(x.device) for part in found)


class Flow(NamedTuple):
    """A neural spline flow behind a linear map: z = mu + L f(eps), f invertible.

    Attributes:
        mu: Z
        tril: L, lower triangular, Z x Z
        flow: whose `to_z` is f

    >>> splines = SplineFlow(2, transforms=1, hidden=4)
    >>> splines.reset_parameters()
    >>> Flow(torch.ones(2), torch.eye(2), splines).rsample(torch.zeros(1, 2)).round(decimals=3).tolist()
    [[1.0, 1.0]]
    """

    mu: Tensor
    tril: Tensor
    flow: SplineFlow

    @property
    def mean(self) -> Tensor:
        """mu, Z: the mean of what the flow was fitted to, or 0 where it is learned; it has none in closed form."""
        return self.mu

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """mu + L f(eps).

        Args:
            eps: standard normal draws, B x Z; None: one draw by torch's global random state

        Returns:
            B x Z
        """
        eps = torch.randn(1, len(self.mu)).to(self.mu) if eps is None else eps.to(self.mu)
        return self.mu + self.flow.to_z(eps).to(self.mu) @ self.tril.T

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        whitened = torch.linalg.solve_triangular(self.tril, (z - self.mu).T, upper=False).T
        draws, volume = self.flow.to_draws(whitened)
        inner = volume - 0.5 * (draws.square() + math.log(2 * math.pi)).sum(1)
        return inner.to(z) - self.tril.diagonal().log().sum()
