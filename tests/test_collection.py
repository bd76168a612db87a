"""Collections on disk: exact, resumable after any part, refused where they are of something else."""
# ruff: noqa: F811  fixtures are imported

import json
import re
import shutil

import pytest
import torch
from evaluation import checkpoint, collected, everything, made, made_up  # noqa: F401  fixtures
from helpers import write_data
from test_distributions import Opaque
from test_store import same

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.store import Store
from fairseq_vae.collect import collect
from fairseq_vae.evaluate import evaluate
from fairseq_vae.measure.collection import PARTS, Collection, asked, resumed
from fairseq_vae.measure.scoring import Scorer
from fairseq_vae.measure.summary import summarise

GIVEN = ("responses", "references")  # parts of conditional models alone, see test_context
OWN = tuple(name for name in PARTS if name not in GIVEN)
DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2] or b"?",
    "changed": lambda content: content[:-2] + b"?\n",
}


def equal(a, b):
    return all(x == y if name in ("settings", "given") else same(x, y) for name, x, y in zip(a._fields, a, b))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(collected, tmp_path_factory):
    """The folder of a collection with all parts."""
    folder = tmp_path_factory.mktemp("whole") / "kept"
    collected.save(str(folder))
    return folder


def test_a_collection_comes_back_exactly_and_so_do_its_figures(collected, whole):
    assert {name for name, part in collected._asdict().items() if part is None} == set(GIVEN)
    loaded = Collection.load(str(whole))
    assert equal(loaded, collected)
    assert summarise(loaded, mi_batch=4) == summarise(collected, mi_batch=4)
    loaded.save(str(whole.parent / "again"))
    assert contents(whole.parent / "again") == contents(whole)


def test_parts_that_are_left_out_stay_out(tmp_path):
    left_out = (
        "lm",
        "texts",
        "reconstructions",
        "greedy",
        "samples",
        "samples_z",
        "copied",
        "labels",
        "given_bytes",
        "nll_iw_fitted",
        "samples_fitted",
        "samples_lm",
        "samples_fitted_lm",
        "noised",
        "walked",
    )
    none = dict.fromkeys(
        (
            "text",
            "text_sentences",
            "max_len",
            "training",
            "language_model",
            "labels",
            "given_text",
            "fitted",
            "smoothness",
            "told",
        )
    )
    collection = made_up(**dict.fromkeys(left_out))
    collection = collection._replace(settings=collection.settings._replace(**none))
    collection.save(str(tmp_path / "kept"))
    assert equal(Collection.load(str(tmp_path / "kept")), collection)
    assert set(asked(collection.settings)) == set(OWN) - set(left_out)


def test_shapes_and_types_are_those_documented(collected):
    n, z, k, m = 12, 8, 5, 12
    assert collected.posterior.mu.shape == collected.z.shape == collected.kl.shape == (n, z)
    assert collected.prior.mu.shape == (z,) and collected.samples_z.shape == (m, z)
    for name in ("rec", "nll_iw", "effective", "shuffled", "zero", "from_prior", "lm"):
        assert getattr(collected, name).shape == (n,) and getattr(collected, name).dtype == torch.float64, name
    assert collected.z.dtype == torch.float32 and collected.lengths.dtype == torch.int64
    assert ((1 <= collected.effective) & (collected.effective <= k + 1e-9)).all()
    assert [len(text.split()) + 1 for text in collected.texts] == collected.lengths.tolist()
    assert len(collected.reconstructions) == len(collected.greedy) == len(collected.samples) == m
    assert set(collected.copied) <= set(collected.samples) and collected.labels == ["a", "b"] * 6


def test_reconstructions_stand_at_their_sentences(made, checkpoint, collected):
    from fairseq_vae import hub

    vae = hub.load(checkpoint, str(made))
    for index in (0, 3, 11):
        mu = collected.posterior.mu[index : index + 1]
        assert (
            vae.decode(mu, beam=5, max_len=collected.settings.max_len) == collected.reconstructions[index : index + 1]
        )
        assert vae.decode(mu, beam=1, max_len=collected.settings.max_len) == collected.greedy[index : index + 1]
        z = collected.samples_z[index : index + 1]
        assert vae.decode(z, beam=1, max_len=collected.settings.max_len) == collected.samples[index : index + 1]


@pytest.mark.parametrize("done", range(len(OWN) + 1))
def test_an_interrupted_collection_resumes_bit_for_bit(made, checkpoint, everything, collected, whole, tmp_path, done):
    """After each of its files: an index of the first files, and the next one half-written."""
    index = json.loads((whole / "settings.json").read_text())
    files = list(index["files"])
    assert len(files) == len(OWN)
    folder = tmp_path / "kept"
    shutil.copytree(whole, folder)
    for file in files[done:]:
        (folder / file).unlink()
    (folder / "lm.npy.part").write_bytes(b"half")
    (folder / "settings.json").write_text(
        json.dumps({**index, "files": {file: index["files"][file] for file in files[:done]}})
    )
    if done < len(OWN):
        with pytest.raises(InputError, match=r"kept: \w+ is not there yet; evaluate with --keep .*kept again"):
            Collection.load(str(folder))
    assert equal(collect(checkpoint, str(made), keep=str(folder), **everything), collected)
    assert equal(Collection.load(str(folder)), collected)
    assert {name: text for name, text in contents(folder).items() if name in files} == {
        name: text for name, text in contents(whole).items() if name in files
    }


def test_an_interruption_in_the_middle_of_scoring_loses_only_that_part(
    made, checkpoint, everything, collected, tmp_path, monkeypatch
):
    names = []
    nll = Scorer.nll

    def interrupted(self, z, name):
        names.append(name)
        if name == "zero z" and names.count(name) == 1:
            raise KeyboardInterrupt
        return nll(self, z, name)

    monkeypatch.setattr(Scorer, "nll", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(checkpoint, str(made), keep=str(tmp_path), **everything)
    assert set(Store(str(tmp_path))) >= {"posterior", "z", "kl", "rec", "nll_iw", "effective", "shuffled"}
    assert equal(collect(checkpoint, str(made), keep=str(tmp_path), **everything), collected)
    assert names == ["shuffled z", "zero z", "zero z", "prior z", "language model"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_parts_are_named_and_made_again(made, checkpoint, everything, collected, whole, tmp_path, damage):
    for file in json.loads((whole / "settings.json").read_text())["files"]:
        folder = tmp_path / file
        shutil.copytree(whole, folder)
        (folder / file).write_bytes(DAMAGE[damage]((whole / file).read_bytes()))
        with pytest.raises(
            InputError, match=f"{re.escape(file)} is damaged; evaluate with --keep .* again, which makes it"
        ):
            Collection.load(str(folder))
    folder = tmp_path / "all"
    shutil.copytree(whole, folder)
    for file in json.loads((whole / "settings.json").read_text())["files"]:
        (folder / file).write_bytes(DAMAGE[damage]((whole / file).read_bytes()))
    assert equal(collect(checkpoint, str(made), keep=str(folder), **everything), collected)
    assert contents(folder) == {**contents(whole), "settings.json": (folder / "settings.json").read_bytes()}


@pytest.mark.parametrize(
    "name, there, here",
    [
        ("seed", 1, 7),
        ("samples", 5, 2),
        ("text_sentences", 12, 3),
        ("split", "test", "train"),
        ("labels", None, None),
        ("language_model", None, None),
        ("checkpoint", None, None),
        ("data", None, None),
        ("training", None, None),
    ],
)
def test_a_folder_of_other_settings_is_refused(made, checkpoint, everything, whole, tmp_path, name, there, here):
    arguments = {"checkpoint": checkpoint, "data": str(made), **everything}
    rows = [[1, 2], [3], *[[4]] * 10]
    if name in ("seed", "samples", "split"):
        arguments[name] = here
    elif name == "text_sentences":
        arguments["generate"] = here
    elif name == "labels":
        (tmp_path / "labels").write_text("b\na\n" * 6)
        arguments["labels"] = str(tmp_path / "labels")
    elif name in ("checkpoint", "language_model"):
        state = torch.load(arguments[name])
        state["model"]["decoder.embed_tokens.weight"][5] += 1
        torch.save(state, tmp_path / "other.pt")
        shutil.copy(made / "dict.txt", tmp_path)
        arguments[name] = str(tmp_path / "other.pt")
        arguments["prior"] = None if name == "checkpoint" else arguments["prior"]  # it is of the checkpoint
    elif name == "data":
        arguments["data"] = write_data(tmp_path, test=rows, train=rows)
    else:
        shutil.copytree(made, tmp_path / "data")
        arguments["data"] = write_data(tmp_path / "data", train=rows)
    if name == "split":
        arguments.update(labels=None, text=None, generate=11)
    before = contents(whole)
    with pytest.raises(InputError) as error:
        collect(**arguments, keep=str(whole))
    expected = rf"--keep {whole} belongs to other settings \((\w+): (\S+) there, (\S+) here\): "
    found = re.fullmatch(expected + "give another folder, or delete it", str(error.value))
    assert found, error.value
    assert found.group(1) == ("data" if name == "split" else name)  # the first difference
    if there is not None and name != "split":
        assert found.groups()[1:] == (str(there), str(here))
    assert contents(whole) == before


def test_the_same_files_elsewhere_are_the_same_collection(made, everything, collected, whole, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "moved")
    shutil.copytree(whole, tmp_path / "kept")
    monkeypatch.setattr(Scorer, "score", None)
    monkeypatch.setattr(Scorer, "distributions", None)
    moved = {
        "language_model": str(tmp_path / "moved/lm/checkpoint_best.pt"),
        "labels": str(tmp_path / "moved/labels"),
    }
    path = str(tmp_path / "moved/vae/checkpoint_best.pt")
    arguments = {**everything, **moved, "max_tokens": 50, "words": 80}
    found = collect(path, str(tmp_path / "moved"), keep=str(tmp_path / "kept"), **arguments)
    assert (found.given.checkpoint, found.given.data, found.given.words) == (path, "moved", 80)
    assert equal(found._replace(given=collected.given), collected)
    assert Collection.load(str(tmp_path / "kept")).given == found.given


def test_text_labels_and_a_language_model_may_come_later(made, checkpoint, everything, tmp_path, monkeypatch):
    folder, calls = str(tmp_path / "kept"), []
    score = Scorer.score

    def counted(self, z_of, samples, name, indices=None):
        calls.append(name)
        return score(self, z_of, samples, name, indices)

    monkeypatch.setattr(Scorer, "score", counted)
    few, all_of_it = {"samples": 5, "generate": 0}, everything
    for arguments, made_now in (
        (few, ["importance samples", "shuffled z", "zero z", "prior z"]),
        ({**few, "language_model": all_of_it["language_model"]}, ["language model"]),
        (all_of_it, ["importance samples"]),  # under the fitted prior
        (few, []),
        (all_of_it, []),
    ):
        calls.clear()
        kept = evaluate(checkpoint, str(made), keep=folder, **arguments)
        assert calls == made_now
        assert kept == evaluate(checkpoint, str(made), **arguments)
    assert equal(Collection.load(folder), collect(checkpoint, str(made), **all_of_it))


def test_a_model_without_a_latent_is_kept_too(made, tmp_path):
    arguments = {"checkpoint": str(made / "lm/checkpoint_best.pt"), "data": str(made), "generate": 3}
    kept = evaluate(**arguments, keep=str(tmp_path / "kept"))
    assert kept == evaluate(**arguments) == evaluate(**arguments, samples=9, keep=str(tmp_path / "kept"))
    assert summarise(Collection.load(str(tmp_path / "kept"))) == kept


def test_what_holds_no_collection_is_told(made, checkpoint, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for folder, message in (
        (tmp_path, "holds other files (thesis.tex): give another folder"),
        (tmp_path / "none", "none holds no collection: expected a folder that `fairseq-vae evaluate --keep` wrote"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            Collection.load(str(folder))
    with pytest.raises(InputError, match="holds other files"):
        evaluate(checkpoint, str(made), keep=str(tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "mine" and not (tmp_path / "none").exists()
    store = Store(str(tmp_path / "other"))
    store.describe({"settings": {"checkpoint": "of another version"}, "given": {}})
    with pytest.raises(InputError, match="other is of another version: give another folder, or delete it"):
        Collection.load(str(tmp_path / "other"))
    collection = made_up()
    with pytest.raises(InputError, match="of another version"):
        resumed(collection.settings, collection.given, str(tmp_path / "other"))


def test_a_posterior_of_a_users_own_is_kept(tmp_path):
    """A named tuple of tensors, as the guide to priors has it."""
    collection = made_up()
    users = Opaque(*collection.posterior)
    collection._replace(posterior=users).save(str(tmp_path / "kept"))
    loaded = Collection.load(str(tmp_path / "kept"))
    assert isinstance(loaded.posterior, Opaque) and same(loaded.posterior, users)
    found = summarise(loaded, mi_batch=3)
    assert found == summarise(collection._replace(posterior=users), mi_batch=3) and found["mi_batch"] is None
