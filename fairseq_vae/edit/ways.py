"""Ways of editing: from a z to one with another attribute, by a strength. Strength 0 leaves z as it is.

Rows do not depend on one another.

Shapes: B rows, Z latent dimensions.
"""

from typing import Any, Callable, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from ..base.errors import InputError
from ..base.registry import Registry
from .attributes import Label

__all__ = ["Unsolved", "Wish", "energy", "gradient", "register_way", "smallest", "solver", "vector", "ways"]

STEPS, LONGEST, CLOSE = 30, 1.0, 1e-3  # of gradient: most rounds, a step's most length, log odds that may be lacking
BETA = (0.1, 20.0)  # of energy, at t = 0 and t = 1 (Liu et al. 2022)

ways: Registry = Registry("way")
register_way = ways.register


class Wish(NamedTuple):
    """An attribute and the value that it shall have.

    Attributes:
        attribute: a Label or Number
        target: of each row, B
        weight: beside other wishes, relative
    """

    attribute: Any
    target: Tensor
    weight: float = 1.0

    def log_prob(self, z: Tensor) -> Tensor:
        """The weighted log probability of the target, B."""
        return self.weight * self.attribute.log_prob(z, self.target)


class Unsolved(InputError):
    """An equation of `energy` without a solution.

    Args:
        row: of z, from 0
        strength: of the edit
        reason: the solver's
    """

    def __init__(self, row: int, strength: float, reason: Any):
        self.row, self.strength, self.reason = row, strength, reason
        super().__init__(
            f"--way energy, strength {strength:g}: the equation of sentence {row + 1} cannot be solved ({reason}): "
            "give a smaller strength, or targets nearer to the labelled sentences"
        )

    def at(self, rows: Sequence[int]) -> "Unsolved":
        """The same of z's whose rows have these numbers, from 0."""
        return Unsolved(rows[self.row], self.strength, self.reason)


def slope(z: Tensor, wishes: Sequence[Wish]) -> Tuple[Tensor, Tensor]:
    """The wishes' log probability of each row and its gradient.

    Returns:
        B, and B x Z
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = torch.stack([wish.log_prob(z) for wish in wishes]).sum(0)
        [found] = torch.autograd.grad(value.sum(), z)
    return value.detach(), found


@register_way("vector", help="the vector between the means of two sets of sentences")
def vector(z: Tensor, wishes: Sequence[Wish], strength: float) -> Tensor:
    """z + strength * (mean z of the target label's sentences - mean z of the other labels').

    Args:
        z: B x Z
        wishes: of labels
        strength: 1 goes the whole way between the means

    Returns:
        B x Z

    Raises:
        InputError: an attribute is a number
    """
    for wish in wishes:
        if not isinstance(wish.attribute, Label):
            raise InputError("--way vector: an attribute that is a number has no two sets; give --way energy")
        means, target = wish.attribute.means, wish.target
        others = (means.sum(0) - means[target]) / (len(means) - 1)
        z = z + strength * wish.weight * (means[target] - others)
    return z


@register_way("gradient", help="the smallest steps along a classifier's gradient that reach given log odds")
def gradient(z: Tensor, wishes: Sequence[Wish], strength: float) -> Tensor:
    """Steps along the gradient of each target's log odds, until these are `strength`; a row that has them stays.

    A step goes to where the tangent has the log odds, (strength - log odds) / |gradient|^2 times the gradient, and at
    most LONGEST far; there are up to STEPS rounds of them. A linear classifier has the smallest possible edit. Gradient
    and lengths are of z in units of its standard deviations, so that a dimension that hardly varies, of which the
    classifier knows little but noise, hardly moves. Wang et al. 2019, FGIM, https://arxiv.org/abs/1905.12926, try
    weights of the gradient in rising order for it.

    Args:
        z: B x Z
        wishes: attributes and targets; a wish's log odds are its weight times the strength
        strength: log odds of the targets; 0 leaves z as it is

    Returns:
        B x Z

    Raises:
        InputError: an attribute is a number, which has no classifier and no odds
    """
    if not all(isinstance(wish.attribute, Label) for wish in wishes):
        raise InputError("--way gradient: an attribute that is a number has no classifier; give --way energy")
    if not strength:
        return z
    for _ in range(STEPS):
        before = z
        for wish in wishes:
            with torch.enable_grad():
                moved = z.detach().requires_grad_()
                odds = wish.attribute.log_odds(moved, wish.target)
                [found] = torch.autograd.grad(odds.sum(), moved)
            lacking = wish.weight * strength - odds.detach()  # B
            along = wish.attribute.variance * found
            square = (along * found).sum(1).clamp_min(1e-24)  # of the gradient's length in those units
            step = torch.minimum(lacking / square, LONGEST / square.sqrt())
            z = torch.where((lacking > CLOSE)[:, None], z + step[:, None] * along, z)
        if z.equal(before):
            break
    return z


@register_way("energy", help="the differential equation of an energy that holds z near its place; takes several wishes")
def energy(z: Tensor, wishes: Sequence[Wish], strength: float) -> Tensor:
    """Solve dz/dt = -1/2 beta(t) grad [strength * log p(target | z) - |z - z_0|^2 / 2] from t = 1 to 0.

    beta goes evenly from 20 at t = 1 to 0.1 at t = 0, and z is in units of its standard deviations, see `gradient`; of
    several attributes' sentences, of the root of their mean variance. Liu et al. 2022, LatentOps,
    https://arxiv.org/abs/2208.00638, with their penalty for edits. torchdiffeq's dopri5 solves each row on its own: its
    steps follow the error, and those of a batch would make a row depend on the others.

    Args:
        z: z_0, B x Z
        wishes: attributes and targets
        strength: weight of all wishes beside the penalty

    Returns:
        B x Z

    Raises:
        InputError: torchdiffeq is not installed
        Unsolved: the equation of a row has no solution in float32, as of a target far from all labelled sentences
    """
    if not strength:
        return z
    odeint = solver()
    variance = torch.stack([wish.attribute.variance for wish in wishes]).mean(0)

    def velocity(row: int) -> Callable[[Tensor, Tensor], Tensor]:
        own = [wish._replace(target=wish.target[row : row + 1]) for wish in wishes]
        start = z[row : row + 1]

        def of(t: Tensor, y: Tensor) -> Tensor:
            beta = BETA[0] + t * (BETA[1] - BETA[0])
            return -0.5 * beta * (strength * variance * slope(y, own)[1] - (y - start))

        return of

    times = torch.tensor([1.0, 0.0], device=z.device)
    rows = []
    for i in range(len(z)):
        try:
            with torch.no_grad():
                rows.append(odeint(velocity(i), z[i : i + 1], times, rtol=1e-4, atol=1e-5)[-1])
        except AssertionError as error:  # torchdiffeq's: its steps become too small, or its numbers infinite
            raise Unsolved(i, strength, error) from error
    return torch.cat(rows) if rows else z


def solver() -> Callable[..., Tensor]:
    """torchdiffeq's solver of differential equations, for `energy`.

    Raises:
        InputError: it is not installed
    """
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise InputError("--way energy needs torchdiffeq: pip install torchdiffeq") from error
    return odeint


def smallest(way: str, z: Tensor, wishes: Sequence[Wish], strengths: Sequence[float]) -> Tuple[Tensor, Tensor, Tensor]:
    """For each row the smallest of some strengths at which the attributes' own classifiers see all targets.

    Args:
        way: the name of a way
        z: B x Z
        wishes: attributes and targets
        strengths: in rising order

    Returns:
        the edited rows, B x Z; their strengths, B, float64; and whether these are enough, B: where none is, row and
        strength are those of the greatest
    """
    found = z.clone()
    used = torch.full((len(z),), float("nan"), dtype=torch.float64)
    reached = torch.zeros(len(z), dtype=torch.bool)
    for strength in strengths:
        edited = ways[way](z, wishes, strength)
        met = [wish.attribute.seen(edited, wish.target) for wish in wishes if wish.weight]
        seen = torch.stack(met).all(0).cpu() if met else torch.ones_like(reached)
        take = ~reached & (seen | (strength == strengths[-1]))
        found[take] = edited[take]
        used[take] = strength
        reached |= seen
    return found, used, reached


def sweep(way: str, z: Tensor, wishes: Sequence[Wish], strengths: Sequence[float]) -> List[Tensor]:
    """The edited rows at each strength.

    Args:
        way: the name of a way
        z: B x Z
        wishes: attributes and targets
        strengths: in any order

    Returns:
        a B x Z for each strength
    """
    return [ways[way](z, wishes, strength) for strength in strengths]
