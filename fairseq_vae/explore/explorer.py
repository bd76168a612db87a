"""What the page shows of each step, without the page."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ..base.errors import InputError
from ..base.lines import one_line
from ..base.lines import sentence as stripped
from ..edit.attributes import Label
from ..edit.ways import Wish
from ..hub import BARTVAEHubInterface

__all__ = ["Explorer", "Shown"]

MOST = 100  # samples at a time: they are there to be read
FAILURES = (ValueError, RuntimeError, MemoryError)  # of a step; torch tells of a full memory by a RuntimeError


class Shown(NamedTuple):
    """What a step shows.

    Attributes:
        texts: sentences, each in one line
        message: a line on the input: why there are no texts, or what the model could not read; "": nothing
    """

    texts: List[str]
    message: str = ""


class Explorer:
    """Steps in z: each is what the hub interface gives for it, and bad input becomes a message.

    Args:
        vae: the model
        decoding: as for its decode
        attribute: to edit by; None: there are no edits
    """

    def __init__(self, vae: BARTVAEHubInterface, decoding: Dict[str, Any], attribute: Optional[Label] = None):
        self.vae, self.attribute = vae, attribute
        self.seed: int = decoding.get("seed", 1)
        self.decoding = {name: value for name, value in decoding.items() if name != "seed"}

    @property
    def dimensions(self) -> int:
        """Dimensions of z, Z."""
        return self.vae.model.latent_dim

    def between(self, a: str, b: str, t: float, path: str) -> Shown:
        """The sentence at t of the path from a to b; at 0 and 1 it is their reconstruction."""
        return self.shown([a, b], lambda: self.vae.between(a, b, [t], path, seed=self.seed, **self.decoding))

    def own_value(self, sentence: str, dimension: Optional[float]) -> Optional[float]:
        """The value that a dimension of a sentence's mean z has; None where sentence or dimension cannot be."""
        try:
            return float(self.vae.encode(sentence).mean[0, self.checked(dimension)])
        except FAILURES:  # the walk says why
            return None

    def walk(self, sentence: str, dimension: Optional[float], value: float) -> Shown:
        """The sentence with one dimension of its mean z set to a value."""

        def step() -> List[str]:
            place = self.checked(dimension)
            return self.vae.traverse(sentence, place, [value], seed=self.seed, **self.decoding)

        return self.shown([sentence], step)

    def sample(self, number: Optional[float], seed: Optional[float]) -> Shown:
        """New sentences from the prior: those of `fairseq-vae sample` with this seed."""

        def step() -> List[str]:
            count, given = whole("number of sentences", number, 1, MOST), whole("seed", seed, 0, 2**32 - 1)
            return self.vae.sample(count, seed=given, **self.decoding)

        return self.shown([], step)

    def edit(self, sentence: str, label: str, way: str, strength: float) -> Shown:
        """The sentence moved towards a label; at strength 0 it is its reconstruction."""

        def step() -> List[str]:
            if self.attribute is None:
                raise InputError("no attribute was learned: give labelled sentences, --text FILE --labels FILE")
            wish = Wish(self.attribute, self.attribute.numbers([label]).to(self.vae.device))
            [edited] = self.vae.edit(sentence, [wish], way, [strength], seed=self.seed, **self.decoding)
            return edited

        return self.shown([sentence], step)

    def checked(self, dimension: Optional[float]) -> int:
        return whole("dimension", dimension, 0, self.dimensions - 1)

    def shown(self, sentences: Sequence[str], step: Callable[[], List[str]]) -> Shown:
        """The outcome of a step that reads some sentences. A step that fails does not end the page."""
        try:
            if not all(map(stripped, sentences)):
                raise InputError("Type a sentence." if len(sentences) == 1 else "Type two sentences.")
            return Shown(list(map(one_line, step())), " ".join(filter(None, map(self.unread, sentences))))
        except FAILURES as error:
            return Shown([], one_line(str(error)) or type(error).__name__)

    def unread(self, sentence: str) -> str:
        """A line on the tokens that the dictionary lacks, if there are any."""
        tokens = self.vae.tokens(sentence)[:-1]
        unknown = int((tokens == self.vae.task.source_dictionary.unk()).sum())
        if not unknown:
            return ""
        return f"{unknown} of the {len(tokens)} tokens of {sentence[:60]!r} are not in the model's dictionary."


def whole(name: str, value: Optional[float], least: int, most: int) -> int:
    """A whole number that was typed.

    >>> whole("seed", 3.0, 0, 9)
    3

    Raises:
        InputError: it is none, or not within the bounds
    """
    if value is None or not least <= value <= most or value != int(value):
        raise InputError(f"{name} {'is empty' if value is None else f'{value:g}'}: expected {least} to {most}")
    return int(value)
