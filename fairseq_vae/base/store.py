"""Values by name that outlive the process: each is a file, whole or not there, as soon as it is made.

A tensor is NAME.npy, a named tuple of tensors and of such tuples NAME.npz, a list of strings NAME.jsonl with a string a
line. settings.json holds a header and the fingerprint of every file. Nothing is pickled and nothing imported: a folder
runs no code.
"""

import hashlib
import io
import json
import os
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .files import write

__all__ = ["Store"]

Value = Union[Tensor, Tuple[Tensor, ...], List[str]]

FORMAT = 1  # of a folder: raised when older readers cannot read it
INDEX = "settings.json"
CLASS = "class"  # entry of an .npz; no field has the name, as it is a keyword


class Store(Dict[str, Any]):
    """A dictionary in memory and, with a folder, on disk as well.

    Args:
        folder: its values are there at once; made if it is missing; None keeps everything in memory

    Attributes:
        header: the folder's, of JSON; empty in a new one
        damaged: names whose files are missing or changed, with the reason; their values are not there

    Raises:
        InputError: the folder holds other files than a store's

    >>> store = Store()
    >>> store.make("low high", lambda: (torch.zeros(2), torch.ones(2)))
    >>> store.make("high", lambda: [torch.zeros(2)])  # is there already
    >>> store["high"]
    tensor([1., 1.])
    """

    def __init__(self, folder: Optional[str] = None):
        super().__init__()
        self.folder = folder
        self.header: Dict[str, Any] = {}
        self.damaged: Dict[str, str] = {}
        self.files: Dict[str, str] = {}  # name to fingerprint
        if folder is not None and os.path.exists(folder):
            self.read(folder)

    def read(self, folder: str) -> None:
        """Take over the values of a folder."""
        path = os.path.join(folder, INDEX)
        if not os.path.isfile(path):
            others = sorted(name for name in os.listdir(folder) if not name.endswith(".part"))
            if others:
                raise InputError(f"{folder} holds other files ({others[0]}): give another folder")
            return
        try:
            with open(path, encoding="utf-8") as file:
                index = json.load(file)
            if index["format"] != FORMAT:
                raise ValueError
            self.header, files = index["header"], dict(index["files"])
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is damaged or of another version: give another folder, or delete it") from error
        for file, fingerprint in files.items():
            name = os.path.splitext(file)[0]
            try:
                with open(os.path.join(folder, os.path.basename(file)), "rb") as stream:
                    content = stream.read()
                if digest(content) != fingerprint:
                    raise ValueError(f"{file} is damaged")
                self[name], self.files[file] = decoded(file, content), fingerprint
            except FileNotFoundError:
                self.damaged[name] = f"{file} is missing"
            except ValueError as error:
                self.damaged[name] = str(error)

    def describe(self, header: Dict[str, Any]) -> None:
        """Set the header."""
        self.header = header
        self.write_index()

    def add(self, **values: Value) -> None:
        """Add values, each file before the next one; none where one cannot be kept.

        Raises:
            InputError: a named tuple that is to go to disk has a field that is no tensor
        """
        files = {} if self.folder is None else {name: encoded(value) for name, value in values.items()}
        for name, value in values.items():
            if self.folder is not None:
                suffix, content = files[name]
                os.makedirs(self.folder, exist_ok=True)
                write(os.path.join(self.folder, name + suffix), content)
                self.files[name + suffix] = digest(content)
                self.write_index()
            self[name] = value

    def make(self, names: str, function: Callable[[], Sequence[Any]]) -> None:
        """Add a function's results, unless there are values of all the names already.

        Args:
            names: separated by spaces
            function: without arguments, to a value for each name
        """
        keys = names.split()
        if not all(key in self for key in keys):
            self.add(**dict(zip(keys, function())))

    def write_index(self) -> None:
        """Write the header and the fingerprints; without a folder, do nothing."""
        if self.folder is not None:
            os.makedirs(self.folder, exist_ok=True)
            index = {"format": FORMAT, "header": self.header, "files": self.files}
            write(os.path.join(self.folder, INDEX), json.dumps(index, indent=2, ensure_ascii=False) + "\n")


def digest(content: bytes) -> str:
    """The SHA-256 of contents, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def encoded(value: Value) -> Tuple[str, bytes]:
    """A value as a file: its suffix and contents.

    Raises:
        InputError: a field of a named tuple is no tensor
    """
    stream = io.BytesIO()
    if isinstance(value, Tensor):
        np.save(stream, value.numpy(), allow_pickle=False)
        return ".npy", stream.getvalue()
    if isinstance(value, tuple):
        np.savez(stream, **arrays_of(value))
        return ".npz", stream.getvalue()
    return ".jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in value).encode("utf-8")


def can_keep(value: Any) -> bool:
    """Whether a named tuple can be written to a folder: whether its fields are tensors, and named tuples of such."""
    try:
        return bool(arrays_of(value))
    except InputError:
        return False


def arrays_of(value: Any, prefix: str = "") -> Dict[str, np.ndarray]:
    """The fields of a named tuple by name, its class among them; those of a named tuple in it with its name in front.

    Raises:
        InputError: a field is neither a tensor nor a named tuple
    """
    kind = type(value)
    arrays = {prefix + CLASS: np.array(f"{kind.__module__}.{kind.__qualname__}")}
    for name, field in value._asdict().items():
        if isinstance(field, Tensor):
            arrays[prefix + name] = field.detach().numpy()
        elif hasattr(field, "_fields"):
            arrays.update(arrays_of(field, f"{prefix}{name}."))
        else:
            raise InputError(
                f"{kind.__name__}.{name} is no tensor: a {kind.__name__} cannot be kept on disk; leave --keep out"
            )
    return arrays


def decoded(file: str, content: bytes) -> Value:
    """The inverse of encoded, for a file's name and contents.

    Raises:
        ValueError: it holds a class that is not imported
    """
    if file.endswith(".jsonl"):
        return [json.loads(line) for line in content.decode("utf-8").split("\n")[:-1]]
    loaded = np.load(io.BytesIO(content), allow_pickle=False)
    if file.endswith(".npy"):
        return tensor(loaded)
    return made(file, dict(loaded))


def made(file: str, arrays: Dict[str, np.ndarray]) -> Any:
    """The inverse of arrays_of.

    Raises:
        ValueError: the file holds a class that is not imported
    """
    path, fields = str(arrays.pop(CLASS)), list(dict.fromkeys(name.partition(".")[0] for name in arrays))
    kind = named_tuple(path)
    if kind is None or list(kind._fields) != fields:
        raise ValueError(f"{file} holds a {path} of {', '.join(fields)}: import it first")

    def field(name: str) -> Any:
        within = {key[len(name) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{name}.")}
        return made(file, within) if within else tensor(arrays[name])

    return kind(*map(field, fields))


def tensor(array: np.ndarray) -> Tensor:
    """A tensor in memory that torch aligns, so that sums come out as those of the tensor that was written."""
    return torch.from_numpy(array).clone()


def named_tuple(path: str) -> Any:
    """A class of named tuples by module and name, if its module is imported already; else None."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields") else None
