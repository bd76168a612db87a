"""A model whose prior and decoder read a source beside z: scoring, hub, generation and evaluation carry it along."""

import json
import shutil
import zlib
from argparse import Namespace

import pytest
import torch
from helpers import SENTENCES, criterion, model, save_trained, save_vae, write_data, write_pairs
from test_conditional import OTHERS, SELF, pairs

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import APART, Purpose, standard_normal
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.collect import collect
from fairseq_vae.evaluate import evaluate
from fairseq_vae.hub import BARTVAEHubInterface, load
from fairseq_vae.latent.paths import path
from fairseq_vae.measure.definitions import RESPONSES, STORIES, names
from fairseq_vae.measure.scoring import Scorer, sentence_nll
from fairseq_vae.measure.smoothness import POINTS
from fairseq_vae.measure.smoothness import pairs as couples

WORDS = [f"w{i}" for i in range(25)]
FLAGS = (
    *("--task=vae_translation", "--arch=bart_cvae_tiny", "--criterion=vae_cross_entropy", "--latent-dim=8"),
    *("--max-source-positions=16", "--max-target-positions=16"),
)
SOURCES, TARGETS = ([" ".join(f"w{i}" for i in row) for row in rows] for rows in (OTHERS, SENTENCES))


def saved(folder, *flags, std=0.15):
    """A tiny conditional VAE as fairseq-train saves it; its file."""
    folder.mkdir(parents=True)
    write_pairs(folder, test=[*zip(OTHERS, SENTENCES)], valid=[*zip(OTHERS, SENTENCES)])
    save_trained(folder, "checkpoint_best.pt", (*FLAGS, *flags), WORDS, std)
    return str(folder / "checkpoint_best.pt")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("context") / "cvae")


@pytest.fixture(scope="module")
def data(checkpoint):
    return checkpoint.rsplit("/", 1)[0]


@pytest.fixture
def vae(checkpoint, data):
    return load(checkpoint, data, None)


def prior_of(vae, source):
    """The prior of a source, a string."""
    return vae.model.encoder.prior(vae.model.encoder.context(**vae.source(1, [source])))


@torch.no_grad()
def test_the_hub_decodes_and_responds_beside_the_sources(vae):
    z = torch.randn(1, 8).expand(5, 8)
    texts = vae.decode(z, sources=SOURCES)
    assert len(set(texts)) > 1 and texts == [vae.decode(z[:1], sources=[source])[0] for source in SOURCES]
    vae.batch_size = 2
    assert vae.decode(z, sources=SOURCES) == texts
    lists = vae.respond(SOURCES, n=3, beam=2)
    for place, source in enumerate(SOURCES):
        numbers = [place + sample * APART for sample in range(3)]
        z = prior_of(vae, source).rsample(standard_normal(1, Purpose.GENERATION, 0, numbers, 8))
        assert lists[place] == vae.decode(z, beam=2, sources=[source] * 3), "each source's own prior and draws"
    assert vae.respond(SOURCES[0], n=3, beam=2) == lists[0]
    assert [each[0] for each in lists] == vae.sample(5, sources=SOURCES, beam=2)
    assert vae.respond(SOURCES[:2], n=2, sampling=True) == vae.respond(SOURCES[:2], n=2, sampling=True)
    with pytest.raises(ValueError, match="2 sources for 5 rows of z"):
        vae.decode(torch.zeros(5, 8), sources=SOURCES[:2])


@torch.no_grad()
def test_the_hub_encodes_pairs(vae):
    posterior = vae.encode(SOURCES, TARGETS)
    for i in range(5):
        alone = vae.encode(SOURCES[i], TARGETS[i])
        torch.testing.assert_close(posterior.mu[i], alone.mu[0], rtol=1e-4, atol=1e-5)
    changed = vae.encode(SOURCES[1:] + SOURCES[:1], TARGETS)
    assert (changed.mu - posterior.mu).abs().amax(1).min() > 1e-3, "the posterior reads the source"
    assert vae.reconstruct(SOURCES, TARGETS) == vae.decode(posterior.mu, sources=SOURCES)
    assert vae.encode([], []).mu.shape == (0, 8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda vae: vae.encode(SOURCES), "give targets beside the sources"),
        (lambda vae: vae.encode(SOURCES, TARGETS[:2]), "2 targets for 5 sources"),
        (lambda vae: vae.decode(torch.zeros(1, 8)), "give sources"),
        (lambda vae: vae.decode(torch.zeros(5, 8), SOURCES), r"beam=\['.*'\]: expected a number, .* sources=…"),
        (lambda vae: vae.sample(1), "give sources"),
        (lambda vae: vae.respond(SOURCES, n=0), "0 responses: expected 1 or more"),
        (lambda vae: vae.interpolate(SOURCES[0], SOURCES[1]), "give targets beside the sources"),
        (lambda vae: vae.log_prob(SOURCES[:1], TARGETS[:1]), r"samples=\['.*'\]: expected a number"),
    ],
)
def test_what_lacks_a_side_is_refused_in_one_line(vae, call, message):
    with pytest.raises(InputError, match=message) as refusal:
        call(vae)
    assert "\n" not in str(refusal.value)


def test_a_language_model_that_reads_no_source_is_refused(checkpoint, data, tmp_path):
    save_vae(tmp_path / "lm", "--latent-dim=8", "--zero-latent", words=WORDS, std=0.15)
    with pytest.raises(InputError, match="does not read sources, unlike the model: give one of the same --arch$"):
        evaluate(checkpoint, data, generate=0, samples=1, language_model=str(tmp_path / "lm/checkpoint_best.pt"))


@torch.no_grad()
def test_log_prob_has_the_sources_own_prior(vae):
    [found] = vae.log_prob(SOURCES[:1], samples=1, targets=TARGETS[:1]).tolist()
    [sample] = vae.batches(SOURCES[:1], TARGETS[:1])
    source = sample["net_input"]["src_tokens"]
    prior = vae.model.encoder.prior(vae.model.encoder.context(source))
    key = zlib.crc32(sample["target"][0].numpy())
    posterior = vae.model.encoder.infer(source, target=sample["target"])
    z = posterior.rsample(standard_normal(1, Purpose.VALIDATION, 0, [key], 8))
    expected = prior.log_prob(z) - posterior.log_prob(z) - sentence_nll(vae.model, sample, z)
    assert found == pytest.approx(expected.item(), abs=1e-5) and prior.mu.abs().max() > 0.01


@torch.no_grad()
def test_scores_are_of_each_sentences_own_source_and_prior(checkpoint, data, vae):
    built, _, task = load_model(checkpoint, data)
    task.load_dataset("test")
    scorer = Scorer(built, task.dataset("test"), 30)
    posterior, prior = scorer.distributions()
    z = torch.randn(5, 8)
    nll, sums = scorer.nll(z, "z"), scorer.importance(posterior, prior, 2)
    for i in range(5):
        sample = task.dataset("test").collater([task.dataset("test")[i]])
        source = sample["net_input"]["src_tokens"]
        q, p = built.encoder.distributions(source, target=sample["target"])
        torch.testing.assert_close(prior.mu[i], p.mu[0], rtol=1e-4, atol=1e-5)
        assert nll[i].item() == pytest.approx(sentence_nll(built, sample, z[i : i + 1]).item(), rel=1e-5)
        weights = []
        for k in range(2):
            own = q.rsample(scorer.eps([(i, k)]))
            ratio = p.log_prob(own) - q.log_prob(own)
            weights.append((ratio - sentence_nll(built, sample, own)).double())
        expected = torch.log(torch.tensor(2.0)) - torch.stack(weights).logsumexp(0)
        assert sums.nll_iw[i].item() == pytest.approx(expected.item(), rel=1e-4)
    numbers = evaluate(checkpoint, data, samples=2, generate=3)
    assert numbers["nll_iw"] == pytest.approx(sums.nll_iw.mean().item(), rel=1e-6)
    collection = collect(checkpoint, data, samples=2, generate=3)
    longest = collection.settings.max_len
    assert collection.greedy == vae.reconstruct(SOURCES[:3], TARGETS[:3], beam=1, max_len=longest), "beside its source"
    drawn = standard_normal(1, Purpose.GENERATION, 0, range(5), 8)
    for i in range(5):
        sample = task.dataset("test").collater([task.dataset("test")[i]])
        source = sample["net_input"]["src_tokens"]
        others = (collection.z[[(i + 1) % 5]], built.encoder.prior(built.encoder.context(source)).rsample(drawn[[i]]))
        expected = [sentence_nll(built, sample, z).item() for z in others]
        found = [collection.shuffled[i].item(), collection.from_prior[i].item()]
        assert found == pytest.approx(expected, rel=1e-5), "of its own source, and another's z or the prior's"
    assert collection.samples == vae.sample(3, sources=SOURCES[:3], beam=1, max_len=longest)
    responses = vae.respond(SOURCES[:3], beam=1, max_len=longest)
    assert collection.responses == [text for texts in responses for text in texts]
    assert "|prior:conditional|" in numbers["signature"] and numbers["agg_gaussian_kl"] is None
    assert set(numbers["responses"]) == {*names(RESPONSES), *names(STORIES), "intervals"}
    assert numbers["responses"]["responses"] == 5 and numbers["mi_source"] >= 0


@torch.no_grad()
def test_an_evaluation_of_responses_holds_them_to_all_references_and_a_model_without_z_draws_them(
    checkpoint, data, tmp_path
):
    reference = saved(tmp_path / "without", "--zero-latent")
    lines = [json.dumps([target, "w1 w1"]) for target in TARGETS]
    (tmp_path / "references").write_text("\n".join(lines) + "\n")
    given = {"samples": 1, "generate": 5, "responses": 2, "references": str(tmp_path / "references")}
    numbers = evaluate(checkpoint, data, language_model=reference, **given)
    assert numbers["responses"]["references"] == 2 and numbers["responses"]["responses"] == 2
    assert numbers["lm_nll"] is not None and numbers["responses"]["responses_signature"].startswith("greedy|")
    same = load(reference, data, None)
    with pytest.raises(InputError, match="2 responses of a model without z would be the same"):
        same.respond(SOURCES[0], n=2)
    assert len(same.respond(SOURCES[0], n=1)) == 1 and len(same.respond(SOURCES[0], n=2, sampling=True)) == 2
    without = evaluate(reference, data, samples=1, generate=5, responses=2)
    assert without["responses"]["responses_signature"].startswith("topp_0.9|") and without["diagnosis"] == "no z"
    with pytest.raises(InputError, match="--references has no effect with --generate 0: leave it out"):
        evaluate(checkpoint, data, **{**given, "generate": 0, "responses": None})
    with pytest.raises(InputError, match="--references has no effect with --responses 0: leave it out"):
        evaluate(checkpoint, data, **{**given, "responses": 0})
    for none in "[]", '[" "]':
        (tmp_path / "references").write_text("\n".join([*lines[:4], none]) + "\n")
        with pytest.raises(InputError, match="line 5: expected a JSON list of strings, none empty"):
            evaluate(checkpoint, data, **given)
    (tmp_path / "references").write_text("\n".join(lines[:4]) + "\n")
    with pytest.raises(InputError, match="4 lines; expected 5, one a source"):
        evaluate(checkpoint, data, **given)


@torch.no_grad()
def test_a_conditional_model_of_denoising_is_evaluated_too(tmp_path):
    """The corrupted sentence is the source, the sentence its target."""
    write_data(tmp_path, test=SENTENCES, train=SENTENCES)
    flags = [flag for flag in FLAGS if not flag.startswith("--task")]
    save_trained(tmp_path, "checkpoint_best.pt", ("--task=vae_denoising", *flags), WORDS, 0.15)
    numbers = evaluate(str(tmp_path / "checkpoint_best.pt"), str(tmp_path), samples=1, generate=2)
    assert numbers["mi_source"] is not None and numbers["training_copies"] is not None


@torch.no_grad()
def test_samples_that_are_targets_of_training_are_counted(checkpoint, data, vae, tmp_path):
    samples = vae.sample(5, sources=SOURCES, beam=1, max_len=collect(checkpoint, data, samples=1).settings.max_len)
    copied = [[int(word[1:]) for word in text.split()] for text in samples[:2]]
    shutil.copytree(data, tmp_path / "data")
    write_pairs(tmp_path / "data", train=[*zip(OTHERS, SENTENCES), *((OTHERS[0], words) for words in copied)])
    found = collect(checkpoint, str(tmp_path / "data"), samples=1)
    assert found.copied == sorted(set(samples[:2])) and collect(checkpoint, data, samples=1).copied is None


@torch.no_grad()
def test_noise_is_of_each_sentences_own_prior_and_paths_are_decoded_beside_the_nearer_source(
    checkpoint, data, vae, monkeypatch
):
    size, seen = 4, []
    decode = BARTVAEHubInterface.decode
    monkeypatch.setattr(BARTVAEHubInterface, "decode", lambda self, z, **o: seen.append(z) or decode(self, z, **o))
    found = collect(checkpoint, data, samples=1, generate=size, smoothness=size, responses=0)
    levels = [found.noised[start : start + size] for start in range(0, len(found.noised), size)]
    assert (levels[0], levels[-1]) == (found.greedy, found.samples) and found.responses is None
    means, draws = found.prior.mu[:size], found.samples_z  # m + sqrt(1 - s^2) (mu - m) + s (p - m)
    z = means + 0.8 * (found.posterior.mu[:size] - means) + 0.6 * (draws - means)
    options = {"beam": 1, "max_len": found.settings.max_len}
    assert levels[6] == decode(vae, z, sources=SOURCES[:size], **options)
    away = (z[:, None] - torch.cat(seen)).norm(dim=2).min(1).values  # of the nearest z that was decoded
    assert away.max() < 1e-5 and means.norm(dim=1).min() > 0.01, "the prior's mean counts"
    for number, (a, b) in enumerate(couples(found.settings.seed, size)):  # the first kind is lerp
        walked = found.walked[POINTS * number : POINTS * (number + 1)]
        nearer = [SOURCES[a]] * 6 + [SOURCES[b]] * 5
        line = path(found.posterior.mu[a], found.posterior.mu[b], POINTS, "lerp")
        assert walked == vae.decode(line, sources=nearer, **options)


def test_generation_draws_from_the_prior_of_each_source(vae):
    sample, seen = pairs(), []
    vae.task.cfg.latent_mode = "sample"

    def generate(models, sample, **_):
        with torch.no_grad():
            seen.append(vae.model.encoder(**sample["net_input"])["vae"].z)
        return [[] for _ in sample["id"]]

    del sample["net_input"]["prev_output_tokens"]
    vae.task.inference_step(Namespace(generate=generate), [vae.model], sample)
    with torch.no_grad():
        prior = vae.model.encoder.prior(vae.model.encoder.context(sample["net_input"]["src_tokens"]))
        torch.testing.assert_close(seen[0], prior.rsample(standard_normal(1, Purpose.GENERATION, 0, range(5), 8)))


@torch.no_grad()
def test_the_own_z_gap_changes_z_and_keeps_the_source(data, vae):
    """A pair's partner is the next one, so partners of the batch of all are in it."""
    built, objective, task = model(SELF, std=0.3), criterion(), vae.task
    task.load_dataset("valid")
    split = task.dataset("valid")
    log = task.valid_step(split.collater([split[i] for i in range(5)]), built, objective)[2]
    sample = split.collater([split[i] for i in range(5)])
    order = sample["id"]
    posterior = built.encoder.infer(sample["net_input"]["src_tokens"], target=sample["target"])
    z = posterior.rsample(standard_normal(1, Purpose.VALIDATION, 0, order.tolist(), built.latent_dim))
    next_one = [order.tolist().index((int(i) + 1) % 5) for i in order]
    gap = sentence_nll(built, sample, z[next_one]) - sentence_nll(built, sample, z)
    assert log["_gap"].item() == pytest.approx(gap.sum().item(), rel=1e-4)
