"""MIG, SAP and completeness against what they are by construction: a copy, a rotation, noise."""

import numpy as np
import pytest

from fairseq_vae.base.errors import InputError
from fairseq_vae.measure.disentangle import (
    completeness,
    disentangled,
    gap,
    importance,
    label_information,
    mutual_information_gap,
    permuted,
    separated_attribute_predictability,
    threshold_accuracy,
)


def made(n=2000, z=4, classes=2):
    """Noise in Z dimensions, and labels; the first dimension is the label's number."""
    random = np.random.default_rng(0)
    labels = random.integers(classes, size=n)
    mu = random.normal(size=(n, z))
    mu[:, 0] = labels
    return mu, [f"class {label}" for label in labels]


def rotated(mu, angle=np.pi / 4):
    mu = mu.copy()
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mu[:, :2] = (mu[:, :2] - mu[:, :2].mean(0)) / mu[:, :2].std(0) @ turn
    return mu


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_dimension_that_copies_the_label_has_it_all(classes):
    mu, labels = made(classes=classes)
    information, entropy = label_information(mu, labels)
    assert information[0] == pytest.approx(entropy, abs=0.02) and information[1:].max() < 0.01
    assert mutual_information_gap(mu, labels) == pytest.approx(1, abs=0.02)
    assert 0.9 < completeness(importance(mu, labels)) <= 1
    if classes == 2:
        assert threshold_accuracy(mu, labels)[0] == 1
        assert separated_attribute_predictability(mu, labels) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("count", [100, 200, 1000])
def test_all_of_a_label_is_all_of_it_whatever_the_number_of_sentences(count):
    """The correction is Miller's, by the pairs of bin and class that occur, and ends at the label's entropy."""
    random = np.random.default_rng(4)
    label = np.arange(count) % 10
    mu = np.stack([label + random.uniform(-0.1, 0.1, count), *random.normal(size=(3, count))], axis=1)
    information, entropy = label_information(mu, label.astype(str).tolist(), bins=10)
    assert information[0] == pytest.approx(entropy) == pytest.approx(np.log(10))
    assert information[1:].max() < 0.5 * entropy


def test_one_dimension_of_noise_is_held_to_one_that_says_nothing():
    random = np.random.default_rng(5)
    mu, labels = random.normal(size=(2000, 1)), random.integers(2, size=2000).astype(str).tolist()
    assert 0 <= separated_attribute_predictability(mu, labels) < 0.05
    assert 0 <= mutual_information_gap(mu, labels) < 0.02


def test_a_rotation_of_the_copy_and_noise_parts_nothing():
    mu, labels = made()
    turned = rotated(mu)
    information, entropy = label_information(turned, labels)
    assert information[:2].min() > 0.2 * entropy, "both say a part of it"
    assert mutual_information_gap(turned, labels) < 0.05 and separated_attribute_predictability(turned, labels) < 0.05
    assert completeness(importance(turned, labels)) == pytest.approx(1 - np.log(2) / np.log(4), abs=0.05)
    assert mutual_information_gap(rotated(mu, 0.0), labels) == pytest.approx(1, abs=0.02)


def test_noise_lies_within_its_permutations_and_has_no_information_on_average():
    random = np.random.default_rng(1)
    inside, means = 0, []
    for _ in range(20):
        mu, labels = random.normal(size=(400, 3)), random.integers(3, size=400).astype(str).tolist()
        low, high = permuted(lambda drawn, mu=mu: mutual_information_gap(mu, drawn.tolist()), labels, draws=40)
        inside += low <= mutual_information_gap(mu, labels) <= high
        means.append(np.mean(label_information(mu, labels, bins=5)[0]))
    assert inside >= 16 and high < 0.05
    assert np.mean(means) < 0.5 * 4 * 2 / 800, "the correction takes most of the chance information"


def test_information_is_that_of_bins_and_no_monotonic_map_moves_it():
    random = np.random.default_rng(2)
    mu, labels = random.normal(size=(500, 2)), random.integers(2, size=500).astype(str).tolist()
    mu[:, 0] += np.array(labels, dtype=float)
    found = label_information(mu, labels)[0]
    assert np.allclose(found, label_information(np.exp(mu) * 7 - 3, labels)[0])
    assert np.allclose(threshold_accuracy(mu, labels), threshold_accuracy(np.exp(mu), labels))
    assert label_information(np.zeros((500, 1)), labels)[0][0] == pytest.approx(0, abs=1e-12)
    assert gap(np.array([0.3])) == 0.3


def test_the_best_threshold_is_that_of_a_search():
    random = np.random.default_rng(3)
    mu, label = random.normal(size=(60, 1)).round(1), random.integers(2, size=60)
    label[mu[:, 0] > 0.5] = 1
    best = 0.0
    for threshold in np.unique(mu):
        above = mu[:, 0] > threshold
        accuracy = (above[label == 1].mean() + (~above)[label == 0].mean()) / 2
        best = max(best, accuracy, 1 - accuracy)
    assert threshold_accuracy(mu, label.astype(str).tolist())[0] == pytest.approx(best)


def test_all_of_it_at_once_and_bad_labels():
    mu, labels = made(400)
    found = disentangled(mu, labels, draws=20)
    assert found == disentangled(mu, labels, draws=20)
    assert found["completeness"] > 0.9 and found["completeness_permuted"][1] > 0.5, "noise leans on a dimension, too"
    assert found["mig"] > 0.9 > found["mig_permuted"][1] and found["sap"] > 0.3 > found["sap_permuted"][1]
    assert len(found["information"]) == len(found["accuracy"]) == 4 and found["entropy"] <= np.log(2)
    with pytest.raises(InputError, match="3 lines; expected 400"):
        disentangled(mu, labels[:3])
    with pytest.raises(InputError, match="only 'a'"):
        disentangled(mu, ["a"] * 400)
    with pytest.raises(InputError, match="not finite"):
        disentangled(np.where(mu > 1, np.nan, mu), labels)
