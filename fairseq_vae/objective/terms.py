"""Terms that the objective may have beside reconstruction and KL, each with a weight; the weight 0 leaves a term out.

A term with parameters is a module of the model: the model computes it inside its forward pass, where sharded weights
are whole, and the term's flags are the model's. A term without parameters is the criterion's, and so are its flags.

A term NAME is a class that has the flag --NAME-weight in its configuration and the method
`loss(batch: TermBatch) -> Tensor`: the weighted term, summed over the batch's sentences, a scalar. A term with
parameters is an nn.Module, made with (config, latent_dim, width, words); another term is made with (config). The mean
of each term over sentences, without its weight, is logged under the term's name.

A term with parameters may have two methods more. `connect(encoder)` is called once the model is built, with its
BARTVAEEncoder. `begin(count, sentence)` is called before the first update of a run, with the number of the training
text's sentences and a function from a sentence's number to its tokens.

Shapes: B sentences, U target length, Z latent dimensions, V vocabulary, C width of the encoder.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import Any, Callable, List, NamedTuple, Optional, cast

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError
from ..base.needs import GIVEN, Needs
from ..base.precision import ExactBuffers
from ..base.registry import Registry
from ..latent.distributions import Distribution

__all__ = [
    "ALIGNED",
    "KERNELS",
    "Alignment",
    "AlignmentConfig",
    "BagOfWords",
    "BagOfWordsConfig",
    "MMD",
    "MMDConfig",
    "TermBatch",
    "active_terms",
    "bag_of_words",
    "cosine_distance",
    "has_parameters",
    "mmd",
    "register_term",
    "terms",
    "whitening",
]

logger = logging.getLogger(__name__)

KERNELS = ("rbf", "imq")
ALIGNED = ("z", "mu")


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
        InputError: a weight is negative or not finite

    >>> active_terms(MMDConfig(mmd_weight=10.0), of_model=False)
    ['mmd']
    """
    found = []
    for name in terms.names():
        weight = getattr(values, f"{name}_weight", 0.0)
        if not 0 <= weight < math.inf:
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
class AlignmentConfig:
    """Flags of the alignment with the encoder that training starts from.

    >>> AlignmentConfig().align_weight
    0.0
    """

    align_weight: float = field(
        default=0.0,
        metadata={
            "help": "weight in the training loss, in nats a sentence, of the cosine distance, 0 to 2, between a linear "
            "map of z and the sentence's mean state in the encoder as training found it, which stays frozen; "
            "0: no such map and no frozen encoder (default: 0)"
        },
    )
    align_latent: str = field(
        default="z",
        metadata={
            "help": "what the map of --align-weight reads: z, in which the posterior's noise hides most of a small mu, "
            "or mu, its mean (default: z)",
            "choices": ALIGNED,
            "needs": {"deterministic_latent": (False,)},
        },
    )


@register_term("align", AlignmentConfig)
class Alignment(ExactBuffers):
    """How far a linear map of z or mu is from what the frozen encoder says of the sentence: 1 - cos(head(z), target).

    The target is the mean of the encoder's last states, centred and whitened by the training text: the raw means of
    different sentences all point the same way. The moments are of TEXT sentences, and are taken once, at the first
    update; without a text the target is the raw mean.

    Args:
        config: the flags
        latent_dim: Z
        width: not used; the head is as wide as the encoder
        words: not used

    Attributes:
        head: from Z to C
        pretrained: the frozen encoder
        centre: mean of the frozen encoder's means over the text, C
        white: what they are multiplied by, C x C
        measured: 1 once `centre` and `white` are those of a text

    >>> from fairseq_vae.latent.distributions import Gaussian
    >>> class Sums(nn.Module):  # in the place of an encoder: of a sentence it says the sum of its tokens
    ...     width, padding_idx = 1, 1
    ...     def frozen(self): return self
    ...     def means(self, tokens): return tokens.sum(1, keepdim=True).float()
    >>> term = Alignment(AlignmentConfig(align_weight=3.0), latent_dim=1, width=4, words=9)
    >>> term.connect(Sums())
    >>> for parameter in term.parameters():
    ...     _ = parameter.data.fill_(1.0)
    >>> z, target = torch.tensor([[1.0], [1.0], [-3.0]]), torch.tensor([[7, 2], [9, 2], [4, 2]])
    >>> term.loss(TermBatch(z, None, Gaussian.standard(torch.zeros(1)), target, padding=1)).item()  # 3 * (0 + 0 + 2)
    6.0
    """

    TEXT = 1000
    TOKENS = 4096  # read at a time, with padding

    centre: Tensor
    white: Tensor
    measured: Tensor

    def __init__(self, config: AlignmentConfig, latent_dim: int, width: int, words: int):
        super().__init__()
        self.weight, self.latent, self.latent_dim = config.align_weight, str(config.align_latent), latent_dim
        self.text: List[Tensor] = []
        self.known: Optional[bool] = None  # whether it is measured; None: look

    def connect(self, encoder: Any) -> None:
        """Take a copy of an encoder.

        Args:
            encoder: a BARTVAEEncoder, complete
        """
        self.pretrained = encoder.frozen()
        width = self.pretrained.width
        self.head = nn.Linear(self.latent_dim, width)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("white", torch.eye(width))
        self.register_buffer("measured", torch.zeros(()))

    def begin(self, count: int, sentence: Callable[[int], Tensor]) -> None:
        """Keep sentences, at equal distances from one another, until they are measured; all workers have the same.

        Args:
            count: of the text's sentences
            sentence: from a number below `count` to tokens with </s>
        """
        if not self.is_measured():
            some = min(self.TEXT, count)
            self.text = [sentence(number * count // some) for number in range(some)]

    def is_measured(self) -> bool:
        """Whether the target's moments are known; a host waits for a device once.

        An average over updates (--store-ema) of a `measured` that was 0 at first comes near 1 as its moments come near
        the right ones.
        """
        if self.known is None:
            self.known = self.measured.item() > 0.999
        return self.known

    @torch.no_grad()
    def measure(self) -> None:
        """Take the moments of the text, of which the rows of a batch are of similar length."""
        rows, means = sorted(self.text, key=len, reverse=True), []
        if not rows:
            logger.warning("--align-weight: this task shows no training text; the target stays as it is, not centred")
        while rows:
            count = max(1, self.TOKENS // len(rows[0]))
            some = nn.utils.rnn.pad_sequence(rows[:count], True, self.pretrained.padding_idx)
            means.append(self.pretrained.means(some.to(self.centre.device)).double().cpu())
            rows = rows[count:]
        if means:
            states = torch.cat(means)
            self.centre.copy_(states.mean(0))
            self.white.copy_(whitening(states))
            self.measured.fill_(1)
        self.known, self.text = True, []  # at the end: fairseq goes on after a batch that ran out of memory

    def target(self, tokens: Tensor) -> Tensor:
        """What the frozen encoder says of sentences.

        Args:
            tokens: with their ends, B x U

        Returns:
            B x C, without a gradient
        """
        if not self.is_measured():
            self.measure()
        means = self.pretrained.means(tokens)
        return (means - self.centre.to(means)) @ self.white.to(means)

    def loss(self, batch: TermBatch) -> Tensor:
        """The weighted cosine distances of a batch.

        Args:
            batch: see TermBatch

        Returns:
            weight * distance, summed over sentences, a scalar
        """
        z = batch.z if self.latent == "z" or batch.posterior is None else batch.posterior.mean
        found = self.head(z.to(self.head.weight.dtype))  # B x C
        return self.weight * cosine_distance(found, self.target(batch.target)).sum()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.known = None


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
        metadata={"help": "kernel of the MMD, of scale 2 x all of z's numbers (default: rbf)", "choices": KERNELS},
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


def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """1 - cos of the angle between vectors.

    Args:
        x: B x C
        y: B x C

    Returns:
        0 (the same direction) to 2 (opposite ones), B, float32 or more; 1 where a vector is 0

    >>> cosine_distance(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]]))
    tensor([0., 1.])
    """
    x, y = (vectors.to(torch.promote_types(vectors.dtype, torch.float32)) for vectors in (x, y))
    return 1 - nn.functional.cosine_similarity(x, y, dim=1)


def whitening(rows: Tensor, floor: float = 0.1) -> Tensor:
    """The symmetric matrix that makes the directions of vectors equally wide.

    It is (S + floor tr(S) / C I)^(-1/2), S the covariance: what is narrow, and not known from few rows, stays narrower.
    A symmetric root is unique, so that all workers have the same.

    Args:
        rows: N x C
        floor: of a direction's variance, of the mean variance

    Returns:
        C x C; the identity where all rows are equal

    >>> whitening(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), floor=0.0).diagonal()
    tensor([0.7071, 1.4142])
    """
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / len(rows)
    mean = covariance.diagonal().mean()
    if mean <= 0:
        return torch.eye(rows.size(1)).to(rows)
    values, vectors = torch.linalg.eigh(covariance)
    return vectors / (values.clamp(min=0) + floor * mean).sqrt() @ vectors.T


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
