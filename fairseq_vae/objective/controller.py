"""Controllers that hold the rate, the mean KL of a sentence in nats, at a target. Torch only, no fairseq.

Pure steps from one update to the next, and a module whose buffers are their state, so that a checkpoint has it.
"""

from typing import NamedTuple

import torch
import torch.nn as nn
from torch import Tensor

CONTROLLERS = ("none", "lagrangian", "pid")
SMOOTHING = 0.9  # of the Lagrangian's error from update to update: batches of short sentences have a lower rate


class ControllerState(NamedTuple):
    """Scalars in float64: beta, its weight of the KL, and what the controller remembers of earlier errors."""

    weight: Tensor
    memory: Tensor


def initial(controller: str, max_weight: float) -> ControllerState:
    """Before any update: beta = 1 (max_weight if that is less) for lagrangian, 0 for pid, as in the papers."""
    weight = min(1.0, max_weight) if controller == "lagrangian" else 0.0
    return ControllerState(*torch.tensor([weight, 0.0], dtype=torch.float64))


def lagrangian_step(
    state: ControllerState, rate: Tensor, target: float, gain: float, max_weight: float
) -> ControllerState:
    """beta as the multiplier of the constraint rate = target: beta * exp(gain * error), at most max_weight.

    error is the moving average of (rate - target) / target, so beta grows while the rate is above its target and
    shrinks below it; it is always positive (Rezende & Viola 2018, GECO, algorithm 1). With max_weight = 1 the
    constraint is rate >= target: the minimum desired rate of Pelsmaeker & Aziz 2020 and NewsVAE, 1 - beta being their
    multiplier.
    """
    # the rate of what was an autoencoder may be 100 times the target, and the average would not forget that soon
    error = ((rate - target) / target).clamp(max=5)
    memory = SMOOTHING * state.memory + (1 - SMOOTHING) * error
    weight = (state.weight * torch.exp(gain * memory)).clamp(1e-4 * min(1.0, max_weight), max_weight)
    return ControllerState(weight, memory)


def pid_step(state: ControllerState, rate: Tensor, target: float, gain: float, max_weight: float) -> ControllerState:
    """ControlVAE's controller (Shao et al. 2020, eq. 8): beta = Kp / (1 + exp(error)) + I, between 0 and max_weight.

    error = target - rate in nats; I, the integral, falls by Ki * error, unless beta stood at the bound that this would
    push it beyond (anti-windup). Kp = gain and Ki = gain / 100: the paper's 0.01 and 0.0001 at gain 0.01. There is no
    derivative, as in the paper.
    """
    error = target - rate
    pushed = ((state.weight >= max_weight) & (error < 0)) | ((state.weight <= 0) & (error > 0))
    memory = torch.where(pushed, state.memory, state.memory - gain / 100 * error)
    return ControllerState((gain * torch.sigmoid(-error) + memory).clamp(0, max_weight), memory)


STEPS = {"lagrangian": lagrangian_step, "pid": pid_step}


class RateController(nn.Module):
    """beta from the rates seen: one step an update, on the mean over all sentences of that update.

    `observe` adds up the KL of the sentences seen under an update's number; `set_num_updates` with another number steps
    and starts afresh. A number lower than the last, of a new training that starts from a checkpoint, resets it. What
    is observed must be the sums over all workers: then the buffers are the same on each, and what one of them saves is
    right for all. Sentences of a gradient that overflowed, whose update is tried again under the same number, count
    too: weights and beta were the same.
    """

    def __init__(self, controller: str, target: float, gain: float, max_weight: float):
        super().__init__()
        self.controller, self.target, self.gain, self.max_weight = controller, target, gain, max_weight
        for name, value in initial(controller, max_weight)._asdict().items():
            self.register_buffer(name, value)
        self.register_buffer("sums", torch.zeros(2, dtype=torch.float64))  # KL in nats, sentences
        self.register_buffer("update", torch.zeros((), dtype=torch.long))  # to which the sums belong

    def observe(self, sums: Tensor, update: int) -> None:
        """Add sums of KL in nats and of sentences, 2, over all workers; a KL that is not finite does not count."""
        sums = sums.to(self.sums)
        self.sums += torch.where(sums.isfinite().all(), sums, torch.zeros_like(sums))
        self.update.fill_(update)

    def set_num_updates(self, update: int) -> None:
        last, (kl, sentences) = int(self.update), self.sums
        if update == last:
            return
        state = ControllerState(self.weight, self.memory)
        if update < last:
            state = initial(self.controller, self.max_weight)
        elif sentences > 0:
            state = STEPS[self.controller](state, kl / sentences, self.target, self.gain, self.max_weight)
        for name, value in state._asdict().items():
            getattr(self, name).copy_(value)
        self.sums.zero_()
        self.update.fill_(update)

    def _apply(self, fn, *args, **kwargs):
        """Go to a device, but never to another precision: model.half() means the weights."""
        kept = dict(self._buffers)
        super()._apply(fn, *args, **kwargs)
        for name, value in kept.items():
            self._buffers[name] = value.to(self._buffers[name].device)
        return self
