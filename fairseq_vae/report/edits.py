"""The sweep of an edit as a table and as a picture."""

import os
from typing import Any, Dict, List, Optional, Sequence

from ..base.errors import InputError

__all__ = ["picture", "table", "verdicts"]

COLUMNS = (
    ("accuracy", "accuracy", 3),
    ("self_bleu", "self-BLEU", 1),
    ("fluency", "nats/token", 2),
    ("words", "words", 1),
)


def table(points: Sequence[Dict[str, Any]]) -> str:
    """Each way and strength as a line: mean and, behind +-, half of the 95 % interval over seeds.

    Args:
        points: of evaluate_edit's summary
    """
    rows = [["way", "strength", *(heading for _, heading, _ in COLUMNS)]]
    for point in points:
        rows.append(
            [point["way"], f"{point['strength']:g}", *(shown(point[key], digits) for key, _, digits in COLUMNS)]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
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
                f"{way}: no strength is better than one of {reference} in all figures, by their 95 % intervals"
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
    """A figure with its interval; a dash for None."""
    return "-" if point is None else f"{point.mean:.{digits}f} +- {point.half:.{digits}f}"


def picture(points: Sequence[Dict[str, Any]], path: str) -> None:
    """Draw accuracy against self-BLEU, and against fluency where it is known, a line for each way.

    Args:
        points: of evaluate_edit's summary
        path: .svg or .png

    Raises:
        InputError: matplotlib is not installed, or another ending
    """
    if os.path.splitext(path)[1] not in (".svg", ".png"):
        raise InputError(f"--picture {path}: expected a name that ends in .svg or .png")
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("--picture needs matplotlib: pip install matplotlib") from error
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    axes_of: List[Any] = [("self_bleu", "self-BLEU with the input (higher: more is kept)")]
    if any(point["fluency"] for point in points):
        axes_of.append(("fluency", "nats a token (lower: more fluent)"))
    figure, axes = plt.subplots(1, len(axes_of), figsize=(5.5 * len(axes_of), 4.2), squeeze=False, layout="constrained")
    for axis, (key, label) in zip(axes[0], axes_of):
        unchanged = [point for point in points if point["way"] == "input"]
        for point in unchanged if key == "fluency" else ():
            axis.axvline(point[key].mean, color="0.5", linestyle=":", linewidth=1, label="the inputs")
        for color, way in enumerate(dict.fromkeys(point["way"] for point in points if point not in unchanged)):
            some = [point for point in points if point["way"] == way and point[key] is not None]
            x, y = [point[key].mean for point in some], [100 * point["accuracy"].mean for point in some]
            bars = {"xerr": [point[key].half for point in some], "yerr": [100 * p["accuracy"].half for p in some]}
            axis.errorbar(
                x, y, **bars, color=f"C{color}", marker="o", markersize=4, linewidth=1.2, label=way, capsize=2
            )
            for point, across, up in zip(some, x, y):
                axis.annotate(f"{point['strength']:g}", (across, up), (4, 4), textcoords="offset points", fontsize=7)
        axis.set_xlabel(label, fontsize=9)
        axis.set_ylabel("edits with the target label, %", fontsize=9)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=9)
    temporary = f"{path}.part"
    figure.savefig(temporary, dpi=130, format=os.path.splitext(path)[1][1:])
    plt.close(figure)
    os.replace(temporary, path)
