"""Files of text to files of vectors and back, or of responses: window by window, in order, little memory, resumable.

Shapes: N lines, Z latent dimensions, W lines of a window.
"""

import hashlib
import itertools
import json
import os
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .base.errors import InputError
from .base.files import fingerprint
from .base.lines import one_line, stream_lines
from .base.stage import Stage
from .base.tables import read_vectors, table

__all__ = ["LARGEST", "Report", "attempted", "decode_file", "encode_file", "respond_file", "shown"]

Report = Callable[[str], None]
LARGEST = 1e6  # number of a z that can be decoded: beyond, the decoder's own numbers overflow


def encode_file(
    vae: Any,
    checkpoint: str,
    source: str,
    output: str,
    skip: Optional[Report] = None,
    sources: Optional[str] = None,
    tell: Optional[Report] = None,
) -> int:
    """Write the posterior of each line of a text: .npy holds the means, .jsonl and .parquet text, mu and logvar.

    The numbers are those of `vae.encode` on the same lines with the same batch size, bit for bit; other batch sizes
    differ from them by the rounding of matrix products.

    Args:
        vae: a hub interface
        checkpoint: its file; an interrupted run goes on with the same one only
        source: a text file, or "-" for standard input
        output: a file that ends in .npy, .jsonl or .parquet
        skip: told of each line that cannot be encoded, which gets a row of NaN (in JSON, null); None: such a line is
            an error
        sources: of a conditional model, a file with the source of each line
        tell: told, at the end, how many sources were cut

    Returns:
        the number of lines

    Raises:
        InputError: a line cannot be encoded, sources are missing, too many or too few, the output's ending is unknown,
            or a beginning of another run lies there
    """
    check_sources(vae, sources, source)
    before = vae.cut_sources
    total = count_lines(source)  # first: a missing or empty file leaves nothing behind
    check_any(source, None if total is None else os.path.getsize(source))
    stage = table(output, run_settings(vae, checkpoint), vae.model.latent_dim)
    with progress(total, "sentence") as bar:
        lines = ((text, text.encode() + b"\n") for text in stream_lines(source))
        items = lines if sources is None else with_sources(lines, sources, source)
        for window, digest in remaining(stage, items, source, vae.window, bar):
            where = located(source, "line", stage.items, window)
            if sources is None:
                found = list(attempted(vae.tokens, window, where, skip))
                posterior = vae.encode([tokens for tokens in found if tokens is not None])
            else:
                found = list(attempted(lambda pair: (vae.tokens(pair[0]), vae.context(pair[1])), window, where, skip))
                both = [pair for pair in found if pair is not None]
                posterior = vae.encode([context for _, context in both], [tokens for tokens, _ in both])
            texts = window if sources is None else [text for text, _ in window]
            good = np.array([tokens is not None for tokens in found])
            logvar = getattr(posterior, "logvar", None)
            if not posterior.mean.isfinite().all():
                raise InputError(f"{where[0]} or behind it: z is not finite: has the model diverged?")
            stage.add(texts, spread(posterior.mean, good), None if logvar is None else spread(logvar, good), digest)
            bar.update(len(texts))
    check_any(source, stage.items)
    tell_cut(sources, vae.cut_sources - before, tell)
    stage.close()
    return stage.items


def decode_file(
    vae: Any,
    checkpoint: str,
    source: str,
    output: str,
    skip: Optional[Report] = None,
    sources: Optional[str] = None,
    tell: Optional[Report] = None,
    **decoding: Any,
) -> int:
    """Write a sentence for each row of a file of vectors.

    The sentences are those of `vae.decode` on the same rows.

    Args:
        vae: a hub interface
        checkpoint: its file
        source: a .npy, .jsonl or .parquet file, or "-" for standard input, see read_vectors
        output: a text file, or "-" for standard output
        skip: told of each row that has a number which is not finite or beyond LARGEST, and gets an empty line; None:
            such a row is an error
        sources: of a conditional model, a file with the source of each row
        tell: told, at the end, how many sources were cut
        decoding: as for `vae.decode`

    Returns:
        the number of rows

    Raises:
        InputError: a row cannot be decoded, sources are missing, too many or too few, or a beginning of another run
            lies there
    """
    check_sources(vae, sources, source)
    before = vae.cut_sources
    if source != "-":
        os.stat(source)  # a missing file leaves nothing behind
    stage = Printed() if output == "-" else Stage(output, {**run_settings(vae, checkpoint), **decoding})
    with progress(None, "sentence") as bar:
        rows = ((row, row.tobytes()) for step in read_vectors(source, vae.model.latent_dim) for row in step)
        items = rows if sources is None else with_sources(rows, sources, source)
        for window, digest in remaining(stage, items, source, vae.window, bar):
            where, given = located(source, "row", stage.items, window), None
            read = [True] * len(window)
            if sources is not None:
                window, lines = map(list, zip(*window))
                beside = located(sources, "line", stage.items, window)
                contexts = list(attempted(vae.context, lines, beside, skip))
                read = [tokens is not None for tokens in contexts]
                given = [vae.source_of("" if tokens is None else tokens) for tokens in contexts]
            found = attempted(decodable, window, where, skip)
            good = [row is not None and context for row, context in zip(found, read)]
            z = torch.from_numpy(np.stack(window))
            z[[not one for one in good]] = 0
            texts = vae.decode(z, first=stage.items, sources=given, **decoding)
            kept = [one_line(text) if one else "" for text, one in zip(texts, good)]
            stage.append("".join(f"{text}\n" for text in kept).encode(), len(window), digest)
            bar.update(len(window))
    tell_cut(sources, vae.cut_sources - before, tell)
    stage.finish()
    return stage.items


def respond_file(
    vae: Any,
    checkpoint: str,
    source: str,
    output: str,
    n: int = 5,
    as_json: bool = False,
    skip: Optional[Report] = None,
    tell: Optional[Report] = None,
    **decoding: Any,
) -> int:
    """Write n responses to each line of a text: the line's number, a tab and a response, or an object of JSON a line.

    The responses are those of `vae.respond` on the same lines.

    Args:
        vae: a hub interface of a conditional model
        checkpoint: its file
        source: a text file, or "-" for standard input
        output: a text file, or "-" for standard output
        n: responses to each
        as_json: whether to write objects with the line's `number`, `input`, the line, and `output`, the responses
        skip: told of each line that is too long, and gets blanks (in JSON, null); None: such a line is an error
        tell: told, at the end, how many sources were cut
        decoding: as for `vae.decode`

    Returns:
        the number of lines

    Raises:
        InputError: the model is no conditional one, the text has no lines, one is too long, or a beginning of another
            run lies there
    """
    vae.check_responses(n, bool(decoding.get("sampling")))
    total, before = count_lines(source), vae.cut_sources
    check_any(source, None if total is None else os.path.getsize(source))
    settings = {**run_settings(vae, checkpoint), "n": n, "json": as_json, **decoding}
    stage = Printed() if output == "-" else Stage(output, settings)
    with progress(total, "context") as bar:
        lines = ((text, text.encode() + b"\n") for text in stream_lines(source))
        for texts, digest in remaining(stage, lines, source, max(1, vae.batch_size // n), bar):
            found = list(attempted(vae.context, texts, located(source, "line", stage.items, texts), skip))
            contexts = [vae.source_of("" if tokens is None else tokens) for tokens in found]
            responses = vae.respond(contexts, n, first=stage.items, **decoding)
            own = [None if tokens is None else each for tokens, each in zip(found, responses)]
            rows = zip(itertools.count(stage.items + 1), texts, own)
            content = "".join(answered(*row, n, as_json) for row in rows)
            stage.append(content.encode(), len(texts), digest)
            bar.update(len(texts))
    check_any(source, stage.items)
    tell_cut(source, vae.cut_sources - before, tell)
    stage.finish()
    return stage.items


def check_any(source: str, size: Optional[int]) -> None:
    """Refuse an empty text.

    Args:
        source: its name
        size: lines or bytes of it; None: not known yet

    Raises:
        InputError: it has none
    """
    if size == 0:
        raise InputError(f"{shown(source)} has no lines: expected one sentence or context a line")


def tell_cut(sources: Optional[str], cut: int, tell: Optional[Report]) -> None:
    """Tell how many sources of a file were cut, if any."""
    if sources is not None and cut and tell is not None:
        tell(f"{shown(sources)}: {cut:,} sources are longer than the model's positions and were cut, as in training")


def answered(number: int, text: str, responses: Optional[List[str]], n: int, as_json: bool) -> str:
    """What is written of a line and its n responses; None: blanks.

    >>> answered(3, "is it cold ?", ["yes .", "no ."], 2, False)
    '3\\tyes .\\n3\\tno .\\n'
    """
    if as_json:
        return json.dumps({"number": number, "input": text, "output": responses}, ensure_ascii=False) + "\n"
    return "".join(f"{number}\t{one_line(response)}\n" for response in responses or [""] * n)


def check_sources(vae: Any, sources: Optional[str], path: str) -> None:
    """Refuse a conditional model without a file of sources, another model with one, and one stream for both files.

    Raises:
        InputError: the model and the file do not go together
    """
    if vae.model.conditional and sources is None:
        raise InputError("this checkpoint is of bart_cvae, whose z is one of a source: give --sources FILE")
    if sources is not None and not vae.model.conditional:
        raise InputError("this checkpoint is of bart_vae, which reads no sources: leave --sources out")
    if sources == path == "-":
        raise InputError("--input - and --sources -: one stream cannot be both; give one of them as a file")


def with_sources(
    items: Iterable[Tuple[Any, bytes]], sources: str, name: str
) -> Iterator[Tuple[Tuple[Any, str], bytes]]:
    """Items, each beside its source, with the bytes that stand for both in a digest.

    Args:
        items: of the input
        sources: a file with a line for each
        name: of the input

    Raises:
        InputError: the file has more lines than there are items, or fewer
    """
    for number, (item, line) in enumerate(itertools.zip_longest(items, stream_lines(sources)), 1):
        if item is None or line is None:
            short, long = (sources, name) if line is None else (name, sources)
            raise InputError(f"{shown(long)} goes on at {number:,}, where {shown(short)} ends: expected as many lines")
        value, content = item
        yield (value, line), content + line.encode() + b"\n"


def located(source: str, unit: str, done: int, items: Sequence[Any]) -> List[str]:
    """Names, for messages, of the items that follow the first ones.

    >>> located("-", "line", 2, ["a", "b"])
    ['standard input, line 3', 'standard input, line 4']
    """
    return [f"{shown(source)}, {unit} {number}" for number in range(done + 1, done + 1 + len(items))]


def run_settings(vae: Any, checkpoint: str) -> Dict[str, Any]:
    """What the results of a run depend on beside its input."""
    words = hashlib.sha256("\n".join(vae.task.target_dictionary.symbols).encode()).hexdigest()
    bpe = tokenizer_settings(vae.settings)
    return {"checkpoint": fingerprint(checkpoint), "dictionary": words, "bpe": bpe, "batch_size": vae.batch_size}


def tokenizer_settings(settings: Optional[Dict[str, str]]) -> Dict[str, str]:
    """The settings of a BPE, with the fingerprint of each file in the place of its name; empty: there is none."""
    found = (settings or {}).items()
    return {name: fingerprint(value) if os.path.isfile(value) else value for name, value in found}


class Printed:
    """Standard output in place of a Stage: nothing is kept for another run."""

    items, digest = 0, ""

    def append(self, content: bytes, items: int, digest: str) -> None:
        """Print a step; arguments as those of Stage."""
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        self.items += items

    def finish(self) -> None:
        """Nothing is left to do."""


def remaining(
    stage: Any, items: Iterable[Tuple[Any, bytes]], source: str, size: int, bar: "tqdm[Any]"
) -> Iterator[Tuple[List[Any], str]]:
    """Cut the input into windows, from the first item that the stage does not have.

    Args:
        stage: with the number of its items and the digest of their input
        items: of the whole input, each with the bytes that stand for it in the digest
        source: the input's name
        size: of a window, W
        bar: shows the items that the stage has

    Returns:
        windows, each with the digest of the input up to its end

    Raises:
        InputError: the input does not begin with the items that the stage has
    """
    hashed = hashlib.sha256()

    def take(count: int) -> List[Any]:
        found = []
        for item, content in itertools.islice(items, count):
            hashed.update(content)
            found.append(item)
        return found

    items = iter(items)
    done = stage.items
    for start in range(0, done, size):
        take(min(size, done - start))
    if done and hashed.hexdigest() != stage.digest:
        raise InputError(
            f"{shown(source)}: its first {done:,} items are not those of the interrupted run: delete {stage.journal} "
            "to begin anew, or give the input of that run"
        )
    bar.update(done)
    for window in iter(lambda: take(size), []):
        yield window, hashed.hexdigest()


def attempted(
    function: Callable[[Any], Any], items: Sequence[Any], where: Sequence[str], skip: Optional[Report]
) -> Iterator[Any]:
    """A function's value of each item; None where it refuses the item and such items are skipped.

    Raises:
        InputError: the function refuses an item, and such items are not skipped; the message names its place
    """
    for item, place in zip(items, where):
        try:
            yield function(item)
        except InputError as error:
            if skip is None:
                raise InputError(f"{place}: {error} (--skip-invalid goes on without it)") from error
            skip(f"{place}: {error}; skipped")
            yield None


def decodable(row: np.ndarray) -> np.ndarray:
    """A row as it is.

    Raises:
        InputError: it has a number that is not finite, or beyond LARGEST
    """
    bad = int((~(np.abs(row) <= LARGEST)).sum())  # NaN is not less than anything
    if bad:
        what = "not finite" if not np.isfinite(row).all() else f"beyond {LARGEST:,.0f}"
        raise InputError(f"{bad} of {len(row)} numbers are {what}")
    return row


def spread(found: Tensor, good: np.ndarray) -> np.ndarray:
    """Rows of the lines that could be encoded, with rows of NaN between them for the others.

    Args:
        found: a row for each line that could be encoded
        good: which lines these are, W

    Returns:
        W x Z, float32
    """
    rows = np.full((len(good), found.size(1)), np.nan, np.float32)
    rows[good] = found.float().cpu().numpy()
    return rows


def shown(source: str) -> str:
    """The input's name in messages."""
    return "standard input" if source == "-" else source


def count_lines(source: str) -> Optional[int]:
    """The number of a file's lines, for the progress bar; None for what can be read once only, as pipes, or not at all.

    Raises:
        FileNotFoundError: there is nothing at the path
    """
    if source == "-" or (os.path.exists(source) and not os.path.isfile(source)):
        return None
    with open(source, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def progress(total: Optional[int], unit: str) -> "tqdm[Any]":
    """A progress bar on standard error."""
    return tqdm(total=total, unit=unit, mininterval=0.5 if sys.stderr.isatty() else 15)
