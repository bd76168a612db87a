"""A run as one page of HTML that asks for no other file. The words and the look stand in page.html."""

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..base.errors import InputError
from ..measure.papers import Numbers
from . import drawing, edits
from .contents import Contents
from .curves import Part, bars, curves
from .scatter import Map
from .text import figures

__all__ = ["MOST_BYTES", "PhaseShown", "Shown", "page"]

MOST_BYTES = 5_000_000


class PhaseShown(NamedTuple):
    """A phase of the training.

    Attributes:
        wanted: updates at most, as its flag says
        updates: as far as it has come; 0: it has not begun
        flags: of fairseq-train, without dashes
        part: its name and curves
    """

    wanted: str
    updates: int
    flags: Mapping[str, str]
    part: Part


class Shown(NamedTuple):
    """All that a page shows.

    Attributes:
        name: of the run
        version: of this package
        lacks: a sentence for each thing that is missing; `page` adds an evaluation that it cannot show
        phases: in order
        kl_dims: KL of each dimension, nats per sentence; None: not known
        kl_source: what they are of
        free_bits: nats of each dimension that cost nothing in its training; None: none, or not of single dimensions
        evaluation: of evaluate; None without one
        model: the checkpoint's name within the run; None without one
        source: what the sentences are of
        contents: of the model; None without one
        map: of its posterior means; None without any
        points: of evaluate_edit's summary; None without a sweep
        samples: sentences to reconstruct and to sample, as many as were asked for
        seed: of the choice of sentences and of the samples
    """

    name: str
    version: str
    lacks: List[str]
    phases: Sequence[PhaseShown]
    kl_dims: Optional[Sequence[float]]
    kl_source: str
    free_bits: Optional[float]
    evaluation: Optional[Numbers]
    model: Optional[str]
    source: str
    contents: Optional[Contents]
    map: Optional[Map]
    points: Optional[Sequence[Dict[str, Any]]]
    samples: int
    seed: int


def page(shown: Shown) -> str:
    """The page, in at most MOST_BYTES; the same for the same `shown`.

    Args:
        shown: all that it shows; any text in it is escaped

    Raises:
        InputError: jinja2 or matplotlib is not installed, or the page is too large
    """
    try:
        import jinja2
    except ImportError as error:
        raise InputError("report needs jinja2: pip install jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = lambda number: f"{float(number):.3g}"
    table, damaged = None, "evaluation.json is damaged or of another version: its table is missing."
    if shown.evaluation is not None:
        try:
            table = figures(shown.evaluation)
            shown.evaluation["split"], shown.evaluation["signature"]  # which the page needs too
        except (LookupError, TypeError, ValueError, AttributeError):
            table = None
            if damaged not in shown.lacks:
                shown.lacks.append(damaged)
    html = environment.get_template("page.html").render(
        shown._asdict(),
        table=table,
        begun=[phase.part for phase in shown.phases if phase.updates],
        pictures=pictures(shown),
        sweep=edits.cells(shown.points) if shown.points else None,
        scale=scale(shown.map) if shown.map else None,
        palette=len(drawing.PALETTE),
    )
    size = len(html.encode("utf-8"))
    if size > MOST_BYTES:
        raise InputError(
            f"the page would have {size / 1e6:.1f} MB, above {MOST_BYTES / 1e6:.0f}: lower --points or --samples"
        )
    return html


def pictures(shown: Shown) -> Dict[str, Any]:
    """The page's pictures by name, as <svg> elements; None where there is nothing to draw."""
    from markupsafe import Markup

    begun = [phase.part for phase in shown.phases if phase.updates]
    found: Dict[str, Any] = dict.fromkeys(("curves", "bars", "sweep"))
    with drawing.style("report"):
        if begun:
            title = "Curves of reconstruction, KL, beta and active units over updates"
            found["curves"] = Markup(drawing.inline(curves(begun), "curves", title))
        if shown.kl_dims:
            figure = bars(shown.kl_dims, shown.free_bits)
            found["bars"] = Markup(drawing.inline(figure, "bars", "KL of each dimension as bars"))
        if shown.points:
            title = "Accuracy of edits against self-BLEU and fluency"
            found["sweep"] = Markup(drawing.inline(edits.sweep(shown.points), "sweep", title))
    return found


def scale(found: Map) -> Dict[str, float]:
    """A round length of the map's plane, at most a quarter of its picture, and how long it is drawn.

    >>> scale(Map("pca", 640, [], [], True, 50.0, None, 0))
    {'length': 2.0, 'drawn': 100.0}
    """
    most = found.size / 4 / found.unit
    powers = [digit * 10.0**power for power in range(-12, 13) for digit in (1, 2, 5)]
    length = max((value for value in powers if value <= most), default=most)
    return {"length": length, "drawn": round(length * found.unit, 1)}
