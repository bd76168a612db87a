"""The criterion vae_cross_entropy: the negative ELBO as fairseq wants it, and what is logged of it."""

import math
from dataclasses import dataclass, field

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from omegaconf import II

from . import validation
from .base.corruption import word_dropout
from .base.errors import InputError, memory_remedy, reported
from .base.stream import Draw, sentence_generator, standard_normal
from .measure.metrics import perplexity
from .objective.free_bits import FREE_BITS_MODES, free_bits
from .objective.schedule import RAMPS, SCHEDULES, kl_weight
from .objective.terms import KERNELS, mmd


@dataclass
class VAECrossEntropyConfig(FairseqDataclass):
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
    mmd_weight: float = field(
        default=0.0,
        metadata={
            "help": "weight in the training loss of the squared MMD, per sentence, between the batch's z and samples "
            "of the prior (Zhao et al. 2019, InfoVAE) (default: 0)"
        },
    )
    mmd_kernel: ChoiceEnum(KERNELS) = field(
        default="rbf", metadata={"help": "kernel of the MMD, of scale 2 x --latent-dim (default: rbf)"}
    )
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "fairseq's label smoothing of the training loss; no report contains it (default: 0)"},
    )
    sentence_avg: bool = II("optimization.sentence_avg")
    max_update: int = II("optimization.max_update")
    seed: int = II("common.seed")


@register_criterion("vae_cross_entropy", dataclass=VAECrossEntropyConfig)
class VAECrossEntropyCriterion(FairseqCriterion):
    """Training: sum(nll) + beta * sum(free_bits(kl)), beta of a schedule or of the model's rate controller, and what
    other remedies add. Validation: the plain negative ELBO, sum(nll) + sum(kl).

    Sums of nats over the batch; fairseq divides them once by the tokens (or by the sentences, --sentence-avg).
    """

    @reported()
    def __init__(self, task, cfg: VAECrossEntropyConfig):
        super().__init__(task)
        check(cfg)
        self.sentence_avg = cfg.sentence_avg
        self.free_bits = dict(threshold=cfg.free_bits, mode=str(cfg.free_bits_mode), group=cfg.free_bits_group)
        self.label_smoothing = cfg.label_smoothing
        self.word_dropout = cfg.word_dropout
        self.mmd_weight, self.mmd_kernel = cfg.mmd_weight, str(cfg.mmd_kernel)
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
    def forward(self, model, sample, reduce=True):
        """The loss, fairseq's sample size, and sums to log; the reconstruction under one z a sentence."""
        target = model.get_targets(sample, None)
        noise = self.noise(model, sample)
        smoothing = self.label_smoothing if model.training else 0.0
        net_input = self.net_input(model, sample)
        with memory_remedy():
            rec, extra = model(**net_input, noise=noise, target=target, label_smoothing=smoothing)
        posterior = extra["posterior"]
        kl = posterior.kl()  # B x Z
        nsentences = target.size(0)
        weight = self.weight(model)
        if model.training:
            if self.free_bits["group"] > 1 and kl.size(1) % self.free_bits["group"]:
                raise InputError(
                    f"--free-bits-group {self.free_bits['group']}: expected a divisor of --latent-dim {kl.size(1)}"
                )
            penalty = weight * free_bits(kl, **self.free_bits).sum()
            if model.rate_controller is not None and penalty.requires_grad:
                penalty.register_hook(Observer(model, kl, nsentences))
            loss = rec + penalty
            if "bow" in extra:
                loss = loss + model.bow_weight * extra["bow"]
            if self.mmd_weight:
                prior = self.draws(model, sample, Draw.PRIOR, model.num_updates)
                loss = loss + self.mmd_weight * nsentences * mmd(extra["z"].float(), prior, self.mmd_kernel)
        else:
            loss = rec + kl.sum()
        sample_size = nsentences if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "rec": extra["nll"].data,
            "kl": kl.data.sum(),
            "ntokens": sample["ntokens"],
            "nsentences": nsentences,
            "sample_size": sample_size,
            "kl_weight" if model.training else "_kl_weight": weight * nsentences,
        }
        if not model.training:
            logging_output.update(validation.latent_statistics(sample["id"], posterior))
            logging_output.update(validation.gap_statistics(model, sample, extra["z"], target, extra["nll_rows"]))
        return loss, sample_size, logging_output

    def weight(self, model):
        """beta of this update: the controller's, a float32 scalar, or the schedule's."""
        if model.rate_controller is None:
            return kl_weight(model.num_updates, **self.schedule)
        if self.schedule["schedule"] != "constant" or self.schedule["final"] != 1 or self.schedule["zero_updates"]:
            raise InputError(
                f"--rate-controller {model.rate_controller.controller} sets beta: leave out --kl-schedule, --kl-weight "
                "and --kl-zero-updates"
            )
        return model.rate_controller.weight.float()  # a copy: the buffer changes in place

    def net_input(self, model, sample):
        """The model's input, in training with words that the decoder does not see."""
        net_input = sample["net_input"]
        if not (model.training and self.word_dropout):
            return net_input
        words = model.decoder.dictionary
        generators = [
            sentence_generator(self.seed, Draw.WORDS, model.num_updates, index) for index in sample["id"].tolist()
        ]
        tokens = word_dropout(net_input["prev_output_tokens"], self.word_dropout, words.unk(), words.pad(), generators)
        return {**net_input, "prev_output_tokens": tokens}

    def draws(self, model, sample, purpose, when):
        """Standard normal, B x Z, of each sentence's own."""
        noise = standard_normal(self.seed, purpose, when, sample["id"].tolist(), model.latent_dim)
        return noise.to(sample["target"].device)

    def noise(self, model, sample):
        """z's noise, B x Z; belongs to (seed, update, sentence) in training and to (seed, sentence) in validation."""
        if not hasattr(model, "latent_dim"):
            raise InputError("--criterion vae_cross_entropy needs a model with a latent: --arch bart_vae")
        if model.deterministic_latent:
            return None
        purpose, when = (Draw.TRAINING, model.num_updates) if model.training else (Draw.VALIDATION, 0)
        return self.draws(model, sample, purpose, when)

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


class Observer:
    """Shows the model's rate controller a batch when its gradient comes: fairseq gives workers that have run out of
    data a batch that they have had, and multiplies its loss by 0."""

    def __init__(self, model, kl, nsentences):
        self.controller, self.update = model.rate_controller, model.num_updates
        self.sums = torch.stack((kl.detach().double().sum(), kl.new_tensor(nsentences, dtype=torch.float64)))

    def __call__(self, grad):
        sums = torch.where(grad != 0, self.sums, torch.zeros_like(self.sums))
        if distributed_utils.get_data_parallel_world_size() > 1:
            distributed_utils.all_reduce(sums, group=distributed_utils.get_data_parallel_group())
        self.controller.observe(sums, self.update)


def check(cfg: VAECrossEntropyConfig) -> None:
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
    if cfg.mmd_weight < 0:
        raise InputError(f"--mmd-weight {cfg.mmd_weight}: expected 0 (none) or more")
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
