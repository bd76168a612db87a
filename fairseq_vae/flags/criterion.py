"""The flags of vae_cross_entropy: its own, and the flags of the objective's registered terms without parameters."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Type

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II

from ..base.errors import InputError
from ..base.host import fairseq_fields
from ..base.needs import GIVEN, Needs, plain, shown
from ..objective.free_bits import FREE_BITS_MODES
from ..objective.schedule import RAMPS, SCHEDULES
from ..objective.terms import has_parameters, terms

__all__ = ["VAECrossEntropyFlags", "check_beta", "check_criterion", "criterion_config"]

BETA: Needs = {"rate_controller": ("none",), "zero_latent": (False,)}  # what gives a flag of beta an effect


@dataclass
class VAECrossEntropyFlags(FairseqDataclass):
    """The flags that do not depend on registered terms."""

    kl_weight: float = field(
        default=1.0, metadata={"help": "final weight of the KL, beta; 1 is the ELBO (default: 1)", "needs": BETA}
    )
    kl_schedule: ChoiceEnum(SCHEDULES) = field(  # type: ignore[valid-type]  # made at run time
        default="constant",
        metadata={
            "help": "beta over updates: constant at --kl-weight, linear from --kl-start to it over "
            "--kl-warmup-updates, or cyclical, such a ramp at the start of every cycle (default: constant)",
            "needs": BETA,
        },
    )
    kl_start: float = field(
        default=0.0,
        metadata={
            "help": "beta where a ramp starts (default: 0)",
            "needs": {**BETA, "kl_schedule": ("linear", "cyclical")},
        },
    )
    kl_ramp: ChoiceEnum(RAMPS) = field(  # type: ignore[valid-type]
        default="linear",
        metadata={
            "help": "a ramp's shape, from --kl-start to --kl-weight exactly in any case (default: linear)",
            "needs": {**BETA, "kl_schedule": ("linear", "cyclical")},
        },
    )
    kl_zero_updates: int = field(
        default=0,
        metadata={
            "help": "updates with beta = 0 before all else, in every cycle of the cyclical schedule (Optimus) "
            "(default: 0)",
            "needs": BETA,
        },
    )
    kl_warmup_updates: int = field(
        default=0,
        metadata={
            "help": "length in updates of the linear schedule's ramp (default: 0)",
            "needs": {**BETA, "kl_schedule": ("linear",)},
        },
    )
    kl_cycle_updates: int = field(
        default=0,
        metadata={
            "help": "length in updates of a cycle of the cyclical schedule (default: 0)",
            "needs": {**BETA, "kl_schedule": ("cyclical",)},
        },
    )
    kl_cycle_ratio: float = field(
        default=0.5,
        metadata={
            "help": "share of a cycle that its ramp takes, 0 to 1 (default: 0.5)",
            "needs": {**BETA, "kl_schedule": ("cyclical",)},
        },
    )
    free_bits: float = field(
        default=0.0,
        metadata={
            "help": "nats of KL that cost nothing in training, of what --free-bits-mode says; 0: none (default: 0)",
            "needs": {"zero_latent": (False,)},
        },
    )
    free_bits_mode: ChoiceEnum(FREE_BITS_MODES) = field(  # type: ignore[valid-type]
        default="dimension",
        metadata={
            "help": "whose KL --free-bits are for: each dimension of each sentence (Park & Lee 2021), each sentence "
            "(Li et al. 2019), or either on average over the batch that a worker sees at a time (batch-dimension: "
            "Kingma et al. 2016) (default: dimension)",
            "needs": {"free_bits": GIVEN},
        },
    )
    free_bits_group: int = field(
        default=1,
        metadata={
            "help": "neighbouring dimensions that count as one in the modes of dimensions; divides the dimensions of "
            "z, --latent-vectors x --latent-dim (default: 1)",
            "needs": {"free_bits": GIVEN, "free_bits_mode": ("dimension", "batch-dimension")},
        },
    )
    word_dropout: float = field(
        default=0.0,
        metadata={
            "help": "probability that a word of the decoder's input is <unk> in training (Bowman et al. 2016) "
            "(default: 0)"
        },
    )
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "fairseq's label smoothing of the training loss; no other figure contains it (default: 0)"},
    )
    sentence_avg: bool = II("optimization.sentence_avg")
    max_update: int = II("optimization.max_update")
    seed: int = II("common.seed")


def criterion_config() -> Type[FairseqDataclass]:
    """The dataclass of all flags of the criterion, with the terms that are registered now."""
    fields = terms.fields(lambda term: not has_parameters(term))
    own = [field.name for field in dataclasses.fields(VAECrossEntropyFlags)]
    return dataclasses.make_dataclass(
        "VAECrossEntropyConfig",
        fairseq_fields(fields, own),
        bases=(VAECrossEntropyFlags,),
        namespace={"__doc__": "The flags of vae_cross_entropy.", "__module__": __name__},
    )


def check_criterion(cfg: VAECrossEntropyFlags) -> None:
    """Refuse values that the flags cannot have, and flags that contradict one another.

    For what has no effect in training, see check_beta and effects.check_effects: an old checkpoint may have it.

    Args:
        cfg: the criterion's flags

    Raises:
        InputError: the message names the flag, its value and the remedy
    """
    if not 0 <= cfg.free_bits < math.inf:
        raise InputError(f"--free-bits {cfg.free_bits}: expected 0 (none) or a positive number of nats")
    if cfg.free_bits_group < 1:
        raise InputError(f"--free-bits-group {cfg.free_bits_group}: expected 1 or more dimensions")
    if not (0 <= cfg.kl_weight < math.inf and 0 <= cfg.kl_start < math.inf):
        raise InputError(f"--kl-weight {cfg.kl_weight} --kl-start {cfg.kl_start}: expected 0 or more")
    for flag in ("label_smoothing", "word_dropout"):
        if not 0 <= getattr(cfg, flag) < 1:
            raise InputError(f"--{flag.replace('_', '-')} {getattr(cfg, flag)}: expected a number from 0 to below 1")
    if cfg.kl_zero_updates < 0:
        raise InputError(f"--kl-zero-updates {cfg.kl_zero_updates}: expected 0 (none) or more")
    if cfg.kl_schedule == "linear" and cfg.kl_warmup_updates < 1:
        raise InputError(f"--kl-warmup-updates {cfg.kl_warmup_updates}: --kl-schedule linear needs 1 or more")
    if cfg.kl_schedule == "cyclical":
        if cfg.kl_cycle_updates < 1:
            raise InputError(f"--kl-cycle-updates {cfg.kl_cycle_updates}: --kl-schedule cyclical needs 1 or more")
        if not 0 <= cfg.kl_cycle_ratio <= 1:
            raise InputError(f"--kl-cycle-ratio {cfg.kl_cycle_ratio}: expected a number between 0 and 1")
        if cfg.kl_zero_updates + cfg.kl_cycle_ratio * cfg.kl_cycle_updates > cfg.kl_cycle_updates:
            raise InputError(
                f"--kl-zero-updates {cfg.kl_zero_updates} and the ramp, --kl-cycle-ratio {cfg.kl_cycle_ratio}, are "
                f"longer than a cycle of {cfg.kl_cycle_updates} updates: shorten one of them"
            )


def check_beta(cfg: Any) -> None:
    """Refuse a beta that does in training other than its flags say: ramps that are flat or do not end.

    Args:
        cfg: the criterion's flags, which check_criterion has passed, of a model without a rate controller

    Raises:
        InputError: the message names the flag, its value and the remedy
    """
    schedule, final, start, zero = str(cfg.kl_schedule), cfg.kl_weight, cfg.kl_start, cfg.kl_zero_updates
    updates = plain(cfg.max_update) or 0
    if schedule == "constant" and final == 0:
        for name in ("kl_zero_updates", "free_bits"):
            if getattr(cfg, name):
                raise InputError(
                    f"{shown(name, getattr(cfg, name))} has no effect with --kl-weight 0: leave one of the two out"
                )
    if schedule != "constant" and start == final:
        raise InputError(
            f"--kl-schedule {schedule} has no effect: its ramp, from --kl-start {start} to --kl-weight {final}, is "
            "flat; give two different numbers, or leave --kl-schedule out"
        )
    if schedule == "cyclical" and cfg.kl_cycle_ratio == 0:
        ramp = str(cfg.kl_ramp)
        for flag in ([f"--kl-start {start}"] if start else []) + ([f"--kl-ramp {ramp}"] if ramp != "linear" else []):
            raise InputError(f"{flag} has no effect with --kl-cycle-ratio 0: leave one of the two out")
        if not zero:
            raise InputError(
                "--kl-schedule cyclical has no effect with --kl-cycle-ratio 0: raise it, or add --kl-zero-updates"
            )
    if schedule == "cyclical" and zero >= cfg.kl_cycle_updates:
        raise InputError(
            f"--kl-zero-updates {zero} is no shorter than a cycle of {cfg.kl_cycle_updates} updates: beta would stay "
            "0; shorten it"
        )
    if updates <= 0:
        return
    training = f"training (--max-update {updates})"
    if schedule == "cyclical" and cfg.kl_cycle_updates > updates:
        raise InputError(
            f"--kl-cycle-updates {cfg.kl_cycle_updates} is longer than {training}: the first cycle would not end; "
            "shorten the cycle or train longer"
        )
    if zero >= updates and schedule != "cyclical":
        raise InputError(
            f"--kl-zero-updates {zero} is no shorter than {training}: beta would stay 0; shorten it or train longer"
        )
    if schedule == "linear" and zero + cfg.kl_warmup_updates > updates:
        after = f" after --kl-zero-updates {zero}" if zero else ""
        raise InputError(
            f"--kl-warmup-updates {cfg.kl_warmup_updates}{after} is longer than {training}: beta would not reach "
            "--kl-weight; shorten it or train longer"
        )
