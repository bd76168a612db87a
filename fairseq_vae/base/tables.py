"""Vectors in files: .npy (means alone), .jsonl and .parquet (text, mu and logvar), written and read step by step.

A line that has no vector is a row of NaN; in .jsonl and .parquet it is null.

Shapes: N rows, Z numbers of a row, W rows of a step.
"""

import contextlib
import itertools
import json
import os
import sys
from typing import IO, Any, Dict, Iterator, List, Optional, Sequence, Type

import numpy as np

from .errors import InputError
from .stage import Stage

__all__ = ["JsonTable", "NpyTable", "ParquetTable", "read_vectors", "table"]

MAGIC = b"\x93NUMPY\x01\x00"
HEAD = 128  # bytes of a .npy file before its numbers
NO_NPY = "{} is no .npy file that numpy.save wrote"
STEP = 1024  # rows that are read or converted at a time


class NpyTable(Stage):
    """Means as a .npy file of N x Z float32 numbers.

    Args:
        path: of the file
        settings: see Stage
        width: Z
    """

    def __init__(self, path: str, settings: Dict[str, Any], width: int):
        super().__init__(path, settings)
        self.width = width
        if not self.size:
            self.append(bytes(HEAD), 0)  # the number of rows is known at the end

    def add(self, texts: Sequence[str], mu: np.ndarray, logvar: Optional[np.ndarray], digest: str) -> None:
        """Add rows.

        Args:
            texts: W
            mu: W x Z, float32
            logvar: W x Z; None: not known
            digest: of the input so far
        """
        self.append(np.ascontiguousarray(mu, "<f4").tobytes(), len(texts), digest)

    def close(self) -> None:
        """Finish the file."""
        shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({self.items}, {self.width}), }}"
        size = HEAD - len(MAGIC) - 2
        self.finish(MAGIC + size.to_bytes(2, "little") + shape.ljust(size - 1).encode("latin1") + b"\n")


class JsonTable(Stage):
    """Texts, means and log-variances as JSON, an object a line.

    Args:
        path: of the file
        settings: see Stage
        width: Z
    """

    def __init__(self, path: str, settings: Dict[str, Any], width: int):
        super().__init__(path, settings)
        self.width = width

    def add(self, texts: Sequence[str], mu: np.ndarray, logvar: Optional[np.ndarray], digest: str) -> None:
        """Add rows; arguments as those of NpyTable."""
        lines = []
        for index, text in enumerate(texts):
            row: Dict[str, Any] = {"text": text, "mu": numbers(mu[index])}
            if logvar is not None:
                row["logvar"] = numbers(logvar[index])
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        self.append("".join(lines).encode(), len(texts), digest)

    def close(self) -> None:
        """Finish the file."""
        self.finish()


class ParquetTable(JsonTable):
    """Texts, means and log-variances as a Parquet file, made of JSON at the end: Parquet cannot go on after a kill."""

    def __init__(self, path: str, settings: Dict[str, Any], width: int):
        parquet(path)  # is it installed?
        super().__init__(path, settings, width)

    def close(self) -> None:
        """Finish the file."""
        pyarrow = parquet(self.path)
        import pyarrow.parquet as pq

        vector = pyarrow.list_(pyarrow.float32())
        schema = pyarrow.schema([("text", pyarrow.string()), ("mu", vector), ("logvar", vector)])
        temporary = f"{self.path}.part.parquet"
        with open(self.part, encoding="utf-8", newline="\n") as lines, pq.ParquetWriter(temporary, schema) as writer:
            for rows in steps(lines):
                found = [{"logvar": None, **json.loads(line)} for line in rows]
                writer.write_table(pyarrow.Table.from_pylist(found, schema))
        os.replace(temporary, self.path)
        os.remove(self.part)
        os.remove(self.journal)


TABLES: Dict[str, Type[Any]] = {".npy": NpyTable, ".jsonl": JsonTable, ".parquet": ParquetTable}


def table(path: str, settings: Dict[str, Any], width: int) -> Any:
    """The table to write to a file, by its ending.

    Args:
        path: of the file, .npy, .jsonl or .parquet
        settings: see Stage
        width: Z

    Raises:
        InputError: the ending is unknown, or a beginning of other settings lies there
    """
    ending = os.path.splitext(path)[1]
    if ending not in TABLES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(TABLES)}")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise InputError(f"{path}: the folder {folder} does not exist")
    return TABLES[ending](path, {**settings, "format": ending}, width)


def numbers(row: np.ndarray) -> Optional[List[float]]:
    """A row as JSON; None for NaN. A float32 number has 9 significant digits at most."""
    return None if np.isnan(row).any() else [float(f"{value:.9g}") for value in row.tolist()]


def steps(lines: Iterator[Any]) -> Iterator[List[Any]]:
    """Cut an iterator into lists of STEP items."""
    return iter(lambda: list(itertools.islice(lines, STEP)), [])


def parquet(path: str) -> Any:
    """pyarrow, which .parquet needs.

    Raises:
        InputError: it is not installed
    """
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(
            f"{path}: a .parquet file needs pyarrow: pip install pyarrow, or give .npy or .jsonl"
        ) from error
    return pyarrow


def read_vectors(path: str, width: int) -> Iterator[np.ndarray]:
    """Read vectors step by step: .npy, .jsonl or .parquet (column `z`, or else `mu`), or "-", standard input.

    Standard input is .npy if it begins like one, and otherwise JSON: an object with `z` or `mu`, or a list, a line.

    Args:
        path: of the file
        width: Z, which each row must have

    Returns:
        arrays of W x Z, float32; the rows' numbers are not checked

    Raises:
        InputError: the file is of another kind or width; the message names the row
    """
    if path.endswith(".parquet"):
        return parquet_rows(path, width)
    return stream_rows(path, width)


def stream_rows(path: str, width: int) -> Iterator[np.ndarray]:
    """The rows of a .npy or .jsonl file, or of standard input."""
    with contextlib.ExitStack() as stack:
        stream: IO[bytes] = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
        head = stream.read(len(MAGIC))
        if head[:6] == MAGIC[:6] and len(head) == len(MAGIC):
            yield from npy_rows(stream, path, head[6], width)
            return
        if path.endswith(".npy") or head[:6] == MAGIC[:6]:
            raise InputError(NO_NPY.format(path))
        first = head + stream.readline()
        done = 0
        for lines in steps(iter(stream.readline, b"") if not first else prepended(first, stream)):
            yield np.stack([json_row(line, f"{path}, line {done + i + 1}", width) for i, line in enumerate(lines)])
            done += len(lines)


def prepended(first: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream whose first line was read before."""
    yield from first.splitlines(keepends=True)
    yield from stream


def npy_rows(stream: IO[bytes], path: str, version: int, width: int) -> Iterator[np.ndarray]:
    """The rows of a .npy stream behind its magic bytes."""
    read = np.lib.format.read_array_header_1_0 if version == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(stream)
    except (ValueError, SyntaxError, TypeError) as error:
        raise InputError(NO_NPY.format(path)) from error
    plain = dtype.kind == "f" and not fortran
    if not plain or len(shape) != 2 or shape[1] != width:
        raise InputError(
            f"{path}: an array of {dtype} numbers and shape {shape}; expected float32 rows of {width} numbers, N x "
            f"{width} (numpy.ascontiguousarray, .astype('float32'))"
        )
    for start in range(0, shape[0], STEP):
        count = min(STEP, shape[0] - start)
        content = stream.read(count * width * dtype.itemsize)
        if len(content) < count * width * dtype.itemsize:
            raise InputError(f"{path} ends before its row {shape[0]:,}: it was cut off; write it again")
        yield np.frombuffer(content, dtype).reshape(count, width).astype(np.float32)


def json_row(line: Any, where: str, width: int) -> np.ndarray:
    """The vector of a line of JSON, or of an object of its columns.

    Raises:
        InputError: it has no vector of Z numbers
    """
    try:
        row = json.loads(line) if isinstance(line, bytes) else line
        value = (row["z"] if "z" in row else row["mu"]) if isinstance(row, dict) else row
        found = np.full(width, np.nan, np.float32) if value is None else np.asarray(value, np.float32)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{where}: expected an object with `z` or `mu`, or a list of {width} numbers") from error
    if found.shape != (width,):
        raise InputError(f"{where}: {found.size} numbers in shape {found.shape}; expected {width}")
    return found


def parquet_rows(path: str, width: int) -> Iterator[np.ndarray]:
    """The rows of a .parquet file."""
    parquet(path)
    import pyarrow
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file ({str(error).splitlines()[0]})") from error
    column = next((name for name in ("z", "mu") if name in file.schema_arrow.names), None)
    if column is None:
        raise InputError(f"{path} has the columns {', '.join(file.schema_arrow.names)}; expected `z` or `mu`")
    done = 0
    for batch in file.iter_batches(STEP, columns=[column]):
        rows = batch.column(0).to_pylist()
        yield np.stack([json_row({"z": row}, f"{path}, row {done + i + 1}", width) for i, row in enumerate(rows)])
        done += len(rows)
