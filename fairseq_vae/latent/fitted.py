"""Priors that are fitted after training to the aggregated posterior.

Shapes: B rows, Z latent dimensions.
"""

from typing import Any, Dict, Optional, Type

from torch import Tensor

from .context import Context
from .densities import FullGaussian, Mixture
from .distributions import Distribution
from .flows import Flow, SplineFlow
from .prior import Prior

__all__ = ["KINDS", "FittedFlow", "FittedGaussian", "FittedMixture", "FittedPrior"]


class FittedPrior(Prior):
    """A prior without a context whose numbers are buffers.

    Args:
        tensors: the distribution's fields by name, floating point

    >>> import torch
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

    def forward(self, context: Optional[Context] = None) -> Distribution:
        return self.family(**{name: getattr(self, name).float() for name in self.family._fields})


class FittedGaussian(FittedPrior):
    """A Gaussian with a full covariance.

    Args:
        tensors: the fields of FullGaussian

    >>> import torch
    >>> FittedGaussian({"mu": torch.ones(2), "tril": torch.eye(2)})().mean
    tensor([1., 1.])
    """

    signature, family = "gaussian", FullGaussian


class FittedMixture(FittedPrior):
    """A mixture of Gaussians with full covariances.

    Args:
        tensors: the fields of Mixture

    >>> import torch
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


class FittedFlow(Prior):
    """A neural spline flow behind the linear map that whitens what it is fitted to.

    Args:
        tensors: mu, Z; tril, Z x Z; weights of the flow by name, `flow.` in front; none before it is fitted
        transforms: number of splines behind one another
        hidden: width of their two hidden layers

    Raises:
        InputError: zuko is not installed

    >>> import torch
    >>> flow = FittedFlow({"mu": torch.zeros(2), "tril": torch.eye(2)})
    >>> flow().rsample(torch.zeros(3, 2)).shape
    torch.Size([3, 2])
    """

    signature = "flow"
    mu: Tensor
    tril: Tensor

    def __init__(self, tensors: Dict[str, Tensor], transforms: int = 2, hidden: int = 64):
        super().__init__(len(tensors["mu"]))
        self.settings = {"transforms": transforms, "hidden": hidden}
        self.flow = SplineFlow(self.dim, transforms, hidden)
        for name in ("mu", "tril"):
            self.register_buffer(name, tensors[name].float())
        weights = {name[len("flow.") :]: value for name, value in tensors.items() if name.startswith("flow.")}
        if weights:  # older files hold masks beside them
            self.flow.load_state_dict({name: weights[name] for name in self.flow.state_dict()})

    def forward(self, context: Optional[Context] = None) -> Flow:
        return Flow(self.mu.float(), self.tril.float(), self.flow)


KINDS: Dict[str, Type[Any]] = {"gaussian": FittedGaussian, "mixture": FittedMixture, "flow": FittedFlow}
