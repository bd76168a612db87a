"""Free bits: nats of KL that cost nothing in training."""

from torch import Tensor

__all__ = ["FREE_BITS_MODES", "free_bits"]

FREE_BITS_MODES = ("dimension", "sentence", "batch-dimension", "batch-sentence")


def free_bits(kl: Tensor, threshold: float, mode: str = "dimension", group: int = 1) -> Tensor:
    """The KL that the training loss counts.

    dimension: max(kl, threshold) of each sentence and group of dimensions. Park & Lee 2021,
        https://arxiv.org/abs/2108.02446 (group 1). Li et al. 2019's "fbp", https://arxiv.org/abs/1909.00868, and
        Optimus, Li et al. 2020, https://arxiv.org/abs/2004.04092, have the same as a mask.
    sentence: max(sum over dimensions, threshold) of each sentence. Li et al. 2019, mode 1.
    batch-dimension: B * max(mean over sentences, threshold) of each group. Kingma et al. 2016,
        https://arxiv.org/abs/1606.04934, whose groups are groups of latent variables.
    batch-sentence: B * max(mean over sentences of the sum over dimensions, threshold). Li et al. 2019, mode 3.

    The gradient is 0 below the threshold and the KL's own above it. A mask that counts 0 nats below the threshold has
    the same gradient, and its loss differs by a constant. The batch of the modes batch-dimension and batch-sentence is
    the batch that one worker sees at a time, so the loss depends on batch size, --update-freq and workers. A threshold
    of 0 changes nothing, since a KL is never negative.

    Of an estimate by one sample the mean of max(estimate, threshold) is above max(KL, threshold): where the estimate is
    for a sentence, the bits of `sentence` cost about as much as it scatters. In `batch-sentence` it scatters less.

    Args:
        kl: nats, B x Z
        threshold: nats for each sentence, or for each sentence and group
        mode: one of FREE_BITS_MODES
        group: number of neighbouring dimensions whose KL is summed first; it divides Z

    Returns:
        nats, to be summed: B x G (dimension), B (sentence), G (batch-dimension) or a scalar (batch-sentence)

    Raises:
        ValueError: the mode is unknown

    >>> import torch
    >>> free_bits(torch.tensor([[0.1, 2.0], [0.6, 0.2]]), threshold=0.5)
    tensor([[0.5000, 2.0000],
            [0.6000, 0.5000]])
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
