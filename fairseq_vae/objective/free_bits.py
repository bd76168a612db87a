"""Free bits."""

from torch import Tensor

FREE_BITS_MODES = ("dimension", "sentence", "batch-dimension", "batch-sentence")


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
