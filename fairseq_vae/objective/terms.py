"""Terms that the objective may have beside reconstruction and KL, each with a weight; the weight 0 leaves a term out.

A term with parameters is a module of the model: the model computes it inside its forward pass, where sharded weights
are whole, and the term's flags are the model's. A term without parameters is the criterion's, and so are its flags.

A term NAME is a class that has the flag --NAME-weight in its configuration and the method
`loss(batch: TermBatch) -> Tensor`: the weighted term, summed over the batch's sentences, a scalar. A term with
parameters is an nn.Module, made with (config, latent_dim, width, words); another term is made with (config).

Shapes: B sentences, U target length, Z latent dimensions, V vocabulary.
"""

from dataclasses import dataclass, field
from typing import Any, Callable, List, NamedTuple, Optional, cast

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError
from ..base.needs import GIVEN, Needs
from ..base.registry import Registry
from ..latent.distributions import Distribution

__all__ = [
    "KERNELS",
    "BagOfWords",
    "BagOfWordsConfig",
    "MMD",
    "MMDConfig",
    "TermBatch",
    "active_terms",
    "bag_of_words",
    "has_parameters",
    "mmd",
    "register_term",
    "terms",
]

KERNELS = ("rbf", "imq")


class TermBatch(NamedTuple):
    """The input of a term.

    Attributes:
        z: the batch's latents, B x Z
        posterior: q(z|x) of each sentence; None where z was given
        prior: p(z) of each sentence, or one for all sentences
        target: tokens with their ends, B x U
        padding: the number of <pad>, which does not count
        eps: returns fresh standard normal draws, B x prior.eps_dim, that belong to (seed, update, sentence); None for a
            term with parameters

    >>> from fairseq_vae.latent.distributions import Gaussian
    >>> z, prior = torch.zeros(2, 3), Gaussian.standard(torch.zeros(3))
    >>> target = torch.tensor([[5, 2], [2, 1]])
    >>> batch = TermBatch(z, None, prior, target, padding=1, eps=lambda: torch.ones(2, 3))
    >>> batch.prior.rsample(batch.eps()).shape
    torch.Size([2, 3])
    """

    z: Tensor
    posterior: Optional[Distribution]
    prior: Distribution
    target: Tensor
    padding: int
    eps: Optional[Callable[[], Tensor]] = None


def counts(name: str) -> Needs:
    """What gives a term's flags an effect: its weight, the criterion that adds it, and a z that says something."""
    return {f"{name}_weight": GIVEN, "criterion": ("vae_cross_entropy",), "zero_latent": (False,)}


terms: Registry = Registry("term", ("loss",), counts)
register_term = terms.register


def has_parameters(term: Any) -> bool:
    """Whether a registered term is a module of the model.

    Args:
        term: the registered class

    Returns:
        True for an nn.Module

    >>> has_parameters(BagOfWords), has_parameters(MMD)
    (True, False)
    """
    return isinstance(term, type) and issubclass(term, nn.Module)


def active_terms(values: Any, of_model: bool) -> List[str]:
    """The names of the terms that have a weight in a configuration.

    Args:
        values: an object with the terms' flags as attributes; a flag that it lacks counts as 0
        of_model: True asks for the terms with parameters, False for the others

    Returns:
        names, in the order of registration

    Raises:
        InputError: a weight is negative

    >>> active_terms(MMDConfig(mmd_weight=10.0), of_model=False)
    ['mmd']
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
    """Flags of the bag-of-words loss.

    >>> BagOfWordsConfig().bow_weight
    0.0
    """

    bow_weight: float = field(
        default=0.0,
        metadata={
            "help": "weight in the training loss of the bag-of-words loss, in nats, of a two-layer network that "
            "predicts a sentence's words from z (Zhao et al. 2017: 1); 0: no such network (default: 0)"
        },
    )


@register_term("bow", BagOfWordsConfig)
class BagOfWords(nn.Sequential):
    """A two-layer network that predicts a sentence's words from z (Zhao et al. 2017, https://arxiv.org/abs/1703.10960).

    Args:
        config: the flags
        latent_dim: Z
        width: of the hidden layer
        words: V

    >>> from fairseq_vae.latent.distributions import Gaussian
    >>> term = BagOfWords(BagOfWordsConfig(bow_weight=0.5), latent_dim=3, width=4, words=5)
    >>> for parameter in term.parameters():
    ...     _ = parameter.data.zero_()
    >>> target = torch.tensor([[4, 2], [2, 1]])  # two words and one
    >>> batch = TermBatch(torch.zeros(2, 3), None, Gaussian.standard(torch.zeros(3)), target, padding=1)
    >>> round(term.loss(batch).item(), 4)  # 0.5 * 3 log 5
    2.4142
    """

    def __init__(self, config: BagOfWordsConfig, latent_dim: int, width: int, words: int):
        super().__init__(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, words))
        self.weight = config.bow_weight

    def loss(self, batch: TermBatch) -> Tensor:
        """The weighted bag-of-words loss of a batch.

        Args:
            batch: see TermBatch

        Returns:
            weight * nats, summed over sentences, a scalar
        """
        logits = self(batch.z.to(cast(nn.Linear, self[0]).weight.dtype))  # B x V
        return self.weight * bag_of_words(logits, batch.target, batch.padding)


@dataclass
class MMDConfig:
    """Flags of the maximum mean discrepancy.

    >>> MMDConfig().mmd_kernel
    'rbf'
    """

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
    """The squared maximum mean discrepancy between the batch's z and as many samples of the prior, for each sentence.

    Zhao et al. 2019, InfoVAE, https://arxiv.org/abs/1706.02262.

    Args:
        config: the flags

    >>> from fairseq_vae.latent.distributions import Gaussian
    >>> z, prior, target = torch.eye(3), Gaussian.standard(torch.zeros(3)), torch.tensor([[2], [2], [2]])
    >>> batch = TermBatch(z, None, prior, target, padding=1, eps=lambda: z)
    >>> MMD(MMDConfig(mmd_weight=10.0)).loss(batch) < 0  # equal samples: the unbiased estimate is below 0
    tensor(True)
    """

    def __init__(self, config: MMDConfig):
        self.weight, self.kernel = config.mmd_weight, str(config.mmd_kernel)

    def loss(self, batch: TermBatch) -> Tensor:
        """The weighted squared discrepancy of a batch, times its number of sentences.

        Args:
            batch: see TermBatch; with eps

        Returns:
            without unit, a scalar
        """
        assert batch.eps is not None
        samples = batch.prior.rsample(batch.eps())
        return self.weight * len(batch.z) * mmd(batch.z.float(), samples, self.kernel)


def bag_of_words(logits: Tensor, target: Tensor, padding: int) -> Tensor:
    """-sum over sentences and tokens t of log softmax(logits)[x_t].

    Zhao et al. 2017, https://arxiv.org/abs/1703.10960, eq. 5.

    Args:
        logits: of the words of each sentence, in no order, B x V
        target: the sentences with their ends, B x U
        padding: the number of <pad>, which does not count

    Returns:
        nats, a scalar

    >>> bag_of_words(torch.zeros(2, 5), torch.tensor([[4, 2], [2, 1]]), padding=1)  # 3 log 5
    tensor(4.8283)
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprob = torch.log_softmax(logits, dim=1).gather(1, target)  # B x U
    return -logprob.masked_fill(target.eq(padding), 0.0).sum()


def mmd(z: Tensor, prior: Tensor, kernel: str = "rbf") -> Tensor:
    """Squared maximum mean discrepancy of two samples of the same size.

    It is the unbiased estimate of Gretton et al. 2012 (https://jmlr.org/papers/v13/gretton12a.html, eq. 3): the mean
    over i != j of k(z_i, z_j) + k(p_i, p_j), less twice the mean over all i, j of k(z_i, p_j). It may be negative. The
    kernels are functions of the squared distance d, at the scale 2 Z, the mean of d between two samples of N(0, I):

    rbf: exp(-d / 2Z). Zhao et al. 2019, InfoVAE, https://arxiv.org/abs/1706.02262.
    imq: 2Z / (2Z + d). Tolstikhin et al. 2018, WAE, https://arxiv.org/abs/1711.01558.

    Args:
        z: B x Z
        prior: samples of the prior, B x Z
        kernel: one of KERNELS

    Returns:
        without unit, a scalar; 0 for one sentence, which has no estimate

    Raises:
        ValueError: the kernel is unknown

    >>> near, far = torch.eye(3), torch.eye(3) + 5
    >>> mmd(near, near) < mmd(near, far)
    tensor(True)
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
