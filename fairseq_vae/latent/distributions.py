"""Distributions of z, which posteriors and priors return.

Shapes: B sentences, Z latent dimensions, K latent vectors of D = Z / K dimensions each.
"""

import math
from typing import Any, Callable, NamedTuple, Optional, Protocol, Tuple

import torch
from torch import Tensor

__all__ = [
    "BlockGaussian",
    "Distribution",
    "Gaussian",
    "GaussianPosterior",
    "as_double",
    "expanded",
    "has_closed_form",
    "have_conditionals",
    "log_ratio",
    "rate",
    "rows",
    "sampled",
]


class Distribution(Protocol):
    """A distribution of z for each sentence, or one for all sentences.

    A distribution is a NamedTuple. Its tensors have a row for each sentence, or no batch dimension where one
    distribution is for all sentences; `rows`, `expanded` and `as_double` rely on this form. `rsample` and `log_prob`
    broadcast as those of torch.distributions do. It may also have `conditionals(z) -> Gaussian`, the distribution of
    each dimension given those before it, whose densities make that of z: the rate is then known for each dimension,
    given the z before. A posterior may also have `kl(prior) -> B x G`, the rate in closed
    form under a diagonal Gaussian prior, and `to_rows() -> B x R` with its inverse `from_rows`: validation then logs
    its mutual information; and `mi_sentences`, the most sentences among which an evaluation measures that. An
    evaluation can be kept on disk if all fields are tensors.

    >>> prior: Distribution = Gaussian(torch.zeros(3), torch.zeros(3))  # one for all sentences
    >>> prior.log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

    @property
    def mean(self) -> Tensor:
        """The mean of z, B x Z or Z."""

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """z as a differentiable function of `eps`.

        Args:
            eps: standard normal draws, B x eps_dim of the posterior or prior

        Returns:
            B x Z
        """

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row of z.

        Args:
            z: B x Z

        Returns:
            nats, B
        """


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
        """N(0, I).

        Args:
            like: a tensor of any shape

        Returns:
            mu and logvar of the tensor's shape, precision and device
        """
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    @property
    def mean(self) -> Tensor:
        """The mean of z, B x Z."""
        return self.mu

    @property
    def variance(self) -> Tensor:
        """The variance of z, B x Z."""
        return self.logvar.exp()

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """z = mu + exp(logvar / 2) * eps, the reparameterisation (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114).

        Args:
            eps: standard normal draws, B x Z; None takes them from torch's global random state

        Returns:
            B x Z
        """
        if eps is None:
            eps = torch.randn_like(self.mu)
        return self.mu + torch.exp(0.5 * self.logvar) * eps.to(self.mu)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; mu, diag(exp(logvar))) of each row of z.

        Args:
            z: B x Z

        Returns:
            nats, B
        """
        square = (z - self.mu).square() * torch.exp(-self.logvar)
        return -0.5 * (square + self.logvar + math.log(2 * math.pi)).sum(-1)

    def conditionals(self, z: Tensor) -> "Gaussian":
        """The distribution of each dimension given those before it in a z, B x Z: itself, whatever the z."""
        return self

    def kl(self, other: Optional["Gaussian"] = None) -> Tensor:
        """KL(self || other) of each dimension (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, appendix B).

        KL = 1/2 [(mu - m)^2 / s^2 + exp(r) - 1 - r], with the other's mean m and variance s^2 and r = logvar - log s^2.
        This form is exactly 0 where the two are equal.

        Args:
            other: a Gaussian of the same Z; None stands for N(0, I)

        Returns:
            nats, B x Z
        """
        if other is None:
            other = self.standard(self.mu)
        ratio = self.logvar - other.logvar
        square = (self.mu - other.mu).square() * torch.exp(-other.logvar)
        return 0.5 * (square + torch.expm1(ratio) - ratio)

    def to_rows(self) -> Tensor:
        """A row of numbers for each sentence.

        Returns:
            mu, then logvar, B x 2Z
        """
        return torch.cat((self.mu, self.logvar), dim=1)

    @classmethod
    def from_rows(cls, table: Tensor) -> "Gaussian":
        """The inverse of `to_rows`.

        Args:
            table: mu, then logvar, B x 2Z

        Returns:
            the Gaussians of B sentences
        """
        return cls(*table.chunk(2, dim=1))


GaussianPosterior = Gaussian  # the name under which the hub's `encode` returns it


class BlockGaussian(NamedTuple):
    """N(mu, L L^T), L block-diagonal: a Gaussian with a full covariance within each latent vector.

    Attributes:
        mu: mean, B x Z
        tril: blocks of L, lower triangular with positive diagonals, B x K x D x D

    >>> tril = torch.tensor([[[[1.0, 0.0], [3.0, 4.0]]]])  # of one sentence and one vector of two dimensions
    >>> posterior = BlockGaussian(torch.zeros(1, 2), tril)
    >>> posterior.rsample(torch.ones(1, 2))
    tensor([[1., 7.]])
    >>> posterior.kl()  # (1 + 3^2 + 4^2 - 2) / 2 - ln 4
    tensor([[10.6137]])
    """

    mu: Tensor
    tril: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean of z, B x Z."""
        return self.mu

    @property
    def blocks(self) -> Tuple[int, int]:
        """K and D."""
        return self.tril.size(-3), self.tril.size(-1)

    def rsample(self, eps: Optional[Tensor] = None) -> Tensor:
        """mu + L eps.

        Args:
            eps: standard normal draws, B x Z; None takes them from torch's global random state

        Returns:
            B x Z
        """
        eps = torch.randn_like(self.mu) if eps is None else eps.to(self.mu)
        spread = self.tril * eps.unflatten(-1, self.blocks).unsqueeze(-2)  # no matrix product, which autocast rounds
        return self.mu + spread.sum(-1).flatten(-2)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; mu, L L^T) of each row of z.

        Args:
            z: B x Z, or with more dimensions in front for a table

        Returns:
            nats, B, or a table
        """
        centred = (z - self.mu).unflatten(-1, self.blocks)
        # one system of equations for each sentence: a table's other rows are further right-hand sides
        columns = centred.reshape(-1, *self.tril.shape[:-1]).movedim(0, -1)  # B x K x D x rows
        solved = torch.linalg.solve_triangular(self.tril, columns, upper=False).movedim(-1, 0)
        square = solved.square().sum((-2, -1)).reshape(centred.shape[:-2])
        volume = self.tril.diagonal(dim1=-2, dim2=-1).log().sum((-2, -1))
        return -0.5 * (square + self.mu.size(-1) * math.log(2 * math.pi)) - volume

    def kl(self, other: Optional[Gaussian] = None) -> Tensor:
        """KL(self || other) of each latent vector.

        It is the KL of the diagonal Gaussian N(mu, diag(L)^2) and 1/2 sum_{i > j} L_ij^2 / s_i^2, with the other's
        variances s^2.

        Args:
            other: a diagonal Gaussian of the same Z; None stands for N(0, I)

        Returns:
            nats, B x K
        """
        if other is None:
            other = Gaussian.standard(self.mu)
        diagonal = Gaussian(self.mu, 2 * self.tril.diagonal(dim1=-2, dim2=-1).log().flatten(-2))
        precision = torch.exp(-other.logvar).unflatten(-1, self.blocks).unsqueeze(-1)
        below = self.tril.tril(-1).square() * precision
        return diagonal.kl(other).unflatten(-1, self.blocks).sum(-1) + 0.5 * below.sum((-2, -1))

    def to_rows(self) -> Tensor:
        """A row of numbers for each sentence.

        Returns:
            D, then mu, then L block by block, without the zeros above its diagonal, B x (1 + Z + Z (D + 1) / 2)
        """
        size = self.tril.size(-1)
        row, column = torch.tril_indices(size, size, device=self.tril.device)
        first = torch.full_like(self.mu[:, :1], size)
        return torch.cat((first, self.mu, self.tril[..., row, column].flatten(1)), dim=1)

    @classmethod
    def from_rows(cls, table: Tensor) -> "BlockGaussian":
        """The inverse of `to_rows`.

        Args:
            table: D, then mu, then L, B x (1 + Z + Z (D + 1) / 2), of B sentences of the same D

        Returns:
            the Gaussians of B sentences; of none with Z = 0, since no row tells D
        """
        if not len(table):
            return cls(table[:, :0], table.new_zeros(0, 1, 0, 0))
        size = int(table[0, 0])
        dim = 2 * (table.size(1) - 1) // (size + 3)
        row, column = torch.tril_indices(size, size, device=table.device)
        tril = table.new_zeros(len(table), dim // size, size, size)
        tril[..., row, column] = table[:, 1 + dim :].unflatten(1, (dim // size, -1))
        return cls(table[:, 1 : 1 + dim], tril)


def has_closed_form(posterior: Distribution, prior: Distribution) -> bool:
    """Whether the rate of a posterior under a prior is known without a sample.

    >>> standard = Gaussian.standard(torch.zeros(3))
    >>> has_closed_form(standard, standard)
    True
    """
    return hasattr(posterior, "kl") and isinstance(prior, Gaussian)


def have_conditionals(posterior: Distribution, prior: Distribution) -> bool:
    """Whether the rate is known for each dimension, given a sample.

    >>> standard = Gaussian.standard(torch.zeros(3))
    >>> have_conditionals(standard, standard)
    True
    """
    return hasattr(posterior, "conditionals") and hasattr(prior, "conditionals")


def rate(posterior: Distribution, prior: Distribution, z: Tensor) -> Tensor:
    """The rate of each sentence, KL(posterior || prior).

    A posterior with `kl` has it in closed form under a diagonal Gaussian prior: a diagonal Gaussian of each dimension,
    G = Z, one with full covariances of each latent vector, G = K. Where both have `conditionals`, it is the KL of each
    dimension's distribution given the dimensions below it in z: G = Z, an unbiased estimate of which no term is
    negative. Other pairs have the unbiased estimate by one sample, log q(z|x) - log p(z), for the whole of z: G = 1. It
    may be negative.

    Args:
        posterior: of B sentences
        prior: of B sentences, or one for all sentences
        z: a sample of the posterior, B x Z

    Returns:
        nats, B x G; the sum over G is the sentence's KL

    >>> posterior, prior = Gaussian(torch.ones(2, 3), torch.zeros(2, 3)), Gaussian.standard(torch.zeros(3))
    >>> rate(posterior, prior, posterior.mean).sum(1)  # 3 dimensions of (1 - 0)^2 / 2
    tensor([1.5000, 1.5000])
    """
    if has_closed_form(posterior, prior):
        return posterior.kl(prior)  # type: ignore[attr-defined]
    if have_conditionals(posterior, prior):
        return posterior.conditionals(z).kl(prior.conditionals(z))  # type: ignore[attr-defined]
    return (posterior.log_prob(z) - prior.log_prob(z)).unsqueeze(-1)


def log_ratio(posterior: Distribution, prior: Distribution, z: Tensor, eps: Tensor) -> Tensor:
    """log p(z) - log q(z|x) of each pair of a sentence and a sample.

    For two Gaussians it is 1/2 sum_d [eps^2 + (logvar - log s^2) - (z - m)^2 / s^2], with the prior's mean m and
    variance s^2; the constants cancel.

    Args:
        posterior: of P pairs
        prior: of P pairs, or one for all pairs
        z: posterior.rsample(eps), P x Z
        eps: standard normal draws, P x Z

    Returns:
        nats, P, float64

    >>> p, eps = Gaussian.standard(torch.zeros(2, 3)), torch.ones(2, 3)
    >>> log_ratio(p, p, p.rsample(eps), eps).tolist()
    [0.0, 0.0]
    """
    posterior, prior, z = as_double(posterior), as_double(prior), z.double()
    if isinstance(posterior, Gaussian) and isinstance(prior, Gaussian):
        square = (z - prior.mu).square() * torch.exp(-prior.logvar)
        return 0.5 * (eps.double().square() + (posterior.logvar - prior.logvar) - square).sum(1)
    return prior.log_prob(z) - posterior.log_prob(z)


def mapped(distribution: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to each tensor of a distribution, and of the distributions in it; other fields stay."""

    def of(part: Any) -> Any:
        if torch.is_tensor(part):
            return function(part)
        return mapped(part, function) if hasattr(part, "_fields") else part

    return type(distribution)(*map(of, distribution))


def rows(distribution: Any, index: Any) -> Any:
    """Take the distributions of some sentences.

    Args:
        distribution: of B sentences, or one for all sentences
        index: the rows to take, as torch indexes them

    Returns:
        the distributions of these rows; one for all sentences is returned as it is

    >>> rows(Gaussian(torch.eye(3), torch.zeros(3, 3)), [2, 0]).mu.tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return mapped(distribution, lambda part: part[index]) if distribution.mean.dim() > 1 else distribution


def sampled(distribution: Any, eps: Tensor, chunk: int = 4096) -> Tensor:
    """One z of each sentence, some sentences at a time: a flow takes kilobytes for each.

    Args:
        distribution: of B sentences
        eps: standard normal draws, B x eps_dim
        chunk: sentences that are in memory at a time

    Returns:
        B x Z

    >>> sampled(Gaussian(torch.eye(3), torch.zeros(3, 3)), torch.ones(3, 3), chunk=2)[2].tolist()
    [1.0, 1.0, 2.0]
    """
    parts = [slice(start, start + chunk) for start in range(0, len(eps), chunk)]
    return torch.cat([rows(distribution, part).rsample(eps[part]) for part in parts])


def expanded(distribution: Any, size: int) -> Any:
    """Repeat one distribution for all sentences, for each of B sentences.

    Args:
        distribution: one for all sentences, or of B sentences
        size: B

    Returns:
        B distributions; those of B sentences are returned as they are

    >>> expanded(Gaussian.standard(torch.zeros(3)), 2).mu.shape
    torch.Size([2, 3])
    """
    if distribution.mean.dim() > 1:
        return distribution
    return mapped(distribution, lambda part: part.expand(size, *part.shape))


def as_double(distribution: Any) -> Any:
    """Convert a distribution to float64.

    Args:
        distribution: of any sentences

    Returns:
        the same distribution, its tensors in float64

    >>> as_double(Gaussian.standard(torch.zeros(3))).mu.dtype
    torch.float64
    """
    return mapped(distribution, lambda part: part.double() if part.is_floating_point() else part)
