"""The evaluation of a whole checkpoint, against loops in float64, and what must not change its numbers."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from helpers import SENTENCES, V, Z, batch, model, save_vae, write_data

from fairseq_vae import evaluate as module
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import Draw, sentence_generator
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.cli.main import main
from fairseq_vae.evaluate import evaluate, likelihoods, load_split
from fairseq_vae.measure.estimators import Importance
from fairseq_vae.measure.scoring import Scorer, packed, sentence_nll
from fairseq_vae.report.text import best, comparison, table

REQUIRED = (
    "rec kl neg_elbo nll_iw ppl_token ppl_word bits_per_byte mi mi_cap marginal_kl au nll_gap_shuffled nll_gap_zero "
    "bleu exact_match self_bleu sentences tokens words bytes samples"
).split()
DIMENSIONS = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a tiny VAE, a language model of its data, and twelve sentences of different lengths."""
    folder = tmp_path_factory.mktemp("made")
    words = [f"w{i}" for i in range(V - 5)]
    save_vae(folder / "vae", f"--latent-dim={DIMENSIONS}", words=words, std=0.15)
    save_vae(folder / "lm", f"--latent-dim={DIMENSIONS}", "--zero-latent", words=words, std=0.15)
    random = np.random.default_rng(1)
    rows = [random.integers(V - 5, size=n).tolist() for n in (5, 2, 9, 1, 7, 4, 3, 8, 6, 2, 5, 11)]
    write_data(folder, test=rows, one=rows[:1], train=[*rows[:3], *rows[5:]])
    (folder / "labels").write_text("a\nb\n" * 6)
    return folder


@pytest.fixture(scope="module")
def checkpoint(made):
    return str(made / "vae/checkpoint_best.pt")


@pytest.fixture(scope="module")
def numbers(made, checkpoint):
    """All of it."""
    reference = str(made / "lm/checkpoint_best.pt")
    return evaluate(
        checkpoint, str(made), samples=5, language_model=reference, labels=str(made / "labels"), mi_batch=4, generate=12
    )


@pytest.fixture(scope="module")
def loaded(made, checkpoint):
    built, _, task = load_model(checkpoint, str(made))
    return built, load_split(built, task, "test", 4096, 1)


def test_sentence_nll_is_the_sum_of_its_tokens():
    built, sample, z = model(std=0.3), batch(SENTENCES), torch.randn(len(SENTENCES), Z)
    with torch.no_grad():
        nll = sentence_nll(built, sample, z)
        lprobs = built(**sample["net_input"], z=z)[0].log_softmax(-1)
    for row, target in enumerate(sample["target"].tolist()):
        expected = -sum(lprobs[row, i, token].item() for i, token in enumerate(target) if token != 1)
        assert nll[row].item() == pytest.approx(expected, rel=1e-5)


def naive(made, checkpoint, samples):
    """The estimators from their definitions: a loop over sentences and samples of one float64 model."""
    built, _, task = load_model(checkpoint, str(made))
    built = built.double()
    task.load_dataset("test")
    dataset = task.dataset("test")
    eps = [
        [
            sentence_generator(1, Draw.VALIDATION, k, i).standard_normal(DIMENSIONS, np.float32).tolist()
            for k in range(samples)
        ]
        for i in range(len(dataset))
    ]
    prior = [
        sentence_generator(1, Draw.GENERATION, 0, i).standard_normal(DIMENSIONS, np.float32)
        for i in range(len(dataset))
    ]
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


def test_batches_order_and_resuming_change_nothing(loaded):
    built, scorer = loaded
    whole, posterior = likelihoods(scorer, scorer.posterior(), 3), scorer.posterior()
    for max_tokens in (12, 50):
        other = Scorer(built, scorer.dataset, max_tokens, 1)
        torch.testing.assert_close(tuple(other.posterior()), tuple(posterior), rtol=1e-5, atol=1e-6)
        for name, values in likelihoods(other, other.posterior(), 3).items():
            torch.testing.assert_close(values, whole[name], rtol=1e-5, atol=1e-6)
    parts = [scorer.importance(posterior, 3, indices) for indices in ([11, 0, 7], [1, 2, 3, 4, 5, 6, 8, 9, 10])]
    with np.errstate(all="ignore"):  # sentences of the other part
        first, second = (part.nll_iw for part in parts)
    torch.testing.assert_close(first[[11, 0, 7]], whole["nll_iw"][[11, 0, 7]], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second[1:7], whole["nll_iw"][1:7], rtol=1e-5, atol=1e-6)


def test_packed_batches_hold_every_pair_once_within_the_budget():
    lengths = [5, 2, 9, 1, 7]
    batches = list(packed(lengths, [0, 1, 2, 4], 3, 20))
    assert sorted(sum(batches, [])) == sorted(itertools.product([0, 1, 2, 4], range(3)))
    assert all(len(rows) * max(lengths[i] for i, _ in rows) <= 20 for rows in batches)
    assert [list(rows) for rows in packed([30], [0], 2, 20)] == [[(0, 0)], [(0, 1)]]


def test_importance_sums_do_not_depend_on_how_pairs_come():
    weights = torch.randn(4, 6, dtype=torch.float64) * 50
    whole, parts = Importance(4), Importance(4)
    whole.add(list(range(4)) * 6, -weights.T.flatten(), weights.T.flatten())
    for i, k in itertools.product(range(4), reversed(range(6))):
        parts.add([i], -weights[i, k : k + 1], weights[i, k : k + 1])
    expected = math.log(6) - weights.logsumexp(1)
    for sums in whole, parts:
        torch.testing.assert_close(sums.nll_iw, expected)
        torch.testing.assert_close(sums.nll, -weights.mean(1))
        assert (sums.nll_iw <= sums.nll).all()
        torch.testing.assert_close(sums.effective, 1 / weights.softmax(1).square().sum(1))


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
        ({"max_tokens": 5}, "--max-tokens 5: expected at least 12"),
        ({"labels": "short"}, "short: 1 lines; expected 12, one a sentence"),
        ({"labels": "same"}, "--labels: only 'a'"),
        ({"labels": "single"}, "--labels: 'b' has one sentence"),
        ({"language_model": "vae/checkpoint_best.pt"}, "has a latent: expected one trained with --zero-latent"),
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


def test_pieces_that_nothing_joins_leave_text_out(made, checkpoint, monkeypatch):
    monkeypatch.setattr(module, "is_gpt2", lambda dictionary: True)
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
    monkeypatch.setattr(module, "latent", interrupted)
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


def test_the_best_is_marked_only_where_intervals_separate():
    def result(low, high):
        return {"intervals": {"neg_elbo": [low, high], "nll_gap_shuffled": [low, high]}}

    apart, near = [result(5, 6), result(1, 2), result(2.5, 3)], [result(1, 2), result(1.9, 3)]
    assert best(apart, "neg_elbo", "lower") == 1 and best(apart, "nll_gap_shuffled", "higher") == 0
    assert best(near, "neg_elbo", "lower") is None and best(apart[:1], "neg_elbo", "lower") is None
    assert best(apart, "neg_elbo", None) is None and best(apart, "mi", "higher") is None


def test_tables_are_aligned(numbers):
    lines = table(numbers).splitlines()
    assert all(line[18:20] == "  " or line[:20].rstrip() == line[:20].strip() for line in lines[:-1])
    assert {len(line[:30]) for line in lines} == {30}
    heads = comparison([numbers, {**numbers, "checkpoint": "/elsewhere/other.pt"}]).splitlines()[:3]
    assert heads[0].split()[0] == "checkpoint" and len(set(map(len, heads))) == 1
