"""fairseq-vae curve: what is made once, what goes on, what fails, and what is read back. test_rate.py draws it."""

import contextlib
import fcntl
import io
import json
import shutil
import threading
import time
from pathlib import Path

import finetuning
import pytest
import torch
from evaluation import made_up
from helpers import POSTERIORS

from fairseq_vae.base.errors import InputError, NotWritten
from fairseq_vae.cli import main
from fairseq_vae.finetune import curve, steps
from fairseq_vae.finetune.curve import Curve, chains
from fairseq_vae.finetune.gather import gather, hold
from fairseq_vae.finetune.kept import difference, prints
from fairseq_vae.finetune.study import Point, read_study
from fairseq_vae.report.rate import caption, table

pytestmark = pytest.mark.usefixtures("quick_conversion")

STUDY = """
flags: {arch: bart_vae_tiny, latent-dim: 4, max-tokens: 64, num-workers: 0}
arms:
  language-model: {zero-latent: true, updates: 2}
  plain: {}
points: {kl-weight: [1, 0.1]}
updates: 3
warm_updates: 2
evaluate: {samples: 2, generate: 2}
"""
FIGURES = {"rec": 20.0, "kl": 5.0, "neg_elbo": 25.0, "mi": 1.0, "mi_cap": 1.4, "split": "valid", "sentences": 4}
FIGURES.update({"samples": 2, "au": 3, "nll_gap_shuffled": 2.0, "bleu_greedy": 9.0, "exact_match_greedy": 0.5})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return finetuning.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def study(made, tmp_path):
    """Reads STUDY, with a part of it replaced, on binarised text and from random weights."""

    def read(old="", new="", data="data", **options):
        (tmp_path / "study.yaml").write_text(STUDY.replace(old, new, 1) if old else STUDY)
        return read_study(str(tmp_path / "study.yaml"), data=str(made / data), **options)

    return read


@pytest.fixture
def calls(made, monkeypatch):
    """Trainings and evaluations in place of their processes: (point's folder, "train" or "evaluate", flags).

    A point whose folder holds a file named `bad` fails in training.
    """
    found = []

    def train(command, log, updates):
        flags = dict(part[2:].partition("=")[::2] for part in command if part.startswith("--"))
        folder = Path(flags["save-dir"])
        found.append((str(folder.parent), "train", flags))
        if (folder.parent / "bad").exists():
            raise InputError("fairseq-train failed: no more")
        folder.mkdir(exist_ok=True)
        state = torch.load(made / "bart/model.pt")
        state["optimizer_history"][-1]["num_updates"] = updates
        torch.save({**state, "last_optimizer_state": {"much": torch.ones(9)}}, folder / "checkpoint_last.pt")

    def call(command, progress=False):
        flags = dict(part[2:].partition("=")[::2] for part in command if part.startswith("--"))
        found.append((str(Path(command[2]).parent), "evaluate", flags))
        Path(flags["json"]).write_text(json.dumps({**FIGURES, "split": flags["split"]}))
        return "table\n"

    monkeypatch.setattr(steps, "train", train)
    monkeypatch.setattr(curve, "call", call)
    return found


@pytest.fixture
def run(tmp_path, calls, monkeypatch):
    """Runs a study in `out`; gives what was called since the last run: points' folders there, and what was done."""
    monkeypatch.setattr(Curve, "check", lambda self, points: None)

    def go(study, *arms):
        calls.clear()
        Curve(study, str(tmp_path / "out"), arms).run()
        return [(str(Path(folder).relative_to(tmp_path / "out")), what) for folder, what, _ in calls]

    return go


LM, FIRST, SECOND = (
    f"{p}" for p in ("language-model/seed-1/only", "plain/seed-1/kl-weight-0.1", "plain/seed-1/kl-weight-1")
)
PLAIN_OF_SEED_2 = [place.replace("seed-1", "seed-2") for place in (FIRST, SECOND)]
WHOLE = [(place, what) for place in (LM, FIRST, SECOND) for what in ("train", "evaluate")]


def test_every_point_is_trained_from_the_one_before_then_evaluated_and_made_once(study, run, calls, tmp_path, capsys):
    assert run(study()) == WHOLE
    out = tmp_path / "out"
    flags = [flags for _, what, flags in calls if what == "train"]
    assert ["finetune-from-model" in f for f in flags] == [False, False, True]
    assert flags[2]["finetune-from-model"] == str(out / FIRST / "model.pt")
    assert [(f.get("kl-weight"), f["max-update"], f["seed"]) for f in flags[1:]] == [
        ("0.1", "3", "1"),
        ("1", "2", "1001"),
    ]
    printed = capsys.readouterr().out
    assert "3 points, 0 of them done before; 7 updates to go, and 3 evaluations" in printed
    assert "point 3 of 3: plain, seed 1, kl-weight=1 (0 min" in printed
    assert sorted(path.name for path in (out / SECOND).iterdir()) == [
        *("model.pt", "settings.json", "valid.json", "valid.txt"),
    ], "checkpoints with the optimizer's state are gone"
    assert torch.load(out / SECOND / "model.pt")["last_optimizer_state"] is None
    assert (out / "plain/seed-1/dict.txt").exists()
    assert run(study()) == [] and "3 points, 3 of them done before; 0 updates to go" in capsys.readouterr().out


def test_a_study_grows_and_is_tested_without_training_again(study, run):
    run(study())
    lower = [("plain/seed-1/kl-weight-3", what) for what in ("train", "evaluate")]
    assert run(study("[1, 0.1]", "[1, 0.1, 3]"), "plain") == lower
    assert run(study("arms:", "arms:\n  wide: {latent-dim: 8}"), "wide") == [
        (place.replace("plain", "wide"), what) for place, what in WHOLE[2:]
    ]
    assert run(study("updates: 3", "seeds: [1, 2]\nupdates: 3")) == [
        (place.replace("seed-1", "seed-2"), what) for place, what in WHOLE
    ]
    assert run(study("updates: 3", "split: test\nupdates: 3")) == [(place, "evaluate") for place in (LM, FIRST, SECOND)]


def test_what_was_interrupted_goes_on_and_trains_no_update_twice(study, run, made, tmp_path):
    run(study())
    folder = tmp_path / "out" / SECOND
    (folder / "valid.json").unlink()
    assert run(study()) == [(SECOND, "evaluate")]
    for updates, expected in (1, WHOLE[4:]), (2, WHOLE[5:]):  # of 2: stopped before the end, and right after it
        (folder / "valid.json").unlink()
        (folder / "model.pt").unlink()
        (folder / "checkpoints").mkdir()
        state = torch.load(made / "bart/model.pt")
        state["optimizer_history"][-1]["num_updates"] = updates
        torch.save(state, folder / "checkpoints/checkpoint_last.pt")
        assert run(study()) == expected


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("latent-dim: 4", "latent-dim: 8", "only was made with latent-dim=4, the study has latent-dim=8: set it back"),
        ("num-workers: 0", "num-workers: 0, bow-weight: 1", "made with no bow-weight, the study has bow-weight=1"),
        ("warm_updates: 2", "warm_updates: 9", "kl-weight-1 was made with max-update=2, the study has max-update=9"),
        ("warm_updates: 2", "warm: false", "kl-weight-1 was made with start=kl-weight=0.1, the study has start=random"),
        ("samples: 2", "samples: 9", "out was made with samples=2, the study has samples=9"),
    ],
)
def test_another_setting_is_refused_by_its_name_before_anything_runs(study, run, calls, old, new, message):
    run(study())
    with pytest.raises(InputError, match=message):
        run(study(old, new))
    assert not calls


def test_figures_of_other_settings_are_no_points_of_the_study(study, run, tmp_path, capsys):
    """What was made otherwise, and what started from it, has failed; one arm's trainings are no leave to mix."""
    run(study())
    out = str(tmp_path / "out")
    rows = gather(study("updates: 3", "updates: 4"), out)
    assert [row["state"] for row in rows] == ["done", "failed", "failed"]
    assert {row["reason"] for row in rows[1:]} == {
        "kl-weight=0.1 was made with max-update=3, the study has max-update=4"
    }
    other = study("latent-dim: 4", "latent-dim: 8").path
    assert main(["curve", other, out, "--draw"]) == 1
    assert "3 of 3 points failed, first language-model, seed 1, only: only was made with latent-dim=4" in (
        capsys.readouterr().err
    )
    with pytest.raises(InputError, match="out was made with samples=2, the study has samples=9"):
        gather(study("samples: 2", "samples: 9"), out)
    found = study("generate: 2", "generate: 2, max-tokens: 99")
    assert run(found) == [] and {row["state"] for row in gather(found, out)} == {"done"}, "it changes no figure"


def test_another_runs_settings_are_found_where_a_point_is_made(study, run, tmp_path):
    found = study()
    path = tmp_path / "out" / FIRST / "settings.json"
    path.parent.mkdir(parents=True)
    first = Curve(found, str(tmp_path / "out"))
    first.check_settings()
    path.write_text(json.dumps({"start": "random weights", "flags": {**first.points[1].flags, "lr": "9"}}))
    assert not first.make(first.points[1])
    assert json.loads(path.read_text())["flags"]["lr"] == "9", "what the other run wrote is not lost"


def test_a_point_whose_start_is_gone_is_not_trained_from_another(study, run, tmp_path):
    run(study())
    (tmp_path / "out" / FIRST / "model.pt").unlink()
    assert run(study("[1, 0.1]", "[1, 0.1, 3]"), "plain")[:2] == [
        ("plain/seed-1/kl-weight-3", what) for what in ("train", "evaluate")
    ]
    (tmp_path / "out" / SECOND / "model.pt").unlink()
    (tmp_path / "out" / SECOND / "valid.json").unlink()
    assert run(study()) == []
    rows = gather(study(), str(tmp_path / "out"))
    assert rows[-1]["state"] == "failed" and rows[-1]["reason"].endswith(
        f"{FIRST}/model.pt is gone, from which it starts: delete {tmp_path}/out/{FIRST} to make it again"
    )


def test_what_made_a_point_is_kept_and_several_versions_are_told(study, run, tmp_path, monkeypatch):
    run(study(), "plain")
    out = str(tmp_path / "out")
    assert "versions" not in caption(gather(study(), out), True)
    monkeypatch.setattr(curve, "source_fingerprint", lambda folders: "0123456789abcdef")
    (tmp_path / "out" / SECOND / "valid.json").unlink()
    run(study())
    rows = gather(study(), out)
    assert [len(row["code"]) for row in rows] == [1, 1, 2] and rows[0]["code"] == ["0123456789ab"]
    (tmp_path / "out" / SECOND / "settings.json").unlink()
    assert len(gather(study(), out)[2]["code"]) == 1, "that of the point it starts from"
    assert "2 versions of the code made them, see curve.json." in caption(rows, True)


def test_a_language_models_updates_grow_with_a_chain_unless_it_has_its_own(study, run):
    run(study("true, updates: 2", "true"))
    with pytest.raises(InputError, match="give the arm 'language-model' `updates` of its own"):
        run(
            study(
                "true, updates: 2}\n  plain: {}\npoints: {kl-weight: [1, 0.1]}",
                "true}\n  plain: {}\npoints: {kl-weight: [1, 0.1, 3]}",
            )
        )


def test_a_folder_in_which_nothing_was_begun_takes_other_settings(study, made, tmp_path, calls, monkeypatch):
    text = shutil.copytree(made / "text", tmp_path / "text")
    given = {"data": text, "bart": str(made / "bart/model.pt")}
    monkeypatch.setattr(steps, "call", lambda command: Path(command[-2][len("--destdir=") :]).mkdir())
    out = tmp_path / "out"
    with pytest.raises(InputError, match="dict.txt does not exist"):  # of a folder with nothing in it
        Curve(study(**given), str(out)).run()
    assert not calls and not [path.name for path in out.iterdir() if path.name != ".lock"]
    (out / "data-bin").mkdir()
    with pytest.raises(InputError, match="data-bin is there, but no settings.json beside it"):
        Curve(study(**given), str(out)).run()
    assert (out / "data-bin").exists(), "what no run made is not deleted"
    (out / "data-bin").rmdir()
    for kept in out / "other arm/seed-1/only/settings.json", out / ".begun":  # of another study, or run
        kept.parent.mkdir(parents=True, exist_ok=True)
        Curve(study(**given), str(out)).check_settings()
        kept.write_text("{}")
        with pytest.raises(InputError, match="dict.txt does not exist"):
            Curve(study(**given), str(out)).run()
        assert (out / "data-bin").exists() and (out / "settings.json").exists(), "others go on with them"
        (out / "settings.json").unlink()
        for folder in "data-bin", "data-bin-pieces":
            shutil.rmtree(out / folder)
        if kept.suffix:
            with pytest.raises(InputError, match="other arm.* is there, but no settings.json beside it"):
                Curve(study(**given), str(out)).run()
        kept.unlink()


def test_older_folders_go_on(study, run, tmp_path):
    found = study("generate: 2", "generate: 2, max-tokens: 99")
    run(found)
    path = tmp_path / "out/settings.json"
    kept = json.loads(path.read_text())
    del kept["pairs"]
    kept["evaluate"]["max-tokens"] = "77"
    path.write_text(json.dumps(kept))
    assert run(found) == [] and {row["state"] for row in gather(found, str(tmp_path / "out"))} == {"done"}


def test_other_data_and_another_bart_are_refused(study, run, made, tmp_path):
    run(study())
    with pytest.raises(InputError, match="made with no bart, the study has bart="):
        run(study(bart=str(made / "bart/model.pt")))
    other = shutil.copytree(made / "data", tmp_path / "other")
    finetuning.binarise(other, "train", ["a dog"], made / "bart/sentencepiece.bpe.model")
    with pytest.raises(InputError, match="made with train="):
        run(study(data=other))
    (tmp_path / "out" / LM / "settings.json").write_text("{")
    with pytest.raises(InputError, match="only/settings.json is damaged"):
        run(study())


def test_a_failure_ends_its_chain_and_no_other_and_is_shown(study, run, tmp_path, capsys):
    found = study("warm_updates: 2", "warm_updates: 2\nseeds: [1, 2]")
    bad = tmp_path / "out" / FIRST / "bad"
    bad.parent.mkdir(parents=True)
    bad.touch()
    made = run(found)
    assert (FIRST, "evaluate") not in made and (SECOND, "train") not in made
    assert (SECOND.replace("seed-1", "seed-2"), "evaluate") in made
    rows = {(row["arm"], row["seed"], row["setting"]): row for row in gather(found, str(tmp_path / "out"))}
    first, second = (rows["plain", 1, f"kl-weight={value}"] for value in ("0.1", "1"))
    assert (first["state"], first["reason"]) == ("failed", "fairseq-train failed: no more")
    assert (second["state"], second["reason"]) == ("failed", "not trained, since kl-weight=0.1 failed")
    assert rows["plain", 2, "kl-weight=1"]["state"] == "done"
    arguments = ["curve", str(tmp_path / "study.yaml"), str(tmp_path / "out"), "--data", found.data]
    assert main([*arguments, "--draw"]) == 1
    shown = capsys.readouterr()
    assert "2 of 6 points failed, first plain, seed 1, kl-weight=0.1: fairseq-train failed: no more" in shown.err
    assert "(1 failed)" in shown.out
    bad.unlink()
    assert run(found) == WHOLE[2:], "a failure is tried again"
    assert {row["state"] for row in gather(found, str(tmp_path / "out"))} == {"done"}


def test_what_is_left_is_estimated_from_what_was_spent(study, tmp_path):
    found = Curve(study(), str(tmp_path / "out"))
    assert found.estimate(found.points) is None
    found.spent["updates"].amount, found.spent["updates"].seconds = 10, 20.0
    assert found.estimate(found.points) is None, "without an evaluation it would be far too short"
    found.spent["evaluations"].amount, found.spent["evaluations"].seconds = 2, 14.0
    assert found.estimate(found.points) == (2 + 3 + 2) * 2 + 3 * 7
    folder = tmp_path / "out" / FIRST
    folder.mkdir(parents=True)
    (folder / "model.pt").touch()
    assert found.estimate(found.points) == (2 + 2) * 2 + 3 * 7, "it is trained already"
    with pytest.raises(ZeroDivisionError), found.spent["updates"].more(5):
        raise ZeroDivisionError
    assert found.spent["updates"].amount == 10


def test_arms_of_other_parts_start_from_the_same_weights(study, made, tmp_path):
    """What one arm's model adds to the checkpoint that it loads is no other arm's."""
    found = study("plain: {}", "plain: {}\n  mixture: {latent-prior: mixture}", bart=str(made / "bart/model.pt"))
    arms = sorted(found.arms, reverse=True)
    made_of = Curve(found, str(tmp_path / "out"))
    made_of.check(sorted(found.points, key=lambda point: arms.index(point.arm)))
    assert not made_of.unkept


def test_what_the_first_batch_would_refuse_is_refused_before_the_first_training(study, calls, tmp_path):
    found = study("plain: {}", "plain: {}\n  mixture: {latent-prior: mixture, free-bits: 0.1}")
    with pytest.raises(InputError, match="mixture, kl-weight=0.1: --free-bits-mode dimension: .* not known for each"):
        Curve(found, str(tmp_path / "out")).run()
    assert not calls


@pytest.mark.skipif("flow" not in POSTERIORS, reason="needs zuko")
def test_distributions_that_cannot_be_kept_are_evaluated_without(study, calls, made, tmp_path):
    found = study("plain: {}", "plain: {}\n  stretched: {latent-posterior: flow}", bart=str(made / "bart/model.pt"))
    made_of = Curve(found, str(tmp_path / "out"))
    made_of.check(made_of.points)
    assert made_of.unkept == {"stretched"}
    made_of.study = found._replace(pairs=True)
    for point in made_of.points:
        made_of.folder(point).mkdir(parents=True)
        made_of.evaluate(point, made_of.folder(point) / "valid.json")
        assert ("keep" in calls[-1][2]) == (point.arm != "stretched")


def test_a_full_disk_stops_the_run(study, run, calls, monkeypatch):
    def full(*_):
        raise NotWritten("no space")

    monkeypatch.setattr(steps, "train", full)
    with pytest.raises(NotWritten):
        run(study())


def test_what_there_is_can_be_drawn_in_between(study, run, tmp_path, capsys):
    found = study()
    arguments = ["curve", str(tmp_path / "study.yaml"), str(tmp_path / "out"), "--draw"]
    assert main(arguments) == 1 and "no point that was evaluated on valid" in capsys.readouterr().err
    run(found, "plain")
    assert main(arguments) == 0
    assert "1 of 3 points are not there yet" in capsys.readouterr().out
    kept = json.loads((tmp_path / "out/curve.json").read_text())
    assert [row["state"] for row in kept["points"]] == ["missing", "done", "done"]
    assert [row["updates"] for row in kept["points"]] == [2, 3, 3 + 2], "all that each has seen"
    assert kept["points"][1]["figures"]["rec"] == 20.0 and kept["warm"] and kept["split"] == "valid"
    for name in "curve.md", "curve.svg", "curve.png":
        assert (tmp_path / "out" / name).stat().st_size > 100
    (tmp_path / "out" / FIRST / "valid.json").write_text("{")
    assert main(arguments) == 1 and "valid.json is damaged" in capsys.readouterr().err


def test_runs_side_by_side_share_the_chains(study, run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(steps, "PATIENCE", 0.2)
    found = study("warm_updates: 2", "warm_updates: 2\nseeds: [1, 2]")
    first, second = (tmp_path / f"out/plain/seed-{seed}" for seed in (1, 2))
    first.mkdir(parents=True)
    with open(first / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = run(found)
        assert {place for place, _ in made if "plain" in place} == set(PLAIN_OF_SEED_2)
        assert "Another run is at work on 2 points" in capsys.readouterr().out
        arguments = [
            "curve",
            str(tmp_path / "study.yaml"),
            str(tmp_path / "out"),
            "--data",
            found.data,
            "--only",
            "plain",
        ]
        shutil.move(tmp_path / "out/plain/seed-2", tmp_path / "seed-2")
        second.mkdir()
        with open(second / ".lock", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert main(arguments) == 0, "there is nothing to do, and nothing is wrong"
        shutil.rmtree(second)
        shutil.move(tmp_path / "seed-2", second)
    assert run(found) == WHOLE[2:], "it has left them"

    def meanwhile(self, point):  # another run makes the second seed's, and fails at its last point
        if point.seed == 1 and not (second / "kl-weight-1").exists():
            for place in second / "kl-weight-0.1", second / "kl-weight-1":
                place.mkdir(parents=True)
            for name in "model.pt", "valid.json":
                (second / "kl-weight-0.1" / name).write_text("{}")
            (second / "kl-weight-1/failed.txt").write_text("no")
        return make(self, point)

    shutil.rmtree(tmp_path / "out/plain")
    make = Curve.make
    monkeypatch.setattr(Curve, "make", meanwhile)
    assert run(found, "plain") == WHOLE[2:], "what another run did, or failed at, is not done again"
    monkeypatch.setattr(Curve, "make", make)
    assert run(found, "plain") == [(PLAIN_OF_SEED_2[1], what) for what in ("train", "evaluate")]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("latent-dim: 4", "latent-dims: 4", "study.yaml: language-model: unrecognized arguments: --latent-dims=4"),
        ("plain: {}", "plain: {kl-warmup-updates: 2}", "study.yaml: plain, kl-weight=0.1: --kl-warmup-updates 2"),
        ("[1, 0.1]", "[-1, 1]", "study.yaml: plain, kl-weight=-1: --kl-weight -1"),
    ],
)
def test_flags_that_cannot_work_are_refused_before_the_first_training(study, calls, tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        Curve(study(old, new), str(tmp_path / "out")).run()
    assert not calls


def test_what_is_no_part_of_a_study_is_refused(study, tmp_path):
    with pytest.raises(InputError, match="--only other: expected arms of the study, language-model, plain"):
        Curve(study(), str(tmp_path / "out"), ["other"])
    with pytest.raises(InputError, match="study.yaml: data: expected a folder, here or as --data DIR"):
        Curve(study()._replace(data=None), str(tmp_path / "out"))
    with pytest.raises(InputError, match="split: training: .*data has no such split"):
        Curve(study("updates: 3", "split: training\nupdates: 3"), str(tmp_path / "out"))


def test_plain_text_is_binarised_once_with_the_barts_pieces(study, calls, made, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(
        steps, "call", lambda command: called.append(command) or shutil.copytree(made / "data", command[-2][10:])
    )
    monkeypatch.setattr(Curve, "check", lambda self, points: None)
    found = study("arch: bart_vae_tiny, ", "", data="text", bart=str(made / "bart/model.pt"))
    for _ in range(2):
        Curve(found, str(tmp_path / "out")).run()
    assert len(called) == 1 and called[0][0] == "fairseq-preprocess"
    flags = [flags for _, what, flags in calls if what == "evaluate"]
    assert len(flags) == 3 and flags[0]["text"] == str(made / "text/valid.txt")
    assert (tmp_path / "out/plain/seed-1/sentencepiece.bpe.model").exists()


def test_a_phase1_is_trained_and_not_evaluated_and_its_failure_is_told(study, run, calls, tmp_path):
    found = study("plain: {}", "plain: {phase1: {updates: 1, kl-weight: 0}}")
    assert run(found, "plain") == [("plain/seed-1/phase1", "train"), *WHOLE[2:]] and run(found, "plain") == []
    rows = gather(found, str(tmp_path / "out"))[1:]
    assert [(row["setting"], row["updates"]) for row in rows] == [("kl-weight=0.1", 1 + 3), ("kl-weight=1", 1 + 3 + 2)]
    assert rows[0]["start"] == "phase1"
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out/plain/seed-1/phase1").mkdir(parents=True)
    (tmp_path / "out/plain/seed-1/phase1/bad").touch()
    assert run(found, "plain") == [("plain/seed-1/phase1", "train")]
    reasons = {row["reason"] for row in gather(found, str(tmp_path / "out"))[1:]}
    assert reasons == {"not trained, since phase1 failed: fairseq-train failed: no more"}


def test_pairs_keep_responses_and_are_held_to_those_without_z(study, calls, made, tmp_path, monkeypatch):
    pairs = shutil.copytree(made / "pairs", tmp_path / "pairs")
    (pairs / "valid.references").write_text('["a"]\n' * 4)

    def preprocessed(command):
        target = Path(command[-2].partition("=")[2])
        target.mkdir()
        (target / "dict.target.txt").write_bytes((made / "bart/dict.txt").read_bytes())

    def evaluated(command, progress=False):
        flags = dict(part[2:].partition("=")[::2] for part in command if part.startswith("--"))
        model = "language-model" in command[2]
        kept = made_up(responses=["a b", "b" if model else "c"] * 4)
        kept = kept._replace(rec=kept.rec - int(model), settings=kept.settings._replace(responses="2/greedy"))
        kept.save(flags["keep"])
        assert (flags["references"], flags["text"]) == (str(pairs / "valid.references"), str(pairs / "valid.target"))
        scores = {"bleu_4_recall": 0.5, "responses": 2, "contexts": 4}
        Path(flags["json"]).write_text(json.dumps({**FIGURES, "split": "valid", "responses": scores}))
        return "table\n"

    monkeypatch.setattr(steps, "call", preprocessed)
    monkeypatch.setattr(curve, "call", evaluated)
    monkeypatch.setattr(Curve, "check", lambda self, points: None)
    bart = str(made / "bart/model.pt")
    found = study("arch: bart_vae_tiny", "arch: bart_cvae_tiny", data=str(pairs), bart=bart)
    Curve(found, str(tmp_path / "out")).run()
    rows = gather(found, str(tmp_path / "out"))
    assert "less_lm" not in rows[0]["figures"] and (tmp_path / "out/plain/seed-1/dict.txt").exists()
    for row in rows[1:]:
        gaps = row["figures"]["less_lm"]
        assert gaps["neg_elbo"] == pytest.approx((1, 1, 1)) and gaps["bleu_1_recall"][0] > 0
    assert "BLEU-4 recall" in table(rows)
    assert main(["curve", str(tmp_path / "study.yaml"), str(tmp_path / "out"), "--draw"]) == 0
    drawn = json.loads((tmp_path / "out/curve.json").read_text())["points"]
    assert [row["figures"] for row in drawn] == json.loads(json.dumps([row["figures"] for row in rows])), (
        "without --data"
    )
    shutil.rmtree(tmp_path / "out" / SECOND / "valid")
    rows = gather(found, str(tmp_path / "out"))
    lost = [row for row in rows if row["figures"] and not row["zero_latent"] and "less_lm" not in row["figures"]]
    assert [row["setting"] for row in lost] == ["kl-weight=1"] and "holds no collection" in lost[0]["reason"]
    assert "plain, seed 1, kl-weight 1: not held to 'language-model': " in caption(rows, warm=True)
    (pairs / "valid.references").write_text('["b"]\n' * 4)
    with pytest.raises(InputError, match="made with valid.references="):
        Curve(found, str(tmp_path / "out")).run()
    for path in (tmp_path / "out").glob("*/seed-*/*/valid.json"):
        path.unlink()
    Curve(found, str(tmp_path / "out")).check_settings()
    assert json.loads((tmp_path / "out/settings.json").read_text())["data"]["valid.references"] == prints(
        [pairs / "valid.references"]
    )


def test_sentences_are_held_to_the_model_without_z_which_is_made_first(study, run, calls, tmp_path, capsys):
    """It is that of the seed, or else the first that is done; a run waits for another one that is making it."""
    warm = (
        "warm: {phase1: {updates: 1, zero-latent: true}}\n  plain: {}\n  lm: {phase1: {updates: 1}, zero-latent: true}"
    )
    model = "language-model: {zero-latent: true, updates: 2}\n  plain"
    found = study(f"{model}: {{}}", f"{warm}\nseeds: [1, 2]")
    made = [place for place, what in run(found) if what == "evaluate"]
    assert made[:2] == ["lm/seed-1/only", "lm/seed-2/only"] and len(made) == 2 + 2 * 4
    folders = {seed: tmp_path / f"out/lm/seed-{seed}/only" for seed in (1, 2)}
    for folder, what, flags in calls:
        if what == "evaluate":
            assert flags["sentences"] == f"{folder}/valid.tsv"
            own = None if "/lm/" in folder else str(folders[2 if "seed-2" in folder else 1] / "model.pt")
            assert flags.get("language-model") == own, "a phase without z is no language model"
    work = Curve(found, str(tmp_path / "out"))
    point = next(point for point in found.points if point.arm == "plain")
    (folders[1] / "valid.json").unlink()
    (folders[1] / "failed.txt").write_text("no room")
    assert work.language_model(point) == folders[2] / "model.pt", "one that has failed is not made again"
    (folders[1] / "failed.txt").unlink()
    others = Curve(found, str(tmp_path / "out"), ["plain"])
    assert others.language_model(point) == folders[2] / "model.pt", "nor one that this run is not to make"
    begun = threading.Event()

    def other_run(writes=True):
        with steps.held(folders[1].parent, 0.0):
            begun.set()
            time.sleep(0.3)
            if writes:
                (folders[1] / "valid.json").write_text("{}")

    thread = threading.Thread(target=other_run)
    thread.start()
    begun.wait()
    capsys.readouterr()
    assert work.language_model(point) == folders[1] / "model.pt"
    assert capsys.readouterr().out == "waiting for lm, seed 1, only, which another run is at\n"
    thread.join()
    (folders[1] / "valid.json").unlink()
    begun.clear()
    killed = threading.Thread(target=lambda: other_run(writes=False))
    killed.start()
    begun.wait()
    assert work.language_model(point) == folders[1] / "model.pt" and (folders[1] / "valid.json").exists()
    assert "evaluation" in capsys.readouterr().out, "what the other run has left is made"
    killed.join()
    assert Curve(study(model, "plain"), "x").language_model(point) is None


def test_points_without_the_nats_of_a_language_model_that_is_there_are_told(study, run, tmp_path):
    found = study()
    run(found)
    rows = gather(found, str(tmp_path / "out"))
    assert [row["reason"] for row in rows] == [
        "",
        *["evaluated without a language model: delete its valid.json and run again"] * 2,
    ]
    assert "plain, seed 1, kl-weight 0.1; plain, seed 1, kl-weight 1: evaluated without" in caption(rows, True)
    for place in (FIRST, SECOND):
        (tmp_path / "out" / place / "valid.json").write_text(json.dumps({**FIGURES, "lm_nll": 25.0, "lm_gap": 0.0}))
    assert not any(row["reason"] for row in gather(found, str(tmp_path / "out")))
    run(study("arms:\n  language-model: {zero-latent: true, updates: 2}\n", "arms:\n"))
    assert not any(
        row["reason"]
        for row in gather(study("  language-model: {zero-latent: true, updates: 2}\n", ""), str(tmp_path / "out"))
    )


def test_arms_are_held_to_one_another_sentence_by_sentence_and_updates_are_timed(study, run, tmp_path):
    found = study("updates: 3", "versus: language-model\nupdates: 3")
    run(found)
    out = tmp_path / "out"

    def wrote(place, rec, kl):
        rows = [f"{i}\t5\t{rec + i}\t{kl}\t{rec + i}" for i in range(4)]
        (out / place / "valid.tsv").write_text("sentence\ttokens\trec\tkl\tnll_iw\n" + "\n".join(rows) + "\n")

    wrote(LM, 20, 0)
    wrote(FIRST, 17, 5)
    line = '2026-01-01 00:00:00 | INFO | train_inner | {"num_updates": "%d", "wall": "%d"}\n'
    start = "2026-01-01 00:00:00 | INFO | fairseq_cli.train | task: VAEDenoisingTask\n"
    (out / FIRST / "train.log").write_text(line % (10, 9) + "other\n | train_inner | {half\n" + line % (30, 19))
    with open(out / FIRST / "train.log", "a") as log:  # interrupted, and gone on with from update 20
        log.write(start + line % (40, 22) + line % (40, 23) + line % (50, 38) + line.replace("%d", "null"))
    (out / LM / "train.log").write_text(line % (10, 9))
    rows = gather(found, str(out))
    less = rows[1]["figures"]["less_versus"]
    assert less == {"rec": (-3, -3, -3), "kl": (5, 5, 5), "nll_iw": (-3, -3, -3), "neg_elbo": (2, 2, 2)}
    assert "less_versus" not in rows[0]["figures"] and "less_versus" not in rows[2]["figures"], "it has no such file"
    assert [row["figures"]["seconds"] for row in rows] == [None, pytest.approx((10 + 15) / (20 + 10)), None]
    (out / FIRST / "valid.tsv").write_text("sentence\trec\n1\t2\n")
    with pytest.raises(InputError, match="valid.tsv is damaged .*: delete it and the .json beside it, and run"):
        gather(found, str(out))


def test_points_are_held_to_the_first_arm_without_z_of_their_seed_or_else_its_first_seed(tmp_path):
    rows, folders = [], {}
    for arm, seed, bound, zero in (("lm", 1, 1, True), ("lm", 2, 2, True), ("other lm", 3, 9, True)) + tuple(
        ("vae", seed, 5, False) for seed in (1, 2, 3)
    ):
        kept = made_up()
        folders[arm, seed, ""] = str(tmp_path / f"{arm} {seed}")
        kept._replace(rec=0 * kept.rec + bound, kl=0 * kept.kl).save(folders[arm, seed, ""])
        rows.append({"arm": arm, "seed": seed, "setting": "", "zero_latent": zero, "state": "done", "figures": {}})
    hold(rows, folders)
    assert [row["figures"]["less_lm"]["neg_elbo"][0] for row in rows[3:]] == [4, 3, 4]
    assert not any(row["figures"] for row in rows[:3])


def test_chains_and_differences():
    points = [Point("a", 1, "x=1", {}, 1), Point("a", 1, "x=2", {}, 1, "x=1"), Point("a", 2, "x=2", {}, 1, "x=1")]
    assert list(chains(points)) == [points[:2], points[2:]] and list(chains([])) == []
    assert difference({"a": 1, "b": {"c": "1"}}, {"a": 1, "b": {"c": "1"}}) == ""
    assert difference({"b": {"c": "", "d": "2"}}, {"b": {"d": "2"}}) == "c, the study has no c"


@pytest.mark.slow
def test_a_study_of_a_tiny_model(study, tmp_path, monkeypatch):
    """Real trainings and evaluations, in this process."""
    from fairseq import checkpoint_utils
    from fairseq_cli.train import cli_main

    def train(command, log, updates):
        vars(checkpoint_utils.save_checkpoint).pop("best", None)  # of this process's last training
        monkeypatch.setattr("sys.argv", command)
        cli_main()

    def call(command, progress=False):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(command[1:]) == 0
        return printed.getvalue()

    monkeypatch.setattr(steps, "train", train)
    monkeypatch.setattr(curve, "call", call)
    study()
    assert main(["curve", str(tmp_path / "study.yaml"), str(tmp_path / "out"), "--data", study().data]) == 0
    found = json.loads((tmp_path / "out/curve.json").read_text())
    figures = [row["figures"] for row in found["points"]]
    assert [numbers["kl"] > 0 for numbers in figures] == [False, True, True]
    assert all(numbers["neg_elbo"] == pytest.approx(numbers["rec"] + numbers["kl"]) for numbers in figures)
    models = [torch.load(tmp_path / "out" / place / "model.pt") for place in (FIRST, SECOND)]
    assert [model["optimizer_history"][-1]["num_updates"] for model in models] == [3, 2]
    key = "decoder.layers.0.fc1.weight"
    change = (models[1]["model"][key] - models[0]["model"][key]).abs().max()
    assert 0 < change < 5e-4, "two updates of warming up from the model before"
    table = (tmp_path / "out" / SECOND / "valid.txt").read_text()
    assert f"{figures[2]['neg_elbo']:.2f}" in table
