import logging

import pytest
import torch
from helpers import EVERY_LATENT, SENTENCES, batch, criterion, model

from fairseq_vae.base import precision


@pytest.fixture
def machine(monkeypatch):
    """Sets what the processor has."""

    def has(**capabilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        precision.bfloat16_works.cache_clear()

    yield has
    precision.bfloat16_works.cache_clear()


def loss_and_gradients(built):
    built.zero_grad()
    loss, _, log = criterion()(built, batch(SENTENCES))
    loss.backward()
    return loss, log, {name: p.grad.clone() for name, p in built.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("injection", EVERY_LATENT)
def test_products_in_bfloat16_everything_else_in_float32(injection, machine):
    machine(avx512_bf16=True)
    full, half = model(injection, std=0.2).train(), model(injection, std=0.2, autocast_bf16=True).train()
    expected, _, right = loss_and_gradients(full)
    loss, log, gradients = loss_and_gradients(half)
    assert loss.dtype == log["rec"].dtype == log["kl"].dtype == torch.float32
    assert loss != expected, "the switch does nothing"
    torch.testing.assert_close(loss, expected, rtol=5e-3, atol=0)
    flat, flat_right = (torch.cat([g[name].flatten() for name in right]) for g in (gradients, right))
    assert flat.dtype == torch.float32 and (flat - flat_right).norm() < 0.05 * flat_right.norm()
    sample = batch(SENTENCES)
    _, extra = half(**sample["net_input"], eps=torch.zeros(len(SENTENCES), 6))
    assert extra["posterior"].mu.dtype == extra["posterior"].logvar.dtype == extra["vae"].z.dtype == torch.float32
    for key in ("mu", "logvar"):
        exact = getattr(full(**sample["net_input"], eps=torch.zeros(len(SENTENCES), 6))[1]["posterior"], key)
        torch.testing.assert_close(getattr(extra["posterior"], key), exact, atol=0.05, rtol=0.05)


@pytest.mark.skipif(not hasattr(torch.nn, "attention"), reason="torch before 2.3 has no choice of kernels")
@pytest.mark.parametrize("width, plain", [(8, True), (300, False)])
def test_short_sentences_attend_by_plain_products(width, plain, machine):
    """torch's fused attention on a CPU takes its gradient in bfloat16 more slowly; longer ones keep it, for memory."""
    machine(avx512_bf16=True)
    built, tokens = model(autocast_bf16=True).train(), torch.ones(2, width)
    with built.autocast(tokens[:, :3], tokens):
        assert torch.backends.cuda.flash_sdp_enabled() is not plain
        attended = torch.nn.functional.scaled_dot_product_attention(*[torch.randn(2, 2, 3, 4).bfloat16()] * 3)
    assert torch.backends.cuda.flash_sdp_enabled() and attended.dtype == torch.bfloat16
    with built.autocast(tokens, None):  # for a classification head
        assert torch.backends.cuda.flash_sdp_enabled() is not plain
    with built.eval().autocast(tokens, tokens):
        assert torch.backends.cuda.flash_sdp_enabled()


def test_validation_is_float32_to_the_bit(machine):
    machine(amx_bf16=True)
    sample = batch(SENTENCES)
    logs = [criterion()(model(std=0.3, autocast_bf16=flag), sample)[2] for flag in (False, True)]
    assert logs[0]["rec"].equal(logs[1]["rec"]) and logs[0]["kl"].equal(logs[1]["kl"])


def test_a_machine_without_bfloat16_says_so_once_and_trains_in_float32(machine, caplog):
    machine(avx512_bf16=False, amx_bf16=False)
    with caplog.at_level(logging.WARNING):
        loss, _, _ = loss_and_gradients(model(std=0.3, autocast_bf16=True).train())
        loss_and_gradients(model(std=0.3, autocast_bf16=True).train())
    assert loss.equal(loss_and_gradients(model(std=0.3).train())[0])
    [line] = [record.getMessage() for record in caplog.records if "bf16" in record.getMessage()]
    assert line.startswith("--autocast-bf16 has no effect: this processor has neither AMX nor AVX-512 BF16")


@pytest.mark.parametrize("device, reason", [("xpu", "untested on xpu"), ("cuda", "no bfloat16")])
def test_other_devices(device, reason, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert reason in precision.bfloat16_lack(device)


def test_a_torch_that_does_not_tell_is_not_trusted(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert "does not tell" in precision.bfloat16_lack("cpu")
