"""Dialogs, and the pairs of a context and a response that they hold, as text.

What is left out or cut is counted in a tally, from what it is, in the plural, to how often.
"""

import functools
import importlib.util
import itertools
import json
import os
import random
import re
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union
from typing import Counter as Counts

from .errors import InputError
from .lines import whole_lines

__all__ = [
    "Dialog",
    "Layout",
    "Pair",
    "Utterance",
    "joined",
    "lowered",
    "paired",
    "pairs",
    "parted",
    "profanity",
    "read_chitchat",
    "read_dialogs",
    "references",
    "split_dialogs",
]

CHITCHAT = "chitchat-dataset==0.9.0"
COLUMNS = (
    "expected 3 (conversation, speaker, utterance) or 4 (conversation, speaker, act, utterance), tabs between them"
)
HEADING = ("conversation", "speaker")  # as a first line of names may begin
CONTINUED, NONVERBAL = "+", "x"  # acts of Switchboard: goes on with the speaker's utterance before; has no words
NOTE = re.compile(r"\s*(?:<[^<>]*>|\*.*)")  # of a transcriber: of a noise, or on the line, up to its end
HELD_OUT = 0.03  # share of the conversations in valid, and in test


class Utterance(NamedTuple):
    speaker: str
    text: str


Dialog = List[Utterance]
Tally = Counts[str]


class Pair(NamedTuple):
    source: str
    target: str


class Layout(NamedTuple):
    """How a context is written.

    Attributes:
        context: most utterances of it
        separator: between two of them
        marks: before an utterance of the one who responds, and before one of anybody else
        max_words: most words of a context as it is written, and of a response; None: any number
    """

    context: int = 9
    separator: str = " | "
    marks: Tuple[str, str] = ("me:", "you:")
    max_words: Optional[int] = None


def clean(text: str) -> str:
    """A text as one line without tabs: a space in place of each run of white space, and none at the ends.

    A byte order mark counts as white space, as where lines are read.
    """
    return " ".join(text.replace("\ufeff", " ").split())


def spoken(text: str) -> str:
    """What is spoken in a transcribed utterance: without the transcriber's notes; "" if no letter or digit is left.

    >>> spoken("Oh, boy <laughter>. *typo")
    'Oh, boy.'
    """
    text = NOTE.sub("", text)
    return text if re.search(r"\w", text) else ""


def read_dialogs(path: Union[str, "os.PathLike[str]"], tally: Tally) -> List[Dialog]:
    """Read a file of `conversation TAB speaker TAB utterance`, or with the utterance's act before it.

    Lines of a conversation stand together, in order. Those with acts are taken for transcribed speech: notes go, an
    utterance of the act `+` is the end of the one that its speaker was interrupted in, and one of the act `x` is none.

    Args:
        path: of a text file, or of one packed by gzip if its name ends in .gz
        tally: adds utterances that are empty, and those that had notes

    Raises:
        InputError: a line has other columns, a conversation comes in two places, or the file is none of text
    """
    dialogs: Dict[str, Dialog] = {}
    columns, before = 0, None
    for number, line in enumerate(whole_lines(path, packed=True), 1):
        fields = line.lstrip("\ufeff").split("\t")
        columns = columns or len(fields)
        where = f"{os.fspath(path)}, line {number}"
        if columns not in (3, 4):
            raise InputError(f"{where}: {len(fields)} columns; {COLUMNS}")
        if len(fields) != columns:
            raise InputError(f"{where}: {len(fields)} columns, {columns} in the lines before; {COLUMNS}")
        *names, text = fields
        conversation, speaker, act = map(str.strip, (*names, "")[:3])
        if number == 1 and (conversation.lower(), speaker.lower()) == HEADING:
            raise InputError(f"{where}: names of columns, which none has: remove the line")
        if not conversation or not speaker:
            raise InputError(f"{where}: no name of the conversation or of the speaker; {COLUMNS}")
        if conversation != before and conversation in dialogs:
            raise InputError(
                f"{where}: conversation {conversation} again, after another one; expected its lines together, in "
                "order: sort them, or give it another name"
            )
        before = conversation
        dialog = dialogs.setdefault(conversation, [])
        if columns == 4:
            tally["utterances with notes of a transcriber, taken out"] += bool(NOTE.search(text))
            text = "" if act == NONVERBAL else spoken(text)
        add(dialog, Utterance(speaker, clean(text)), act == CONTINUED, tally)
    return list(dialogs.values())


def add(dialog: Dialog, utterance: Utterance, continued: bool, tally: Tally) -> None:
    """Add an utterance to its dialog, or its text to the speaker's last one; an empty one to the tally alone."""
    own = [number for number, other in enumerate(dialog) if other.speaker == utterance.speaker] if continued else []
    if not utterance.text:
        tally["utterances without text, left out"] += 1
    elif own:
        dialog[own[-1]] = Utterance(utterance.speaker, f"{dialog[own[-1]].text} {utterance.text}")
    else:
        dialog.append(utterance)


def read_chitchat(tally: Tally) -> List[Dialog]:
    """The conversations of the package chitchat-dataset, a message an utterance; found without importing the package.

    Args:
        tally: adds messages that are empty

    Raises:
        InputError: it is not installed
    """
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise InputError(f"the package chitchat-dataset is missing: pip install {CHITCHAT}")
    conversations = json.loads(Path(spec.origin).with_name("dataset.json").read_text(encoding="utf-8"))
    dialogs: List[Dialog] = []
    for conversation in conversations.values():
        dialogs.append([])
        for message in itertools.chain(*conversation["messages"]):
            add(dialogs[-1], Utterance(message["sender"], clean(message["text"])), False, tally)
    return dialogs


def profanity() -> Callable[[str], bool]:
    """Whether a text has a word that the package better-profanity lists.

    Raises:
        InputError: it is not installed
    """
    try:
        from better_profanity import profanity
    except ImportError as error:
        raise InputError("--profanity-filter: pip install better-profanity==0.7.0") from error
    listed = functools.lru_cache(maxsize=None)(profanity.contains_profanity)
    return lambda text: any(map(listed, re.findall(r"[a-z']+", text.lower())))


def split_dialogs(dialogs: Sequence[Dialog], seed: int) -> Dict[str, List[Dialog]]:
    """Split at random by conversation: 3 % for valid, 3 % for test, one each at least; order stays within a split.

    Raises:
        InputError: there are fewer than three
    """
    if len(dialogs) < 3:
        raise InputError(f"{len(dialogs)} conversations: expected 3 or more, to split them by conversation")
    order = random.Random(seed).sample(range(len(dialogs)), len(dialogs))
    held = max(1, round(HELD_OUT * len(dialogs)))
    numbers = {"train": order[2 * held :], "valid": order[:held], "test": order[held : 2 * held]}
    return {split: [dialogs[number] for number in sorted(chosen)] for split, chosen in numbers.items()}


def lowered(dialog: Dialog) -> Dialog:
    """A dialog in lower case.

    >>> lowered([Utterance("A", "Oh")])
    [Utterance(speaker='A', text='oh')]
    """
    return [Utterance(speaker, text.lower()) for speaker, text in dialog]


def joined(dialog: Dialog) -> Dialog:
    """A dialog whose speakers take turns: consecutive utterances of one speaker are one.

    >>> joined([Utterance("A", "oh"), Utterance("A", "well"), Utterance("B", "yes")])
    [Utterance(speaker='A', text='oh well'), Utterance(speaker='B', text='yes')]
    """
    turns = itertools.groupby(dialog, key=lambda utterance: utterance.speaker)
    return [Utterance(speaker, " ".join(utterance.text for utterance in turn)) for speaker, turn in turns]


def parted(dialog: Dialog, unwanted: Callable[[str], bool], tally: Tally) -> List[Dialog]:
    """What is left of a dialog before, between and after its unwanted utterances, each part a dialog of its own.

    Args:
        dialog: of any length
        unwanted: of an utterance's text
        tally: adds the unwanted ones
    """
    parts: List[Dialog] = [[]]
    for utterance in dialog:
        if unwanted(utterance.text):
            tally["utterances with profanity, where a conversation is parted"] += 1
            parts.append([])
        else:
            parts[-1].append(utterance)
    return [part for part in parts if part]


def pairs(dialog: Dialog, layout: Layout, tally: Tally) -> Iterator[Pair]:
    """Each utterance but the first as a response to those before it.

    Args:
        dialog: of any length
        layout: of the context
        tally: adds what is too long for it

    >>> from collections import Counter
    >>> dialog = [Utterance("A", "hello"), Utterance("B", "hi"), Utterance("A", "who is it ?")]
    >>> for pair in pairs(dialog, Layout(), Counter()):
    ...     print(*pair, sep=" -> ")
    you: hello -> hi
    me: hello | you: hi -> who is it ?
    """
    own, other = layout.marks
    for number, (speaker, target) in enumerate(dialog[1:], 1):
        if exceeds(target, layout):
            tally["responses longer than --max-words, left out"] += 1
            continue
        context = dialog[max(0, number - layout.context) : number]
        parts = [clean(f"{own if said.speaker == speaker else other} {said.text}") for said in context]
        kept = next((n for n in range(len(parts)) if not exceeds(layout.separator.join(parts[n:]), layout)), None)
        if kept is None:
            tally["responses whose context's last utterance is longer than --max-words, left out"] += 1
            continue
        tally["contexts cut to --max-words, at their start"] += kept > 0
        yield Pair(layout.separator.join(parts[kept:]), target)


def paired(
    dialogs: Sequence[Dialog],
    layout: Layout,
    tally: Tally,
    join_turns: bool = False,
    unwanted: Optional[Callable[[str], bool]] = None,
) -> List[List[Pair]]:
    """The pairs of each dialog that has one.

    Args:
        dialogs: of any number
        layout: of the contexts
        tally: adds what is left out or cut
        join_turns: whether consecutive utterances of one speaker are one
        unwanted: of an utterance's text, see parted; None wants all
    """
    result = []
    for dialog in dialogs:
        dialog = joined(dialog) if join_turns else dialog
        parts = parted(dialog, unwanted, tally) if unwanted else [dialog]
        tally["conversations without two utterances, left out"] += all(len(part) < 2 for part in parts)
        for utterance in dialog:
            tally["utterances that hold the separator, as they are"] += layout.separator in f" {utterance.text} "
        found = [pair for part in parts for pair in pairs(part, layout, tally)]
        result += [found] if found else []
    return result


def exceeds(text: str, layout: Layout) -> bool:
    """Whether a text has more words than the layout takes."""
    return layout.max_words is not None and len(text.split()) > layout.max_words


def references(found: Sequence[Pair]) -> Dict[str, List[str]]:
    """The responses of each different context, both in order; equal responses stay.

    >>> references([Pair("a", "b"), Pair("c", "d"), Pair("a", "e")])
    {'a': ['b', 'e'], 'c': ['d']}
    """
    result: Dict[str, List[str]] = {}
    for source, target in found:
        result.setdefault(source, []).append(target)
    return result
