"""Distributions of z that are one for all sentences and richer than a diagonal Gaussian.

Shapes: B sentences, Z latent dimensions, K components.
"""

import math
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from .distributions import rows

__all__ = ["Components", "FullGaussian", "Mixture"]


class FullGaussian(NamedTuple):
    """N(mu, L L^T).

    Attributes:
        mu: mean, Z
        tril: L, lower triangular with a positive diagonal, Z x Z

    >>> FullGaussian(torch.zeros(2), torch.eye(2)).log_prob(torch.zeros(1, 2)).exp()  # 1 / (2 pi)
    tensor([0.1592])
    """

    mu: Tensor
    tril: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean of z, Z."""
        return self.mu

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """mu + L eps.

        Args:
            eps: standard normal draws, B x Z; None: one draw by torch's global random state

        Returns:
            B x Z
        """
        eps = torch.randn(1, len(self.mu)).to(self.mu) if eps is None else eps.to(self.mu)
        return self.mu + eps @ self.tril.T

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        return component_log_prob(z, self.mu[None], self.tril[None])[:, 0]


class Mixture(NamedTuple):
    """sum_k w_k N(mu_k, L_k L_k^T).

    A z is made of Z + 1 draws: the last one, as a uniform number, chooses the component.

    Attributes:
        logits: log w_k, normalised, K
        mus: K x Z
        trils: L_k, lower triangular with positive diagonals, K x Z x Z

    >>> mixture = Mixture(torch.tensor([0.5, 0.5]).log(), torch.tensor([[-9.0], [9.0]]), torch.ones(2, 1, 1))
    >>> mixture.rsample(torch.tensor([[0.0, -1.0], [0.0, 1.0]])).tolist()
    [[-9.0], [9.0]]
    """

    logits: Tensor
    mus: Tensor
    trils: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean of z, Z."""
        return self.logits.exp() @ self.mus

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """mu_k + L_k eps of the component k whose share of the unit interval holds Phi(the last draw).

        Args:
            eps: standard normal draws, B x (Z + 1); None: one draw by torch's global random state

        Returns:
            B x Z
        """
        eps = torch.randn(1, self.mus.size(1) + 1).to(self.mus) if eps is None else eps.to(self.mus)
        component = chosen(self.logits, eps[:, -1])
        return self.mus[component] + torch.einsum("bij,bj->bi", self.trils[component], eps[:, :-1])

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        return torch.logsumexp(self.logits + component_log_prob(z, self.mus, self.trils), 1)


class Components(NamedTuple):
    """sum_k w_k p_k, of distributions of any one class.

    A z is made of one draw more than a component's: the last one, as a uniform number, chooses the component.

    Attributes:
        logits: log w_k, normalised, K
        parts: the components p_k, a distribution with a row for each of K

    >>> from fairseq_vae.latent.distributions import Gaussian
    >>> parts = Gaussian(torch.tensor([[-9.0], [9.0]]), torch.zeros(2, 1))
    >>> mixture = Components(torch.tensor([0.5, 0.5]).log(), parts)
    >>> mixture.rsample(torch.tensor([[0.0, -1.0], [0.0, 1.0]])).tolist()
    [[-9.0], [9.0]]
    """

    logits: Tensor
    parts: Any

    @property
    def mean(self) -> Tensor:
        """The mean of z, Z."""
        return self.logits.exp() @ self.parts.mean

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """A sample of the component k whose share of the unit interval holds Phi(the last draw).

        It has a gradient with respect to the component, and none with respect to the weights.

        Args:
            eps: standard normal draws, B x (a component's draws + 1); None: one draw by torch's global random state

        Returns:
            B x Z
        """
        last = torch.randn(1).to(self.logits) if eps is None else eps[:, -1].to(self.logits)
        parts = rows(self.parts, chosen(self.logits, last))
        return parts.rsample(None if eps is None else eps[:, :-1])

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        return torch.logsumexp(self.logits + self.parts.log_prob(z.unsqueeze(-2)), -1)


def chosen(logits: Tensor, draws: Tensor) -> Tensor:
    """The component whose share of the unit interval holds Phi of each draw.

    Args:
        logits: log w_k, normalised, K
        draws: standard normal, B

    Returns:
        0 to K - 1, B
    """
    uniform = 0.5 * (1 + torch.erf(draws / math.sqrt(2)))
    return (uniform[:, None] > logits.exp().cumsum(0)[:-1]).sum(1)


def component_log_prob(z: Tensor, mus: Tensor, trils: Tensor) -> Tensor:
    """Log density of each row under each Gaussian.

    Args:
        z: B x Z
        mus: K x Z
        trils: K x Z x Z

    Returns:
        nats, B x K
    """
    centred = (z - mus[:, None]).transpose(1, 2)  # K x Z x B
    solved = torch.linalg.solve_triangular(trils, centred, upper=False)
    volume = trils.diagonal(dim1=1, dim2=2).log().sum(1)  # K
    return (-0.5 * solved.square().sum(1) - volume[:, None] - 0.5 * z.size(1) * math.log(2 * math.pi)).T
