"""Attributes of z and the ways of editing."""

import copy

import pytest
import torch

from fairseq_vae.base.errors import InputError
from fairseq_vae.edit.attributes import SIGMA, Number, fit_label, fit_number
from fairseq_vae.edit.ways import BETA, Unsolved, Wish, energy, smallest, sweep, vector, ways

Z = 6
every_way = pytest.mark.parametrize("way", ways.names())


def labelled(size=600, seed=1):
    """z's whose first two dimensions tell the label, which is the sign of their sum for the most part."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(size, Z, generator=generator)
    noisy = z[:, 0] + z[:, 1] + 0.3 * torch.randn(size, generator=generator)
    return z, ["good" if value > 0 else "bad" for value in noisy]


@pytest.fixture(scope="module")
def sentiment():
    return fit_label(*labelled())


@pytest.fixture(scope="module")
def length():
    z, _ = labelled(seed=2)
    return fit_number(z, (10 + 3 * z[:, 2]).tolist(), hidden=0)


@pytest.mark.parametrize("hidden", [0, 16])
def test_a_label_is_learned_and_its_means_are_the_sets(hidden):
    z, names = labelled()
    attribute = fit_label(z, names, hidden)
    other, theirs = labelled(seed=5)
    accuracy = (attribute.predicted(other) == attribute.numbers(theirs)).double().mean()
    assert accuracy > 0.88
    good = torch.tensor([name == "good" for name in names])
    torch.testing.assert_close(attribute.means[attribute.labels.index("good")], z[good].mean(0))
    assert torch.allclose(
        sum(attribute.log_prob(z, attribute.numbers([name] * len(z))).exp() for name in ("good", "bad")),
        torch.ones(len(z)),
        atol=1e-5,
    )


def test_a_number_is_learned(length):
    z, _ = labelled(seed=7)
    assert (length.predicted(z) - (10 + 3 * z[:, 2])).abs().mean() < 0.3


@every_way
def test_strength_0_is_the_row_itself(way, sentiment):
    z, names = labelled(8, seed=3)
    wish = Wish(sentiment, sentiment.numbers(["good"] * 8))
    assert ways[way](z, [wish], 0.0).equal(z)


@every_way
def test_a_row_does_not_depend_on_the_others(way, sentiment):
    z, _ = labelled(5, seed=3)
    target = sentiment.numbers(["good", "bad", "good", "bad", "good"])
    together = ways[way](z, [Wish(sentiment, target)], 1.5)
    for i in range(5):
        alone = ways[way](z[i : i + 1], [Wish(sentiment, target[i : i + 1])], 1.5)
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)


@every_way
def test_more_strength_is_more_of_the_target_and_the_other_label_is_the_other_way(way, sentiment):
    z, _ = labelled(10, seed=3)
    for name in ("good", "bad"):
        target = sentiment.numbers([name] * 10)
        edited = sweep(way, z, [Wish(sentiment, target)], [0.0, 0.5, 2.0])
        means = [float(sentiment.log_prob(one, target).exp().mean()) for one in edited]
        assert means[0] < means[1] < means[2] and means[2] > 0.75


@every_way
def test_what_was_edited_keeps_the_other_dimensions_best_they_can(way, sentiment):
    z, _ = labelled(20, seed=3)
    change = (ways[way](z, [Wish(sentiment, sentiment.numbers(["good"] * 20))], 2.0) - z).abs().mean(0)
    assert change[:2].min() > 3 * change[2:].max()


@every_way
def test_a_dimension_that_hardly_varies_hardly_moves(way):
    """Of a model with few active units: what noise tells of the others is no way to the label."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([1.0] * 4 + [0.02] * 12)
    z = torch.randn(600, 16, generator=generator) * scale
    noisy = z[:, 0] + z[:, 1] + 0.3 * torch.randn(600, generator=generator)
    attribute = fit_label(z, ["good" if value > 0 else "bad" for value in noisy])
    start = torch.randn(20, 16, generator=generator) * scale
    edited = ways[way](start, [Wish(attribute, attribute.numbers(["good"] * 20))], 4.0)
    moved = (edited - start).square().sum(0)
    assert moved[4:].sum() < 0.01 * moved.sum() and (edited[:, 0] + edited[:, 1] > 0).all()


@every_way
def test_units_of_z_change_nothing(way, sentiment):
    z, _ = labelled(6, seed=3)
    units = torch.tensor([0.1, 3.0, 1.0, 0.5, 2.0, 0.05])
    other = copy.deepcopy(sentiment)
    for part in (other.network.mean, other.network.scale, other.means):
        part.mul_(units)
    target = sentiment.numbers(["good", "bad"] * 3)
    found = ways[way](z, [Wish(sentiment, target)], 1.5)
    theirs = ways[way](z * units, [Wish(other, target)], 1.5)
    torch.testing.assert_close(theirs / units, found, atol=2e-3, rtol=1e-3)


def test_the_vector_goes_from_mean_to_mean(sentiment):
    [good, bad] = sentiment.numbers(["good", "bad"]).tolist()
    start = sentiment.means[bad][None]
    end = vector(start, [Wish(sentiment, torch.tensor([good]))], 1.0)
    torch.testing.assert_close(end[0], sentiment.means[good])


def test_the_energys_flow_is_the_closed_form_of_a_linear_attribute():
    """z = z* + exp(-A s)(z_0 - z*) with s = (beta_0 + beta_1) / 4 and A = I + strength w w^T / sigma^2."""
    attribute = Number(3)
    with torch.no_grad():
        attribute.network.layers.weight.copy_(torch.tensor([[0.1, -0.2, 0.05]]))
        attribute.network.layers.bias.zero_()
    z, target, strength = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([0.4]), 0.7
    w = attribute.network.layers.weight[0].double()
    hessian = torch.eye(3, dtype=torch.float64) + strength * torch.outer(w, w) / SIGMA**2
    best = torch.linalg.solve(hessian, z[0].double() + strength * 0.4 * w / SIGMA**2)
    wanted = best + torch.matrix_exp(-hessian * sum(BETA) / 4) @ (z[0] - best)
    torch.testing.assert_close(energy(z, [Wish(attribute, target)], strength)[0].double(), wanted, atol=1e-3, rtol=0)


def test_two_wishes_are_met_together(sentiment, length):
    z, _ = labelled(2, seed=3)
    target, number = sentiment.numbers(["good"] * 2), torch.full((2,), 14.0)
    edited = energy(z, [Wish(sentiment, target), Wish(length, number)], 2.0)
    assert (sentiment.predicted(edited) == target).double().mean() > 0.9
    assert (length.predicted(edited) - 14).abs().mean() < 0.2 * (length.predicted(z) - 14).abs().mean()


@every_way
def test_the_smallest_strength_that_is_enough_is_taken(way, sentiment):
    z, _ = labelled(8, seed=3)
    wish = Wish(sentiment, sentiment.numbers(["good"] * 8))
    strengths = [0.0, 0.5, 1.0, 2.0]
    edited, used, reached = smallest(way, z, [wish], strengths)
    assert (sentiment.predicted(edited) == wish.target).equal(reached) and reached.any()
    assert set(used.tolist()) <= set(strengths) and len(set(used.tolist())) > 1
    already = sentiment.predicted(z) == wish.target
    assert used[already].eq(0).all() and edited[already].equal(z[already])
    every = dict(zip(strengths, sweep(way, z, [wish], strengths)))
    for row, strength, i in zip(edited, used.tolist(), range(8)):
        torch.testing.assert_close(row, every[strength][i])


def test_the_smallest_strength_meets_every_wish_and_not_the_most_of_them(sentiment, length):
    [good, bad] = sentiment.numbers(["good", "bad"]).tolist()
    z = sentiment.means[[good]] * 3
    wishes = [Wish(sentiment, torch.tensor([good]), 5.0), Wish(sentiment, torch.tensor([bad]), 0.1)]
    _, used, reached = smallest("vector", z, wishes, [0.0, 0.01])
    assert used.tolist() == [0.01] and not reached.item(), "though their mean log p is high"
    wish = Wish(length, length.predicted(z) + 0.2 * length.spread)
    assert not smallest("energy", z, [wish], [0.0])[2].item()
    assert smallest("energy", z, [wish._replace(target=length.predicted(z) + 0.1 * length.spread)], [0.0])[2].item()
    three = fit_label(torch.randn(90, Z, generator=torch.Generator().manual_seed(1)), ["a", "b", "c"] * 30)
    own = three.predicted(z)
    assert three.log_prob(z, own).exp() < 0.5 and smallest("gradient", z, [Wish(three, own)], [0.0])[2].item()


def test_a_row_that_no_strength_is_enough_for_is_told_and_strengths_are_not_rounded(sentiment):
    [good] = sentiment.numbers(["good"]).tolist()
    near, far = sentiment.means[good], sentiment.means[1 - good] * 50
    wish = Wish(sentiment, torch.tensor([good, good]))
    edited, used, reached = smallest("vector", torch.stack((near, far)), [wish], [0.1, 0.3])
    assert used.tolist() == [0.1, 0.3] and reached.tolist() == [True, False]
    torch.testing.assert_close(edited[1], vector(far[None], [wish._replace(target=wish.target[1:])], 0.3)[0])


def test_bad_input_is_named(sentiment, length):
    z, names = labelled(20)
    with pytest.raises(InputError, match=r"1 label\(s\) in 20 sentences: expected two or more"):
        fit_label(z, ["good"] * 20)
    with pytest.raises(InputError, match="--hidden -1: expected 0 or more"):
        fit_label(z, names, -1)
    with pytest.raises(InputError, match="all 20 numbers are 3.0"):
        fit_number(z, [3] * 20)
    with pytest.raises(InputError, match="label 'fine': expected one of bad, good"):
        sentiment.numbers(["fine"])
    with pytest.raises(
        Unsolved, match="--way energy, strength 1: the equation of sentence 2 cannot be solved"
    ) as found:
        energy(z[:2], [Wish(length, torch.tensor([10.0, 1e30]))], 1.0)
    assert "the equation of sentence 8 cannot" in str(found.value.at([5, 7]))
    z[3, 1] = torch.nan
    for fit, values in ((fit_label, names), (fit_number, [*range(20)])):
        with pytest.raises(InputError, match="z of labelled sentence 4 is not finite"):
            fit(z, values)
    with pytest.raises(InputError, match="--way vector: .*--way energy"):
        vector(z, [Wish(length, torch.zeros(20))], 1.0)
