"""Remedies against posterior collapse: each against a naive formula, composed, and off."""

import numpy as np
import pytest
import torch
from helpers import SENTENCES, B, V, Z, batch, criterion, model

from fairseq_vae.base.corruption import word_dropout
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import Purpose, standard_normal, stream
from fairseq_vae.latent.posterior import FixedScaleBatchNorm
from fairseq_vae.objective.free_bits import free_bits
from fairseq_vae.objective.terms import bag_of_words, mmd

UNK, PAD, EOS = 3, 1, 2


def test_off_they_are_the_plain_elbo_to_the_bit():
    built, sample = model(std=0.3).train(), batch(SENTENCES)
    eps = standard_normal(1, Purpose.TRAINING, 0, range(B), Z)
    output = built(**sample["net_input"], eps=eps, target=sample["target"])
    loss, _, _ = criterion()(built, sample)
    assert loss.equal(output.nll + output.posterior.kl().sum())
    assert not any(key.startswith(("rate_controller", "bow")) or "bn_mu" in key for key in built.state_dict())


def test_word_dropout_replaces_words_alone_and_depends_on_no_neighbour():
    tokens = torch.tensor([[EOS, 7, 8, 9, 10, 11], [EOS, 5, 6, PAD, PAD, PAD]])

    def dropped(rows, ratio):
        streams = [stream(1, Purpose.WORDS, 4, index) for index in (2, 9)]
        return word_dropout(rows, ratio, UNK, PAD, streams)

    assert dropped(tokens, 0.0).equal(tokens)
    assert dropped(tokens, 1.0).tolist() == [[EOS] + [UNK] * 5, [EOS, UNK, UNK, PAD, PAD, PAD]]
    some = dropped(tokens, 0.5)
    for row, tokens_of_row, index in zip(some, tokens, (2, 9)):
        random = stream(1, Purpose.WORDS, 4, index).random(5)
        expected = [t if i == 0 or t == PAD or random[i - 1] >= 0.5 else UNK for i, t in enumerate(tokens_of_row)]
        assert row.tolist() == expected
    padded = torch.cat((tokens, torch.full((2, 3), PAD)), dim=1)
    assert dropped(padded, 0.5)[:, :6].equal(some) and dropped(padded, 0.5)[:, 6:].eq(PAD).all()
    left = torch.tensor([[EOS, 7, 8, 9, 10, 11], [PAD, PAD, PAD, EOS, 5, 6]])
    assert dropped(left, 0.5)[1, 3:].equal(some[1, :3])
    assert tokens[0, 1] == 7, "its argument stays"


def test_word_dropout_has_its_rate_and_is_for_the_decoder_in_training_alone():
    many = torch.full((400, 51), 9)
    streams = [stream(1, Purpose.WORDS, 0, index) for index in range(400)]
    share = word_dropout(many, 0.3, UNK, PAD, streams)[:, 1:].eq(UNK).float().mean()
    assert share == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 20000))
    built, sample = model(std=0.3), batch(SENTENCES)
    dropping, plain = criterion(word_dropout=0.5), criterion()
    torch.testing.assert_close(dropping(built, sample)[0], plain(built, sample)[0])
    built.train()
    first, _, log = dropping(built, sample)
    assert not first.equal(plain(built, sample)[0]) and first.equal(dropping(built, sample)[0])
    torch.testing.assert_close(log["kl"], plain(built, sample)[2]["kl"])  # the encoder sees every word
    built.set_num_updates(1)
    assert not dropping(built, sample)[0].equal(first)


def test_the_bag_of_words_loss_joins_the_training_loss_alone():
    sample = batch(SENTENCES)
    built = model(std=0.3, bow_weight=0.7).train()
    loss, _, log = criterion()(built, sample)
    z = built(**sample["net_input"], eps=standard_normal(1, Purpose.TRAINING, 0, range(B), Z))[1]["vae"].z
    expected = bag_of_words(built.bow(z), sample["target"], PAD)
    torch.testing.assert_close(loss, log["rec"] + log["kl"] + 0.7 * expected)
    assert built.bow(z).shape == (B, V)
    loss.backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
    assert built.bow[0].weight.grad.abs().max() > 0
    built.eval()
    loss, _, log = criterion()(built, sample)
    torch.testing.assert_close(loss, log["rec"] + log["kl"])


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_the_mmd_term_is_per_sentence_and_of_training_alone(kernel):
    built, sample = model(std=0.3).train(), batch(SENTENCES)
    built.set_num_updates(2)
    loss, _, log = criterion(mmd_weight=3.0, mmd_kernel=kernel)(built, sample)
    z = built(**sample["net_input"], eps=standard_normal(1, Purpose.TRAINING, 2, range(B), Z))[1]["vae"].z
    prior = standard_normal(1, Purpose.PRIOR, 2, range(B), Z)
    torch.testing.assert_close(loss, log["rec"] + log["kl"] + 3.0 * B * mmd(z, prior, kernel))
    built.eval()
    torch.testing.assert_close(criterion(mmd_weight=3.0)(built, sample)[0], criterion()(built, sample)[0])


@torch.no_grad()
def test_bn_mu_is_its_formula_and_its_averages_in_evaluation():
    norm = FixedScaleBatchNorm(4, 0.6).double()
    norm.shift.copy_(torch.randn(4))
    stock = torch.nn.BatchNorm1d(4, eps=norm.EPSILON, momentum=1 - (1 - norm.MOMENTUM) ** (7 / norm.ROWS), affine=False)
    stock = stock.double()
    batches = torch.randn(50, 7, 4, dtype=torch.float64) * 3 + 1
    stock.running_mean, stock.running_var = batches[0].mean(0), batches[0].var(0)
    for mu in batches:
        mean, var = mu.mean(0), mu.var(0, unbiased=False)
        expected = 0.6 * (mu - mean) / (var + norm.EPSILON).sqrt() + norm.shift
        torch.testing.assert_close(norm(mu), expected, atol=1e-10, rtol=1e-10)
        stock(mu)
    torch.testing.assert_close(norm.mean, stock.running_mean)
    torch.testing.assert_close(norm.var, stock.running_var * 6 / 7)  # stock's variances are unbiased
    norm.eval()
    mu = torch.randn(1, 4, dtype=torch.float64)
    expected = 0.6 * (mu - norm.mean) / (norm.var + norm.EPSILON).sqrt() + norm.shift
    torch.testing.assert_close(norm(mu), expected, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_bn_mus_averages_weigh_batches_by_their_rows():
    """Sixty short sentences whose mu varies, then six long ones whose mu hardly does, and so on: as of all rows."""
    norm = FixedScaleBatchNorm(1, 0.6)
    few, many = torch.tensor([[-1.0], [1.0]]).repeat(3, 1), torch.tensor([[-3.0], [3.0]]).repeat(30, 1)
    found = []
    for step in range(400):
        norm((few, many)[step % 2])
        found.append(norm.var.item())
    assert sum(found[-100:]) / 100 == pytest.approx((6 * 1 + 60 * 9) / 66, abs=0.1)
    norm(torch.zeros(64, 1))
    assert norm.var.item() == pytest.approx(0.9 * found[-1], rel=1e-5)


def test_bn_mu_of_one_row_uses_the_averages_in_training():
    norm = FixedScaleBatchNorm(4, 0.6)
    mu = torch.randn(1, 4, requires_grad=True)
    found = norm(mu)
    torch.testing.assert_close(found, 0.6 * mu / (1 + norm.EPSILON) ** 0.5)
    assert norm.mean.eq(0).all() and norm.var.eq(1).all(), "one row has no variance"
    norm(torch.randn(3, 4))
    found.sum().backward()  # although the averages have changed


@torch.no_grad()
def test_bn_mu_evaluates_right_after_one_batch():
    norm, mu = FixedScaleBatchNorm(4, 0.6), torch.randn(500, 4) * 30 - 100  # as a phase without it may leave mu
    first = norm(mu)
    torch.testing.assert_close(norm.eval()(mu), first)


def test_bn_mu_keeps_a_rate_and_rows_apart_in_evaluation():
    built, sample = model(bn_mu=0.6).train(), batch(SENTENCES)
    for _ in range(60):
        posterior = built(**sample["net_input"], eps=torch.zeros(B, Z))[1]["posterior"]
    kl = posterior.kl().sum(1).mean().item()
    assert kl >= Z * 0.6**2 / 2 * 0.9  # less what EPSILON takes of variances that are as small
    built.eval()
    together = built(**sample["net_input"])[1]["posterior"].mu
    alone = built(**batch([SENTENCES[2]])["net_input"])[1]["posterior"].mu
    torch.testing.assert_close(alone[0], together[2], atol=2e-4, rtol=1e-3)
    built.train()  # a batch of one row has no variance
    assert built(**batch([SENTENCES[2]])["net_input"])[1]["posterior"].mu.isfinite().all()


EVERYTHING = dict(bn_mu=0.5, bow_weight=0.5, rate_controller="pid", rate_target=3.0)


def test_all_of_them_at_once():
    built, sample = model("self-attention,logits", std=0.3, **EVERYTHING).train(), batch(SENTENCES)
    built.rate_controller.weight.fill_(0.25)
    flags = dict(free_bits=0.4, free_bits_mode="batch-dimension", free_bits_group=2)
    objective = criterion(word_dropout=0.4, mmd_weight=2.0, label_smoothing=0.1, **flags)
    loss, _, log = objective(built, sample)
    net_input = objective.net_input(built, sample)
    eps = standard_normal(1, Purpose.TRAINING, 0, range(B), Z)
    output = built(**net_input, eps=eps, target=sample["target"], label_smoothing=0.1)
    penalty = 0.25 * free_bits(output.posterior.kl(), 0.4, "batch-dimension", 2).sum()
    bow = 0.5 * bag_of_words(built.bow(output.z), sample["target"], PAD)
    further = bow + 2.0 * B * mmd(output.z, standard_normal(1, Purpose.PRIOR, 0, range(B), Z))
    torch.testing.assert_close(loss, output.rec_loss + penalty + further)
    torch.testing.assert_close(log["rec"], output.nll)  # neither smoothing nor a remedy
    loss.backward()
    assert built.rate_controller.sums[1] == B


def test_checkpoints_load_with_and_without_what_training_alone_needs():
    plain, rich = model(std=0.3), model(bow_weight=1.0, rate_controller="pid", rate_target=3.0)
    rich.rate_controller.weight.fill_(0.5)
    rich.load_state_dict(plain.state_dict())
    for key, value in plain.state_dict().items():
        assert rich.state_dict()[key].equal(value), key
    assert rich.rate_controller.weight == 0.5, "what a checkpoint lacks stays"
    plain.load_state_dict(rich.state_dict())
    again = model(bow_weight=1.0, rate_controller="pid", rate_target=3.0)
    again.load_state_dict(rich.state_dict())
    assert again.rate_controller.weight == 0.5 and again.bow[0].weight.equal(rich.bow[0].weight)


def test_what_the_decoder_gets_beside_its_features_is_linear_in_z():
    built = model("logits", std=0.3)
    sample = batch(SENTENCES)["net_input"]
    z = torch.randn(2, B, Z)

    def logits(z):
        with torch.no_grad():
            return built(**sample, z=z)[0]

    none = logits(torch.zeros(B, Z))
    torch.testing.assert_close(logits(z[0] + z[1]) - none, logits(z[0]) + logits(z[1]) - 2 * none, atol=1e-5, rtol=1e-4)
    assert (logits(z[0]) - none).std(1).max() < 1e-5, "the same at every position"


def test_a_group_that_does_not_divide_the_dimensions_is_refused():
    with pytest.raises(InputError, match="--free-bits-group 4: expected a divisor of the 6 dimensions"):
        criterion(free_bits=0.1, free_bits_group=4)(model().train(), batch(SENTENCES))


@pytest.mark.parametrize("mode", ["dimension", "sentence"])
@pytest.mark.parametrize("sentence_avg", [False, True])
def test_beta_per_sentence_is_the_flags_whatever_the_batch_and_its_denominator(mode, sentence_avg):
    """Gradients of --update-freq's parts, or of workers, add up to the batch's; the KL's over the reconstruction's is
    beta, under either denominator."""
    sample, flags = batch(SENTENCES), dict(sentence_avg=sentence_avg, free_bits=0.2, free_bits_mode=mode)

    def gradients(parts, beta):
        built = model(std=0.3).train()
        size = 0
        for rows in parts:
            one = {key: value[rows] for key, value in sample["net_input"].items()}
            target = sample["target"][rows]
            one = {"id": sample["id"][rows], "ntokens": int(target.ne(1).sum()), "target": target, "net_input": one}
            loss, sample_size, _ = criterion(kl_weight=beta, **flags)(built, one)
            loss.backward()
            size += sample_size
        return [parameter.grad * size for parameter in built.parameters()], size

    whole, size = gradients([[0, 1, 2, 3, 4]], 0.3)
    for parts in ([[0, 1], [2, 3, 4]], [[4], [0], [1], [2, 3]]):
        found, found_size = gradients(parts, 0.3)
        assert found_size == size
        torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-4)
    none, _ = gradients([[0, 1, 2, 3, 4]], 0.0)
    full, _ = gradients([[0, 1, 2, 3, 4]], 1.0)
    for a, b, c in zip(none, full, whole):
        torch.testing.assert_close(a + 0.3 * (b - a), c, atol=2e-3, rtol=1e-3)
