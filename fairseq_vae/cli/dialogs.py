"""`fairseq-vae dialogs`: pairs of a context and a response."""

import argparse
import os
from typing import TYPE_CHECKING, Dict, List, Mapping, Sequence
from typing import Counter as Counts

if TYPE_CHECKING:
    from ..base.dialogs import Dialog, Pair

__all__ = ["add_arguments", "run"]

HELP = "pairs of a context and a response from dialogs, as text for a conditional VAE"
DESCRIPTION = (
    "Write each utterance of a dialog but the first as a response to those before it: OUTPUT/{train,valid,test}.source "
    "and .target, a pair a line. INPUT is a folder with train, valid and perhaps test, as .tsv or .tsv.gz, or one such "
    "file, of which 3 % of the conversations become valid and 3 % test. A line is conversation, speaker and utterance, "
    "or conversation, speaker, act and utterance, with tabs between them, and the lines of a conversation follow each "
    "other. What is left out or cut is counted."
)
SPLITS = ("train", "valid", "test")
REFERENCES = "test.references"
LAST = "train.target"  # of the files that are written


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The dialogs, the folder to write, and how a pair is made."""
    command.add_argument("input", nargs="?", metavar="INPUT", help="folder or file of dialogs")
    command.add_argument(
        "--chitchat",
        action="store_true",
        help="take the dialogs of the package in place of INPUT (pip install chitchat-dataset==0.9.0)",
    )
    command.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    command.add_argument(
        "--context",
        type=int,
        default=9,
        metavar="K",
        help="most utterances of a context; with the response a window of ten, as in Zhao et al. 2017 (default: 9)",
    )
    command.add_argument(
        "--separator", default=" | ", metavar="TEXT", help='between the utterances of a context (default: " | ")'
    )
    command.add_argument(
        "--marks",
        nargs=2,
        default=["me:", "you:"],
        metavar=("ME", "OTHER"),
        help="before an utterance of a context: said by the one who responds, or by another (default: me: you:)",
    )
    command.add_argument(
        "--max-words",
        type=int,
        metavar="N",
        help="most words, marks and separators included, of a context, which loses utterances at its start, and of a "
        "response, which is left out with its context (default: any number)",
    )
    command.add_argument("--lower", action="store_true", help="lower-case the text")
    command.add_argument(
        "--join-turns", action="store_true", help="make one utterance of consecutive ones of the same speaker"
    )
    command.add_argument(
        "--profanity-filter",
        action="store_true",
        help="leave utterances with a listed word out, and begin a new conversation behind each (pip install "
        "better-profanity==0.7.0)",
    )
    command.add_argument(
        "--references",
        action="store_true",
        help=f"write each different context of test once, with its first response, and all its responses to "
        f"{REFERENCES}, a JSON list a line",
    )
    command.add_argument("--seed", type=int, help="of the split of one file, or of --chitchat (default: 1)")


def run(args: argparse.Namespace) -> None:
    """Write the pairs, and print how many there are and what was left out.

    Raises:
        ValueError: an argument, a file or a package is not as expected, or a split has no pair
    """
    import json
    from collections import Counter

    from ..base.dialogs import Layout, lowered, paired, profanity, references
    from ..base.files import complete, write_text

    check(args)
    layout = Layout(args.context, args.separator, tuple(args.marks), args.max_words)
    unwanted = profanity() if args.profanity_filter else None
    tallies: Dict[str, Counts[str]] = {split: Counter() for split in SPLITS}
    found = {}
    for split, dialogs in read(args, tallies).items():
        dialogs = [lowered(dialog) for dialog in dialogs] if args.lower else dialogs
        found[split] = paired(dialogs, layout, tallies[split], args.join_turns, unwanted)
        if not found[split]:
            why = "; ".join(counted(tallies[split])) or "no conversation"
            raise ValueError(f"{args.input or '--chitchat'}: no pair is left in {split} ({why})")
    if args.references and "test" not in found:
        raise ValueError(f"--references: {args.input} has no test, whose responses they would be: leave it out")
    with complete(args.output, last=LAST) as new:
        for split, conversations in found.items():
            rows = [pair for pairs in conversations for pair in pairs]
            if args.references and split == "test":
                grouped = references(rows)
                lists = "".join(f"{json.dumps(targets, ensure_ascii=False)}\n" for targets in grouped.values())
                write_text(new(REFERENCES), lists)
                rows = [row for row in rows if grouped.pop(row.source, None)]  # the first of each context
            write_text(new(f"{split}.source"), "".join(f"{row.source}\n" for row in rows))
            write_text(new(f"{split}.target"), "".join(f"{row.target}\n" for row in rows))
            report(split, conversations, tallies[split])
            if args.references and split == "test":
                print(f"  {len(rows):,} different contexts")


def check(args: argparse.Namespace) -> None:
    """Refuse arguments that cannot work, before anything is read."""
    if (args.input is None) != args.chitchat:
        raise ValueError("expected either INPUT, a folder or file of dialogs, or --chitchat")
    if args.seed is not None and args.input is not None and os.path.isdir(args.input):
        raise ValueError(f"--seed {args.seed}: a folder has its splits, and nothing is drawn: leave it out")
    for flag, value in (("--context", args.context), ("--max-words", args.max_words)):
        if value is not None and value < 1:
            raise ValueError(f"{flag} {value}: expected 1 or more")
    for flag, text in (("--separator", args.separator), *(("--marks", mark) for mark in args.marks)):
        if set(text) & set("\t\r\n\0") or (flag == "--separator" and not text):
            raise ValueError(f"{flag} {text!r}: expected text on one line, without a tab")
    from ..base.files import killed

    if killed(args.output, LAST):
        return  # complete() holds what is there to what is made now
    for name in (*(f"{split}.{side}" for split in SPLITS for side in ("source", "target")), REFERENCES):
        path = os.path.join(args.output, name)
        if os.path.exists(path):
            raise ValueError(f"{path} is there already: give another folder for --output, or delete it")


def read(args: argparse.Namespace, tallies: "Mapping[str, Counts[str]]") -> "Dict[str, List[Dialog]]":
    """The dialogs of each split; of one file, what was left out in reading is printed here."""
    from collections import Counter

    from ..base.dialogs import read_chitchat, read_dialogs, split_dialogs

    if args.input is not None and os.path.isdir(args.input):
        return {split: read_dialogs(path, tallies[split]) for split, path in files(args.input).items()}
    tally: Counts[str] = Counter()
    dialogs = read_chitchat(tally) if args.chitchat else read_dialogs(args.input, tally)
    splits = split_dialogs(dialogs, 1 if args.seed is None else args.seed)
    print("\n  ".join([f"{args.input or 'chitchat-dataset'}: {len(dialogs):,} conversations", *counted(tally)]))
    return splits


def files(folder: str) -> Dict[str, str]:
    """The file of each split of a folder; test may lack."""
    found = {}
    for split in SPLITS:
        paths = [os.path.join(folder, f"{split}.tsv{packed}") for packed in ("", ".gz")]
        there = list(filter(os.path.isfile, paths))
        if len(there) > 1:
            raise ValueError(f"{' and '.join(paths)}: expected one of them")
        if not there and split != "test":
            raise ValueError(
                f"{folder} has neither {split}.tsv nor {split}.tsv.gz: expected train, valid, perhaps test"
            )
        if there:
            found[split] = there[0]
    return found


def counted(tally: "Counts[str]") -> List[str]:
    """The lines of a tally, without what did not occur."""
    return [f"{number:,} {what}" for what, number in tally.items() if number]


def report(split: str, conversations: "Sequence[Sequence[Pair]]", tally: "Counts[str]") -> None:
    """Print what a split has, and what was left out of it or cut."""
    found = [pair for pairs in conversations for pair in pairs]
    source, target = (sum(len(pair[side].split()) for pair in found) for side in range(2))
    head = f"{split}: {len(found):,} pairs of {len(conversations):,} conversations"
    print("\n  ".join([f"{head}, {source:,} words of contexts, {target:,} of responses", *counted(tally)]))
