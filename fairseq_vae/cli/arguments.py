"""Arguments that several commands share: the model, and how it decodes."""

import argparse
import math
import os
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

__all__ = [
    "LABELLED",
    "SHARED",
    "Given",
    "add_decoding",
    "add_input",
    "add_json",
    "add_model",
    "add_sources",
    "check_folders",
    "decoding",
    "given",
    "labelled",
    "load",
    "numbers",
    "print_rows",
    "warn",
]

MODEL, OUTPUT, LABELLED, DECODING = "the model", "output", "labelled sentences", "decoding"
SHARED = (MODEL, OUTPUT, LABELLED, DECODING)  # titles of the groups, which the documentation shows once


def add_model(
    command: argparse.ArgumentParser, data: bool = False, prior: bool = False, arch: str = "bart_vae"
) -> None:
    """The checkpoint, and where its dictionary and BPE are.

    Args:
        command: the parser
        data: whether the folder of the data is an argument after the checkpoint, as older commands have it
        prior: whether the command draws from the prior
        arch: the architectures that it takes, for its help
    """
    command.add_argument("checkpoint", metavar="CHECKPOINT", help=f"a checkpoint of {arch}")
    if data:
        command.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote")
    group = command.add_argument_group(MODEL)
    if not data:
        group.add_argument(
            "--data",
            metavar="DIR",
            help="folder with the dict.txt of its training (default: beside the checkpoint, above it, in data-bin "
            "there, or where it was trained)",
        )
    group.add_argument(
        "--sentencepiece-model",
        metavar="FILE",
        help="encode sentences with it (default: what lies beside checkpoint or data; else they are tokens)",
    )
    if prior:
        group.add_argument(
            "--prior",
            metavar="FILE",
            help="draw from this prior, of `fairseq-vae fit-prior` (default: the model's own)",
        )
    group.add_argument(
        "--batch-size",
        type=int,
        default=64,
        metavar="N",
        help="sentences at a time; z differs by rounding (default: 64)",
    )
    group.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def load(args: argparse.Namespace, conditional: bool = False, without_z: bool = False) -> Any:
    """The hub interface of the arguments of add_model.

    Args:
        args: of the command
        conditional: whether the command takes a bart_cvae as well
        without_z: whether it takes a model without z as well

    Raises:
        ValueError: the model cannot be loaded, or is one that the command does not take
    """
    from .. import hub
    from ..base.text import find_bpe
    from ..checkpoints.load import check_alone
    from ..checkpoints.read import folders
    from ..flags.host import check_search

    if args.batch_size < 1:
        raise ValueError(f"--batch-size {args.batch_size}: expected 1 or more")
    if hasattr(args, "beam"):
        check_search(**decoding(args))  # before the model is loaded
    data = args.data or hub.find_data(args.checkpoint)
    given = args.sentencepiece_model
    settings = {"bpe": "sentencepiece", "sentencepiece_model": given}
    bpe = settings if given else find_bpe(folders(args.checkpoint, data))
    vae = hub.load(args.checkpoint, data, bpe, args.batch_size, getattr(args, "prior", None))
    if vae.given_in_pieces:
        warn(f"{data}/dict.txt is of pieces, and no BPE is there: sentences are read as pieces with spaces between")
    if not conditional:
        check_alone(vae.model, args.checkpoint)
    if vae.model.encoder.zero_latent and not without_z:
        raise ValueError(f"checkpoint {args.checkpoint} has no latent (--zero-latent): there is no z to work with")
    return vae


def add_sources(command: argparse.ArgumentParser) -> None:
    """The sources of a conditional model."""
    command.add_argument(
        "--sources",
        metavar="FILE",
        help="for bart_cvae: the sources, one for each line (default: none)",
    )


def add_decoding(command: argparse.ArgumentParser) -> None:
    """How words are chosen."""
    group = command.add_argument_group(DECODING)
    group.add_argument(
        "--beam", type=int, default=5, metavar="N", help="beam width; 1 is greedy (default: 5; explore: 1)"
    )
    group.add_argument("--sampling", action="store_true", help="draw words instead of searching by a beam")
    group.add_argument(
        "--sampling-topk", type=int, default=-1, metavar="K", help="draw from the K most probable words (default: all)"
    )
    group.add_argument(
        "--sampling-topp",
        type=float,
        default=1.0,
        metavar="P",
        help="draw from the most probable words that together have the probability P (default: 1)",
    )
    group.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of the softmax (default: 1)")
    group.add_argument(
        "--max-len",
        type=int,
        metavar="N",
        help="most tokens of a sentence (default: the model's positions; explore: 64)",
    )
    group.add_argument("--seed", type=int, default=1, help="of all draws (default: 1)")


def decoding(args: argparse.Namespace) -> Dict[str, Any]:
    """The arguments of add_decoding, as the hub's `decode` takes them."""
    names = ("beam", "sampling", "sampling_topk", "sampling_topp", "temperature", "max_len", "seed")
    return {name: getattr(args, name) for name in names}


def warn(message: str) -> None:
    """Print a line on standard error, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)


SEPARATED = {1: "one sentence", 2: "two sentences with a tab between", 3: "three sentences with tabs between"}


def add_input(command: argparse.ArgumentParser, parts: int = 1) -> None:
    """Sentences, pairs or triples of them as arguments or in a file, and the form of the output.

    Args:
        command: the parser
        parts: sentences of an item
    """
    names = {1: "SENTENCE", 2: "FROM TO", 3: "A B C"}[parts]
    command.add_argument("sentences", nargs="*", metavar=names, help="here, or in --input")
    command.add_argument("--input", metavar="FILE|-", help=f"text, {SEPARATED[parts]} a line; -: standard input")
    group = command.add_argument_group(OUTPUT)
    group.add_argument(
        "--skip-invalid",
        action="store_true",
        help="print a blank (JSON: null) for a sentence that cannot be encoded, and go on; without this flag it is an "
        "error",
    )
    add_json(group)
    command.set_defaults(parts=parts)


def add_json(command: Any) -> None:
    """The form of the output."""
    command.add_argument(
        "--json", action="store_true", help="print JSON, an object a line: input, output and what lies between"
    )


class Given(NamedTuple):
    """Some of a command's items, a batch of them: sentences, or pairs or triples.

    Attributes:
        first: the first one's number, from 0
        inputs: what was given for each item: a sentence, or a list of two or three
        z: of each part of the items, B x Z; zeros where an item cannot be encoded
        good: whether an item can be encoded
        sources: the items' first sentences as tokens with <s> and </s>, for a decoder with a context
    """

    first: int
    inputs: List[Any]
    z: List[Any]
    good: List[bool]
    sources: List[Any]

    def rows(self, outputs: Sequence[Sequence[Any]], name: str, values: Sequence[Any]) -> Iterator[Dict[str, Any]]:
        """The rows to print: for each item, an output at each value.

        Args:
            outputs: strings of each item, as many as values
            name: of what the values are of
            values: e.g. the strengths of an edit
        """
        for text, good, found in zip(self.inputs, self.good, outputs):
            yield from (
                {"input": text, name: value, "output": output if good else None} for value, output in zip(values, found)
            )


def given(args: argparse.Namespace, vae: Any) -> Iterator[Given]:
    """The items of the arguments of add_input, encoded by windows as `fairseq-vae encode` does, batch by batch.

    Raises:
        ValueError: none are given, or twice, or one cannot be encoded and such items are not skipped
    """
    import itertools

    from ..base.lines import stream_lines

    if bool(args.sentences) == bool(args.input):
        raise ValueError("give sentences as arguments, or a file of them as --input FILE, - for standard input")
    lines: Iterator[List[str]]
    if args.input:
        where, lines = f"{shown(args.input)}, line", (line.split("\t") for line in stream_lines(args.input))
    else:
        where, parts = "item", args.parts
        lines = iter([args.sentences[i : i + parts] for i in range(0, len(args.sentences), parts)])
    first = 0
    for window in iter(lambda: list(itertools.islice(lines, vae.window)), []):
        yield from encoded(window, args, vae, where, first)
        first += len(window)
    if not first:
        raise ValueError(f"--input {args.input} has no lines: expected {SEPARATED[args.parts]} a line")


def encoded(window: List[List[str]], args: argparse.Namespace, vae: Any, where: str, first: int) -> Iterator[Given]:
    """The batches of a window of items; arguments as in `given`, and the number of the first item, from 0."""
    import torch

    from ..base.errors import InputError
    from ..vectors import attempted

    def tokens(item: List[str]) -> List[Any]:
        if len(item) != args.parts:
            raise InputError(f"{len(item)} sentence(s); expected {SEPARATED[args.parts]}")
        return [vae.tokens(part) for part in item]

    places = [f"{where} {number}" for number in range(first + 1, first + 1 + len(window))]
    found = list(attempted(tokens, window, places, warn if args.skip_invalid else None))
    good = [item is not None for item in found]
    z = torch.zeros(len(window), args.parts, vae.model.latent_dim, device=vae.device)  # W x parts x Z
    if any(good):
        z[torch.tensor(good)] = vae.encode([part for item in found if item for part in item]).mean.view(
            -1, args.parts, z.size(2)
        )
    ends = vae.task.source_dictionary
    nothing = [torch.tensor([ends.eos()])]
    for start in range(0, len(window), vae.batch_size):
        part = slice(start, start + vae.batch_size)
        sources = [torch.cat((torch.tensor([ends.bos()]), (item or nothing)[0])) for item in found[part]]
        inputs = [item[0] if args.parts == 1 else item for item in window[part]]
        yield Given(first + start, inputs, list(z[part].unbind(1)), good[part], sources)


def shown(path: str) -> str:
    """The input's name in messages."""
    from .. import vectors

    return vectors.shown(path)


def labelled(
    vae: Any, text: str, labels: str, skip: Optional[Callable[[str], None]], parse: Callable[[str], Any] = str
) -> Tuple[List[str], List[Any]]:
    """Labelled sentences that can be encoded, and their labels.

    Args:
        vae: the hub interface
        text: a file, a sentence a line
        labels: a file with the label of each line
        skip: told of each sentence that is left out; None: such a sentence is an error
        parse: from a label's line to the label

    Raises:
        ValueError: the files differ in length or are empty, or a line cannot be used
    """
    from ..base.lines import read_lines
    from ..vectors import attempted

    texts, names = read_lines(text), read_lines(labels)
    if len(texts) != len(names):
        raise ValueError(f"--labels {labels}: {len(names):,} lines; expected {len(texts):,}, as {text} has")
    if not texts:
        raise ValueError(f"{text} has no lines: expected one sentence a line")
    found: List[Any] = []
    for number, name in enumerate(names, 1):
        try:
            if not name:
                raise ValueError
            found.append(parse(name))
        except ValueError as error:
            what = "a label" if parse is str else "a number"
            raise ValueError(f"{labels}, line {number}: {name!r}; expected {what}") from error
    places = [f"{text}, line {number}" for number in range(1, len(texts) + 1)]
    good = [tokens is not None for tokens in attempted(vae.tokens, texts, places, skip)]
    return [one for one, ok in zip(texts, good) if ok], [one for one, ok in zip(found, good) if ok]


def check_folders(**files: Optional[str]) -> None:
    """Refuse files to write whose folder does not exist, before the work of which they are to tell.

    Args:
        files: the value of each flag, by its name; None: not given

    Raises:
        ValueError: the first one, with its flag
    """
    for flag, path in files.items():
        folder = os.path.dirname(os.path.abspath(path or "."))
        if path and not os.path.isdir(folder):
            raise ValueError(f"--{flag} {path}: the folder {folder} does not exist")


def numbers(flag: str, value: str) -> List[float]:
    """Numbers with commas between.

    >>> numbers("--values", "-1,0.5")
    [-1.0, 0.5]

    Raises:
        ValueError: the value has something else
    """
    try:
        found = [float(part) for part in value.split(",")]
        if all(map(math.isfinite, found)):
            return found
    except ValueError:
        pass
    raise ValueError(f"{flag} {value}: expected numbers with commas between, e.g. 0,0.5,1")


def print_rows(args: argparse.Namespace, rows: Iterable[Dict[str, Any]], *columns: str) -> None:
    """Print rows, one a line, at once: as JSON with --json, otherwise some of their columns with tabs between."""
    import json

    from ..base.lines import one_line

    for row in rows:
        if args.json:
            print(json.dumps(row, ensure_ascii=False))
        else:
            values = [row[name] for name in columns]
            print("\t".join("" if value is None else one_line(str(value)) for value in values))
    sys.stdout.flush()
