"""The criterion vae_cross_entropy: the negative ELBO as fairseq wants it, and what is logged of it."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple, Type, Union

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor

from . import validation
from .base.corruption import word_dropout
from .base.errors import InputError, memory_remedy, reported
from .base.host import declare, fairseq_fields
from .base.stream import Purpose, standard_normal, stream
from .latent.distributions import rate
from .latent.output import VAEOutput
from .measure.metrics import perplexity
from .objective.free_bits import FREE_BITS_MODES, free_bits
from .objective.schedule import RAMPS, SCHEDULES, kl_weight
from .objective.terms import TermBatch, active_terms, has_parameters, terms

__all__ = ["VAECrossEntropyCriterion", "VAECrossEntropyFlags", "criterion_config"]


@dataclass
class VAECrossEntropyFlags(FairseqDataclass):
    """The flags that do not depend on registered terms."""

    kl_weight: float = field(default=1.0, metadata={"help": "final weight of the KL, beta; 1 is the ELBO (default: 1)"})
    kl_schedule: ChoiceEnum(SCHEDULES) = field(
        default="constant",
        metadata={
            "help": "beta over updates: constant at --kl-weight, linear from --kl-start to it over "
            "--kl-warmup-updates, or cyclical, such a ramp at the start of every cycle (default: constant)"
        },
    )
    kl_start: float = field(default=0.0, metadata={"help": "beta where a ramp starts (default: 0)"})
    kl_ramp: ChoiceEnum(RAMPS) = field(
        default="linear",
        metadata={"help": "a ramp's shape, from --kl-start to --kl-weight exactly in any case (default: linear)"},
    )
    kl_zero_updates: int = field(
        default=0,
        metadata={
            "help": "updates with beta = 0 before all else, in every cycle of the cyclical schedule (Optimus) "
            "(default: 0)"
        },
    )
    kl_warmup_updates: int = field(
        default=0, metadata={"help": "length in updates of the linear schedule's ramp (default: 0)"}
    )
    kl_cycle_updates: int = field(
        default=0, metadata={"help": "length in updates of a cycle of the cyclical schedule (default: 0)"}
    )
    kl_cycle_ratio: float = field(
        default=0.5, metadata={"help": "share of a cycle that its ramp takes, 0 to 1 (default: 0.5)"}
    )
    free_bits: float = field(
        default=0.0,
        metadata={
            "help": "nats of KL that cost nothing in training, of what --free-bits-mode says; 0: none (default: 0)"
        },
    )
    free_bits_mode: ChoiceEnum(FREE_BITS_MODES) = field(
        default="dimension",
        metadata={
            "help": "whose KL --free-bits are for: each dimension of each sentence (Park & Lee 2021), each sentence "
            "(Li et al. 2019), or either on average over the batch that a worker sees at a time (batch-dimension: "
            "Kingma et al. 2016) (default: dimension)"
        },
    )
    free_bits_group: int = field(
        default=1,
        metadata={
            "help": "neighbouring dimensions that count as one in the modes of dimensions; divides --latent-dim "
            "(default: 1)"
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
        metadata={"help": "fairseq's label smoothing of the training loss; no report contains it (default: 0)"},
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


@register_criterion("vae_cross_entropy", dataclass=criterion_config())
class VAECrossEntropyCriterion(FairseqCriterion):
    """Training: sum(nll) + beta * sum(free_bits(kl)), beta of a schedule or of the model's rate controller, and what
    other remedies add. Validation: the plain negative ELBO, sum(nll) + sum(kl).

    Sums of nats over the batch; fairseq divides them once by the tokens (or by the sentences, --sentence-avg).
    """

    @reported()
    def __init__(self, task: FairseqTask, cfg: VAECrossEntropyFlags):
        super().__init__(task)
        check(cfg)
        self.sentence_avg = cfg.sentence_avg
        self.free_bits = dict(threshold=cfg.free_bits, mode=str(cfg.free_bits_mode), group=cfg.free_bits_group)
        self.label_smoothing = cfg.label_smoothing
        self.word_dropout = cfg.word_dropout
        names = active_terms(cfg, of_model=False)
        self.terms = {name: terms[name](terms.config(name, cfg)) for name in names}
        self.seed = cfg.seed
        self.schedule = dict(
            schedule=str(cfg.kl_schedule),
            final=cfg.kl_weight,
            start=cfg.kl_start,
            warmup_updates=cfg.kl_warmup_updates,
            cycle_updates=cfg.kl_cycle_updates,
            cycle_ratio=cfg.kl_cycle_ratio,
            shape=str(cfg.kl_ramp),
            zero_updates=cfg.kl_zero_updates,
        )

    @reported()
    def forward(self, model: Any, sample: Dict[str, Any], reduce: bool = True) -> Tuple[Tensor, int, Dict[str, Any]]:
        """The loss of a batch, its reconstruction under one z a sentence.

        Args:
            model: a bart_vae, or a data-parallel wrapper of one
            sample: fairseq's batch, with `id`, the sentences' numbers
            reduce: not used; the loss is always a sum

        Returns:
            the loss, a sum in nats; the number that fairseq divides it by; and sums to log

        Raises:
            InputError: the model has no latent, or a flag does not fit it
        """
        target = model.get_targets(sample, None)
        eps = self.posterior_eps(model, sample)
        smoothing = self.label_smoothing if model.training else 0.0
        net_input = self.net_input(model, sample)
        with memory_remedy():
            output = model(**net_input, eps=eps, target=target, label_smoothing=smoothing)
        kl = rate(output.posterior, output.prior, output.z)  # B x Z, or B x 1
        nsentences = target.size(0)
        weight = self.weight(model)
        if model.training:
            self.check_free_bits(kl.size(1), model.latent_dim)
            penalty = weight * free_bits(kl, **self.free_bits).sum()
            if model.rate_controller is not None and penalty.requires_grad:
                penalty.register_hook(RateHook(model, kl, nsentences))
            loss = output.rec_loss + penalty
            for term in output.terms.values():
                loss = loss + term
            for term in self.terms.values():
                loss = loss + term.loss(self.term_batch(model, sample, output))
        else:
            loss = output.rec_loss + kl.sum()
        sample_size = nsentences if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "rec": output.nll.data,
            "kl": kl.data.sum(),
            "ntokens": sample["ntokens"],
            "nsentences": nsentences,
            "sample_size": sample_size,
            "kl_weight" if model.training else "_kl_weight": weight * nsentences,
        }
        if not model.training:
            logging_output.update(validation.latent_statistics(sample["id"], output.posterior, kl))
            logging_output.update(validation.gap_statistics(model, sample, output, target))
        return loss, sample_size, logging_output

    def check_free_bits(self, size: int, latent_dim: int) -> None:
        """Refuse free bits that the rate cannot have: a group that does not divide the dimensions, and dimensions of a
        rate that is known for the whole of z alone.

        Args:
            size: columns of the rate, Z in closed form, else 1
            latent_dim: Z

        Raises:
            InputError: names the flag, its value and the remedy
        """
        group, mode = self.free_bits["group"], self.free_bits["mode"]
        if group > 1 and latent_dim % group:
            raise InputError(f"--free-bits-group {group}: expected a divisor of --latent-dim {latent_dim}")
        if size != latent_dim and self.free_bits["threshold"] > 0 and mode.endswith("dimension"):
            raise InputError(
                f"--free-bits-mode {mode}: with this --latent-prior and --latent-posterior the KL has no closed form "
                "and is known for the whole of z alone; give --free-bits-mode sentence or batch-sentence"
            )

    def term_batch(self, model: Any, sample: Dict[str, Any], output: VAEOutput) -> TermBatch:
        """What the criterion's terms may look at; their draws belong to (seed, update, sentence)."""

        def eps() -> Tensor:
            return self.draws(sample, Purpose.PRIOR, model.num_updates, model.encoder.prior.eps_dim)

        padding = model.decoder.dictionary.pad()
        return TermBatch(output.z, output.posterior, output.prior, sample["target"], padding, eps)

    def weight(self, model: Any) -> Union[float, Tensor]:
        """beta of this update: the controller's, a float32 scalar, or the schedule's."""
        if model.rate_controller is None:
            return kl_weight(model.num_updates, **self.schedule)
        if self.schedule["schedule"] != "constant" or self.schedule["final"] != 1 or self.schedule["zero_updates"]:
            raise InputError(
                f"--rate-controller {model.rate_controller.controller} sets beta: leave out --kl-schedule, --kl-weight "
                "and --kl-zero-updates"
            )
        return model.rate_controller.weight.float()  # a copy: the buffer changes in place

    def net_input(self, model: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        """The model's input, in training with words that the decoder does not see."""
        net_input = sample["net_input"]
        if not (model.training and self.word_dropout):
            return net_input
        words = model.decoder.dictionary
        streams = [stream(self.seed, Purpose.WORDS, model.num_updates, index) for index in sample["id"].tolist()]
        tokens = word_dropout(net_input["prev_output_tokens"], self.word_dropout, words.unk(), words.pad(), streams)
        return {**net_input, "prev_output_tokens": tokens}

    def draws(self, sample: Dict[str, Any], purpose: Purpose, when: int, dim: int) -> Tensor:
        """Standard normal draws of each sentence's own, B x dim."""
        return standard_normal(self.seed, purpose, when, sample["id"].tolist(), dim).to(sample["target"].device)

    def posterior_eps(self, model: Any, sample: Dict[str, Any]) -> Optional[Tensor]:
        """The draws that z is made of, B x posterior.eps_dim; None for an autoencoder. They belong to (seed, update,
        sentence) in training and to (seed, sentence) in validation.

        Raises:
            InputError: the model has no latent
        """
        if not hasattr(model, "latent_dim"):
            raise InputError("--criterion vae_cross_entropy needs a model with a latent: --arch bart_vae")
        if model.deterministic_latent:
            return None
        purpose, when = (Purpose.TRAINING, model.num_updates) if model.training else (Purpose.VALIDATION, 0)
        return self.draws(sample, purpose, when, model.encoder.posterior.eps_dim)

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
        """Divide the sums, once."""
        total = {key: sum(log[key] for log in logging_outputs) for key in logging_outputs[0]}
        tokens, sentences, sample_size = total["ntokens"], total["nsentences"], total["sample_size"]
        rec, kl = total["rec"], total["kl"]
        metrics.log_scalar("loss", total["loss"] / sample_size / math.log(2), sample_size, round=3)
        metrics.log_scalar("nll_loss", rec / tokens / math.log(2), tokens, round=3)
        metrics.log_scalar("rec", rec / sentences, sentences, round=3)
        metrics.log_scalar("kl", kl / sentences, sentences, round=3)
        metrics.log_scalar("neg_elbo", (rec + kl) / sentences, sentences, round=3)
        metrics.log_scalar("_neg_elbo_token", (rec + kl) / tokens, tokens)
        metrics.log_derived("ppl", lambda meters: round(perplexity(float(meters["_neg_elbo_token"].avg)), 2))
        metrics.log_derived("rec_ppl", lambda meters: round(perplexity(float(meters["nll_loss"].avg) * math.log(2)), 2))
        if "kl_weight" in total:
            metrics.log_scalar("kl_weight", total["kl_weight"] / sentences, sentences, round=5)
        else:
            metrics.log_scalar("_kl_weight", total["_kl_weight"] / sentences, sentences)
            validation.log(total)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


class RateHook:
    """Backward hook on the KL term: adds the batch's KL to the model's rate controller.

    fairseq repeats a batch with loss x 0 for a worker that has run out of data: its gradient is 0, and it is not
    counted.

    Args:
        model: with a rate controller
        kl: of the batch's sentences, nats, B x anything
        nsentences: B
    """

    def __init__(self, model: Any, kl: Tensor, nsentences: int):
        self.controller, self.update = model.rate_controller, model.num_updates
        self.sums = torch.stack((kl.detach().double().sum(), kl.new_tensor(nsentences, dtype=torch.float64)))

    def __call__(self, grad: Tensor) -> None:
        sums = torch.where(grad != 0, self.sums, torch.zeros_like(self.sums))
        if distributed_utils.get_data_parallel_world_size() > 1:
            distributed_utils.all_reduce(sums, group=distributed_utils.get_data_parallel_group())
        self.controller.observe(sums, self.update)


def check(cfg: VAECrossEntropyFlags) -> None:
    """Refuse flags that cannot work."""
    if cfg.free_bits < 0:
        raise InputError(f"--free-bits {cfg.free_bits}: expected 0 (none) or a positive number of nats")
    if cfg.free_bits_group < 1:
        raise InputError(f"--free-bits-group {cfg.free_bits_group}: expected 1 or more dimensions")
    if cfg.free_bits_group > 1 and str(cfg.free_bits_mode).endswith("sentence"):
        raise InputError(
            f"--free-bits-group {cfg.free_bits_group}: --free-bits-mode {cfg.free_bits_mode} has no groups; expected "
            "dimension or batch-dimension"
        )
    if cfg.kl_weight < 0 or cfg.kl_start < 0:
        raise InputError(f"--kl-weight {cfg.kl_weight} --kl-start {cfg.kl_start}: expected 0 or more")
    for flag in ("label_smoothing", "word_dropout"):
        if not 0 <= getattr(cfg, flag) < 1:
            raise InputError(f"--{flag.replace('_', '-')} {getattr(cfg, flag)}: expected a number from 0 to below 1")
    if cfg.kl_zero_updates < 0:
        raise InputError(f"--kl-zero-updates {cfg.kl_zero_updates}: expected 0 (none) or more")
    if cfg.kl_schedule == "constant" and str(cfg.kl_ramp) != "linear":
        raise InputError(
            f"--kl-ramp {cfg.kl_ramp}: a constant schedule has no ramp; add --kl-schedule linear or cyclical"
        )
    if cfg.kl_schedule == "linear" and cfg.kl_warmup_updates < 1:
        raise InputError(f"--kl-warmup-updates {cfg.kl_warmup_updates}: a linear schedule needs 1 or more")
    if cfg.kl_schedule == "cyclical":
        if cfg.kl_cycle_updates < 1:
            raise InputError(f"--kl-cycle-updates {cfg.kl_cycle_updates}: a cyclical schedule needs 1 or more")
        if not 0 <= cfg.kl_cycle_ratio <= 1:
            raise InputError(f"--kl-cycle-ratio {cfg.kl_cycle_ratio}: expected a number between 0 and 1")
        if cfg.kl_zero_updates + cfg.kl_cycle_ratio * cfg.kl_cycle_updates > cfg.kl_cycle_updates:
            raise InputError(
                f"--kl-zero-updates {cfg.kl_zero_updates} and the ramp, --kl-cycle-ratio {cfg.kl_cycle_ratio}, are "
                f"longer than a cycle of {cfg.kl_cycle_updates} updates: shorten one of them"
            )
        if 0 < cfg.max_update < cfg.kl_cycle_updates:
            raise InputError(
                f"--kl-cycle-updates {cfg.kl_cycle_updates} is longer than training (--max-update "
                f"{cfg.max_update}): the first cycle would not end; shorten the cycle or train longer"
            )


def declare_flags() -> None:
    """Tell fairseq the flags of terms that were registered after the criterion."""
    declare("criterion", "vae_cross_entropy", VAECrossEntropyCriterion, criterion_config())


terms.on_change(declare_flags)
