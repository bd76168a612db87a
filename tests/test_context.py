"""A model whose prior and decoder read the source beside z: scoring, hub, generation and evaluation carry it along."""

from argparse import Namespace

import pytest
import torch
from denoising import build
from helpers import SENTENCES, batch, criterion, model, save_vae, write_data

from fairseq_vae.bart.encoder import BARTVAEEncoder
from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.collect import collect
from fairseq_vae.evaluate import evaluate
from fairseq_vae.hub import BARTVAEHubInterface, load
from fairseq_vae.latent.distributions import Gaussian
from fairseq_vae.latent.paths import path
from fairseq_vae.latent.prior import StandardNormal
from fairseq_vae.measure.scoring import Scorer, sentence_nll
from fairseq_vae.measure.smoothness import POINTS, pairs

SOURCES = ["the dog barks .", "a cat", "the cat sleeps ."]


class Conditional(BARTVAEEncoder):
    """Its context is the mean embedding of the source, which moves the prior's mean and the slots."""

    def context(self, src_tokens, src_lengths=None):
        real = src_tokens.ne(self.padding_idx).unsqueeze(-1)
        return (self.embed_tokens(src_tokens) * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)  # B x 1 x C

    def forward(self, src_tokens, src_lengths=None, *arguments, **latent):
        found = super().forward(src_tokens, src_lengths, *arguments, **latent)
        found["encoder_out"] = [found["encoder_out"][0] + self.context(src_tokens).transpose(0, 1)]
        return found


class MovedPrior(StandardNormal):
    signature = "moved"

    def forward(self, context=None):
        if context is None:
            return super().forward()
        return Gaussian.standard(context[:, 0, : self.dim])._replace(mu=context[:, 0, : self.dim])


@pytest.fixture
def conditional(monkeypatch):
    monkeypatch.setattr("fairseq_vae.model.BARTVAEEncoder", Conditional)
    from fairseq_vae.latent.prior import priors

    monkeypatch.setitem(priors.parts, "standard", MovedPrior)


@pytest.fixture
def vae(conditional, tmp_path):
    save_vae(tmp_path, "--max-source-positions=16", "--max-target-positions=16", "--latent-dim=8")
    return load(str(tmp_path / "checkpoint_best.pt"), str(tmp_path), None)


@torch.no_grad()
def test_the_hub_decodes_and_samples_beside_the_sources(vae):
    z = torch.randn(1, 8).expand(3, 8)
    texts = vae.decode(z, sources=SOURCES)
    assert len(set(texts)) > 1 and texts == [vae.decode(z[:1], sources=[source])[0] for source in SOURCES]
    vae.batch_size = 2
    assert vae.decode(z, sources=SOURCES) == texts
    tokens = vae.batches(SOURCES)
    contexts = {}
    for sample in tokens:
        found = vae.model.encoder.context(sample["net_input"]["src_tokens"])
        contexts.update(zip(sample["id"].tolist(), found))
    eps = standard_normal(1, Purpose.GENERATION, 0, range(3), 8)
    drawn = torch.stack([contexts[i][0, :8] for i in range(3)]) + eps
    assert vae.sample(3, sources=SOURCES) == vae.decode(drawn, sources=SOURCES)
    assert vae.reconstruct(SOURCES) == vae.decode(vae.encode(SOURCES).mu, sources=SOURCES)
    with pytest.raises(ValueError, match="2 sources for 3 rows of z"):
        vae.decode(z, sources=SOURCES[:2])


@torch.no_grad()
def test_log_prob_has_the_sources_own_prior(vae):
    [found] = vae.log_prob(SOURCES[0], samples=1).tolist()
    [sample] = vae.batches(SOURCES[0])
    source = sample["net_input"]["src_tokens"]
    prior = vae.model.encoder.prior(vae.model.encoder.context(source))
    import zlib

    key = zlib.crc32(sample["target"][0].numpy())
    posterior = vae.model.encoder.infer(source)
    z = posterior.rsample(standard_normal(1, Purpose.VALIDATION, 0, [key], 8))
    expected = prior.log_prob(z) - posterior.log_prob(z) - sentence_nll(vae.model, sample, z)
    assert found == pytest.approx(expected.item(), abs=1e-5) and prior.mu.abs().max() > 0.01


@torch.no_grad()
def test_scores_are_of_each_sentences_own_source_and_prior(conditional, tmp_path):
    save_vae(tmp_path / "vae", "--latent-dim=8", words=[f"w{i}" for i in range(25)])
    write_data(tmp_path, test=SENTENCES)
    built, _, task = load_model(str(tmp_path / "vae/checkpoint_best.pt"), str(tmp_path))
    task.load_dataset("test")
    scorer = Scorer(built, task.dataset("test"), 30)
    posterior, prior = scorer.distributions()
    z = torch.randn(5, 8)
    nll, sums = scorer.nll(z, "z"), scorer.importance(posterior, prior, 2)
    for i in range(len(SENTENCES)):
        sample = task.dataset("test").collater([task.dataset("test")[i]])
        source = sample["net_input"]["src_tokens"]
        context = built.encoder.context(source)
        torch.testing.assert_close(prior.mu[i], context[0, 0, :8])
        assert nll[i].item() == pytest.approx(sentence_nll(built, sample, z[i : i + 1]).item(), rel=1e-5)
        weights = []
        for k in range(2):
            q = built.encoder.infer(source)
            own = q.rsample(scorer.eps([(i, k)]))
            ratio = built.encoder.prior(context).log_prob(own) - q.log_prob(own)
            weights.append((ratio - sentence_nll(built, sample, own)).double())
        expected = torch.log(torch.tensor(2.0)) - torch.stack(weights).logsumexp(0)
        assert sums.nll_iw[i].item() == pytest.approx(expected.item(), rel=1e-4)
    numbers = evaluate(str(tmp_path / "vae/checkpoint_best.pt"), str(tmp_path), samples=2, generate=3)
    assert numbers["nll_iw"] == pytest.approx(sums.nll_iw.mean().item(), rel=1e-6)
    vae = load(str(tmp_path / "vae/checkpoint_best.pt"), str(tmp_path), None)
    sentences = [" ".join(f"w{i}" for i in row) for row in SENTENCES[:3]]
    collection = collect(str(tmp_path / "vae/checkpoint_best.pt"), str(tmp_path), samples=2, generate=3)
    longest = collection.settings.max_len
    assert collection.greedy == vae.reconstruct(sentences, beam=1, max_len=longest), "beside its source"
    assert collection.samples == vae.sample(3, sources=sentences, beam=1, max_len=longest)
    assert "|prior:moved|" in numbers["signature"] and numbers["agg_gaussian_kl"] is None


@torch.no_grad()
def test_noise_is_of_each_sentences_own_prior_and_paths_are_decoded_beside_the_nearer_source(
    conditional, tmp_path, monkeypatch
):
    save_vae(tmp_path / "vae", "--latent-dim=8", words=[f"w{i}" for i in range(25)], std=0.15)
    write_data(tmp_path, test=SENTENCES)
    checkpoint, size, seen = str(tmp_path / "vae/checkpoint_best.pt"), 4, []
    decode = BARTVAEHubInterface.decode
    monkeypatch.setattr(BARTVAEHubInterface, "decode", lambda self, z, **o: seen.append(z) or decode(self, z, **o))
    found = collect(checkpoint, str(tmp_path), samples=1, generate=size, smoothness=size)
    levels = [found.noised[start : start + size] for start in range(0, len(found.noised), size)]
    assert (levels[0], levels[-1]) == (found.greedy, found.samples)
    vae = load(checkpoint, str(tmp_path), None)
    sentences = [" ".join(f"w{i}" for i in row) for row in SENTENCES]
    means, draws = found.prior.mu[:size], found.samples_z  # m + sqrt(1 - s^2) (mu - m) + s (p - m)
    z = means + 0.8 * (found.posterior.mu[:size] - means) + 0.6 * (draws - means)
    options = {"beam": 1, "max_len": found.settings.max_len}
    assert levels[6] == decode(vae, z, sources=sentences[:size], **options)
    away = (z[:, None] - torch.cat(seen)).norm(dim=2).min(1).values  # of the nearest z that was decoded
    assert away.max() < 1e-5 and means.norm(dim=1).min() > 0.01, "the prior's mean counts"
    for number, (a, b) in enumerate(pairs(found.settings.seed, size)):  # the first kind is lerp
        walked = found.walked[POINTS * number : POINTS * (number + 1)]
        nearer = [sentences[a]] * 6 + [sentences[b]] * 5
        line = path(found.posterior.mu[a], found.posterior.mu[b], POINTS, "lerp")
        assert walked == vae.decode(line, sources=nearer, **options)


def test_generation_draws_from_the_prior_of_each_source(conditional, tmp_path):
    write_data(tmp_path, test=SENTENCES)
    task, built, sample, seen = build(str(tmp_path), latent_mode="sample"), model(std=0.3), batch(SENTENCES), []
    task.cfg.latent_mode = "prior"

    def generate(models, sample, **_):
        with torch.no_grad():
            seen.append(built.encoder(**sample["net_input"])["vae"].z)
        return [[] for _ in sample["id"]]

    del sample["net_input"]["prev_output_tokens"]
    task.inference_step(Namespace(generate=generate), [built], sample)
    with torch.no_grad():
        mean = built.encoder.context(sample["net_input"]["src_tokens"])[:, 0, : built.latent_dim]
    torch.testing.assert_close(seen[0], mean + standard_normal(1, Purpose.GENERATION, 0, range(5), built.latent_dim))


@torch.no_grad()
def test_the_own_z_gap_changes_z_and_keeps_the_context(conditional, tmp_path):
    """A sentence's partner is the next one, so partners of the batch of all are in it."""
    write_data(tmp_path, valid=SENTENCES)
    task, built, objective = build(str(tmp_path)), model(std=0.3), criterion()
    task.load_dataset("valid")
    data = task.dataset("valid")
    log = task.valid_step(data.collater([data[i] for i in range(5)]), built, objective)[2]
    sample = batch(SENTENCES)
    z = built.encoder.infer(sample["net_input"]["src_tokens"]).rsample(
        standard_normal(1, Purpose.VALIDATION, 0, range(5), built.latent_dim)
    )
    gap = sentence_nll(built, sample, z.roll(-1, 0)) - sentence_nll(built, sample, z)
    assert log["_gap"].item() == pytest.approx(gap.sum().item(), rel=1e-4)
