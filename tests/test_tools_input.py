"""Bad input of the commands that use z: one clear line, and the rest goes on where it can."""

import functools
import io
import json
import os
import re
import subprocess
import sys

import commands
import numpy as np
import pytest
import torch
from helpers import abreast, save_vae, write_gpt2, write_sentencepiece

from fairseq_vae.base.files import fingerprint
from fairseq_vae.checkpoints.priors import save_prior
from fairseq_vae.cli.main import main
from fairseq_vae.edit import attributes
from fairseq_vae.hub import load
from fairseq_vae.latent.fitted import FittedGaussian

GOOD = ["the dog barks .", "a cat", "the cat sleeps ."]
Z = 32
SHORT = ["--max-len=6", "--beam=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, labelled text and z's, which every command here can use."""
    folder = tmp_path_factory.mktemp("vae")
    save_vae(folder, "--max-source-positions=16", "--max-target-positions=16")
    rows = [("cat", "a cat sleeps ."), ("dog", "a dog barks ."), ("cat", "the cat"), ("dog", "the dog barks")] * 3
    (folder / "text").write_text("".join(f"{text}\n" for _, text in rows))
    (folder / "labels").write_text("".join(f"{label}\n" for label, _ in rows))
    (folder / "empty").write_text("")
    (folder / "one label").write_text("cat\n" * 12)
    (folder / "short labels").write_text("cat\n" * 11)
    (folder / "blank label").write_text("cat\n\n" + "dog\n" * 10)
    (folder / "numbers").write_text("".join(f"{i}\n" for i in range(12)))
    (folder / "same numbers").write_text("3\n" * 12)
    (folder / "no number").write_text("1\n" * 11 + "nan\n")
    (folder / "decimal commas").write_text("1\n" * 11 + "2,5\n")
    (folder / "a folder").mkdir()
    np.save(folder / "z.npy", np.zeros((2, Z), np.float32))
    return folder


@pytest.fixture(autouse=True)
def short_learning(monkeypatch):
    """What edit learns of labels takes seconds, and matters to no message."""
    monkeypatch.setattr(attributes, "learn", functools.partial(attributes.learn, steps=20))


@pytest.fixture
def checkpoint(folder):
    return str(folder / "checkpoint_best.pt")


def command(folder, tmp_path, name):
    """A command that works as it stands, with its input file to come."""
    checkpoint = str(folder / "checkpoint_best.pt")
    own = {
        "reconstruct": [*SHORT],
        "interpolate": [str(folder), "--steps=2", *SHORT],
        "analogy": [*SHORT],
        "traverse": ["--dimension=1", "--values=0,1", *SHORT],
        "neighbours": [f"--index={tmp_path}/index", f"--text={folder}/text", "--count=2"],
        "edit": [f"--text={folder}/text", f"--labels={folder}/labels", "--to=dog", "--strengths=0,1", *SHORT],
        "encode": [f"--output={tmp_path}/z.jsonl"],
    }[name]
    return [name, checkpoint, *own]


PARTS = {"interpolate": 2, "analogy": 3}
OUTPUTS = {"interpolate": 2, "traverse": 2, "neighbours": 2, "edit": 2}  # of an item
TAKE_TEXT = ["reconstruct", "interpolate", "analogy", "traverse", "neighbours", "edit", "encode"]


def refused(capsys, *arguments):
    """The one line on standard error of a command that fails."""
    status = main([str(argument) for argument in arguments])
    found = capsys.readouterr()
    bar = re.compile(r"\d+%\||sentence \[|^\s*$")  # of progress, which begins with a carriage return
    lines = [line for line in found.err.splitlines() if not bar.search(line)]
    assert status == 1 and len(lines) == 1 and lines[0].startswith(f"fairseq-vae {arguments[0]}: "), found.err
    return lines[0]


def written(tmp_path, name, sentences):
    """A file of items of a command: each sentence as often as an item has parts."""
    path = tmp_path / "input.txt"
    path.write_bytes(b"".join(b"\t".join([line] * PARTS.get(name, 1)) + b"\n" for line in sentences))
    return f"--input={path}"


BAD_LINES = {
    "empty": (b"", "'' has 0 tokens; expected 1 to 14"),
    "too long": (b"dog " * 15, "has 15 tokens; expected 1 to 14"),
    "mark": (b"the <s> dog", "<s> stands in the text"),
}


@pytest.mark.parametrize("name, bad", abreast(TAKE_TEXT, BAD_LINES))
def test_a_line_that_cannot_be_encoded_is_named_or_left_blank(folder, tmp_path, capsys, name, bad):
    line, message = BAD_LINES[bad]
    start = command(folder, tmp_path, name)
    lines = [GOOD[0].encode(), line, GOOD[1].encode()]
    given = written(tmp_path, name, lines)
    told = refused(capsys, *start, given)
    message = "1 sentence(s); expected" if not line and name in PARTS else message  # white space at the ends is none
    assert "line 2: " in told and message in told and "--skip-invalid" in told
    for left in tmp_path.glob("z.jsonl.part*"):
        left.unlink()
    assert main([*start, given, "--skip-invalid", "--batch-size=2", *(["--json"] if name != "encode" else [])]) == 0
    found = capsys.readouterr()
    assert "line 2: " in found.err
    if name == "encode":
        rows = [json.loads(row) for row in (tmp_path / "z.jsonl").read_text().splitlines()]
        assert [row["mu"] is None for row in rows] == [False, True, False]
        return
    rows = [json.loads(row) for row in found.out.splitlines()]
    count = OUTPUTS.get(name, 1)
    blanks = 1 if name == "neighbours" else count
    assert [row["output"] is None for row in rows] == [False] * count + [True] * blanks + [False] * count
    written(tmp_path, name, [lines[0], lines[2]])
    assert main([*start, given, "--json", "--batch-size=2"]) == 0
    assert [json.loads(row) for row in capsys.readouterr().out.splitlines()] == rows[:count] + rows[count + blanks :]


@pytest.mark.parametrize("content", [b"a\xffb\n", b"a\0b\n", b"a\rb\n"], ids=["not UTF-8", "NUL", "carriage return"])
@pytest.mark.parametrize("name", ["reconstruct", "encode"])
def test_a_file_that_is_no_text_is_one_line(folder, tmp_path, capsys, name, content):
    path = tmp_path / "input.txt"
    path.write_bytes(b"a cat\n" + content)
    assert f"{path}, line 2: " in refused(capsys, *command(folder, tmp_path, name), f"--input={path}")


@pytest.mark.parametrize("name, items", [("interpolate", "two sentences with a tab"), ("analogy", "three sentences")])
def test_items_of_another_number_of_sentences_are_one_line(folder, tmp_path, capsys, name, items):
    path = tmp_path / "input.txt"
    path.write_text("a cat\n")
    told = refused(capsys, *command(folder, tmp_path, name), f"--input={path}")
    assert "line 1: 1 sentence(s); expected " + items in told
    assert "item 1: 1 sentence(s); expected " + items in refused(capsys, *command(folder, tmp_path, name), "a cat")


@pytest.mark.parametrize("write", [write_sentencepiece, write_gpt2], ids=["sentencepiece", "gpt2"])
@pytest.mark.parametrize("name", ["reconstruct", "traverse"])
def test_other_scripts_and_unknown_tokens_are_sentences(tmp_path, capsys, write, name):
    """A line each, whatever bytes the model says."""
    save_vae(tmp_path, "--max-source-positions=99", "--max-target-positions=99", words=write(tmp_path))
    texts = ["Привет, мир", "你好,世界", "😀🎉", "the dog", "\u05e9\u05dc\u05d5\u05dd", "e\u0301"]
    (tmp_path / "input.txt").write_text("\n".join(texts), encoding="utf-8")
    start = [name, str(tmp_path / "checkpoint_best.pt"), f"--input={tmp_path}/input.txt", *SHORT]
    more = ["--dimension=0", "--values=1"] if name == "traverse" else []
    assert main([*start, *more]) == 0
    assert len(capsys.readouterr().out.split("\n")) == len(texts) + 1
    assert main([*start, *more, "--json"]) == 0
    assert [json.loads(row)["input"] for row in capsys.readouterr().out.split("\n")[:-1]] == texts


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["interpolate", "{folder}", "a cat", "dog", "--steps=0"], "--steps 0: expected 2 or more"),
        (["interpolate", "{folder}", "a cat", "dog", "--steps=-3"], "--steps -3: expected 2 or more"),
        (["traverse", "a cat", "--dimension=1", "--values="], "--values : expected numbers with commas between"),
        (["traverse", "a cat", "--dimension=1", "--values=nan"], "--values nan: expected numbers"),
        (
            ["traverse", "a cat", "--dimension=1", "--values=0,1e39"],
            "--values 0,1e39: expected numbers, none beyond 1,0",
        ),
        (["traverse", "a cat", "--dimension=1", "--values=-1e7"], "--values -1e7: expected numbers, none beyond 1,0"),
        (["traverse", "a cat", "--dimension=32"], "dimension 32: expected 0 to 31"),
        (["traverse", "a cat", "--dimension=-1"], "dimension -1: expected 0 to 31"),
        (["edit", "a cat", *"--text={text} --labels={labels} --to=dog --strengths=".split()], "--strengths : expected"),
        (
            ["edit", "a cat", *"--text={text} --labels={labels} --to=dog --strengths=inf".split()],
            "--strengths inf: exp",
        ),
        (["edit", "a cat", "--text={text}", "--to=dog"], "0 of --labels and --numbers, 1 of --to"),
        (
            ["edit", "a cat", *"--text={text} --labels={labels} --to=dog --to=cat".split()],
            "1 of --labels and --numbers",
        ),
        (["edit", "a cat", *"--text={text} --labels={labels} --to=dog --weights=1,2".split()], "--weights 1,2: exp"),
        (["edit", "a cat", *"--text={text} --labels={labels} --to=dog --hidden=-1".split()], "--hidden -1: expected"),
        (
            ["edit", "a cat", *"--text={text} --labels={labels} --to=cow".split()],
            "label 'cow': expected one of cat, dog",
        ),
        (["edit", "a cat", "--text={empty}", "--labels={empty}", "--to=dog"], "empty has no lines"),
        (["edit", "a cat", "--text={text}", "--labels={empty}", "--to=dog"], "0 lines; expected 12"),
        (["edit", "a cat", "--text={text}", "--labels={short labels}", "--to=dog"], "11 lines; expected 12"),
        (
            ["edit", "a cat", "--text={text}", "--labels={blank label}", "--to=dog"],
            "label, line 2: ''; expected a label",
        ),
        (["edit", "a cat", "--text={text}", "--labels={one label}", "--to=cat"], "1 label(s) in 12 sentences"),
        (["edit", "a cat", "--text={text}", "--labels={no}", "--to=dog"], "No such file"),
        (["edit", "a cat", "--text={text}", "--labels={a folder}", "--to=dog"], "is a folder: expected a text file"),
        (["edit", "a cat", "--text={text}", "--numbers={labels}", "--to=1"], "line 1: 'cat'; expected a number"),
        (["edit", "a cat", "--text={text}", "--numbers={no number}", "--to=1"], "line 12: 'nan'; expected a number"),
        (
            ["edit", "a cat", "--text={text}", "--numbers={decimal commas}", "--to=1"],
            "line 12: '2,5'; expected a number",
        ),
        (["edit", "a cat", "--text={text}", "--numbers={numbers}", "--to=2,5"], "--to 2,5: expected one number"),
        (
            ["edit", "a cat", *"--text={text} --numbers={numbers} --to=1e30 --way=energy --strengths=1".split()],
            "--way energy, strength 1: the equation of sentence 1 cannot be solved",
        ),
        (
            ["edit", "a cat", *"--text={text} --labels={labels} --to=dog --way=vector --strengths=1e30".split()],
            "z, row 1 of 1: expected finite numbers, none beyond 1,000,000",
        ),
        (["edit", "a cat", "--text={text}", "--numbers={same numbers}", "--to=1"], "all 12 numbers are 3.0"),
        (["edit", "a cat", "--text={text}", "--numbers={numbers}", "--to=x"], "--to x: expected numbers"),
        (["neighbours", "a cat", "--index={no}"], "has no index: give the text"),
        (["neighbours", "a cat", "--index={text}"], "has no index: give the text"),
        (["neighbours", "a cat", "--index={no}", "--text={no text}"], "there is no such text file"),
        (["neighbours", "a cat", "--index={labels}", "--text={text}"], "is a file: expected a folder"),
        (["neighbours", "a cat", "--index={text}", "--count=0"], "--count 0: expected 1 or more"),
        (["sample", "--number=0"], "--number 0: expected 1 or more"),
        (["sample", "--prior={no}"], "does not exist: `fairseq-vae fit-prior` writes it"),
        (["sample", "--prior={a folder}"], "is no prior that this"),
        (["sample", "--prior={text}"], "is no prior that this"),
        (["sample", "--data={no}"], "has no dict.txt"),
        (["reconstruct", "--input={no}"], "No such file"),
        (["reconstruct", "--input={a folder}"], "is a folder: expected a text file"),
        (["reconstruct", "--input={empty}"], "has no lines: expected one sentence a line"),
        (["interpolate", "{folder}", "--input={empty}"], "has no lines: expected two sentences with a tab"),
        (["encode", "--input={no}", "--output={out}.npy"], "No such file"),
        (["encode", "--input={a folder}", "--output={out}.npy"], "is a folder: expected a text file"),
        (["encode", "--input={text}", "--output={out}"], "expected a name that ends in .npy"),
        (["encode", "--input={text}", "--output={no}/z.npy"], "does not exist"),
        (["decode", "--input={no}"], "No such file"),
        (["decode", "--input={a folder}"], "Is a directory"),
        (["decode", "--input={text}"], "line 1: expected an object with `z` or `mu`"),
        (["fit-prior", "{no}", "--output={out}"], "{no}"),
        (["fit-prior", "{folder}", "--output={no}/prior"], "does not exist"),
        (["fit-prior", "{folder}", "--output={out}", "--components=0"], "--components 0: expected 1 or more"),
        (
            ["evaluate-edit", *"--text={empty} --labels={empty} --input={text} --input-labels={labels}".split()],
            "no lines",
        ),
        (
            ["evaluate-edit", *"--text={text} --labels={labels} --input={empty} --input-labels={empty}".split()],
            "no lines",
        ),
        (
            ["evaluate-edit", *"--text={text} --labels={labels} --input={text} --input-labels={numbers}".split()],
            "labels",
        ),
        (
            [
                "evaluate-edit",
                *"--text={text} --labels={labels} --input={text} --input-labels={labels} --limit=0".split(),
            ],
            "--limit 0: expected 1 or more",
        ),
        (
            [
                "evaluate-edit",
                *"--text={text} --labels={labels} --input={text} --input-labels={labels} --seeds=0".split(),
            ],
            "--seeds 0: expected 1 or more",
        ),
    ],
)
def test_bad_arguments_and_files_are_one_line(folder, checkpoint, tmp_path, capsys, arguments, message):
    def filled(text):
        for name in ("no text", "no"):
            text = text.replace(f"{{{name}}}", str(tmp_path / "missing"))
        text = text.replace("{out}", str(tmp_path / "out")).replace("{folder}", str(folder))
        for path in folder.iterdir():
            text = text.replace(f"{{{path.name}}}", str(path))
        return text

    name, *rest = map(filled, arguments)
    assert filled(message) in refused(capsys, name, checkpoint, *rest)
    assert not (tmp_path / "missing").exists(), "nothing is made for a run that cannot be"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("z.npy", np.zeros((2, 31), np.float32), "expected float32 rows of 32 numbers"),
        ("z.npy", np.array([[0.0] * Z, [0.0, np.nan] * 16], np.float32), "row 2: 16 of 32 numbers are not finite"),
        ("z.npy", np.array([[0.0] * Z, [np.inf] + [0.0] * 31], np.float32), "row 2: 1 of 32 numbers are not finite"),
        (
            "z.npy",
            np.array([[0.0] * Z, [1e38] + [0.0] * 31], np.float32),
            "row 2: 1 of 32 numbers are beyond 1,000,000",
        ),
        ("z.npy", b"", "is no .npy file that numpy.save wrote"),
        ("z.npy", b"\x93NUMPY", "is no .npy file that numpy.save wrote"),
        ("z.npy", b"\x93NUMPY\x01\x00", "is no .npy file that numpy.save wrote"),
        ("z.npy", b"\x93NUMPY\x09\x00\xff\xff\xff\xff", "is no .npy file that numpy.save wrote"),
        ("z.npy", b"hello", "is no .npy file that numpy.save wrote"),
        ("z.jsonl", b'{"z": [1, 2]}\n', "line 1: 2 numbers in shape (2,); expected 32"),
        ("z.jsonl", b"[" + b"NaN, " * 31 + b"1]\n", "row 1: 31 of 32 numbers are not finite"),
        ("z.jsonl", b"[1" + b"0" * 400 + b", 0" * 31 + b"]\n", "line 1: expected an object"),
        ("z.jsonl", b"[" * 100_000 + b"\n", "line 1: expected an object"),
        ("z.jsonl", b"[" + b"[1], " * 31 + b"1]\n", "line 1: expected an object"),
    ],
)
def test_vectors_that_cannot_be_decoded_are_one_line(checkpoint, tmp_path, capsys, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    assert message in refused(capsys, "decode", checkpoint, f"--input={path}", *SHORT)
    if "numbers are" in message:
        assert main(["decode", checkpoint, f"--input={path}", "--skip-invalid", *SHORT]) == 0
        lines = capsys.readouterr().out.split("\n")
        assert len(lines) == (3 if ".npy" in name else 2) and lines[-2] == "" and (lines[0] != "" or ".jsonl" in name)


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--beam=0", "--beam 0: expected 1 or more"),
        ("--temperature=0", "--temperature 0.0: expected a number above 0"),
        ("--temperature=-1", "--temperature -1.0: expected a number above 0"),
        ("--temperature=nan", "--temperature nan: expected a number above 0"),
        ("--temperature=inf", "--temperature inf: expected a number above 0"),
        ("--max-len=0", "--max-len 0: expected 1 or more"),
        ("--max-len=-5", "--max-len -5: expected 1 or more"),
        ("--seed=-1", "--seed -1: expected 0 to 4294967295"),
        ("--sampling --sampling-topk=0", "--sampling-topk 0: expected 1 or more, or -1: all words"),
        ("--sampling --sampling-topk=-2", "--sampling-topk -2: expected 1 or more, or -1: all words"),
        ("--sampling --sampling-topp=0", "--sampling-topp 0.0: expected a number above 0, at most 1"),
        ("--sampling --sampling-topp=1.5", "--sampling-topp 1.5: expected a number above 0, at most 1"),
        (
            "--sampling-topk=5",
            "--sampling-topk 5 has no effect without --sampling: give that too, or leave --sampling-topk",
        ),
        ("--sampling-topp=0.5", "--sampling-topp 0.5 has no effect without --sampling"),
    ],
)
@pytest.mark.parametrize("name", ["sample", "reconstruct", "traverse", "decode"])
def test_a_search_that_cannot_be_is_one_line_before_the_model_is_loaded(capsys, name, flags, message):
    own = {"sample": [], "reconstruct": ["a cat"], "traverse": ["a cat", "--dimension=0"], "decode": ["--input=z.npy"]}
    assert message in refused(capsys, name, "no checkpoint", *own[name], *flags.split())


def test_the_values_of_a_walk_may_begin_below_0_as_the_help_shows(checkpoint, capsys):
    with pytest.raises(SystemExit):
        main(["traverse", "--help"])
    [shown] = set(re.findall(r"--values=\S+\d", capsys.readouterr().out))
    assert main(["traverse", checkpoint, "a cat", "--dimension=0", shown, *SHORT]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["-3.0", "0.0", "3.0"]


def test_a_prior_of_another_checkpoint_is_refused(folder, checkpoint, tmp_path, capsys):
    prior = FittedGaussian({"mu": torch.zeros(Z), "tril": torch.eye(Z)})
    save_prior(prior, str(tmp_path / "prior"), fingerprint(folder / "z.npy"))
    assert "was fitted to another checkpoint" in refused(capsys, "sample", checkpoint, f"--prior={tmp_path}/prior")


@pytest.mark.parametrize(
    "name, full, arguments",
    [
        ("encode", "z.npy.part", ["--input={folder}/text", "--output={out}/z.npy"]),
        ("encode", "z.jsonl.part", ["--input={folder}/text", "--output={out}/z.jsonl"]),
        ("decode", "back.txt.part", ["--input={folder}/z.npy", "--output={out}/back.txt", *SHORT]),
        ("neighbours", "z.npy.part", ["a cat", "--index={out}", "--text={folder}/text"]),
        ("neighbours", "index.json.part", ["a cat", "--index={out}", "--text={folder}/text"]),
    ],
)
def test_a_full_disk_is_one_line_and_then_the_run_goes_on(folder, checkpoint, tmp_path, capsys, name, full, arguments):
    arguments = [text.replace("{folder}", str(folder)).replace("{out}", str(tmp_path)) for text in arguments]
    (tmp_path / full).symlink_to("/dev/full")
    told = refused(capsys, name, checkpoint, *arguments)
    assert "cannot be written (No space left on device)" in told
    (tmp_path / full).unlink(missing_ok=True)
    assert main([name, checkpoint, *arguments]) == 0, "there is room again"


def test_the_price_of_edits_of_too_few_sentences_is_one_line(folder, checkpoint, tmp_path, capsys):
    (tmp_path / "text").write_text("a cat\nthe dog\n")
    (tmp_path / "labels").write_text("cat\ndog\n")
    files = (
        f"--text={tmp_path}/text --labels={tmp_path}/labels --input={tmp_path}/text --input-labels={tmp_path}/labels"
    )
    assert "1 label(s) in 1 sentences" in refused(capsys, "evaluate-edit", checkpoint, *files.split(), *SHORT)


@pytest.mark.parametrize(
    "missing, flags, message",
    [
        ("torchdiffeq", [], "--way energy needs torchdiffeq: pip install torchdiffeq"),
        ("matplotlib", ["--picture=edits.svg"], "--picture needs matplotlib: pip install matplotlib"),
        (None, ["--picture=edits.pdf"], "--picture edits.pdf: expected a name that ends in .svg or .png"),
    ],
)
def test_the_price_of_edits_asks_for_what_it_needs_before_the_model_is_loaded(
    capsys, monkeypatch, missing, flags, message
):
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    files = "--text=none --labels=none --input=none --input-labels=none"
    assert message in refused(capsys, "evaluate-edit", "no checkpoint", *files.split(), *flags)


def test_sentences_come_from_a_pipe(checkpoint, monkeypatch, capsys):
    class Standard:
        buffer = io.BytesIO("\n".join(GOOD).encode())

    monkeypatch.setattr(sys, "stdin", Standard())
    assert main(["reconstruct", checkpoint, "--input=-", *SHORT]) == 0
    vae = load(checkpoint, os.path.dirname(checkpoint), None)
    assert capsys.readouterr().out.splitlines() == vae.reconstruct(GOOD, max_len=6, beam=1)


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one_line(checkpoint):
    """`fairseq-vae sample … | head -1`, and `> /dev/full`."""
    start = [
        str(commands.folder() / "fairseq-vae"),
        "sample",
        checkpoint,
        "--number=3000",
        "--batch-size=2",
        *SHORT,
    ]
    running = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None and running.stderr is not None
    assert running.stdout.readline()
    running.stdout.close()
    assert running.stderr.read() == "" and running.wait() == 141
    with open("/dev/full", "w") as disk:
        done = subprocess.run(start, stdout=disk, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "fairseq-vae sample: [Errno 28] No space left on device\n")
