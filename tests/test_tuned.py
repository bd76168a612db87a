"""Encoders that learn labels: what is trained on what, what is kept, and the command."""

import dataclasses
import gzip
import json
import random
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, data_utils
from helpers import save_bart, save_vae

from fairseq_vae import hub
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.labelled import SPLITS, read_task
from fairseq_vae.checkpoints.read import model_settings, read_checkpoint
from fairseq_vae.cli.main import main
from fairseq_vae.finetune import tuned as module
from fairseq_vae.finetune.configuration import configuration
from fairseq_vae.finetune.tuned import (
    Training,
    Tuning,
    check_words,
    draws_of,
    model_flags,
    needs_one,
    settings_of,
    settle,
)
from fairseq_vae.flags.model import model_config
from fairseq_vae.measure.representation import drawn
from fairseq_vae.represent import load_bart

pytestmark = pytest.mark.usefixtures("quick_conversion")

WORDS = [f"w{number}" for number in range(20)]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Sentences of which the first word tells the label; labels are no numbers and have spaces."""
    folder = tmp_path_factory.mktemp("tasks") / "firsts"
    folder.mkdir()
    draw = random.Random(1)
    for split, size in zip(SPLITS, (40, 20, 30)):
        labels = [("very bad", "good")[row % 2] for row in range(size)]
        rows = [[f"w{row % 2}", *draw.choices(WORDS[2:], k=draw.randrange(2, 6))] for row in range(size)]
        for name, lines in (("txt", [" ".join(words) for words in rows]), ("labels", labels)):
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"{split}.{name}.gz").write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    trained = ["--bow-weight=0.5", "--rate-controller=lagrangian", "--rate-target=3", "--freeze-decoder"]
    positions = ["--max-source-positions=16", "--max-target-positions=16"]
    save_vae(root / "vae", *positions, *trained, words=WORDS, std=0.1)
    sizes = ("embed-dim=32", "ffn-embed-dim=128")
    wide = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in sizes]
    for name, flags in (("bart", [*wide, *positions]), ("narrow", [])):
        save_bart(root / name, *flags, words=WORDS, std=0.1)
    return root


@pytest.mark.slow
def test_encoders_learn_labels_and_nothing_is_trained_twice(models, task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.executable", str(commands.folder() / Path(sys.executable).name))
    monkeypatch.setattr(module, "MOST_VALID", 10)
    vae, out = models / "vae", tmp_path / "tuned"
    own = ["represent", str(vae / "checkpoint_best.pt"), f"--data={vae}", f"--task={task}", "--shares=0.5"]
    own += [f"--tuned={out}", "--tuned-updates=30", "--tuned-lr=0.02", f"--json={tmp_path}/found.json"]

    def found(*others):
        assert main([*own, *others]) == 0, capsys.readouterr().err
        rows = json.loads((tmp_path / "found.json").read_text())["figures"]
        return {(f["representation"], f["seed"]): f for f in rows if f["method"] == "tuned"}, capsys.readouterr().out

    first, said = found("--seeds=1")
    [(key, figure)] = first.items()
    assert key == ("mu, tuned", 1) and figure["labels"] == 20 and figure["share"] == 0.5
    assert figure["accuracy"] >= 0.9 and figure["macro_f1"] >= 0.9, "the first word tells it"
    assert "mu, tuned" in said and said.count("$ fairseq-train") == 1
    place = out / "firsts/mu/share-0.5-seed-1"
    assert {path.name for path in place.iterdir()} == {
        *("data-bin", "figures.json", "model.pt", "settings.json", "train.log")
    }
    assert {path.stem for path in (place / "data-bin/input0").glob("*.bin")} == {"train", "valid"}, "test stays away"
    assert torch.load(place / "model.pt")["last_optimizer_state"] is None
    again, said = found("--seeds=1", f"--bart={models}/bart/model.pt")
    assert said.count("$ fairseq-train") == 1 and set(again) == {key, ("BART, tuned", 1)} and again[key] == figure
    (place / "figures.json").unlink()  # as a kill before its end leaves it
    assert found("--seeds=1")[0] == first
    assert main([*own, "--seeds=1", "--most-labels=30"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "mu/share-0.5-seed-1 was made with labels=20, the command has labels=16: set it back" in line
    assert main([*own, "--seeds=1", "--tuned-lr=0.01"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{out}/firsts was made with lr=0.02, the command has lr=0.01: set it back, or give another" in line


def training(models, task, place, share=0.5):
    vae = hub.load(str(models / "vae/checkpoint_best.pt"), str(models / "vae"), None)
    own = read_task(str(task))
    [draw] = drawn(own, [share], [1], 1000)
    labels = sorted(set(own.splits["train"].labels))
    return Training(vae, own, draw, labels, [], 10, place), own, draw


def test_the_data_of_a_training_are_the_draws_and_a_part_of_valid(models, task, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_VALID", 10)
    one, own, draw = training(models, task, tmp_path)
    one.binarise(tmp_path / "data-bin")
    words = Dictionary.load(str(tmp_path / "data-bin/input0/dict.txt"))
    labels = Dictionary.load(str(tmp_path / "data-bin/label/dict.txt"))
    assert words.symbols == one.vae.task.source_dictionary.symbols
    for split, size in (("train", len(draw.rows)), ("valid", 10)):
        read = [
            data_utils.load_indexed_dataset(str(tmp_path / "data-bin" / name / split), dictionary)
            for name, dictionary in (("input0", words), ("label", labels))
        ]
        texts = [words.string(tokens) for tokens in read[0]]
        told = [one.labels[int(labels.string(tokens))] for tokens in read[1]]
        assert len(texts) == len(told) == size
        items = list(zip(*own.splits[split].texts, own.splits[split].labels))
        assert set(zip(texts, told)) <= set(items)
        if split == "train":
            assert list(zip(texts, told)) == [items[row] for row in draw.rows]


def test_labels_are_told_in_the_order_of_the_sentences(models, task, tmp_path):
    """The head's largest logit is the label; lengths differ, so batches are in another order."""
    one, own, _ = training(models, task, tmp_path)
    one.vae.batch_size = 4
    model = one.vae.model
    model.register_classification_head(module.HEAD, num_classes=2)
    found = one.told(model, own.splits["test"])
    mu = one.vae.encode(own.splits["test"].texts[0]).mean
    with torch.no_grad():
        wanted = model.classification_heads[module.HEAD](mu).argmax(1)
    assert found == [one.labels[number] for number in wanted.tolist()] and len(set(found)) == 2


def test_a_share_that_is_the_whole_is_trained_with_every_seed(task):
    draws = drawn(read_task(str(task)), [0.5, 1.0], [1, 2, 3], 1000)
    found = draws_of(draws, [1, 2, 3])
    assert [(draw.share, draw.seed) for draw in found] == [(share, seed) for share in (0.5, 1.0) for seed in (1, 2, 3)]
    assert all(np.array_equal(draw.rows, draws[-1].rows) for draw in found[3:])


def test_the_flags_are_the_models_and_none_of_the_vaes_training(tmp_path):
    """They parse, and say all that the encoder is made of."""
    given = ["--latent-dim=12", "--latent-pooling=attention", "--latent-vectors=2", "--bow-weight=0.5"]
    given += ["--rate-controller=lagrangian", "--rate-target=3", "--freeze-decoder", "--dropout=0.3"]
    save_vae(tmp_path, *given, "--activation-fn=relu")
    path = str(tmp_path / "checkpoint_best.pt")
    found = model_flags(path, model_settings(read_checkpoint(path)))
    wanted = {"latent_dim": 12, "latent_pooling": "attention", "latent_vectors": 2, "dropout": 0.3}
    assert found == {**found, **wanted, "activation_fn": "relu"}
    assert not {"bow_weight", "rate_controller", "rate_target", "freeze_decoder"} & set(found)
    cfg = configuration(["data", *settings_of(path, 3, Tuning("here", updates=50, lr=0.01))], "here")
    assert cfg.model.latent_vectors == 2 and cfg.task.num_classes == 3 and cfg.optimization.max_update == 50
    assert cfg.dataset.validate_interval_updates == cfg.checkpoint.save_interval_updates == 5
    assert cfg.distributed_training.distributed_world_size == 1
    own = {field.name: field for field in dataclasses.fields(model_config())}
    kept = ("mirror_slots", "latent_dim", "posterior_max_variance")
    assert not any(needs_one(own[name], {"deterministic_latent", "zero_latent"}, model_config()()) for name in kept)
    assert needs_one(own["align_latent"], {"align_weight"}, model_config()())


def test_a_bad_value_is_one_line(models, task, tmp_path, capsys):
    vae = models / "vae"
    own = ["represent", str(vae / "checkpoint_best.pt"), f"--data={vae}", f"--task={task}", f"--tuned={tmp_path}/x"]
    own.append("--shares=1")
    for flags, message in (
        (["--tuned-updates=9"], "--tuned-updates 9: expected 10 or more"),
        (["--tuned-lr=0"], "--tuned-lr 0: expected a number above 0"),
        (
            [f"--bart={models}/narrow/model.pt"],
            "narrow/model.pt has encoder_embed_dim=16, the checkpoint has encoder_embed_dim=32: give the BART that",
        ),
    ):
        assert main([*own, *flags]) == 1
        assert message in capsys.readouterr().err
    untuned = [part for part in own if not part.startswith("--tuned")]
    for flag in ("--tuned-updates=20", "--tuned-lr=0.1"):
        assert main([*untuned, flag]) == 1
        assert "has no effect without --tuned DIR" in capsys.readouterr().err
    assert not list((tmp_path / "x").rglob("settings.json")), "a run that cannot work leaves the folder free"
    (tmp_path / "x/firsts").mkdir(parents=True, exist_ok=True)
    (tmp_path / "x/firsts/settings.json").write_text("{")
    one, own, draw = training(models, task, tmp_path)
    with pytest.raises(InputError, match="settings.json is damaged"):
        settle(one.vae.checkpoint, {"mu": one.vae.checkpoint}, own, [draw], Tuning(str(tmp_path / "x")))


def test_a_bart_of_another_dictionary_is_refused(models, task, tmp_path):
    one, _, _ = training(models, task, tmp_path)
    check_words(one.vae, load_bart(str(models / "bart/model.pt")))
    save_bart(tmp_path / "other", words=[WORDS[1], WORDS[0], *WORDS[2:]])
    with pytest.raises(InputError, match="other/model.pt has another dictionary than the checkpoint"):
        check_words(one.vae, load_bart(str(tmp_path / "other/model.pt")))


def test_other_settings_are_refused_before_a_model_is_loaded_and_a_failure_loses_nothing(
    models, task, tmp_path, monkeypatch, capsys
):
    vae = models / "vae"
    own = ["represent", str(vae / "checkpoint_best.pt"), f"--data={vae}", f"--task={task}", f"--tuned={tmp_path}/x"]
    own += ["--shares=1", "--seeds=1", f"--json={tmp_path}/found.json"]

    def fails(*args, **others):
        raise InputError("no training today")

    with monkeypatch.context() as patch:
        patch.setattr("fairseq_vae.hub.load", fails)
        assert main([*own, "--tuned-updates=50"]) == 1 and "no training today" in capsys.readouterr().err
    monkeypatch.setattr(module, "train_on", fails)
    assert main(own) == 1
    printed = capsys.readouterr()
    assert "firsts: accuracy on test" in printed.out and "no training today" in printed.err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["tuned"] == {"updates": 1000, "lr": 1e-4} and len(found["figures"]) == 5
    monkeypatch.setattr("fairseq_vae.hub.load", fails)
    assert main([*own, "--tuned-updates=20"]) == 1
    assert "x/firsts was made with" in capsys.readouterr().err
