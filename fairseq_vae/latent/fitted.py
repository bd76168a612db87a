"""Priors that are fitted after training to the aggregated posterior.

Shapes: B rows, Z latent dimensions.
"""

from typing import Any, Dict, NamedTuple, Optional, Type

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError
from .densities import FullGaussian, Mixture
from .distributions import Distribution
from .prior import Prior

__all__ = ["KINDS", "FittedFlow", "FittedGaussian", "FittedMixture", "FittedPrior"]


class FittedPrior(Prior):
    """A prior without a context whose numbers are buffers.

    Args:
        tensors: the distribution's fields by name, floating point

    >>> prior = FittedGaussian({"mu": torch.ones(2), "tril": torch.eye(2)})
    >>> prior().rsample(torch.zeros(1, 2))
    tensor([[1., 1.]])
    """

    family: Type[Any]

    def __init__(self, tensors: Dict[str, Tensor]):
        super().__init__(self.width(tensors))
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.float())

    @staticmethod
    def width(tensors: Dict[str, Tensor]) -> int:
        """Z of the distribution's fields."""
        return next(iter(tensors.values())).size(-1)

    def forward(self, context: Optional[Tensor] = None) -> Distribution:
        return self.family(**{name: getattr(self, name).float() for name in self.family._fields})


class FittedGaussian(FittedPrior):
    """A Gaussian with a full covariance.

    Args:
        tensors: the fields of FullGaussian

    >>> FittedGaussian({"mu": torch.ones(2), "tril": torch.eye(2)})().mean
    tensor([1., 1.])
    """

    signature, family = "gaussian", FullGaussian


class FittedMixture(FittedPrior):
    """A mixture of Gaussians with full covariances.

    Args:
        tensors: the fields of Mixture

    >>> mixture = FittedMixture({"logits": torch.zeros(1), "mus": torch.ones(1, 2), "trils": torch.eye(2)[None]})
    >>> mixture.dim, mixture.eps_dim
    (2, 3)
    """

    signature, family = "mixture", Mixture

    def __init__(self, tensors: Dict[str, Tensor]):
        super().__init__(tensors)
        self.eps_dim = self.dim + 1  # the last draw chooses the component

    @staticmethod
    def width(tensors: Dict[str, Tensor]) -> int:
        return tensors["mus"].size(1)


class Flow(NamedTuple):
    """A neural spline flow behind a linear map: z = mu + L f(eps), f invertible.

    Attributes:
        mu: Z
        tril: L, lower triangular, Z x Z
        flow: f, a flow of zuko
    """

    mu: Tensor
    tril: Tensor
    flow: nn.Module

    @property
    def mean(self) -> Tensor:
        """mu, Z. The flow has no mean in closed form; mu is the mean of what it was fitted to."""
        return self.mu

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """mu + L f(eps).

        Args:
            eps: standard normal draws, B x Z; None: one draw by torch's global random state

        Returns:
            B x Z
        """
        eps = torch.randn(1, len(self.mu)).to(self.mu) if eps is None else eps.to(self.mu)
        flow: Any = self.flow
        return self.mu + flow().transform.inv(eps) @ self.tril.T

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        flow: Any = self.flow
        whitened = torch.linalg.solve_triangular(self.tril, (z - self.mu).T, upper=False).T
        inner = flow().log_prob(whitened.to(next(flow.parameters()).dtype))
        return inner.to(z) - self.tril.diagonal().log().sum()


class FittedFlow(Prior):
    """A neural spline flow (Durkan et al. 2019, https://arxiv.org/abs/1906.04032), autoregressive, by zuko.

    Args:
        tensors: mu, Z; tril, Z x Z; weights of the flow by name, none before it is fitted
        transforms: number of splines behind one another
        hidden: width of their two hidden layers

    Raises:
        InputError: zuko is not installed

    >>> flow = FittedFlow({"mu": torch.zeros(2), "tril": torch.eye(2)})
    >>> flow().rsample(torch.zeros(3, 2)).shape
    torch.Size([3, 2])
    """

    signature = "flow"
    mu: Tensor
    tril: Tensor

    def __init__(self, tensors: Dict[str, Tensor], transforms: int = 2, hidden: int = 64):
        super().__init__(len(tensors["mu"]))
        try:
            from zuko.flows import NSF
        except ImportError as error:
            raise InputError("a prior of kind flow needs zuko: pip install zuko") from error
        self.settings = {"transforms": transforms, "hidden": hidden}
        self.flow = NSF(self.dim, transforms=transforms, hidden_features=(hidden, hidden))
        for name in ("mu", "tril"):
            self.register_buffer(name, tensors[name].float())
        weights = {name[len("flow.") :]: value for name, value in tensors.items() if name.startswith("flow.")}
        if weights:
            self.flow.load_state_dict(weights)

    def forward(self, context: Optional[Tensor] = None) -> Flow:
        return Flow(self.mu.float(), self.tril.float(), self.flow.float())


KINDS: Dict[str, Type[Any]] = {"gaussian": FittedGaussian, "mixture": FittedMixture, "flow": FittedFlow}
