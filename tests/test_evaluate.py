import pytest
import torch
from helpers import SENTENCES, Z, batch, model

from fairseq_vae.evaluate import sentence_nll


def test_sentence_nll_is_the_sum_of_its_tokens():
    built, sample, z = model(std=0.3), batch(SENTENCES), torch.randn(len(SENTENCES), Z)
    with torch.no_grad():
        nll = sentence_nll(built, sample, z)
        lprobs = built(**sample["net_input"], z=z)[0].log_softmax(-1)
    for row, target in enumerate(sample["target"].tolist()):
        expected = -sum(lprobs[row, i, token].item() for i, token in enumerate(target) if token != 1)
        assert nll[row].item() == pytest.approx(expected, rel=1e-5)
