"""Attributes of sentences as functions of z: a label, or a number.

Shapes: B rows, Z latent dimensions, L labels.
"""

import math
from typing import Any, Dict, Protocol, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..base.errors import InputError

__all__ = ["Attribute", "Label", "Number", "fit_label", "fit_number"]

SIGMA = 0.1  # of a number's energy, in standard deviations of the number (Liu et al. 2022)


class Attribute(Protocol):
    """What a way of editing needs to know of an attribute.

    Attributes:
        variance: of each dimension of z among the labelled sentences, Z: a way's unit of length is its square root
    """

    variance: Tensor

    def log_prob(self, z: Tensor, target: Tensor) -> Tensor:
        """The log probability, or minus the energy, of a target.

        Args:
            z: B x Z
            target: of each row, B

        Returns:
            nats, B, differentiable in z
        """

    def seen(self, z: Tensor, target: Tensor) -> Tensor:
        """Whether the attribute of each row is the target, B, bool; arguments as of log_prob."""


class Network(nn.Module):
    """A small network of z: standardise, and then a linear map, or one hidden layer of tanh.

    Args:
        dim: Z
        outputs: numbers for each row
        hidden: width of the hidden layer; 0: none

    Raises:
        InputError: the width is negative
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, outputs: int, hidden: int):
        super().__init__()
        if hidden < 0:
            raise InputError(f"--hidden {hidden}: expected 0 or more")
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.layers: nn.Module = nn.Linear(dim, outputs)
        if hidden:
            self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, outputs))

    def forward(self, z: Tensor) -> Tensor:
        """
        Args:
            z: B x Z

        Returns:
            B x outputs
        """
        return self.layers((z - self.mean) / self.scale)


class Label(nn.Module):
    """An attribute with one of L labels: p(label | z) by a small classifier.

    Args:
        labels: their names, sorted
        dim: Z
        hidden: width of the classifier's hidden layer; 0: it is linear

    Attributes:
        means: the mean z of each label's sentences, L x Z
    """

    means: Tensor

    def __init__(self, labels: Sequence[str], dim: int, hidden: int = 0):
        super().__init__()
        self.labels, self.hidden = list(labels), hidden
        self.network = Network(dim, len(self.labels), hidden)
        self.register_buffer("means", torch.zeros(len(self.labels), dim))

    def log_prob(self, z: Tensor, target: Tensor) -> Tensor:
        return F.log_softmax(self.network(z), 1).gather(1, target[:, None])[:, 0]

    @property
    def variance(self) -> Tensor:
        return self.network.scale.square()

    def seen(self, z: Tensor, target: Tensor) -> Tensor:
        return self.predicted(z) == target

    def log_odds(self, z: Tensor, target: Tensor) -> Tensor:
        """log p / (1 - p) of the target's probability p, without a loss of digits near 1; as log_prob."""
        logits = self.network(z)
        others = logits.scatter(1, target[:, None], -torch.inf).logsumexp(1)
        return logits.gather(1, target[:, None])[:, 0] - others

    def predicted(self, z: Tensor) -> Tensor:
        """The most probable label's number of each row, B."""
        return self.network(z).argmax(1)

    def numbers(self, names: Sequence[str]) -> Tensor:
        """The numbers of labels.

        Raises:
            InputError: no sentence had the label
        """
        unknown = sorted(set(names) - set(self.labels))
        if unknown:
            raise InputError(f"label {unknown[0]!r}: expected one of {', '.join(self.labels)}")
        return torch.tensor([self.labels.index(name) for name in names])


class Number(nn.Module):
    """An attribute that is a number, e.g. a length: -(f(z) - target)^2 / (2 sigma^2) by a small regression f.

    Liu et al. 2022, LatentOps, https://arxiv.org/abs/2208.00638.

    Args:
        dim: Z
        hidden: width of the regression's hidden layer; 0: it is linear

    Attributes:
        centre: the number's mean
        spread: the number's standard deviation, the unit of sigma
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, dim: int, hidden: int = 0):
        super().__init__()
        self.hidden = hidden
        self.network = Network(dim, 1, hidden)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def log_prob(self, z: Tensor, target: Tensor) -> Tensor:
        wanted = (target - self.centre) / self.spread
        return -(self.network(z)[:, 0] - wanted).square() / (2 * SIGMA**2)

    @property
    def variance(self) -> Tensor:
        return self.network.scale.square()

    def seen(self, z: Tensor, target: Tensor) -> Tensor:
        return self.log_prob(z, target) >= math.log(0.5)  # within 1.18 sigma

    def predicted(self, z: Tensor) -> Tensor:
        """The number of each row, B."""
        return self.network(z)[:, 0] * self.spread + self.centre


def fit_label(z: Tensor, names: Sequence[str], hidden: int = 0, seed: int = 1) -> Label:
    """Learn an attribute of labels.

    Args:
        z: of N sentences, N x Z
        names: their labels
        hidden: see Label
        seed: of weights and order

    Raises:
        InputError: fewer than two labels, or a z is not finite
    """
    check_finite(z)
    labels = sorted(set(names))
    if len(labels) < 2:
        raise InputError(f"{len(labels)} label(s) in {len(names):,} sentences: expected two or more")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attribute = Label(labels, z.size(1), hidden)
        targets = attribute.numbers(names)
        for index in range(len(labels)):
            attribute.means[index] = z[targets == index].double().mean(0)
        learn(attribute, z, targets)
    return attribute


def check_finite(z: Tensor) -> None:
    """Refuse z's of a model that has diverged.

    Raises:
        InputError: a row is not finite
    """
    good = z.isfinite().all(1).tolist()
    if not all(good):
        raise InputError(f"z of labelled sentence {good.index(False) + 1} is not finite: has the model diverged?")


def fit_number(z: Tensor, numbers: Sequence[float], hidden: int = 64, seed: int = 1) -> Number:
    """Learn an attribute that is a number.

    Args:
        z: of N sentences, N x Z
        numbers: theirs
        hidden: see Number
        seed: of weights and order

    Raises:
        InputError: all numbers are the same, or a z is not finite
    """
    check_finite(z)
    values = torch.tensor(numbers, dtype=torch.float32)
    if not values.std(unbiased=False) > 0:
        raise InputError(f"all {len(numbers):,} numbers are {float(values[0])}: expected different ones")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attribute = Number(z.size(1), hidden)
        attribute.centre, attribute.spread = values.mean(), values.std(unbiased=False)
        learn(attribute, z, values)
    return attribute


def learn(attribute: Any, z: Tensor, targets: Tensor, steps: int = 2000, batch: int = 256) -> None:
    """Fit an attribute's network by Adam; the epoch that is best on a tenth of the rows counts.

    Args:
        attribute: with a network and log_prob
        z: N x Z
        targets: N
        steps: least number of them; they end with an epoch
        batch: rows of a step
    """
    network: Network = attribute.network
    network.mean, network.scale = z.mean(0), z.std(0, unbiased=False).clamp_min(1e-6)
    order = torch.randperm(len(z))
    held, rest = order[: max(1, len(z) // 10)], order[max(1, len(z) // 10) :]
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-4)
    best: Dict[str, Tensor] = {}
    lowest = float("inf")
    for _ in range(-(-steps // -(-len(rest) // batch))):
        for rows in rest[torch.randperm(len(rest))].split(batch):
            loss = -attribute.log_prob(z[rows], targets[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            loss = -attribute.log_prob(z[held], targets[held]).mean()
        if loss < lowest:
            lowest, best = float(loss), {name: value.clone() for name, value in attribute.state_dict().items()}
    attribute.load_state_dict(best)
    attribute.requires_grad_(False).eval()
