"""The text-VAE objective as pure functions. Torch only, no fairseq.

The loss of a batch is a sum over its sentences, in nats: sum(nll) + kl_weight * sum(kl). Dividing it, once, is the
caller's affair, so that both terms scale alike under every normalisation.
"""

from torch import Tensor

SCHEDULES = ("constant", "linear", "cyclical")


def kl_weight(
    update: int,
    schedule: str = "constant",
    final: float = 1.0,
    start: float = 0.0,
    warmup_updates: int = 0,
    cycle_updates: int = 0,
    cycle_ratio: float = 0.5,
) -> float:
    """beta, the weight of the KL, at an update (the first has number 0); a function of that number alone.

    constant: `final` throughout.
    linear: start + (final - start) * update / warmup_updates, then `final` (Bowman et al. 2016's monotonic annealing).
    cyclical: with tau = (update mod cycle_updates) / cycle_updates, start + (final - start) * tau / cycle_ratio while
        tau < cycle_ratio, then `final` till the cycle ends; cycles repeat for ever (Fu et al. 2019, eq. 6-7).
    """
    if schedule == "constant":
        return final
    if schedule == "linear":
        progress, length = update, warmup_updates
    elif schedule == "cyclical":
        progress, length = update % cycle_updates, cycle_updates * cycle_ratio
    else:
        raise ValueError(f"unknown schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if progress >= length:  # also the end point itself, so that `final` is met exactly
        return final
    return start + (final - start) * progress / length


def free_bits(kl: Tensor, threshold: float) -> Tensor:
    """The KL that the loss sees: max(kl, threshold) of every sentence and dimension, B x Z, in nats.

    Below the threshold a dimension gets no gradient, so the first `threshold` nats of it are free (Kingma et al. 2016;
    per sentence and dimension as in Park & Lee 2021). A threshold of 0 changes nothing: a KL is never negative.
    """
    return kl.clamp(min=threshold) if threshold > 0 else kl
