"""Text for the quickstart, one sentence a line: {train,valid,test}.txt.

Without --data: English chat from the package chitchat-dataset (MIT), filtered to clean sentences and split by
conversation, so that no conversation is in two splits. With --data: the lines of a file, split at random.
"""

import argparse
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Iterator, List

from fairseq_vae.base.dialogs import read_chitchat
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import write
from fairseq_vae.base.lines import read_lines

SPLITS = {"valid": 0.03, "test": 0.03}  # share of the sentences; the rest is train
VOCABULARY = 5000  # sentences with rarer words than these go: typing errors mostly
BOUNDARY = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
SENTENCE = re.compile(r"[A-Z][ -~]*[.?!]")  # a capital, printable ASCII, a full stop, question or exclamation mark
UNWANTED = re.compile(r"https?:|www\.|@|\d{3}|[*#<>|~^_={}\[\]\\]")
WORD = re.compile(r"[a-z']+")


def words(sentence: str) -> List[str]:
    return WORD.findall(sentence.lower())


def chat() -> Iterator[List[str]]:
    """The conversations of chitchat-dataset as lists of sentences."""
    for dialog in read_chitchat(Counter()):
        yield [sentence for utterance in dialog for sentence in BOUNDARY.split(utterance.text)]


def clean(conversations: List[List[str]]) -> List[List[str]]:
    """Unique sentences of 5 to 20 words in a common vocabulary without profanity, kept in their conversations."""
    from better_profanity import profanity

    counts = Counter(word for conversation in conversations for line in conversation for word in words(line))
    vocabulary = {word for word, _ in counts.most_common(VOCABULARY) if not profanity.contains_profanity(word)}
    seen = set()
    result = []
    for conversation in conversations:
        kept = []
        for line in conversation:
            if not SENTENCE.fullmatch(line) or UNWANTED.search(line) or not 5 <= len(line.split()) <= 20:
                continue
            if line.lower() not in seen and vocabulary.issuperset(words(line)):
                seen.add(line.lower())
                kept.append(line)
        result.append(kept)
    return result


def own(path: Path) -> List[List[str]]:
    """A user's text as groups of one line. Refuses what fairseq-preprocess would turn into empty sentences."""
    try:
        lines = read_lines(path)
    except OSError as error:
        sys.exit(f"prepare_data.py: --data {path}: {error.strerror}")
    except InputError as error:
        sys.exit(f"prepare_data.py: --data {error}")
    while lines and not lines[-1]:
        lines.pop()  # empty lines at the end are none
    empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if len(empty) == len(lines):
        sys.exit(f"prepare_data.py: --data {path}: the file has no text; expected one sentence a line")
    if empty:
        sys.exit(
            f"prepare_data.py: --data {path}: line {empty[0]} is empty ({len(empty)} empty lines in all); "
            "remove them, e.g. with grep -v '^\\s*$'"
        )
    if len(lines) < 100:
        sys.exit(f"prepare_data.py: --data {path}: {len(lines)} lines; expected at least 100, better thousands")
    return [[line] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write the splits to")
    parser.add_argument("--data", type=Path, help="UTF-8 text, one sentence a line (default: chitchat-dataset)")
    parser.add_argument("--limit", type=int, help="use at most this many sentences (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the split (default: 1)")
    args = parser.parse_args()

    try:
        groups = own(args.data) if args.data else clean(list(chat()))
    except InputError as error:
        sys.exit(f"prepare_data.py: {error}")
    random.Random(args.seed).shuffle(groups)
    if args.limit:
        total = 0
        for count, group in enumerate(groups, 1):
            total += len(group)
            if total >= args.limit:
                groups = groups[:count]
                break
    total = sum(map(len, groups))
    rest = iter(groups)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        for split, share in SPLITS.items():
            write_split(args.output / f"{split}.txt", take(rest, share * total))
        write_split(args.output / "train.txt", [line for group in rest for line in group])
    except (InputError, OSError) as error:
        sys.exit(f"prepare_data.py: {error}")


def take(groups: Iterator[List[str]], count: float) -> List[str]:
    """The lines of as many groups as it takes for `count` lines; consumes those groups."""
    lines: List[str] = []
    while len(lines) < count:
        lines += next(groups)
    return lines


def write_split(path: Path, lines: List[str]) -> None:
    write(path, "".join(line + "\n" for line in lines))
    print(f"{path.stem}: {len(lines):,} sentences, {sum(len(line.split()) for line in lines):,} words")


if __name__ == "__main__":
    main()
