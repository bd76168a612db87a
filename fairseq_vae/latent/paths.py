"""Paths between two latents and to noise, walks along a dimension, and analogies.

Shapes: Z latent dimensions, S steps.
"""

import math
from typing import Callable, Dict, Union

import torch
from torch import Tensor

__all__ = ["PATHS", "along", "analogy", "lerp", "noised", "path", "slerp", "typical", "walk"]


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the straight line, (1 - t) a + t b (Bowman et al. 2016, https://arxiv.org/abs/1511.06349).

    Args:
        a: where t = 0, Z
        b: where t = 1, Z
        t: S

    Returns:
        S x Z

    >>> lerp(torch.tensor([0.0, 2.0]), torch.tensor([4.0, 0.0]), torch.tensor([0.0, 0.5, 1.0])).tolist()
    [[0.0, 2.0], [2.0, 1.0], [4.0, 0.0]]
    """
    return torch.lerp(a, b, t.unsqueeze(1))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the great arc between two directions (Shoemake 1985; White 2016, https://arxiv.org/abs/1609.04468).

    The direction turns at an even speed: [sin((1 - t) w) a/|a| + sin(t w) b/|b|] / sin w with the angle w between a
    and b. The norm goes evenly from |a| to |b|: where these are equal, it is kept. Where no plane is given, a = -b or a
    zero, and where the angle is too small to divide by, the points are those of lerp.

    Args:
        a: where t = 0, Z
        b: where t = 1, Z
        t: S

    Returns:
        S x Z

    >>> slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5]))
    tensor([[1.4142, 1.4142]])
    """
    norms = a.norm(), b.norm()
    cosine = (a @ b / (norms[0] * norms[1])).clamp(-1, 1)
    angle = cosine.acos()
    if not angle.sin() > 1e-4:
        return lerp(a, b, t)
    t = t.unsqueeze(1)
    direction = (((1 - t) * angle).sin() * a / norms[0] + (t * angle).sin() * b / norms[1]) / angle.sin()
    return direction * torch.lerp(*norms, t)


def typical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points of lerp, moved to the norm that the ends have.

    The middle of a straight line in many dimensions is nearer to 0 than typical z's are: |lerp| of two orthogonal
    vectors of norm r is r / sqrt(2) there. The norm of these points goes evenly from |a| to |b|.

    Args:
        a: where t = 0, Z
        b: where t = 1, Z
        t: S

    Returns:
        S x Z

    >>> typical(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([0.5])).norm(dim=1).round(decimals=3)
    tensor([3.])
    """
    points = lerp(a, b, t)
    norms = points.norm(dim=1, keepdim=True)
    wanted = torch.lerp(a.norm(), b.norm(), t.unsqueeze(1))
    return torch.where(norms > 0, points * wanted / norms, points)


PATHS: Dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"lerp": lerp, "slerp": slerp, "typical": typical}


def along(a: Tensor, b: Tensor, t: Tensor, kind: str = "lerp") -> Tensor:
    """Points of the way from one latent to another; those at t = 0 and t = 1 are a and b exactly.

    Args:
        a: where t = 0, Z
        b: where t = 1, Z
        t: S
        kind: one of PATHS

    Returns:
        S x Z

    >>> along(torch.zeros(1), torch.ones(1), torch.tensor([0.25])).flatten().tolist()
    [0.25]
    """
    points = PATHS[kind](a, b, t)
    points[t == 0], points[t == 1] = a, b
    return points


def path(a: Tensor, b: Tensor, steps: int, kind: str = "lerp") -> Tensor:
    """Points at equal steps from one latent to another, with both ends.

    Args:
        a: the first point, Z
        b: the last point, Z
        steps: S, 2 or more
        kind: one of PATHS

    Returns:
        S x Z

    >>> path(torch.zeros(1), torch.ones(1), 3).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    return along(a, b, torch.linspace(0, 1, steps, device=a.device, dtype=a.dtype), kind)


def noised(z: Tensor, noise: Tensor, scale: float, mean: Union[Tensor, float] = 0.0) -> Tensor:
    """Latents under noise: m + sqrt(1 - s^2) (z - m) + s (noise - m), the forward process of diffusion models.

    Where z and the noise are independent and have the mean m and one covariance, the result has these too, at every s
    (Ho et al. 2020, https://arxiv.org/abs/2006.11239, eq. 4, with sqrt(alpha-bar) = sqrt(1 - s^2)).

    Args:
        z: B x Z
        noise: draws of the prior, B x Z
        scale: s; 0 is z exactly, and 1 the noise
        mean: m, of the prior, Z or B x Z

    Returns:
        B x Z

    >>> noised(torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 5.0]]), 0.6).round(decimals=3).tolist()
    [[4.0, 3.0]]
    """
    kept = math.sqrt(1 - scale * scale)
    return kept * z + scale * noise + (1 - kept - scale) * mean


def analogy(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The latent that is to c as b is to a: c + (b - a) (Mikolov et al. 2013, https://aclanthology.org/N13-1090).

    Args:
        a: Z
        b: Z
        c: Z

    Returns:
        Z

    >>> analogy(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([10.0])).item()
    12.0
    """
    return c + (b - a)


def walk(z: Tensor, dimension: int, values: Tensor) -> Tensor:
    """One dimension of a latent set to each of some values; the others stay.

    Args:
        z: Z
        dimension: from 0
        values: S

    Returns:
        S x Z

    >>> walk(torch.zeros(2), 1, torch.tensor([-1.0, 1.0])).tolist()
    [[0.0, -1.0], [0.0, 1.0]]
    """
    points = z.repeat(len(values), 1)
    points[:, dimension] = values
    return points
