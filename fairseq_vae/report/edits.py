"""The sweep of an edit as a table and as a picture."""

import math
import os
from typing import Any, Dict, List, Optional, Sequence

from ..base.errors import InputError
from . import drawing

__all__ = ["cells", "check_picture", "picture", "sweep", "table", "verdicts"]

COLUMNS = (
    ("accuracy", "accuracy", 3),
    ("self_bleu", "self-BLEU", 1),
    ("fluency", "nats/token", 2),
    ("words", "words", 1),
)


def cells(points: Sequence[Dict[str, Any]]) -> List[List[str]]:
    """Rows of a table, the headings first: each way and strength with means and half of their 95 % intervals.

    Args:
        points: of evaluate_edit's summary
    """
    rows = [["way", "strength", *(heading for _, heading, _ in COLUMNS)]]
    for point in points:
        figures = (shown(point[key], digits) for key, _, digits in COLUMNS)
        rows.append([point["way"], f"{point['strength']:g}", *figures])
    return rows


def table(points: Sequence[Dict[str, Any]]) -> str:
    """The rows of `cells` as aligned columns.

    Args:
        points: of evaluate_edit's summary
    """
    rows = cells(points)
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def verdicts(found: Dict[str, Any], reference: str = "vector") -> str:
    """A line for each way: the point at which it dominates the reference, or that there is none.

    Args:
        found: of evaluate_edit's dominance
        reference: the way that the others are compared with
    """
    lines = []
    for way, best in found.items():
        if best is None:
            lines.append(
                f"{way}: no strength has more accuracy at no less self-BLEU and fluency than one of {reference}"
            )
            continue
        gains = [f"accuracy {signed(best.accuracy, 3)}", f"self-BLEU {signed(best.self_bleu, 1)}"]
        if best.fluency is not None:
            gains.append(f"nats/token {signed(best.fluency, 2)}")
        lines.append(f"{way} {best.strength:g} dominates {reference} {best.other:g}: {', '.join(gains)}")
    return "\n".join(lines)


def signed(point: Any, digits: int) -> str:
    """A difference with its sign and its interval."""
    return f"{point.mean:+.{digits}f} +- {point.half:.{digits}f}"


def shown(point: Optional[Any], digits: int) -> str:
    """A figure, with its interval if there is one; a dash for None."""
    if point is None:
        return "-"
    return f"{point.mean:.{digits}f}" + ("" if math.isnan(point.half) else f" +- {point.half:.{digits}f}")


def picture(points: Sequence[Dict[str, Any]], path: str) -> None:
    """Draw the sweep, see `sweep`.

    Args:
        points: of evaluate_edit's summary
        path: .svg or .png

    Raises:
        InputError: matplotlib is not installed, or another ending
    """
    check_picture(path)
    with drawing.style("--picture"):
        drawing.save(sweep(points), path)


def check_picture(path: str) -> None:
    """Refuse a picture that could not be drawn; worth a call before a long sweep.

    Raises:
        InputError: as of picture
    """
    if os.path.splitext(path)[1] not in (".svg", ".png"):
        raise InputError(f"--picture {path}: expected a name that ends in .svg or .png")
    with drawing.style("--picture"):
        pass


def sweep(points: Sequence[Dict[str, Any]]) -> Any:
    """A figure of accuracy against self-BLEU, and against fluency where it is known, a line for each way.

    Drawn within drawing.style.

    Args:
        points: of evaluate_edit's summary
    """
    kinds = [("self_bleu", "self-BLEU with the input (higher: more is kept)")]
    if any(point["fluency"] for point in points):
        kinds.append(("fluency", "nats a token (lower: more fluent)"))
    [axes] = drawing.axes(1, len(kinds), 5.5 * len(kinds), 4.2)
    for axis, (key, label) in zip(axes, kinds):
        unchanged = [point for point in points if point["way"] == "input"]
        for point in unchanged if key == "fluency" else ():
            if point[key] is not None:
                axis.axvline(point[key].mean, color="0.5", linestyle=":", linewidth=1, label="the inputs")
        for color, way in enumerate(dict.fromkeys(point["way"] for point in points if point not in unchanged)):
            some = [point for point in points if point["way"] == way and point[key] is not None]
            x, y = [point[key].mean for point in some], [100 * point["accuracy"].mean for point in some]
            bars = {"xerr": [point[key].half for point in some], "yerr": [100 * p["accuracy"].half for p in some]}
            look = {"color": drawing.PALETTE[color % len(drawing.PALETTE)], "linewidth": 1.2, "capsize": 2}
            axis.errorbar(x, y, **bars, **look, marker="o", markersize=4, label=way)
            for point, across, up in zip(some, x, y):
                axis.annotate(f"{point['strength']:g}", (across, up), (4, 4), textcoords="offset points", fontsize=7)
        axis.set_xlabel(label)
        axis.set_ylabel("edits with the target label, %")
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    return axes[0].figure
