"""Tools on a checkpoint: the commands, and what of them the hub does."""

import functools
import json
import re

import numpy as np
import pytest
import torch
from helpers import save_vae

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import fingerprint
from fairseq_vae.checkpoints.priors import save_prior
from fairseq_vae.cli.main import main
from fairseq_vae.edit import attributes
from fairseq_vae.edit.attributes import fit_label, fit_number
from fairseq_vae.edit.ways import Unsolved, Wish, ways
from fairseq_vae.evaluate_edit import figures, summary
from fairseq_vae.hub import load
from fairseq_vae.index import Index
from fairseq_vae.latent.fitted import FittedGaussian
from fairseq_vae.latent.paths import PATHS
from fairseq_vae.report.edits import shown

LIST = ["the dog barks .", "a cat", "the cat sleeps .", "dog", "a dog sleeps the cat barks a cat ."]
Z = 32


@pytest.fixture(autouse=True)
def short_learning(monkeypatch):
    """What edit learns of labels takes seconds; here commands are held to calls that learn the same."""
    monkeypatch.setattr(attributes, "learn", functools.partial(attributes.learn, steps=100))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    save_vae(folder, "--max-source-positions=16", "--max-target-positions=16")
    return str(folder / "checkpoint_best.pt")


@pytest.fixture(scope="module")
def vae(checkpoint):
    return load(checkpoint, checkpoint.rpartition("/")[0], None)


def printed(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    found = capsys.readouterr()
    assert status == 0, found.err
    return found.out.splitlines()


@pytest.mark.parametrize("path", PATHS)
def test_the_ends_of_a_path_are_the_reconstructions_of_its_ends(vae, checkpoint, tmp_path, capsys, path):
    found = vae.interpolate(LIST[0], LIST[4], 5, path, max_len=9)
    assert [found[0], found[-1]] == vae.reconstruct([LIST[0], LIST[4]], max_len=9)
    command = ["interpolate", checkpoint, checkpoint.rpartition("/")[0], "--steps=5", f"--path={path}", "--max-len=9"]
    assert printed(capsys, *command, LIST[0], LIST[4]) == found
    pairs = list(zip(LIST, LIST[::-1]))
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    rows = [json.loads(row) for row in printed(capsys, *command, "--input", file, "--json", "--batch-size=2")]
    assert [(tuple(row["input"]), row["step"]) for row in rows] == [(pair, step) for pair in pairs for step in range(5)]
    lines = vae.interpolate(LIST, LIST[::-1], 5, path, max_len=9)
    assert [row["output"] for row in rows] == sum(lines, []) and lines[0] == found
    assert [line[0] for line in lines] == vae.reconstruct(LIST, max_len=9)
    with pytest.raises(InputError, match="2, 1 sentences: expected as many of each"):
        vae.interpolate(LIST[:2], LIST[:1])


def test_samples_of_a_seed_are_the_same_however_many_and_in_any_batch(vae, checkpoint, capsys):
    drawn = {"sampling": True, "sampling_topk": 4, "max_len": 9}
    ten = vae.sample(10, seed=3, **drawn)
    assert vae.sample(4, seed=3, **drawn) == ten[:4] and vae.sample(4, seed=4, **drawn) != ten[:4]
    flags = ["--seed=3", "--sampling", "--sampling-topk=4", "--max-len=9", "--batch-size=3", "-n", 10]
    assert printed(capsys, "sample", checkpoint, *flags) == ten
    rows = [json.loads(row) for row in printed(capsys, "sample", checkpoint, *flags, "--json")]
    assert rows == [{"number": number, "output": text} for number, text in enumerate(ten, 1)]


def test_a_fitted_prior_is_where_samples_come_from(vae, checkpoint, tmp_path, capsys):
    """A prior that is almost a point: every sample is the sentence there."""
    path = str(tmp_path / "prior.safetensors")
    point = vae.encode(LIST[0]).mean[0]
    save_prior(FittedGaussian({"mu": point, "tril": 1e-6 * torch.eye(Z)}), path, fingerprint(checkpoint))
    wanted = vae.reconstruct([LIST[0]], max_len=9)[0]
    assert printed(capsys, "sample", checkpoint, "--prior", path, "-n", 3, "--max-len=9") == [wanted] * 3
    save_prior(FittedGaussian({"mu": point, "tril": torch.eye(Z)}), path, "another")
    assert main(["sample", checkpoint, "--prior", path]) == 1
    assert "was fitted to another checkpoint" in capsys.readouterr().err


def test_reconstructions_are_printed_as_lines_or_json(vae, checkpoint, tmp_path, capsys):
    wanted = vae.reconstruct(LIST, max_len=9)
    assert printed(capsys, "reconstruct", checkpoint, *LIST, "--max-len=9") == wanted
    file = tmp_path / "text.txt"
    file.write_text("\n".join(LIST))
    rows = map(json.loads, printed(capsys, "reconstruct", checkpoint, "--input", file, "--json", "--max-len=9"))
    assert [(row["input"], row["output"]) for row in rows] == list(zip(LIST, wanted))
    among = ["reconstruct", *LIST[:1], "--max-len=9", *LIST[1:3], "--json", "--", *LIST[3:]]
    rows = map(json.loads, printed(capsys, among[0], checkpoint, *among[1:]))
    assert [row["output"] for row in rows] == wanted, "flags may stand among the sentences"


def test_an_analogy_with_nothing_changed_is_the_reconstruction(vae, checkpoint, tmp_path, capsys):
    wanted = vae.reconstruct([LIST[2]], max_len=9)
    assert printed(capsys, "analogy", checkpoint, LIST[1], LIST[1], LIST[2], "--max-len=9") == wanted
    assert [vae.analogy(LIST[2], LIST[0], LIST[2], max_len=9)] == vae.reconstruct([LIST[0]], max_len=9)
    file = tmp_path / "triples.tsv"
    file.write_text("".join(f"{text}\t{text}\t{other}\n" for text, other in zip(LIST, LIST[::-1])))
    rows = [json.loads(row) for row in printed(capsys, "analogy", checkpoint, "--input", file, "--json", "--max-len=9")]
    assert [row["output"] for row in rows] == vae.reconstruct(LIST[::-1], max_len=9)
    assert rows[0]["input"] == [LIST[0], LIST[0], LIST[4]]
    assert vae.analogy(LIST, LIST, LIST[::-1], max_len=9) == [row["output"] for row in rows]


def test_a_walk_passes_the_sentence_at_its_own_value(vae, checkpoint, tmp_path, capsys):
    own = float(vae.encode(LIST[0]).mean[0, 5])
    command = ["traverse", checkpoint, "--dimension=5", f"--values=-9,{own!r},9", "--max-len=9"]
    rows = printed(capsys, *command, LIST[0])
    assert [row.split("\t")[0] for row in rows] == ["-9.0", str(own), "9.0"]
    assert rows[1].split("\t")[1] == vae.reconstruct(LIST[0], max_len=9)[0]
    file = tmp_path / "text.txt"
    file.write_text("\n".join(LIST))
    many = [json.loads(row) for row in printed(capsys, *command, "--input", file, "--json", "--batch-size=2")]
    assert [row["input"] for row in many] == [text for text in LIST for _ in range(3)]
    assert [f"{row['value']}\t{row['output']}" for row in many[:3]] == rows
    walks = vae.traverse(LIST, 5, [-9.0, own, 9.0], max_len=9)
    assert sum(walks, []) == [row["output"] for row in many] and vae.traverse(LIST[0], 5, [], max_len=9) == []
    with pytest.raises(InputError, match="dimension 32: expected 0 to 31"):
        vae.traverse(LIST[0], 32, [0.0])


@pytest.mark.parametrize("name", ["decode", "traverse", "interpolate", "neighbours", "edit"])
def test_z_in_the_place_of_sentences_is_of_the_models_width_and_finite(vae, checkpoint, tmp_path, name):
    """And does the same as the sentences."""
    index = tmp_path / "text"
    index.write_text("a cat\nthe dog\n")
    sentiment = fit_label(torch.randn(20, Z), ["good", "bad"] * 10)
    wish = Wish(sentiment, sentiment.numbers(["good"] * 2))
    call = {
        "decode": lambda given: vae.decode(vae.latents(given), max_len=5),
        "traverse": lambda given: vae.traverse(given, 0, [1.0], max_len=5),
        "interpolate": lambda given: vae.interpolate(given, given, 2, max_len=5),
        "neighbours": lambda given: vae.neighbours(given, vae.index(str(tmp_path / "index"), str(index)), 2),
        "edit": lambda given: vae.edit(given, [wish], "gradient", [1.0], max_len=5),
    }[name]
    z = vae.encode(LIST[:2]).mean
    assert call(z) == call(LIST[:2])
    with pytest.raises(InputError, match=r"of shape \(2, 31\): expected . x 32|of shape \(2, 31\)"):
        call(z[:, 1:])
    for value in float("nan"), float("inf"), 1e38, -1e7:
        z[1, 3] = value
        with pytest.raises(InputError, match="z, row 2 of 2: expected finite numbers"):
            call(z)


def random_wishes(size, numeric):
    """Two attributes, and the second one a number if `numeric`."""
    z = torch.randn(60, Z, generator=torch.Generator().manual_seed(1))
    first = fit_label(z, ["good" if row[0] > 0 else "bad" for row in z])
    second = fit_number(z, z[:, 1].tolist(), 0) if numeric else fit_label(z, ["yes" if r[1] > 0 else "no" for r in z])
    target = torch.full((size,), 2.0) if numeric else second.numbers(["yes"] * size)
    return [Wish(first, first.numbers(["good"] * size)), Wish(second, target, 0.5)]


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("way", ways.names())
def test_an_edit_of_strength_0_is_the_reconstruction(vae, way, several):
    wishes = random_wishes(len(LIST), numeric=way == "energy")[: 2 if several else 1]
    strong = 2.0 if way == "energy" and several else 50.0  # a number makes the equation stiff, and its solution slow
    unchanged, changed = vae.edit(LIST, wishes, way, [0.0, strong], max_len=9)
    assert unchanged == vae.reconstruct(LIST, max_len=9) and changed != unchanged


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_are_the_nearest_lines(vae, checkpoint, tmp_path, capsys, monkeypatch, metric):
    monkeypatch.setattr("fairseq_vae.index.CHUNK", 2)
    text, index = tmp_path / "text.txt", tmp_path / "index"
    text.write_text("\n".join([*LIST, "", "the dog barks . ."]))
    command = ["neighbours", checkpoint, LIST[0], "--index", index, "--count=3", f"--metric={metric}", "--json"]
    rows = printed(capsys, *command, "--text", text, "--skip-invalid")
    found = [json.loads(row) for row in rows if row.startswith("{")]
    lines = text.read_text().split("\n")
    own, others = vae.encode(LIST[0]).mean[0].double(), vae.encode([line for line in lines if line]).mean.double()
    distances = (others - own).norm(dim=1) if metric == "euclidean" else 1 - torch.cosine_similarity(others, own[None])
    good = [number for number, line in enumerate(lines, 1) if line]
    order = [good[i] for i in distances.argsort(stable=True)[:3].tolist()]
    assert [row["line"] for row in found] == order and found[0]["output"] == LIST[0]
    assert np.allclose([row["distance"] for row in found], distances.sort().values[:3], atol=1e-3)
    assert [json.loads(row) for row in printed(capsys, *command)] == found, "the index is enough"
    other = tmp_path / "other.txt"
    other.write_text("a dog\n")
    assert main([*map(str, command), "--text", str(other)]) == 1, "z of one text beside the lines of another"
    assert "is the index of another text" in capsys.readouterr().err
    with pytest.raises(InputError, match="is the index of another checkpoint"):
        monkeypatch.setattr("fairseq_vae.index.fingerprint", lambda path: "other")
        Index(str(index), checkpoint)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["reconstruct"], "give sentences as arguments, or a file"),
        (["reconstruct", "a cat", "--input=-"], "give sentences as arguments, or a file"),
        (["sample", "-n", "0"], "--number 0: expected 1 or more"),
        (["sample", "--batch-size=0"], "--batch-size 0: expected 1 or more"),
        (["traverse", "a cat", "--dimension=1", "--values=a"], "--values a: expected numbers with commas between"),
        (["neighbours", "a cat", "--index=none"], "none has no index"),
        (["reconstruct", "  "], "has 0 tokens"),
    ],
)
def test_bad_input_is_one_line(checkpoint, capsys, arguments, message):
    assert main([arguments[0], checkpoint, *arguments[1:]]) == 1
    found = capsys.readouterr()
    assert message in found.err and found.err.count("\n") == 1 and not found.out


def labelled(folder):
    """Files of sentences and their labels: of cats and of dogs."""
    rows = [("cat", "a cat sleeps ."), ("dog", "a dog barks ."), ("cat", "the cat"), ("dog", "the dog barks")] * 5
    (folder / "text").write_text("".join(f"{text}\n" for _, text in rows))
    (folder / "labels").write_text("".join(f"{label}\n" for label, _ in rows))
    return f"--text={folder}/text", f"--labels={folder}/labels"


@pytest.mark.parametrize("way", ways.names())
def test_edits_are_printed_for_each_strength_and_0_is_the_reconstruction(vae, checkpoint, tmp_path, capsys, way):
    command = ["edit", checkpoint, *LIST[:2], *labelled(tmp_path), "--to=dog", f"--way={way}", "--max-len=9"]
    rows = [json.loads(row) for row in printed(capsys, *command, "--strengths=0,3", "--json")]
    assert [(row["input"], row["strength"]) for row in rows] == [(t, s) for t in LIST[:2] for s in (0.0, 3.0)]
    assert [row["output"] for row in rows[::2]] == vae.reconstruct(LIST[:2], max_len=9)
    assert len(printed(capsys, *command, "--strengths=0,3", "--smallest")) == 2


def test_a_strength_is_printed_where_it_is_enough_alone(checkpoint, tmp_path, capsys):
    texts = ["a cat sleeps .", "a dog barks ."]
    command = ["edit", checkpoint, *texts, *labelled(tmp_path), "--to=dog", "--way=vector", "--max-len=5", "--smallest"]
    assert main([*command, "--strengths=0.5e-9,1e-9", "--json"]) == 0
    found = capsys.readouterr()
    rows = [json.loads(row) for row in found.out.splitlines()]
    assert [row["strength"] for row in rows] == [None, 0.5e-9] and all(row["output"] for row in rows)
    assert "1 of 2 sentences do not have the labels at any of --strengths 0.5e-9,1e-9" in found.err
    rows = printed(capsys, *command, "--strengths=0.1")
    assert [row.split("\t")[0] for row in rows][1] == "0.1"


def test_several_attributes_are_composed_on_the_command_line(vae, checkpoint, tmp_path, capsys):
    """The command's edit is the hub's with the same attributes; a weight of 0 leaves an attribute out."""
    text, labels = labelled(tmp_path)
    sentences = (tmp_path / "text").read_text().splitlines()
    (tmp_path / "lengths").write_text("".join(f"{len(line.split())}\n" for line in sentences))
    z = vae.encode(sentences).mean
    animal = fit_label(z, (tmp_path / "labels").read_text().split())
    length = fit_number(z, [len(line.split()) for line in sentences], 0)
    wishes = [Wish(animal, animal.numbers(["dog"]), 2.0), Wish(length, torch.full((1,), 2.0), 0.5)]
    command = ["edit", checkpoint, LIST[0], text, "--way=energy", "--max-len=9", "--strengths=0,0.5", "--json"]
    both = [labels, f"--numbers={tmp_path}/lengths", "--to=dog", "--to=2"]
    rows = [json.loads(row) for row in printed(capsys, *command, *both, "--weights=2,0.5")]
    wanted = vae.edit(LIST[:1], wishes, "energy", [0.0, 0.5], max_len=9)
    assert [row["output"] for row in rows] == [of_strength[0] for of_strength in wanted]
    turned = [f"--numbers={tmp_path}/lengths", "--to=2", labels, "--to=dog", "--weights=0.5,2"]
    assert [json.loads(row) for row in printed(capsys, *command, *turned)] == rows, "the order is one's own"
    alone = printed(capsys, *command, labels, "--to=dog")
    assert printed(capsys, *command, *both, "--weights=1,0") == alone != [json.dumps(row) for row in rows]
    for way in "vector", "gradient":
        assert main([*map(str, command[:3]), text, *both, f"--way={way}"]) == 1
        assert f"--way {way}: an attribute that is a number" in capsys.readouterr().err


def test_the_price_of_an_edit_is_a_whole_sweep(checkpoint, tmp_path, capsys):
    text = labelled(tmp_path)
    inputs = [f"--input={tmp_path}/text", f"--input-labels={tmp_path}/labels", "--limit=3", "--seeds=2", "--max-len=6"]
    files = [f"--json={tmp_path}/edits.json", f"--picture={tmp_path}/edits.svg"]
    lines = printed(capsys, "evaluate-edit", checkpoint, *text, *inputs, *files, "--beam=1")
    rows = json.loads((tmp_path / "edits.json").read_text())
    assert len(rows) == 2 * (1 + 8 + 10 + 8) and len(lines) == 1 + 1 + 8 + 10 + 8 + 1 + 2, (
        "table, blank line, two verdicts"
    )
    assert {row["way"] for row in rows} == {"input", *ways.names()} and {row["seed"] for row in rows} == {1, 2}
    assert all(round(row["self_bleu"], 6) == 100 for row in rows if row["way"] == "input")
    unchanged = [row for row in rows if row["strength"] == 0 and row["way"] != "input"]
    assert len({(row["self_bleu"], row["words"]) for row in unchanged}) == 1, "strength 0 is the same in every way"
    assert "self-BLEU with the input" in (tmp_path / "edits.svg").read_text()


def test_a_judge_of_fluency_takes_long_texts_up_to_its_positions_and_has_no_latent(vae, checkpoint, tmp_path, capsys):
    text = labelled(tmp_path)
    inputs = [f"--input={tmp_path}/text", f"--input-labels={tmp_path}/labels", "--limit=2", "--seeds=1", "--beam=1"]
    assert main(["evaluate-edit", checkpoint, *text, *inputs, f"--language-model={checkpoint}"]) == 1
    assert "has a latent; expected a model trained with --zero-latent" in capsys.readouterr().err
    save_vae(tmp_path / "lm", "--zero-latent", "--max-source-positions=6", "--max-target-positions=6")
    judge = load(str(tmp_path / "lm/checkpoint_best.pt"), str(tmp_path / "lm"), None)
    texts = ["a dog", "a cat " * 6, " "]
    row = figures("vector", 1.0, 1, texts, texts, ["cat"] * 3, Judge(), judge)
    tokens = [judge.tokens(kept) for kept in ("a dog", "a cat a cat")]
    nats = -judge.log_prob(tokens, samples=1).sum().item()
    assert (row.long, row.empty) == (1, 1) and row.fluency == pytest.approx(nats / sum(map(len, tokens)))
    [point] = summary([row])
    assert shown(point["accuracy"], 3) == "1.000", "one seed has no interval"


class Judge:
    def predict(self, texts):
        return np.array(["cat"] * len(texts))


@pytest.mark.parametrize("command", [["encode", "--input={text}", "--output={out}"], ["reconstruct", "a dog"]])
def test_a_model_without_z_is_refused_where_z_is_all(command, tmp_path, capsys):
    save_vae(tmp_path, "--zero-latent")
    (tmp_path / "text").write_text("a dog\n")
    flags = [part.format(text=tmp_path / "text", out=tmp_path / "z.npy") for part in command[1:]]
    assert main([command[0], str(tmp_path / "checkpoint_best.pt"), *flags]) == 1
    assert "has no latent (--zero-latent): there is no z to work with" in capsys.readouterr().err
    assert not (tmp_path / "z.npy").exists()


def test_an_equation_without_a_solution_is_of_the_inputs_own_line_and_may_be_skipped(
    checkpoint, tmp_path, capsys, monkeypatch
):
    def some(z, wishes, strength):
        if strength and len(z) > 1:
            raise Unsolved(1, strength, "too stiff")
        return z

    monkeypatch.setitem(ways.parts, "energy", some)
    text = labelled(tmp_path)
    (tmp_path / "given").write_text("\n" + "\n".join(LIST[:3]) + "\n")
    command = ["edit", checkpoint, f"--input={tmp_path}/given", *text, "--to=dog", "--way=energy", "--strengths=1,2"]
    monkeypatch.setattr("sys.stdin", None)
    assert main([*command, "--skip-invalid", "--max-len=5"]) == 0
    found = capsys.readouterr()
    lines = [line.split("\t") for line in found.out.splitlines()]
    assert [bool(line[1]) for line in lines] == [False, False, True, True, False, False, False, False]
    for number in (3, 4):
        assert f"strength 1: the equation of sentence {number} cannot be solved (too stiff)" in found.err
    (tmp_path / "given").write_text("\n".join(LIST[:3]) + "\n")
    assert main(command) == 1 and "the equation of sentence 2 cannot" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda folder: (folder / "labels").write_text("dog\n"), r"labels: 1 lines; expected 20, as .*text has"),
        (lambda folder: (folder / "labels").write_text("dog\n" * 20), r"1 label\(s\) in 20 sentences"),
        (lambda folder: (folder / "labels").write_text("cat\nbird\n" * 10), "label 'dog': expected one of bird, cat"),
        (lambda folder: (folder / "labels").unlink(), "No such file"),
    ],
)
def test_bad_labels_are_one_line(checkpoint, tmp_path, capsys, change, message):
    flags = labelled(tmp_path)
    change(tmp_path)
    assert main(["edit", checkpoint, "a cat", *flags, "--to=dog"]) == 1
    found = capsys.readouterr().err
    assert re.search(message, found) and found.count("\n") == 1
