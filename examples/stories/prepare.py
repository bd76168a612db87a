"""Pairs of five-sentence stories, for a conditional VAE: python prepare.py STORIES OUTPUT [--keywords N]

STORIES holds train, valid and test, as .tsv or .tsv.gz: a story a line, its sentences separated by tabs. OUTPUT gets
{train,valid,test}.source and .target: the first sentence and the rest, or with --keywords at most N key phrases and the
whole story. They are those of RAKE (Rose et al. 2010): runs of words between stop words and punctuation are candidates;
a word scores the mean number of words in its candidates, and a candidate the sum of its words' scores.
"""

import argparse
import os
import re
from typing import Dict, List, Tuple

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import complete, write_text
from fairseq_vae.base.lines import whole_lines

SPLITS = ("train", "valid", "test")
SEPARATOR = " | "


def candidates(text: str) -> List[Tuple[str, ...]]:
    """Runs of words, in lower case, between stop words and punctuation, each where it first stands.

    >>> candidates("The old blue kite flew; a kite, and the kite was his.")
    [('old', 'blue', 'kite', 'flew'), ('kite',), ('kite',)]
    """
    runs: List[List[str]] = [[]]
    for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]", text.lower()):
        plain = word.replace("’", "'")
        if not word[0].isalnum() or plain.endswith("n't") or plain.split("'")[0] in ENGLISH_STOP_WORDS:
            runs.append([])
        else:
            runs[-1].append(word)
    return [tuple(run) for run in runs if run]


def keywords(text: str, count: int) -> List[str]:
    """The candidates of the highest scores, the earlier of two alike, in the order of the text.

    >>> keywords("The old blue kite flew; a kite, and the kite was his. A dog.", 2)
    ['old blue kite flew', 'kite']
    """
    found = candidates(text)
    lengths: Dict[str, List[int]] = {}
    for phrase in found:
        for word in phrase:
            lengths.setdefault(word, []).append(len(phrase))
    scores = {phrase: sum(sum(lengths[word]) / len(lengths[word]) for word in phrase) for phrase in found}
    best = sorted(scores, key=lambda phrase: -scores[phrase])[:count]
    return [" ".join(phrase) for phrase in scores if phrase in best]


def stories(folder: str, split: str) -> List[List[str]]:
    """The stories of a split, each the list of its sentences.

    Raises:
        InputError: there is no such file, it cannot be read, or a line is no story
    """
    path = os.path.join(folder, f"{split}.tsv")
    packed = not os.path.exists(path)
    if packed and not os.path.exists(f"{path}.gz"):
        raise InputError(f"{folder} has neither {split}.tsv nor {split}.tsv.gz")
    path += ".gz" if packed else ""
    lines = whole_lines(path, packed)
    found = [[" ".join(sentence.split()) for sentence in line.split("\t")] for line in lines]
    for number, story in enumerate(found, 1):
        if len(story) < 2 or not all(story):
            raise InputError(f"{path}, line {number}: expected sentences, none empty, with tabs between")
    return found


def pair(story: List[str], count: int) -> Tuple[str, str]:
    """A story's source and target; `count` is the number of key phrases, or 0."""
    if count:
        return SEPARATOR.join(keywords(" ".join(story), count)), " ".join(story)
    return story[0], " ".join(story[1:])


def parsed() -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stories")
    parser.add_argument("output")
    parser.add_argument("--keywords", type=int, default=0, metavar="N", help="at most N key phrases (default: none)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Write the pairs.

    Raises:
        InputError: the stories are not as expected, or there is something to be written over
    """
    if args.keywords < 0:
        raise InputError(f"--keywords {args.keywords}: expected 0 or more")
    if os.path.exists(args.output):
        raise InputError(f"{args.output} is there already: give another folder, or delete it")
    found = {split: [pair(story, args.keywords) for story in stories(args.stories, split)] for split in SPLITS}
    with complete(args.output, last="train.target") as new:
        for split, pairs in found.items():
            for side, texts in zip(("source", "target"), zip(*pairs)):
                write_text(new(f"{split}.{side}"), "".join(f"{text}\n" for text in texts))
            print(f"{split}: {len(pairs):,} pairs")


if __name__ == "__main__":
    try:
        main(parsed())
    except (ValueError, OSError) as error:
        raise SystemExit(f"prepare.py: {error}") from error
