"""What tells whether a text VAE uses its latent, as pure functions. Torch only, no fairseq."""

import math
from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

ACTIVE_VARIANCE = 0.01
NEAR_ZERO = 0.1  # nats per sentence: of a rate or gap that is as good as none
HUGE = 20.0  # nats per dimension: mu some six standard deviations of the prior away from it


def perplexity(nats: float) -> float:
    """exp(nats), infinite where that overflows; nats per token or word."""
    return math.exp(nats) if nats < 709 else math.inf


def active_units(mu_sum: Tensor, mu_square_sum: Tensor, sentences: int, threshold: float = ACTIVE_VARIANCE) -> int:
    """Active units: the number of dimensions d with Var_x(mu_d(x)) > threshold (Burda et al. 2016, eq. in 5.1).

    From additive statistics, so that batches and workers add up; the variance is the unbiased one.

    Args:
        mu_sum: sum over sentences of mu, Z
        mu_square_sum: sum over sentences of mu^2, Z
        sentences: their number N; fewer than two have no variance, and no active unit
    """
    if sentences < 2:
        return 0
    mu_sum, mu_square_sum = mu_sum.double(), mu_square_sum.double()
    variance = (mu_square_sum - mu_sum.square() / sentences) / (sentences - 1)
    return int((variance > threshold).sum())


def information_each(mu: Tensor, logvar: Tensor, noise: Tensor, chunk: int = 1024) -> Tensor:
    """log q(z_i|x_i) - log (1/N) sum_j q(z_i|x_j) of each sentence's z_i = mu_i + exp(logvar_i / 2) * noise_i, N,
    float64. Arguments as for mutual_information."""
    mu, logvar, noise = mu.double(), logvar.double(), noise.to(mu).double()
    n = len(mu)
    z = mu + torch.exp(0.5 * logvar) * noise
    # log q(z_i|x_j) needs sum_d (z_i - mu_j)^2 / var_j: one matrix product instead of an N x N x Z table
    precision = torch.exp(-logvar)
    constant = (mu.square() * precision + logvar).sum(1)  # N; the term of 2 pi cancels
    right = torch.cat((precision, -2 * mu * precision), dim=1).T  # 2Z x N
    log_aggregate = torch.empty(n, dtype=mu.dtype, device=mu.device)
    for start in range(0, n, chunk):
        s = z[start : start + chunk]
        table = torch.addmm(constant, torch.cat((s.square(), s), dim=1), right, beta=-0.5, alpha=-0.5)  # chunk x N
        log_aggregate[start : start + chunk] = table.logsumexp(1)
    return -0.5 * (noise.square() + logvar).sum(1) - log_aggregate + math.log(n)


def mutual_information(mu: Tensor, logvar: Tensor, noise: Tensor, chunk: int = 1024) -> float:
    """Estimate in nats of I(x; z) under q(z|x) and the N given sentences; never above log N, so print that beside it.

    (1/N) sum_i [ log q(z_i|x_i) - log (1/N) sum_j q(z_i|x_j) ] with one sample z_i = mu_i + exp(logvar_i / 2) * noise_i
    (Hoffman & Johnson 2016; He et al. 2019). The same sample stands in both terms, so that a collapsed
    posterior gives 0 and far apart ones log N exactly; papers take the first in closed form, of equal expectation.

    Args:
        mu, logvar: posteriors, N x Z
        noise: standard normal, N x Z
        chunk: rows of the N x N table held at a time
    """
    return float(information_each(mu, logvar, noise, chunk).mean())


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
