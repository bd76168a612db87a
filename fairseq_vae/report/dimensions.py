"""What dimensions and directions of mu say, as text. No model, no files."""

from typing import List

from ..measure.dimensions import Dimensions, End, OfTask, Reading
from .text import figure, grid

__all__ = ["WIDTH", "dimensions_text", "disentangled_table"]

WIDTH = 100  # characters of a sentence
SCORES = {"mig": "MIG", "sap": "SAP", "completeness": "completeness"}


def disentangled_table(found: OfTask) -> str:
    """How far the label stands in single dimensions, each score beside what permuted labels have.

    Args:
        found: see measure.dimensions
    """
    told = found.disentangled
    ranges = {name: " to ".join(figure(limit, 3) for limit in told[f"{name}_permuted"]) for name in SCORES}
    rows = [[heading, figure(told[name], 3), ranges[name]] for name, heading in SCORES.items()]
    title = f"{found.task}: the label in dimensions of mu ({found.sentences:,} of test)"
    return grid([[title, "score", "95 % of permuted labels"], *rows])


def dimensions_text(found: Dimensions) -> str:
    """Readings as lines: each direction with its correlations, and below it the sentences at its ends.

    Args:
        found: see measure.dimensions

    Returns:
        lines
    """
    lines = [f"correlations within {figure(found.noise, 2)} of 0 may be noise"]
    for reading in (*found.dimensions, *found.directions):
        lines += ["", heading(reading), *end("low", reading.low), *end("high", reading.high)]
    return "\n".join(lines)


def heading(reading: Reading) -> str:
    """A direction's name, weight and correlations."""
    labels = "".join(f", label {name} {reading.labels[name]:+.2f}" for name in reading.labels)
    return f"{reading.name}  variance of mu {figure(reading.weight, 3)}, length {reading.length:+.2f}{labels}"


def end(name: str, sentences: End) -> List[str]:
    """The lines of an end; a sentence is shown once."""
    shown = {sentences.shortest: "shortest"}
    shown.setdefault(sentences.longest, "longest")
    shown.setdefault(sentences.different, "most different")
    return [f"  {name:<4} {what:<14}  {cut(sentence)}" for sentence, what in shown.items()]


def cut(sentence: str) -> str:
    """A sentence in at most WIDTH characters.

    >>> len(cut("a " * 99)), cut("a dog")
    (100, 'a dog')
    """
    return sentence if len(sentence) <= WIDTH else sentence[: WIDTH - 2] + " …"
