"""The evaluation of a whole checkpoint, against loops in float64, and what must not change its numbers."""
# ruff: noqa: F811  fixtures are imported

import doctest
import itertools
import json
import math

import numpy as np
import pytest
import torch
from evaluation import DIMENSIONS, checkpoint, everything, made, numbers  # noqa: F401  fixtures
from helpers import write_data

from fairseq_vae import evaluate as module
from fairseq_vae.bart.decoder import BARTVAEDecoder
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import fingerprint
from fairseq_vae.base.stream import Purpose, stream
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.checkpoints.priors import save_prior
from fairseq_vae.cli.main import main
from fairseq_vae.collect import collect, load_split
from fairseq_vae.collect_texts import told as told_of
from fairseq_vae.evaluate import evaluate
from fairseq_vae.fit import fit_gaussian
from fairseq_vae.latent.fitted import FittedGaussian
from fairseq_vae.measure.collection import Collection
from fairseq_vae.measure.scoring import Scorer
from fairseq_vae.measure.summary import summarise
from fairseq_vae.report.render import as_text
from fairseq_vae.report.text import table

REQUIRED = (
    "rec kl neg_elbo nll_iw ppl_token ppl_word bits_per_byte mi mi_cap marginal_kl au nll_gap_shuffled nll_gap_zero "
    "bleu exact_match self_bleu sentences tokens words bytes samples"
).split()


def test_the_docstring_is_true(made, checkpoint, tmp_path):
    names = {"checkpoint": checkpoint, "data": str(made), "folder": str(tmp_path / "kept")}
    [example] = doctest.DocTestFinder().find(evaluate, "evaluate", globs={"evaluate": evaluate, **names})
    result = doctest.DocTestRunner().run(example)
    assert result.attempted == 5 and result.failed == 0


def naive(made, checkpoint, samples):
    """The estimators from their definitions: a loop over sentences and samples of one float64 model."""
    built, _, task = load_model(checkpoint, str(made))
    built = built.double()
    task.load_dataset("test")
    dataset = task.dataset("test")
    eps = [
        [stream(1, Purpose.VALIDATION, k, i).standard_normal(DIMENSIONS, np.float32).tolist() for k in range(samples)]
        for i in range(len(dataset))
    ]
    prior = [stream(1, Purpose.GENERATION, 0, i).standard_normal(DIMENSIONS, np.float32) for i in range(len(dataset))]
    infer = {}

    def nll(i, z):
        target = dataset[i]["target"]
        before = torch.cat((target[-1:], target[:-1]))[None]
        z = torch.tensor(np.asarray(z))[None].double()
        with torch.no_grad():
            lprobs = torch.log_softmax(built(before, None, before, z=z)[0].double(), -1)
        return -sum(lprobs[0, t, token].item() for t, token in enumerate(target.tolist()))

    for i in range(len(dataset)):
        with torch.no_grad():
            source = dataset[i]["source"][None]
            states = super(type(built.encoder), built.encoder).forward(source)
            pooled = states["encoder_out"][0].mean(0).double()
            head = built.encoder.posterior
            mu = head.mu(pooled)[0]
            logvar = (8 * torch.tanh(head.logvar(pooled) / 8))[0]
        infer[i] = mu.tolist(), logvar.tolist()
    n = len(dataset)
    z = [[[m + math.exp(v / 2) * e for m, v, e in zip(*infer[i], eps[i][k])] for k in range(samples)] for i in range(n)]
    own = [[nll(i, z[i][k]) for k in range(samples)] for i in range(n)]

    def log_normal(x, mu, logvar):
        return sum(-0.5 * (math.log(2 * math.pi) + v + (a - m) ** 2 / math.exp(v)) for a, m, v in zip(x, mu, logvar))

    zero = [0.0] * DIMENSIONS
    iw = []
    for i in range(n):
        weights = [
            -own[i][k] + log_normal(z[i][k], zero, zero) - log_normal(z[i][k], *infer[i]) for k in range(samples)
        ]
        top = max(weights)
        iw.append(-(top + math.log(sum(math.exp(w - top) for w in weights) / samples)))
    kl = [sum(0.5 * (m * m + math.exp(v) - v - 1) for m, v in zip(*infer[i])) for i in range(n)]
    information = []
    for i, k in itertools.product(range(n), range(2)):
        mixture = sum(math.exp(log_normal(z[i][k], *infer[j])) for j in range(n)) / n
        information.append(log_normal(z[i][k], *infer[i]) - math.log(mixture))
    mi = sum(information) / len(information)
    means = [[infer[i][0][d] for i in range(n)] for d in range(DIMENSIONS)]
    variances = [sum((m - sum(row) / n) ** 2 for m in row) / (n - 1) for row in means]
    rec = sum(map(sum, own)) / n / samples
    tokens = sum(len(dataset[i]["target"]) for i in range(n))
    letters = sum(len(task.dictionary.string(dataset[i]["target"])) for i in range(n))
    bound = rec + sum(kl) / n
    return {
        "rec": rec,
        "kl": sum(kl) / n,
        "neg_elbo": bound,
        "nll_iw": sum(iw) / n,
        "ppl_token": math.exp(bound * n / tokens),
        "ppl_token_iw": math.exp(sum(iw) / tokens),
        "bits_per_byte": bound * n / letters / math.log(2),
        "mi": mi,
        "marginal_kl": sum(kl) / n - mi,
        "au": sum(v > 0.01 for v in variances),
        "nll_gap_shuffled": sum(nll(i, z[(i + 1) % n][0]) for i in range(n)) / n - rec,
        "nll_gap_zero": sum(nll(i, zero) for i in range(n)) / n - rec,
        "nll_gap_prior": sum(nll(i, prior[i]) for i in range(n)) / n - rec,
    }


def test_every_estimator_agrees_with_loops(made, checkpoint, numbers):
    expected = naive(made, checkpoint, 5)
    for key, value in expected.items():
        if "gap" in key:  # a small difference of sums: as exact as those
            assert numbers[key] == pytest.approx(value, abs=1e-6 * expected["rec"]), key
        else:
            assert numbers[key] == pytest.approx(value, rel=1e-6, abs=1e-6), key


def test_the_numbers_are_complete_and_plain(numbers):
    for key in REQUIRED:
        assert isinstance(numbers[key], (int, float)), key
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert numbers["schema"] == module.SCHEMA and numbers["sentences"] == 12 and numbers["mi_batch"] is not None
    for key, (low, high) in numbers["intervals"].items():
        assert low <= numbers[key] <= high, key
    for part in ("z:8|", "pooling:mean|", "samples:5|", "split:test|", "seed:1|", "au:0.01|", "tok:none/", "data:"):
        assert part in numbers["signature"], part
    assert numbers["lm_gap"] == pytest.approx(numbers["neg_elbo"] - numbers["lm_nll"])
    assert 0 <= numbers["probe"] <= 1 and numbers["probe_majority"] == 0.5


def test_perplexities_convert_through_the_denominators(numbers):
    for suffix, nats in (("", numbers["neg_elbo"]), ("_iw", numbers["nll_iw"])):
        total = nats * numbers["sentences"]
        assert math.log(numbers[f"ppl_token{suffix}"]) * numbers["tokens"] == pytest.approx(total, rel=1e-12)
        exponent = numbers["tokens"] / numbers["words"]
        assert numbers[f"ppl_token{suffix}"] ** exponent == pytest.approx(numbers[f"ppl_word{suffix}"], rel=1e-12)
        bits = numbers[f"bits_per_byte{suffix}"] * numbers["bytes"]
        assert bits * math.log(2) == pytest.approx(total, rel=1e-12)


def test_a_model_without_a_latent_is_marked(made):
    found = evaluate(str(made / "lm/checkpoint_best.pt"), str(made), generate=0)
    assert found["diagnosis"] == "no z" and found["au"] == found["kl"] == 0
    assert found["mi"] == pytest.approx(0, abs=1e-12)
    assert found["nll_iw"] == pytest.approx(found["rec"], rel=1e-12) and found["bleu"] is None
    assert found["samples"] == 1 and "no z" in table(found)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"samples": 0}, "--samples 0: expected 1 or more"),
        ({"words": 0}, "--words 0"),
        ({"generate": -1}, "--generate -1"),
        ({"mi_batch": 1}, "--mi-batch 1"),
        ({"split": "one"}, "--split one: one sentence; expected 2 or more"),
        ({"split": "empty"}, "empty.bin has no sentences"),
        ({"max_tokens": 5}, "--max-tokens is 5 (13 needed)"),
        ({"labels": "short"}, "short: 1 lines; expected 12, one a sentence"),
        ({"labels": "same"}, "--labels: only 'a'"),
        ({"labels": "single"}, "--labels: 'b' has one sentence"),
        ({"language_model": "vae/checkpoint_best.pt"}, "has a latent: expected one trained with --zero-latent"),
        ({"responses": 2}, "which responds to nothing: leave it out"),
        ({"references": "same"}, "--references: "),
    ],
)
def test_bad_input_is_refused(made, checkpoint, arguments, message):
    write_data(made, empty=[])
    for name, text in (("short", "a\n"), ("same", "a\n" * 12), ("single", "a\n" * 11 + "b\n")):
        (made / name).write_text(text)
    given = {key: str(made / v) if key in ("labels", "language_model") else v for key, v in arguments.items()}
    with pytest.raises(InputError) as error:
        evaluate(checkpoint, str(made), **{"generate": 0, "samples": 1, **given})
    assert message in str(error.value)


def test_bytes_are_those_of_the_text_as_given(made, checkpoint, numbers, tmp_path):
    lines = (made / "given").read_text().splitlines()
    (tmp_path / "given").write_text("\ufeff" + "".join(f"  {line} \u00e9\r\n" for line in lines), encoding="utf-8")
    short = {"generate": 0, "samples": 1}
    joined = evaluate(checkpoint, str(made), **short)
    given = evaluate(checkpoint, str(made), **short, text=str(tmp_path / "given"))
    assert (joined["bytes_of"], given["bytes_of"], numbers["bytes_of"]) == ("joined", "given", "given")
    assert given["bytes"] == joined["bytes"] + 3 * 12 and numbers["bytes"] == joined["bytes"]
    assert given["bits_per_byte"] * given["bytes"] == pytest.approx(joined["bits_per_byte"] * joined["bytes"])
    assert f"{given['bytes']} bytes of the given text" in table(given)
    (tmp_path / "given").write_text("a\nb\n")
    with pytest.raises(InputError, match="given: 2 lines; expected 12, the sentences of test as they were before any"):
        evaluate(checkpoint, str(made), **short, text=str(tmp_path / "given"))


def test_the_bytes_of_a_text_are_counted_even_where_nothing_joins_pieces(made, checkpoint, monkeypatch):
    monkeypatch.setattr("fairseq_vae.collect.lacking", lambda dictionary: "GPT-2 BPE")
    found = evaluate(checkpoint, str(made), samples=1, words=50, text=str(made / "given"))
    assert found["bleu"] is None and found["bytes_of"] == "given" and found["bits_per_byte"] > 0


def test_labels_that_cannot_be_learnt_are_refused_before_anything_is_scored(made, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(Scorer, "distributions", lambda self: pytest.fail("the model ran"))
    (tmp_path / "labels").write_text("a\n" * 11 + "b\n")
    with pytest.raises(InputError, match="'b' has one sentence"):
        evaluate(checkpoint, str(made), labels=str(tmp_path / "labels"))


def test_pieces_that_nothing_joins_leave_text_out(made, checkpoint, monkeypatch):
    monkeypatch.setattr("fairseq_vae.collect.lacking", lambda dictionary: "GPT-2 BPE")
    found = evaluate(checkpoint, str(made), samples=2, words=50)
    assert [found[key] for key in ("bytes", "bits_per_byte", "bleu", "self_bleu")] == [None] * 4
    assert found["ppl_word"] == pytest.approx(math.exp(found["neg_elbo"] * 12 / 50)) and found["words"] == 50
    assert "bits per byte" not in table(found) and "text:none" in found["signature"]


def test_a_posterior_that_is_not_finite_is_refused(made, checkpoint, tmp_path):
    state = torch.load(checkpoint)
    state["model"]["encoder.posterior.mu.bias"][0] = math.nan
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(InputError, match=r"nan.pt: the posterior of 12 of 12 sentences is not finite \(first: line 1 "):
        evaluate(str(tmp_path / "nan.pt"), str(made))


def test_a_run_that_fails_leaves_the_old_json(made, checkpoint, tmp_path, monkeypatch, capsys):
    target = tmp_path / "numbers.json"
    command = ["evaluate", checkpoint, str(made), "--samples=2", "--generate=0", f"--json={target}"]
    assert main(command) == 0
    before = target.read_text()
    assert json.loads(before)["samples"] == 2

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)  # as late as can be
    assert main([*command, "--seed=7"]) == 130
    assert target.read_text() == before
    monkeypatch.setattr("fairseq_vae.measure.summary.latent", interrupted)
    assert main(command) == 130 and target.read_text() == before
    assert "interrupted" in capsys.readouterr().err


def test_several_checkpoints_make_a_table_beside_a_papers(made, checkpoint, tmp_path, capsys):
    target = tmp_path / "table.md"
    command = ["evaluate", checkpoint, str(made / "lm/checkpoint_best.pt"), str(made), "--samples=2", "--generate=0"]
    assert main([*command, "--paper=he-2019", f"--markdown={target}", f"--json={tmp_path / 'all.json'}"]) == 0
    shown = capsys.readouterr().out
    assert "\nAggressive + anneal" in shown and "\nhere: vae/checkpoint_best.pt" in shown and "328.80" not in shown
    rows = [line for line in target.read_text().splitlines() if line.startswith("| lm/checkpoint_best.pt |")]
    assert len(rows) == 1
    both = json.loads((tmp_path / "all.json").read_text())
    assert [numbers["mi_batch_size"] for numbers in both] == [32, 32]
    assert main(["evaluate", str(made)]) == 1
    assert "expected one or more checkpoints, then the data folder" in capsys.readouterr().err


@pytest.fixture
def decoded(monkeypatch):
    """Calls of decoders, counted."""
    calls = []
    extract = BARTVAEDecoder.extract_features

    def counted(self, *arguments, **options):
        calls.append(self)
        return extract(self, *arguments, **options)

    monkeypatch.setattr(BARTVAEDecoder, "extract_features", counted)
    return calls


def test_a_second_run_uses_what_the_first_one_kept(made, checkpoint, decoded, tmp_path, capsys):
    first, second, without = (tmp_path / name for name in ("first.json", "second.json", "without.json"))
    command = ["evaluate", checkpoint, str(made), "--samples=2", "--generate=4", f"--labels={made / 'labels'}"]
    keep = f"--keep={tmp_path / 'kept'}"
    assert main([*command, f"--json={without}"]) == 0
    calls = len(decoded)
    assert main([*command, keep, f"--json={first}"]) == 0
    assert len(decoded) == 2 * calls > 0
    shown = capsys.readouterr().out
    assert main([*command, keep, f"--json={second}"]) == 0
    assert len(decoded) == 2 * calls
    assert first.read_bytes() == second.read_bytes() == without.read_bytes()
    assert shown == 2 * capsys.readouterr().out
    assert main([*command, keep, "--mi-batch=4", "--paper=regavae", "--max-tokens=30"]) == 0
    assert len(decoded) == 2 * calls, "what is made of a collection needs no other"
    assert main([*command, keep, "--mi-batch=0"]) == 1 and "--mi-batch 0: expected 2" in capsys.readouterr().err
    assert main([*command, keep, "--seed=2"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"fairseq-vae evaluate: --keep {tmp_path / 'kept'} belongs to other settings (seed: 1 there, 2 here): give "
        "another folder, or delete it"
    )


def test_several_checkpoints_are_kept_in_a_folder_each(made, checkpoint, decoded, tmp_path, capsys):
    reference = str(made / "lm/checkpoint_best.pt")
    command = [
        "evaluate",
        checkpoint,
        reference,
        str(made),
        "--samples=2",
        "--generate=0",
        f"--keep={tmp_path / 'kept'}",
    ]
    assert main([*command, "--paper=he-2019", f"--json={tmp_path / 'all.json'}"]) == 0
    both = json.loads((tmp_path / "all.json").read_text())
    assert capsys.readouterr().out == as_text(both, "he-2019")
    for found, name in zip(both, ("vae", "lm")):
        kept = Collection.load(str(tmp_path / "kept" / name / "checkpoint_best.pt"))
        assert summarise(kept, mi_batch=32) == found
    calls = len(decoded)
    assert main(command) == 0 and len(decoded) == calls


def test_a_fitted_prior_that_is_the_models_own_changes_nothing(made, checkpoint, tmp_path):
    """Its likelihood and its samples are those of N(0, I), and the figures beside them are those without it."""
    path = str(tmp_path / "prior.safetensors")
    standard = FittedGaussian({"mu": torch.zeros(DIMENSIONS), "tril": torch.eye(DIMENSIONS)})
    save_prior(standard, path, fingerprint(checkpoint))
    found = evaluate(checkpoint, str(made), samples=3, generate=12, prior=path)
    alone = evaluate(checkpoint, str(made), samples=3, generate=12)
    assert found["nll_iw_fitted"] == pytest.approx(found["nll_iw"], abs=1e-5)
    for key in ("self_bleu", "distinct_1", "prior_length", "length_distance", "empty_share"):
        assert found[f"{key}_fitted"] == found[key]
    assert found["fitted_prior"].startswith("gaussian#") and alone["fitted_prior"] is None
    assert {key: found[key] for key in ("rec", "kl", "nll_iw", "bleu")} == {
        key: alone[key] for key in ("rec", "kl", "nll_iw", "bleu")
    }


def test_each_sentence_has_its_nats_in_a_file(made, checkpoint, numbers, everything, tmp_path, capsys):
    """Their means are the evaluation's figures; a file is one of one checkpoint."""
    path = str(tmp_path / "nats.tsv")
    assert evaluate(checkpoint, str(made), mi_batch=4, sentences=path, **everything) == numbers
    names, *rows = [line.split("\t") for line in (tmp_path / "nats.tsv").read_text().splitlines()]
    found = {name: [float(row[i]) for row in rows] for i, name in enumerate(names)}
    assert found["sentence"] == list(range(1, 13)) and sum(found["tokens"]) == numbers["tokens"]
    gap = [a - b for a, b in zip(found["shuffled"], found["rec"])]
    for column, key in (
        *((found[key], key) for key in ("rec", "kl", "nll_iw", "nll_iw_fitted")),
        *((found["lm"], "lm_nll"), (gap, "nll_gap_shuffled")),
    ):
        assert np.mean(column) == pytest.approx(numbers[key], rel=1e-12), key
    assert main(["evaluate", checkpoint, checkpoint, str(made), f"--sentences={path}"]) == 1
    assert "--sentences" in (told := capsys.readouterr().err) and "expected one checkpoint, found 2" in told


def test_a_language_model_tells_what_it_thinks_of_the_priors_samples(made, checkpoint, everything):
    """As its own evaluation has the same texts as data; the fitted prior's are told of, too."""
    from fairseq_vae.hub import load

    given = {key: everything[key] for key in ("language_model", "prior", "samples", "generate")}
    collection = collect(checkpoint, str(made), **given)
    judge = load(given["language_model"], str(made))
    for texts, told in (
        (collection.samples, collection.samples_lm),
        (collection.samples_fitted, collection.samples_fitted_lm),
    ):
        spoken = [text for text in texts if text]
        rows = told[[bool(text) for text in texts]]
        assert torch.allclose(rows[:, 0], -judge.log_prob(spoken, samples=1)) and (rows[:, 0] > 0).all()
        assert rows[:, 1].tolist() == [len(text.split()) + 1 for text in spoken]
        assert told.sum() == rows.sum() and len(spoken) > 1
    again = told_of(judge, collection.texts)[0]
    assert torch.allclose(again[:, 0], collection.lm) and again[:, 1].tolist() == collection.lengths.tolist()
    assert collect(checkpoint, str(made), **{**given, "generate": 0}).samples_lm is None


def test_the_prior_that_fits_has_the_better_likelihood(made, checkpoint, tmp_path):
    """Under the posteriors' own moments the importance-weighted likelihood is higher than far away from them."""
    model, _, task = load_model(checkpoint, str(made))
    posterior, _ = load_split(model, task, "test", 4096, 1).distributions()
    found = []
    for shift in (0.0, 5.0):
        prior, path = fit_gaussian(posterior.mean + shift, posterior.variance), str(tmp_path / f"{shift}.safetensors")
        save_prior(prior, path, fingerprint(checkpoint))
        found.append(evaluate(checkpoint, str(made), samples=3, generate=0, prior=path)["nll_iw_fitted"])
    assert found[0] + 10 < found[1]
