"""fairseq-vae finetune: what it refuses before anything is trained, and what it makes."""

import fcntl
import json
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from helpers import save_bart, write_sentencepiece

from fairseq_vae.base.files import read_lines
from fairseq_vae.cli.main import main
from fairseq_vae.finetune.run import Finetuning, mend

SENTENCES = ["the dog barks at the cat", "a cat sleeps on the dog", "the cat barks", "a dog sleeps"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A BART with its dictionary and sentencepiece model, text, and the text binarised as the command would."""
    folder = tmp_path_factory.mktemp("made")
    save_bart(folder / "bart", words=write_sentencepiece(folder / "bart"))
    (folder / "text").mkdir()
    for split in ("train", "valid", "test"):
        (folder / f"text/{split}.txt").write_text("\n".join(SENTENCES) + "\n")
    run = Finetuning(str(folder / "text"), str(folder / "run"), bart=str(folder / "bart/model.pt"))
    run.output.mkdir()
    run.binarise(folder / "data")
    return folder


@pytest.fixture
def bart(made, tmp_path):
    return shutil.copytree(made / "bart", tmp_path / "bart") / "model.pt"


@pytest.fixture
def text(made, tmp_path):
    return shutil.copytree(made / "text", tmp_path / "text")


@pytest.fixture
def data(made, tmp_path):
    return shutil.copytree(made / "data", tmp_path / "data")


def refused(capsys, *arguments):
    """The one line that a command ends with."""
    assert main(["finetune", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_data_without_its_parts_is_refused(tmp_path, capsys, text, bart):
    assert "has no train.bin: expected" in refused(capsys, bart.parent, "--bart", bart, "--output", tmp_path / "out")
    (text / "valid.txt").unlink()
    assert "has no valid.txt: expected" in refused(capsys, text, "--bart", bart, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, message",
    [(b"one\n\ntwo\n", "line 2 is empty"), (b"", "it is empty"), (b"caf\xe9\n", "not UTF-8 at byte 3")],
)
def test_bad_text_is_refused_by_file_and_line(tmp_path, capsys, text, bart, content, message):
    (text / "valid.txt").write_bytes(content)
    error = refused(capsys, text, "--bart", bart, "--output", tmp_path / "out")
    assert message in error and "valid.txt" in error and not (tmp_path / "out").exists()


def test_text_needs_the_barts_bpe(tmp_path, capsys, text, bart):
    (bart.parent / "sentencepiece.bpe.model").unlink()
    error = refused(capsys, text, "--bart", bart, "--output", tmp_path / "out")
    assert "is plain text: expected dict.txt and encoder.json with vocab.bpe, or sentencepiece.bpe.model" in error


def spoil_keys(bart):
    state = torch.load(bart)
    state["model"]["encoder.more"] = torch.zeros(1)
    torch.save(state, bart)


def spoil_version(bart):
    state = torch.load(bart)
    state["model"]["encoder.plugin_version"] = torch.tensor([99, 0, 0])
    torch.save(state, bart)


def spoil_class(bart, **options):
    state = torch.load(bart)
    state["extra_state"]["path"] = Path("x")
    torch.save(state, bart, **options)


def cut_off_archive(bart):
    """One of the file format of BART's own archives, half of it."""
    torch.save(torch.load(bart), bart, _use_new_zipfile_serialization=False)
    bart.write_bytes(bart.read_bytes()[: bart.stat().st_size // 2])


def spoil_dictionary(bart):
    lines = (bart.parent / "dict.txt").read_text().splitlines(keepends=True)
    (bart.parent / "dict.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda bart: bart.unlink(), "model.pt does not exist"),
        (lambda bart: bart.write_bytes(bart.read_bytes()[:5000]), r"model.pt is truncated (5,000 bytes)"),
        (lambda bart: bart.write_bytes(b"weights"), "model.pt cannot be read"),
        (lambda bart: torch.save({"shared.weight": torch.zeros(2)}, bart), "no weights under `model`"),
        (lambda bart: torch.save({"model": {"a": torch.zeros(2)}}, bart), "has no settings"),
        (
            lambda bart: torch.save({"model": {}, "args": Namespace(arch="lstm", encoder_layers=1)}, bart),
            "is of architecture lstm, expected a BART's",
        ),
        (spoil_keys, "model.pt is of another architecture: 1 unknown, e.g. encoder.more"),
        (spoil_version, "model.pt was written by fairseq-vae 99.0.0; this is "),
        (spoil_class, "model.pt holds pathlib."),
        (lambda bart: spoil_class(bart, _use_new_zipfile_serialization=False), "model.pt holds pathlib."),
        (cut_off_archive, "model.pt cannot be read"),
        (spoil_dictionary, "dict.txt, line 1: "),
    ],
)
def test_a_checkpoint_that_is_no_bart_is_refused_before_training(tmp_path, capsys, data, bart, spoil, message):
    spoil(bart)
    assert message in refused(capsys, data, "--bart", bart, "--output", tmp_path / "out")
    assert not (tmp_path / "out/phase1").exists()


@pytest.mark.parametrize("more", [-1, 1])
def test_a_dictionary_one_line_off_is_refused(tmp_path, capsys, data, bart, more):
    lines = (data / "dict.txt").read_text().splitlines(keepends=True)
    (data / "dict.txt").write_text("".join([*lines, "extra 1\n"] if more > 0 else lines[:-1]))
    error = refused(capsys, data, "--bart", bart, "--output", tmp_path / "out")
    assert f"{bart} has a dictionary of" in error and f"a dict.txt of {len(lines)} lines" in error
    assert "--srcdict" in error


@pytest.mark.parametrize(
    "options, message",
    [
        (["--set", "model.latent_injection=memory"], "--latent-injection memory"),
        (["--recipe", "cyclical-2019", "--set", "criterion.kl_cycle_updates=9000"], "--kl-cycle-updates 9000"),
        (["--set", "model.latent_dims=8"], "phase1 of the recipe: unrecognized arguments"),
        (["--recipe", "nothing"], "--recipe nothing: expected one of"),
        (["--set", "model.max_source_positions=5"], "encoder.embed_positions.weight (66x16 there, 7x16 here)"),
    ],
)
def test_bad_settings_are_refused_before_training(tmp_path, capsys, data, bart, options, message):
    assert message in refused(capsys, data, "--bart", bart, "--output", tmp_path / "out", *options)
    left = [path.name for path in (tmp_path / "out").glob("[!.]*")]
    assert not left, "the folder is free for other settings"


def test_a_dictionary_of_gpt2_needs_its_bpe_before_training(tmp_path, capsys, data, bart):
    symbols = [str(number) for number in range(40001)]
    save_bart(bart.parent, words=symbols)
    (bart.parent / "sentencepiece.bpe.model").unlink()
    (data / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols))
    error = refused(capsys, data, "--bart", bart, "--output", tmp_path / "out")
    assert "GPT-2 BPE: put its encoder.json and vocab.bpe beside the checkpoint or the data" in error


def test_a_sentence_that_is_too_long_is_named(tmp_path, capsys, text, bart):
    (text / "valid.txt").write_text("a dog\n" + "the cat " * 40 + "\n")
    assert "valid: line 2 of the text is too long" in refused(
        capsys, text, "--bart", bart, "--output", tmp_path / "out"
    )


def test_two_runs_do_not_share_a_folder(tmp_path, capsys, data, bart):
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is at work in" in refused(capsys, data, "--bart", bart, "--output", tmp_path / "out")


def test_a_phase_that_was_stopped_after_its_last_update_makes_no_other(tmp_path, data, bart, monkeypatch):
    run = Finetuning(str(data), str(tmp_path / "out"), bart=str(bart), updates={"phase1": 3})
    run.output.joinpath("phase1").mkdir(parents=True)
    trained = []
    monkeypatch.setattr("fairseq_vae.finetune.run.train", lambda *arguments: trained.append(arguments))
    for updates in 2, 3:
        state = torch.load(bart)
        state["optimizer_history"][-1]["num_updates"] = updates
        torch.save(state, run.output / "phase1/checkpoint_last.pt")
        run.train("phase1", str(bart), run.output / "phase1.done")
        assert len(trained) == 1


def test_unicodes_line_ends_end_no_line(tmp_path):
    (tmp_path / "text.txt").write_text("a\u2028b\n\x85\nlast", encoding="utf-8")
    assert read_lines(tmp_path / "text.txt") == ["a\u2028b", "\x85", "last"]


def test_random_weights_are_not_frozen(tmp_path, capsys, data):
    error = refused(capsys, data, "--output", tmp_path / "out", "--recipe", "park-lee-2021")
    assert "freezes the decoder, which without --bart has random weights" in error


@pytest.mark.slow
@pytest.mark.parametrize("given", ["text", "data"])
def test_a_bart_becomes_a_measured_and_sampled_vae(tmp_path, request, bart, given):
    source = request.getfixturevalue(given)
    out = tmp_path / "out"
    command = [str(Path(sys.executable).with_name("fairseq-vae")), "finetune", str(source), "--bart", str(bart)]
    command += ["--output", str(out), "--phase1-updates=3", "--phase2-updates=3", "--set=dataset.max_tokens=64"]
    command += ["--set=phase1.model.freeze_decoder=true", "--set=dataset.num_workers=0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    log = (out / "phase1.log").read_text()
    assert "BART checkpoint: " in log and "latent tensors new" in log and "of cross-attention left out" in log
    assert "BART checkpoint" not in (out / "phase2.log").read_text(), "phase 2 starts from phase 1"
    weights = [
        torch.load(path)["model"]
        for path in (bart, out / "phase1/checkpoint_best.pt", out / "phase2/checkpoint_best.pt")
    ]
    key = "decoder.layers.0.fc1.weight"
    assert weights[1][key].equal(weights[0][key]) and not weights[2][key].equal(weights[0][key])
    numbers = json.loads((out / "evaluation.json").read_text())
    assert numbers["sentences"] == 4 and numbers["words"] == sum(len(line.split()) + 1 for line in SENTENCES)
    samples = (out / "samples.txt").read_text()
    assert all(line in samples for line in SENTENCES) and "\u2581" not in samples

    from fairseq_vae import BARTVAEModel

    vae = BARTVAEModel.from_pretrained(str(out), "phase2/checkpoint_best.pt")
    assert len(vae.reconstruct(["the dog sleeps"])) == 1 and vae.bpe is not None

    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count("done before") == 5 + (given == "text")
    other = subprocess.run([*command, "--set=model.latent_dim=8"], capture_output=True, text=True)
    assert other.returncode == 1 and "holds a run with other settings" in other.stderr
    printed = [line[4:] for line in done.stdout.splitlines() if line.startswith("  $ fairseq-train")]
    assert len(printed) == 2
    by_hand = shlex.split(printed[0].replace(str(out / "phase1"), str(tmp_path / "by-hand")))
    by_hand[0] = str(Path(sys.executable).with_name(by_hand[0]))
    assert subprocess.run(by_hand, capture_output=True).returncode == 0
    assert torch.load(tmp_path / "by-hand/checkpoint_best.pt")["model"][key].equal(weights[1][key])

    refused = subprocess.run(
        [command[0], "convert", "--from", str(out / "phase2/checkpoint_best.pt"), "--to-hf", str(tmp_path / "hf")],
        capture_output=True,
        text=True,
    )
    assert "has --latent-injection self-attention,embedding" in refused.stderr


def test_checkpoints_that_a_kill_cut_off_are_mended(tmp_path):

    torch.save({"model": torch.zeros(100)}, tmp_path / "checkpoint_1_60.pt")
    whole = (tmp_path / "checkpoint_1_60.pt").read_bytes()
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        (tmp_path / name).write_bytes(whole[:50])
    mend(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        ["checkpoint_1_60.pt", "checkpoint_last.pt", "checkpoint_best.pt"], whole
    )
