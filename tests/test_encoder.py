"""The encoder: its choice of z, and its precision."""

import pytest
import torch
from helpers import EVERY_LATENT, GIVEN, SENTENCES, SMALL, B, Z, batch, model, outputs

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


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"latent_prior": "vamp", **SMALL["vamp"]},
        *({"target_encoder": copy, "target_encoder_layers": 1} for copy in ("shared", "copy")),
    ],
)
def test_padding_up_to_the_positions_that_a_pooling_reads_changes_nothing_of_ours(flags):
    """All poolings of this package leave padding out; see tests/test_defects.py for those that do not."""
    built = model(f"self-attention{GIVEN if 'target_encoder' in flags else ''}", std=0.3, **flags)
    sample = batch(SENTENCES)
    tokens, target = sample["net_input"]["src_tokens"], sample["target"]

    def found():
        posterior, prior = built.encoder.distributions(tokens, target=target)
        return posterior.mu, posterior.logvar, prior.log_prob(torch.ones(B, Z))

    before = found()
    built.encoder.pooled_positions = 20
    assert built.encoder.states(tokens)[0].shape[:2] == (20, B)
    torch.testing.assert_close(found(), before)
