import math
from argparse import Namespace

import pytest
import torch
from fairseq import search
from helpers import SENTENCES, batch, dictionary, model, task, write_data

from fairseq_vae.bart.sampling import TRIES, SentenceSampling, draw_words
from fairseq_vae.base.errors import InputError
from fairseq_vae.flags.task import task_config
from fairseq_vae.task import VAEDenoisingTask

DRAWS = 20000


def draw(lprobs, **options):
    uniforms = torch.rand(len(lprobs), TRIES + 1, generator=torch.Generator().manual_seed(1))
    return draw_words(lprobs, uniforms, **options)


def frequencies(probs, **options):
    """Shares of each word among draws from one distribution."""
    drawn = draw(torch.tensor([probs]).log().expand(DRAWS, -1), **options)
    return torch.bincount(drawn, minlength=len(probs)).double() / DRAWS


def assert_shares(found, expected):
    assert found[expected == 0].eq(0).all(), found
    deviation = (expected * (1 - expected) / DRAWS).sqrt()
    assert ((found - expected).abs() <= 5 * deviation + 1e-12).all(), found


@pytest.mark.parametrize(
    "probs, topk, words",
    [([0.1, 0.5, 0.3, 0.1], -1, [0, 1, 2, 3]), ([0.1, 0.5, 0.3, 0.1], 2, [1, 2]), ([0.2, 0.0, 0.8], 9, [0, 2])],
)
def test_all_words_and_the_most_probable_ones(probs, topk, words):
    expected = torch.zeros(len(probs), dtype=torch.double)
    expected[words] = torch.tensor(probs).double()[words]
    assert_shares(frequencies(probs, topk=topk), expected / expected.sum())


@pytest.mark.parametrize(
    "probs, topp, nucleus",
    [
        ([0.1, 0.5, 0.3, 0.1], 0.79, [1, 2]),  # at 0.8 the rounding of a logarithm would decide
        ([0.1, 0.5, 0.3, 0.1], 0.499, [1]),
        ([0.1, 0.5, 0.3, 0.1], 0.51, [1, 2]),
        ([0.15, 0.5, 0.25, 0.1], 0.85, [0, 1, 2]),
        ([0.2, 0.5, 0.3, 0.0], 1.0, [0, 1, 2]),
        ([0.0, 1.0, 0.0], 0.9, [1]),
        ([0.1, 0.25, 0.05], 0.9, [0, 1, 2]),  # a forbidden end of sentence took the rest
        ([0.1, 0.5, 0.3, 0.1], 0.2, [1]),  # by a sort
        ([0.3, 0.1, 0.3, 0.3], 0.4, [0, 2]),
    ],
)
def test_the_nucleus_and_its_distribution(probs, topp, nucleus):
    expected = torch.zeros(len(probs), dtype=torch.double)
    expected[nucleus] = torch.tensor(probs).double()[nucleus]
    assert_shares(frequencies(probs, topp=topp), expected / expected.sum())


@pytest.mark.parametrize("topp", [0.3, 0.7])
def test_against_fairseqs_own_on_random_distributions(topp):
    logits = torch.randn(6, 40) * 2
    stock = search.Sampling(dictionary(), sampling_topp=topp)
    probs, indices = stock._sample_topp(logits.log_softmax(-1)[None])
    expected = torch.zeros(6, 40).scatter_(1, indices[0], probs[0])
    expected /= expected.sum(1, keepdim=True)
    drawn = draw(logits.log_softmax(-1).repeat_interleave(DRAWS, 0), topp=topp).view(6, DRAWS)
    found = torch.stack([torch.bincount(row, minlength=40) for row in drawn]) / DRAWS
    assert found[expected == 0].eq(0).all()
    assert (found - expected).abs().max() < 5 * (0.25 / DRAWS) ** 0.5


@pytest.mark.parametrize("beam", [1, 3])
def test_hypotheses_carry_their_log_probability(tmp_path, beam):
    built, sample = model(std=0.4), batch(SENTENCES)
    words = dictionary()
    whole = VAEDenoisingTask(task_config()(data=write_data(tmp_path), path=None, seed=1), words)
    options = Namespace(beam=beam, sampling=True, sampling_topp=0.8, max_len_a=0, max_len_b=12, unnormalized=True)
    generator = whole.build_generator([built], options)
    assert type(generator.search) is SentenceSampling
    for sentence, found in zip(SENTENCES, generator.generate([built], sample)):
        for hypothesis in found:
            net_input = batch([sentence])["net_input"]
            tokens = hypothesis["tokens"].tolist()
            net_input["prev_output_tokens"] = torch.tensor([[2, *tokens[:-1]]])
            with torch.no_grad():
                lprobs = built.get_normalized_probs(built(**net_input), log_probs=True)[0]
            expected = lprobs[range(len(tokens)), tokens]
            torch.testing.assert_close(hypothesis["positional_scores"], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"beam": 2}, {"diverse_beam_groups": 2, "beam": 2}])
def test_searches_are_left_alone(tmp_path, options):
    whole = VAEDenoisingTask(task_config()(data=write_data(tmp_path), path=None, seed=1), task().target_dictionary)
    generator = whole.build_generator([model()], Namespace(**options))
    assert type(generator.search) in (search.BeamSearch, search.DiverseBeamSearch)


@pytest.mark.parametrize("options", [{}, {"topk": 2}, {"topp": 0.9}, {"topp": 0.3}])
def test_a_row_whose_mass_underflows_has_its_one_word(options):
    """A forced end of sentence far below what exp can hold, as a low temperature makes it."""
    lprobs = torch.full((3, 10), -math.inf)
    lprobs[0, 2], lprobs[1, 2], lprobs[2] = -1000.0, -104.0, -3.0
    assert draw(lprobs, **options)[:2].tolist() == [2, 2]


@pytest.mark.parametrize("options", [{}, {"topk": 2}, {"topp": 0.9}, {"topp": 0.3}])
@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_a_row_without_a_word_is_named(options, value):
    lprobs = torch.zeros(3, 10).log_softmax(1)
    lprobs[1] = value
    with pytest.raises(ValueError, match="row 1 has no word"):
        draw(lprobs, **options)


def test_what_rejection_misses_is_sorted():
    """Uniforms that hit the tail in every attempt."""
    probs = torch.tensor([[0.6, 0.2, 0.2]])
    uniforms = torch.full((1, TRIES + 1), 0.9)
    assert draw_words(probs.log(), uniforms, topp=0.6).tolist() == [0]
    uniforms[:, TRIES - 1] = 0.1  # the last attempt hits
    assert draw_words(probs.log(), uniforms, topp=0.6).tolist() == [0]


def test_a_uniform_near_one_gives_a_word_that_can_come():
    probs = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    nearly = torch.full((1, TRIES + 1), 1 - 2**-24)
    for options in ({}, {"topk": 3}, {"topp": 0.9}, {"topp": 0.3}):
        assert draw_words(probs.log(), nearly, **options).item() in (0, 1)


def test_a_model_whose_numbers_are_not_finite_is_refused_by_its_sentence(tmp_path):
    built, sample = model(std=0.4), batch(SENTENCES)
    built.decoder.layers[0].fc1.weight.data[0, 0] = math.nan
    whole = VAEDenoisingTask(task_config()(data=write_data(tmp_path), path=None, seed=1), dictionary())
    generator = whole.build_generator([built], Namespace(sampling=True, sampling_topp=0.9, max_len_b=8))
    with pytest.raises(InputError, match="sentence 0: no word has a probability; the model's numbers are not finite"):
        generator.generate([built], sample)


METHODS = [{}, {"sampling_topk": 5}, {"sampling_topp": 0.9}, {"sampling_topp": 0.3}]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("beam", [1, 2])
def test_a_sentences_words_are_its_own(tmp_path, method, beam):
    """The same whatever batch the sentence is in, and others under another seed."""
    built, sample = model(std=0.4), batch(SENTENCES)
    whole = VAEDenoisingTask(task_config()(data=write_data(tmp_path), path=None, seed=1), dictionary())

    def words(rows, seed=1):
        generator = whole.build_generator([built], Namespace(beam=beam, sampling=True, max_len_b=9, **method))
        generator.search.seed = seed
        net_input = {key: value[rows] for key, value in sample["net_input"].items() if key != "prev_output_tokens"}
        found = generator.generate([built], {"id": torch.tensor(rows), "net_input": net_input})
        return {i: sorted(one["tokens"].tolist() for one in beams) for i, beams in zip(rows, found)}

    together = words([0, 1, 2, 3, 4])
    torch.manual_seed(99)
    assert words([3, 1]) == {i: together[i] for i in (3, 1)} and words([4]) == {4: together[4]}
    assert words([0, 1, 2, 3, 4], seed=2) != together
