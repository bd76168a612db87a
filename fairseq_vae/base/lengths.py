"""How long a sentence may be: what bounds it, in one place. No fairseq, no torch.

A sentence of n tokens is the source <s> w1 ... wn </s>, n + 2 positions, and the target w1 ... wn </s>, n + 1. A pair
is the source v1 ... vm </s>, m + 1 positions, and the target w1 ... wn </s>, n + 1.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

__all__ = ["Bounds", "Met", "pair_too_long", "told_apart", "too_long"]


class Met(NamedTuple):
    """A bound that a sentence does not keep.

    Attributes:
        flag: the flag that sets the bound
        value: its value
        needed: the smallest value at which the sentence fits
    """

    flag: str
    value: int
    needed: int

    def __str__(self) -> str:
        return f"{self.flag} is {self.value} ({self.needed} needed)"


class Bounds(NamedTuple):
    """What bounds the length of a sentence.

    >>> Bounds(source=64, target=32).longest, Bounds(source=32, target=32).longest
    (31, 30)
    >>> [str(met) for met in Bounds(source=64, target=32, batch=9).met_by(8)]
    ['--max-tokens is 9 (10 needed)']

    Attributes:
        source: positions of the model's encoder
        target: positions of its decoder; None: there is no target
        batch: tokens in a batch, where the longer one of source and target counts; None: not bounded
        batch_flag: the flag that sets `batch`
        read: whether the encoder reads the target of a pair too, with <s> in front
    """

    source: int
    target: Optional[int] = None
    batch: Optional[int] = None
    batch_flag: str = "--max-tokens"
    read: bool = False

    @property
    def longest(self) -> int:
        """The most tokens of a sentence, without <s> and </s>."""
        target = [] if self.target is None else [self.target - 1]
        batch = [] if self.batch is None else [self.batch - 2]
        return min([self.source - 2, *target, *batch])

    def met_by(self, tokens: int) -> List[Met]:
        """The bounds that a sentence does not keep.

        Args:
            tokens: of the sentence, without <s> and </s>

        Returns:
            none if the sentence fits
        """
        return self.met_by_pair(tokens + 2, tokens + 1)

    def met_by_pair(self, source: int, target: int) -> List[Met]:
        """The bounds that a pair does not keep.

        >>> [str(met) for met in Bounds(source=64, target=32, batch=70).met_by_pair(80, 32)]
        ['--max-source-positions is 64 (80 needed)', '--max-tokens is 70 (80 needed)']

        Args:
            source: positions of its source
            target: positions of its target; 0 without one

        Returns:
            none if the pair fits
        """
        read = target + 1 if self.read else 0
        rows = [
            ("--max-source-positions", self.source, max(source, read)),
            ("--max-target-positions", self.target, target),
            (self.batch_flag, self.batch, max(source, target)),
        ]
        return [Met(flag, value, needed) for flag, value, needed in rows if value is not None and needed > value]


def told_apart(
    resolved: Tuple[int, int],
    positions: Optional[Tuple[int, int]],
    has_target: bool,
    max_tokens: Optional[int] = None,
    max_tokens_valid: Optional[int] = None,
) -> Bounds:
    """The bounds of which fairseq has kept the smallest: it takes the tokens of a batch for positions of the model.

    >>> told_apart((9, 9), (64, 32), has_target=True, max_tokens=100, max_tokens_valid=9)
    Bounds(source=64, target=32, batch=9, batch_flag='--max-tokens-valid', read=False)

    Args:
        resolved: positions of source and target, or tokens of a batch where these are fewer
        positions: of the model; None: not known, `resolved` has no others
        has_target: whether sentences have a target
        max_tokens: of --max-tokens
        max_tokens_valid: of --max-tokens-valid
    """
    own = positions or resolved
    smaller = [given for given, position in zip(resolved, own) if given < position]
    batch = min(smaller) if smaller else None
    flag = "--max-tokens-valid" if batch == max_tokens_valid != max_tokens else "--max-tokens"
    return Bounds(own[0], own[1] if has_target else None, batch, flag)


def too_long(path: str, lengths: Dict[int, int], bounds: Bounds, trained: bool, skip_with: Optional[str]) -> str:
    """The message about sentences that are too long.

    Args:
        path: of the text
        lengths: number of the line to tokens without <s> and </s>, for each of the sentences
        bounds: that they do not keep
        trained: whether the model is trained, so that its positions are what they are
        skip_with: what to give to leave such sentences out; None: they cannot be left out
    """
    first = min(lengths)
    met = bounds.met_by(max(lengths.values()))
    return (
        f"{path}: line {first} of the text is too long, {lengths[first]} tokens where {bounds.longest} fit "
        f"(such lines: {len(lengths):,}); for the longest, {' and '.join(map(str, met))}. "
        f"{', or '.join(remedies('Shorten them', met, trained, skip_with))}"
    )


def pair_too_long(
    path: str, sizes: Dict[int, Tuple[int, int]], bounds: Bounds, trained: bool, skip_with: Optional[str]
) -> str:
    """The message about pairs of which a side is too long.

    >>> pair_too_long("data/train", {3: (80, 5), 7: (90, 6)}, Bounds(source=64, target=32), True, None)
    'data/train: the source of line 3 is too long (such lines: 2); for the longest, --max-source-positions is 64 (90 \
needed). Cut sources with --max-source-positions 64 and --truncate-source or --truncate-source-left'

    Args:
        path: of the text
        sizes: number of the line to positions of source and target, for each of the pairs
        bounds: that they do not keep
        trained, skip_with: as for too_long
    """
    first = min(sizes)
    source, target = (max(sides) for sides in zip(*sizes.values()))
    met = bounds.met_by_pair(source, target)
    side = "source" if bounds.met_by_pair(sizes[first][0], 0) else "target"
    most = min(bounds.source, bounds.batch or bounds.source)
    own = []
    if bounds.met_by_pair(source, 0):
        own.append(f"cut sources with --max-source-positions {most} and --truncate-source or --truncate-source-left")
    if bounds.met_by_pair(0, target):
        own.append("shorten targets")
    first_remedy = " and ".join(own)
    return (
        f"{path}: the {side} of line {first} is too long (such lines: {len(sizes):,}); for the longest, "
        f"{' and '.join(map(str, met))}. "
        f"{', or '.join(remedies(first_remedy[0].upper() + first_remedy[1:], met, trained, skip_with))}"
        f"{' (the encoder of bart_cvae reads <s> and the target, too)' if bounds.read else ''}"
    )


def remedies(own: str, met: List[Met], trained: bool, skip_with: Optional[str]) -> List[str]:
    """What to do about text that is too long.

    Args:
        own: the first remedy
        met: the bounds that are not kept
        trained, skip_with: as for too_long
    """
    raised = not trained or any(not bound.flag.endswith("-positions") for bound in met)
    more = [f"raise the flag{'s' if len(met) > 1 else ''}"] if raised else []
    return [own, *more, *([f"skip them with {skip_with}"] if skip_with else [])]
