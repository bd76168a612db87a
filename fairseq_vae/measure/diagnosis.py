"""What is wrong with the use of z, by rules of thumb."""

import math
from typing import Any, Dict, NamedTuple, Optional, Tuple

NEAR_ZERO = 0.1  # nats per sentence: of a rate or gap that is as good as none

HUGE = 20.0  # nats per dimension: mu some six standard deviations of the prior away from it


class Diagnosis(NamedTuple):
    name: str
    message: str  # one line: what was seen, the likely cause, and the flag to try


def diagnose(
    kl: float,
    gap: Optional[float],
    latent_dim: int,
    beta: float = 1.0,
    previous: Optional[Tuple[float, float]] = None,
) -> Optional[Diagnosis]:
    """What is wrong with the use of z, if anything. A judgement by rules of thumb, in nats per sentence.

    exploding: the KL is not finite, or above HUGE a dimension with beta > 0 and growing.
    outrun: as beta grew since the last time, the rate fell below half and below 1.
    collapsed: the rate is below NEAR_ZERO.
    unused: the rate is not, but another sentence's z does as well as a sentence's own: to NEAR_ZERO or 5 % of the rate.

    Args:
        kl: the rate
        gap: by how much another sentence's z explains a sentence worse than its own; None if not measured
        beta: the KL's weight in training; at 0 a huge KL is what an autoencoder has
        previous: (kl, beta) of the evaluation before this one in the same training
    """
    growing = previous is None or kl > previous[0]
    if not math.isfinite(kl) or (kl > HUGE * latent_dim and beta > 0 and growing):
        return Diagnosis(
            "exploding",
            f"KL explodes: {kl:.4g} nats per sentence at beta {beta:.3g}. Likely the learning rate is too high or "
            "beta too low: lower --lr, set --clip-norm 1, or hold the rate by --rate-controller lagrangian "
            "--rate-target NATS --rate-max-weight 10",
        )
    if previous is not None and beta > previous[1] and kl < min(1.0, 0.5 * previous[0]):
        return Diagnosis(
            "outrun",
            f"beta outruns the rate: as it grew from {previous[1]:.3g} to {beta:.3g}, the KL fell from "
            f"{previous[0]:.3g} to {kl:.3g} nats per sentence. Anneal more slowly (--kl-warmup-updates, --kl-schedule "
            "cyclical), or give --free-bits 0.25",
        )
    if kl < NEAR_ZERO:
        return Diagnosis(
            "collapsed",
            f"posterior collapse: the KL is {kl:.3g} nats per sentence, so the decoder does without z. Start from an "
            "autoencoder (--kl-weight 0 --deterministic-latent), give --free-bits 0.25, or hold the rate by "
            "--rate-controller lagrangian --rate-target 8",
        )
    if gap is not None and gap < max(NEAR_ZERO, 0.05 * kl):
        return Diagnosis(
            "unused",
            f"z is not used: the KL is {kl:.3g} nats per sentence, but another sentence's z explains a sentence only "
            f"{gap:.3g} nats worse than its own. Free bits or a target hold the KL up where it says nothing: start "
            "from an autoencoder (--kl-weight 0 --deterministic-latent), or try --word-dropout 0.3 or --bow-weight 1",
        )
    return None


class Watch:
    """A training's evaluations in turn: their diagnosis, and a warning, once for each cause, of what lasts.

    A collapsed or unused z lasts if two evaluations in a row find it; what explodes or is outrun is a matter of two
    evaluations already.
    """

    def __init__(self):
        self.last: Dict[str, Any] = {}
        self.warned = set()

    def judge(self, kl: float, gap: Optional[float], latent_dim: int, beta: float) -> Optional[Diagnosis]:
        """What diagnose finds, in view of the evaluation before; changes nothing."""
        if kl == 0:  # exactly: --zero-latent
            return Diagnosis("no z", "")
        previous = (self.last["seen"][0], self.last["seen"][3]) if self.last else None
        return diagnose(kl, gap, latent_dim, beta, previous)

    def see(self, kl: float, gap: Optional[float], latent_dim: int, beta: float) -> Tuple[str, Optional[str]]:
        """The diagnosis' name, "ok" for none, and the warning if it is due; seeing the same again changes nothing."""
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
