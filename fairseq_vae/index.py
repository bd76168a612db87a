"""Nearest sentences in z: an index of a text's lines, made once, searched exactly or by a graph.

Shapes: N lines, Q queries, K neighbours, Z latent dimensions.
"""

import glob
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from .base.errors import InputError
from .base.files import fingerprint, write
from .base.lines import read_lines
from .vectors import Report, encode_file, tokenizer_settings

__all__ = ["METRICS", "Index", "Neighbour"]

METRICS = ("euclidean", "cosine")
CHUNK, BLOCK = 65536, 64  # lines, and queries, compared at a time
LINKS, BUILDING, SEARCHING = 32, 200, 128  # of a graph: links of a line, candidates when it is made and searched


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
        bpe: settings of its BPE, as of Strings

    Raises:
        InputError: the folder has no index, or that of another checkpoint or BPE
    """

    def __init__(self, folder: str, checkpoint: str, bpe: Optional[Dict[str, str]] = None):
        self.folder, path = folder, os.path.join(folder, "index.json")
        try:
            with open(path, encoding="utf-8") as file:
                about = json.load(file)
            owner, self.text = str(about["checkpoint"]), str(about["text"])
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(f"{folder} has no index: give the text to make it from (--text FILE)") from error
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is damaged: delete {folder}, and make it again (--text FILE)") from error
        if owner != fingerprint(checkpoint):
            raise InputError(f"{folder} is the index of another checkpoint: give another folder, or delete it")
        if about.get("bpe", {}) != tokenizer_settings(bpe):
            raise InputError(f"{folder} is the index of lines by another BPE: give another folder, or delete it")
        try:
            self.z = np.load(os.path.join(folder, "z.npy"), mmap_mode="r", allow_pickle=False)
            self.texts = read_lines(os.path.join(folder, "text.txt"))
            whole = self.z.ndim == 2 and len(self.z) == len(self.texts)
        except (OSError, ValueError, EOFError):
            whole = False
        if not whole:
            raise InputError(f"{folder}: z.npy or text.txt is damaged: delete the folder, and make it again")
        self.graphs = os.path.join(folder, f"{{}}-{owner[:12]}-{self.text[:12]}.hnsw")  # another text has other files

    @classmethod
    def build(cls, vae: Any, checkpoint: str, text: str, folder: str, skip: Optional[Report] = None) -> "Index":
        """Encode a text's lines into a folder; an interrupted run goes on where it was.

        Args:
            vae: a hub interface
            checkpoint: its file
            text: a file, a sentence a line
            folder: made if it is missing
            skip: told of each line that cannot be encoded, which is nobody's neighbour; None: such a line is an error

        Raises:
            InputError: the folder has the index of another text or checkpoint, or see encode_file
        """
        index = os.path.join(folder, "index.json")
        if os.path.isfile(index):
            found = cls(folder, checkpoint, vae.settings)
            if found.text != fingerprint(text):
                raise InputError(f"{folder} is the index of another text: give another folder, or delete it")
            return found
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise InputError(f"{folder} is a file: expected a folder for the index")
        if not os.path.isfile(text):
            raise InputError(f"{text}: there is no such text file")
        os.makedirs(folder, exist_ok=True)
        encode_file(vae, checkpoint, text, os.path.join(folder, "z.npy"), skip)
        for old in glob.glob(os.path.join(glob.escape(folder), "*.hnsw")):
            os.remove(old)
        write(os.path.join(folder, "text.txt"), "".join(f"{line}\n" for line in read_lines(text)))
        about = {"checkpoint": fingerprint(checkpoint), "text": fingerprint(text)}
        write(index, json.dumps({**about, "bpe": tokenizer_settings(vae.settings)}))
        return cls(folder, checkpoint, vae.settings)

    def search(
        self, queries: Tensor, count: int, metric: str = "euclidean", approximate: bool = False
    ) -> List[List[Neighbour]]:
        """The nearest lines of each query, nearest first; of equally near ones the first of the text.

        Args:
            queries: Q x Z
            count: K
            metric: one of METRICS
            approximate: search a graph, which `graph` makes if there is none, and which may miss some

        Returns:
            K neighbours of each query, fewer if the text has fewer lines

        Raises:
            InputError: the queries have another width, or the metric is unknown; see `graph`
        """
        if count < 1:
            raise InputError(f"{count} neighbours: expected 1 or more")
        if metric not in METRICS:
            raise InputError(f"metric {metric}: expected one of {', '.join(METRICS)}")
        if queries.dim() != 2 or queries.size(1) != self.z.shape[1]:
            raise InputError(f"queries of shape {tuple(queries.shape)}: expected Q x {self.z.shape[1]}")
        queries = queries.double().cpu()
        count = min(count, len(self.z))
        find = self.by_graph if approximate else self.exactly
        return [
            [Neighbour(n + 1, d, self.texts[n]) for n, d in zip(row.tolist(), near.tolist()) if d < float("inf")]
            for row, near in find(queries, count, metric)
        ]

    def exactly(self, queries: Tensor, count: int, metric: str) -> List[Any]:
        """Numbers, from 0, and distances of each query's neighbours, by all distances; arguments as of `search`."""
        rows: List[Any] = []
        for block in queries.split(BLOCK):
            best = torch.full((len(block), 0), 0.0, dtype=torch.float64)
            numbers = torch.zeros(len(block), 0, dtype=torch.long)
            for start in range(0, len(self.z), CHUNK):
                lines = torch.from_numpy(np.array(self.z[start : start + CHUNK])).double()
                found = distances(block, lines, metric).nan_to_num(nan=float("inf"))
                best = torch.cat((best, found), 1)
                numbers = torch.cat((numbers, torch.arange(start, start + len(lines)).expand(len(block), -1)), 1)
                order = best.sort(dim=1, stable=True).indices[:, :count]
                best, numbers = best.gather(1, order), numbers.gather(1, order)
            rows += zip(numbers, best)
        return rows

    def by_graph(self, queries: Tensor, count: int, metric: str) -> List[Any]:
        """The same by the graph's candidates, whose distances are exact; arguments as of `search`."""
        graph = self.graph(metric)
        import faiss  # `graph` says so where it is missing

        inner: Any = faiss.downcast_index(graph.index)
        inner.hnsw.efSearch = max(SEARCHING, 2 * count)
        _, candidates = graph.search(comparable(queries.numpy(), metric), max(1, min(count, graph.ntotal)))
        found = []
        for query, row in zip(queries, candidates):
            numbers = torch.from_numpy(np.sort(row[row >= 0]))
            exact = distances(query[None], torch.from_numpy(self.z[numbers.numpy()]).double(), metric)[0]
            order = exact.argsort(stable=True)
            found.append((numbers[order], exact[order]))
        return found

    def graph(self, metric: str, told: Optional[Report] = None) -> Any:
        """The graph of the lines, from its file or made: a hierarchical navigable small world, by faiss.

        Malkov & Yashunin 2018, https://arxiv.org/abs/1603.09320.

        Args:
            metric: one of METRICS
            told: of the share of exact neighbours that a new graph finds

        Raises:
            InputError: faiss is not installed, or the graph's file is damaged
        """
        try:
            import faiss
        except ImportError as error:
            raise InputError("a graph of neighbours needs faiss: pip install faiss-cpu, or search exactly") from error
        path = self.graphs.format(metric)
        if os.path.isfile(path):
            try:
                return faiss.read_index(path)
            except RuntimeError as error:
                raise InputError(f"{path} is damaged: delete it, and it is made again") from error
        flat = faiss.IndexHNSWFlat(self.z.shape[1], LINKS)
        flat.hnsw.efConstruction = BUILDING
        graph = faiss.IndexIDMap(flat)
        for start in range(0, len(self.z), CHUNK):
            lines = np.array(self.z[start : start + CHUNK])
            numbers = np.flatnonzero(np.isfinite(lines).all(1))
            graph.add_with_ids(comparable(lines[numbers], metric), start + numbers)
        write(path, faiss.serialize_index(graph).tobytes())
        if told is not None:
            told(f"{path}: made of {graph.ntotal:,} lines; it finds {self.recall(metric):.1%} of the 10 nearest")
        return graph

    def recall(self, metric: str = "euclidean", count: int = 10, queries: int = 100) -> float:
        """The share of the exact neighbours of lines of the text, spread evenly over it, that the graph finds.

        A line is no neighbour of its own: that every graph finds.

        Args:
            metric: one of METRICS
            count: K, neighbours of each line
            queries: number of lines
        """
        numbers = np.arange(0, len(self.z), max(1, len(self.z) // queries))
        numbers = numbers[np.isfinite(self.z[numbers]).all(1)]
        lines = torch.from_numpy(np.array(self.z[numbers])).double()
        more = min(count + 1, len(self.z))  # with the line itself
        hits = total = 0
        for own, (exact, near), (found, _) in zip(
            numbers.tolist(), self.exactly(lines, more, metric), self.by_graph(lines, more, metric)
        ):
            wanted = [n for n in exact[near < float("inf")].tolist() if n != own][:count]
            hits += len({n for n in found.tolist() if n != own} & set(wanted))
            total += len(wanted)
        return hits / max(1, total)


def comparable(rows: np.ndarray, metric: str) -> np.ndarray:
    """Rows whose Euclidean distances have the metric's order: as they are, or with norm 1, for the graph; float32."""
    if metric == "cosine":
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray(rows, np.float32)


def distances(queries: Tensor, lines: Tensor, metric: str) -> Tensor:
    """Distances of queries from lines, Q x N.

    Args:
        queries: Q x Z
        lines: N x Z
        metric: one of METRICS
    """
    if metric == "cosine":
        return 1 - torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(lines).T
    # by differences: equal distances come out equal, and keep the text's order
    return torch.cdist(queries, lines, compute_mode="donot_use_mm_for_euclid_dist")
