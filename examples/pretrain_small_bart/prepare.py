"""English text to pretrain on, of free licences, one sentence a line: prepare.py DEBIAN OUTPUT.

Glosses and examples of WordNet 3.0 and the definitions and quotations of GCIDE (Webster 1913 and later), read from
DEBIAN, the folder in which Debian's packages wordnet-base and dict-gcide are unpacked; and the messages of the package
chitchat-dataset, less those with profanity. Writes OUTPUT/{train,valid}.txt: each line once, 1 % for valid, the same
lines on every machine. Prints what each source gave.
"""

import gzip
import re
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator

from fairseq_vae.base.dialogs import profanity, read_chitchat
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import write

BOUNDARY = re.compile(r"(?<=[.?!])\s+(?=[A-Z\"'])")
NOTE = re.compile(r"\[[^\]]*\]|--[A-Z].{0,40}$|\\[^\\]*\\|^\d+\. |\([a-z]\) ")  # GCIDE's
UNWANTED = re.compile(r"https?:|www\.|@|[*#<>|~^_={}\[\]\\]")
LONGEST = 60  # words


def wordnet(folder: Path) -> Iterator[str]:
    """A definition or an example of a synset: what stands behind the bar, between semicolons."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"usr/share/wordnet/data.{part}").read_text(encoding="utf-8").splitlines():
            _, bar, gloss = line.partition(" | ")
            yield from (piece.strip(' "') for piece in gloss.split(";") if bar)


def gcide(folder: Path) -> Iterator[str]:
    """A definition or a quotation: a paragraph without its number, its notes and its author."""
    with gzip.open(folder / "usr/share/dictd/gcide.dict.dz", "rt", encoding="utf-8", errors="replace") as file:
        text = file.read()
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.splitlines()
        if lines and not lines[0].startswith(" "):  # an entry's head, of one line or, if its notes go on, of more
            lines = lines[1:]
        whole = " ".join(" ".join(lines).split())
        yield from BOUNDARY.split(NOTE.sub("", whole).replace("{", "").replace("}", "").strip())


def chat() -> Iterator[str]:
    """A sentence of a message without profanity."""
    listed = profanity()
    for dialog in read_chitchat(Counter()):
        for utterance in dialog:
            yield from (sentence for sentence in BOUNDARY.split(utterance.text) if not listed(sentence))


def wanted(line: str) -> bool:
    """Whether a line is printable ASCII of 3 to 60 words without marks of layout."""
    words = line.split()
    return line.isascii() and line.isprintable() and 3 <= len(words) <= LONGEST and not UNWANTED.search(line)


def main(debian: Path, output: Path) -> None:
    seen: Dict[str, None] = {}  # a set in the order of the text
    for name, lines in (("WordNet", wordnet(debian)), ("GCIDE", gcide(debian)), ("chitchat", chat())):
        before = len(seen)
        seen.update(dict.fromkeys(line for line in map(str.strip, lines) if wanted(line)))
        print(f"{name}: {len(seen) - before:,} lines")
    splits: Dict[str, list] = {"train": [], "valid": []}
    for line in seen:
        splits["valid" if zlib.crc32(line.encode()) % 100 == 0 else "train"].append(line)
    output.mkdir(parents=True, exist_ok=True)
    for split, lines in splits.items():
        write(output / f"{split}.txt", "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except FileNotFoundError as error:
        sys.exit(f"prepare.py: {error.filename} is missing: unpack wordnet-base and dict-gcide in DEBIAN with dpkg -x")
    except InputError as error:
        sys.exit(f"prepare.py: {error}")
