"""Posteriors: modules whose call turns the encoder's states into a distribution of z for each sentence.

Shapes: B batch, T source length, C model width, Z latent dimensions, K latent vectors of Z / K dimensions each.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..base.errors import InputError
from ..base.needs import Needs
from ..base.precision import ExactBuffers
from ..base.registry import Registry
from .blocks import blockwise
from .context import Context, pooled_with
from .distributions import Distribution, Gaussian
from .pooling import Pooling

__all__ = [
    "DiagonalPosterior",
    "FixedScaleBatchNorm",
    "Posterior",
    "committed_rate",
    "posteriors",
    "register_posterior",
]

logger = logging.getLogger(__name__)

# The soft bound of the log-variance keeps the standard deviation in (0.018, 55): no exp() overflows in half precision,
# and a long phase without KL cannot drive the log-variance to minus infinity.
LOGVAR_BOUND = 8.0


def bounded(raw: Tensor) -> Tensor:
    """LOGVAR_BOUND * tanh(raw / LOGVAR_BOUND): a log-variance from any number; near 0 the number itself."""
    return LOGVAR_BOUND * torch.tanh(raw / LOGVAR_BOUND)


class FixedScaleBatchNorm(ExactBuffers):
    """Batch normalisation of mu with a fixed scale (Zhu et al. 2020, BN-VAE, https://arxiv.org/abs/2004.12585).

    The result is gamma * (mu - mean) / sqrt(var + EPSILON) + shift: gamma is fixed, the shift is learned. The mean KL
    of a sentence is then at least Z * gamma^2 / 2 nats; EPSILON lowers this bound a little.

    In training, mean and (biased) variance are those of the batch that this worker sees at a time, so its rows depend
    on one another. In evaluation, and in training for a batch of one row, they are moving averages over the rows of all
    workers, which begin with the moments of the first batch; before it they are 0 and 1. A batch of n rows moves them
    by 1 - (1 - MOMENTUM)^(n / ROWS), so by MOMENTUM if it has ROWS of them: batches of as many tokens hold few long
    sentences or many short ones, and mu varies more among the latter.

    Args:
        dim: Z
        gamma: standard deviation of mu

    >>> norm = FixedScaleBatchNorm(dim=1, gamma=0.6)
    >>> norm(torch.tensor([[1.0], [3.0]])).detach()
    tensor([[-0.6000],
            [ 0.6000]])
    """

    EPSILON = 1e-5
    MOMENTUM, ROWS = 0.1, 64
    mean: Tensor
    var: Tensor
    dummy_batch = False  # see base.dummy

    def __init__(self, dim: int, gamma: float):
        super().__init__()
        self.gamma = gamma
        self.shift = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))

    def forward(self, mu: Tensor) -> Tensor:
        """
        Args:
            mu: B x Z

        Returns:
            B x Z
        """
        if self.training:
            mean, var = mu.mean(0), mu.var(0, unbiased=False)  # Z
            self.remember(mean.detach(), var.detach(), len(mu))
        if not self.training or len(mu) == 1:
            # copies, since the next batch changes the averages in place
            mean, var = self.mean.to(mu, copy=True), self.var.to(mu, copy=True)
        return self.gamma * (mu - mean) * torch.rsqrt(var + self.EPSILON) + self.shift.to(mu)

    def remember(self, mean: Tensor, var: Tensor, rows: int) -> None:
        """Move the averages towards the moments of all workers' rows; one row alone has no variance and moves nothing.

        The rows of a dummy batch do not count.

        Args:
            mean: of this worker's rows, Z
            var: their biased variance, Z
            rows: their number
        """
        if self.dummy_batch:
            rows = 0
        count: Any = rows
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            sums = torch.stack((mean, var + mean.square(), torch.ones_like(mean)))  # 3 x Z
            sums = rows * sums if rows else torch.zeros_like(sums)
            torch.distributed.all_reduce(sums)
            count = sums[2, 0]
            mean, square = sums[:2] / count.clamp(min=1)
            var = (square - mean.square()).clamp(min=0)
        elif rows < 2:
            return
        new = self.mean.eq(0).all() & self.var.eq(1).all()
        every = torch.ones_like(self.mean)
        momentum = torch.where(new, every, (1 - (1 - self.MOMENTUM) ** (count / self.ROWS)) * every) * (count > 1)
        for average, value in ((self.mean, mean), (self.var, var)):
            average.lerp_(value.to(average), momentum)


class Posterior(nn.Module):
    """q(z | x): a module whose call returns a distribution of z for each sentence.

    In checkpoints the state of the pooling stands beside the posterior's own, without a prefix.

    Args:
        width: C, or 2C in a conditional model, where the source's pooled states stand behind the sentence's
        dim: Z
        pooling: from the encoder's states to one vector, or to K
        config: the posterior's own flags, see Registry.register

    Attributes:
        eps_dim: the number of standard normal draws from which `rsample` makes one z
        optional_state: names of the tensors and modules that a flag of the posterior adds. A checkpoint may lack them
            and then begins them anew, and one that has them may go on without them. Other names are the architecture.
        least_vectors: the fewest latent vectors of which the posterior makes sense
        has_rows: whether its distributions have `to_rows`, so that validation logs their mutual information

    >>> from fairseq_vae.latent.pooling import poolings
    >>> posterior = posteriors["diagonal"](width=4, dim=3, pooling=poolings["mean"](4))
    >>> states, padding = torch.zeros(5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)
    >>> posterior(states, padding).rsample(torch.zeros(2, posterior.eps_dim)).shape
    torch.Size([2, 3])
    """

    optional_state: ClassVar[Tuple[str, ...]] = ()
    least_vectors: ClassVar[int] = 1
    has_rows: ClassVar[bool] = True

    def __init__(self, width: int, dim: int, pooling: Pooling, config: Any = None):
        super().__init__()
        self.pooling, self.eps_dim = pooling, dim
        self._register_state_dict_hook(_without_prefix)
        self._register_load_state_dict_pre_hook(self._with_prefix)

    def reset_parameters(self) -> None:
        """Initialise the weights, after BART's own initialisation of every linear layer and embedding."""

    def forward(self, hidden: Tensor, padding_mask: Tensor, context: Optional[Context] = None) -> Distribution:
        """
        Args:
            hidden: the encoder's states of the sentences, T x B x C
            padding_mask: true where a token is padding, B x T
            context: of a conditional model's sources; None, and not given, in another model

        Returns:
            a distribution of B sentences, in float32
        """
        raise NotImplementedError

    def pooled(self, hidden: Tensor, padding_mask: Tensor, context: Optional[Context] = None) -> Tensor:
        """The vectors that z is made of: the sentence's pooled states, and behind them those of its source.

        Args:
            hidden, padding_mask, context: as for forward

        Returns:
            B x W, or B x K x W, of the W numbers of the argument `width`
        """
        return pooled_with(self.pooling(hidden, padding_mask), context)

    def _with_prefix(self, state_dict: Dict[str, Tensor], prefix: str, *_: Any) -> None:
        for name in self.pooling.state_dict():
            if prefix + name in state_dict:
                state_dict[f"{prefix}pooling.{name}"] = state_dict.pop(prefix + name)


def _without_prefix(module: nn.Module, state_dict: Dict[str, Tensor], prefix: str, *_: Any) -> None:
    for key in [key for key in state_dict if key.startswith(f"{prefix}pooling.")]:
        state_dict[prefix + key[len(f"{prefix}pooling.") :]] = state_dict.pop(key)


def counts(name: str) -> Needs:
    """What gives a posterior's flags an effect: the choice of it, and a z that is drawn from it."""
    return {"latent_posterior": (name,), "zero_latent": (False,)}


posteriors: Registry = Registry("posterior", ("forward",), counts)
register_posterior = posteriors.register


def committed_rate(max_variance: float) -> float:
    """The least KL from N(0, 1) of a Gaussian whose variance is at most S < 1: 1/2 (S - 1 - ln S).

    It is the KL of N(0, S). A Gaussian of D dimensions whose matrix L of LL^T has no larger square than S on its
    diagonal has at least D times as much from N(0, I), whatever its mean and the rest of L (delta-VAE: Razavi et al.
    2019, https://arxiv.org/abs/1901.03416; the bound of one vector).

    Args:
        max_variance: S, above 0 and below 1

    Returns:
        nats per dimension

    >>> round(32 * committed_rate(0.5), 2), round(32 * committed_rate(0.2), 2)
    (3.09, 12.95)
    """
    return 0.5 * (max_variance - 1 - math.log(max_variance))


@dataclass
class BoundedConfig:
    """The flag of Gaussian posteriors whose variance may be bounded."""

    posterior_max_variance: float = field(
        default=0.0,
        metadata={
            "help": "smooth upper bound S of q(z|x)'s variance in each dimension, 0 < S < 1, which commits a sentence "
            "to a KL of at least Z x (S - 1 - ln S) / 2 nats: 3.1 with 0.5 and Z = 32 dimensions (Razavi et al. "
            "2019, delta-VAE). It may say nothing (mu = 0): watch nll_gap. Of --latent-posterior full it is the "
            "variance given the dimensions before; 0: no bound (default: 0)",
        },
    )


@dataclass
class DiagonalConfig(BoundedConfig):
    """Flags of the diagonal posterior."""

    bn_mu: float = field(
        default=0.0,
        metadata={
            "help": "batch-normalise mu to this fixed standard deviation, with which the mean KL of a batch's "
            "sentences from N(0, I) is at least Z x its square / 2 nats for Z dimensions of z (Zhu et al. 2020, "
            "BN-VAE: 0.6); 0: no normalisation (default: 0)",
        },
    )


@register_posterior("diagonal", DiagonalConfig, help="a Gaussian with independent dimensions")
class DiagonalPosterior(Posterior):
    """N(mu(x), diag(exp(logvar(x)))), in float32 whatever the model's precision.

    mu is an affine map of the pooled states, batch-normalised if --bn-mu says so. logvar is
    LOGVAR_BOUND * tanh(raw / LOGVAR_BOUND), with another affine map `raw` of the pooled states. Each of K vectors has
    maps of its own. Under --posterior-max-variance S the precision exp(-logvar) grows by 1 / S, so that the variance is
    below S. A posterior that is made of this Gaussian overrides `distribution`.

    Args:
        width: C
        dim: Z
        pooling: from the encoder's states to one vector, or to K
        config: the flags; None: their defaults

    Raises:
        InputError: --bn-mu is negative, or --posterior-max-variance neither 0 nor between 0 and 1

    >>> from fairseq_vae.latent.pooling import poolings
    >>> posterior = DiagonalPosterior(4, 3, poolings["mean"](4), DiagonalConfig(bn_mu=0.6))
    >>> mu = posterior(torch.randn(5, 100, 4), torch.zeros(100, 5, dtype=torch.bool)).mu
    >>> mu.std(0, unbiased=False).detach().round(decimals=2)
    tensor([0.6000, 0.6000, 0.6000])
    """

    optional_state: ClassVar[Tuple[str, ...]] = ("bn_mu",)

    def __init__(self, width: int, dim: int, pooling: Pooling, config: Any = None):
        super().__init__(width, dim, pooling, config)
        gamma, self.max_variance = (getattr(config, name, 0.0) for name in ("bn_mu", "posterior_max_variance"))
        if gamma < 0:
            raise InputError(f"--bn-mu {gamma}: expected 0 (none) or more")
        if not 0 <= self.max_variance < 1:
            raise InputError(
                f"--posterior-max-variance {self.max_variance}: expected 0 (no bound) or a number between 0 and 1, the "
                "prior's variance"
            )
        self.bn_mu = FixedScaleBatchNorm(dim, gamma) if gamma > 0 else None
        self.mu = nn.Linear(width, dim)
        self.logvar = nn.Linear(width, dim)
        if self.max_variance:
            logger.info(
                f"--posterior-max-variance {self.max_variance}: a committed rate of "
                f"{dim * committed_rate(self.max_variance):.4g} nats per sentence: it may say nothing (mu = 0): watch "
                "nll_gap"
            )

    def reset_parameters(self) -> None:
        """Spread the means by about one standard deviation of z; BART's 0.02 would spread them some 10 times less."""
        nn.init.normal_(self.mu.weight, std=self.mu.in_features**-0.5)

    def forward(self, hidden: Tensor, padding_mask: Tensor, context: Optional[Context] = None) -> Distribution:
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = self.pooled(hidden, padding_mask, context)  # B x W, or B x K x W
            mu, raw = self.affine(pooled)  # B x Z
            if self.bn_mu is not None:
                mu = self.bn_mu(mu)
            logvar = bounded(raw)
            if self.max_variance:
                bound = math.log(self.max_variance)
                logvar = bound - F.softplus(bound - logvar)  # -log(exp(-logvar) + 1 / S)
            return self.distribution(pooled, Gaussian(mu, logvar))

    def distribution(self, pooled: Tensor, gaussian: Gaussian) -> Distribution:
        """The posterior that is made of the diagonal Gaussian: itself. It runs with autocast off.

        Args:
            pooled: states, B x W or B x K x W, float32
            gaussian: of B sentences, float32
        """
        return gaussian

    def affine(self, pooled: Tensor) -> Tuple[Tensor, Tensor]:
        """mu and the log-variance before its bound, B x Z, of pooled states, B x W or B x K x W; in float32."""
        mu, raw = (blockwise(pooled, m.weight.float(), m.bias.float()) for m in (self.mu, self.logvar))
        return mu, raw
