"""Layer-wise latents: z of several vectors, the distribution of each one conditioned on the vectors below it.

Hu et al. 2022, DELLA, https://arxiv.org/abs/2207.06130, section 3.2. Two things differ from it: there the prior and the
posterior share one state, here each has its own, so that either goes with any other; and there the posterior of vector
k reads the encoder's layer k, here pooled vector k of its last layer.

Shapes: B sentences, C model width, Z latent dimensions, K latent vectors of D = Z / K dimensions each, H = 2 D numbers
of a state.
"""

from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .context import Context
from .distributions import Gaussian
from .pooling import Pooling
from .posterior import DiagonalPosterior, bounded, register_posterior
from .prior import Prior, register_prior

__all__ = ["Chain", "LayerWise", "LayerWisePosterior", "LayerWisePrior"]


class Chain(nn.Module):
    """A state of the vectors below each vector, and what it adds to that vector's distribution.

    h_k = tanh(W h_{k-1} + U z_{k-1} + b) for k = 1 to K, with h_0 = 0 and z_0 = 0. Weights are cast to their argument's
    precision and moved to its device, so a distribution that holds the chain computes in its own.

    Args:
        dim: Z
        vectors: K

    Attributes:
        vectors: K
        size: H

    >>> chain = Chain(dim=6, vectors=2)
    >>> state = chain(torch.zeros(chain.size), torch.zeros(3))  # of the first vector, for all sentences
    >>> [added.shape for added in chain.added(chain(state, torch.ones(5, 3)), 1)]  # to mu and log-variance
    [torch.Size([5, 3]), torch.Size([5, 3])]
    """

    def __init__(self, dim: int, vectors: int):
        super().__init__()
        self.vectors, self.size = vectors, 2 * (dim // vectors)
        self.below = nn.Linear(dim // vectors, self.size)
        self.state = nn.Linear(self.size, self.size, bias=False)
        self.mu = nn.Linear(self.size, dim, bias=False)  # the rows of each vector are its own
        self.logvar = nn.Linear(self.size, dim, bias=False)

    def reset_parameters(self) -> None:
        """Add nothing, whatever the vectors below."""
        for layer in (self.below, self.state):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        for layer in (self.mu, self.logvar):
            nn.init.zeros_(layer.weight)

    def forward(self, state: Tensor, below: Tensor) -> Tensor:
        """The next vector's state.

        Args:
            state: h_{k-1}, B x H, or H for all sentences
            below: z_{k-1}, B x D, or D for all sentences

        Returns:
            h_k, of the dimensions in front that the two broadcast to
        """
        weight, bias = self.below.weight.to(below), self.below.bias.to(below)
        return torch.tanh(F.linear(below, weight, bias) + F.linear(state, self.state.weight.to(state)))

    def added(self, state: Tensor, vector: int) -> List[Tensor]:
        """What the state adds to mu and to the log-variance before its bound.

        Args:
            state: h_k, any x H
            vector: k - 1, from 0

        Returns:
            two of any x D
        """
        own = (layer.weight.chunk(self.vectors)[vector] for layer in (self.mu, self.logvar))
        return [F.linear(state, weight.to(state)) for weight in own]


class LayerWise(NamedTuple):
    """prod_k N(z_k; mu_k, diag(exp(logvar_k))), with mu_k and logvar_k functions of the vectors below z_k.

    mu_k = m_k + M_k h_k and logvar_k = bounded(r_k + R_k h_k), h_k the chain's state of z_1 to z_{k-1}.

    Attributes:
        mean: each vector's conditional mean given the means below it, B x Z, or Z for all sentences: the mean of z
            where the conditional means are affine in the vectors below, and near it otherwise
        mu: m_1 to m_K, B x Z, or Z for all sentences
        raw: r_1 to r_K, of the same shape
        chain: the rest

    >>> chain = Chain(dim=2, vectors=2)
    >>> chain.reset_parameters()  # the vectors do not depend on one another
    >>> LayerWise.of(torch.zeros(2), torch.zeros(2), chain).log_prob(torch.zeros(1, 2)).exp().detach()  # 1 / (2 pi)
    tensor([0.1592])
    """

    mean: Tensor
    mu: Tensor
    raw: Tensor
    chain: Chain

    @classmethod
    def of(cls, mu: Tensor, raw: Tensor, chain: Chain) -> "LayerWise":
        """The distribution of these parts, with its mean.

        Args:
            mu, raw, chain: the attributes
        """
        made = cls(mu, mu, raw, chain)
        return made._replace(mean=made.walked(lambda vector, gaussian: gaussian.mu)[0])

    def walked(self, choose: Callable[[int, Gaussian], Tensor]) -> Tuple[Tensor, Gaussian]:
        """Go from vector to vector.

        Args:
            choose: from a vector's number, from 0, and its conditional distribution to the vector, B x D

        Returns:
            all vectors, B x Z, and the conditional distributions, B x Z, of which each is given the vectors below
        """
        chain, vectors, found = self.chain, [], []
        with torch.autocast(self.mu.device.type, enabled=False):
            parts = (part.chunk(chain.vectors, -1) for part in (self.mu, self.raw))
            state, below = self.mu.new_zeros(chain.size), self.mu.new_zeros(self.mu.size(-1) // chain.vectors)
            for number, (mu, raw) in enumerate(zip(*parts)):
                state = chain(state, below)
                added = chain.added(state, number)
                found.append(Gaussian(mu + added[0], bounded(raw + added[1])))
                below = choose(number, found[-1])
                vectors.append(below)
        return side_by_side(vectors), Gaussian(*map(side_by_side, zip(*found)))

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """Vector by vector, mu_k + exp(logvar_k / 2) eps_k given the vectors below.

        Args:
            eps: standard normal draws, B x Z; None takes them from torch's global random state

        Returns:
            B x Z
        """
        draws = (torch.randn_like(self.mu) if eps is None else eps.to(self.mu)).chunk(self.chain.vectors, -1)
        return self.walked(lambda vector, gaussian: gaussian.rsample(draws[vector]))[0]

    def conditionals(self, z: Tensor) -> Gaussian:
        """The distribution of each vector given the vectors below it in this very z.

        Args:
            z: B x Z

        Returns:
            mu and logvar, B x Z; its density of z is the density of z
        """
        vectors = z.chunk(self.chain.vectors, -1)
        return self.walked(lambda vector, gaussian: vectors[vector])[1]

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row of z.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        return self.conditionals(z).log_prob(z)


def side_by_side(vectors: Any) -> Tensor:
    """Tensors of D columns in one; those for all sentences are repeated where others have rows."""
    parts: List[Tensor] = list(vectors)
    return torch.cat(torch.broadcast_tensors(*parts), -1)


@register_posterior("layer-wise", help="a Gaussian of each latent vector given those below it")
class LayerWisePosterior(DiagonalPosterior):
    """prod_k q(z_k | z_1 .. z_{k-1}, x), see LayerWise, of m and r that are affine maps of the pooled states.

    Vector k is of pooled vector k. The chain starts by adding nothing: this is the diagonal posterior then.

    Args:
        width: C
        dim: Z
        pooling: from the encoder's states to K vectors
        config: not used

    >>> from fairseq_vae.latent.pooling import build_pooling
    >>> posterior = LayerWisePosterior(4, 6, build_pooling("attention", 4, vectors=2))
    >>> posterior(torch.randn(5, 3, 4), torch.zeros(3, 5, dtype=torch.bool)).rsample(torch.zeros(3, 6)).shape
    torch.Size([3, 6])
    """

    least_vectors = 2
    has_rows = False
    optional_state = ("chain",)  # a diagonal posterior's checkpoint begins it

    def __init__(self, width: int, dim: int, pooling: Pooling, config: Any = None):
        super().__init__(width, dim, pooling)
        self.chain = Chain(dim, pooling.vectors)

    def reset_parameters(self) -> None:
        """Start as the diagonal posterior."""
        super().reset_parameters()
        self.chain.reset_parameters()

    def forward(self, hidden: Tensor, padding_mask: Tensor, context: Optional[Context] = None) -> LayerWise:
        with torch.autocast(hidden.device.type, enabled=False):
            mu, raw = self.affine(self.pooled(hidden, padding_mask, context))
            return LayerWise.of(mu, raw, self.chain)


@register_prior("layer-wise", help="a learned Gaussian of each latent vector given those below it")
class LayerWisePrior(Prior):
    """prod_k p(z_k | z_1 .. z_{k-1}), see LayerWise, of m and r that are one for all sentences. It starts as N(0, I).

    Args:
        dim: Z
        config: not used
        vectors: K

    >>> prior = LayerWisePrior(6, vectors=2)
    >>> prior.reset_parameters()
    >>> prior().mean.eq(0).all(), prior().rsample(torch.ones(1, 6)).eq(1).all()
    (tensor(True), tensor(True))
    """

    signature = "layer-wise"
    least_vectors = 2

    def __init__(self, dim: int, config: Any = None, vectors: int = 2):
        super().__init__(dim, config)
        self.mu, self.logvar = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.chain = Chain(dim, vectors)

    def reset_parameters(self) -> None:
        """Start as N(0, I)."""
        self.chain.reset_parameters()

    def forward(self, context: Optional[Context] = None) -> LayerWise:
        return LayerWise.of(self.mu.float(), self.logvar.float(), self.chain)
