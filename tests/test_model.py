"""Laws of the model, for each injection: rows do not see one another, gradients reach all that is not frozen."""

from argparse import Namespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.bart.model import bart_base_architecture
from helpers import (
    EVERY_INJECTION,
    EVERY_LATENT,
    SENTENCES,
    B,
    Z,
    abreast,
    batch,
    criterion,
    hypotheses,
    model,
    outputs,
)

from fairseq_vae.latent.pooling import poolings
from fairseq_vae.latent.slots import LatentSlots

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
every_injection = pytest.mark.parametrize("injection", EVERY_LATENT)


@pytest.mark.parametrize(
    "injection, pooling",
    [(name, how) for name in EVERY_LATENT for how in poolings.names() if " x " not in name or poolings[how].several],
)
def test_a_row_depends_on_its_own_sentence_alone(injection, pooling):
    built = model(injection, std=0.3, latent_pooling=pooling)
    posterior, logits = outputs(built, batch(SENTENCES))
    order = [3, 0, 4, 1, 2]
    variants = {
        "permuted": (batch([SENTENCES[i] for i in order]), order),
        "dropped": (batch([SENTENCES[i] for i in (1, 3)]), (1, 3)),
        "alone": (batch([SENTENCES[1]]), (1,)),
        "padded": (batch(SENTENCES, extra_padding=4), range(B)),
        "padded on the left": (batch(SENTENCES, left_pad=True, extra_padding=2), range(B)),
    }
    for what, (sample, rows) in variants.items():
        other, other_logits = outputs(built, sample)
        for i, row in enumerate(rows):
            torch.testing.assert_close(other.mu[i], posterior.mu[row], **CLOSE, msg=what)
            torch.testing.assert_close(other.logvar[i], posterior.logvar[row], **CLOSE, msg=what)
            torch.testing.assert_close(other_logits[i], logits[row], **CLOSE, msg=what)


@every_injection
def test_a_generator_with_a_beam_leaves_later_calls_right(injection):
    built = model(injection, std=0.4)
    sample = batch(SENTENCES)
    before, logits = hypotheses(built, sample, beam=1), outputs(built, sample)[1]
    hypotheses(built, sample, beam=5)
    assert hypotheses(built, sample, beam=1) == before
    for row, expected in zip(outputs(built, sample)[1], logits):
        assert row.equal(expected)


@every_injection
def test_every_parameter_gets_a_gradient(injection):
    built = model(injection, std=0.3, latent_pooling="attention").train()
    sample = batch(SENTENCES)
    net_output = built(**sample["net_input"], eps=torch.randn(B, Z))
    lprobs = built.get_normalized_probs(net_output, log_probs=True)
    nll = torch.nn.functional.nll_loss(lprobs.flatten(0, 1), sample["target"].flatten(), ignore_index=1)
    (nll + net_output[1]["posterior"].kl(net_output[1]["vae"].prior).sum()).backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        # a softmax over keys does not change when all of them move by the same bias
        assert parameter.grad.abs().max() > 0 or name.endswith("k_proj.bias"), name


@pytest.mark.parametrize("injection, pooling", abreast(EVERY_INJECTION, poolings.names()))
def test_one_vector_is_the_model_of_a_single_z_to_the_bit(monkeypatch, injection, pooling):
    """Beside affine maps and slots that know nothing of vectors, whatever `blockwise` is: equal loss and gradients."""
    built = model(injection, std=0.3, latent_pooling=pooling, latent_vectors=1).train()

    def learned():
        built.zero_grad()
        torch.manual_seed(1)
        loss, *_ = criterion()(built, batch(SENTENCES))
        loss.backward()
        return [loss, *(parameter.grad for parameter in built.parameters() if parameter.grad is not None)]

    found = learned()

    def slots(self, z):
        return self.project(z).view(len(z), self.slots, -1).transpose(0, 1)

    monkeypatch.setattr(LatentSlots, "forward", slots)
    monkeypatch.setattr("fairseq_vae.latent.posterior.blockwise", torch.nn.functional.linear)
    plain = learned()
    assert len(found) == len(plain) > 20 and all(map(torch.equal, found, plain))


def one_update(built):
    """The names of the parameters that a step of plain gradient descent on a batch changes, and all as they were."""
    before = {name: parameter.detach().clone() for name, parameter in built.named_parameters()}
    built.train()
    loss, *_ = criterion()(built, batch(SENTENCES))
    loss.backward()
    optimizer = torch.optim.SGD([parameter for parameter in built.parameters() if parameter.requires_grad], lr=1.0)
    optimizer.step()
    return {name for name, parameter in built.named_parameters() if not parameter.equal(before[name])}, before


@every_injection
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("embeddings", [True, False])
def test_what_is_frozen_is_the_pretrained_decoder_and_nothing_else(injection, share, embeddings):
    flags = {"share_all_embeddings": share, "share_decoder_input_output_embed": True}
    built = model(injection, std=0.3, freeze_decoder=True, freeze_embeddings=embeddings, **flags)
    changed, before = one_update(built)
    frozen = {name for name in before if name.startswith("decoder.")}
    if share:
        frozen = {name for name in frozen if "embed_tokens" not in name}
    if embeddings:
        frozen |= {name for name in before if "embed_tokens" in name}
    assert frozen and not changed & frozen
    unmoved = set(before) - frozen - changed
    assert all(name.endswith("k_proj.bias") for name in unmoved), unmoved  # softmax does not see them
    assert all(name in changed for name in before if name.startswith(("encoder.posterior", "encoder.memory")))


def test_a_frozen_decoder_is_in_evaluation_mode_and_the_rest_trains():
    built = model(freeze_decoder=True, dropout=0.5, std=0.3)
    assert built.train() is built and built.training and built.encoder.training
    assert not any(module.training for module in built.decoder.modules())
    built.eval()
    assert not any(module.training for module in built.modules())
    built.train()
    sample, z = batch(SENTENCES), torch.randn(len(SENTENCES), Z)
    first, second = (built(**sample["net_input"], z=z)[0] for _ in range(2))
    assert first.equal(second), "dropout is off behind a given z"
    free = model(dropout=0.5, std=0.3).train()
    assert not free(**sample["net_input"], z=z)[0].equal(free(**sample["net_input"], z=z)[0])


def test_zero_latent_is_a_plain_language_model():
    built = model(std=0.3, zero_latent=True)
    sample = batch(SENTENCES)
    with torch.no_grad():
        logits, extra = built(**sample["net_input"], eps=torch.randn(len(SENTENCES), Z))
        given, _ = built(**sample["net_input"], z=torch.randn(len(SENTENCES), Z))
        other = {**sample["net_input"], "src_tokens": sample["net_input"]["src_tokens"].flip(0)}
        unseen, _ = built(**other)
    assert logits.equal(given) and logits.equal(unseen), "neither z nor the source reach the decoder"
    assert extra["posterior"].kl().eq(0).all() and extra["vae"].z.eq(0).all()
    changed, _ = one_update(built)
    assert "encoder.memory.project.bias" in changed and not any("encoder.layers" in name for name in changed)


@pytest.mark.parametrize("arch", ["bart_vae", "bart_cvae"])
@pytest.mark.parametrize(
    "size, sizes",
    [
        ("", (6, 768, 3072, 12)),
        ("_base", (6, 768, 3072, 12)),
        ("_large", (12, 1024, 4096, 16)),
        ("_small", (4, 256, 1024, 4)),
        ("_tiny", (2, 32, 128, 2)),
    ],
)
def test_architectures_have_their_sizes_and_give_way_to_flags(arch, size, sizes):
    args = Namespace(decoder_layers=3)
    ARCH_CONFIG_REGISTRY[f"{arch}{size}"](args)
    bart_base_architecture(args)  # as build_model does
    keys = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
    assert tuple(getattr(args, f"encoder_{key}") for key in keys) == sizes
    assert tuple(getattr(args, f"decoder_{key}") for key in keys) == (3, *sizes[1:])
