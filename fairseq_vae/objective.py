"""The text-VAE objective as pure functions. Torch only, no fairseq.

The loss of a batch is a sum over its sentences, in nats: sum(nll) + kl_weight * sum(kl). Dividing it, once, is the
caller's affair, so that both terms scale alike under every normalisation.

Shapes: B sentences, Z latent dimensions, G = Z / group groups of them, N tokens, V vocabulary.
"""

import math

import torch
from torch import Tensor

SCHEDULES = ("constant", "linear", "cyclical")
RAMPS = ("linear", "sigmoid", "cosine")
FREE_BITS_MODES = ("dimension", "sentence", "batch-dimension", "batch-sentence")
KERNELS = ("rbf", "imq")


def ramp(t: float, shape: str = "linear") -> float:
    """A monotone path from exactly 0 at t <= 0 to exactly 1 at t >= 1, and 1/2 at 1/2.

    linear: t. sigmoid: s(12 t - 6) of the logistic function s, rescaled to meet 0 and 1, which Fu et al.'s notebook
    leaves out. cosine: (1 - cos(pi t)) / 2.
    """
    if shape not in RAMPS:
        raise ValueError(f"unknown ramp {shape!r}: choose one of {', '.join(RAMPS)}")
    if t <= 0 or t >= 1:
        return float(t >= 1)
    if shape == "sigmoid":  # s(x) - 1/2 = tanh(x / 2) / 2
        return 0.5 + 0.5 * math.tanh(6 * t - 3) / math.tanh(3)
    return t if shape == "linear" else 0.5 - 0.5 * math.cos(math.pi * t)


def kl_weight(
    update: int,
    schedule: str = "constant",
    final: float = 1.0,
    start: float = 0.0,
    warmup_updates: int = 0,
    cycle_updates: int = 0,
    cycle_ratio: float = 0.5,
    shape: str = "linear",
    zero_updates: int = 0,
) -> float:
    """beta, the weight of the KL, at an update (the first has number 0); a function of that number alone.

    constant: `final` throughout.
    linear: start + (final - start) * ramp(update / warmup_updates), then `final` (Bowman et al. 2016's monotonic
        annealing); `start` may be above `final`.
    cyclical: with tau = (update mod cycle_updates) / cycle_updates, start + (final - start) * ramp(tau / cycle_ratio)
        while tau < cycle_ratio, then `final` till the cycle ends; cycles repeat for ever (Fu et al. 2019, eq. 6-7).
    zero_updates: beta is 0 for so many updates first, and all of the above comes so much later; of the cyclical
        schedule in every cycle, which keeps its length: zero, ramp, hold (Li et al. 2020, Optimus).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if schedule == "cyclical":
        update %= cycle_updates
    update -= zero_updates
    if update < 0:
        return 0.0
    length = {"constant": 0, "linear": warmup_updates, "cyclical": cycle_updates * cycle_ratio}[schedule]
    if update >= length:  # also the end point itself, so that `final` is met exactly
        return final
    beta = start + (final - start) * ramp(update / length, shape)
    return min(max(beta, min(start, final)), max(start, final))  # against rounding


def free_bits(kl: Tensor, threshold: float, mode: str = "dimension", group: int = 1) -> Tensor:
    """The KL that the loss sees, in nats: sum the result, whatever its shape.

    dimension: max(kl, threshold) of every sentence and group of dimensions, B x G. Park & Lee 2021 (group 1); Li et al.
        2019's "fbp" and Optimus (Li et al. 2020) have the same as a mask.
    sentence: max(sum over dimensions, threshold) of every sentence, B. Li et al. 2019's mode 1.
    batch-dimension: B * max(mean over sentences, threshold) of every group, G. Kingma et al. 2016, whose groups are
        groups of latent variables.
    batch-sentence: B * max(mean over sentences of the sum over dimensions, threshold), a scalar. Li et al. 2019's
        mode 3.

    Below the threshold there is no gradient, above it the KL's own. The papers' masks, which count 0 nats below the
    threshold, have that gradient too: only the loss's value differs, by a constant. The batch of the batch-… modes is
    what one worker sees at a time: with them the loss depends on batch size, --update-freq and workers. A threshold of
    0 changes nothing: a KL is never negative.

    Args:
        kl: B x Z
        threshold: nats for each sentence, or each sentence and group
        group: neighbouring dimensions whose KL is summed first; divides Z
    """
    if mode not in FREE_BITS_MODES:
        raise ValueError(f"unknown free-bits mode {mode!r}: choose one of {', '.join(FREE_BITS_MODES)}")
    if threshold <= 0:
        return kl
    size = len(kl)
    if mode.endswith("sentence"):
        kl = kl.sum(1)  # B
    elif group > 1:
        kl = kl.unflatten(1, (kl.size(1) // group, group)).sum(2)  # B x G
    return size * kl.mean(0).clamp(min=threshold) if mode.startswith("batch") else kl.clamp(min=threshold)


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
