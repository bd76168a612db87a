from collections import Counter

import numpy as np
import pytest
import torch

from fairseq_vae.base.corruption import NOISES, noised
from fairseq_vae.base.stream import Draw, sentence_generator, standard_normal

MASK = 99
SENTENCE = torch.arange(10, 21)  # ten words and the end


def noise(kind, ratio, index=0, epoch=1, tokens=SENTENCE):
    return noised(tokens, kind, ratio, MASK, sentence_generator(1, Draw.SOURCE, epoch, index))


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_noise_keeps_the_end_the_order_and_its_input(kind, ratio):
    for index in range(50):
        tokens = SENTENCE.clone()
        result = noise(kind, ratio, index, tokens=tokens)
        assert tokens.equal(SENTENCE) and result[-1] == SENTENCE[-1]
        kept = result[result != MASK]
        assert kept.equal(SENTENCE[torch.isin(SENTENCE, kept)])
        if kind == "none" or ratio == 0:
            assert result.equal(SENTENCE)


def test_deletion_takes_a_uniform_number_of_tokens_up_to_the_ratio():
    counts = Counter(len(SENTENCE) - len(noise("deletion", 0.35, index)) for index in range(4000))
    assert set(counts) == {0, 1, 2, 3}
    assert all(abs(count - 1000) < 120 for count in counts.values())  # four standard deviations


def test_every_token_is_deleted_alike():
    kept = Counter(token for index in range(4000) for token in noise("deletion", 0.4, index).tolist()[:-1])
    expected = 4000 * (1 - 2 / 10)
    assert all(abs(count - expected) < 110 for count in kept.values()) and len(kept) == 10


def test_masking_masks_the_ratio_of_tokens_and_keeps_the_length():
    results = torch.stack([noise("masking", 0.3, index) for index in range(2000)])
    assert (results == MASK).float().mean(0)[:-1].sub(0.3).abs().max() < 0.05
    assert (noise("masking", 1.0)[:-1] == MASK).all()


def test_unknown_noise_is_refused():
    with pytest.raises(ValueError, match="unknown noise 'swap'"):
        noise("swap", 0.5)


def test_noise_depends_on_seed_epoch_and_index_only():
    def draw(seed, purpose, when, index):
        return tuple(sentence_generator(seed, purpose, when, index).integers(1 << 62, size=4))

    keys = [(1, 0, 1, 1), (2, 0, 1, 1), (1, 1, 1, 1), (1, 0, 2, 1), (1, 0, 1, 2)]
    draws = [draw(*key) for key in keys]
    assert len(set(draws)) == len(keys)
    np.random.seed(5)
    assert [draw(*key) for key in reversed(keys)] == draws[::-1]


def test_normal_rows_belong_to_their_sentence():
    rows = standard_normal(1, Draw.TRAINING, 7, [3, 1, 2], 4)
    alone = [standard_normal(1, Draw.TRAINING, 7, [index], 4)[0] for index in (3, 1, 2)]
    assert rows.equal(torch.stack(alone)) and rows.dtype == torch.float32


def test_normal_rows_are_standard_normal_and_independent():
    rows = standard_normal(1, Draw.GENERATION, 0, range(20000), 3)
    assert rows.mean(0).abs().max() < 0.03
    torch.testing.assert_close(torch.cov(rows.T), torch.eye(3), atol=0.04, rtol=0)
    assert np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1] == pytest.approx(0, abs=0.03)
