from argparse import Namespace

import pytest
import torch
from fairseq import search
from helpers import SENTENCES, batch, dictionary, model, task, write_data

from fairseq_vae.bart.nucleus import NucleusSampling, sample_nucleus
from fairseq_vae.flags.task import task_config
from fairseq_vae.task import VAEDenoisingTask

DRAWS = 20000


def frequencies(probs, topp):
    drawn = sample_nucleus(torch.tensor([probs]).expand(DRAWS, -1), topp)
    return torch.bincount(drawn, minlength=len(probs)).double() / DRAWS


@pytest.mark.parametrize(
    "probs, topp, nucleus",
    [
        ([0.1, 0.5, 0.3, 0.1], 0.8, [1, 2]),
        ([0.1, 0.5, 0.3, 0.1], 0.5, [1]),
        ([0.1, 0.5, 0.3, 0.1], 0.51, [1, 2]),
        ([0.15, 0.5, 0.25, 0.1], 0.85, [0, 1, 2]),
        ([0.2, 0.5, 0.3, 0.0], 1.0, [0, 1, 2]),
        ([0.0, 1.0, 0.0], 0.9, [1]),
        ([0.1, 0.25, 0.05], 0.9, [0, 1, 2]),  # a forbidden end of sentence took the rest
    ],
)
def test_the_nucleus_and_its_distribution(probs, topp, nucleus):
    expected = torch.zeros(len(probs), dtype=torch.double)
    expected[nucleus] = torch.tensor(probs).double()[nucleus]
    expected /= expected.sum()
    found = frequencies(probs, topp)
    assert found[expected == 0].eq(0).all()
    deviation = (expected * (1 - expected) / DRAWS).sqrt()
    assert ((found - expected).abs() <= 5 * deviation + 1e-12).all(), found


def test_against_fairseqs_own_on_random_distributions():
    logits = torch.randn(6, 40) * 2
    stock = search.Sampling(dictionary(), sampling_topp=0.7)
    probs, indices = stock._sample_topp(logits.log_softmax(-1)[None])
    expected = torch.zeros(6, 40).scatter_(1, indices[0], probs[0])
    expected /= expected.sum(1, keepdim=True)
    drawn = sample_nucleus(logits.softmax(-1).repeat_interleave(DRAWS, 0), 0.7).view(6, DRAWS)
    found = torch.stack([torch.bincount(row, minlength=40) for row in drawn]) / DRAWS
    assert found[expected == 0].eq(0).all()
    assert (found - expected).abs().max() < 5 * (0.25 / DRAWS) ** 0.5


@pytest.mark.parametrize("beam", [1, 3])
def test_hypotheses_carry_their_log_probability(tmp_path, beam):
    built, sample = model(std=0.4), batch(SENTENCES)
    words = dictionary()
    whole = VAEDenoisingTask(task_config()(data=write_data(tmp_path), path=None), words)
    options = Namespace(beam=beam, sampling=True, sampling_topp=0.8, max_len_a=0, max_len_b=12, unnormalized=True)
    generator = whole.build_generator([built], options)
    assert type(generator.search) is NucleusSampling
    for sentence, found in zip(SENTENCES, generator.generate([built], sample)):
        for hypothesis in found:
            net_input = batch([sentence])["net_input"]
            tokens = hypothesis["tokens"].tolist()
            net_input["prev_output_tokens"] = torch.tensor([[2, *tokens[:-1]]])
            with torch.no_grad():
                lprobs = built.get_normalized_probs(built(**net_input), log_probs=True)[0]
            expected = lprobs[range(len(tokens)), tokens]
            torch.testing.assert_close(hypothesis["positional_scores"], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"beam": 2}, {"sampling": True}, {"sampling": True, "sampling_topp": 0.2}])
def test_other_searches_are_left_alone(tmp_path, options):
    whole = VAEDenoisingTask(task_config()(data=write_data(tmp_path), path=None), task().target_dictionary)
    generator = whole.build_generator([model()], Namespace(**options))
    assert type(generator.search) in (search.BeamSearch, search.Sampling)
