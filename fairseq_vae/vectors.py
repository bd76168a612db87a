"""Files of text to files of vectors and back: window by window, in order, in constant memory, resumable.

Shapes: N lines, Z latent dimensions, W lines of a window.
"""

import hashlib
import itertools
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

__all__ = ["LARGEST", "Report", "attempted", "decode_file", "encode_file", "shown"]

Report = Callable[[str], None]
LARGEST = 1e6  # number of a z that can be decoded: beyond, the decoder's own numbers overflow


def encode_file(vae: Any, checkpoint: str, source: str, output: str, skip: Optional[Report] = None) -> int:
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

    Returns:
        the number of lines

    Raises:
        InputError: a line cannot be encoded, the output's ending is unknown, or a beginning of another run lies there
    """
    total = count_lines(source)  # first: a missing file leaves nothing behind
    stage = table(output, run_settings(vae, checkpoint), vae.model.latent_dim)
    with progress(total, "sentence") as bar:
        lines = ((text, text.encode() + b"\n") for text in stream_lines(source))
        for texts, digest in remaining(stage, lines, source, vae.window, bar):
            where = [
                f"{shown(source)}, line {number}" for number in range(stage.items + 1, stage.items + 1 + len(texts))
            ]
            found = list(attempted(vae.tokens, texts, where, skip))
            posterior = vae.encode([tokens for tokens in found if tokens is not None])
            good = np.array([tokens is not None for tokens in found])
            logvar = getattr(posterior, "logvar", None)
            stage.add(texts, spread(posterior.mean, good), None if logvar is None else spread(logvar, good), digest)
            bar.update(len(texts))
    stage.close()
    return stage.items


def decode_file(
    vae: Any,
    checkpoint: str,
    source: str,
    output: str,
    skip: Optional[Report] = None,
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
        decoding: as for `vae.decode`

    Returns:
        the number of rows

    Raises:
        InputError: a row cannot be decoded, or a beginning of another run lies there
    """
    stage = Printed() if output == "-" else Stage(output, {**run_settings(vae, checkpoint), **decoding})
    with progress(None, "sentence") as bar:
        rows = ((row, row.tobytes()) for step in read_vectors(source, vae.model.latent_dim) for row in step)
        for window, digest in remaining(stage, rows, source, vae.window, bar):
            where = [
                f"{shown(source)}, row {number}" for number in range(stage.items + 1, stage.items + 1 + len(window))
            ]
            good = [row is not None for row in attempted(decodable, window, where, skip)]
            z = torch.from_numpy(np.stack(window))
            z[[not one for one in good]] = 0
            texts = vae.decode(z, first=stage.items, **decoding)
            kept = [one_line(text) if one else "" for text, one in zip(texts, good)]
            stage.append("".join(f"{text}\n" for text in kept).encode(), len(window), digest)
            bar.update(len(window))
    stage.finish()
    return stage.items


def run_settings(vae: Any, checkpoint: str) -> Dict[str, Any]:
    """What the results of a run depend on beside its input."""
    words = hashlib.sha256("\n".join(vae.task.target_dictionary.symbols).encode()).hexdigest()
    return {"checkpoint": fingerprint(checkpoint), "dictionary": words, "batch_size": vae.batch_size}


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
