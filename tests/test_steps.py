"""fairseq-vae finetune: steps that are made once, and what they make."""

import fcntl
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import commands
import finetuning
import pytest
import torch
from fairseq.data import Dictionary
from finetuning import SENTENCES

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.text import Joiner
from fairseq_vae.finetune import steps
from fairseq_vae.finetune.plan import Plan
from fairseq_vae.finetune.steps import Finetuning, hypotheses, minutes, step

pytestmark = pytest.mark.usefixtures("quick_conversion")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return finetuning.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def plan(made, tmp_path):
    """Makes plans of one phase for the folder `out`; nothing is changed in what they are given."""

    def build(data="data", recipe="naive", **options):
        return Plan(str(made / data), str(tmp_path / "out"), recipe, str(made / "bart/model.pt"), **options)

    return build


def test_a_step_is_made_once_and_whole_or_not_at_all(tmp_path, capsys):
    target = tmp_path / "made"

    def half(path):
        path.mkdir()
        (path / "part").write_text("1")
        raise InputError("no more")

    def whole(path):
        path.mkdir()
        assert not target.exists()

    with pytest.raises(InputError):
        step("text", target, half)
    assert not target.exists()
    step("text", target, whole)
    assert target.is_dir() and not list(target.iterdir())
    step("text", target, half)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["▶ text", "▶ text", "✓ text: 0 min 0 s", "✓ text: done before"]


def test_numbers_and_times_are_read_and_written():
    output = "S-0\ta\nH-0\t-0.1\ta@@ b\nD-0\t-0.1\tab\nD-11\t-2.5\ta dog\n| D-2\tno\n"
    assert hypotheses(output) == {0: "ab", 11: "a dog"}
    assert minutes(time.time() - 125) == "2 min 5 s"


def test_what_the_tokenizer_changes_is_counted_and_said_once(made, tmp_path, monkeypatch, capsys):
    text = shutil.copytree(made / "text", tmp_path / "text")
    (text / "train.txt").write_text("a dog\nthe cat\u00a0barks\n", encoding="utf-8")
    (text / "test.txt").write_text("a cat\nqqq\n")
    (tmp_path / "out").mkdir()
    called = []
    monkeypatch.setattr(steps, "call", called.append)
    built = Plan(str(text), str(tmp_path / "out"), "naive", str(made / "bart/model.pt"))
    Finetuning(built).binarise(tmp_path / "bin")
    assert capsys.readouterr().out == (
        "  the tokenizer changes 2 of 8 lines, which come back otherwise (first: train.txt, line 2: "
        "'the cat\\xa0barks' "
        "comes back as 'the cat barks')\n"
    )
    assert len(called) == 1 and (tmp_path / "out/pieces/test.txt").read_text(encoding="utf-8").endswith(" <unk>\n")


def test_references_are_checked_before_training_and_may_change_until_they_are_used(made, tmp_path, plan):
    data, out = shutil.copytree(made / "pairs", tmp_path / "pairs"), tmp_path / "out"
    (data / "test.references").write_text('["a"]\n\n["a"]\n["a"]\n')
    with pytest.raises(InputError, match="test.references, line 2: expected a JSON list of strings"):
        plan(str(data))
    (data / "test.references").write_text('["a"]\n' * 3)
    with pytest.raises(InputError, match="test.references: 3 lines; expected 4, one a source"):
        plan(str(data))
    out.mkdir()
    for content in ('["a"]\n' * 4, '["b"]\n' * 4, None):
        if content is None:
            (data / "test.references").unlink()
        else:
            (data / "test.references").write_text(content)
        Finetuning(plan(str(data))).check_settings()
    (out / "evaluation.txt").write_text("table\n")
    Finetuning(plan(str(data))).check_settings()
    older = json.loads((out / "settings.json").read_text())
    assert older.pop("references") is None
    (out / "settings.json").write_text(json.dumps(older))
    Finetuning(plan(str(data))).check_settings()  # a finished run of before is still done
    (data / "test.references").write_text('["a"]\n' * 4)
    with pytest.raises(InputError, match="evaluation.txt was made with other references .*: delete it"):
        Finetuning(plan(str(data))).check_settings()
    (out / "evaluation.txt").unlink()
    Finetuning(plan(str(data))).check_settings()
    (data / "valid.source").write_text("other\n" * 4)
    with pytest.raises(InputError, match="holds a run with other settings, BART or data"):
        Finetuning(plan(str(data))).check_settings()


def test_responses_with_any_character_are_shown_and_those_without_z_are_drawn(made, tmp_path, plan, monkeypatch):
    (tmp_path / "out").mkdir()
    called = []

    def answer(command):
        called.append(command)
        return "1\toh\x85well\u2028\n2\tyes\x0b\n"

    monkeypatch.setattr(steps, "call", answer)
    run = Finetuning(plan("pairs"))
    rows = run.responses()
    assert "  → oh\x85well\u2028" in rows and "  → yes\x0b" in rows and "of five z's" in rows[0]
    run.plan.configurations["phase2"].model.zero_latent = True
    assert "five nucleus samples" in run.responses()[0] and "--sampling" not in called[0] and "--sampling" in called[1]


def test_sources_are_cut_and_counted_and_targets_too_long_refused(made, tmp_path, plan, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    called = []
    monkeypatch.setattr(steps, "call", lambda command, progress=False: called.append(command) or "table")
    run = Finetuning(plan(str(shutil.copytree(made / "pairs", tmp_path / "pairs"))))
    run.binarise(tmp_path / "bin")
    told = "  3 of 12 sources have more than 63 tokens: their beginnings are cut off\n"
    assert capsys.readouterr().out == told and "--joined-dictionary" in called[0]
    lines = (tmp_path / "out/pieces/test.source").read_text().split("\n")
    assert lines[1] == "" and len(lines[2].split()) > 63 and len(lines) == 5
    run.evaluate(tmp_path / "out/evaluation.txt")
    assert f"--text={tmp_path}/pairs/test.target" in called[1] and not any("references" in part for part in called[1])
    (tmp_path / "pairs/test.references").write_text('["a"]\n' * 4)
    run.evaluate(tmp_path / "out/evaluation.txt")
    assert f"--references={tmp_path}/pairs/test.references" in called[2]
    run.plan.configurations["phase2"].task.truncate_source = True
    run.plan.configurations["phase2"].task.truncate_source_left = False
    run.binarise(tmp_path / "bin")
    assert capsys.readouterr().out == told.replace("beginnings", "ends")
    run.plan.configurations["phase2"].task.truncate_source = False
    with pytest.raises(InputError, match="tokens, .* or keep its end with --set task.truncate_source_left=true, or"):
        run.binarise(tmp_path / "bin")
    run.plan.configurations["phase2"].task.truncate_source_left = True
    (tmp_path / "pairs/valid.target").write_text("a\n" + "the cat " * 40 + "\na\na\n")
    with pytest.raises(InputError, match=r"valid.target, line 2 is too long: \d+ tokens, where the model's positions"):
        run.binarise(tmp_path / "bin")
    run.plan.configurations["phase2"].dataset.max_tokens = 32
    with pytest.raises(
        InputError, match=r"train.source, line 3 is too long: \d+ tokens, where a batch .* at most 31; "
    ):
        run.binarise(tmp_path / "bin")


def test_the_evaluation_is_given_the_text_where_it_is_at_hand(made, tmp_path, plan, monkeypatch):
    (tmp_path / "out").mkdir()
    called = []
    monkeypatch.setattr(steps, "call", lambda command, progress: called.append(command) or "table")
    for given in "text", "data":
        Finetuning(plan(given)).evaluate(tmp_path / "out/evaluation.txt")
    assert f"--text={made}/text/test.txt" in called[0] and not any("--text" in part for part in called[1])


def test_examples_are_sentences_that_a_command_takes_again(made, tmp_path, plan):
    """A sentence with <unk> is longer as text, and one of pieces without letters is empty."""
    run = Finetuning(plan())
    words = Dictionary.load(str(made / "data/dict.txt"))
    join = Joiner(words, run.plan.bpe)

    def row(*pieces):
        return torch.tensor([*map(words.index, pieces), words.eos()])

    dog = row("\u2581", "d", "o", "g")
    rows = [row(*["<unk>"] * 60), row("\u2581"), row(), dog]
    assert list(run.examples(rows, join)) == [("dog", "dog")]


@pytest.mark.slow
def test_a_sentence_that_looks_like_a_flag_is_interpolated(tmp_path):
    from helpers import save_vae

    save_vae(tmp_path, words=["--a", "-b", "."])
    command = [str(commands.folder() / "fairseq-vae"), "interpolate"]
    command += [str(tmp_path / "checkpoint_best.pt"), str(tmp_path), "--steps=3", "--", "--a", "-b"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("\n") == 3, done.stderr


def test_two_runs_do_not_share_a_folder(tmp_path, plan, monkeypatch):
    monkeypatch.setattr("fairseq_vae.finetune.steps.PATIENCE", 0.2)
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is at work in"):
            Finetuning(plan()).run()


def test_settings_that_cannot_work_leave_the_folder_free_for_others(tmp_path, plan):
    with pytest.raises(InputError, match="--latent-injection memory"):
        Finetuning(plan(overrides=["model.latent_injection=memory"])).run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_what_no_run_made_is_neither_taken_nor_deleted(tmp_path, plan):
    for name in "data-bin", "phase2", "dict.txt", "evaluation.txt", "samples.txt":
        (tmp_path / "out" / name).mkdir(parents=True)
        with pytest.raises(InputError, match=f"{name} is there, but no settings.json beside it.*another --output"):
            Finetuning(plan("text")).run()
        (tmp_path / "out" / name).rmdir()


def test_a_folder_of_other_settings_is_refused(tmp_path, plan):
    (tmp_path / "out").mkdir()
    Finetuning(plan()).check_settings()
    Finetuning(plan()).check_settings()
    with pytest.raises(InputError, match="out holds a run with other settings, BART or data: give another --output"):
        Finetuning(plan(overrides=["model.latent_dim=8"])).check_settings()


def test_the_check_keeps_dictionary_and_bpe_at_hand(made, tmp_path, plan):
    (tmp_path / "out").mkdir()
    Finetuning(plan()).check(tmp_path / "out/dict.txt")
    for name in "dict.txt", "sentencepiece.bpe.model":
        assert (tmp_path / "out" / name).read_bytes() == (made / "bart" / name).read_bytes()


def test_a_phase_that_was_stopped_after_its_last_update_makes_no_other(made, tmp_path, plan, monkeypatch):
    run = Finetuning(plan(updates={"phase2": 3}))
    run.output.joinpath("phase2").mkdir(parents=True)
    trained = []
    monkeypatch.setattr("fairseq_vae.finetune.steps.train", lambda *arguments: trained.append(arguments))
    for updates in 2, 3:
        state = torch.load(made / "bart/model.pt")
        state["optimizer_history"][-1]["num_updates"] = updates
        torch.save(state, run.output / "phase2/checkpoint_last.pt")
        run.train("phase2", str(made / "bart/model.pt"), run.output / "phase2.done")
        assert len(trained) == 1
    command, log, updates = trained[0]
    assert command[0] == "fairseq-train" and command[2].startswith("--user-dir=") and updates == 3
    assert log == run.output / "phase2.log" and shlex.split((run.output / "phase2.done").read_text()) == command


@pytest.mark.slow
def test_text_is_binarised_with_the_barts_dictionary(made, tmp_path, plan, monkeypatch, capsys):
    monkeypatch.setattr("sys.executable", str(commands.folder() / Path(sys.executable).name))
    (tmp_path / "out").mkdir()
    Finetuning(plan("text")).binarise(tmp_path / "bin")
    assert "the tokenizer changes" not in capsys.readouterr().out
    for name in ("dict.txt", "train.bin", "train.idx", "valid.bin", "test.bin"):
        assert (tmp_path / "bin" / name).read_bytes() == (made / "data" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("given", ["text", "data"])
def test_a_bart_becomes_a_measured_and_sampled_vae(made, tmp_path, given):
    bart, out = made / "bart/model.pt", tmp_path / "out"
    command = [str(commands.folder() / "fairseq-vae"), "finetune", str(made / given), "--bart", str(bart)]
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

    if given == "data":
        return  # the rest does not depend on it
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count("done before") == 6
    other = subprocess.run([*command, "--set=model.latent_dim=8"], capture_output=True, text=True)
    assert other.returncode == 1 and "holds a run with other settings" in other.stderr
    printed = [line[4:] for line in done.stdout.splitlines() if line.startswith("  $ fairseq-train")]
    assert len(printed) == 2
    by_hand = shlex.split(printed[0].replace(str(out / "phase1"), str(tmp_path / "by-hand")))
    by_hand[0] = str(commands.folder() / by_hand[0])
    assert subprocess.run(by_hand, capture_output=True).returncode == 0
    assert torch.load(tmp_path / "by-hand/checkpoint_best.pt")["model"][key].equal(weights[1][key])

    refused = subprocess.run(
        [command[0], "convert", "--from", str(out / "phase2/checkpoint_best.pt"), "--to-hf", str(tmp_path / "hf")],
        capture_output=True,
        text=True,
    )
    assert "has --latent-injection self-attention,embedding" in refused.stderr
