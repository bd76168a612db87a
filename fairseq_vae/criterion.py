"""The criterion vae_cross_entropy: the negative ELBO as fairseq wants it, and what is logged of it."""

import math
from dataclasses import dataclass, field

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from omegaconf import II
from torch import Tensor

from .errors import InputError, memory_remedy
from .metrics import active_units, mutual_information, perplexity
from .noise import Draw, standard_normal
from .objective import SCHEDULES, free_bits, kl_weight

MI_SENTENCES = 1024  # of a validation set, the first ones: their mutual information costs a table of 1024 x 1024


class Statistic(torch.Tensor):
    """A tensor that adds up over batches and workers and that progress bars show as its shape, not its numbers."""

    def tolist(self):
        return "x".join(map(str, self.shape))


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
            "help": "nats of KL that cost nothing in training, for each dimension and sentence; 0: none (default: 0)"
        },
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
    """Training: sum(nll) + beta(update) * sum(free_bits(kl)). Validation: the plain negative ELBO, sum(nll) + sum(kl).

    Sums of nats over the batch; fairseq divides them once by the tokens (or by the sentences, --sentence-avg).
    """

    def __init__(self, task, cfg: VAECrossEntropyConfig):
        super().__init__(task)
        if cfg.free_bits < 0:
            raise InputError(f"--free-bits {cfg.free_bits}: expected 0 (none) or a positive number of nats")
        if cfg.kl_weight < 0 or cfg.kl_start < 0:
            raise InputError(f"--kl-weight {cfg.kl_weight} --kl-start {cfg.kl_start}: expected 0 or more")
        if not 0 <= cfg.label_smoothing < 1:
            raise InputError(f"--label-smoothing {cfg.label_smoothing}: expected a number from 0 to below 1")
        if cfg.kl_schedule == "linear" and cfg.kl_warmup_updates < 1:
            raise InputError(f"--kl-warmup-updates {cfg.kl_warmup_updates}: a linear schedule needs 1 or more")
        if cfg.kl_schedule == "cyclical":
            if cfg.kl_cycle_updates < 1:
                raise InputError(f"--kl-cycle-updates {cfg.kl_cycle_updates}: a cyclical schedule needs 1 or more")
            if not 0 <= cfg.kl_cycle_ratio <= 1:
                raise InputError(f"--kl-cycle-ratio {cfg.kl_cycle_ratio}: expected a number between 0 and 1")
            if 0 < cfg.max_update < cfg.kl_cycle_updates:
                raise InputError(
                    f"--kl-cycle-updates {cfg.kl_cycle_updates} is longer than training (--max-update "
                    f"{cfg.max_update}): the first cycle would not end; shorten the cycle or train longer"
                )
        self.sentence_avg = cfg.sentence_avg
        self.threshold = cfg.free_bits
        self.label_smoothing = cfg.label_smoothing
        self.seed = cfg.seed
        self.schedule = dict(
            schedule=str(cfg.kl_schedule),
            final=cfg.kl_weight,
            start=cfg.kl_start,
            warmup_updates=cfg.kl_warmup_updates,
            cycle_updates=cfg.kl_cycle_updates,
            cycle_ratio=cfg.kl_cycle_ratio,
        )

    def forward(self, model, sample, reduce=True):
        """The loss, fairseq's sample size, and sums to log; the reconstruction under one z a sentence."""
        target = model.get_targets(sample, None)
        noise = self.noise(model, sample)
        smoothing = self.label_smoothing if model.training else 0.0
        with memory_remedy():
            rec, extra = model(**sample["net_input"], noise=noise, target=target, label_smoothing=smoothing)
        posterior = extra["posterior"]
        kl = posterior.kl()  # B x Z
        if model.training:
            weight = kl_weight(model.num_updates, **self.schedule)
            loss = rec + weight * free_bits(kl, self.threshold).sum()
        else:
            loss = rec + kl.sum()
        nsentences = target.size(0)
        sample_size = nsentences if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "rec": extra["nll"].data,
            "kl": kl.data.sum(),
            "ntokens": sample["ntokens"],
            "nsentences": nsentences,
            "sample_size": sample_size,
        }
        if model.training:
            logging_output["kl_weight"] = weight * nsentences
        else:
            logging_output.update(latent_statistics(sample["id"], posterior))
        return loss, sample_size, logging_output

    def noise(self, model, sample):
        """z's noise, B x Z; belongs to (seed, update, sentence) in training and to (seed, sentence) in validation."""
        if not hasattr(model, "latent_dim"):
            raise InputError("--criterion vae_cross_entropy needs a model with a latent: --arch bart_vae")
        if model.deterministic_latent:
            return None
        purpose, when = (Draw.TRAINING, model.num_updates) if model.training else (Draw.VALIDATION, 0)
        noise = standard_normal(self.seed, purpose, when, sample["id"].tolist(), model.latent_dim)
        return noise.to(sample["target"].device)

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
        if "_mi_table" in total:
            for key in ("_sentences", "_mu_sum", "_mu_square_sum", "_mi_table"):
                value = total[key]  # meters go into checkpoints: a plain tensor
                metrics.log_scalar_sum(key, value.as_subclass(Tensor) if torch.is_tensor(value) else value)
            metrics.log_derived("au", au)
            metrics.log_derived("mi", mi)
            metrics.log_derived("mi_cap", lambda meters: round(math.log(max(1, len(mi_table(meters)))), 3))

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


def latent_statistics(indices: Tensor, posterior) -> dict:
    """Statistics of a batch's posteriors that add up over batches and workers.

    The table has a row for each of the split's first MI_SENTENCES sentences: mu, logvar, and 1 for present. It is zero
    but for this batch's rows, since mutual information, unlike active units, is no sum over sentences.
    """
    mu = posterior.mu.double()
    rows = torch.cat((*posterior, torch.ones_like(posterior.mu[:, :1])), dim=1)
    mine = indices < MI_SENTENCES
    if mine.any():
        table = rows.new_zeros(MI_SENTENCES, rows.size(1)).index_copy(0, indices[mine], rows[mine])
    else:  # a view of one number: nothing to store
        table = rows.new_zeros(1, 1).expand(MI_SENTENCES, rows.size(1))
    statistics = {"_mu_sum": mu.sum(0), "_mu_square_sum": mu.square().sum(0), "_mi_table": table}
    return {"_sentences": len(mu), **{key: value.as_subclass(Statistic) for key, value in statistics.items()}}


def au(meters) -> int:
    """Active units of all sentences seen."""
    return active_units(*(meters[key].sum for key in ("_mu_sum", "_mu_square_sum", "_sentences")))


def mi_table(meters) -> Tensor:
    """mu and logvar of the table's sentences that were seen, M x 2Z."""
    table = meters["_mi_table"].sum
    return table[table[:, -1] > 0, :-1].float().cpu()  # float64 where workers were added up


def mi(meters) -> float:
    """Mutual information of the table's sentences, in nats."""
    mu, logvar = mi_table(meters).chunk(2, dim=1)
    noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    return round(mutual_information(mu, logvar, noise), 3) if len(mu) else 0.0
