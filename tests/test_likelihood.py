"""The loss without logits against the plain formula, in every precision and on every path."""

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

from fairseq_vae.objective import likelihood
from fairseq_vae.objective.likelihood import ChunkedNLL, nll_each, nll_sum, smoothing

N, C, V = 37, 8, 50


@pytest.fixture
def inputs():
    return torch.randn(N, C), torch.randn(V, C), torch.randint(V, (N,))


def chunked(hidden, weight, target, rows):
    return ChunkedNLL.apply(hidden, weight, target, rows, torch.is_grad_enabled())


def leaves(*tensors, dtype=torch.float32):
    return [tensor.detach().to(dtype).clone().requires_grad_() for tensor in tensors]


def gradients(loss, hidden, weight):
    return loss, *torch.autograd.grad(loss * 3, (hidden, weight))  # a factor: what divides the loss comes later


@pytest.mark.parametrize("function", [nll_sum, chunked])
@pytest.mark.parametrize("rows", [1, 7, N, 100])
def test_value_and_gradients_are_those_of_cross_entropy(inputs, function, rows):
    hidden, weight = leaves(*inputs[:2])
    expected = gradients(F.cross_entropy(hidden @ weight.T, inputs[2], reduction="sum"), hidden, weight)
    found = gradients(function(hidden, weight, inputs[2], rows), hidden, weight)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("function", [nll_sum, chunked])
def test_what_needs_no_gradient_gets_none(inputs, function):
    for needed in (0, 1):
        tensors = [*inputs[:2]]
        tensors[needed] = tensors[needed].clone().requires_grad_()
        loss = function(*tensors, inputs[2], 10)
        loss.backward()
        assert tensors[needed].grad.abs().sum() > 0 and tensors[1 - needed].grad is None
    hidden, weight = leaves(*inputs[:2])
    with torch.no_grad():
        assert not function(hidden, weight, inputs[2], 10).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(inputs, dtype):
    hidden, weight = leaves(*inputs[:2], dtype=dtype)
    loss, *found = gradients(nll_sum(hidden, weight, inputs[2], 10), hidden, weight)
    assert loss.dtype == torch.float32 and all(grad.dtype == dtype for grad in found)
    exact = leaves(hidden, weight)
    expected, *rest = gradients(F.cross_entropy(exact[0] @ exact[1].T, inputs[2], reduction="sum"), *exact)
    torch.testing.assert_close(loss, expected, rtol=5e-3, atol=0)
    for grad, right in zip(found, rest):
        assert (grad.float() - right).norm() < 0.02 * right.norm()


def test_loss_scaling_beyond_float16_does_not_overflow(inputs):
    hidden, weight = leaves(*inputs[:2], dtype=torch.float16)
    scale = 2.0**17  # more than float16's largest number
    grad, _ = torch.autograd.grad(nll_sum(hidden, weight * 1e-3, inputs[2]) * scale, (hidden, weight))
    assert grad.isfinite().all() and grad.abs().max() > 0


def test_autocast_takes_products_in_its_precision_and_gradients_in_the_weights(inputs):
    hidden, weight = leaves(*inputs[:2])
    with torch.autocast("cpu", torch.bfloat16):
        loss, *found = gradients(nll_sum(hidden, weight, inputs[2]), hidden, weight)
    half = leaves(*inputs[:2], dtype=torch.bfloat16)
    expected, *rest = gradients(nll_sum(*half, inputs[2]), *half)
    assert loss.dtype == torch.float32 and loss.equal(expected)
    for grad, right in zip(found, rest):
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, right.float())


def test_no_token_at_all_costs_nothing(inputs):
    hidden, weight = leaves(inputs[0][:0], inputs[1])
    loss, *grads = gradients(nll_sum(hidden, weight, inputs[2][:0]), hidden, weight)
    assert loss == 0 and all(grad.eq(0).all() for grad in grads)
    assert nll_each(hidden, weight, inputs[2][:0]).shape == (0,)


def test_a_second_backward_pass_is_an_error(inputs):
    hidden, weight = leaves(*inputs[:2])
    loss = chunked(hidden, weight, inputs[2], 10)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        loss.backward()


def test_without_torchs_own_loss_the_value_is_the_same(inputs, monkeypatch):
    hidden, weight = leaves(*inputs[:2])
    expected = gradients(nll_sum(hidden, weight, inputs[2]), hidden, weight)
    monkeypatch.delattr(likelihood.F, "linear_cross_entropy", raising=False)
    torch.testing.assert_close(gradients(nll_sum(hidden, weight, inputs[2]), hidden, weight), expected)


@pytest.mark.parametrize("rows", [5, 100])
def test_each_tokens_nll(inputs, rows):
    hidden, weight, target = inputs
    expected = F.cross_entropy(hidden @ weight.T, target, reduction="none")
    torch.testing.assert_close(nll_each(hidden, weight, target, rows), expected)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
def test_smoothing_completes_fairseqs_smoothed_loss(inputs, epsilon):
    hidden, weight = leaves(*inputs[:2])
    lprobs = (hidden @ weight.T).log_softmax(-1)
    expected = gradients(label_smoothed_nll_loss(lprobs, inputs[2], epsilon)[0], hidden, weight)
    loss = nll_sum(hidden, weight, inputs[2]) + smoothing(hidden, weight, inputs[2], epsilon)
    torch.testing.assert_close(gradients(loss, hidden, weight), expected, rtol=1e-4, atol=1e-4)
