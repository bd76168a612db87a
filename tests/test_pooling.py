"""Laws of every registered pooling."""

import pytest
import torch

from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.pooling import build_pooling, poolings

B, T, C = 4, 7, 8


def pool(hidden, mask, name, query=None, vectors=1):
    built = build_pooling(name, C, vectors=vectors)
    if query is not None and hasattr(built, "query"):
        built.query.data = query
    return built(hidden, mask).detach()


EVERY = [(how, vectors) for how in poolings.names() for vectors in (1, 3) if vectors == 1 or poolings[how].several]


@pytest.mark.parametrize("how, vectors", EVERY)
@pytest.mark.parametrize("left", [False, True])
def test_pooling_ignores_padding_and_neighbours(how, vectors, left):
    query = torch.randn(C) if vectors == 1 else torch.randn(vectors, C)
    sentences = [torch.randn(length, C) for length in (7, 1, 4, 5)]
    hidden = torch.full((T, B, C), 1e4)
    mask = torch.ones(B, T, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        place = slice(T - len(sentence), T) if left else slice(0, len(sentence))
        hidden[place, row] = sentence
        mask[row, place] = False
    pooled = pool(hidden, mask, how, query, vectors)
    for row, sentence in enumerate(sentences):
        alone = pool(sentence[:, None], torch.zeros(1, len(sentence), dtype=torch.bool), how, query, vectors)[0]
        torch.testing.assert_close(pooled[row], alone)
        if vectors > 1:
            for k in range(vectors):
                n = len(sentence)
                far = torch.tensor([(vectors * (t + 0.5) / n - (k + 0.5)) ** 2 for t in range(n)])
                weights = (sentence @ query[k] / C**0.5 - 8 * far).softmax(0)
                torch.testing.assert_close(alone[k], weights @ sentence)
        elif how in FORMULAS:
            torch.testing.assert_close(alone, FORMULAS[how](sentence, query))


FORMULAS = {
    "mean": lambda sentence, query: sentence.mean(0),
    "max": lambda sentence, query: sentence.max(0).values,
    "first": lambda sentence, query: sentence[0],
    "attention": lambda sentence, query: (sentence @ query / C**0.5).softmax(0) @ sentence,
}


@pytest.mark.parametrize("how", [how for how in poolings.names() if not poolings[how].several])
def test_one_vector_is_no_several(how):
    with pytest.raises(InputError, match=f"--latent-vectors 2 has no effect without .* attention: .*; {how} makes one"):
        build_pooling(how, C, vectors=2)


def test_of_as_many_vectors_as_tokens_each_reads_its_own():
    hidden, mask = torch.randn(4, 2, C), torch.zeros(2, 4, dtype=torch.bool)
    torch.testing.assert_close(pool(hidden, mask, "attention", vectors=4), hidden.transpose(0, 1), atol=3e-3, rtol=0)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="unknown pooling 'sum'"):
        poolings["sum"]


@pytest.mark.parametrize("how", poolings.names())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pooled_states_are_float32(how, dtype):
    built = poolings[how](C, poolings.config(how, None)).to(dtype)
    assert built(torch.randn(T, B, C).to(dtype), torch.zeros(B, T, dtype=torch.bool)).dtype == torch.float32
