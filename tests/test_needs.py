"""What the steps of finetune need: each limit of a later step is met before the first update."""

import shutil
import sys
from pathlib import Path

import finetuning
import pytest
from finetuning import SENTENCES

from fairseq_vae.base.errors import InputError
from fairseq_vae.finetune import needs, steps
from fairseq_vae.finetune.needs import as_settings, check_space, check_surroundings, limit
from fairseq_vae.finetune.plan import Plan
from fairseq_vae.finetune.steps import Finetuning

SKIP = "dataset.skip_invalid_size_inputs_valid_test=true"
LONG = "the cat " * 40  # of 64 positions


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return finetuning.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """Makes a run over some splits, in which nothing may be trained."""

    def forbidden(*arguments, **options):
        raise AssertionError(f"a process was started: {arguments}")

    monkeypatch.setattr(steps, "train", forbidden)

    def build(*overrides, kind="data", bart=True, **splits):
        folder = shutil.copytree(made / kind, tmp_path / kind)
        for split, lines in splits.items():
            if lines is None:
                for path in folder.glob(f"{split}.*"):
                    path.unlink()
            elif kind == "text":
                (folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            else:
                finetuning.binarise(folder, split, lines, made / "bart/sentencepiece.bpe.model")
        if kind == "text":
            monkeypatch.setattr(steps, "call", forbidden)
        model = str(made / "bart/model.pt") if bart else None
        Finetuning(Plan(str(folder), str(tmp_path / "out"), "naive", model, overrides)).run()

    return build


@pytest.mark.parametrize("kind", ["text", "data"])
@pytest.mark.parametrize("splits, name", [({"test": ["a dog"]}, "test"), ({"test": None, "valid": ["a dog"]}, "valid")])
def test_a_split_that_is_too_small_for_the_evaluation_is_refused(run, kind, splits, name):
    with pytest.raises(InputError, match=rf"{kind}/{name}.* has 1 sentence; expected 2 or more"):
        run(kind=kind, **splits)


@pytest.mark.parametrize("kind", ["text", "data"])
@pytest.mark.parametrize("overrides", [(), (SKIP,)])
def test_the_evaluation_leaves_no_sentence_out_so_a_long_one_is_refused(run, kind, overrides):
    with pytest.raises(InputError, match=rf"{kind}/test.*line 2 .*too long.* 200 tokens, where .*at most 62") as error:
        run(*overrides, kind=kind, test=["a dog", LONG, "a cat"])
    assert ("does not help, since the evaluation leaves no line out" in str(error.value)) == bool(overrides)


@pytest.mark.parametrize("kind", ["text", "data"])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_long_sentence_of_training_is_refused_with_the_setting_that_leaves_it_out(run, kind, split):
    with pytest.raises(InputError, match=f"{kind}/{split}.*line 2 .*too long") as error:
        run(kind=kind, **{split: ["a dog", LONG]})
    assert str(error.value).endswith(f"leave such lines out with --set {SKIP}")


@pytest.mark.parametrize("kind", ["text", "data"])
def test_sentences_that_no_batch_has_room_for_are_refused(run, kind):
    with pytest.raises(
        InputError, match=rf"{kind}/train.*line 1 .*too long.*: \d+ tokens, where a batch \(dataset.max_tok"
    ):
        run("dataset.max_tokens=6", "dataset.max_tokens_valid=99", kind=kind)


def test_fairseq_leaves_no_sentence_out_of_a_validation_batch(run):
    with pytest.raises(InputError, match=r"valid.*line 1 .*too long.*or raise --set dataset.max_tokens_valid=N"):
        run("dataset.max_tokens_valid=6", SKIP)


def test_a_split_of_which_nothing_is_left_is_refused(run):
    with pytest.raises(InputError, match="train: every line is longer than 62 tokens, so that none is left"):
        run(SKIP, train=[LONG, LONG])


def test_text_that_is_nothing_to_the_tokenizer_is_named_by_its_own_file_and_the_user_ran_no_preprocess(run, tmp_path):
    with pytest.raises(InputError, match="text/valid.txt, line 2 has nothing that the tokenizer keeps") as error:
        run(kind="text", valid=["a dog", "\u200b", "a cat"])
    assert "fairseq-preprocess" not in str(error.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"], "the folder is free for other text"


@pytest.mark.parametrize(
    "setting",
    ["checkpoint.no_save=true", "dataset.disable_validation=true", "dataset.validate_after_updates=9999999"],
)
def test_a_phase_that_would_leave_no_best_checkpoint_is_refused(run, setting, tmp_path):
    with pytest.raises(InputError, match=f"--set {setting}: phase2 would leave no checkpoint_best.pt"):
        run(setting)
    assert not (tmp_path / "out").exists()


def test_a_figure_that_nothing_logs_selects_no_checkpoint(run):
    with pytest.raises(
        InputError, match="best_checkpoint_metric=bleu of phase2: expected a figure that validation logs"
    ):
        run("phase2.checkpoint.best_checkpoint_metric=bleu")


def test_flags_in_a_message_are_told_as_settings(run):
    message = r"--latent-injection memory.*\(to finetune, flags are given as --set model.latent_injection=VALUE"
    with pytest.raises(InputError, match=message):
        run("model.latent_injection=memory")
    cfg = {}
    assert as_settings("no flag -- but --text", cfg) == "no flag -- but --text"


def test_a_disk_without_space_for_the_checkpoints_is_refused(run, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: free)
    with pytest.raises(InputError, match="out: 0.00 GB are free, and the run writes about 0.00 GB of checkpoints"):
        run()
    (tmp_path / "out/phase2").mkdir()
    (tmp_path / "out/phase2/checkpoint_best.pt").write_bytes(bytes(500))
    check_space(tmp_path / "out", 10_500)
    with pytest.raises(InputError):
        check_space(tmp_path / "out", 10_501)


def test_a_folder_that_cannot_be_written_to_is_refused():
    with pytest.raises(InputError, match="--output .*: /proc/self cannot be written to"):
        check_surroundings(Path("/proc/self"))  # not even by root


def test_a_command_or_package_of_a_later_step_that_is_missing_is_named(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(needs, "environment", lambda: {"PATH": str(tmp_path)})
        with pytest.raises(InputError, match="the command fairseq-train is not found"):
            run()
    monkeypatch.setitem(sys.modules, "fairseq_vae.evaluate", None)
    with pytest.raises(InputError, match="the evaluation cannot run here"):
        check_surroundings(tmp_path)


def test_the_longest_sentence_that_is_let_pass_is_one_that_every_step_takes(made, tmp_path):
    """The bound is exact: with as many tokens as it says, the check passes, and one more is refused."""
    plan = Plan(str(made / "data"), str(tmp_path / "out"), "naive", str(made / "bart/model.pt"))
    most = limit("test", "test", plan.configurations).tokens
    assert most == 62
    folder = shutil.copytree(made / "data", tmp_path / "data")
    for count in most, most + 1:
        line = " ".join(["a"] * count)
        finetuning.binarise(folder, "test", [line, "a dog"], made / "bart/sentencepiece.bpe.model")
        plan = Plan(str(folder), str(tmp_path / "out"), "naive", str(made / "bart/model.pt"))
        if count == most:
            plan.check_parts()
        else:
            with pytest.raises(InputError, match="test: line 1 of the text is too long"):
                plan.check_parts()
    assert len(SENTENCES) > 2
