"""Laws of the decoder, for each injection: what it learns of a sentence, and that every way of decoding agrees."""

import pytest
import torch
from helpers import EVERY_LATENT, GIVEN, SENTENCES, B, Z, batch, hypotheses, model

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
every_injection = pytest.mark.parametrize("injection", EVERY_LATENT)


@every_injection
def test_z_is_all_that_the_decoder_learns_of_the_sentence(injection):
    """Of the sentence that is to be said; a conditional model reads another one beside z."""
    built = model(injection, std=0.3)
    z = torch.randn(B, Z)
    sample, other = batch(SENTENCES), batch(SENTENCES[::-1])
    with torch.no_grad():
        logits, extra = built(**sample["net_input"], z=z)
        prev_output_tokens = sample["net_input"]["prev_output_tokens"]
        swapped, _ = built(**{**other["net_input"], "prev_output_tokens": prev_output_tokens}, z=z)
        changed, _ = built(**sample["net_input"], z=z + 1)
        read = [built.encoder(sample["net_input"]["src_tokens"], z=z, target=s["target"]) for s in (sample, other)]
    assert extra["posterior"] is None and read[0]["encoder_out"][0].equal(read[1]["encoder_out"][0])
    assert swapped.equal(logits) == (GIVEN not in injection)
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
            z = built.encoder(net_input["src_tokens"])["vae"].z
            lprobs = built.get_normalized_probs(built(**net_input, z=z), log_probs=True)[0]
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
    source, tokens = torch.randint(5, 20, (3, 7)).repeat_interleave(2, dim=0), torch.randint(5, 20, (6, 6))
    encoder_out = built.encoder(source, z=z)
    state = {}
    stepwise(built, encoder_out, tokens[:, :3], state)
    built.decoder.reorder_incremental_state_scripting(state, order)
    encoder_out = built.encoder.reorder_encoder_out(encoder_out, order)
    moved = stepwise(built, encoder_out, tokens[order], state, start=3)
    fresh = built.decoder(tokens[order], encoder_out=built.encoder(source[order], z=z[order]))[0][:, 3:]
    torch.testing.assert_close(moved, fresh, **CLOSE)
