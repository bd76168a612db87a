"""GELU without fairseq's copies in float32: the same numbers, in every layer."""

import pytest
import torch
from fairseq.modules import gelu as stock_gelu
from helpers import model

from fairseq_vae.bart.activation import gelu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_fairseqs(dtype):
    values = torch.cat((torch.linspace(-12, 12, 1001), torch.tensor([0.0, -1e4, 1e4])))
    found, expected = (values.to(dtype).requires_grad_() for _ in range(2))
    y, stock = gelu(found), stock_gelu(expected)
    assert y.dtype == dtype
    torch.testing.assert_close(y, stock)
    y.sum().backward()
    stock.sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("function, expected", [(gelu, torch.bfloat16), (stock_gelu, torch.float32)])
def test_no_copy_in_float32_is_kept_for_the_backward_pass(function, expected):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.dtype) or x, lambda x: x):
        function(torch.ones(4, dtype=torch.bfloat16, requires_grad=True))
    assert kept == [expected]


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_every_layer_has_it_where_gelu_is_the_activation(activation):
    built = model(activation_fn=activation)
    layers = [*built.encoder.layers, *built.decoder.layers]
    assert layers and all((layer.activation_fn is gelu) == (activation == "gelu") for layer in layers)
