"""Values in a folder: exact, whole or not there, and safe to read."""

import hashlib
import json
import math
import os
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.store import Store
from fairseq_vae.latent.distributions import Gaussian
from fairseq_vae.latent.prior import StandardNormal

TEXTS = ["", "a  b", "ü \u2028\x85 \n\r\t\\", "\U0001f600 \ufffd"]
VALUES = {
    "table": torch.tensor([[0.1, -0.0], [math.inf, math.nan]]),
    "sums": torch.randn(5, dtype=torch.float64),
    "lengths": torch.arange(3),
    "flags": torch.tensor([True, False]),
    "empty": torch.empty(0, 2),
    "posterior": Gaussian(torch.randn(3, 2), torch.randn(3, 2)),
    "prior": StandardNormal(2)(),
    "texts": TEXTS,
    "none": [],
}


def same(a, b):
    if torch.is_tensor(a):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b)) if isinstance(a, tuple) else a == b


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "new/folder"
    store = Store(str(folder))
    store.describe({"of": "ü"})
    store.add(**VALUES)
    return folder


def test_values_come_back_exactly(folder):
    store = Store(str(folder))
    assert store.header == {"of": "ü"} and not store.damaged and list(store) == list(VALUES)
    for name, value in VALUES.items():
        assert same(store[name], value), name
    assert all(part.is_contiguous() for part in store["posterior"])
    assert (folder / "texts.jsonl").read_text(encoding="utf-8").splitlines()[0] == '""'


def test_the_same_values_are_the_same_files(folder, tmp_path):
    again = Store(str(tmp_path / "again"))
    again.describe({"of": "ü"})
    again.add(**VALUES)
    assert sorted(os.listdir(folder)) == sorted(os.listdir(tmp_path / "again"))
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_without_a_folder_everything_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store()
    store.describe({})
    store.add(**VALUES)
    assert store == VALUES and not os.listdir(tmp_path)


def test_only_what_is_missing_is_made(folder):
    calls = []

    def made(*values):
        calls.append(values)
        return values

    store = Store(str(folder))
    store.make("flags lengths", lambda: made(1, 2))
    assert not calls
    store.make("flags new", lambda: made(torch.ones(2), torch.zeros(3)))
    assert len(calls) == 1 and store["flags"].tolist() == [1, 1]
    assert same(Store(str(folder))["flags"], torch.ones(2)) and same(Store(str(folder))["new"], torch.zeros(3))


@pytest.mark.parametrize("at, expected", enumerate((TEXTS, None, ["other"], ["other"])))
def test_an_interruption_leaves_whole_values_only(folder, monkeypatch, at, expected):
    """In one of the four renames: each value's file, and the index after it."""
    replace, calls = os.replace, []

    def interrupted(source, target):
        calls.append(target)
        if len(calls) > at:
            raise KeyboardInterrupt
        replace(source, target)

    store = Store(str(folder))
    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.add(texts=["other"], last=torch.ones(1))
    monkeypatch.undo()
    found = Store(str(folder))
    assert found.get("texts") == expected and "last" not in found
    for name in set(VALUES) - {"texts"}:
        assert same(found[name], VALUES[name])
    found.add(last=torch.ones(1), texts=TEXTS)
    assert same(Store(str(folder))["last"], torch.ones(1)) and not list(folder.glob("*.part"))


@pytest.mark.parametrize("name", VALUES)
def test_damage_is_named_and_everything_else_is_there(folder, name):
    [path] = folder.glob(f"{name}.*")
    content = path.read_bytes()
    for damaged, reason in (
        (content[:-1], "damaged"),
        (content + b"\n", "damaged"),
        (b"", "damaged"),
        (bytes([*content[:-1], content[-1] ^ 1]) if content else b"x", "damaged"),
        (None, "missing"),
    ):
        if damaged == content:
            continue
        path.unlink() if damaged is None else path.write_bytes(damaged)
        store = Store(str(folder))
        assert store.damaged == {name: f"{path.name} is {reason}"} and set(store) == set(VALUES) - {name}
    store.make(name, lambda: [VALUES[name]])
    assert path.read_bytes() == content and not Store(str(folder)).damaged


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 0, "header": {}, "files": {}}', '{"format": 1, "header": {}}', "\xff"]
)
def test_an_index_that_cannot_be_read_is_refused(folder, content):
    (folder / "settings.json").write_text(content, encoding="latin-1")
    with pytest.raises(
        InputError, match=r"settings.json is damaged or of another version: give another folder, or del"
    ):
        Store(str(folder))


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "settings.json.part").write_text("half")
    assert not Store(str(tmp_path)).header
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(thesis.tex\): give another folder"):
        Store(str(tmp_path))
    with pytest.raises(OSError):
        Store(str(tmp_path / "thesis.tex"))


class Ran(Exception):
    pass


class Hostile:
    def __reduce__(self):
        return exec, ("raise Ran", {"Ran": Ran})


def put(folder, name, content):
    """A file that somebody wrote with a true fingerprint."""
    (folder / name).write_bytes(content)
    index = json.loads((folder / "settings.json").read_text())
    index["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "settings.json").write_text(json.dumps(index))


def test_reading_runs_and_imports_nothing(folder, tmp_path):
    np.save(tmp_path / "bad.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    put(folder, "bad.npy", (tmp_path / "bad.npy").read_bytes())
    for number, name in enumerate(
        ("antigravity.Gaussian", "os.system", "builtins.tuple", "fairseq_vae.base.store.Store")
    ):
        np.savez(tmp_path / "bad.npz", **{"class": np.array(name), "mu": np.zeros(1)})
        put(folder, f"bad{number}.npz", (tmp_path / "bad.npz").read_bytes())
    store = Store(str(folder))
    assert set(store) == set(VALUES) and len(store.damaged) == 5
    assert store.damaged["bad0"] == "bad0.npz holds a antigravity.Gaussian of mu: import it first"
    outside = tmp_path / "outside.jsonl"
    outside.write_text('"secret"\n')
    index = json.loads((folder / "settings.json").read_text())
    index["files"]["../../outside.jsonl"] = hashlib.sha256(outside.read_bytes()).hexdigest()
    (folder / "settings.json").write_text(json.dumps(index))
    assert ["secret"] not in Store(str(folder)).values()


class Flow(NamedTuple):
    mean: torch.Tensor
    network: Any


def test_a_distribution_that_is_more_than_tensors_is_refused(tmp_path):
    value = Flow(torch.zeros(2), torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="Flow.network is no tensor: a Flow cannot be kept on disk"):
        Store(str(tmp_path / "folder")).make("z posterior", lambda: [torch.zeros(2), value])
    assert not (tmp_path / "folder").exists(), "nothing of what belongs together"
    store = Store()
    store.add(posterior=value)
    assert store["posterior"] is value
    Store(str(tmp_path / "folder")).add(posterior=value._replace(network=torch.ones(1)))
    assert isinstance(Store(str(tmp_path / "folder"))["posterior"], Flow)
