import pytest
import torch
from fairseq.modules import FairseqDropout
from helpers import SENTENCES, batch, model

from fairseq_vae.bart.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 2**-16])
def test_a_share_p_is_dropped_and_the_rest_scaled(p):
    x = torch.ones(1 << 20)
    y = dropout(x, p)
    kept = y[y != 0]
    deviation = (p * (1 - p) / len(x)) ** 0.5
    assert abs((y == 0).double().mean() - p) < 5 * deviation + 2**-17
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4, atol=0)


@pytest.mark.parametrize("size", [(), (0,), (1,), (3, 5), (2, 3, 7)])
def test_any_shape(size):
    assert dropout(torch.ones(size), 0.5).shape == size


def test_neighbours_are_independent():
    """Four decisions share a random number: no pair of them may agree more often than chance."""
    kept = dropout(torch.ones(1 << 18, 4), 0.5).ne(0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 5 / (1 << 9)


def test_ends():
    x = torch.randn(10)
    assert dropout(x, 0.0) is x and dropout(x, 1.0).eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_pass_where_values_do(dtype):
    x = torch.randn(1000, dtype=dtype).abs().add(1).requires_grad_()
    y = dropout(x, 0.3)
    y.sum().backward()
    assert y.dtype == dtype and x.grad.ne(0).equal(y.ne(0))
    assert len(x.grad.unique()) == 2


def test_torchs_seed_decides():
    x = torch.ones(1000)
    torch.manual_seed(3)
    first = dropout(x, 0.3)
    assert not dropout(x, 0.3).equal(first)
    torch.manual_seed(3)
    assert dropout(x, 0.3).equal(first)


def test_the_model_has_no_other_and_drops_in_training_alone():
    built = model(dropout=0.5, std=0.3)
    modules = [module for module in built.modules() if isinstance(module, FairseqDropout)]
    assert modules and all(type(module) is Dropout for module in modules)
    sample, z = batch(SENTENCES), torch.zeros(len(SENTENCES), 6)
    still = [built(**sample["net_input"], z=z)[0] for _ in range(2)]
    built.train()
    moving = [built(**sample["net_input"], z=z)[0] for _ in range(2)]
    assert still[0].equal(still[1]) and not moving[0].equal(moving[1])
    built.eval()
    for module in modules:  # fairseq's --retain-dropout
        module.make_generation_fast_("", retain_dropout=True)
    assert not built(**sample["net_input"], z=z)[0].equal(still[0])
