"""The encoder: its choice of z, and its precision."""

import pytest
import torch
from helpers import EVERY_LATENT, SENTENCES, B, Z, batch, model, outputs

every_injection = pytest.mark.parametrize("injection", EVERY_LATENT)


def test_which_z():
    built, sample = model(std=0.3), batch(SENTENCES)
    eps = torch.randn(B, Z)

    def z(net_input=sample["net_input"], **latent):
        return built(**net_input, **latent)[1]["vae"].z

    posterior = outputs(built, sample)[0]
    torch.testing.assert_close(z(), posterior.mu)
    torch.testing.assert_close(z(eps=eps), posterior.rsample(eps))
    assert z(z=eps) is eps
    built.train()
    assert not z().equal(z())  # sampled
    built.encoder.deterministic_latent = True
    torch.testing.assert_close(z(), posterior.mu)


@every_injection
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_posterior_in_float32(injection, dtype):
    built, sample = model(injection).to(dtype), batch(SENTENCES)
    logits, extra = built(**sample["net_input"], eps=torch.ones(B, Z))
    assert logits.dtype == dtype and extra["posterior"].mu.dtype == extra["vae"].z.dtype == torch.float32
    full, _ = model(injection)(**sample["net_input"], eps=torch.ones(B, Z))
    torch.testing.assert_close(logits.float(), full, atol=0.05, rtol=0.05)
