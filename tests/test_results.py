"""Tables of results in READMEs: made from the JSON beside them, and a table that is another one is found."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READMES = sorted((ROOT / "examples").glob("*/README.md"))


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


results = loaded(ROOT / "scripts/results.py")


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_the_tables_of_an_example_are_those_of_its_files(path):
    assert results.filled(path) == path.read_text(encoding="utf-8"), f"python scripts/results.py {path}"


def test_every_file_of_results_has_its_table():
    told = {
        (path.parent / name).resolve()
        for path in READMES
        for _, _, name, _, _ in results.BLOCK.findall(path.read_text())
    }
    assert {path.resolve() for path in (ROOT / "examples").glob("*/*.json")} == told


@pytest.fixture
def readme(tmp_path):
    """A README with a table of labels, and with what is around it."""
    rows = [
        {"task": "yelp", "arm": arm, "seed": seed, "labels": 200, "accuracy": accuracy}
        for arm, values in (("monotonic", (0.6, 0.62)), ("cyclical", (0.65, 0.69)))
        for seed, accuracy in enumerate(values, 1)
    ]
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    path = tmp_path / "README.md"
    path.write_text("before\n\n<!-- results: labels labels.json -->\n<!-- end of results -->\n\nbehind\n")
    return path


def test_a_table_is_filled_and_a_changed_number_is_found(readme, capsys):
    assert results.main(["--check", str(readme)]) == 1 and "a table is not that of its file" in capsys.readouterr().out
    assert results.main([str(readme)]) == 0 and results.main(["--check", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n\n<!--") and text.endswith("-->\n\nbehind\n")
    assert "| cyclical | 2 | 67.0 ± 25.4 |" in text  # 12.706 * 2.828 / sqrt(2)
    assert "| cyclical less monotonic | 2 | +6.0 ± 12.7 |" in text  # of 5 and 7, seed by seed
    readme.write_text(text.replace("67.0", "67.1"))
    assert results.main(["--check", str(readme)]) == 1
    assert "67.1" in readme.read_text(), "a check writes nothing"


BAD = [
    ("labels no.json", "no such file"),
    ("no labels.json", "expected a kind"),
    ("curve labels.json", "labels.json is of no curve"),
    ("labels twice.json", "twice.json is of no labels .*stand there twice"),
    ("labels tasks.json", "tasks.json is of no labels"),
    ("responses sentences.json", "sentences.json is of no responses"),
    ("printed:PTB:he-2019 sentences.json", "he-2019 has no rows of PTB: expected one of Yahoo, Yelp"),
    ("printed:PTB:texar empty.json", "no point of it is done"),
    ("printed empty.json", "empty.json is of no printed"),
    ("validation empty.json", "no training of it has validated"),
    ("curve empty.json", "empty.json is of no curve .*no point with a latent is done"),
]


@pytest.mark.parametrize("kind, message", BAD)
def test_a_bad_block_is_one_line(readme, kind, message, capsys):
    rows = json.loads((readme.parent / "labels.json").read_text())
    (readme.parent / "twice.json").write_text(json.dumps([*rows, rows[0]]))
    (readme.parent / "tasks.json").write_text(json.dumps([*rows, {**rows[0], "task": "imdb"}]))
    (readme.parent / "empty.json").write_text(json.dumps({"points": []}))
    sentences = {"arm": "plain", "setting": "kl-weight=1", "state": "done", "figures": {"kl": 3}}
    (readme.parent / "sentences.json").write_text(json.dumps({"points": [sentences]}))
    readme.write_text(readme.read_text().replace("labels labels.json", kind))
    assert results.main([str(readme)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_a_study_is_the_table_of_the_command(readme):
    from fairseq_vae.report import rate

    row = {"arm": "plain", "setting": "only", "zero_latent": False, "updates": 9, "state": "done", "reason": ""}
    figures = {"neg_elbo": 52.0, "kl": 2.0, "rec": 50.0, "split": "test", "sentences": 3, "samples": 5, "mi_cap": 7.0}
    points = [
        {
            **row,
            "seed": seed,
            "start": "bart",
            "figures": {**figures, "signature": f"model:vae|pooling:{how}|seed:{seed}"},
        }
        for seed, how in ((1, "mean"), (2, "max"))
    ]
    (readme.parent / "study.json").write_text(json.dumps({"points": points, "warm": False}))
    readme.write_text("<!-- results: curve study.json -->\n<!-- end of results -->\n")
    assert results.main([str(readme)]) == 0
    assert rate.table(points, markdown=True) in readme.read_text() and (
        "Signatures: `model:vae`; they differ in pooling, seed." in readme.read_text()
    )


def test_pictures_that_are_there_are_drawn_anew_and_no_others(tmp_path, capsys):
    named = {"examples/dialog": "chitchat.json", "examples/latents": "flickr30k.json"}
    for folder, name in named.items():
        (tmp_path / name).write_bytes((ROOT / folder / name).read_bytes())
    blocks = [f"<!-- results: curve {name} -->\n<!-- end of results -->\n" for name in named.values()]
    (tmp_path / "README.md").write_text("\n".join(blocks))
    names = ["chitchat-validation.svg", "chitchat-differences.svg", "flickr30k.svg"]
    pictures = [tmp_path / name for name in names]
    for picture in pictures:
        picture.write_text("old")
    assert results.main(["--check", "--draw", str(tmp_path / "README.md")]) == 1
    assert {picture.read_text() for picture in pictures} == {"old"}, "a check writes nothing"
    assert results.main(["--draw", str(tmp_path / "README.md")]) == 0
    assert sorted(tmp_path.glob("*.svg")) == sorted(pictures)
    assert all(b"</svg>" in picture.read_bytes() for picture in pictures)


def test_accuracies_are_gathered_by_arm_and_seed(tmp_path):
    labels = loaded(ROOT / "examples/classification/labels.py")
    row = {
        "task": "yelp",
        "representation": "mu",
        "method": "logistic",
        "figure": "accuracy",
        "labels": 200,
        "mean": 0.6,
    }
    others = [{**row, "representation": "BART"}, {**row, "figure": "macro_f1"}, {**row, "representation": "mu, tuned"}]
    for name in ("two phases-10", "two phases-2", "cyclical-1"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"summary": [row, *others]}))
    (tmp_path / "settings.json").write_text("{}")
    wanted = [("cyclical", 1), ("two phases", 2), ("two phases", 10)]
    of_row = {"labels": 200, "accuracy": 0.6}
    assert labels.rows(tmp_path) == [{"task": "yelp", "arm": arm, "seed": seed, **of_row} for arm, seed in wanted]
