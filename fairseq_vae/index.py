"""Nearest sentences in z: an index of a text's lines, made once.

Shapes: N lines, Q queries, K neighbours, Z latent dimensions.
"""

import json
import os
from typing import Any, List, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .base.errors import InputError
from .base.files import fingerprint, write
from .base.lines import read_lines
from .hub import BARTVAEHubInterface
from .vectors import encode_file

__all__ = ["METRICS", "Index", "Neighbour"]

METRICS = ("euclidean", "cosine")
CHUNK = 65536  # lines compared at a time


class Neighbour(NamedTuple):
    """A line near a query.

    Attributes:
        number: of the line in its text, from 1
        distance: Euclidean, or 1 - cosine
        text: the line
    """

    number: int
    distance: float
    text: str


class Index:
    """The means of a text's lines in a folder: z.npy, text.txt and index.json, which names the checkpoint.

    Args:
        folder: that `build` filled
        checkpoint: the model's file

    Raises:
        InputError: the folder has no index, or that of another checkpoint
    """

    def __init__(self, folder: str, checkpoint: str):
        path = os.path.join(folder, "index.json")
        try:
            with open(path, encoding="utf-8") as file:
                about = json.load(file)
            owner, self.text = about["checkpoint"], about["text"]
        except FileNotFoundError as error:
            raise InputError(f"{folder} has no index: give the text to make it from (--text FILE)") from error
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is damaged: delete {folder}, and make it again (--text FILE)") from error
        if owner != fingerprint(checkpoint):
            raise InputError(f"{folder} is the index of another checkpoint: give another folder, or delete it")
        self.z = np.load(os.path.join(folder, "z.npy"), mmap_mode="r", allow_pickle=False)
        self.texts = read_lines(os.path.join(folder, "text.txt"))

    @classmethod
    def build(cls, vae: BARTVAEHubInterface, checkpoint: str, text: str, folder: str, skip: Any = None) -> "Index":
        """Encode a text's lines into a folder; an interrupted run goes on where it was.

        Args:
            vae: the model
            checkpoint: its file
            text: a file, a sentence a line
            folder: made if it is missing
            skip: told of each line that cannot be encoded, which is nobody's neighbour; None: such a line is an error

        Raises:
            InputError: the folder has the index of another text or checkpoint, or see encode_file
        """
        index = os.path.join(folder, "index.json")
        if os.path.isfile(index):
            found = cls(folder, checkpoint)
            if found.text != fingerprint(text):
                raise InputError(f"{folder} is the index of another text: give another folder, or delete it")
            return found
        os.makedirs(folder, exist_ok=True)
        encode_file(vae, checkpoint, text, os.path.join(folder, "z.npy"), skip)
        write(os.path.join(folder, "text.txt"), "".join(f"{line}\n" for line in read_lines(text)))
        write(index, json.dumps({"checkpoint": fingerprint(checkpoint), "text": fingerprint(text)}))
        return cls(folder, checkpoint)

    def search(self, queries: Tensor, count: int, metric: str = "euclidean") -> List[List[Neighbour]]:
        """The nearest lines of each query, exactly, nearest first; of equally near ones the first of the text.

        Args:
            queries: Q x Z
            count: K
            metric: one of METRICS

        Returns:
            K neighbours of each query, fewer if the text has fewer lines
        """
        queries = queries.double().cpu()
        best = torch.full((len(queries), 0), 0.0, dtype=torch.float64)
        numbers = torch.zeros(len(queries), 0, dtype=torch.long)
        for start in range(0, len(self.z), CHUNK):
            lines = torch.from_numpy(np.array(self.z[start : start + CHUNK])).double()
            found = distances(queries, lines, metric).nan_to_num(nan=float("inf"))
            best = torch.cat((best, found), 1)
            numbers = torch.cat((numbers, torch.arange(start, start + len(lines)).expand(len(queries), -1)), 1)
            order = best.sort(dim=1, stable=True).indices[:, :count]
            best, numbers = best.gather(1, order), numbers.gather(1, order)
        return [
            [Neighbour(n + 1, d, self.texts[n]) for n, d in zip(row, near) if d < float("inf")]
            for row, near in zip(numbers.tolist(), best.tolist())
        ]


def distances(queries: Tensor, lines: Tensor, metric: str) -> Tensor:
    """Distances of queries from lines, Q x N.

    Args:
        queries: Q x Z
        lines: N x Z
        metric: one of METRICS
    """
    if metric == "cosine":
        return 1 - torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(lines).T
    return torch.cdist(queries, lines)
