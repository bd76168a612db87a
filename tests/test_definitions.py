"""The definitions are those of the figures that are logged and evaluated: no key more, no key less."""

import pytest
from evaluation import checkpoint, everything, made, numbers  # noqa: F401  fixtures
from helpers import SENTENCES, batch, criterion, model
from test_criterion import reduced
from test_validation import partnered, split

from fairseq_vae.evaluate import evaluate
from fairseq_vae.measure.definitions import (
    DIMENSIONS,
    EVALUATED,
    LOGGED,
    PARTNERS,
    REPRESENTED,
    TERM,
    TRAINING,
    VALIDATION,
    names,
)
from fairseq_vae.objective.terms import has_parameters, terms


@pytest.mark.parametrize("definitions", [LOGGED, EVALUATED, REPRESENTED, DIMENSIONS])
def test_every_key_is_defined_once(definitions):
    assert len(set(names(definitions))) == len(names(definitions))
    assert all(definition.keys and definition.meaning for definition in definitions)


@pytest.mark.parametrize("training", [True, False])
def test_the_logged_figures_are_defined(training):
    log = criterion()(model().train(training), batch(SENTENCES))[2]
    assert set(reduced([log])) == set(names(LOGGED, TRAINING if training else VALIDATION))


def test_the_means_of_terms_are_defined():
    weights = {f"{name}_weight": 0.5 for name in terms.names()}
    of_model = {name: weight for name, weight in weights.items() if has_parameters(terms[name[: -len("_weight")]])}
    others = {name: weight for name, weight in weights.items() if name not in of_model}
    log = criterion(**others)(model(**of_model).train(), batch(SENTENCES))[2]
    assert set(reduced([log])) == set(names(LOGGED, TRAINING, TERM)) >= set(terms.names())


def test_the_figures_that_need_partners_are_defined():
    log = criterion()(model(), partnered(batch(SENTENCES), split(SENTENCES)))[2]
    assert set(reduced([log])) == set(names(LOGGED, VALIDATION, PARTNERS))


def test_the_keys_of_an_evaluation_are_defined(numbers):  # noqa: F811
    assert set(numbers) == set(names(EVALUATED))
    meaning = next(definition.meaning for definition in EVALUATED if definition.keys == ("intervals",))
    assert all(f"`{key}`" in meaning for key in numbers["intervals"])
    assert meaning.count("`") == 2 * len(numbers["intervals"])


def test_conditions_hold(made, checkpoint):  # noqa: F811
    """Without text, labels, a language model and batches, the figures that are there are those without a condition."""
    found = {key for key, value in evaluate(checkpoint, str(made), samples=2, generate=0).items() if value is not None}
    assert found == set(names(EVALUATED, "text"))
