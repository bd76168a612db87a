"""Likelihoods of sentences, and the batches in which they are computed."""

import itertools

import pytest
import torch
from helpers import SENTENCES, Z, batch, model

from fairseq_vae.measure.packing import packed
from fairseq_vae.measure.scoring import sentence_nll


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
