"""Laws of every registered pooling."""

import pytest
import torch

from fairseq_vae.latent.pooling import poolings

B, T, C = 4, 7, 8


def pool(hidden, mask, name, query=None):
    built = poolings[name](C, poolings.config(name, None))
    if query is not None and hasattr(built, "query"):
        built.query.data = query
    return built(hidden, mask).detach()


@pytest.mark.parametrize("how", poolings.names())
@pytest.mark.parametrize("left", [False, True])
def test_pooling_ignores_padding_and_neighbours(how, left):
    query = torch.randn(C)
    sentences = [torch.randn(length, C) for length in (7, 1, 4, 5)]
    hidden = torch.full((T, B, C), 1e4)
    mask = torch.ones(B, T, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        place = slice(T - len(sentence), T) if left else slice(0, len(sentence))
        hidden[place, row] = sentence
        mask[row, place] = False
    pooled = pool(hidden, mask, how, query)
    for row, sentence in enumerate(sentences):
        alone = pool(sentence[:, None], torch.zeros(1, len(sentence), dtype=torch.bool), how, query)[0]
        torch.testing.assert_close(pooled[row], alone)
        if how in FORMULAS:
            torch.testing.assert_close(alone, FORMULAS[how](sentence, query))


FORMULAS = {
    "mean": lambda sentence, query: sentence.mean(0),
    "max": lambda sentence, query: sentence.max(0).values,
    "first": lambda sentence, query: sentence[0],
    "attention": lambda sentence, query: (sentence @ query / C**0.5).softmax(0) @ sentence,
}


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="unknown pooling 'sum'"):
        poolings["sum"]


@pytest.mark.parametrize("how", poolings.names())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pooled_states_are_float32(how, dtype):
    built = poolings[how](C, poolings.config(how, None)).to(dtype)
    assert built(torch.randn(T, B, C).to(dtype), torch.zeros(B, T, dtype=torch.bool)).dtype == torch.float32
