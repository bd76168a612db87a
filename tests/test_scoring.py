"""Likelihoods of sentences, and the batches in which they are computed."""

import itertools

import pytest
import torch
from helpers import SENTENCES, Z, batch, choosing, model
from test_validation import split

from fairseq_vae.base.store import Store
from fairseq_vae.collect import score
from fairseq_vae.latent.distributions import as_double, has_closed_form, have_conditionals, log_ratio, rate
from fairseq_vae.latent.posterior import posteriors
from fairseq_vae.measure.packing import packed
from fairseq_vae.measure.scoring import Scorer, sentence_nll


def test_sentence_nll_is_the_sum_of_its_tokens():
    built, sample, z = model(std=0.3), batch(SENTENCES), torch.randn(len(SENTENCES), Z)
    with torch.no_grad():
        nll = sentence_nll(built, sample, z)
        lprobs = built(**sample["net_input"], z=z)[0].log_softmax(-1)
    for row, target in enumerate(sample["target"].tolist()):
        expected = -sum(lprobs[row, i, token].item() for i, token in enumerate(target) if token != 1)
        assert nll[row].item() == pytest.approx(expected, rel=1e-5)


def test_packed_batches_hold_every_pair_once_within_the_budget():
    lengths = [5, 2, 9, 1, 7]
    batches = list(packed(lengths, [0, 1, 2, 4], 3, 20))
    assert sorted(sum(batches, [])) == sorted(itertools.product([0, 1, 2, 4], range(3)))
    assert all(len(rows) * max(lengths[i] for i, _ in rows) <= 20 for rows in batches)
    assert [list(rows) for rows in packed([30], [0], 2, 20)] == [[(0, 0)], [(0, 1)]]


@pytest.mark.parametrize("name", posteriors.names())
def test_the_kl_is_in_closed_form_or_the_mean_over_the_samples(name):
    built = model(std=0.3, **choosing(posteriors, name))
    scorer, store, samples = Scorer(built, split(SENTENCES)), Store(), 3
    store.make("posterior prior", scorer.distributions)
    score(store, scorer, samples)
    posterior, prior = as_double(store["posterior"]), as_double(store["prior"])
    if has_closed_form(posterior, prior):
        expected = rate(posterior, prior, store["z"].double())
    else:
        each = [scorer.eps([(i, k) for i in range(len(scorer))]) for k in range(samples)]
        zs = [store["posterior"].rsample(eps) for eps in each]
        if have_conditionals(posterior, prior):  # of each dimension, given those below it
            rates = [rate(posterior, prior, z.double()) for z in zs]
        else:
            rates = [-log_ratio(posterior, prior, z, eps)[:, None] for z, eps in zip(zs, each)]
        expected = torch.stack(rates).mean(0)
    torch.testing.assert_close(store["kl"], expected, rtol=1e-5, atol=1e-4)
    assert not any(value.requires_grad for value in store.values() if torch.is_tensor(value))
