"""What dimensions say: order, ends and correlations of a made-up latent, and their text."""

import numpy as np
import pytest

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.labelled import Split, Task
from fairseq_vae.measure.dimensions import AT_AN_END, principal_directions, read_dimensions, read_task_dimensions
from fairseq_vae.measure.disentangle import disentangled
from fairseq_vae.report.dimensions import WIDTH, dimensions_text, disentangled_table


def made(n=200):
    """The first dimension is the sentence's length, the second its label, the third noise and narrow."""
    random = np.random.default_rng(0)
    lengths, labels = random.integers(1, 12, size=n), random.integers(2, size=n)
    sentences = [" ".join(["good" if label else "bad"] * size) for size, label in zip(lengths, labels)]
    mu = np.stack([lengths / 4, labels * 1.0, random.normal(size=n) / 10], axis=1)
    return mu, sentences, [str(label) for label in labels]


def test_each_dimension_shows_what_it_was_made_of():
    mu, sentences, labels = made()
    found = read_dimensions(mu, sentences, labels, count=3)
    first, second, third = found.dimensions
    assert [reading.name for reading in found.dimensions] == ["dimension 0", "dimension 1", "dimension 2"]
    assert first.length == pytest.approx(1) and second.labels == {"1": pytest.approx(1)}
    assert abs(third.length) < 2 * found.noise and abs(third.labels["1"]) < 2 * found.noise
    assert len(first.low.longest.split()) < len(first.high.shortest.split())
    assert {*second.low.shortest.split()} == {"bad"} and {*second.high.different.split()} == {"good"}
    assert first.weight == pytest.approx(mu[:, 0].var()) and found.noise == pytest.approx(1.96 / 200**0.5)


def test_variance_orders_the_dimensions_and_labels_may_be_many_or_none():
    mu, sentences, labels = made()
    found = read_dimensions(mu * [1, 1, 1000], sentences, None, count=2)
    assert [reading.name for reading in found.dimensions] == ["dimension 2", "dimension 0"]
    assert found.dimensions[0].labels == {}
    many = [label if row % 3 else "x" for row, label in enumerate(labels)]
    assert set(read_dimensions(mu, sentences, many).dimensions[0].labels) == {"0", "1", "x"}


def test_directions_are_those_of_most_variance_whatever_the_rotation():
    mu, sentences, labels = made()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    plain, turned = (read_dimensions(values, sentences, labels).directions for values in (mu, mu @ turn + 5))
    for one, other in zip(plain, turned):
        assert one.weight == pytest.approx(other.weight) and abs(one.length) == pytest.approx(abs(other.length))
    assert {plain[0].low, plain[0].high} == {turned[0].low, turned[0].high}
    directions = principal_directions(mu, 2)
    assert np.allclose(directions @ directions.T, np.eye(2)) and (np.abs(directions).max(1) == directions.max(1)).all()
    assert len(read_dimensions(mu[:, :1], sentences).directions) == 1


def test_few_sentences_and_equal_ones_have_ends_too():
    found = read_dimensions(np.array([[0.0], [1.0], [1.0]]), ["a", "b c", ""])
    assert found.dimensions[0].low.shortest == "a" and AT_AN_END > 1
    assert read_dimensions(np.zeros((4, 2)), ["a b"] * 4).dimensions[0].length == 0
    with pytest.raises(InputError, match="1 sentences for 2 vectors"):
        read_dimensions(np.zeros((2, 1)), ["a"])
    with pytest.raises(InputError, match="3 labels for 2 vectors"):
        read_dimensions(np.zeros((2, 1)), ["a", "b"], ["x"] * 3)
    with pytest.raises(InputError, match="1 vectors: expected two"):
        read_dimensions(np.zeros((1, 1)), ["a"])


def test_the_text_has_every_direction_its_correlations_and_cut_sentences():
    mu, sentences, labels = made()
    sentences[int(mu[:, 0].argmax())] += " good" * 80
    text = dimensions_text(read_dimensions(mu, sentences, labels, count=2))
    assert text.startswith("correlations within 0.14 of 0 may be noise\n\ndimension 0  variance of mu ")
    assert text.count("\ndimension ") == text.count("\ndirection ") == 2 and "label 1 +" in text
    assert max(len(line) for line in text.splitlines()) < WIDTH + 30 and " …\n" in text


def task_of(labels):
    """A task of whose test split each sentence has its number and its label in it, and the vectors of them."""
    sentences = [f"{number} {label}" for number, label in enumerate(labels)]
    noise = np.random.default_rng(1).normal(size=(len(labels), 3))

    def mu(texts):
        rows = np.array([int(text.split()[0]) for text in texts])
        return np.stack([noise[rows, 0], [9.0 * text.endswith("good") for text in texts], noise[rows, 2]], 1)

    return Task("reviews", {"test": Split("test.txt", (sentences,), labels, None)}), mu


def test_a_task_is_read_on_its_test_split_or_on_a_part_whose_labels_are_its_own():
    labels = ["good"] * 150 + ["bad"] * 150
    task, mu = task_of(labels)
    texts = task.splits["test"].texts[0]
    found = read_task_dimensions(task, mu, 2, draws=10)
    assert found.readings == read_dimensions(mu(texts), texts, labels, 2) and found.sentences == 300
    assert found.disentangled == disentangled(mu(texts), labels, draws=10)
    part = read_task_dimensions(task, mu, 2, most=100, draws=10)
    assert part.sentences == 100 and part == read_task_dimensions(task, mu, 2, most=100, draws=10)
    assert part.readings.dimensions[0].name == "dimension 1" and part.readings.dimensions[0].labels["good"] > 0.999
    assert part.disentangled["mig"] > 0.9, "a part of a file in the order of its labels has both"
    table = disentangled_table(part).splitlines()
    assert table[0].startswith("reviews: ") and "(100 of test)" in table[0] and len(table) == 4
    assert len({len(line) for line in table}) == 1


def test_a_task_whose_labels_cannot_be_told_apart_is_refused_by_its_file():
    with pytest.raises(InputError, match="--dimensions: test.txt: only 'good'; expected two"):
        read_task_dimensions(*task_of(["good"] * 9), 2)
    with pytest.raises(InputError, match="--dimensions: test.txt, 300 lines of 301: 'bad' has one sentence; expected"):
        read_task_dimensions(*task_of(["good"] * 300 + ["bad"]), 2, most=300)
