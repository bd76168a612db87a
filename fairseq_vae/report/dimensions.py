"""What dimensions and directions of mu say, as text. No model, no files."""

from typing import List

from ..measure.dimensions import Dimensions, End, Reading
from .text import figure

__all__ = ["WIDTH", "dimensions_text"]

WIDTH = 100  # characters of a sentence


def dimensions_text(found: Dimensions) -> str:
    """Readings as lines: each direction with its correlations, and below it the sentences at its ends.

    Args:
        found: see measure.dimensions

    Returns:
        lines, each with its end
    """
    lines = [f"correlations within {figure(found.noise, 2)} of 0 may be noise"]
    for readings, weight in ((found.dimensions, found.ordered_by), (found.directions, "variance of mu")):
        for reading in readings:
            lines += ["", heading(reading, weight), *end("low", reading.low), *end("high", reading.high)]
    return "\n".join(lines) + "\n"


def heading(reading: Reading, weight: str) -> str:
    """A direction's name, weight and correlations."""
    nats = " nats" if weight == "KL" else ""
    labels = "".join(f", label {name} {reading.labels[name]:+.2f}" for name in reading.labels)
    return f"{reading.name}  {weight} {figure(reading.weight, 3)}{nats}, length {reading.length:+.2f}{labels}"


def end(name: str, sentences: End) -> List[str]:
    """The lines of an end; a sentence is shown once."""
    words = {"shortest": sentences.shortest, "longest": sentences.longest, "most different": sentences.different}
    shown = {sentence: what for what, sentence in reversed(list(words.items()))}
    return [f"  {name:<4} {what:<14}  {cut(s)}" for s, what in reversed(list(shown.items()))]


def cut(sentence: str) -> str:
    """A sentence in at most WIDTH characters.

    >>> len(cut("a " * 99)), cut("a dog")
    (100, 'a dog')
    """
    return sentence if len(sentence) <= WIDTH else sentence[: WIDTH - 2] + " …"
