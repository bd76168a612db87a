"""examples/reproduce/defects, parts from outside the package that do what Park & Lee's released code does."""

import math
from pathlib import Path

import finetuning
import pytest
import torch
from helpers import SENTENCES, B, Z, batch, criterion, hypotheses, model, outputs, plugged, rates
from torch.nn.functional import cross_entropy

from fairseq_vae.base.errors import InputError
from fairseq_vae.finetune.curve import Curve
from fairseq_vae.finetune.study import read_study
from fairseq_vae.latent.injection import injections
from fairseq_vae.latent.pooling import build_pooling

FOLDER = Path(__file__).parent.parent / "examples/reproduce"
USER_DIR, STUDY = FOLDER / "defects", FOLDER / "defects.yaml"
SCRAMBLED = "self-attention-scrambled"
LONGEST = max(map(len, SENTENCES)) + 2  # tokens, with <s> and </s>
POSITIONS = 20


@pytest.fixture(scope="module", autouse=True)
def module():
    """The example, registered for these tests alone."""
    with plugged(USER_DIR) as module:
        yield module


@pytest.mark.parametrize("how", ["mean", "max"])
def test_every_position_is_pooled_whatever_the_batch(how):
    """Of a sentence of n tokens that is P - n states of padding, made of the sentence and all alike: BART gives padding
    one position."""
    built = model(std=0.3, latent_pooling=f"{how}-with-pads", pooled_positions=POSITIONS)
    mu = outputs(built, batch(SENTENCES))[0].mu
    for row, sentence in enumerate(SENTENCES):
        alone = batch([sentence], extra_padding=3)
        tokens = alone["net_input"]["src_tokens"]
        n = int(tokens.ne(1).sum())
        torch.testing.assert_close(outputs(built, alone)[0].mu[0], mu[row])
        states = model(std=0.3).encoder.states(tokens)[0][:, 0]  # n + 3 x C, of the stock encoder
        real, padding = states[:n], states[n:]
        torch.testing.assert_close(padding, padding[:1].expand(3, -1))
        assert (padding[0] - real.mean(0)).abs().max() > 0.1, "it is not nothing"
        mean = (real.sum(0) + (POSITIONS - n) * padding[0]) / POSITIONS
        pooled = {"mean": mean, "max": states.amax(0)}[how]
        torch.testing.assert_close(mu[row], built.encoder.posterior.mu(pooled))


@pytest.mark.parametrize("how", ["mean", "max"])
def test_a_sentence_that_fills_its_positions_is_pooled_right_and_others_by_their_number(how):
    sample, longest = batch(SENTENCES), [len(sentence) + 2 == LONGEST for sentence in SENTENCES]
    right = outputs(model(std=0.3, latent_pooling=how), sample)[0].mu
    narrow, wide = (
        outputs(model(std=0.3, latent_pooling=f"{how}-with-pads", pooled_positions=positions), sample)[0].mu
        for positions in (LONGEST, POSITIONS)
    )

    def changed(one, other):
        return (one - other).abs().amax(1) > 1e-3

    if how == "mean":
        torch.testing.assert_close(narrow[longest], right[longest])
        assert changed(narrow, right).logical_not().tolist() == longest
        assert changed(wide, right).all() and changed(wide, narrow).all()
    else:
        assert narrow[longest].equal(right[longest]) and changed(narrow, right).any()
        others = [not whole for whole in longest]
        torch.testing.assert_close(wide[others], narrow[others])  # one state of padding is as many


def test_pooled_states_are_float32_and_a_longer_sentence_is_refused():
    sample = batch(SENTENCES)
    for how in ("mean-with-pads", "max-with-pads"):
        assert build_pooling(how, 4)(torch.randn(256, 3, 4).half(), torch.zeros(3, 256).bool()).dtype == torch.float32
        short = model(latent_pooling=how, pooled_positions=LONGEST - 1)
        with pytest.raises(InputError, match=f"^--pooled-positions {LONGEST - 1}: a sentence has {LONGEST} tokens"):
            outputs(short, sample)


@pytest.mark.parametrize("rows, layers", [(1, 6), (2, 2), (5, 2), (5, 3), (6, 4), (128, 6), (125, 6), (126, 6)])
def test_slots_are_theirs_and_few_keep_their_sentence(rows, layers):
    heads, width = 2, 3
    made = torch.arange(rows * layers).repeat_interleave(heads * width).view(rows, -1)  # B x LHD, as z's projection
    past = made.reshape(layers, rows, heads, 1, width)  # their build_past
    slots = made.view(rows, layers, -1).transpose(0, 1)  # M x B x C
    injection = injections[SCRAMBLED](layers, slots=1)
    found = torch.stack([injection.keys_values(slots, layer)[0] for layer in range(layers)])  # L x B x C
    assert found.equal(past.flatten(2))
    owner, place = found[..., 0] // layers, found[..., 0] % layers  # L x B
    own = owner.eq(torch.arange(rows))
    right = own & place.eq(torch.arange(layers)[:, None])
    assert own.sum() == layers - 1 + math.gcd(rows, layers - 1)
    assert right.sum() == 1 + math.gcd(rows - 1, layers - 1)
    if (rows, layers) == (128, 6):
        assert (own.sum(), right.sum(), own.numel()) == (6, 2, 768)


def test_slots_of_a_layer_stay_together():
    slots = torch.arange(2 * 3 * 2).view(3, 4).t()[:, :, None]  # 2 layers of 2 slots, 3 rows: row b has 4b to 4b + 3
    found = [injections[SCRAMBLED](2, slots=2).keys_values(slots, layer)[..., 0].t().tolist() for layer in range(2)]
    assert found == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]


def test_alone_a_sentence_is_decoded_right():
    """As theirs, whose text was generated sentence by sentence."""
    right, scrambled = model(std=0.3), model(SCRAMBLED, std=0.3)
    for sentence in SENTENCES:
        sample = batch([sentence])
        z = torch.randn(1, Z)
        assert scrambled(**sample["net_input"], z=z)[0].equal(right(**sample["net_input"], z=z)[0])
        assert hypotheses(scrambled, sample, beam=1) == hypotheses(right, sample, beam=1)


def test_anothers_z_changes_what_a_sentence_gets():
    sample, z = batch(SENTENCES), torch.randn(B, Z)
    for injection, wanted in (("self-attention", {0}), (SCRAMBLED, {0, 1})):  # rows that read z of row 0, of 2 layers
        built, other = model(injection, std=0.3), z.clone()
        other[0] += 1
        before, after = (built(**sample["net_input"], z=each)[0] for each in (z, other))
        changed = (after - before).flatten(1).abs().amax(1) > 1e-4
        assert set(changed.nonzero().flatten().tolist()) == wanted


def test_steps_of_a_search_read_the_slots_of_teacher_forcing():
    built, sample = model(SCRAMBLED, std=0.3), batch([sentence[:2] for sentence in SENTENCES])
    words = sample["net_input"]["prev_output_tokens"]
    with torch.no_grad():
        out = built.encoder(sample["net_input"]["src_tokens"])
        whole, state = built.decoder(words, out)[0], {}
        for step in range(words.size(1)):
            found = built.decoder(words[:, : step + 1], out, incremental_state=state)[0]
            torch.testing.assert_close(found[:, 0], whole[:, step])


@pytest.mark.parametrize("free_bits", [0.0, 0.5])
def test_a_reconstruction_averaged_over_positions_is_a_larger_beta(free_bits):
    """Park & Lee's third defect is --kl-weight: P times the gradient of their loss is that of beta = P w."""
    positions, weight = 256, 0.1
    built, sample = model(std=0.3).train(), batch(SENTENCES)
    ours = criterion(kl_weight=positions * weight, free_bits=free_bits, sentence_avg=True)
    loss, sentences, _ = ours(built, sample)
    parameters = [parameter for parameter in built.parameters() if parameter.requires_grad]
    wanted = torch.autograd.grad(loss / sentences, parameters, allow_unused=True)

    logits, extra = built(**sample["net_input"], eps=ours.posterior_eps(built, sample))
    rec = torch.zeros(B, positions)
    rec[:, : logits.size(1)] = cross_entropy(
        logits.transpose(1, 2), sample["target"], ignore_index=built.decoder.padding_idx, reduction="none"
    )
    mu, logvar = extra["posterior"].mu, extra["posterior"].logvar
    kl = (mu.square() + logvar.exp() - logvar - 1) / 2  # B x Z
    if free_bits:
        assert 0 < kl.lt(free_bits).sum() < kl.numel()
        kl = kl.clamp(min=free_bits)
    theirs = rec.mean() + weight * kl.sum(1).mean()
    torch.testing.assert_close(positions * theirs, loss / sentences)
    for mine, other in zip(wanted, torch.autograd.grad(positions * theirs, parameters, allow_unused=True)):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_the_study_is_accepted_and_each_arm_has_its_defect_alone(tmp_path):
    made = finetuning.make(tmp_path)
    study = read_study(str(STUDY), data=str(made / "data"), bart=str(made / "bart/model.pt"))
    tried = [point for point in study.points if point.arm == "all together" or "mean-with-pads" in point.flags.values()]
    Curve(study, str(tmp_path / "out"), user_dir=str(USER_DIR)).check([tried[0], tried[1], tried[-1]])
    flags = {point.arm: point.flags for point in study.points if point.evaluated}
    one = [point for point in study.points if point.seed == 1]
    totals = {arm: sum(point.updates for point in one if point.arm == arm) for arm in study.arms}
    assert set(totals.values()) == {600}
    plain = next(point for point in one if point.zero_latent)
    parts = [point for point in one if point.arm == "no defect"]
    found = [rate for point in parts for rate in rates(point.flags, point.updates)]
    assert found[1:] == pytest.approx(rates(plain.flags, plain.updates)[1:], rel=1e-5)
    alike = {(p.setting == "phase1", *(p.flags[key] for key in ("lr", "total-num-update", "max-tokens"))) for p in one}
    assert len(alike) == 3, "the language model's, both phases'"

    def differs(arm, other):
        return {key: flags[arm][key] for key in flags[arm] if flags[arm][key] != flags[other][key]}

    each = {arm: differs(arm, "no defect") for arm in flags if arm != "language model"}
    pads, rows = {"latent-pooling": "max-with-pads"}, {"latent-injection": SCRAMBLED}
    beta = {"kl-weight": f"{256 * float(flags['no defect']['kl-weight']):g}"}
    assert each.pop("no defect") == {} and each.pop("mean pooling") == {"latent-pooling": "mean"}
    assert each.pop("mean pooling, pads pooled") == {"latent-pooling": "mean-with-pads"}
    assert each == {
        "pads pooled": pads,
        "z of other rows": rows,
        "reconstruction over 256 positions": beta,
        "all together": {**pads, **rows, **beta},
    }
