"""A map of posterior means: its plane, and its colours."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fairseq_vae.base.errors import InputError
from fairseq_vae.report.scatter import BINS, NAMED, TITLE, by_label, by_length, draw, pca, tsne


def cloud(size=60, dim=7, seed=1):
    random = np.random.default_rng(seed)
    return (random.normal(size=(size, dim)) * np.arange(dim, 0, -1) + 3).astype(np.float32)


def test_the_plane_is_scikit_learns():
    mu = cloud()
    plane, shares = pca(mu)
    oracle = PCA(2).fit(mu.astype(np.float64))
    found = oracle.transform(mu.astype(np.float64))
    np.testing.assert_allclose(np.abs(plane), np.abs(found), atol=1e-9)
    np.testing.assert_allclose(shares, oracle.explained_variance_ratio_)


@pytest.mark.parametrize("seed", range(6))
def test_the_sign_of_an_axis_is_fixed(seed):
    mu = cloud(seed=seed).astype(np.float64)
    loadings = pca(mu)[0].T @ (mu - mu.mean(0))  # up to a positive factor each
    assert all(row[np.abs(row).argmax()] > 0 for row in loadings)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (5, 1), (3, 2)])
def test_few_sentences_or_dimensions(shape):
    mu = cloud(*shape)
    plane, shares = pca(mu)
    assert plane.shape == (shape[0], 2) and np.isfinite(plane).all() and sum(shares) <= 1 + 1e-9
    assert len(draw(mu, ["x"] * shape[0], [1] * shape[0]).dots) == shape[0]


def test_a_map_keeps_angles_and_distances_of_its_plane():
    mu = cloud(dim=2)
    found = draw(mu, ["x"] * 60, [1] * 60)
    places = np.array([(dot.x, dot.y) for dot in found.dots])
    assert places.min() >= 0 and places.max() <= found.size
    between = np.linalg.norm(mu[:, None] - mu[None], axis=-1)  # two dimensions: nothing is lost
    np.testing.assert_allclose(np.linalg.norm(places[:, None] - places[None], axis=-1) / found.unit, between, atol=0.01)
    assert sum(found.shares) == pytest.approx(1)


def test_t_sne_keeps_clusters_and_repeats_itself(monkeypatch):
    mu = np.concatenate([cloud(20), cloud(20) + 100])
    plane = tsne(mu, 3)
    assert (plane == tsne(mu, 3)).all() and (plane != tsne(mu, 4)).any()
    nearest = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.fill_diagonal(nearest, np.inf)
    assert ((nearest.argmin(1) < 20) == (np.arange(40) < 20)).all()
    with pytest.raises(InputError, match="--map tsne with 4 sentences: expected 5 or more"):
        tsne(mu[:4], 1)
    assert draw(mu, ["x"] * 40, [1] * 40, kind="tsne").shares is None


def test_labels_beyond_the_colours_share_one():
    labels = [f"l{i:02}" for i in range(NAMED + 4) for _ in range(NAMED + 4 - i)]
    numbers, groups = by_label(labels)
    assert len(groups) == NAMED + 1 and groups[-1].name == "4 other labels"
    assert [sum(n == i for n in numbers) for i in range(len(groups))] == [group.size for group in groups]
    assert all(groups[n].name == label for n, label in zip(numbers, labels) if n < NAMED)
    assert [group.name for group in by_label(list("ba" * 2))[1]] == ["a", "b"]  # of equal size: by name
    assert len(by_label([str(i) for i in range(NAMED + 1)])[1]) == NAMED + 1


@pytest.mark.parametrize("lengths", [[3], [3] * 9, [1, 2], list(range(1, 101)), [1] * 90 + [50] * 10, [5, 4, 3, 2, 1]])
def test_lengths_fall_into_groups_in_order(lengths):
    numbers, groups = by_length(lengths)
    assert len(groups) <= BINS and sum(group.size for group in groups) == len(lengths)
    pairs = sorted(zip(lengths, numbers))
    assert [number for _, number in pairs] == sorted(numbers) and set(numbers) == set(range(len(groups)))
    assert len(set(pairs)) == len(set(lengths))  # equal lengths are in one group
    if len(set(lengths)) == len(lengths) >= BINS:
        assert {group.size for group in groups} == {len(lengths) // BINS}


def test_means_that_are_not_finite_are_left_out():
    mu = cloud()
    mu[3, 1], mu[5, 0] = np.nan, np.inf
    found = draw(mu, [str(i) for i in range(60)], [1] * 60, ["a"] * 60)
    assert found.left_out == 2 and [dot.text for dot in found.dots] == [str(i) for i in range(60) if i not in (3, 5)]
    assert draw(mu[3:4], ["x"], [1]) is None and draw(mu[[0, 0, 3]], ["x"] * 3, [1] * 3) is None


def test_a_long_sentence_is_cut_off_above_its_point():
    found = draw(cloud(2), ["x" * 1000, "y" * TITLE], [1, 1])
    assert [len(dot.text) for dot in found.dots] == [TITLE, TITLE] and found.dots[0].text.endswith("…")
