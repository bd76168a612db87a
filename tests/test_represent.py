"""Representations on tasks: what is fitted on what, planted attributes, correlations, and the command."""

import gzip
import json
import re

import numpy as np
import pytest
import torch
from helpers import save_bart, save_vae
from scipy import sparse, stats

from fairseq_vae import hub
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.labelled import SPLITS, Split, Task, read_task
from fairseq_vae.cli.main import main
from fairseq_vae.measure.definitions import DIMENSIONS, REPRESENTED, names
from fairseq_vae.measure.representation import (
    MAJORITY,
    WORDS,
    Figure,
    chosen,
    cosine,
    drawn,
    figures,
    needed,
    pearson,
    probed,
    spearman,
    stratified,
    together,
    vectors,
)
from fairseq_vae.report.representation import tables
from fairseq_vae.represent import NAMES, Reader, Summary, load_bart, of_vae, represent, summary

N, D = {"train": 400, "valid": 200, "test": 400}, 8


def task_of(labels=None, scores=None, parts=1):
    """A task whose sentences are their own numbers; labels and scores are functions of a split's size and a seed."""
    splits, first = {}, 0
    for seed, (split, size) in enumerate(N.items()):
        texts = tuple([f"s{first + part * size + row}" for row in range(size)] for part in range(parts))
        first += parts * size
        made = [None if function is None else function(size, seed) for function in (labels, scores)]
        splits[split] = Split(split, texts, *made)
    return Task("planted", splits)


def noise(sentences):
    """Vectors of noise, of each sentence its own."""
    return np.stack([np.random.default_rng(int(text[1:])).standard_normal(D) for text in sentences])


def coins(size, seed):
    return np.random.default_rng([7, seed]).choice(["bad", "good", "good"], size).tolist()


def knowing(task):
    """Vectors of noise, with the label of a task's sentences in the last dimension."""
    known = {text: label for split in task.splits.values() for text, label in zip(split.texts[0], split.labels)}

    def read(sentences):
        found = noise(sentences)
        found[:, -1] = [5.0 * (known.get(text) == "good") for text in sentences]
        return found

    return read


def of(figures, name, **others):
    """The figures of a representation."""
    return [f for f in figures if f.representation == name and all(getattr(f, k) == v for k, v in others.items())]


def test_shares_are_nested_and_stratified():
    labels = [*"a" * 700, *"b" * 250, *"c" * 50]
    before = set()
    for share in (0.02, 0.1, 0.5, 1.0):
        rows = stratified(labels, share, seed=3)
        assert [sum(labels[row] == name for row in rows) for name in "abc"] == [700 * share, 250 * share, 50 * share]
        assert before <= set(rows.tolist()) and (np.diff(rows) > 0).all()
        before = set(rows.tolist())
    assert (
        stratified(labels, 0.1, 1).tolist()
        == stratified(labels, 0.1, 1).tolist()
        != stratified(labels, 0.1, 2).tolist()
    )
    with pytest.raises(
        InputError, match="a share of 0.005 of 1,000 labels leaves none of 50 of label 'c': expected 0.01"
    ):
        stratified(labels, 0.005, 1)


@pytest.mark.parametrize("rarest", [1, 3, 7, 40, 50, 150, 700, 1500])
def test_the_share_that_a_refusal_asks_for_is_enough_and_little_less_is_not(rarest):
    labels = ["a"] * 2000 + ["b"] * rarest
    with pytest.raises(InputError, match=f"leaves none of {rarest:,} of label 'b': expected") as refusal:
        stratified(labels, 1e-5, 1)
    expected = float(str(refusal.value).split("expected ")[1].split(" or")[0])
    assert len(set(stratified(labels, expected, 1)) & set(range(2000, 2000 + rarest))) == 1
    with pytest.raises(InputError):
        stratified(labels, 0.9 * expected, 1)


def test_a_pool_is_one_for_all_seeds_and_shares_are_shares_of_it():
    task = task_of(coins)
    draws = drawn(task, [1.0, 0.1], [1, 2, 3], 100)
    assert [(draw.share, draw.seed) for draw in draws] == [(0.1, 1), (0.1, 2), (0.1, 3), (1.0, None)]
    pool = set(draws[-1].rows.tolist())
    assert 99 <= len(pool) <= 101 and all(set(draw.rows.tolist()) <= pool for draw in draws)
    wanted = {text for text, _ in needed(task, draws)}
    assert len(wanted) == len(pool) + N["valid"] + N["test"], "no other sentence is encoded"
    for labels in (None, coins):
        pairs = task_of(labels, lambda size, seed: list(range(size)), parts=2)
        [draw] = drawn(pairs, [0.1], [1, 2], 50)
        assert 49 <= len(set(draw.rows.tolist())) <= 51 and (draw.share, draw.seed) == (1.0, None)


def test_a_planted_attribute_is_found_and_noise_holds_none():
    task = task_of(coins)
    draws = drawn(task, [0.1, 1.0], [1, 2, 3], 1000)
    found = probed(task, {"knowing": knowing(task), "noise": noise}, draws)
    assert all(f.accuracy > 0.97 for f in of(found, "knowing"))
    [least] = of(found, MAJORITY, share=1.0)
    error = 3 * np.sqrt(least.accuracy * (1 - least.accuracy) / N["test"])
    [whole] = of(found, "noise", share=1.0)
    assert whole.accuracy < least.accuracy + error and whole.macro_f1 < 0.6
    assert all(of(found, name, share=1.0)[0].accuracy == least.accuracy for name in WORDS), "test's words are new"
    assert least.accuracy == np.mean(np.array(task.splits["test"].labels) == "good")


def test_permuted_labels_give_chance():
    task = task_of(lambda size, seed: ["good", "bad"] * (size // 2))
    read, draw = knowing(task), np.random.default_rng(1)
    splits = {name: s._replace(labels=draw.permutation(s.labels).tolist()) for name, s in task.splits.items()}
    for own, low, high in ((task, 0.99, 1), (Task("permuted", splits), 0.42, 0.58)):  # 3 standard errors
        [found] = of(probed(own, {"knowing": read}, drawn(own, [1.0], [1], 1000)), "knowing")
        assert low <= found.accuracy <= high


def test_nothing_of_test_reaches_training_or_the_choice():
    task = task_of(coins, lambda size, seed: np.random.default_rng(seed).random(size).tolist(), parts=2)
    single = task_of(coins)
    for own in (task, single):
        test = own.splits["test"]
        changed = test._replace(
            texts=tuple([f"s{int(text[1:]) + 5000}" for text in part] for part in test.texts),
            labels=test.labels[::-1],
            scores=None if test.scores is None else test.scores[::-1],
        )
        other = Task(own.name, {**own.splits, "test": changed})
        draws = drawn(own, [0.1, 1.0], [1], 300)
        assert all(a.rows.tolist() == b.rows.tolist() for a, b in zip(draws, drawn(other, [0.1, 1.0], [1], 300)))
        before, after = (probed(task, {"knowing": knowing(own)}, draws) for task in (own, other))
        taken = slice(0, Figure._fields.index("accuracy"))
        chosen_on_valid = [repr([f[taken] for f in found]) for found in (before, after)]  # NaN is NaN
        assert chosen_on_valid[0] == chosen_on_valid[1], "penalties and valid's figures"
        assert of(before, "knowing") != of(after, "knowing")


@pytest.mark.parametrize("name", WORDS)
def test_words_and_their_weights_are_learned_from_the_share_that_is_fitted(name, monkeypatch):
    train, test = vectors(name, [["x good", "x bad"]], [["rare x good", "rare"]])
    assert train[0].shape == test[0].shape == (2, 3) and test[0].getnnz(1).tolist() == [2, 0], "rare is unknown"
    more = vectors(name, [["x good", "y bad"]], [["rare x good"]])[1][0].toarray()
    assert not np.allclose(more.max(), test[0][0].max()) or name == WORDS[0], "x is rarer there, and weighs more"
    task, seen = task_of(coins), []

    def noted(representation, fitted, *others):
        seen.append(fitted)
        return vectors(representation, fitted, *others)

    monkeypatch.setattr("fairseq_vae.measure.representation.vectors", noted)
    draws = drawn(task, [0.1, 0.5], [1, 2], 1000)
    for draw in draws:
        [_] = figures(task, name, name, draw)
    [texts] = task.splits["train"].texts
    assert seen == [[[texts[row] for row in draw.rows]] for draw in draws]


def test_correlations_are_scipys():
    draw = np.random.default_rng(1)
    a, b = draw.integers(0, 6, 50).astype(float), draw.standard_normal(50)
    b = b + a
    assert np.isclose(pearson(a, b), stats.pearsonr(a, b)[0], atol=1e-12)
    assert np.isclose(spearman(a, b), stats.spearmanr(a, b)[0], atol=1e-12), "with ties"
    assert np.isnan(pearson(a, np.full(50, 0.1)))


def test_sparse_and_dense_pairs_are_the_same():
    u, v = np.random.default_rng(1).random((2, 6, 4)).round()
    u[0] = 0
    matrices = (sparse.csr_matrix(u), sparse.csr_matrix(v))
    assert np.allclose(cosine(*matrices), cosine(u, v)) and cosine(u, v)[0] == 0
    assert np.allclose(together(matrices).toarray(), together((u, v)))
    assert np.allclose(together((u, v)), np.concatenate((abs(u - v), u * v), 1)) and together((u,)) is u
    assert np.allclose(together((u, v)), together((v, u))), "a pair has no order"


def test_scores_that_are_cosines_are_told_by_cosines_and_noise_tells_none():
    def scores(size, seed):
        texts = task_of(parts=2).splits[list(N)[seed]].texts
        return cosine(*map(noise, texts)).tolist()

    task = task_of(None, scores, parts=2)
    found = probed(
        task,
        {"own": noise, "other": lambda texts: noise([f"s1{text[1:]}" for text in texts])},
        drawn(task, [1], [1], 1000),
    )
    [plain] = of(found, "own", method="cosine")
    assert plain.pearson == pytest.approx(1) and plain.spearman == pytest.approx(1) and plain.labels == 0
    [learned] = of(found, "own", method="ridge")
    assert learned.pearson > 0.9 and learned.labels == N["train"]
    assert all(abs(f.pearson) < 0.2 for f in of(found, "other"))
    assert not of(found, MAJORITY)


def test_the_penalty_is_the_one_that_is_best_on_valid():
    """All penalties by a loop: the choice is the strongest of the best ones, and noise asks for a strong one."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(2)
    x, held = draw.standard_normal((2, 60, 40)) * np.linspace(0.1, 10, 40)
    y, goal = x[:, 0] * 5 + draw.standard_normal(60), held[:, 0] * 5 + draw.standard_normal(60)
    best = chosen(x, y, held, goal, "ridge")
    scale = StandardScaler().fit(x)
    by_loop = {
        penalty: stats.pearsonr(Ridge(alpha=penalty).fit(scale.transform(x), y).predict(scale.transform(held)), goal)[0]
        for penalty in (1e4, 1e3, 1e2, 1e1, 1, 0.1, 0.01)
    }
    assert best.valid == pytest.approx(max(by_loop.values())) and by_loop[best.penalty] == max(by_loop.values())
    labels = np.where(draw.random(60) < 0.5, "a", "b")
    assert chosen(x, labels, x, labels, "logistic").penalty < 1e3, "seen labels ask for a weak one"


WORDED = {"good": ["the dog barks .", "a dog"], "bad": ["the cat sleeps", "a cat ."]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A labelled folder, packed, and one of pairs with labels."""
    root = tmp_path_factory.mktemp("tasks")
    (root / "reviews").mkdir()
    (root / "pairs").mkdir()
    for number, split in enumerate(SPLITS):
        labels = ["good", "bad"] * 10
        texts = [
            f"{WORDED[label][row % 2]} {'dog cat a the'.split()[(row + number) % 4]}"
            for row, label in enumerate(labels)
        ]
        for name, lines in (("txt", texts), ("labels", labels)):
            (root / "reviews" / f"{split}.{name}.gz").write_bytes(
                gzip.compress("".join(f"{x}\n" for x in lines).encode())
            )
        rows = [
            f"{1 + row % 5}\t{a}\t{b}\t{label}\n" for row, (a, b, label) in enumerate(zip(texts, texts[1:], labels))
        ]
        (root / "pairs" / f"{split}.tsv").write_text("".join(rows))
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    save_vae(root / "vae", "--max-source-positions=16", "--max-target-positions=16")
    save_vae(root / "lm", "--zero-latent")
    save_bart(root / "bart")
    return root


def loaded(models, batch_size=64):
    vae, lm = (
        hub.load(str(models / name / "checkpoint_best.pt"), str(models / name), None, batch_size)
        for name in ("vae", "lm")
    )
    return vae, lm, load_bart(str(models / "bart" / "model.pt"), batch_size)


def test_a_model_that_has_diverged_is_named_with_the_sentence(models):
    vae, *_ = loaded(models)
    with torch.no_grad():
        vae.model.encoder.posterior.mu.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="^reviews, line 2: its vector under mu has numbers that are not finite"):
        Reader(vae, of_vae).add([("a dog", "reviews, line 2")], "mu")


def test_no_figure_depends_on_the_batch_size_and_no_sentence_is_encoded_twice(models, folders, monkeypatch):
    tasks = [read_task(str(folders / name)) for name in ("reviews", "pairs")]
    results = []
    for size in (1, 7):
        vae, lm, bart = loaded(models, size)
        seen = []
        monkeypatch.setattr(vae, "tokens", lambda text, own=vae.tokens, seen=seen: seen.append(text) or own(text))
        found = represent(vae, tasks, [0.2, 1], [1, 2], 1000, bart, lm)
        results.append([figure for of_task in found for figure in of_task.figures])
        assert len(seen) == len(set(seen)) > 5
    kinds = {f.representation for f in results[0]}
    assert kinds == {*NAMES, *WORDS, MAJORITY}
    for a, b in zip(*results):
        assert a[:7] == b[:7]
        assert [x for x in a[9:]] == pytest.approx([x for x in b[9:]], abs=1e-6, nan_ok=True)


def test_the_vectors_are_the_models_own(models):
    """mu is the hub's; the BART's states are the stock encoder's, and padding does not count."""
    from fairseq import checkpoint_utils

    from fairseq_vae.represent import BART, LANGUAGE_MODEL, MU, STATES, of_bart, of_language_model

    vae, lm, bart = loaded(models)
    texts = ["the dog barks .", "a cat", "dog"]
    readers = Reader(vae, of_vae), Reader(bart, of_bart)
    for reader in readers:
        reader.add([(text, "here") for text in texts], "test")
    assert np.allclose(readers[0].vectors(MU)(texts), vae.encode(texts).mean.numpy(), atol=1e-6)
    posterior = vae.model.encoder.posterior
    pooled = torch.from_numpy(readers[0].vectors(STATES)(texts)).float()
    assert torch.allclose(posterior.mu(pooled), vae.encode(texts).mean, atol=1e-5)
    [stock], _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(models / "bart" / "model.pt")], arg_overrides={"data": str(models / "bart")}
    )
    for text in texts:
        tokens = torch.cat((torch.tensor([0]), bart.tokens(text)))[None]
        with torch.no_grad():
            mean = stock.eval().encoder(tokens)["encoder_out"][0].mean(0)[0]
        assert np.allclose(readers[1].vectors(BART)([text])[0], mean.numpy(), atol=1e-5)
    reader = Reader(lm, of_language_model, has_target=True)
    reader.add([(text, "here") for text in texts], "test")
    for text in texts:
        tokens = lm.tokens(text)
        source, before = torch.cat((torch.tensor([0]), tokens))[None], tokens.roll(1)[None]  # </s> stands in front
        with torch.no_grad():
            states, _ = lm.model(source, None, before, features_only=True)
        assert np.allclose(reader.vectors(LANGUAGE_MODEL)([text])[0], states[0].mean(0).numpy(), atol=1e-5)


def command(models, *others):
    vae = models / "vae"
    return ["represent", str(vae / "checkpoint_best.pt"), f"--data={vae}", *map(str, others)]


def test_the_command_prints_tables_and_writes_every_figure(models, folders, tmp_path, capsys):
    files = [f"--json={tmp_path}/found.json", f"--picture={tmp_path}/found.svg"]
    tasks = [f"--task={folders / name}" for name in ("reviews", "pairs")]
    beside = [f"--bart={models}/bart/model.pt", f"--language-model={models}/lm/checkpoint_best.pt"]
    assert main(command(models, *tasks, *beside, *files, "--shares=0.2,1", "--dimensions=2")) == 0, (
        capsys.readouterr().err
    )
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) | set(found["figures"][0]) | set(found["summary"][0]) == set(names(REPRESENTED))
    [words] = [
        f
        for f in found["figures"]
        if f["representation"] == "bag of words" and f["task"] == "reviews" and f["share"] == 1
    ]
    assert words["accuracy"] == 1 and words["labels"] == 20 and words["seed"] is None
    few = [f for f in found["figures"] if f["representation"] == "mu" and f["share"] == 0.2]
    assert [f["seed"] for f in few] == [1, 2, 3] and {f["labels"] for f in few} == {4}
    assert "reviews: accuracy on test" in printed and "20 % (4)" in printed and "100 % (20)" in printed
    assert re.search(r"^bag of words .* 1\.000$", printed, re.MULTILINE) and "pairs: correlation with" in printed
    assert "labels of training" in (tmp_path / "found.svg").read_text()
    [read] = found["dimensions"]
    assert set(read) | set(read["dimensions"][0]) == set(names(DIMENSIONS)) and read["task"] == "reviews"
    assert len(read["dimensions"]) == len(read["directions"]) == 2 and read["sentences"] == 20
    assert set(read["directions"][0]["low"]) == {"shortest", "longest", "different"}
    [score] = re.findall(r"^MIG +(\S+) +\S+ to \S+$", printed, re.MULTILINE)
    assert float(score) == pytest.approx(read["mig"], abs=6e-4)
    assert printed.index("reviews: macro-F1") < printed.index("\nMIG ") < printed.index("\ndirection 2 ")
    assert printed.index("\ndirection 2 ") < printed.index("pairs: correlation with")


def test_the_tables_have_means_half_intervals_and_what_is_added():
    row = Figure("t", "label", "mu", "logistic", 0.1, 10, 1, 1.0, 0.5, 0.6, 0.5)
    found = summary([row, row._replace(seed=2, accuracy=0.7), row._replace(seed=3, accuracy=0.8)])
    assert found[0][:8] == ("t", "label", "mu", "logistic", 0.1, 10, "accuracy", pytest.approx(0.7))
    assert found[0].half == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3))
    text = tables([*found, Summary("u", "label", "mu", "logistic", 0.1, 10, "accuracy", 0.1, None)], "t", ["more"])
    assert "0.700 ± 0.248" in text and text.endswith("\n\nmore") and "0.100" not in text


def spoilt(folders, tmp_path, name, change):
    """A copy of a task with unpacked files, changed: from a file's name to its new lines, None to delete it."""
    target = tmp_path / name
    target.mkdir()
    for path in (folders / name).iterdir():
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (target / path.name.replace(".gz", "")).write_bytes(content)
    for file, lines in change.items():
        if lines is None:
            (target / file).unlink()
        else:
            (target / file).write_text("".join(f"{line}\n" for line in lines))
    return target


PAIR = "a dog\ta cat\tgood"


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("reviews", {"valid.labels": ["good"]}, "valid.labels has 1 lines; expected 20, as .*valid.txt has"),
        (
            "reviews",
            {"train.labels": ["good"] * 20},
            "valid.txt, line 2 has the label 'bad'; expected one of train's: good",
        ),
        (
            "reviews",
            {f"{split}.labels": ["good"] * 20 for split in SPLITS},
            "train.txt: all labels are 'good'; expected two",
        ),
        ("reviews", {"test.txt": None}, "has no test.txt: expected train, valid and test as .txt with .labels"),
        ("reviews", {"test.labels": None}, "has no test.labels: expected"),
        ("reviews", {"test.labels": ["", *["good"] * 19]}, "test.labels, line 1 is empty"),
        (
            "reviews",
            {"train.txt": ["a dog"] * 19 + ["dog " * 40]},
            "train.txt, line 20: .* has 40 tokens; expected 1 to",
        ),
        ("reviews", {"train.tsv": [f"1\t{PAIR}"]}, "has files of sentences, .txt, and of pairs, .tsv"),
        ("reviews", {"train.txt.gz": ["a"]}, "has train.txt and train.txt.gz: delete one of them"),
        ("pairs", {"test.tsv": None}, "has no test.tsv: expected"),
        ("pairs", {"test.tsv": [f"x\t{PAIR}"]}, "test.tsv, line 1: 'x'; expected a score, a finite number"),
        ("pairs", {"test.tsv": [f"nan\t{PAIR}"]}, "test.tsv, line 1: 'nan'; expected a score, a finite number"),
        ("pairs", {"test.tsv": [f"9\t{PAIR}"]}, "test.tsv, line 1 has the score 9; expected 1 to 5, as train has"),
        ("pairs", {"test.tsv": ["1\ta dog"]}, "test.tsv, line 1 has 2 columns; expected 3 or 4: score, sentence"),
        (
            "pairs",
            {"test.tsv": ["1\ta\tb"]},
            "one of .*test.tsv and .*train.tsv has labels: expected 3 columns in both",
        ),
        ("pairs", {"test.tsv": ["1\ta\t\tgood"]}, "test.tsv, line 1: column 3 is empty"),
        ("pairs", {"test.tsv": []}, "test.tsv has no lines"),
    ],
)
def test_a_bad_folder_is_one_line(models, folders, tmp_path, capsys, name, change, message):
    target = spoilt(folders, tmp_path, name, change)
    assert main(command(models, f"--task={target}", "--shares=1")) == 1
    [line] = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fairseq-vae")]
    assert re.search(message, line)


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--task={r}", "--shares=0.01"],
            "reviews/train.txt.gz: a share of 0.01 of 20 labels leaves none of 10 of label 'bad'",
        ),
        (["--task={r}", "--shares=0"], "--shares 0: expected numbers above 0 to 1"),
        (["--task={r}", "--seeds=1.5"], "--seeds 1.5: expected different whole numbers"),
        (["--task={r}", "--seeds=1,1"], "--seeds 1,1: expected different whole numbers"),
        (["--task={r}", "--most-labels=0"], "--most-labels 0: expected 1 or more"),
        (["--task={r}", "--dimensions=-1"], "--dimensions -1: expected 0, for none, or more"),
        (["--task={p}", "--dimensions=2"], "--dimensions 2: expected a --task of labelled sentences"),
        (["--task={r}", "--task={r}"], "--task: two folders are called reviews: rename one of them"),
        (["--task={r}/no"], "reviews/no: no such folder"),
        (["--task={r}", "--json=no/such/file"], "--json no/such/file: the folder"),
        (["--task={r}", "--picture=x.pdf"], "--picture x.pdf: expected a name that ends in .svg or .png"),
        (
            ["--task={r}", "--shares=1", "--picture=x.svg"],
            "--picture x.svg: expected a --task of labelled sentences and",
        ),
        (
            ["--task={r}", "--shares=1", "--bart={m}/vae/checkpoint_best.pt"],
            "is of architecture bart_vae_tiny, expected a BART's",
        ),
        (["--task={r}", "--shares=1", "--bart={m}/no.pt"], "no.pt does not exist"),
        (
            ["--task={r}", "--shares=1", "--language-model={m}/vae/checkpoint_best.pt"],
            "has a latent; expected a model trained",
        ),
        (
            ["--task={r}", "--shares=1", "{m}/lm/checkpoint_best.pt"],
            "has no z (--zero-latent): give it as --language-model",
        ),
    ],
)
def test_bad_flags_and_models_are_one_line(models, folders, capsys, flags, message):
    given = [flag.format(r=folders / "reviews", p=folders / "pairs", m=models) for flag in flags]
    start = command(models)
    if not given[-1].startswith("--"):
        start = ["represent", given.pop(), f"--data={models}/lm"]
    assert main([*start, *given]) == 1
    [line] = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fairseq-vae")]
    assert message in line
