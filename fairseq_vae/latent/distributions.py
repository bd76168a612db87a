"""Distributions of z: the one thing that posteriors and priors return.

Shapes: B sentences, Z latent dimensions.
"""

import math
from typing import Any, Callable, NamedTuple, Optional, Protocol

import torch
from torch import Tensor

__all__ = ["Distribution", "Gaussian", "GaussianPosterior", "as_double", "expanded", "log_ratio", "rate", "rows"]


class Distribution(Protocol):
    """A distribution of z for each sentence, or one for all of them.

    It is a NamedTuple whose tensors have a row for each sentence, or none of them (one distribution for all), so that
    the functions below this class can take rows and change the precision. `rsample` and `log_prob` broadcast as those
    of torch.distributions do. A posterior may have `to_rows() -> B x R` and `from_rows` besides: then validation logs
    its mutual information. An evaluation can be kept on disk if all fields are tensors.
    """

    @property
    def mean(self) -> Tensor:
        """The mean of z, B x Z or Z."""

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """z as a differentiable function of standard normal draws `eps`; B x Z."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log density of each row of z, B x Z, in nats, B."""


class Gaussian(NamedTuple):
    """Diagonal Gaussian N(mu, diag(exp(logvar))).

    Attributes:
        mu: mean, B x Z, or Z for all sentences
        logvar: log-variance, of the same shape

    >>> posterior = Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    >>> posterior.rsample(torch.ones(2, 3)).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    >>> posterior.kl().sum(1).tolist()
    [0.0, 0.0]
    """

    mu: Tensor
    logvar: Tensor

    @classmethod
    def standard(cls, like: Tensor) -> "Gaussian":
        """N(0, I) of the shape, precision and device of a tensor; the one place where it stands."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    @property
    def mean(self) -> Tensor:
        """B x Z"""
        return self.mu

    @property
    def variance(self) -> Tensor:
        """B x Z"""
        return self.logvar.exp()

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """z = mu + exp(logvar / 2) * eps, the reparameterisation (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114).

        Args:
            eps: standard normal draws, B x Z; None draws them from torch's global generator

        Returns:
            B x Z
        """
        if eps is None:
            eps = torch.randn_like(self.mu)
        return self.mu + torch.exp(0.5 * self.logvar) * eps.to(self.mu)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; mu, diag(exp(logvar))) of each row of z, in nats, B."""
        square = (z - self.mu).square() * torch.exp(-self.logvar)
        return -0.5 * (square + self.logvar + math.log(2 * math.pi)).sum(-1)

    def kl(self, other: Optional["Gaussian"] = None) -> Tensor:
        """KL(self || other) of each dimension in nats, B x Z (Kingma & Welling 2014, appendix B).

        1/2 [(mu - m)^2 / s^2 + exp(r) - 1 - r] with the other's mean m and variance s^2 and r = logvar - log s^2,
        written so that it is exactly 0 where the two are equal.

        Args:
            other: a Gaussian of the same Z; None stands for N(0, I)
        """
        if other is None:
            other = self.standard(self.mu)
        ratio = self.logvar - other.logvar
        square = (self.mu - other.mu).square() * torch.exp(-other.logvar)
        return 0.5 * (square + torch.expm1(ratio) - ratio)

    def to_rows(self) -> Tensor:
        """One row of numbers a sentence, B x 2Z: mu, then logvar."""
        return torch.cat((self.mu, self.logvar), dim=1)

    @classmethod
    def from_rows(cls, table: Tensor) -> "Gaussian":
        """The inverse of to_rows."""
        return cls(*table.chunk(2, dim=1))


GaussianPosterior = Gaussian  # the public name of what `encode` returns


def rate(posterior: Distribution, prior: Distribution, z: Tensor) -> Tensor:
    """KL(posterior || prior) of each sentence in nats, B x G; its sum over G is the sentence's.

    In closed form for two Gaussians, G = Z. Else its unbiased estimate by one sample, log q(z|x) - log p(z), G = 1,
    which may be negative.

    Args:
        posterior: of B sentences
        prior: of B sentences, or one for all
        z: a sample of the posterior, B x Z
    """
    if isinstance(posterior, Gaussian) and isinstance(prior, Gaussian):
        return posterior.kl(prior)
    return (posterior.log_prob(z) - prior.log_prob(z)).unsqueeze(-1)


def log_ratio(posterior: Distribution, prior: Distribution, z: Tensor, eps: Tensor) -> Tensor:
    """log p(z) - log q(z|x) of each pair, P, float64, in nats.

    For two Gaussians 1/2 sum_d [eps^2 + (logvar - prior's logvar) - (z - m)^2 / s^2], as the constants cancel, with the
    prior's mean m and variance s^2.

    Args:
        posterior: of P pairs
        prior: of P pairs, or one for all
        z: posterior.rsample(eps), P x Z
        eps: standard normal draws, P x Z
    """
    posterior, prior, z = as_double(posterior), as_double(prior), z.double()
    if isinstance(posterior, Gaussian) and isinstance(prior, Gaussian):
        square = (z - prior.mu).square() * torch.exp(-prior.logvar)
        return 0.5 * (eps.double().square() + (posterior.logvar - prior.logvar) - square).sum(1)
    return prior.log_prob(z) - posterior.log_prob(z)


def mapped(distribution: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The distribution with a function applied to each of its tensors; other fields stay."""
    return type(distribution)(*(function(part) if torch.is_tensor(part) else part for part in distribution))


def rows(distribution: Any, index: Any) -> Any:
    """The distribution of some sentences: rows `index` of one with a batch shape, and itself of one for all."""
    return mapped(distribution, lambda part: part[index]) if distribution.mean.dim() > 1 else distribution


def expanded(distribution: Any, size: int) -> Any:
    """A distribution for all sentences, repeated for each of `size` sentences; one with a batch shape as it is."""
    if distribution.mean.dim() > 1:
        return distribution
    return mapped(distribution, lambda part: part.expand(size, *part.shape))


def as_double(distribution: Any) -> Any:
    """The distribution in float64."""
    return mapped(distribution, lambda part: part.double() if part.is_floating_point() else part)
