"""Controllers that hold the rate, the mean KL of a sentence in nats, at a target. Torch only, no fairseq.

Pure functions step from one update to the next. The state between steps is in a module's buffers, so checkpoints have
it.
"""

import logging
import math
import sys
from typing import Any, Callable, Dict, NamedTuple, Optional

import torch
from torch import Tensor

from ..base.precision import ExactBuffers

__all__ = ["CONTROLLERS", "STEPS", "ControllerState", "RateController", "initial", "lagrangian_step", "pid_step"]

logger = logging.getLogger(__name__)

CONTROLLERS = ("none", "lagrangian", "pid")
SMOOTHING = 0.9  # of the Lagrangian's error over updates, since batches of short sentences have a lower rate


class ControllerState(NamedTuple):
    """The state of a controller between updates: scalars in float64.

    Attributes:
        weight: beta, the weight of the KL
        memory: of earlier errors: their moving average (lagrangian) or their integral (pid)

    >>> initial("pid", max_weight=1.0).weight.item()
    0.0
    """

    weight: Tensor
    memory: Tensor


def initial(controller: str, max_weight: float, start: Optional[float] = None) -> ControllerState:
    """The state before any update, by default with the papers' beta: 1 for lagrangian, 0 for pid.

    Args:
        controller: "lagrangian" or "pid"
        max_weight: upper bound of beta, also at the start
        start: beta, of pid as its integral; None: the papers'

    Returns:
        the state

    >>> initial("lagrangian", max_weight=0.5)
    ControllerState(weight=tensor(0.5000, dtype=torch.float64), memory=tensor(0., dtype=torch.float64))
    """
    own = 1.0 if controller == "lagrangian" else 0.0
    weight = min(own if start is None else start, max_weight)
    memory = weight if controller == "pid" else 0.0
    return ControllerState(*torch.tensor([weight, memory], dtype=torch.float64))


def lagrangian_step(
    state: ControllerState, rate: Tensor, target: float, gain: float, max_weight: float
) -> ControllerState:
    """One step of beta as the multiplier of the constraint rate = target: beta * exp(gain * error), at most max_weight.

    error is the moving average of (rate - target) / target, so beta grows while the rate is above the target and
    shrinks while it is below; beta is always positive (Rezende & Viola 2018, GECO, https://arxiv.org/abs/1810.00597,
    algorithm 1). With max_weight = 1 the constraint is rate >= target, the minimum desired rate of Pelsmaeker & Aziz
    2020 (https://arxiv.org/abs/1904.08194) and NewsVAE; their multiplier is 1 - beta.

    Args:
        state: after the last update
        rate: of the update, nats per sentence, a scalar
        target: nats per sentence
        gain: of log beta, an update
        max_weight: upper bound of beta

    Returns:
        the next state

    >>> state = initial("lagrangian", max_weight=2.0)
    >>> lagrangian_step(state, torch.tensor(16.0), target=8.0, gain=0.1, max_weight=2.0).weight  # exp(0.1 * 0.1)
    tensor(1.0101, dtype=torch.float64)
    """
    # the first rates after training as an autoencoder may be 100 times the target; the average forgets them slowly
    error = ((rate - target) / target).clamp(max=5)
    memory = SMOOTHING * state.memory + (1 - SMOOTHING) * error
    weight = (state.weight * torch.exp(gain * memory)).clamp(1e-4 * min(1.0, max_weight), max_weight)
    return ControllerState(weight, memory)


def pid_step(state: ControllerState, rate: Tensor, target: float, gain: float, max_weight: float) -> ControllerState:
    """One step of ControlVAE's controller: beta = Kp / (1 + exp(error)) + I, between 0 and max_weight.

    Shao et al. 2020, https://arxiv.org/abs/2004.05988, eq. 8. error = target - rate in nats. I, the integral, falls by
    Ki * error, unless beta stands at the bound beyond which this step would push it (anti-windup). Kp = gain and
    Ki = gain / 100: with gain 0.01 they are the paper's 0.01 and 0.0001. There is no derivative, as in the paper.

    Args:
        state: after the last update
        rate: of the update, nats per sentence, a scalar
        target: nats per sentence
        gain: Kp
        max_weight: upper bound of beta

    Returns:
        the next state

    >>> pid_step(initial("pid", 1.0), torch.tensor(8.0), target=8.0, gain=0.01, max_weight=1.0).weight  # Kp / 2
    tensor(0.0050, dtype=torch.float64)
    """
    error = target - rate
    pushed = ((state.weight >= max_weight) & (error < 0)) | ((state.weight <= 0) & (error > 0))
    memory = torch.where(pushed, state.memory, state.memory - gain / 100 * error)
    return ControllerState((gain * torch.sigmoid(-error) + memory).clamp(0, max_weight), memory)


STEPS: Dict[str, Callable[[ControllerState, Tensor, float, float, float], ControllerState]] = {
    "lagrangian": lagrangian_step,
    "pid": pid_step,
}


class RateController(ExactBuffers):
    """beta from the observed rates: one step an update, on the mean over all sentences of that update.

    `observe` adds up the KL of the sentences of an update; `set_num_updates` with a higher number steps and empties
    the sums, and with a lower number, which a new training from a checkpoint has, resets the controller. Sums must be
    over all workers: the buffers are then equal on all of them, and those that one worker saves are right for all. An
    update whose gradient overflows is tried again under the same number, with the same weights and beta; its sentences
    count each time. A state that is not finite, as a checkpoint cast to float16 may have it, is reset.

    Args:
        controller: "lagrangian" or "pid"
        target: nats per sentence
        gain: see lagrangian_step and pid_step
        max_weight: upper bound of beta
        start: see initial

    Attributes:
        weight: beta, a float64 scalar
        memory: see ControllerState
        sums: KL in nats and number of sentences observed since the last step, 2
        update: the number of the update to which the sums belong

    >>> controller = RateController("lagrangian", target=8.0, gain=0.1, max_weight=2.0)
    >>> controller.observe(torch.tensor([160.0, 10.0]), update=0)
    >>> controller.set_num_updates(1)
    >>> controller.weight
    tensor(1.0101, dtype=torch.float64)
    """

    weight: Tensor
    memory: Tensor
    sums: Tensor
    update: Tensor

    def __init__(self, controller: str, target: float, gain: float, max_weight: float, start: Optional[float] = None):
        super().__init__()
        self.controller, self.target, self.gain, self.max_weight = controller, target, gain, max_weight
        self.start = start
        for name, value in initial(controller, max_weight, start)._asdict().items():
            self.register_buffer(name, value)
        self.register_buffer("sums", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("update", torch.zeros((), dtype=torch.float64))
        self.last: Optional[int] = 0  # the host's copy of it; None until it is read after loading

    def observe(self, sums: Tensor, update: int) -> None:
        """Add a batch's sums; sums that are not finite do not count.

        Args:
            sums: KL in nats and number of sentences, over all workers, 2
            update: the number of the update to which the batch belongs
        """
        sums = sums.to(self.sums)
        self.sums += torch.where(sums.isfinite().all(), sums, torch.zeros_like(sums))
        self.update.fill_(update)
        self.last = update

    def set_num_updates(self, update: int) -> None:
        """Step if the number is new, on the sums observed under the last number.

        Args:
            update: the number of the update that comes next
        """
        if self.last is None:
            self.last = self.read()
        if update == self.last:
            return
        state = initial(self.controller, self.max_weight, self.start)
        if update > self.last:
            kl, sentences = self.sums
            before = ControllerState(self.weight, self.memory)
            after = STEPS[self.controller](before, kl / sentences, self.target, self.gain, self.max_weight)
            # no `if`, for which a host would wait
            state = ControllerState(*(torch.where(sentences > 0, new, old) for new, old in zip(after, before)))
        for name, value in state._asdict().items():
            getattr(self, name).copy_(value)
        self.sums.zero_()
        self.update.fill_(update)
        self.last = update

    def read(self) -> int:
        """The number of the update to which a loaded state belongs.

        A state that is not finite, of a checkpoint in half precision, is later than any update: it begins anew.
        """
        values = torch.stack((self.update, *self.sums, self.weight, self.memory)).tolist()
        if all(map(math.isfinite, values)):
            return int(values[0])
        logger.warning(f"--rate-controller {self.controller}: its state is not finite; it begins anew")
        return sys.maxsize

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.last = None
