"""Registration of parts: what clashes or lacks something is refused, and flags, help and hydra follow a new part."""

import dataclasses
from argparse import ArgumentParser
from dataclasses import dataclass, field

import pytest
import torch
from hydra.core.config_store import ConfigStore
from torch import nn

from fairseq_vae.base.corruption import corruptions
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.registry import Registry
from fairseq_vae.criterion import VAECrossEntropyCriterion
from fairseq_vae.latent.injection import injections
from fairseq_vae.latent.pooling import poolings
from fairseq_vae.latent.posterior import posteriors
from fairseq_vae.latent.prior import StandardNormal, priors
from fairseq_vae.model import BARTVAEModel
from fairseq_vae.objective.terms import terms
from fairseq_vae.task import VAEDenoisingTask

REGISTRIES = (priors, posteriors, poolings, injections, terms, corruptions)


@dataclass
class Flags:
    toy_size: int = field(default=3, metadata={"help": "of the toy (default: 3)"})


@pytest.fixture(params=REGISTRIES, ids=lambda registry: registry.kind)
def registry(request):
    """Each registry; what a test adds goes afterwards."""
    kept = [dict(part) for part in (request.param.parts, request.param.configs, request.param.helps)]
    yield request.param
    for part, before in zip((request.param.parts, request.param.configs, request.param.helps), kept):
        part.clear()
        part.update(before)
    for listener in request.param.listeners:
        listener()


def toy(registry):
    """A part that has all its kind needs."""

    class Toy:
        signature = "toy"

        def forward(self): ...

        def size(self): ...

        def check(self, cfg): ...

        def loss(self, batch): ...

    return Toy


def flags():
    """Flags of the model, the criterion and the task."""
    parsers = [ArgumentParser() for _ in range(3)]
    for parser, cls in zip(parsers, (BARTVAEModel, VAECrossEntropyCriterion, VAEDenoisingTask)):
        cls.add_args(parser)
    return {option: action for parser in parsers for action in parser._actions for option in action.option_strings}


def test_a_new_part_brings_its_flags_its_name_and_its_help(registry):
    assert "--toy-size" not in flags()
    registry.register("toy", Flags, help="a toy of this test")(toy(registry))
    found = flags()
    assert found["--toy-size"].help == "of the toy (default: 3)" and found["--toy-size"].type is int
    if registry is not terms:
        chooser = {"noise": "--noise"}.get(registry.kind, f"--latent-{registry.kind}")
        assert "toy (a toy of this test)" in found[chooser].help
        assert registry is injections or "toy" in list(found[chooser].choices)
    groups = {"term": ["criterion/vae_cross_entropy"], "noise": ["task/vae_denoising"]}.get(
        registry.kind, ["model/bart_vae"]
    )
    for group in groups:
        node = ConfigStore.instance().load(f"{group}.yaml").node
        assert node.toy_size == 3, "hydra knows it"
    assert registry["toy"].__name__ == "Toy" and registry.names()[-1] == "toy"


def test_a_taken_name_is_refused(registry):
    taken = registry.names()[0]
    with pytest.raises(InputError, match=f"{registry.kind} '{taken}' .*Toy.*: that name belongs to fairseq_vae"):
        registry.register(taken)(toy(registry))
    registry.register(taken, registry.configs[taken], registry.helps[taken])(registry[taken])  # an import again


def test_a_part_that_lacks_something_is_refused(registry):
    for need in registry.needs:
        part = type("Part", (), {other: 1 for other in registry.needs if other != need})
        with pytest.raises(InputError, match=f"'part' .*Part.* lacks {need}"):
            registry.register("part")(part)
    assert "part" not in registry.names()


def field_of(**settings):
    return dataclasses.make_dataclass("Flags", [("some_flag", int, field(**settings))])


@pytest.mark.parametrize(
    "config, message",
    [
        (object, "expected a dataclass"),
        (field_of(), "some_flag of Flags lacks a default"),
        (field_of(default=1), "some_flag of Flags lacks help in its metadata"),
        (dataclasses.make_dataclass("F", [("bn_mu", int, field(default=1, metadata={"help": "x"}))]), "--bn-mu"),
        (dataclasses.make_dataclass("F", [("mmd_weight", int, field(default=1, metadata={"help": "x"}))]), "--mmd-w"),
    ],
)
def test_a_bad_configuration_is_refused_by_its_field(registry, config, message):
    with pytest.raises(InputError, match=message):
        registry.register("toy", config)(toy(registry))
    assert "toy" not in registry.names() and "--some-flag" not in flags()


def test_parts_share_a_flag_that_they_inherit_from_the_same_dataclass():
    parts = Registry("toy", counts=lambda name: {"toy": (name,), "off": (False,)})

    @dataclass
    class More(Flags):
        toy_more: int = field(default=1, metadata={"help": "of one alone"})

    try:
        parts.register("first", Flags)(object)
        parts.register("second", More)(int)
        parts.register("third")(float)
        found = {one.name: one.metadata["needs"] for one in parts.fields()}
        off = {"off": (False,)}
        assert found == {"toy_size": {"toy": ("first", "second"), **off}, "toy_more": {"toy": ("second",), **off}}
        again = dataclasses.make_dataclass("Again", [("toy_size", int, field(default=3, metadata={"help": "x"}))])
        with pytest.raises(InputError, match="toy 'first' has a flag --toy-size; choose another name"):
            parts.register("fourth", again)(str)
    finally:
        Registry.every.remove(parts)


def test_a_flag_of_the_models_own_is_refused():
    config = dataclasses.make_dataclass("F", [("latent_dim", int, field(default=1, metadata={"help": "x"}))])
    with pytest.raises(InputError, match="--latent-dim is a flag already"):
        priors.register("toy", config)(StandardNormal)
    assert "toy" not in priors.names()


def test_an_unknown_name_is_refused_with_those_there_are(registry):
    with pytest.raises(InputError, match=f"unknown {registry.kind} 'none-such': choose one of {registry.names()[0]}"):
        registry["none-such"]


def test_a_term_with_the_name_of_a_models_attribute_is_refused():
    from helpers import model

    @dataclass
    class Config:
        encoder_weight: float = field(default=1.0, metadata={"help": "x"})

    class Term(nn.Linear):
        def __init__(self, config, latent_dim, width, words):
            super().__init__(1, 1)

        def loss(self, batch):
            return torch.zeros(())

    terms.register("encoder", Config)(Term)
    try:
        with pytest.raises(InputError, match="term 'encoder': the model has an attribute of that name"):
            model(encoder_weight=1.0)
    finally:
        for part in (terms.parts, terms.configs, terms.helps):
            del part["encoder"]
        for listener in terms.listeners:
            listener()


def test_flags_fill_a_parts_configuration():
    parts = Registry("toy")
    parts.register("toy", Flags)(object)
    try:
        assert parts.config("toy", None) == Flags(3)
        assert parts.config("toy", type("Values", (), {"toy_size": 5})) == Flags(5)
    finally:
        Registry.every.remove(parts)
