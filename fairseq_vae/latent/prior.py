"""Priors of z: modules whose call, with a context or without one, returns a distribution of z."""

from typing import Any, ClassVar, Iterable, Optional, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..base.needs import Needs
from ..base.registry import Registry
from .blocks import check_least, least_vectors
from .context import Context
from .distributions import Distribution, Gaussian

__all__ = ["Prior", "StandardNormal", "build_prior", "priors", "register_prior"]


class Prior(nn.Module):
    """p(z), or p(z | context): a module whose call returns a distribution of z.

    A prior with weights learns them with the model. Their names in checkpoints begin with `encoder.prior.`.

    Args:
        dim: Z, dimensions of z
        config: the prior's own flags, see Registry.register

    Attributes:
        signature: the prior's name in the signature of an evaluation, one word
        eps_dim: the number of standard normal draws from which `rsample` makes one z
        optional_state, least_vectors: as a posterior's; beyond 1, K is the argument `vectors`
        conditional: whether the prior is one of a source, of which bart_cvae alone has one
        of_posterior: whether it is made of the posterior, so that what trains q alone moves it

    >>> class Shifted(Prior):
    ...     signature = "N(1,I)"
    ...     def forward(self, context=None):
    ...         return Gaussian(mu=torch.ones(self.dim), logvar=torch.zeros(self.dim))
    >>> Shifted(2)().mean
    tensor([1., 1.])
    """

    signature: str
    optional_state: ClassVar[Tuple[str, ...]] = ()
    least_vectors: ClassVar[int] = 1
    conditional: ClassVar[bool] = False
    of_posterior: ClassVar[bool] = False

    def __init__(self, dim: int, config: Any = None):
        super().__init__()
        self.dim = self.eps_dim = dim

    def reset_parameters(self) -> None:
        """Initialise the weights, after BART's own initialisation of every linear layer and embedding."""

    def connect(self, encoder: Any) -> None:
        """Keep what the prior needs of the encoder that it belongs to, and add the weights whose sizes depend on it.

        The encoder calls it at the end of its own construction. A reference to it must not be registered, since its
        weights would stand in checkpoints twice; a tuple is not.

        Args:
            encoder: a BARTVAEEncoder, complete
        """

    def begin(self, sentences: Iterable[Tensor]) -> None:
        """Take what the prior begins with from the training text; a checkpoint that is loaded later replaces it.

        Args:
            sentences: tokens, each with </s> at its end
        """

    def forward(self, context: Optional[Context] = None) -> Distribution:
        """
        Args:
            context: of a conditional model's sources; None: there are none

        Returns:
            a distribution of B sentences, or one for all sentences, in float32 on the model's device
        """
        raise NotImplementedError


def counts(name: str) -> Needs:
    """What gives a prior's flags an effect: the choice of it, and a z that is drawn from it."""
    return {"latent_prior": (name,), "zero_latent": (False,)}


priors: Registry = Registry("prior", ("forward", "signature"), counts)
register_prior = priors.register


def build_prior(name: str, dim: int, values: Any = None, vectors: int = 1) -> Prior:
    """Build a prior.

    Args:
        name: of a registered prior
        dim: Z
        values: an object with the flags of priors as attributes; None: their defaults
        vectors: K

    Raises:
        InputError: see check_least

    >>> build_prior("standard", 3)().mean
    tensor([0., 0., 0.])
    """
    check_least(priors, name, vectors)
    config = priors.config(name, values)
    return priors[name](dim, config, vectors) if least_vectors(priors, name) > 1 else priors[name](dim, config)


@register_prior("standard", help="N(0, I)")
class StandardNormal(Prior):
    """N(0, I), without weights.

    Args:
        dim: Z
        config: not used

    >>> StandardNormal(2)().log_prob(torch.zeros(1, 2)).exp()  # 1 / (2 pi)
    tensor([0.1592])
    """

    signature = "N(0,I)"
    zero: Tensor

    def __init__(self, dim: int, config: Any = None):
        super().__init__(dim, config)
        self.register_buffer("zero", torch.zeros(dim), persistent=False)  # moves to the device; in no checkpoint

    def forward(self, context: Optional[Context] = None) -> Gaussian:
        return Gaussian.standard(self.zero.float())
