"""The criterion vae_cross_entropy: the negative ELBO in fairseq's form, and the figures that are logged of it."""

import logging
import math
from argparse import Namespace
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask
from torch import Tensor

from . import validation
from .base.corruption import word_dropout
from .base.errors import InputError, memory_remedy, reported
from .base.host import declare
from .base.stream import APART, Purpose, standard_normal, stream
from .base.transfer import on_device, on_host
from .flags.criterion import VAECrossEntropyFlags, check_criterion, criterion_config
from .flags.effects import check_effects
from .latent.distributions import has_closed_form
from .latent.output import VAEOutput
from .measure.metrics import perplexity
from .objective.free_bits import free_bits
from .objective.schedule import kl_weight
from .objective.terms import TermBatch, active_terms, terms

__all__ = ["RateHook", "VAECrossEntropyCriterion"]

logger = logging.getLogger(__name__)

TERM = "term_"  # before a term's name, in the sums to log


@register_criterion("vae_cross_entropy", dataclass=criterion_config())
class VAECrossEntropyCriterion(FairseqCriterion):
    """The loss of a batch, a sum in nats; fairseq divides it once, by tokens or (--sentence-avg) by sentences.

    Training: sum(nll) + beta * sum(free_bits(kl)) + the weighted terms of other remedies. beta is a schedule's or the
        model's rate controller's.
    Validation: the plain negative ELBO, sum(nll) + sum(kl).

    Args:
        task: fairseq's
        cfg: the criterion's flags

    Raises:
        InputError: a flag has a bad value, or flags contradict one another
    """

    @reported()
    def __init__(self, task: FairseqTask, cfg: VAECrossEntropyFlags):
        super().__init__(task)
        check_criterion(cfg)
        self.sentence_avg = cfg.sentence_avg
        self.free_bits: Dict[str, Any] = dict(
            threshold=cfg.free_bits, mode=str(cfg.free_bits_mode), group=cfg.free_bits_group
        )
        self.label_smoothing = cfg.label_smoothing
        self.word_dropout = cfg.word_dropout
        names = active_terms(cfg, of_model=False)
        self.terms = {name: terms[name](terms.config(name, cfg)) for name in names}
        self.weights = {name: getattr(cfg, f"{name}_weight") for name in names}
        self.seed = cfg.seed
        self.warned = False
        self.begun = False  # whether the terms have seen the training text
        self.unchecked: Any = None  # the flags, until they are checked with the model's
        self.schedule: Dict[str, Any] = dict(
            schedule=str(cfg.kl_schedule),
            final=cfg.kl_weight,
            start=cfg.kl_start,
            warmup_updates=cfg.kl_warmup_updates,
            cycle_updates=cfg.kl_cycle_updates,
            cycle_ratio=cfg.kl_cycle_ratio,
            shape=str(cfg.kl_ramp),
            zero_updates=cfg.kl_zero_updates,
        )

    @classmethod
    def build_criterion(cls, cfg: Any, task: FairseqTask) -> "VAECrossEntropyCriterion":
        """fairseq's hook: build the criterion; its first batch in training checks its flags with the model's.

        This package's tasks have checked them before, and another task has no hook for it.
        """
        criterion: VAECrossEntropyCriterion = super().build_criterion(cfg, task)
        criterion.unchecked = cfg
        return criterion

    @reported()
    def forward(self, model: Any, sample: Dict[str, Any], reduce: bool = True) -> Tuple[Tensor, int, Dict[str, Any]]:
        """The loss of a batch; the reconstruction is under one z for each sentence.

        Args:
            model: a bart_vae, or a data-parallel wrapper of one
            sample: fairseq's batch, with `id`, the sentences' numbers
            reduce: not used; the loss is always a sum

        Returns:
            the loss, a sum in nats, a scalar; the number by which fairseq divides it; and sums to log

        Raises:
            InputError: the model has no latent, or a flag does not fit the model
        """
        target = model.get_targets(sample, None)
        eps = self.posterior_eps(model, sample)
        if model.training and self.unchecked is not None:
            check_effects(getattr(model, "args", Namespace()), self.unchecked, self.task.cfg)
            self.unchecked = None
        if model.training and not self.begun:
            self.show_text(model)
            self.begun = True
        smoothing = self.label_smoothing if model.training else 0.0
        net_input = self.net_input(model, sample)
        with memory_remedy():
            output = model(**net_input, eps=eps, target=target, label_smoothing=smoothing, places=sample.get("places"))
        kl = output.rate  # B x Z, or B x 1
        nsentences = target.size(0)
        weight = self.weight(model)
        means: Dict[str, Tensor] = {}  # of terms, times sentences
        if model.training:
            self.check_free_bits(output, model.latent_dim)
            penalty = weight * free_bits(kl, **self.free_bits).sum()
            if model.rate_controller is not None and penalty.requires_grad:
                penalty.register_hook(RateHook(model, kl, nsentences))
            loss = output.rec_loss + penalty
            for name, term in output.terms.items():
                loss, means[name] = loss + term, term.data / getattr(model.cfg, f"{name}_weight")
            for name, part in self.terms.items():
                term = part.loss(self.term_batch(model, sample, output))
                loss, means[name] = loss + term, term.data / self.weights[name]
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
            **{f"{TERM}{name}": total for name, total in means.items()},
        }
        if not model.training:
            logging_output.update(validation.latent_statistics(numbers(sample), output.posterior, kl, output.prior))

            def eps_of(ids: List[int]) -> Tensor:
                return self.posterior_eps(model, {**sample, "numbers": ids})

            logging_output.update(validation.gap_statistics(model, sample, output, target, eps_of))
        return loss, sample_size, logging_output

    def show_text(self, model: Any, data: Any = None) -> None:
        """Let the terms that begin with the training text have it, and tell of a prior that should have had it.

        Args:
            model: a bart_vae
            data: the text's items; None: the training split of the task, if it has one
        """
        if not getattr(model.encoder.prior, "begun", True):
            logger.warning(
                "the pseudo-inputs of --latent-prior vamp begin as words by chance: --task vae_denoising lets them "
                "begin as sentences of the training text"
            )
        if data is None:
            split = getattr(self.task.cfg, "train_subset", None) or "train"
            data = getattr(self.task, "datasets", {}).get(split)
        for name in model.terms if data is not None else ():
            if hasattr(terms[name], "begin"):
                getattr(model, name).begin(len(data), lambda number: sentence_of(data[number]))

    def check_free_bits(self, output: VAEOutput, latent_dim: int) -> None:
        """Refuse free bits that do not fit the rate, and warn, once, of those that an estimate of it makes costly.

        Args:
            output: the model's output of a batch
            latent_dim: Z

        Raises:
            InputError: a group does not divide the dimensions, or free bits are for dimensions and the rate is not
                known for each; the message names the flag, its value and the remedy
        """
        group, mode = self.free_bits["group"], self.free_bits["mode"]
        if group > 1 and latent_dim % group:
            raise InputError(f"--free-bits-group {group}: expected a divisor of the {latent_dim} dimensions of z")
        if self.free_bits["threshold"] <= 0 or mode == "batch-sentence":
            return
        assert output.rate is not None and output.posterior is not None
        size = output.rate.size(1)  # Z where the rate is known for each dimension, otherwise fewer
        sampled = size == 1 and not has_closed_form(output.posterior, output.prior)
        parts = "with this --latent-prior and --latent-posterior the KL"
        if size != latent_dim and mode.endswith("dimension"):
            able = "batch-sentence" if sampled else "sentence or batch-sentence"
            raise InputError(
                f"--free-bits-mode {mode}: {parts} is not known for each dimension; give --free-bits-mode {able}"
            )
        alone = distributed_utils.get_data_parallel_world_size() == 1
        if sampled and not self.warned and (alone or distributed_utils.get_data_parallel_rank() == 0):
            logger.warning(
                f"--free-bits-mode {mode}: {parts} of a sentence is an estimate by one sample, and its noise costs "
                "nats even where the KL is below --free-bits; batch-sentence averages it over the batch first"
            )
        self.warned = True

    def term_batch(self, model: Any, sample: Dict[str, Any], output: VAEOutput) -> TermBatch:
        """The input of the criterion's terms; the eps in it belong to (seed, update, sentence).

        Args:
            model: a bart_vae
            sample: fairseq's batch
            output: the model's output of that batch
        """

        def eps() -> Tensor:
            return self.draws(sample, Purpose.PRIOR, time_of(model, sample), model.encoder.prior.eps_dim)

        padding = model.decoder.dictionary.pad()
        return TermBatch(output.z, output.posterior, output.prior, sample["target"], padding, eps)

    def weight(self, model: Any) -> Union[float, Tensor]:
        """beta of this update.

        Args:
            model: a bart_vae

        Returns:
            the controller's beta, a float32 scalar, if the model has a controller; otherwise the schedule's

        Raises:
            InputError: the flags ask for a controller and for a schedule
        """
        if model.rate_controller is None:
            return kl_weight(model.num_updates, **self.schedule)
        if self.schedule["schedule"] != "constant" or self.schedule["final"] != 1 or self.schedule["zero_updates"]:
            raise InputError(
                f"--rate-controller {model.rate_controller.controller} sets beta: leave out --kl-schedule, --kl-weight "
                "and --kl-zero-updates"
            )
        return model.rate_controller.weight.float()  # a copy: the buffer changes in place

    def net_input(self, model: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        """The model's input, in training with word dropout.

        Args:
            model: a bart_vae
            sample: fairseq's batch

        Returns:
            arguments of the model's forward, by name
        """
        net_input = sample["net_input"]
        if not (model.training and self.word_dropout):
            return net_input
        words = model.decoder.dictionary
        time = time_of(model, sample)
        streams = [stream(self.seed, Purpose.WORDS, time, index) for index in numbers(sample)]
        tokens = word_dropout(net_input["prev_output_tokens"], self.word_dropout, words.unk(), words.pad(), streams)
        return {**net_input, "prev_output_tokens": tokens}

    def draws(self, sample: Dict[str, Any], purpose: Purpose, when: int, dim: int) -> Tensor:
        """Standard normal draws, for each sentence from its own stream.

        Args:
            sample: fairseq's batch, with `id`, the sentences' numbers
            purpose: the streams' use
            when: the number of the update, 0 in validation
            dim: draws for each sentence

        Returns:
            B x dim, float32, on the batch's device
        """
        eps = standard_normal(self.seed, purpose, when, numbers(sample), dim)
        return on_device(eps, sample["target"].device)

    def posterior_eps(self, model: Any, sample: Dict[str, Any]) -> Tensor:
        """The eps of z, which belong to (seed, update, sentence) in training and to (seed, sentence) in validation.

        Those of an autoencoder are the rate's alone.

        Args:
            model: a bart_vae
            sample: fairseq's batch

        Returns:
            B x posterior.eps_dim

        Raises:
            InputError: the model has no latent
        """
        if not hasattr(model, "latent_dim"):
            raise InputError("--criterion vae_cross_entropy needs a model with a latent: --arch bart_vae or bart_cvae")
        purpose, time = (Purpose.TRAINING, time_of(model, sample)) if model.training else (Purpose.VALIDATION, 0)
        return self.draws(sample, purpose, time, model.encoder.posterior.eps_dim)

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[Dict[str, Any]]) -> None:
        """Log the figures of all batches and workers: sums are divided here, once.

        Args:
            logging_outputs: the sums of each batch or worker, by name
        """
        # meters ask for each number by itself, and each would wait for a device
        total = on_host({key: validation.plain(sum(log[key] for log in logging_outputs)) for key in logging_outputs[0]})
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
        for key in total:
            if key.startswith(TERM):
                metrics.log_scalar(key[len(TERM) :], total[key] / sentences, sentences, round=4)
        if "kl_weight" in total:
            metrics.log_scalar("kl_weight", total["kl_weight"] / sentences, sentences, round=5)
        else:
            metrics.log_scalar("_kl_weight", total["_kl_weight"] / sentences, sentences)
            validation.log(total)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """True: every logged value is a sum."""
        return True


class RateHook:
    """Backward hook on the KL term: adds this batch's KL to the rate controller.

    fairseq repeats a batch with loss x 0 for a worker that has run out of data. A repeated batch has gradient 0 and is
    not counted.

    Args:
        model: with a rate controller
        kl: of the batch's sentences, nats, B x G
        nsentences: B
    """

    def __init__(self, model: Any, kl: Tensor, nsentences: int):
        self.controller, self.update = model.rate_controller, model.num_updates
        self.sums = torch.stack((kl.detach().double().sum(), kl.new_full((), nsentences, dtype=torch.float64)))

    def __call__(self, grad: Tensor) -> None:
        """
        Args:
            grad: of the KL term, a scalar
        """
        sums = torch.where(grad != 0, self.sums, torch.zeros_like(self.sums))
        if distributed_utils.get_data_parallel_world_size() > 1:
            distributed_utils.all_reduce(sums, group=distributed_utils.get_data_parallel_group())
        self.controller.observe(sums, self.update)


def sentence_of(item: Dict[str, Any]) -> Tensor:
    """The sentence that an item of a data set wants said: the target, or the source where there is none."""
    target: Optional[Tensor] = item.get("target")
    return item["source"] if target is None else target


def numbers(sample: Dict[str, Any]) -> List[int]:
    """The numbers of a batch's sentences, B; of a data set that is not ours, a host waits for them."""
    return sample["numbers"] if "numbers" in sample else sample["id"].tolist()


def time_of(model: Any, sample: Dict[str, Any]) -> int:
    """The time of a training batch's streams: the update's number; inner steps of an update have times of their own."""
    return model.num_updates + sample.get("inner_step", 0) * APART


def declare_flags() -> None:
    """Tell fairseq the flags of terms that were registered after the criterion."""
    declare("criterion", "vae_cross_entropy", VAECrossEntropyCriterion, criterion_config())


terms.on_change(declare_flags)
