"""Nearest lines by a graph, against all distances; an index and its graphs are of one text."""

import json
import sys

import numpy as np
import pytest
import torch

from fairseq_vae import index as module
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import fingerprint, write
from fairseq_vae.index import METRICS, Index

Z = 16


def saved(folder, z):
    """An index of these z's, and its checkpoint, a file of one's own."""
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint.pt").write_text("weights")
    np.save(folder / "z.npy", z.astype(np.float32))
    (folder / "text.txt").write_text("".join(f"line {i}\n" for i in range(1, len(z) + 1)))
    write(folder / "index.json", json.dumps({"checkpoint": fingerprint(folder / "checkpoint.pt"), "text": "abc"}))
    return Index(str(folder), str(folder / "checkpoint.pt"))


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(1).standard_normal((4000, Z))


@pytest.mark.parametrize("metric", METRICS)
def test_a_graph_finds_almost_all_that_all_distances_find(tmp_path, normal, metric):
    """Rows of NaN lie between; what is found has its exact distance; the graph is made once."""
    z = normal * np.linspace(0.2, 3, Z)
    z[5::7] = np.nan
    index, told = saved(tmp_path / "index", z), []
    index.graph(metric, told.append)
    assert len(told) == 1 and f"made of {np.isfinite(z).all(1).sum():,} lines" in told[0]
    queries = torch.from_numpy(np.random.default_rng(2).standard_normal((50, Z)))
    exact, near = (index.search(queries, 10, metric, approximate) for approximate in (False, True))
    share = np.mean([len({n.number for n in a} & {n.number for n in b}) / 10 for a, b in zip(exact, near)])
    assert share > 0.95 and index.recall(metric) > 0.95
    for a, b in zip(exact, near):
        known = {one.number: one for one in a}
        assert len(b) == 10 and sorted(b, key=lambda one: one.distance) == b
        for one in b:
            if one.number in known:
                assert one.distance == pytest.approx(known[one.number].distance, abs=1e-9)
                assert one.text == f"line {one.number}"
    path = next((tmp_path / "index").glob("*.hnsw"))
    before = path.stat().st_mtime_ns
    assert index.search(queries, 10, metric, True) == near and path.stat().st_mtime_ns == before


def test_an_index_of_another_bpe_is_refused(tmp_path):
    index = saved(tmp_path / "index", np.zeros((3, Z)))
    (tmp_path / "model").write_text("pieces")
    bpe = {"bpe": "sentencepiece", "sentencepiece_model": str(tmp_path / "model")}
    with pytest.raises(InputError, match="is the index of lines by another BPE"):
        Index(index.folder, str(tmp_path / "index/checkpoint.pt"), bpe)
    with pytest.raises(InputError, match="-1 neighbours: expected 1 or more"):
        index.search(torch.zeros(1, Z), -1)


def test_fewer_lines_than_neighbours_and_equal_lines_come_in_the_texts_order(tmp_path):
    index = saved(tmp_path / "index", np.array([[1.0] * Z, [0.0] * Z, [1.0] * Z, [np.nan] * Z]))
    for approximate in False, True:
        [found] = index.search(torch.ones(1, Z), 9, "euclidean", approximate)
        assert [one.number for one in found] == [1, 3, 2] and found[0].distance == 0


def test_equally_near_lines_keep_the_texts_order_far_from_0_and_among_many(tmp_path):
    """Products of matrices would give 1 but for rounding, which then would make the order."""
    generator = np.random.default_rng(3)
    corner = 2 + generator.integers(0, 2**21, Z) / 2**21  # float32 has these, and one more or less, exactly
    corner[0] = 1e7
    z = corner + generator.permutation(np.concatenate((np.eye(Z)[1:], -np.eye(Z)[1:])))
    index = saved(tmp_path / "index", np.concatenate((z, z)))
    [found] = index.search(torch.from_numpy(corner[None]), 50)
    assert [one.number for one in found] == list(range(1, 51)) and {one.distance for one in found} == {1.0}


@pytest.mark.parametrize("metric", METRICS)
def test_queries_are_compared_in_blocks_and_a_block_does_not_matter(tmp_path, normal, monkeypatch, metric):
    index, sizes = saved(tmp_path / "index", normal[:300]), []
    queries = torch.from_numpy(normal[300:450])
    one_by_one = [index.search(query[None], 5, metric)[0] for query in queries]

    def watched(some, lines, metric):
        sizes.append(len(some))
        return distances(some, lines, metric)

    distances = module.distances
    monkeypatch.setattr(module, "distances", watched)
    monkeypatch.setattr(module, "CHUNK", 128)
    found = index.search(queries, 5, metric)
    assert [[one.number for one in row] for row in found] == [[one.number for one in row] for row in one_by_one]
    assert max(sizes) <= 64 and sum(sizes) == 3 * 150, "memory is of a block"


def test_more_neighbours_than_lines_are_all_lines(tmp_path, normal):
    index = saved(tmp_path / "index", normal[:20])
    for approximate in False, True:
        [found] = index.search(torch.zeros(1, Z), 2**40, "euclidean", approximate)
        assert sorted(one.number for one in found) == list(range(1, 21))


def test_the_share_that_a_graph_finds_does_not_count_the_line_itself(tmp_path, normal, monkeypatch):
    """A graph that finds nothing but the line itself has found none; exact search has found all."""
    index = saved(tmp_path / "index", np.concatenate((normal[:30], normal[:30])))
    exactly = index.exactly
    monkeypatch.setattr(index, "by_graph", lambda lines, count, metric: exactly(lines, count, metric))
    assert index.recall() == 1
    alone = saved(tmp_path / "alone", normal[:30])
    monkeypatch.setattr(alone, "by_graph", lambda lines, *_: [(torch.tensor([i]), None) for i in range(len(lines))])
    assert alone.recall() == 0


def test_a_graph_is_of_one_text_and_checkpoint(tmp_path, normal):
    """The files of another text's graph, left behind, are not taken."""
    index = saved(tmp_path / "index", normal[:50])
    index.graph("euclidean")
    about = json.loads((tmp_path / "index/index.json").read_text())
    np.save(tmp_path / "index/z.npy", normal[50:100].astype(np.float32))
    write(tmp_path / "index/index.json", json.dumps({**about, "text": "another"}))
    other = Index(str(tmp_path / "index"), str(tmp_path / "index/checkpoint.pt"))
    [found] = other.search(torch.from_numpy(normal[60:61]), 1, approximate=True)
    assert found[0].number == 11 and found[0].distance < 1e-5
    (tmp_path / "index/checkpoint.pt").write_text("other weights")
    with pytest.raises(InputError, match="is the index of another checkpoint"):
        Index(str(tmp_path / "index"), str(tmp_path / "index/checkpoint.pt"))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("index.json", "{", "index.json is damaged"),
        ("index.json", "[]", "index.json is damaged"),
        ("z.npy", "", "z.npy or text.txt is damaged"),
        ("text.txt", "line 1\n", "z.npy or text.txt is damaged"),
    ],
)
def test_a_damaged_index_is_one_line(tmp_path, normal, name, content, message):
    saved(tmp_path / "index", normal[:5])
    (tmp_path / "index" / name).write_text(content)
    with pytest.raises(InputError, match=message):
        Index(str(tmp_path / "index"), str(tmp_path / "index/checkpoint.pt"))


def test_bad_searches_are_one_line(tmp_path, normal, monkeypatch):
    index = saved(tmp_path / "index", normal[:5])
    with pytest.raises(InputError, match=r"queries of shape \(1, 3\): expected Q x 16"):
        index.search(torch.zeros(1, 3), 1)
    with pytest.raises(InputError, match="metric dot: expected one of euclidean, cosine"):
        index.search(torch.zeros(1, Z), 1, "dot")
    (tmp_path / "index/euclidean-x.hnsw").write_text("")
    index.graphs = str(tmp_path / "index/{}-x.hnsw")
    with pytest.raises(InputError, match="hnsw is damaged: delete it"):
        index.search(torch.zeros(1, Z), 1, "euclidean", True)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match="needs faiss: pip install faiss-cpu"):
        index.search(torch.zeros(1, Z), 1, "cosine", True)


def test_a_full_disk_leaves_no_graph_and_one_line(tmp_path, normal):
    index = saved(tmp_path / "index", normal[:50])
    path = index.graphs.format("cosine")
    (tmp_path / "index" / f"{path.rpartition('/')[2]}.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match="cannot be written .No space left on device"):
        index.graph("cosine")
    assert not list((tmp_path / "index").glob("*.hnsw"))
