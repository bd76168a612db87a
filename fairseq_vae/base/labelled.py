"""Folders of tasks: labelled sentences, or pairs of sentences with a score and perhaps a label.

The files of a folder tell which task it is, each of them as it is or packed by gzip (.gz):

    {train,valid,test}.txt and {train,valid,test}.labels    a sentence a line, and its label
    {train,valid,test}.tsv                                  a pair a line: score, sentence, sentence; perhaps a label
"""

import math
import os
from typing import Dict, List, NamedTuple, Optional, Tuple

from .errors import InputError
from .lines import sentence, whole_lines

__all__ = ["SPLITS", "Split", "Task", "read_task"]

SPLITS = ("train", "valid", "test")
LAYOUT = (
    "expected train, valid and test as .txt with .labels (a sentence and a label a line), or as .tsv (score, sentence, "
    "sentence and perhaps a label, tabs between them), each perhaps .gz"
)


class Split(NamedTuple):
    """The items of a split.

    Attributes:
        file: of the sentences, for messages
        texts: the N sentences, or the N first and the N second sentences of pairs
        labels: of each item; None: there are none
        scores: of each pair; None of sentences
    """

    file: str
    texts: Tuple[List[str], ...]
    labels: Optional[List[str]]
    scores: Optional[List[float]]

    @property
    def size(self) -> int:
        """N"""
        return len(self.texts[0])


class Task(NamedTuple):
    """A task's name, that of its folder, and its splits by name."""

    name: str
    splits: Dict[str, Split]

    @property
    def kind(self) -> str:
        """What is to be told: `classification`, `similarity`, or `entailment` beside similarity."""
        train = self.splits["train"]
        if train.scores is None:
            return "classification"
        return "similarity" if train.labels is None else "entailment"


def read_task(folder: str) -> Task:
    """Read a task.

    Raises:
        InputError: the folder has not the files of one task, or a line of them cannot be used: an empty sentence or
            label, another number of lines or columns, a score that is no number or beyond those of train, a label that
            train has not, or train has one label alone
    """
    if not os.path.isdir(folder):
        raise InputError(f"--task {folder}: no such folder; {LAYOUT}")
    of_pairs = {split: found(folder, f"{split}.tsv") for split in SPLITS}
    of_texts = {split: found(folder, f"{split}.txt") for split in SPLITS}
    if any(of_pairs.values()) and any(of_texts.values()):
        raise InputError(f"--task {folder} has files of sentences, .txt, and of pairs, .tsv: {LAYOUT}")
    read = read_pairs if any(of_pairs.values()) else read_texts
    task = Task(os.path.basename(os.path.abspath(folder)), {split: read(folder, split) for split in SPLITS})
    check(task)
    return task


def found(folder: str, name: str) -> Optional[str]:
    """The path of a file, as it is or packed; None if there is none.

    Raises:
        InputError: there are both
    """
    paths = [path for path in (os.path.join(folder, name), os.path.join(folder, f"{name}.gz")) if os.path.isfile(path)]
    if len(paths) > 1:
        raise InputError(f"--task {folder} has {name} and {name}.gz: delete one of them")
    return paths[0] if paths else None


def needed(folder: str, name: str) -> str:
    """The path of a file, as it is or packed.

    Raises:
        InputError: there is none, or both
    """
    path = found(folder, name)
    if path is None:
        raise InputError(f"--task {folder} has no {name}: {LAYOUT}")
    return path


def filled(path: str) -> List[str]:
    """The lines of a file, none of them empty.

    Raises:
        InputError: one is, or there are none
    """
    lines = [sentence(line) for line in whole_lines(path, packed=True)]
    if not lines:
        raise InputError(f"{path} has no lines: expected one for each sentence")
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(f"{path}, line {number} is empty: expected a sentence or a label in each")
    return lines


def read_texts(folder: str, split: str) -> Split:
    """Read a split of labelled sentences; see read_task."""
    path, beside = needed(folder, f"{split}.txt"), needed(folder, f"{split}.labels")
    texts, labels = filled(path), filled(beside)
    if len(texts) != len(labels):
        raise InputError(f"{beside} has {len(labels):,} lines; expected {len(texts):,}, as {path} has")
    return Split(path, (texts,), labels, None)


def read_pairs(folder: str, split: str) -> Split:
    """Read a split of pairs; see read_task."""
    path = needed(folder, f"{split}.tsv")
    rows = [[sentence(part) for part in line.split("\t")] for line in whole_lines(path, packed=True)]
    if not rows:
        raise InputError(f"{path} has no lines: {LAYOUT}")
    scores = []
    for number, row in enumerate(rows, 1):
        where = f"{path}, line {number}"
        if len(row) not in (3, 4) or len(row) != len(rows[0]):
            wanted = f"{len(rows[0])}, as line 1 has" if len(rows[0]) in (3, 4) else "3 or 4"
            raise InputError(f"{where} has {len(row)} columns; expected {wanted}: score, sentence, sentence, label")
        if not all(row):
            raise InputError(f"{where}: column {row.index('') + 1} is empty; expected something in each")
        try:
            scores.append(float(row[0]))
        except ValueError:
            scores.append(math.nan)
        if not math.isfinite(scores[-1]):
            raise InputError(f"{where}: {row[0]!r}; expected a score, a finite number")
    columns = list(map(list, zip(*rows)))
    return Split(path, (columns[1], columns[2]), columns[3] if len(columns) == 4 else None, scores)


def check(task: Task) -> None:
    """Refuse splits that do not fit train; see read_task."""
    train = task.splits["train"]
    known = set(train.labels or ())
    scores = train.scores or [0.0]
    low, high = min(scores), max(scores)
    for split in task.splits.values():
        if (split.labels is None) != (train.labels is None):
            raise InputError(f"one of {split.file} and {train.file} has labels: expected 3 columns in both, or 4")
        for number, label in enumerate(split.labels or (), 1):
            if label not in known:
                raise InputError(
                    f"{split.file}, line {number} has the label {label!r}; expected one of train's: "
                    f"{', '.join(sorted(known)[:10])}"
                )
        for number, score in enumerate(split.scores or (), 1):
            if not low <= score <= high:
                raise InputError(
                    f"{split.file}, line {number} has the score {score:g}; expected {low:g} to {high:g}, as train has"
                )
    if len(known) == 1:
        raise InputError(f"{train.file}: all labels are {min(known)!r}; expected two or more different ones")
    if train.scores and low == high:
        raise InputError(f"{train.file}: all scores are {low:g}; expected different ones")
