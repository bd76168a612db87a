"""Smoothness of the space: laws of the distance, the curve under noise and the paths, and a whole evaluation."""
# ruff: noqa: F811  fixtures are imported

import builtins
import itertools
import json
import socket
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from evaluation import checkpoint, collected, everything, made, made_up  # noqa: F401  fixtures
from sacrebleu.metrics import BLEU
from scipy.optimize import linprog

from fairseq_vae import hub
from fairseq_vae.base.errors import InputError
from fairseq_vae.cli.main import main
from fairseq_vae.collect import collect
from fairseq_vae.evaluate import evaluate
from fairseq_vae.latent.paths import PATHS, noised, path
from fairseq_vae.measure import smoothness
from fairseq_vae.measure.collection import Collection
from fairseq_vae.measure.sentences import bleu_counts, bleu_of
from fairseq_vae.measure.smoothness import (
    POINTS,
    SCALES,
    WordMover,
    area,
    interpolation,
    noise,
    pairs,
    signature,
    straightness,
    word_mover,
)
from fairseq_vae.measure.summary import summarise
from fairseq_vae.report.text import comparison, table

TEXTS = ["0 1 2 3", "3 2", "4 4 4 0", "0 1 2 3 4 5 6", "6", "", "2 5 5 1 1"]
SENTENCES = ["a man walks his dog .", "two dogs run in the park .", "A man sits .", "", "dog"]


@pytest.fixture(scope="module")
def mover():
    """Of numbers as words, whose vectors are random, in four dimensions."""
    vectors = np.random.default_rng(1).normal(size=(7, 4))
    return WordMover(lambda text: [int(word) for word in text.split()], vectors)


def programme(a, b, mover):
    """The same distance as a linear programme, by scipy's solver, word by word without counting any together."""
    rows = [mover.vectors[[int(word) for word in text.split()]] if text else np.zeros((1, 4)) for text in (a, b)]
    n, m = map(len, rows)
    cost = [sum((x - y) ** 2 for x, y in zip(v, w)) ** 0.5 for v, w in itertools.product(*rows)]
    moved = np.zeros((n + m, n * m))
    for i, j in itertools.product(range(n), range(m)):
        moved[i, i * m + j] = moved[n + j, i * m + j] = 1
    return linprog(cost, A_eq=moved, b_eq=[1 / n] * n + [1 / m] * m).fun


@pytest.mark.parametrize("a, b", itertools.combinations(TEXTS, 2))
def test_the_distance_is_that_of_an_independent_linear_programme(mover, a, b):
    assert mover(a, b) == pytest.approx(programme(a, b, mover), abs=1e-9)
    assert mover(a, b) == pytest.approx(mover(b, a), abs=1e-12) and mover(a, b) > 0


def test_the_distance_is_a_metric_on_shares_of_words(mover):
    for a in TEXTS:
        assert mover(a, a) == 0 == mover(a, " ".join(reversed(a.split()))) == mover(a, f"{a} {a}")
    for a, b, c in itertools.permutations(TEXTS, 3):
        assert mover(a, c) <= mover(a, b) + mover(b, c) + 1e-12


def test_between_single_words_it_is_the_euclidean_distance_and_to_nothing_the_mean_norm(mover):
    for a, b in itertools.product(range(7), repeat=2):
        assert mover(str(a), str(b)) == pytest.approx(np.linalg.norm(mover.vectors[a] - mover.vectors[b]))
    assert mover("0 1", "") == pytest.approx(np.linalg.norm(mover.vectors[:2], axis=1).mean())
    assert mover("", "") == 0


def test_the_packaged_vectors_are_read_without_the_package_and_without_a_network(monkeypatch):
    def refused(*arguments, **options):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refused)
    word_mover.cache_clear()
    found = word_mover()
    assert found.vectors.shape == (32000, 256) and "wordllama" not in sys.modules
    first, second = (found.tokens(word) for word in ("dog", "cat"))
    assert len(first) == len(second) == 1 and found.tokens("") == []
    apart = found.vectors[first[0]].astype(float) - found.vectors[second[0]].astype(float)
    assert found("dog", "cat") == pytest.approx(np.linalg.norm(apart))
    near = found("a man walks his dog .", "a man walks his cat .")
    assert 0 < near < found("a man walks his dog .", "stock prices fell sharply .")


def test_what_is_missing_is_said_in_one_line_before_anything_runs(monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name == "ot":
            raise ImportError(name)
        return real(name, *rest)

    word_mover.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["evaluate", "nowhere.pt", "nowhere", "--smoothness=4"]) == 1
    expected = "--smoothness needs POT and wordllama: pip install POT 'wordllama<0.3.4'\n"
    assert capsys.readouterr().err == f"fairseq-vae evaluate: {expected}"
    monkeypatch.setattr(builtins, "__import__", real)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="--smoothness needs POT and wordllama"):
        word_mover()


def test_counts_of_sentences_add_up_to_sacrebleus_corpus():
    texts = ["the dog barks , twice .", "a cat", "", "Oh, no: it's a the the the", "the dog barks .", "x y z"]
    for hypotheses in (texts[::-1], texts, [*texts[1:], texts[0]], [""] * 6):
        expected = BLEU().corpus_score(hypotheses, [texts]).score
        assert bleu_of(bleu_counts(hypotheses, texts).sum(0)) == pytest.approx(expected, abs=1e-9)


def test_the_area_is_the_mean_height():
    scales = torch.tensor(SCALES, dtype=torch.float64)
    assert area(torch.full((11,), 37.0)).item() == pytest.approx(37)
    assert area(80 - 60 * scales).item() == pytest.approx(50), "a line: the mean of its ends"
    assert area(torch.tensor([1.0, 1.0, 0.0]), [0.0, 3.0, 4.0]).item() == pytest.approx(7 / 8), "uneven scales"
    both = area(torch.stack([scales, 1 - scales, scales], 1))
    assert both.tolist() == pytest.approx([0.5] * 3)


def words(seed, count, size=8):
    random = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in random.integers(9, size=size)) for _ in range(count)]


def test_a_decoder_that_ignores_noise_has_100_and_bleu_alone_tells_that_it_ignores_z():
    texts, answers = words(1, 30), words(2, 30)
    perfect = noise(texts * 11, texts, 1)
    assert perfect["aubleu"] == perfect["aubleu_own"] == pytest.approx(100)
    deaf = noise(answers * 11, texts, 1)
    own = BLEU().corpus_score(answers, [texts]).score
    assert deaf["aubleu_own"] == pytest.approx(100) and deaf["aubleu"] == pytest.approx(own) and own < 50
    assert deaf["intervals"]["aubleu_own"] == pytest.approx([100, 100])
    low, high = deaf["intervals"]["aubleu"]
    assert low < deaf["aubleu"] < high


def test_the_curves_are_sacrebleus_at_each_scale_against_either_reference():
    texts = words(1, 20)
    decoded = [words(3, 20), *(words(3, 20)[:k] + words(k, 20)[k:] for k in range(20, 0, -2))]
    found = noise(list(itertools.chain(*decoded)), texts, 1)
    for key, reference in (("noise_bleu", texts), ("noise_bleu_own", decoded[0])):
        expected = [BLEU().corpus_score(level, [reference]).score for level in decoded]
        assert found[key] == pytest.approx(expected, abs=1e-9)
    assert found["noise_scales"] == list(SCALES) and found["noise_bleu_own"][0] == pytest.approx(100)
    assert found["aubleu"] == pytest.approx(np.trapz(found["noise_bleu"], SCALES))


@pytest.mark.parametrize("scale", SCALES)
def test_noise_keeps_mean_and_covariance_and_has_exact_ends(scale):
    random = torch.Generator().manual_seed(0)
    mix = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    z, other = (torch.randn(100_000, 2, generator=random) @ mix.T + 3 for _ in range(2))
    found = noised(z, other, scale, torch.tensor(3.0))
    assert torch.allclose(found.mean(0), torch.full((2,), 3.0), atol=0.03)
    assert torch.allclose(found.T.cov(), mix @ mix.T, atol=0.03)
    if scale in (0, 1):
        assert found.equal((z, other)[int(scale)])


def test_pairs_are_disjoint_random_and_of_the_seed():
    for count in (2, 7, 100):
        found = pairs(1, count)
        flat = list(itertools.chain(*found))
        assert len(found) == count // 2 and len(set(flat)) == len(flat) and set(flat) <= set(range(count))
    assert pairs(1, 100) == pairs(1, 100) != pairs(2, 100)


def line(a, b):
    return abs(float(a) - float(b))


def test_straightness_knows_a_line_a_detour_and_a_jump():
    even = [str(x) for x in range(11)]
    assert straightness(even, line) == (1, 0.1)
    jump = ["0"] * 6 + ["10"] * 5
    assert straightness(jump, line) == (1, 1), "as smooth as a line; only its largest step tells"
    there_and_back = ["0", "5", *["0"] * 8, "1"]
    assert straightness(there_and_back, line) == (pytest.approx(1 / 11), pytest.approx(5 / 11))


def test_straightness_is_of_a_metric_in_0_to_1(mover):
    random = np.random.default_rng(0)
    for _ in range(50):
        sentences = [" ".join(map(str, random.integers(7, size=random.integers(1, 6)))) for _ in range(11)]
        if mover(sentences[0], sentences[-1]):
            found, largest = straightness(sentences, mover)
            assert 0 < found <= 1 and 0.1 - 1e-9 <= largest <= 1


def test_means_are_over_pairs_whose_ends_differ_and_the_gain_is_paired():
    straight, detour = [str(x) for x in range(11)], ["0", "20", *["10"] * 9]  # 1 and 10 / 30
    same = ["5", *["9"] * 9, "5"]
    flat = [straight, detour, same, detour, straight, same, straight, straight, same]  # lerp, slerp, typical
    found = interpolation(list(itertools.chain(*flat)), line, 1)
    assert (found["smoothness_pairs"], found["smoothness_same_ends"]) == (2, 1)
    assert found["smoothness_lerp"] == found["smoothness_slerp"] == pytest.approx(2 / 3)
    assert found["smoothness_typical"] == 1 and found["largest_step_typical"] == pytest.approx(0.1)
    assert found["smoothness_slerp_gain"] == pytest.approx(0)
    low, high = found["intervals"]["smoothness_slerp_gain"]
    assert low == pytest.approx(-2 / 3) and high == pytest.approx(2 / 3)
    better = interpolation(list(itertools.chain(detour, detour, straight, straight, detour, detour)), line, 1)
    assert better["smoothness_slerp_gain"] == pytest.approx(2 / 3)
    assert better["intervals"]["smoothness_slerp_gain"] == pytest.approx([2 / 3, 2 / 3]), "every pair gains as much"


def test_without_a_pair_whose_ends_differ_there_is_no_figure():
    found = interpolation(["5"] * 33, line, 1)
    assert (found["smoothness_pairs"], found["smoothness_same_ends"]) == (0, 1) and not found["intervals"]
    assert found["smoothness_lerp"] is None and found["smoothness_slerp_gain"] is None
    numbers = summarise(made_up())
    shown = table({**numbers, **found, "intervals": numbers["intervals"]})
    [row] = [row for row in shown.splitlines() if "path smoothness" in row]
    assert row.split(maxsplit=3)[2:] == ["-", "no pair has it: 1 more have ends at distance 0"]


def test_the_decodings_are_the_hubs_at_their_own_z(made, checkpoint, collected):
    """The ends are the reconstructions and the prior's samples of the collection; all between comes of z alone."""
    vae, size = hub.load(checkpoint, str(made)), 5
    levels = [collected.noised[start : start + size] for start in range(0, len(collected.noised), size)]
    assert (levels[0], levels[-1]) == (collected.greedy[:size], collected.samples[:size])
    assert len(levels) == len(SCALES) and len(set(map(tuple, levels))) > 5
    mu, draws, max_len = collected.posterior.mu, collected.samples_z, collected.settings.max_len
    for level, index in ((3, 4), (7, 0)):
        z = (1 - SCALES[level] ** 2) ** 0.5 * mu[index] + SCALES[level] * draws[index]
        assert vae.decode(z[None], beam=1, max_len=max_len) == [levels[level][index]]
    paths = [collected.walked[start : start + POINTS] for start in range(0, len(collected.walked), POINTS)]
    couples = pairs(collected.settings.seed, size)
    assert len(paths) == len(PATHS) * len(couples)
    for number, found in enumerate(paths):
        a, b = couples[number % len(couples)]
        assert (found[0], found[-1]) == (collected.greedy[a], collected.greedy[b])
        z = path(mu[a], mu[b], POINTS, list(PATHS)[number // len(couples)])
        assert vae.decode(z, beam=1, max_len=max_len) == found


def test_batches_and_the_number_of_sentences_change_no_decoding(made, checkpoint, collected, monkeypatch):
    class Narrow(hub.BARTVAEHubInterface):
        def __init__(self, *arguments):
            super().__init__(*arguments, batch_size=4)

    monkeypatch.setattr("fairseq_vae.collect.BARTVAEHubInterface", Narrow)
    found = collect(checkpoint, str(made), samples=1, generate=0, smoothness=5)
    assert (found.noised, found.walked, found.samples) == (collected.noised, collected.walked, None)
    fewer = collect(checkpoint, str(made), samples=1, generate=0, smoothness=3)
    for level in range(len(SCALES)):
        assert fewer.noised[3 * level : 3 * level + 3] == collected.noised[5 * level : 5 * level + 3]
    assert len(fewer.walked) == len(PATHS) * POINTS


def test_the_command_prints_the_figures_keeps_what_it_decoded_and_names_its_settings(
    made, checkpoint, tmp_path, capsys
):
    short = [checkpoint, str(made), "--samples=1", "--generate=0", f"--keep={tmp_path / 'kept'}"]
    command = ["evaluate", *short, "--smoothness=100", f"--json={tmp_path / 'numbers.json'}"]
    assert main(["evaluate", *short]) == 0, "it may come later"
    assert "AuBLEU" not in capsys.readouterr().out
    assert main(command) == 0
    shown, numbers = capsys.readouterr().out, json.loads((tmp_path / "numbers.json").read_text())
    for part in ("\nAuBLEU ", "\npath smoothness ", "\n  slerp - lerp ", "\n  largest step "):
        assert part in shown, part
    assert numbers["smoothness_sentences"] == 12, "the split has no more"
    versions = f"wordllama_{version('wordllama')}/POT_{version('POT')}"
    settings = f"first_12/noise_0_to_1_by_0.1/6_pairs/11_points/greedy/{versions}"
    assert numbers["signature"].endswith(f"|smoothness:{settings}") and settings == signature(12)
    for key in ("aubleu", "aubleu_own", "smoothness_lerp", "largest_step_slerp", "smoothness_slerp_gain"):
        low, high = numbers["intervals"][key]
        assert low <= numbers[key] <= high, key
    assert summarise(Collection.load(str(tmp_path / "kept")))["aubleu"] == numbers["aubleu"]
    assert main([*command[:-2], "--smoothness=8"]) == 1
    assert "(smoothness: 12 there, 8 here)" in capsys.readouterr().err


def test_several_checkpoints_have_columns_for_it_where_one_has_the_figures():
    one = summarise(made_up())
    other = {**one, "aubleu": None, "smoothness_lerp": None}
    heads, first, second = comparison([one, other]).splitlines()[:3]
    assert heads.split()[-2:] == ["AuBLEU", "paths"] and second.split()[-2:] == ["-", "-"]
    assert first.split()[-2:] == [f"{one['aubleu']:.2f}", f"{one['smoothness_lerp']:.3f}"]
    assert "AuBLEU" not in comparison([other, other])


def test_what_cannot_be_made_is_refused_or_left_out(made, checkpoint, monkeypatch):
    with pytest.raises(InputError, match="--smoothness 1: expected 2 or more"):
        evaluate(checkpoint, str(made), generate=0, smoothness=1)
    without = evaluate(str(made / "lm/checkpoint_best.pt"), str(made), samples=1, generate=0, smoothness=4)
    assert without["aubleu"] is without["smoothness_lerp"] is without["smoothness_sentences"] is None
    assert "smoothness" not in without["signature"] and "AuBLEU" not in table(without)
    monkeypatch.setattr("fairseq_vae.collect.lacking", lambda dictionary: "GPT-2 BPE")
    with pytest.raises(InputError, match="--smoothness 4: nothing joins the pieces of .* to text: GPT-2 BPE"):
        evaluate(checkpoint, str(made), samples=1, words=50, smoothness=4)


def test_the_model_without_use_of_z_is_told_by_the_first_figure_alone():
    """Of a collection whose decodings never change: aubleu_own is perfect, aubleu what those sentences are worth."""
    collection = made_up()
    deaf = collection._replace(noised=collection.noised[:4] * 11)
    found = summarise(deaf)
    assert found["aubleu_own"] == pytest.approx(100)
    assert smoothness.noise(deaf.noised, deaf.texts[:4], 1)["aubleu"] == found["aubleu"]
