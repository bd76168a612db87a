"""Terms that the objective may have beside reconstruction and KL, each with a weight; 0 leaves a term out.

A term with parameters is a module of the model: the model computes it inside its forward pass, where sharded weights
are whole, and the term's flags are the model's. A term without parameters is the criterion's, and so are its flags.

Shapes: B sentences, U target length, Z latent dimensions, V vocabulary.
"""

from dataclasses import dataclass, field
from typing import Any, Callable, List, NamedTuple, Optional

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError
from ..base.registry import Registry
from ..latent.distributions import Distribution

__all__ = ["BagOfWords", "MMD", "TermBatch", "active_terms", "bag_of_words", "mmd", "register_term", "terms"]

KERNELS = ("rbf", "imq")


class TermBatch(NamedTuple):
    """What a term may look at.

    Attributes:
        z: the batch's latents, B x Z
        posterior, prior: the distributions of z; a prior for all sentences has no batch shape
        target: tokens with their ends, B x U
        padding: the token that does not count
        eps: draws fresh standard normals, B x prior.eps_dim, that belong to (seed, update, sentence); None for a term
            with parameters
    """

    z: Tensor
    posterior: Distribution
    prior: Distribution
    target: Tensor
    padding: int
    eps: Optional[Callable[[], Tensor]] = None


# A term NAME is a class with the flag --NAME-weight in its configuration and the method
#   loss(batch: TermBatch) -> Tensor: the weighted term, a scalar, summed over the batch's sentences.
# With parameters it is an nn.Module, made with (config, latent_dim, width, words), else with (config).
terms: Registry = Registry("term", needs=("loss",))
register_term = terms.register


def has_parameters(term: Any) -> bool:
    """Whether a class of terms is a module of the model."""
    return isinstance(term, type) and issubclass(term, nn.Module)


def active_terms(values: Any, of_model: bool) -> List[str]:
    """The names of the terms that a configuration gives a weight.

    Args:
        values: an object with the terms' flags as attributes
        of_model: those with parameters; else those without

    Raises:
        InputError: a weight is negative
    """
    found = []
    for name in terms.names():
        weight = getattr(values, f"{name}_weight", 0.0)
        if weight < 0:
            raise InputError(f"--{name.replace('_', '-')}-weight {weight}: expected 0 (none) or more")
        if weight and has_parameters(terms[name]) == of_model:
            found.append(name)
    return found


@dataclass
class BagOfWordsConfig:
    """Flags of the bag-of-words loss."""

    bow_weight: float = field(
        default=0.0,
        metadata={
            "help": "weight in the training loss of the bag-of-words loss, in nats, of a two-layer network that "
            "predicts a sentence's words from z (Zhao et al. 2017: 1); 0: no such network (default: 0)"
        },
    )


@register_term("bow", BagOfWordsConfig)
class BagOfWords(nn.Sequential):
    """A two-layer network that predicts a sentence's words from z (Zhao et al. 2017)."""

    def __init__(self, config: BagOfWordsConfig, latent_dim: int, width: int, words: int):
        super().__init__(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, words))
        self.weight = config.bow_weight

    def loss(self, batch: TermBatch) -> Tensor:
        logits = self(batch.z.to(self[0].weight.dtype))  # B x V
        return self.weight * bag_of_words(logits, batch.target, batch.padding)


@dataclass
class MMDConfig:
    """Flags of the maximum mean discrepancy."""

    mmd_weight: float = field(
        default=0.0,
        metadata={
            "help": "weight in the training loss of the squared MMD, per sentence, between the batch's z and samples "
            "of the prior (Zhao et al. 2019, InfoVAE) (default: 0)"
        },
    )
    mmd_kernel: str = field(
        default="rbf",
        metadata={"help": "kernel of the MMD, of scale 2 x --latent-dim (default: rbf)", "choices": KERNELS},
    )


@register_term("mmd", MMDConfig)
class MMD:
    """The squared maximum mean discrepancy between the batch's z and as many samples of the prior, a sentence."""

    def __init__(self, config: MMDConfig):
        self.weight, self.kernel = config.mmd_weight, str(config.mmd_kernel)

    def loss(self, batch: TermBatch) -> Tensor:
        assert batch.eps is not None
        samples = batch.prior.rsample(batch.eps())
        return self.weight * len(batch.z) * mmd(batch.z.float(), samples, self.kernel)


def bag_of_words(logits: Tensor, target: Tensor, padding: int) -> Tensor:
    """-sum over sentences and tokens t of log softmax(logits)[x_t] in nats, a scalar (Zhao et al. 2017, eq. 5).

    Args:
        logits: of the words of each sentence, in no order, B x V
        target: the sentences with their ends, B x U
        padding: token that does not count
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprob = torch.log_softmax(logits, dim=1).gather(1, target)  # B x U
    return -logprob.masked_fill(target.eq(padding), 0.0).sum()


def mmd(z: Tensor, prior: Tensor, kernel: str = "rbf") -> Tensor:
    """Squared maximum mean discrepancy of two samples of the same size B >= 2, without unit, a scalar.

    The unbiased estimate (Gretton et al. 2012, eq. 3): mean over i != j of k(z_i, z_j) + k(p_i, p_j), less twice the
    mean over all i, j of k(z_i, p_j). It may be negative. Kernels of the squared distance d, at the scale 2 Z that it
    has between two samples of N(0, I): rbf exp(-d / 2Z) (Zhao et al. 2019, InfoVAE), imq 2Z / (2Z + d) (Tolstikhin
    et al. 2018, WAE). One sentence has no estimate: 0.

    Args:
        z, prior: B x Z
    """
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}: choose one of {', '.join(KERNELS)}")
    size, dim = z.shape
    if size < 2:
        return z.sum() * 0.0

    def k(x: Tensor, y: Tensor) -> Tensor:  # B x B
        square = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)
        return torch.exp(-square / (2 * dim)) if kernel == "rbf" else 2 * dim / (2 * dim + square)

    within = k(z, z) + k(prior, prior)
    within = within.sum() - within.diagonal().sum()
    return within / (size * (size - 1)) - 2 * k(z, prior).mean()
