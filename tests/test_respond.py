"""Conditional VAEs in the commands: dialogs, finetune and respond, and what the other commands say of them."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import options
from helpers import configuration, save_bart, save_cvae, save_vae, write_sentencepiece
from omegaconf import OmegaConf

from fairseq_vae import hub
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.labelled import SPLITS
from fairseq_vae.cli.main import main
from fairseq_vae.finetune import steps
from fairseq_vae.vectors import check_sources, decode_file, encode_file, respond_file

pytestmark = pytest.mark.usefixtures("quick_conversion")

CONTEXTS = ["the dog", "", "a cat sleeps . " * 9, "the dog", "a dog barks"]  # the third one is too long
TARGETS = ["a cat", "the dog sleeps", ".", "dog", "a cat"]
SHORT = {"max_len": 4, "beam": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of a model that cuts sources from the left, with files of contexts, targets, labels and z's."""
    folder = tmp_path_factory.mktemp("cvae")
    save_cvae(folder, "--max-source-positions=16", "--max-target-positions=16", "--truncate-source-left", std=0.4)
    (folder / "contexts").write_text("\n".join(CONTEXTS) + "\n")
    (folder / "targets").write_text("\n".join(TARGETS) + "\n")
    np.save(folder / "z.npy", np.zeros((5, 32), np.float32))
    (folder / "task").mkdir()
    for split in SPLITS:
        (folder / "task" / f"{split}.txt").write_text("a dog\na cat\n")
        (folder / "task" / f"{split}.labels").write_text("dog\ncat\n")
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder):
    return str(folder / "checkpoint_best.pt")


@pytest.fixture(scope="module")
def vae(folder, checkpoint):
    return hub.load(checkpoint, str(folder), None, batch_size=4)


@pytest.fixture
def loaded(vae, monkeypatch):
    """Commands do not load the model again."""

    def load(checkpoint, data, bpe, batch_size, *others):
        monkeypatch.setattr(vae, "batch_size", batch_size)
        return vae

    monkeypatch.setattr(hub, "load", load)


def said(error):
    """The lines of standard error that are no progress bar's."""
    return [
        line for line in error.splitlines() if line.strip() and not re.search(r"\d+%\||context \[|sentence \[", line)
    ]


def test_responses_are_the_hubs_by_number_or_as_json(vae, folder, checkpoint, loaded, capsys):
    expected = vae.respond(CONTEXTS, 2, seed=2, sampling=True, max_len=4)
    assert expected[0] != expected[3], "equal contexts have draws of their own"
    command = ["respond", checkpoint, str(folder / "contexts"), "-n=2", "--seed=2", "--sampling", "--max-len=4"]
    assert main([*command, "--batch-size=4"]) == 0
    printed = capsys.readouterr()
    rows = [f"{number}\t{text}" for number, texts in enumerate(expected, 1) for text in texts]
    assert printed.out.splitlines() == rows
    assert sum("1 sources are longer than the model's positions and were cut" in row for row in said(printed.err)) == 1
    assert main([*command, "--json", "--batch-size=1"]) == 0
    objects = map(json.loads, capsys.readouterr().out.splitlines())
    wanted = [{"number": i, "input": x.strip(), "output": y} for i, (x, y) in enumerate(zip(CONTEXTS, expected), 1)]
    assert list(objects) == wanted


@pytest.mark.parametrize("n, batch_size", [(5, 4), (5, 64), (2, 3)])
def test_a_context_is_encoded_once_in_a_batch_and_its_responses_are_the_same(vae, monkeypatch, n, batch_size):
    """Against prior and decoder that read a context of each response's own."""
    monkeypatch.setattr(vae, "batch_size", batch_size)
    encoder, read, drawn = vae.model.encoder, [], []
    own, check = encoder.context, vae.check

    def context(src_tokens, *others, **named):
        read.append(len(src_tokens))
        return own(src_tokens, *others, **named)

    def every(sources):
        given = vae.source(len(sources), sources)
        return {**given, "context": own(**given)}

    monkeypatch.setattr(vae, "check", lambda z: (drawn.append(z), check(z)))
    monkeypatch.setattr(encoder, "context", context)
    found, count = vae.respond(CONTEXTS, n, **SHORT), sum(read)
    monkeypatch.setattr(vae, "source_once", every)
    assert vae.respond(CONTEXTS, n, **SHORT) == found
    once, again = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
    torch.testing.assert_close(once, again, rtol=1e-4, atol=2e-5)  # products of fewer rows round otherwise
    places = [CONTEXTS.index(context) for context in CONTEXTS for _ in range(n)]
    batches = range(0, len(places), batch_size)
    assert count == sum(len(set(places[start : start + batch_size])) for start in batches) < len(places)


def test_a_prior_of_all_sentences_is_refused(folder, checkpoint, tmp_path):
    with pytest.raises(InputError, match="^--prior p.safetensors: one for all sentences, and bart_cvae has"):
        hub.load(checkpoint, str(folder), None, prior="p.safetensors")


def test_a_context_is_read_as_training_read_it(vae, folder):
    assert vae.context(CONTEXTS[2]).equal(vae.uncut(CONTEXTS[2])[-16:]) and vae.context("").tolist() == [2]
    with pytest.raises(InputError, match="0 tokens; expected 1 to 14"):
        vae.encode(["a dog"], [""])


def test_an_interrupted_run_goes_on(vae, folder, checkpoint, tmp_path, monkeypatch):
    output, respond, calls = tmp_path / "responses", vae.respond, []

    def once(*arguments, **named):
        calls.append(named["first"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return respond(*arguments, **named)

    monkeypatch.setattr(vae, "respond", once)
    given = (vae, checkpoint, str(folder / "contexts"), str(output), 2)
    with pytest.raises(KeyboardInterrupt):
        respond_file(*given, **SHORT)
    assert not output.exists() and respond_file(*given, **SHORT) == 5 and calls == [0, 2, 2, 4]
    rows = zip([i for i in range(1, 6) for _ in range(2)], sum(respond(CONTEXTS, 2, **SHORT), []))
    assert output.read_text() == "".join(f"{number}\t{text}\n" for number, text in rows)


def test_a_context_that_training_would_not_have_cut_is_refused_by_its_line(
    vae, folder, checkpoint, monkeypatch, capsys
):
    uncut = OmegaConf.merge(vae.task.cfg, {"truncate_source_left": False})
    monkeypatch.setattr(vae.task, "cfg", uncut)
    given = (vae, checkpoint, str(folder / "contexts"), "-", 2)
    with pytest.raises(
        InputError, match="contexts, line 3: a source of 36 tokens; expected at most 15, the model's pos"
    ):
        respond_file(*given, **SHORT)
    told = []
    capsys.readouterr()
    respond_file(*given, skip=told.append, **SHORT)
    assert len(told) == 1 and capsys.readouterr().out.splitlines()[4:6] == ["3\t", "3\t"]
    monkeypatch.setattr(vae.task, "cfg", OmegaConf.merge(uncut, {"truncate_source": True}))
    assert vae.context(CONTEXTS[2]).equal(vae.uncut("a cat sleeps . " * 3 + "a cat sleeps")), "its first words"


def test_posteriors_and_decoding_beside_a_file_of_sources_are_the_hubs(vae, folder, checkpoint, tmp_path):
    sources, output, told = str(folder / "contexts"), tmp_path / "z.npy", []
    given = {"sources": sources, "tell": told.append}
    assert encode_file(vae, checkpoint, str(folder / "targets"), str(output), **given) == 5
    z = torch.from_numpy(np.load(output))
    assert z.equal(vae.encode(CONTEXTS, TARGETS).mean)
    decode_file(vae, checkpoint, str(output), f"{output}.txt", **given, **SHORT)
    assert told == [f"{sources}: 1 sources are longer than the model's positions and were cut, as in training"] * 2
    assert (tmp_path / "z.npy.txt").read_text().splitlines() == vae.reconstruct(CONTEXTS, TARGETS, **SHORT)
    for lines, message in ((4, "targets goes on at 5, where .* ends"), (6, "more goes on at 6, where .*targets ends")):
        more = tmp_path / "more"
        more.write_text("a dog\n" * lines)
        with pytest.raises(InputError, match=f"{message}: expected as many lines"):
            encode_file(vae, checkpoint, str(folder / "targets"), str(tmp_path / "other.npy"), sources=str(more))
        for path in tmp_path.glob("other*"):
            path.unlink()


ALONE = "checkpoint {c} is of bart_cvae, whose z is one of a source: expected bart_vae; `fairseq-vae respond` draws z"
GIVE = "this checkpoint is of bart_cvae, whose z is one of a source: give --sources FILE"
COMMANDS = {
    "sample": ([], ALONE),
    "reconstruct": (["a dog"], ALONE),
    "interpolate": (["{d}", "a dog", "a cat"], ALONE),
    "analogy": (["a", "dog", "cat"], ALONE),
    "traverse": (["a dog", "--dimension=1"], ALONE),
    "neighbours": (["a dog", "--index={t}/index", "--text={d}/targets"], ALONE),
    "edit": (["a dog", "--text={d}/targets", "--labels={d}/targets", "--to=dog"], ALONE),
    "evaluate-edit": ([f"--{flag}={{d}}/targets" for flag in ("text", "labels", "input", "input-labels")], ALONE),
    "explore": (["--port=0"], ALONE),
    "fit-prior": (["{d}", "--output={t}/prior.safetensors"], ALONE),
    "represent": (["--task={d}/task", "--shares=1"], ALONE),
    "encode": (["--input={d}/targets", "--output={t}/z.npy"], GIVE),
    "decode": (["--input={d}/z.npy"], GIVE),
    "convert": (
        ["--to-hf={t}/hf"],
        "{c} is of bart_cvae, whose decoder reads z and a source: Hugging Face's BART has no",
    ),
    "evaluate": (
        ["{d}", "--prior={d}/z.npy"],
        "--prior {d}/z.npy: one for all sentences, and bart_cvae has one of each",
    ),
}
FIRST = {"convert": "--from={c}"}  # in the place of the checkpoint


@pytest.mark.parametrize("name", COMMANDS)
def test_the_other_commands_say_what_a_conditional_model_needs(loaded, folder, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr("fairseq_vae.explore.serve.require_nicegui", lambda: None)
    places = {"c": str(folder / "checkpoint_best.pt"), "d": str(folder), "t": str(tmp_path)}
    arguments, message = COMMANDS[name]
    command = [name, *(argument.format(**places) for argument in [FIRST.get(name, "{c}"), *arguments])]
    assert main(command) == 1
    [line] = said(capsys.readouterr().err)
    assert line.startswith(f"fairseq-vae {name}: ") and message.format(**places) in line


def test_a_report_of_pairs_has_no_map_and_says_why(folder, tmp_path, capsys):
    import runs

    (tmp_path / "settings.json").write_text(json.dumps(runs.settings()))
    (tmp_path / "phase2").symlink_to(folder)
    assert main(["report", str(tmp_path)]) == 0
    assert "There is no map and no sentence: checkpoint " in capsys.readouterr().out


def test_a_model_of_sentences_responds_to_nothing(tmp_path, capsys):
    save_vae(tmp_path)
    assert main(["respond", str(tmp_path / "checkpoint_best.pt")]) == 1
    [line] = said(capsys.readouterr().err)
    assert "is of bart_vae, which reads no context: to respond, train --arch bart_cvae" in line
    with pytest.raises(InputError, match="is of bart_vae, which reads no sources: leave --sources out"):
        check_sources(SimpleNamespace(model=SimpleNamespace(conditional=False)), "sources.txt", "-")
    with pytest.raises(InputError, match="one stream cannot be both"):
        check_sources(SimpleNamespace(model=SimpleNamespace(conditional=True)), "-", "-")


@pytest.fixture
def in_process(monkeypatch):
    """What fairseq-vae finetune calls runs in this process, and an evaluation is short."""
    from fairseq import checkpoint_utils
    from fairseq_cli import preprocess
    from fairseq_cli.train import cli_main

    def train(command, log=None, updates=0):
        vars(checkpoint_utils.save_checkpoint).pop("best", None)  # of this process's last training
        monkeypatch.setattr("sys.argv", [*command, "--cpu"])
        cli_main()

    def call(command, progress=False):
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")) as printed:
            if command[0] == "fairseq-preprocess":
                given = [part for part in command[1:] if not part.startswith("--workers")]
                preprocess.main(options.get_preprocessing_parser().parse_args(given))
            else:
                short = {"evaluate": ["--samples=1", "--generate=0"], "respond": ["--max-len=4"]}
                assert main([*command[1:], *short[command[1]]]) == 0
        printed.seek(0)
        return printed.read()

    monkeypatch.setattr(steps, "train", train)
    monkeypatch.setattr(steps, "call", call)
    return train


def dialogs(folder):
    """Three conversations in each split, fourteen pairs."""
    folder.mkdir()
    says = ["the dog barks", "a cat sleeps", "the cat barks at the dog", "a dog sleeps on the cat", "the dog"]
    for split in ("train", "valid", "test"):
        rows = [(f"c{n}", "AB"[turn % 2], says[(n + turn) % 5]) for n in range(3) for turn in range(3 + n % 2)]
        (folder / f"{split}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return str(folder)


@pytest.mark.slow
def test_from_dialogs_to_different_responses_and_with_a_stock_task(tmp_path, in_process, capsys):
    """dialogs, finetune, respond; and fairseq's own task translation, whose checkpoint fairseq-generate answers from as
    fairseq-vae respond does."""
    from fairseq_cli import generate

    save_bart(tmp_path / "bart", words=write_sentencepiece(tmp_path / "bart"))
    pairs, out = tmp_path / "pairs", tmp_path / "out"
    assert main(["dialogs", dialogs(tmp_path / "dialogs"), "--output", str(pairs)]) == 0
    finetune = ["finetune", str(pairs), "--bart", str(tmp_path / "bart/model.pt"), "--output", str(out)]
    finetune += ["--recipe=naive", "--phase2-updates=1", "--set=dataset.num_workers=0"]
    assert main(finetune) == 0, capsys.readouterr().err
    capsys.readouterr()
    count = len((pairs / "test.source").read_text().splitlines())
    assert json.loads((out / "evaluation.json").read_text())["sentences"] == count > 5
    rows = (out / "samples.txt").read_text().splitlines()
    assert rows[0] == "Responses to 5 test sources, of five z's of each one's prior" and len(rows) == 1 + 5 * 6

    stock = f"fairseq-train {out}/data-bin --task translation --arch bart_cvae_tiny --criterion vae_cross_entropy "
    stock += "--optimizer adam --lr 0.01 --max-tokens 150 --max-update 2 --num-workers 0 --disable-validation "
    stock += f"--required-batch-size-multiple 1 --source-lang source --target-lang target --save-dir {out}/stock"
    in_process(stock.split())
    last = str(out / "stock/checkpoint_last.pt")
    capsys.readouterr()
    assert main(["respond", last, str(pairs / "test.source"), "-n=3", "--beam=2", "--max-len=6"]) == 0
    responses = capsys.readouterr().out
    command = f"{out}/data-bin --path {last} --task vae_translation --latent-mode sample --latent-samples 3 --cpu "
    command += f"--beam 2 --max-len-b 6 --bpe sentencepiece --sentencepiece-model {out}/sentencepiece.bpe.model"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        generate.main(configuration("generation", command.split()))
    found = {}
    for number, text in re.findall(r"^D-(\d+)\t\S+\t(.*)$", printed.getvalue(), re.MULTILINE):
        found.setdefault(int(number) + 1, []).append(text)
    wanted = [f"{number}\t{text}" for number in sorted(found) for text in found[number]]
    assert responses.splitlines() == wanted and len(wanted) == 3 * count
    assert main(["evaluate", last, f"{out}/data-bin", "--split=test", "--generate=0", f"--json={out}/stock.json"]) == 0
    assert json.loads((out / "stock.json").read_text())["sentences"] == count
