import numpy as np
import pytest
import torch

from fairseq_vae.base.stream import Purpose, standard_normal, stream


def test_streams_depend_on_seed_epoch_and_index_only():
    def draw(seed, purpose, when, index):
        return tuple(stream(seed, purpose, when, index).integers(1 << 62, size=4))

    keys = [(1, 0, 1, 1), (2, 0, 1, 1), (1, 1, 1, 1), (1, 0, 2, 1), (1, 0, 1, 2)]
    draws = [draw(*key) for key in keys]
    assert len(set(draws)) == len(keys)
    np.random.seed(5)
    assert [draw(*key) for key in reversed(keys)] == draws[::-1]


def test_normal_rows_belong_to_their_sentence():
    rows = standard_normal(1, Purpose.TRAINING, 7, [3, 1, 2], 4)
    alone = [standard_normal(1, Purpose.TRAINING, 7, [index], 4)[0] for index in (3, 1, 2)]
    assert rows.equal(torch.stack(alone)) and rows.dtype == torch.float32


def test_normal_rows_are_standard_normal_and_independent():
    rows = standard_normal(1, Purpose.GENERATION, 0, range(20000), 3)
    assert rows.mean(0).abs().max() < 0.03
    torch.testing.assert_close(torch.cov(rows.T), torch.eye(3), atol=0.04, rtol=0)
    assert np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1] == pytest.approx(0, abs=0.03)
