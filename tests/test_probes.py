import numpy as np
import pytest

from fairseq_vae.base.errors import InputError
from fairseq_vae.measure.probes import probe, wilson


def labelled(n=120):
    """mu tells the label by its sign in one of three dimensions; words do not."""
    mu = np.random.default_rng(0).normal(size=(n, 3))
    labels = ["yes" if row[1] > 0 else "no" for row in mu]
    return mu, [f"word{i % 7} the" for i in range(n)], labels


def test_a_probe_reads_what_mu_says_and_words_do_not():
    mu, texts, labels = labelled()
    found = probe(mu, texts, labels)
    assert found["probe"] > 0.9 > 0.7 > found["probe_bag_of_words"]
    assert found["probe_majority"] == max(labels.count("yes"), labels.count("no")) / len(labels)
    low, high = found["probe_interval"]
    assert low < found["probe"] < high and found == probe(mu, texts, labels)
    assert probe(mu, [], labels)["probe_bag_of_words"] is None
    assert probe(mu, [label for label in labels], labels)["probe_bag_of_words"] == 1


def test_the_interval_is_wilsons_and_within_0_to_1():
    assert wilson(1.0, 20) == [pytest.approx(0.8389, abs=1e-4), 1.0] and wilson(0.0, 20)[0] == 0
    assert wilson(0.5, 10**6) == pytest.approx([0.5 - 0.00098, 0.5 + 0.00098], abs=1e-6)


def test_a_probe_of_a_collapsed_latent_is_no_better_than_the_majority():
    _, texts, labels = labelled()
    found = probe(np.zeros((len(labels), 3)), texts, labels)
    assert found["probe"] == pytest.approx(found["probe_majority"], abs=0.02)


@pytest.mark.parametrize(
    "labels, message",
    [(["a"] * 3, "3 lines; expected 4"), (["a"] * 4, "only 'a'"), (["a", "a", "a", "b"], "'b' has one sentence")],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        probe(np.zeros((4, 2)), [], labels)
