"""Laws of the model, for each injection: rows do not see one another, and every way of decoding agrees."""

import dataclasses
from argparse import SUPPRESS, ArgumentParser, Namespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.bart.model import BARTModel, bart_base_architecture
from fairseq.sequence_generator import SequenceGenerator
from helpers import EVERY_INJECTION, SENTENCES, B, Z, batch, criterion, model, task

from fairseq_vae.bart.flags import latent_config
from fairseq_vae.base.errors import InputError
from fairseq_vae.criterion_flags import criterion_config
from fairseq_vae.latent.pooling import poolings
from fairseq_vae.model import BARTVAEModel, model_config
from fairseq_vae.task import task_config

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
every_injection = pytest.mark.parametrize("injection", EVERY_INJECTION)


def outputs(built, sample, **latent):
    """mu, logvar and the logits of real positions, row by row."""
    with torch.no_grad():
        logits, extra = built(**sample["net_input"], **latent)
    lengths = sample["target"].ne(1).sum(1)
    rows = [row[:length] for row, length in zip(logits, lengths)]
    return extra["posterior"], rows


def hypotheses(built, sample, beam=5):
    generator = SequenceGenerator([built], task().target_dictionary, beam_size=beam, max_len_b=12)
    results = generator.generate([built], sample)
    return [(best["tokens"].tolist(), best["score"].item()) for best, *_ in results]


@every_injection
@pytest.mark.parametrize("pooling", poolings.names())
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
def test_z_is_all_that_the_decoder_learns_of_the_source(injection):
    built = model(injection, std=0.3)
    z = torch.randn(B, Z)
    sample, other = batch(SENTENCES), batch(SENTENCES[::-1])
    with torch.no_grad():
        logits, extra = built(**sample["net_input"], z=z)
        prev_output_tokens = sample["net_input"]["prev_output_tokens"]
        swapped, _ = built(**{**other["net_input"], "prev_output_tokens": prev_output_tokens}, z=z)
        changed, _ = built(**sample["net_input"], z=z + 1)
    assert extra["posterior"] is None and swapped.equal(logits)
    assert (changed - logits).abs().amax((1, 2)).min() > 0.1


@every_injection
def test_a_hypothesis_alone_equals_the_one_in_a_batch(injection):
    built = model(injection, std=0.4)
    together = hypotheses(built, batch(SENTENCES))
    assert len({round(score, 3) for _, score in together}) == B
    for sentence, (tokens, score) in zip(SENTENCES, together):
        [(alone, alone_score)] = hypotheses(built, batch([sentence]))
        assert alone == tokens and alone_score == pytest.approx(score, abs=1e-4)


@every_injection
def test_a_hypothesis_score_is_its_teacher_forced_log_probability(injection):
    built = model(injection, std=0.4)
    sample = batch(SENTENCES)
    for (tokens, score), sentence in zip(hypotheses(built, sample), SENTENCES):
        net_input = batch([sentence])["net_input"]
        net_input["prev_output_tokens"] = torch.tensor([[2, *tokens[:-1]]])
        with torch.no_grad():
            lprobs = built.get_normalized_probs(built(**net_input), log_probs=True)[0]
        expected = lprobs[range(len(tokens)), tokens].mean().item()
        assert score == pytest.approx(expected, abs=1e-4)


def stepwise(built, encoder_out, tokens, state, start=0):
    steps = [
        built.decoder(tokens[:, : step + 1], encoder_out=encoder_out, incremental_state=state)[0]
        for step in range(start, tokens.size(1))
    ]
    return torch.cat(steps, dim=1)


@every_injection
@torch.no_grad()
def test_step_by_step_equals_teacher_forcing(injection):
    built = model(injection, std=0.3)
    sample = batch([SENTENCES[0], SENTENCES[0][::-1]])
    tokens = sample["net_input"]["prev_output_tokens"]
    encoder_out = built.encoder(sample["net_input"]["src_tokens"])
    torch.testing.assert_close(
        stepwise(built, encoder_out, tokens, {}), built.decoder(tokens, encoder_out=encoder_out)[0], **CLOSE
    )


@every_injection
@pytest.mark.parametrize("order", [[1, 0, 2, 2, 5, 4], [0, 0, 5, 4]], ids=["beams", "a sentence is finished"])
@torch.no_grad()
def test_reordering_beams_takes_each_rows_own_z_along(injection, order):
    built = model(injection, std=0.3)
    order = torch.tensor(order)
    z = torch.randn(3, Z).repeat_interleave(2, dim=0)  # three sentences, two beams each
    tokens = torch.randint(5, 20, (6, 6))
    encoder_out = built.encoder(tokens, z=z)
    state = {}
    stepwise(built, encoder_out, tokens[:, :3], state)
    built.decoder.reorder_incremental_state_scripting(state, order)
    encoder_out = built.encoder.reorder_encoder_out(encoder_out, order)
    moved = stepwise(built, encoder_out, tokens[order], state, start=3)
    fresh = built.decoder(tokens[order], encoder_out=built.encoder(tokens, z=z[order]))[0][:, 3:]
    torch.testing.assert_close(moved, fresh, **CLOSE)


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
    (nll + net_output[1]["posterior"].kl().sum()).backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        # a softmax over keys does not change when all of them move by the same bias
        assert parameter.grad.abs().max() > 0 or name.endswith("k_proj.bias"), name


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
def test_activation_checkpointing_changes_no_gradient(injection):
    gradients = []
    for checkpoint in (False, True):
        built = model(injection, std=0.3, checkpoint_activations=checkpoint).train()
        logits, _ = built(**batch(SENTENCES)["net_input"], eps=torch.ones(B, Z))
        logits.square().mean().backward()
        gradients.append([parameter.grad for parameter in built.parameters() if parameter.grad is not None])
    torch.testing.assert_close(*gradients)


@every_injection
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_posterior_in_float32(injection, dtype):
    built, sample = model(injection).to(dtype), batch(SENTENCES)
    logits, extra = built(**sample["net_input"], eps=torch.ones(B, Z))
    assert logits.dtype == dtype and extra["posterior"].mu.dtype == extra["vae"].z.dtype == torch.float32
    full, _ = model(injection)(**sample["net_input"], eps=torch.ones(B, Z))
    torch.testing.assert_close(logits.float(), full, atol=0.05, rtol=0.05)


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


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("bart_vae", (6, 768, 3072, 12)),
        ("bart_vae_base", (6, 768, 3072, 12)),
        ("bart_vae_large", (12, 1024, 4096, 16)),
        ("bart_vae_small", (4, 256, 1024, 4)),
        ("bart_vae_tiny", (2, 32, 128, 2)),
    ],
)
def test_architectures_have_their_sizes_and_give_way_to_flags(name, sizes):
    args = Namespace(decoder_layers=3)
    ARCH_CONFIG_REGISTRY[name](args)
    bart_base_architecture(args)  # as build_model does
    keys = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
    assert tuple(getattr(args, f"encoder_{key}") for key in keys) == sizes
    assert tuple(getattr(args, f"decoder_{key}") for key in keys) == (3, *sizes[1:])


def test_every_flag_of_bart_is_one_of_bart_vae():
    def flags(cls):
        parser = ArgumentParser(argument_default=SUPPRESS)
        cls.add_args(parser)
        return {action.dest for action in parser._actions} - {"help"}

    own = {field.name for field in dataclasses.fields(latent_config())} - {"_name"}
    assert flags(BARTVAEModel) == flags(BARTModel) | own
    assert {field.name for field in dataclasses.fields(model_config())} == flags(BARTVAEModel) | {"_name"}


@pytest.mark.parametrize("config", [latent_config(), task_config(), criterion_config()])
def test_every_flag_says_what_it_means_and_its_default(config):
    for field in dataclasses.fields(config):
        interpolated = isinstance(field.default, str) and field.default.startswith("${")
        if field.name in ("_name", "data", "reuse_dataloader") or interpolated:
            continue
        default = (
            {"deterministic_latent": "z is sampled"}.get(field.name, "off")
            if field.default is False
            else f"{field.default:g}"
            if field.type in (int, float)
            else field.default
        )
        assert field.metadata["help"].endswith(f"(default: {default})"), field.name


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"injection": "memory"}, "--latent-injection memory: expected"),
        ({"injection": "cross-attention", "no_cross_attention": True}, "leave out --no-cross-attention"),
        ({"cross_self_attention": True}, "--cross-self-attention"),
        ({"injection": "embedding", "decoder_layerdrop": 0.1}, "--decoder-layerdrop"),
        ({"latent_memory_slots": 0}, "--latent-memory-slots 0"),
    ],
)
def test_injections_that_the_architecture_lacks_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        model(**flags)
