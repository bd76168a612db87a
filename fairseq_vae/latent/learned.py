"""Priors that are learned with the model: a mixture of Gaussians, a flow, and the VampPrior.

Shapes: B sentences, T tokens, C model width, Z latent dimensions, K components.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..base.errors import InputError
from ..base.needs import check_sizes
from .context import Context
from .densities import Components
from .distributions import Gaussian
from .flows import Flow, SplineFlow
from .prior import Prior, register_prior

__all__ = ["FlowPrior", "MixtureConfig", "MixturePrior", "PriorFlowConfig", "VampConfig", "VampPrior"]

LEAST_SCALE = 0.01  # of a mixture's components: a component cannot shrink to a point


@dataclass
class MixtureConfig:
    """Flags of the mixture.

    >>> MixtureConfig().mixture_components
    10
    """

    mixture_components: int = field(
        default=10, metadata={"help": "Gaussians in the mixture of --latent-prior mixture (default: 10)"}
    )


@register_prior("mixture", MixtureConfig, help="a learned mixture of Gaussians with independent dimensions")
class MixturePrior(Prior):
    """sum_k w_k N(mu_k, diag(s_k^2)), with w = softmax(logits).

    s = LEAST_SCALE + (1 - LEAST_SCALE) softplus(raw) / log 2 begins at 1, the means begin at draws of N(0, 1/4), and
    those of one component at 0: it begins as N(0, I).

    Args:
        dim: Z
        config: the flags; None: their defaults

    Raises:
        InputError: --mixture-components is less than 1

    >>> prior = MixturePrior(2, MixtureConfig(mixture_components=1))
    >>> prior().log_prob(torch.zeros(1, 2)).exp().detach()  # 1 / (2 pi)
    tensor([0.1592])
    """

    signature = "mixture"

    def __init__(self, dim: int, config: Optional[MixtureConfig] = None):
        super().__init__(dim, config)
        config = config or MixtureConfig()
        check_sizes(config, mixture_components=1)
        size = config.mixture_components
        self.eps_dim = dim + 1  # the last draw chooses the component
        self.logits = nn.Parameter(torch.zeros(size))
        self.mu = nn.Parameter(0.5 * torch.randn(size, dim) if size > 1 else torch.zeros(size, dim))
        self.raw = nn.Parameter(torch.zeros(size, dim))

    def forward(self, context: Optional[Context] = None) -> Components:
        scale = LEAST_SCALE + (1 - LEAST_SCALE) * (F.softplus(self.raw.float()) / math.log(2))
        return Components(self.logits.float().log_softmax(0), Gaussian(self.mu.float(), 2 * scale.log()))


@dataclass
class PriorFlowConfig:
    """Flags of the flow.

    >>> PriorFlowConfig().prior_flow_transforms
    2
    """

    prior_flow_transforms: int = field(
        default=2, metadata={"help": "splines behind one another in --latent-prior flow (default: 2)"}
    )
    prior_flow_hidden: int = field(
        default=64,
        metadata={
            "help": "width of the two hidden layers of each spline's network in --latent-prior flow (default: 64)"
        },
    )


@register_prior("flow", PriorFlowConfig, help="a learned neural spline flow, which needs zuko")
class FlowPrior(Prior):
    """z = f(eps), eps of N(0, I), with f the inverse of SplineFlow; begins as N(0, I).

    The density of a z takes one pass through the flow's networks, a sample of it Z passes.

    Args:
        dim: Z
        config: the flags; None: their defaults

    Raises:
        InputError: a flag is less than 1, or zuko is not installed

    >>> prior = FlowPrior(2)
    >>> prior.reset_parameters()
    >>> prior().rsample(torch.ones(1, 2)).round(decimals=3).tolist()
    [[1.0, 1.0]]
    """

    signature = "flow"
    zero: Tensor
    one: Tensor

    def __init__(self, dim: int, config: Optional[PriorFlowConfig] = None):
        super().__init__(dim, config)
        config = config or PriorFlowConfig()
        check_sizes(config, prior_flow_transforms=1, prior_flow_hidden=1)
        self.flow = SplineFlow(dim, config.prior_flow_transforms, config.prior_flow_hidden)
        self.register_buffer("zero", torch.zeros(dim), persistent=False)
        self.register_buffer("one", torch.eye(dim), persistent=False)

    def reset_parameters(self) -> None:
        self.flow.reset_parameters()

    def forward(self, context: Optional[Context] = None) -> Flow:
        return Flow(self.zero.float(), self.one.float(), self.flow)


@dataclass
class VampConfig:
    """Flags of the VampPrior.

    >>> VampConfig().vamp_components
    32
    """

    vamp_components: int = field(
        default=32,
        metadata={
            "help": "pseudo-inputs of --latent-prior vamp, at first so many different sentences of the training text "
            "(default: 32)"
        },
    )
    vamp_length: int = field(
        default=32,
        metadata={
            "help": "tokens of each pseudo-input of --latent-prior vamp, <s> included; longer sentences are cut "
            "(default: 32)"
        },
    )


@register_prior("vamp", VampConfig, help="the mean of the posteriors at learned pseudo-inputs")
class VampPrior(Prior):
    """p(z) = 1/K sum_k q(z | u_k), with learned pseudo-inputs u_k (Tomczak & Welling 2018, VampPrior,
    https://arxiv.org/abs/1705.07120, eq. 9).

    u_k is a sequence of embeddings: those of fixed tokens, which the encoder's table has, and learned offsets, which
    begin at 0. The tokens are words by chance until `begin` has a text. Each forward pass encodes all u_k, with the
    encoder's dropout in training.

    Args:
        dim: Z
        config: the flags; None: their defaults

    Raises:
        InputError: a flag is too small

    >>> VampPrior(2, VampConfig(vamp_components=3)).components
    3
    """

    signature = "vamp"
    of_posterior = True
    begun = False  # with sentences, or with what a checkpoint has of them
    digits: Tensor

    def __init__(self, dim: int, config: Optional[VampConfig] = None):
        super().__init__(dim, config)
        config = config or VampConfig()
        check_sizes(config, vamp_components=1, vamp_length=2)
        self.components, self.length = config.vamp_components, config.vamp_length
        self.encoder: Tuple[Any, ...] = ()  # a tuple is not registered, and copies of the model keep their own

    def connect(self, encoder: Any) -> None:
        """Make the pseudo-inputs of an encoder.

        Args:
            encoder: a BARTVAEEncoder, complete

        Raises:
            InputError: the pseudo-inputs are longer than its positions, or its model is conditional
        """
        if encoder.conditional:
            raise InputError(
                "--latent-prior vamp: its pseudo-inputs are sentences without sources; give another one with bart_cvae"
            )
        if self.length > encoder.max_source_positions:
            raise InputError(
                f"--vamp-length {self.length}: expected {encoder.max_source_positions} or less, --max-source-positions"
            )
        self.encoder = (encoder,)
        self.eps_dim = encoder.posterior.eps_dim + 1  # the last draw chooses the component
        words, shape = encoder.dictionary, (self.components, self.length)
        generator = torch.Generator().manual_seed(1)  # its own: the weights of a seed are those without this prior
        tokens = torch.randint(words.nspecial, len(words), shape, generator=generator)
        tokens[:, 0], tokens[:, -1] = words.bos(), words.eos()
        self.register_buffer("digits", as_digits(tokens))
        self.offsets = nn.Parameter(torch.zeros(*shape, encoder.embed_tokens.embedding_dim))

    def begin(self, sentences: Iterable[Tensor]) -> None:
        """Take the first K different sentences, with <s> in front, for the tokens of the pseudo-inputs.

        Where there are fewer, the other pseudo-inputs stay words by chance.

        Args:
            sentences: tokens, each with </s> at its end
        """
        [encoder] = self.encoder
        found: Dict[Tuple[int, ...], None] = {}  # in order
        for sentence in sentences:
            found[tuple(sentence[: self.length - 1].tolist())] = None
            if len(found) == self.components:
                break
        tokens = as_tokens(self.digits)
        for row, words in zip(tokens, found):
            row.fill_(encoder.dictionary.pad())
            row[: len(words) + 1] = row.new_tensor([encoder.dictionary.bos(), *words])
        self.digits.copy_(as_digits(tokens))
        self.begun = True

    def _load_from_state_dict(self, *args: Any) -> None:
        before = self.digits.clone()
        super()._load_from_state_dict(*args)
        self.begun = self.begun or not before.equal(self.digits)

    def forward(self, context: Optional[Context] = None) -> Components:
        [encoder] = self.encoder
        tokens = as_tokens(self.digits)  # K x T
        embeddings = encoder.embed_tokens(tokens) + self.offsets  # K x T x C
        parts = encoder.infer(tokens, token_embeddings=embeddings)
        return Components(parts.mean.new_full((self.components,), -math.log(self.components)), parts)


def as_digits(tokens: Tensor) -> Tensor:
    """Tokens in three digits of base 256, which floating point of any precision holds exactly.

    Averages of models refuse integers, and half precision rounds integers above 256.

    Args:
        tokens: any shape

    Returns:
        shape x 3, float32
    """
    return torch.stack((tokens // 65536, tokens // 256 % 256, tokens % 256), dim=-1).float()


def as_tokens(digits: Tensor) -> Tensor:
    """The inverse of as_digits."""
    high, middle, low = digits.round().long().unbind(-1)
    return (high * 256 + middle) * 256 + low
