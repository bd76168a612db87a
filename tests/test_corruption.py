from collections import Counter

import numpy as np
import pytest
import torch

from fairseq_vae.base.corruption import corrupted, corruptions
from fairseq_vae.base.stream import Purpose, stream

MASK = 99
SENTENCE = torch.arange(10, 21)  # ten words and the end


def corrupt(kind, ratio, index=0, epoch=1, tokens=SENTENCE):
    return corrupted(tokens, kind, ratio, MASK, stream(1, Purpose.SOURCE, epoch, index))


@pytest.mark.parametrize("kind", corruptions.names())
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_corruption_keeps_the_end_the_order_and_its_input(kind, ratio):
    for index in range(50):
        tokens = SENTENCE.clone()
        result = corrupt(kind, ratio, index, tokens=tokens)
        assert tokens.equal(SENTENCE) and result[-1] == SENTENCE[-1]
        kept = result[result != MASK]
        assert kept.equal(SENTENCE[torch.isin(SENTENCE, kept)])
        if kind == "none" or ratio == 0:
            assert result.equal(SENTENCE)


def test_deletion_takes_a_uniform_number_of_tokens_up_to_the_ratio():
    counts = Counter(len(SENTENCE) - len(corrupt("deletion", 0.35, index)) for index in range(4000))
    assert set(counts) == {0, 1, 2, 3}
    assert all(abs(count - 1000) < 120 for count in counts.values())  # four standard deviations


def test_most_deleted_tokens_are_the_floor_of_the_ratio_as_typed():
    """All lengths to 1,024 and all ratios of two digits, against integers."""

    class Most:
        """A stream that draws the largest number, and gives no permutation."""

        def integers(self, high):
            self.most = high - 1
            return 0

        def permutation(self, length):
            return np.arange(0)

    wrong, stream, tokens = [], Most(), torch.zeros(1024)
    for length in range(1025):
        for percent in range(101):
            corruptions["deletion"](tokens[:length], float(f"{percent / 100:.2f}"), MASK, stream)
            if stream.most != percent * length // 100:
                wrong.append((percent, length))
    assert not wrong


def test_every_token_is_deleted_alike():
    kept = Counter(token for index in range(4000) for token in corrupt("deletion", 0.4, index).tolist()[:-1])
    expected = 4000 * (1 - 2 / 10)
    assert all(abs(count - expected) < 110 for count in kept.values()) and len(kept) == 10


def test_masking_masks_the_ratio_of_tokens_and_keeps_the_length():
    results = torch.stack([corrupt("masking", 0.3, index) for index in range(2000)])
    assert (results == MASK).float().mean(0)[:-1].sub(0.3).abs().max() < 0.05
    assert (corrupt("masking", 1.0)[:-1] == MASK).all()


def test_an_unknown_corruption_is_refused():
    with pytest.raises(ValueError, match="unknown noise 'swap'"):
        corrupt("swap", 0.5)
