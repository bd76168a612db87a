"""Faults in the use of z, by rules of thumb."""

import math
from typing import Any, Dict, NamedTuple, Optional, Set, Tuple

__all__ = ["HUGE", "NEAR_ZERO", "WEAK", "Diagnosis", "Watch", "diagnose"]

NEAR_ZERO = 0.1  # nats per sentence: a rate or gap below is as good as none
WEAK = 1.0  # nats per sentence: z cannot hold more than its rate
FREE_BITS = "--free-bits 4 --free-bits-mode batch-sentence"  # the mode that every prior and posterior takes
HUGE = 20.0  # nats per dimension: mu some six standard deviations of the prior away from it


class Diagnosis(NamedTuple):
    """A fault in the use of z.

    Attributes:
        name: a word
        message: a line with a figure, the likely cause, and the flags to try
    """

    name: str
    message: str


def diagnose(
    kl: float,
    gap: Optional[float],
    latent_dim: int,
    beta: float = 1.0,
    previous: Optional[Tuple[float, float]] = None,
) -> Optional[Diagnosis]:
    """The first of these faults that is found; all figures are in nats per sentence.

    exploding: the KL is not finite, or above HUGE a dimension with beta > 0 and growing.
    outrun: as beta grew since the evaluation before, the rate fell below half and below WEAK.
    collapsed: the rate is below NEAR_ZERO.
    unused: the rate is not, but another sentence's z does as well as a sentence's own: to NEAR_ZERO or 5 % of the rate.
    weak: the rate is below WEAK, and so is all that z can say of a sentence.

    Args:
        kl: the rate
        gap: by how much another sentence's z explains a sentence worse than its own z; None if not measured
        latent_dim: Z
        beta: the KL's weight in training; at 0 a huge KL is no fault, but an autoencoder's
        previous: (kl, beta) of the evaluation before in the same training

    Returns:
        None if no fault is found
    """
    growing = previous is None or kl > previous[0]
    if not math.isfinite(kl) or (kl > HUGE * latent_dim and beta > 0 and growing):
        return Diagnosis(
            "exploding",
            f"KL explodes: {kl:.4g} nats per sentence at beta {beta:.3g}. Likely the learning rate is too high or "
            "beta too low: lower --lr, set --clip-norm 1, or hold the rate by --rate-controller lagrangian "
            "--rate-target NATS --rate-max-weight 10",
        )
    if previous is not None and beta > previous[1] and kl < min(WEAK, 0.5 * previous[0]):
        return Diagnosis(
            "outrun",
            f"beta outruns the rate: as it grew from {previous[1]:.3g} to {beta:.3g}, the KL fell from "
            f"{previous[0]:.3g} to {kl:.3g} nats per sentence. Anneal more slowly (--kl-warmup-updates, --kl-schedule "
            f"cyclical), or give {FREE_BITS}",
        )
    if kl < NEAR_ZERO:
        return Diagnosis(
            "collapsed",
            f"posterior collapse: the KL is {kl:.3g} nats per sentence, so the decoder does without z. Start from an "
            f"autoencoder (--kl-weight 0 --deterministic-latent), give {FREE_BITS}, or hold the rate by "
            "--rate-controller lagrangian --rate-target 8",
        )
    if gap is not None and gap < max(NEAR_ZERO, 0.05 * kl):
        return Diagnosis(
            "unused",
            f"z is not used: the KL is {kl:.3g} nats per sentence, but another sentence's z explains a sentence only "
            f"{gap:.3g} nats worse than its own. Free bits, a target or a bounded variance hold the KL up where "
            "it says nothing: start from an autoencoder (--kl-weight 0 --deterministic-latent), or try --word-dropout "
            "0.3 or --bow-weight 1",
        )
    if kl < WEAK:
        return Diagnosis(
            "weak",
            f"z says little: the KL is {kl:.3g} nats per sentence, and z holds no more than that. Start from an "
            f"autoencoder (--kl-weight 0 --deterministic-latent), give {FREE_BITS}, or hold the rate by "
            "--rate-controller lagrangian --rate-target 8",
        )
    return None


class Watch:
    """The diagnosis of a training's evaluations in turn, and a warning of a fault that lasts, once for each.

    A collapsed, unused or weak z lasts if two evaluations in a row find it. An exploding or outrun KL takes two
    evaluations to be found, and counts at once.
    """

    def __init__(self) -> None:
        self.last: Dict[str, Any] = {}
        self.warned: Set[str] = set()

    def state_dict(self) -> Dict[str, Any]:
        """What is remembered, for a checkpoint: plain Python."""
        return {"last": dict(self.last), "warned": sorted(self.warned)}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Remember what `state_dict` gave."""
        self.last, self.warned = dict(state["last"]), set(state["warned"])

    def judge(self, kl: float, gap: Optional[float], latent_dim: int, beta: float) -> Optional[Diagnosis]:
        """Diagnose an evaluation in view of the one before, and change nothing; arguments as for diagnose."""
        if kl == 0:  # exactly: --zero-latent
            return Diagnosis("no z", "")
        previous = (self.last["seen"][0], self.last["seen"][3]) if self.last else None
        return diagnose(kl, gap, latent_dim, beta, previous)

    def see(self, kl: float, gap: Optional[float], latent_dim: int, beta: float) -> Tuple[str, Optional[str]]:
        """Diagnose an evaluation and remember it; the same evaluation again changes nothing.

        Args:
            kl, gap, latent_dim, beta: as for diagnose

        Returns:
            the diagnosis' name, "ok" for none, and the warning if it is due
        """
        seen = (kl, gap, latent_dim, beta)
        if self.last.get("seen") == seen:
            return self.last["name"], None
        found = self.judge(*seen)
        name = found.name if found else "ok"
        if name == "no z":
            return name, None
        lasting = name in ("exploding", "outrun") or self.last.get("name") == name
        self.last = {"seen": seen, "name": name}
        if not found or not lasting or name in self.warned:
            return name, None
        self.warned.add(name)
        return name, found.message
