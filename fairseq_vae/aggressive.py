"""Aggressive inference: before each update the encoder side alone makes inner steps, then the decoder side steps alone.

He et al. 2019, lagging inference networks, https://arxiv.org/abs/1901.05534, algorithm 1. Early in training the
posterior lags behind the decoder, which then learns to do without z; inner steps let it catch up. They train what q
alone has, and so leave p(x|z), or p(y|x, z) and p(z|x), as they are. Updates, beta and the learning rate's schedule
count outer steps only.
"""

import logging
import math
from contextlib import contextmanager, nullcontext
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch
from fairseq import utils
from fairseq.distributed import utils as distributed_utils
from torch import Tensor
from torch.nn import Parameter

from .base.errors import InputError
from .base.stream import Purpose, stream
from .base.transfer import on_device
from .measure.estimators import saturates

__all__ = ["AggressiveInference", "WindowRule", "encoder_side", "forget"]

logger = logging.getLogger(__name__)

Step = Callable[[Dict[str, Any]], Tuple[Tensor, Any, Dict[str, Any]]]  # fairseq's training step on a batch


class WindowRule:
    """When the inner steps of an update end: with the first window whose loss per word is not below the last one's.

    Args:
        window: steps of a window
        max_steps: steps of an update, at most

    Attributes:
        steps: made so far

    >>> rule = WindowRule(window=2, max_steps=99)
    >>> [rule.goes_on(torch.tensor([loss, 1.0])) for loss in (5.0, 3.0, 3.0, 4.0, 2.0, 6.0)]  # means 4, 3.5, 4
    [True, True, True, True, True, False]
    """

    def __init__(self, window: int, max_steps: int):
        self.window, self.max_steps = window, max_steps
        self.steps, self.before = 0, math.inf
        self.sums: List[Tensor] = []  # of the steps of this window

    def goes_on(self, sums: Tensor) -> bool:
        """Count a step; the host waits for a device at the ends of windows alone.

        Args:
            sums: of the step over all workers: the loss in nats, and the words; 2

        Returns:
            whether another step follows
        """
        self.steps += 1
        self.sums.append(sums)
        if len(self.sums) == self.window:
            loss, words = torch.stack(self.sums).sum(0).tolist()
            if not loss / words < self.before:  # a loss that is not a number ends them, too
                return False
            self.before, self.sums = loss / words, []
        return self.steps < self.max_steps


def encoder_side(model: Any) -> List[Parameter]:
    """What inner steps train: of q's modules (see the encoder's `inferring`) the weights that no other module has.

    The rest is the generative model's, which outer steps train: the decoder, the prior, the map from z to slots, terms
    with parameters, and what these share with q, as the token embeddings. In a conditional model that is also the
    encoder of the sources, whose states the decoder reads; where it reads the targets, too, inner steps are left the
    posterior's head, and with --target-encoder copy they have an encoder of targets as well.

    Args:
        model: a bart_vae, or a data-parallel wrapper of one
    """
    encoder = model.encoder
    mine = encoder.inferring()
    rest = [part for part in encoder.children() if all(part is not other for other in mine)]
    others = {id(parameter) for part in (model.decoder, *rest) for parameter in part.parameters()}
    own = {id(parameter): parameter for part in mine for parameter in part.parameters()}
    return [parameter for place, parameter in own.items() if parameter.requires_grad and place not in others]


def forget(parameters: List[Parameter]) -> None:
    """Drop gradients. By a gradient of zero, Adam would move a weight on, and weight decay would shrink it."""
    for parameter in parameters:
        parameter.grad = None


@contextmanager
def alone(model: Any, parameters: List[Parameter]) -> Iterator[None]:
    """While the block runs, no other parameter gets a gradient, and a rate controller counts no batch.

    Args:
        model: a bart_vae, or a data-parallel wrapper of one
        parameters: that do
    """
    chosen = {id(parameter) for parameter in parameters}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    controller = model.rate_controller
    sums = None if controller is None else controller.sums.clone()
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
        if controller is not None:
            controller.sums.copy_(sums)


def place() -> Tuple[int, int]:
    """The number of this worker, from 0, and how many there are."""
    workers = distributed_utils.get_data_parallel_world_size()
    return (distributed_utils.get_data_parallel_rank() if workers > 1 else 0), workers


def averaged(parameters: List[Parameter], sums: Tensor) -> Tensor:
    """Make gradients, in place, those of the mean over the batches of all workers, as fairseq's trainer does.

    Args:
        parameters: one without a gradient gets one of zero if there are other workers, as with fairseq's legacy_ddp
        sums: of this worker; the first is the number by which the loss is divided; N

    Returns:
        the sums over all workers, N
    """
    if place()[1] > 1:
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(grad.flatten() for grad in grads), sums])
        distributed_utils.all_reduce(flat, distributed_utils.get_data_parallel_group())
        *parts, sums = flat.split([*(grad.numel() for grad in grads), len(sums)])
        for parameter, part in zip(parameters, parts):
            parameter.grad = part.view_as(parameter)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.div_(sums[0])
    return sums


@contextmanager
def not_skipped() -> Iterator[None]:
    """Let a worker that runs out of memory end: fairseq's trainer would skip the batch, and the others would wait."""
    try:
        yield
    except RuntimeError as error:
        if place()[1] == 1 or "out of memory" not in str(error):
            raise
        raise RuntimeError("a worker's memory ran out in an inner step, for which the other workers wait") from error


class AggressiveInference:
    """The inner steps of updates, until mutual information falls from one validation to the next, or cannot rise.

    An inner step has as many new random batches of the training set as an update, all workers together. Batches and
    draws of z belong to (seed, update, step), whatever the number of workers.

    Args:
        cfg: the task's flags

    Attributes:
        active: whether updates still have inner steps
        mi: of the last validation, nats
        batches: fairseq's iterator over the training set
    """

    def __init__(self, cfg: Any):
        self.cfg = cfg
        self.active = True
        self.mi: Optional[float] = None
        self.batches: Any = None
        self.update = -1  # the last one that has had its inner steps

    def infer(self, model: Any, optimizer: Any, update: int, device: torch.device, step: Step) -> int:
        """Make the inner steps of an update, if it has had none: with --update-freq it comes once for each batch.

        Args:
            model: a bart_vae, or a data-parallel wrapper of one
            optimizer: fairseq's
            update: its number
            device: of the model
            step: forward and backward pass on a batch

        Returns:
            their number
        """
        if update == self.update:
            return 0
        self.update = update
        model.set_num_updates(update)  # a rate controller steps now, on what it observed in the last update
        parameters, goes_on = encoder_side(model), True
        rule = WindowRule(self.cfg.aggressive_window, self.cfg.aggressive_max_steps)
        with alone(model, parameters):
            while goes_on:
                optimizer.zero_grad()
                sums = torch.zeros(3, device=device)
                for batch in self.draw(update, rule.steps, device):
                    with not_skipped(), model.no_sync() if hasattr(model, "no_sync") else nullcontext():
                        _, size, log = step(batch)
                    numbers = on_device(torch.tensor([size, log["ntokens"]], dtype=torch.float), device)
                    sums += torch.cat((numbers, log["loss"].float().view(1)))
                size, words, loss = averaged(parameters, sums)
                optimizer.clip_grad_norm(self.cfg.clip_norm)
                optimizer.step()
                goes_on = rule.goes_on(torch.stack((loss, words)))
        optimizer.zero_grad()
        return rule.steps

    def draw(self, update: int, step: int, device: torch.device) -> Iterator[Dict[str, Any]]:
        """This worker's batches of an inner step.

        Args:
            update: its number
            step: its number, from 0
            device: where to
        """
        rank, workers = place()
        each = self.cfg.update_freq[min(self.batches.epoch, len(self.cfg.update_freq)) - 1]
        data, batches = self.batches.dataset, self.batches.frozen_batches
        own = stream(self.cfg.seed, Purpose.INNER, update, step)
        for number in own.integers(len(batches), size=each * workers)[rank::workers]:
            batch = self.batches.collate_fn([data[index] for index in batches[number]])
            moved = utils.apply_to_sample(lambda tensor: on_device(tensor, device), batch)
            yield {**moved, "inner_step": step + 1}

    def validated(self, mi: Optional[float], cap: float) -> None:
        """End if mutual information is below that of the validation before, equal to it at its cap, or no number.

        Args:
            mi: of a validation, nats; None: it has none
            cap: log of the sentences that it is over, nats

        Raises:
            InputError: it has none
        """
        if mi is None:
            raise InputError(
                "--aggressive-inference ends when mi falls, and with this --latent-posterior validation logs no mi: "
                "leave one of the two out"
            )
        before, self.mi = self.mi, mi
        fell = before is not None and mi < before
        stands = before is not None and mi == before and saturates(mi, round(math.exp(cap)))
        if self.active and (fell or stands or not math.isfinite(mi)):
            self.active = False
            if place()[0] == 0:
                logger.info(
                    f"aggressive inference ends: mi {mi:.3f}, {math.nan if before is None else before:.3f} at the "
                    f"validation before, {cap:.3f} at most (nats)"
                )

    def state_dict(self) -> Dict[str, Any]:
        """What a resumed training goes on with."""
        return {"active": self.active, "mi": self.mi}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Go on with what `state_dict` gave."""
        self.active, self.mi = state["active"], state["mi"]
