"""Pictures by matplotlib, into files or as SVG within a page, whose colours they take. Nothing global is changed."""

import contextlib
import html
import io
import os
import re
from typing import Any, Dict, Iterator

from ..base.errors import InputError
from ..base.files import write

__all__ = ["MARKERS", "PALETTE", "SAFE", "axes", "inline", "save", "style"]

INK = "#101112"  # of text and lines: in a page, the page's own
PALETTE = (  # in a page --c0 to --c9, which may differ in the dark
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
# told apart by those who do not see red or green: Okabe & Ito's without yellow and black, https://jfly.uni-koeln.de/color
SAFE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
NAMELESS = {"Date": None, "Creator": None}  # of an SVG: the same picture, the same bytes
STYLE: Dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "fairseq-vae",
    "text.parse_math": False,  # a dollar is a dollar
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.prop_cycle": f"cycler('color', {list(PALETTE)})",
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **{"axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.25, "axes.titlelocation": "left"},
    **{"axes.titlesize": 11, "axes.labelsize": 9, "legend.fontsize": 9, "xtick.labelsize": 9, "ytick.labelsize": 9},
}


@contextlib.contextmanager
def style(what: str) -> Iterator[None]:
    """The settings of every picture, within a block.

    Args:
        what: the flag or command that needs it, for the message

    Raises:
        InputError: matplotlib is not installed
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError(f"{what} needs matplotlib: pip install matplotlib") from error
    with matplotlib.rc_context(STYLE):
        yield


def axes(rows: int, columns: int, width: float, height: float, **options: Any) -> Any:
    """An array of axes, rows x columns, in a new figure; within `style`.

    Args:
        rows: of axes
        columns: of axes
        width: of the figure, inches
        height: of the figure, inches
        options: of matplotlib's Figure.subplots
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots(rows, columns, squeeze=False, **options)


def save(figure: Any, path: str) -> None:
    """Write a picture in the format that its name ends in, .svg or .png, whole or not at all.

    Raises:
        NotWritten: the system does not let it
    """
    kind, stream = os.path.splitext(path)[1][1:], io.BytesIO()
    figure.savefig(stream, dpi=130, format=kind, metadata=NAMELESS if kind == "svg" else None)
    write(path, stream.getvalue())


def inline(figure: Any, name: str, title: str) -> str:
    """A picture as an <svg> element for a page: it asks for no file, and takes the page's font and colours.

    Args:
        figure: drawn within `style`
        name: of letters, unlike those of the page's other pictures; its ids begin with it
        title: what it shows, for those who do not see it; plain words

    Returns:
        HTML. Texts within it are escaped by matplotlib
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata=NAMELESS)
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", stream.getvalue(), flags=re.DOTALL)
    head, body = svg[svg.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', head)
    assert box is not None, "matplotlib writes one"
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{name}-", body).replace("xlink:href", "href")
    body = re.sub(r"(font: (?:[\w.]+ )*[\d.]+px) [^;\"]+", r"\1 var(--font)", body)
    body = re.sub(r"font-family: [^;\"]+", "font-family: var(--font)", body)
    body = body.replace(INK, "currentColor")
    for number, color in enumerate(PALETTE):
        body = body.replace(color, f"var(--c{number})")
    return f'<svg class="chart" viewBox="{box.group(1)}" role="img" aria-label="{html.escape(title)}">{body}'.strip()
