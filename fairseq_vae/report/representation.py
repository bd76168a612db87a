"""Representations on tasks, as tables and as a picture of accuracy against the share of labels."""

import os
from typing import Any, List, Optional, Sequence

from ..base.errors import InputError
from ..measure.representation import MAJORITY
from ..represent import Summary
from . import drawing
from .text import grid

__all__ = ["check_picture", "picture", "shares", "tables"]

HEADINGS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "pearson": "Pearson", "spearman": "Spearman"}
TARGETS = {"label": "labels", "score": "scores"}


def tables(found: Sequence[Summary], name: str, extra: Sequence[str] = ()) -> str:
    """A task's tables, one for each figure of labels and one of scores: rows representations, columns shares or ways.

    Args:
        found: summaries, of this task and others
        name: the task's
        extra: further tables of the task, to stand behind these
    """
    own = [row for row in found if row.task == name]
    parts = []
    for figure in ("accuracy", "macro_f1"):
        if any(row.figure == figure for row in own):
            parts.append(table([row for row in own if row.figure == figure], f"{name}: {HEADINGS[figure]} on test"))
    scores = [row for row in own if row.target == "score"]
    if scores:
        parts.append(table(scores, f"{name}: correlation with the scores of test"))
    return "\n\n".join([*parts, *extra])


def table(rows: Sequence[Summary], title: str) -> str:
    """Summaries as aligned columns under a title."""
    columns = list(dict.fromkeys(column(row) for row in rows))
    cells = {(row.representation, column(row)): row for row in rows}
    names = list(dict.fromkeys(row.representation for row in rows))
    lines = [[title, *columns], *([name, *(cell(cells.get((name, one))) for one in columns)] for name in names)]
    return grid(lines)


def column(row: Summary) -> str:
    """The heading of a summary's column.

    >>> column(Summary("reviews", "label", "mu", "logistic", 0.1, 2000, "accuracy", 0.7, 0.1))
    '10 % (2,000)'
    >>> column(Summary("pairs", "score", "mu", "cosine", None, 0, "pearson", 0.7, None))
    'cosine, Pearson'
    """
    if row.target == "label":
        return f"{100 * (row.share or 0):g} % ({row.labels:,})"
    return f"{row.method}{f' ({row.labels:,})' if row.labels else ''}, {HEADINGS[row.figure]}"


def cell(row: Optional[Summary]) -> str:
    """A figure with its interval; a dash for none."""
    if row is None or row.mean != row.mean:
        return "-"
    return f"{row.mean:.3f}" + ("" if row.half is None else f" ± {row.half:.3f}")


def check_picture(path: str) -> None:
    """Refuse a picture that could not be drawn; worth a call before a long measurement.

    Raises:
        InputError: matplotlib is not installed, or another ending
    """
    if os.path.splitext(path)[1] not in (".svg", ".png"):
        raise InputError(f"--picture {path}: expected a name that ends in .svg or .png")
    with drawing.style("--picture"):
        pass


def picture(found: Sequence[Summary], path: str) -> None:
    """Draw `shares` into a file.

    Args:
        found: summaries
        path: .svg or .png

    Raises:
        InputError: as of check_picture
    """
    check_picture(path)
    with drawing.style("--picture"):
        drawing.save(shares(found), path)


def shares(found: Sequence[Summary]) -> Any:
    """A figure of accuracy against the number of labels, a panel for each task with shares, a line a representation.

    Drawn within drawing.style.

    Args:
        found: summaries
    """
    rows = [row for row in found if row.figure == "accuracy"]
    tasks = [name for name in dict.fromkeys(row.task for row in rows) if len(sizes(rows, name)) > 1]
    [panels] = drawing.axes(1, max(1, len(tasks)), 5.5 * max(1, len(tasks)) + 1.6, 4.2)
    names = list(dict.fromkeys(row.representation for row in rows if row.representation != MAJORITY))
    for panel, task in zip(panels, tasks):
        for number, name in enumerate(names):
            line = [row for row in rows if row.task == task and row.representation == name]
            aside = 1.03 ** (number - (len(names) - 1) / 2)  # bars stand beside one another
            panel.errorbar(
                [row.labels * aside for row in line],
                [100 * row.mean for row in line],
                yerr=[100 * (row.half or 0) for row in line],
                color=drawing.SAFE[number % len(drawing.SAFE)],
                marker=drawing.MARKERS[number % len(drawing.MARKERS)],
                linestyle="-" if number < len(drawing.SAFE) else "--",  # colours come round
                **{"linewidth": 1.2, "markersize": 4, "capsize": 2, "label": name},
            )
        least = [row for row in rows if row.task == task and row.representation == MAJORITY]
        if least:
            panel.axhline(100 * least[-1].mean, color="0.5", linestyle=":", linewidth=1, label="commonest label")
        ticks = sizes(rows, task)
        panel.set_xscale("log")
        panel.set_xticks(ticks, [f"{size:,}" for size in ticks])
        panel.set_xticks([], minor=True)
        panel.set_title(task)
        panel.set_xlabel("labels of training")
        panel.set_ylabel("accuracy on test, %")
    if tasks:
        entries = zip(*panels[-1].get_legend_handles_labels())  # those without bars would stand first
        ordered = sorted(entries, key=lambda entry: entry[1] == "commonest label")
        panels[-1].legend(*zip(*ordered), loc="center left", bbox_to_anchor=(1.01, 0.5))
    return panels[0].figure


def sizes(rows: Sequence[Summary], task: str) -> List[int]:
    """The numbers of labels of a task's shares."""
    return sorted({row.labels for row in rows if row.task == task})
