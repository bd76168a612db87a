"""Figures of a collection, by hand and at their limits; no model."""

import math

import pytest
import torch
from evaluation import made_up
from test_distributions import Opaque

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.latent.distributions import Gaussian, rows
from fairseq_vae.measure import sentences
from fairseq_vae.measure.definitions import EVALUATED, names
from fairseq_vae.measure.estimators import aggregate, batch_information, information
from fairseq_vae.measure.probes import probe
from fairseq_vae.measure.summary import MI_SAMPLES, SCHEMA, less, responses, signature, summarise

TEXTS = ("texts", "reconstructions", "greedy", "samples", "samples_z", "copied", "samples_fitted", "samples_lm")
NOTHING = dict.fromkeys(("lm", "labels", "nll_iw_fitted", "noised", "walked", *TEXTS))


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def two_sentences():
    """Figures of the likelihood that can be worked out by hand."""
    return made_up(
        posterior=Gaussian(torch.tensor([[1.0] * 3, [-1.0] * 3]), torch.zeros(2, 3)),
        kl=column(0.5, 0.5)[:, None],
        rec=column(2, 4),
        nll_iw=column(2, 3),
        effective=column(1, 3),
        shuffled=column(5, 5),
        zero=column(2, 5),
        from_prior=column(1, 4),
        lengths=torch.tensor([3, 2]),
        lm=column(4, 4),
        nll_iw_fitted=column(1, 2),
        texts=["ä b", "c"],
        reconstructions=["ä b", "d"],
        greedy=["d", "d"],
        samples=["c", "e"],
        samples_fitted=["c", "f"],
        copied=["e"],
        labels=None,
    )


def test_the_likelihood_by_hand():
    found = summarise(two_sentences())
    assert (found["rec"], found["kl"], found["neg_elbo"], found["nll_iw"], found["iw_effective"]) == (
        3,
        0.5,
        3.5,
        2.5,
        2,
    )
    assert (found["sentences"], found["tokens"], found["words"], found["bytes"]) == (2, 5, 5, 5)
    assert found["ppl_token"] == found["ppl_word"] == pytest.approx(math.exp(7 / 5))
    assert found["ppl_token_iw"] == found["ppl_word_iw"] == pytest.approx(math.exp(5 / 5))
    assert found["bits_per_byte"] == pytest.approx(7 / 5 / math.log(2))
    assert found["bits_per_byte_iw"] == pytest.approx(1 / math.log(2))
    assert [found[f"nll_gap_{name}"] for name in ("shuffled", "zero", "prior")] == [2, 0.5, -0.5]
    assert (found["lm_nll"], found["lm_gap"]) == (4, -0.5)


def test_intervals_hold_their_figures_and_have_no_width_where_sentences_are_alike():
    found = summarise(made_up())
    for key, (low, high) in found["intervals"].items():
        assert low <= found[key] <= high and low < high, key
    found = summarise(two_sentences())["intervals"]
    assert found["kl"] == [0.5, 0.5] and found["lm_nll"] == [4, 4] and found["rec"] == [2, 4]


def test_words_that_are_given_stand_in_place_of_those_counted():
    collection = two_sentences()
    found = summarise(collection._replace(given=collection.given._replace(words=10)))
    assert found["words"] == 10 and found["ppl_word"] == pytest.approx(math.exp(7 / 10))
    assert found["ppl_token"] == summarise(collection)["ppl_token"]


def test_the_use_of_z_is_that_of_the_estimators_on_the_sentences_own_draws():
    collection = made_up()
    found = summarise(collection, mi_batch=4)
    eps = torch.stack([standard_normal(1, Purpose.VALIDATION, k, range(6), 3) for k in range(MI_SAMPLES)])
    assert collection.posterior.rsample(eps[0]).equal(collection.z)
    assert (found["mi"], found["mi_stderr"]) == information(collection.posterior, eps)
    assert found["mi_batch"] == batch_information(collection.posterior, eps[0], 4) and found["mi_batch_size"] == 4
    assert found["mi_cap"] == math.log(6) and found["latent_dim"] == 3
    assert found["marginal_kl"] == pytest.approx(found["kl"] - found["mi"])
    for key, value in aggregate(collection.posterior, collection.prior, collection.kl).items():
        assert found[key] == value, key


def test_given_a_source_the_information_its_cap_and_active_units_are_beyond_the_priors():
    collection = made_up()
    mean, logvar = collection.posterior
    far = Gaussian(1000 * torch.arange(6.0)[:, None] + torch.zeros(6, 3), torch.zeros(6, 3))  # I(z; x) is log 6
    near = Gaussian(torch.zeros(6, 3), torch.zeros(6, 3))  # and here 0
    for prior, of_source in ((far, math.log(6)), (near, 0.0)):
        found = summarise(collection._replace(prior=prior, posterior=Gaussian(prior.mu + mean, logvar)))
        both = math.log(6) if of_source else summarise(collection)["mi"]
        assert found["mi_source"] == pytest.approx(of_source, abs=1e-6)
        assert found["mi"] == pytest.approx(both - of_source, abs=1e-4) and found["mi"] <= found["mi_cap"] + 1e-4
        assert found["mi_cap"] == pytest.approx(math.log(6) - of_source, abs=1e-6)
        assert found["mi_saturated"] == (both > math.log(3)), "of both together"
        assert found["au"] == summarise(collection)["au"]
    assert summarise(collection._replace(prior=collection.posterior))["au"] == 0, "not beyond the prior"


class Costly(Opaque):
    mi_sentences = 4


def test_of_a_costly_posterior_the_information_is_among_the_first_sentences():
    collection = made_up()
    found = summarise(collection._replace(posterior=Costly(*collection.posterior)))
    eps = torch.stack([standard_normal(1, Purpose.VALIDATION, k, range(4), 3) for k in range(MI_SAMPLES)])
    mi, error = information(rows(collection.posterior, slice(4)), eps)
    assert (found["mi"], found["mi_stderr"]) == (pytest.approx(mi), pytest.approx(error))
    assert found["mi_cap"] == math.log(4)
    assert found["marginal_kl"] == pytest.approx(collection.kl[:4].sum(1).mean().item() - mi)
    assert abs(found["kl"] - collection.kl[:4].sum(1).mean()) > 0.01


def test_the_diagnosis_is_of_the_summary():
    collection = made_up()
    assert summarise(collection)["diagnosis"] == "ok"
    unused = summarise(collection._replace(shuffled=collection.rec))
    assert unused["diagnosis"] == "unused" and f"{unused['kl']:.3g} nats" in unused["diagnosis_message"]
    assert summarise(collection._replace(kl=collection.kl * 0))["diagnosis"] == "collapsed"
    none = collection._replace(settings=collection.settings._replace(zero_latent=True))
    assert summarise(none)["diagnosis"] == "no z"


def test_text_is_scored_against_its_own_sentences():
    collection = made_up()
    found = summarise(collection)
    assert (found["text_sentences"], found["max_len"], found["prior_samples"]) == (4, 9, 4)
    assert (found["exact_match"], found["exact_match_greedy"], found["chrf"]) == (1, 0.5, pytest.approx(100))
    greedy = sentences.reconstruction(collection.greedy, collection.texts[:4])
    assert (found["bleu_greedy"], found["chrf_greedy"]) == (greedy["bleu"], greedy["chrf"])
    assert found["training_copies"] == 0.75 and found["empty_share"] == 0.25
    for key, value in sentences.samples(collection.samples, collection.texts).items():
        assert found[key] == value, key
    assert summarise(collection._replace(copied=[]))["training_copies"] == 0
    assert summarise(collection._replace(copied=None))["training_copies"] is None
    backwards = [list(reversed(texts[:4])) for texts in (collection.texts, collection.greedy)]
    again = summarise(collection._replace(texts=backwards[0] + collection.texts[4:], greedy=backwards[1]))
    assert again["bleu_greedy"] == found["bleu_greedy"] and again["chrf_greedy"] == found["chrf_greedy"]


def test_samples_are_told_of_in_nats_a_token_as_the_data_are():
    """By hand: the sums of made_up's samples, and one without a word has neither nats nor tokens."""
    collection = made_up(lm=column(2, 4, 6, 1, 2, 3), lengths=torch.tensor([3, 2, 5, 3, 2, 3]))
    found = summarise(collection)
    assert (found["samples_nll"], found["samples_nll_fitted"]) == (10 / 6, 12 / 8)
    assert found["samples_nll_data"] == 1, "18 nats of 18 tokens"
    assert summarise(collection._replace(samples_lm=torch.zeros(4, 2).double()))["samples_nll"] is None
    without = summarise(collection._replace(samples_lm=None, samples_fitted_lm=None))
    assert not {"samples_nll", "samples_nll_data", "samples_nll_fitted"} & set(without)


def test_labels_are_probed_on_mu():
    collection = made_up()
    expected = probe(collection.posterior.mu.numpy(), collection.texts, collection.labels, seed=1)
    found = summarise(collection)
    assert {key: found[key] for key in expected} == expected
    assert "probe" not in summarise(collection._replace(labels=None))


def test_every_figure_is_defined_with_its_condition():
    full = summarise(made_up(), mi_batch=3)
    lacking = [name for name in full if full[name] is None]
    assert set(full) == set(names(EVALUATED)) and lacking == ["mi_source", "responses"] and full["schema"] == SCHEMA
    collection = made_up(**NOTHING)
    collection = collection._replace(given=collection.given._replace(words=20))
    bare = {key for key, value in summarise(collection).items() if value is not None}
    assert bare == set(names(EVALUATED, "always"))


def test_the_signature_names_all_settings_and_the_text():
    collection = made_up()
    found = dict(part.split(":", 1) for part in signature(collection).split("|"))
    assert found["data"] == "data#d" and found["text"] == "first_4/beam_5/prior_greedy/max_len_9"
    assert (found["z"], found["samples"], found["seed"], found["split"], found["tok"]) == (
        "3",
        "4",
        "1",
        "test",
        "none/9",
    )
    assert (found["fairseq_vae"], found["fairseq"], found["torch"]) == ("0", "1", "2") and found["sacrebleu"]
    without = collection._replace(settings=collection.settings._replace(text_sentences=None))
    assert "|text:none|" in signature(without)
    other = collection._replace(settings=collection.settings._replace(posterior="full"))
    assert "posterior" not in found and "|posterior:full" in signature(other)


def answered(**parts):
    """A collection with two responses to each of the first four sentences."""
    found = made_up(responses=["a b", "a", "c", "c c", "a b", "b d", "d", "d d"], **parts)
    return found._replace(settings=found.settings._replace(responses="2/greedy"))


def test_differences_of_two_models_are_those_of_their_figures_and_none_of_one_to_itself():
    ours = answered()
    theirs = answered(rec=ours.rec + 1)._replace(responses=["a b", "b", "b", "c d", "a", "b", "d d", "d"])
    found, figures = less(ours, theirs), [responses(collection) for collection in (ours, theirs)]
    assert found["neg_elbo"] == pytest.approx((-1, -1, -1)), "of each sentence alike"
    for name in ("bleu_4_recall", "bleu_1_f1", "rouge_l", "within_distinct_1"):
        value, low, high = found[name]
        assert value == pytest.approx(figures[0][name] - figures[1][name])
        assert low <= value <= high
    assert found["rouge_l"][0] > 0
    assert all(ends == pytest.approx((0, 0, 0), abs=1e-12) for ends in less(ours, ours).values())
    assert list(less(made_up(), made_up())) == ["neg_elbo"], "without responses"


def test_models_of_other_sentences_or_numbers_of_responses_have_no_difference():
    other = answered()
    with pytest.raises(InputError, match="data e and d: expected two evaluations of the same sentences"):
        less(other._replace(settings=other.settings._replace(data="e")), other)
    three = other._replace(settings=other.settings._replace(responses="3/greedy"), responses=["a"] * 12)
    with pytest.raises(InputError, match="3 and 2 responses to a source"):
        less(three, other)
