"""Neural spline flows, by zuko: of priors that are learned with the model, and of those fitted after training.

Shapes: B rows, Z latent dimensions.
"""

import math
from typing import Any, NamedTuple, Optional

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError

__all__ = ["Flow", "SplineFlow"]


class SplineFlow(nn.Module):
    """An invertible map of z onto standard normal draws: monotone splines, each of whose shape the dimensions before
    it choose (Durkan et al. 2019, https://arxiv.org/abs/1906.04032). Beyond 5 from 0 it is the identity.

    Args:
        dim: Z
        transforms: number of such maps behind one another
        hidden: width of the two hidden layers of each map's network

    Raises:
        InputError: zuko is not installed, or torch is older than 2

    >>> flow = SplineFlow(2, transforms=1, hidden=4)
    >>> flow.reset_parameters()
    >>> draws, volume = flow(torch.ones(1, 2))
    >>> draws.round(decimals=3).tolist(), volume.abs().item() < 1e-3
    ([[1.0, 1.0]], True)
    """

    def __init__(self, dim: int, transforms: int, hidden: int):
        super().__init__()
        try:
            from torch.func import functional_call
            from zuko.flows import NSF
        except ImportError as error:
            raise InputError("a prior of kind flow needs zuko, and torch 2: pip install zuko") from error
        self.call: Any = functional_call
        self.transform = NSF(dim, transforms=transforms, hidden_features=(hidden, hidden)).transform
        for module in self.transform.modules():  # what averages of models would refuse: an order that only repr reads
            for name, mask in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, None if name == "order" else mask.float(), persistent=False)

    def reset_parameters(self) -> None:
        """Start at the identity: the last layer of each network gives 0."""
        for module in self.transform.modules():
            layers = [layer for layer in getattr(module, "hyper", ()) if isinstance(layer, nn.Linear)]
            for layer in layers:
                layer.reset_parameters()
            for parameter in layers[-1].parameters() if layers else getattr(module, "phi", ()):
                nn.init.zeros_(parameter)  # without `hyper` there is one dimension, and `phi` is its spline

    def forward(self, x: Tensor, inverse: bool = False) -> Any:
        """
        Args:
            x: z, or with `inverse` draws, B x Z

        Returns:
            the draws, B x Z, and the log-determinant of the map's Jacobian, B; with `inverse` z, B x Z
        """
        transform = self.transform()
        return transform.inv(x) if inverse else transform.call_and_ladj(x)

    def exact(self, x: Tensor, inverse: bool = False) -> Any:
        """The map in float32, or in float64 where x is, on the weights' device, whatever the weights' precision.

        Args:
            x: as of forward, like `inverse`
        """
        device, dtype = next(self.parameters()).device, torch.promote_types(x.dtype, torch.float32)
        weights = {name: tensor.to(dtype) for name, tensor in (*self.named_parameters(), *self.named_buffers())}
        with torch.autocast(device.type, enabled=False):
            return self.call(self, weights, (x.to(device, dtype), inverse))


class Flow(NamedTuple):
    """A neural spline flow behind a linear map: z = mu + L f(eps), f invertible.

    Attributes:
        mu: Z
        tril: L, lower triangular, Z x Z
        flow: the inverse of f

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
        return self.mu + self.flow.exact(eps, inverse=True).to(self.mu) @ self.tril.T

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        whitened = torch.linalg.solve_triangular(self.tril, (z - self.mu).T, upper=False).T
        draws, volume = self.flow.exact(whitened)
        inner = volume - 0.5 * (draws.square() + math.log(2 * math.pi)).sum(1)
        return inner.to(z) - self.tril.diagonal().log().sum()
