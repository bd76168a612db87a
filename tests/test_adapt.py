"""BART checkpoints into a VAE: what arrives, what is new, what is refused."""

import logging
import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from fairseq.data import Dictionary
from fairseq.models.bart.model import BARTModel, bart_base_architecture
from helpers import EVERY_LATENT, GIVEN, V, arguments, bart, choosing, dictionary, model

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.registry import NoFlags
from fairseq_vae.checkpoints import adapt as adaptation
from fairseq_vae.checkpoints.adapt import COPIES, GPT2_WORDS, VERSION_KEY, check_origin
from fairseq_vae.latent.pooling import MeanPooling, poolings
from fairseq_vae.latent.posterior import DiagonalPosterior, posteriors
from fairseq_vae.latent.prior import StandardNormal, priors
from fairseq_vae.model import BARTVAEModel

every_injection = pytest.mark.parametrize("injection", EVERY_LATENT)
TINY = {"layers": 1, "embed_dim": 4, "ffn_embed_dim": 4, "attention_heads": 1}
NEW = ("encoder.posterior", "encoder.memory", "encoder.prior", "encoder.plugin_version")


@every_injection
def test_a_bart_checkpoint_loads(injection):
    built, state = model(injection), bart().state_dict()
    fresh = {key: value.clone() for key, value in built.state_dict().items()}
    built.load_state_dict(dict(state))
    for key, value in built.state_dict().items():
        if COPIES.fullmatch(key):
            continue  # the host makes them itself
        assert value.equal(fresh[key] if key.startswith(NEW) else state[key]), key
    kept = [key for key in state if ".encoder_attn" in key and key in fresh]
    assert bool(kept) == ("cross-attention" in injection or GIVEN in injection)


def test_a_bart_checkpoint_is_reported_in_one_line_each(caplog):
    caplog.set_level(logging.INFO)
    state = bart().state_dict()
    state["classification_heads.mnli.dense.weight"] = torch.zeros(3, 16)
    state["classification_heads.mnli.out_proj.weight"] = torch.zeros(3, 16)
    cross = sum(".encoder_attn" in key for key in state)
    model().load_state_dict(dict(state))
    lines = [record.message for record in caplog.records if record.message.startswith("BART checkpoint")]
    assert lines == [
        f"BART checkpoint: {len(state) - cross - 2} tensors reused",
        "BART checkpoint: 6 latent tensors new: encoder.posterior.mu.weight, encoder.posterior.mu.bias, "
        "encoder.posterior.logvar.weight, encoder.posterior.logvar.bias, encoder.memory.project.weight, "
        "encoder.memory.project.bias",
        f"BART checkpoint: {cross} tensors of cross-attention left out, which the injection does not use, and 2 of "
        "classification heads",
    ]


def published(fillers, mask):
    """A dictionary of a published BART: GPT-2's numbers in some order, fillers, perhaps <mask>."""
    words = Dictionary()
    numbers = list(range(GPT2_WORDS))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        words.add_symbol(str(number))
    for i in range(fillers):
        words.add_symbol(f"madeupword{i:04d}")
    if mask:
        words.add_symbol("<mask>")
    return words


def of_dictionary(words, kind=BARTVAEModel, **flags):
    built = arguments(**flags)
    built.task = "denoising"
    bart_base_architecture(built)
    return kind.build_model(
        built, SimpleNamespace(source_dictionary=words, target_dictionary=words, cfg=SimpleNamespace())
    )


SIZES_IN_CIRCULATION = {50264: (3, False), 50265: (3, True), 51200: (939, False), 51201: (939, True)}


@pytest.mark.parametrize("theirs", SIZES_IN_CIRCULATION)
@pytest.mark.parametrize("ours", SIZES_IN_CIRCULATION)
def test_dictionaries_in_circulation_fit_one_another(theirs, ours):
    flags = {f"{side}_{size}": value for side in ("encoder", "decoder") for size, value in TINY.items()}
    source = of_dictionary(published(*SIZES_IN_CIRCULATION[theirs]), BARTModel, **flags)
    target = of_dictionary(published(*SIZES_IN_CIRCULATION[ours]), **flags)
    assert len(source.encoder.dictionary) == theirs and len(target.encoder.dictionary) == ours
    target.load_state_dict(source.state_dict())
    for side in "encoder", "decoder":
        old, new = getattr(source, side).embed_tokens.weight, getattr(target, side).embed_tokens.weight
        assert new.shape == (ours, 4) and new[: 4 + GPT2_WORDS].equal(old[: 4 + GPT2_WORDS])
        if theirs % 8 == ours % 8 == 1:
            assert new[-1].equal(old[-1])
    assert target.decoder.output_projection.weight is target.decoder.embed_tokens.weight


def test_a_dictionary_of_another_size_is_refused_with_the_one_that_belongs(caplog):
    flags = {f"{side}_{size}": value for side in ("encoder", "decoder") for size, value in TINY.items()}
    source = of_dictionary(published(939, True), BARTModel, **flags)
    for words in published(939, True), published(3, True):
        del words.symbols[100]  # one line too short, in the middle
        words.indices = {symbol: i for i, symbol in enumerate(words.symbols)}
        with pytest.raises(InputError, match="a dict.txt of 51196 lines .*bart.base"):
            of_dictionary(words, **flags).load_state_dict(source.state_dict())
    state = bart().state_dict()
    for more in -1, 1:
        words = dictionary(V - 5 + more)
        with pytest.raises(InputError, match=f"dictionary of 30 symbols, .*gives {30 + more}. .*dict.txt of 25 lines"):
            of_dictionary(words).load_state_dict(dict(state))


def test_a_checkpoint_of_a_newer_version_is_refused():
    built = model()
    state = built.state_dict()
    major, minor, patch = map(int, state["encoder.plugin_version"].tolist())
    built.load_state_dict({**state, "encoder.plugin_version": torch.tensor([major, minor, patch + 5])})
    assert built.state_dict()["encoder.plugin_version"].tolist() == [major, minor, patch]
    for newer in ([major, minor + 1, 0], [major + 1, 0, 0]):
        with pytest.raises(
            InputError, match=f"the checkpoint was written by fairseq-vae {newer[0]}.{newer[1]}.0; this is .*: upgrade"
        ):
            built.load_state_dict({**state, "encoder.plugin_version": torch.tensor(newer)})
    older = {key: value for key, value in state.items() if key != "encoder.plugin_version"}
    built.load_state_dict(older)  # of before versions were kept


def test_an_average_of_checkpoints_is_read_by_the_newest_of_their_versions_and_refused_by_older_ones(monkeypatch):
    def check(reader, *versions):
        monkeypatch.setattr("fairseq_vae.checkpoints.adapt.__version__", reader)
        tensors, count = [torch.tensor(version, dtype=torch.float32) for version in versions], len(versions)
        for average in (sum(tensors).div_(count), sum(tensor * (1 / count) for tensor in tensors)):
            check_origin({"encoder.embed_tokens.weight": torch.zeros(1), VERSION_KEY: average}, "the average")

    for minor in range(100):
        for count in range(2, 21):
            check(f"3.{minor}.0", *[[3, minor, 4]] * count)
    check("0.10.0", [0, 9, 3], [0, 10, 0], [0, 9, 5])
    check("1.0.0", [0, 9, 3], [1, 0, 0])
    for older, newer in (([0, 9, 3], [0, 10, 0]), ([0, 9, 3], [1, 0, 0])):
        with pytest.raises(InputError, match=r"the average was written by fairseq-vae .*; this is 0.9.3: upgrade"):
            check("0.9.3", older, older, newer)


def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(caplog):
    built = model()
    state = built.state_dict()
    cases = [
        ({k: v for k, v in state.items() if k != "encoder.memory.project.bias"}, "1 missing, e.g. encoder.memory"),
        ({**state, "encoder.other": torch.zeros(1)}, "1 unknown, e.g. encoder.other"),
        (model(latent_pooling="attention").state_dict(), "1 unknown, e.g. encoder.posterior.query"),
        (model(latent_dim=4).state_dict(), r"encoder.posterior.mu.weight \(4x16 there, 6x16 here\)"),
        ({"linear.weight": torch.zeros(1)}, "expected the weights of bart, bart_vae or bart_cvae"),
        ({k: v[:-2] if v.shape[:1] == (30,) else v for k, v in state.items()}, "28 symbols.*--srcdict"),
    ]
    for bad, message in cases:
        with pytest.raises(InputError, match=message):
            built.load_state_dict(bad)
    assert len(caplog.records) == len(cases) and all("\n" not in record.message for record in caplog.records)


def several(vectors):
    return {"latent_vectors": vectors, "latent_pooling": "attention"}


PRIOR, POSTERIOR = "--latent-prior and its own flags", "--latent-posterior and its own flags"
OF_VECTORS = rf"{POSTERIOR}, --latent-pooling, --latent-vectors"
PASSES = {"latent_posterior": "flow", "posterior_flow_hidden": 4}


@pytest.mark.parametrize(
    "there, here, message",
    [
        *(
            (choosing(priors, one), choosing(priors, other), rf"\(look at {PRIOR}\)" if least == 1 else rf"{PRIOR}[,)]")
            for one, other, least in (
                ("mixture", "standard", 1),
                ("vamp", "standard", 1),
                ("flow", "standard", 1),
                ("layer-wise", "standard", 2),
                ("mixture", "vamp", 1),
                ("vamp", "mixture", 1),
                ("mixture", "flow", 1),
                ("flow", "vamp", 1),
            )
        ),
        ({"latent_prior": "mixture"}, {"latent_prior": "mixture", "mixture_components": 3}, rf"\(look at {PRIOR}\)"),
        *(
            ({"latent_posterior": one}, {"latent_posterior": other}, rf"unknown, e.g.* \(look at {OF_VECTORS}\)")
            for one, other in (("full", "diagonal"), ("flow", "diagonal"), ("full", "flow"), ("flow", "full"))
        ),
        (choosing(posteriors, "layer-wise"), several(2), rf"\(look at {OF_VECTORS}\)"),
        ({**PASSES, "posterior_flow_passes": 0}, PASSES, r"groups \(6 there, 2 here\).*look at --latent-posterior and"),
        (PASSES, {**PASSES, "posterior_flow_passes": 0}, r"groups \(2 there, 6 here\).*look at --latent-posterior and"),
        (PASSES, {**PASSES, "posterior_flow_passes": 1}, r"groups \(2 there, 1 here\).*look at --latent-posterior and"),
        ({}, several(2), rf"missing, e.g.*look at {OF_VECTORS}, --latent-dim, --latent-injection\)"),
        (several(2), several(3), rf"another shape, e.g.*look at {OF_VECTORS}, --latent-dim, --latent-injection\)"),
        ({}, {"latent_pooling": "attention"}, rf"posterior.query.*\(look at {OF_VECTORS}\)"),
        ({}, {"latent_dim": 4}, rf"look at {OF_VECTORS}, --latent-dim, --latent-injection\)"),
        ({}, {"injection": "embedding"}, r"look at --latent-vectors, --latent-dim, --latent-injection\)"),
        ({"encoder_layers": 1}, {}, "latent flags that it was trained with, or"),
    ],
    ids=str,
)
def test_another_latent_is_refused_with_the_flags_that_decide_over_it(there, here, message):
    state = model(**there).state_dict()
    with pytest.raises(InputError, match=message):
        model(**here).load_state_dict(state)


@pytest.fixture
def own_parts(monkeypatch):
    """A posterior, a pooling and a prior under the name `mine`, each with a weight and a buffer that --more adds."""
    for registry, base in ((posteriors, DiagonalPosterior), (poolings, MeanPooling), (priors, StandardNormal)):

        class Mine(base):
            optional_state = ("more", *getattr(base, "optional_state", ()))

            def __init__(self, *args):
                super().__init__(*args[:-1])
                self.gain = nn.Parameter(torch.ones(3))
                self.register_buffer("moments", torch.zeros(3))
                if More.on:
                    self.more = nn.BatchNorm1d(3)

        Mine.__qualname__ = f"Mine{base.__name__}"
        monkeypatch.setitem(registry.parts, "mine", Mine)
        monkeypatch.setitem(registry.configs, "mine", NoFlags)

    class More:
        on = True

    return More


def loaded(target, state, caplog):
    caplog.clear()
    caplog.set_level(logging.INFO)
    fresh = {key: value.clone() for key, value in target.state_dict().items()}
    target.load_state_dict(dict(state))
    return fresh, [record.getMessage() for record in caplog.records]


def check_both_ways(without, having, names, caplog):
    """A model's remedy with state, switched on and off between two phases."""
    names = sorted(names)
    with torch.no_grad():
        for key in names:
            having.state_dict()[key].add_(1)
    plain, rich = ({k: v.clone() for k, v in built.state_dict().items()} for built in (without, having))
    assert sorted(rich.keys() - plain.keys()) == names
    fresh, lines = loaded(having, plain, caplog)
    assert len(lines) == 1 and lines[0].startswith(f"VAE checkpoint: {len(names)} tensors new: ")
    assert sorted(lines[0].split("; ")[0].split(": ")[2].split(", ")) == names
    for key, value in having.state_dict().items():
        assert value.equal(fresh[key] if key in names else plain[key]), key
    _, lines = loaded(without, rich, caplog)
    assert len(lines) == 1 and f"VAE checkpoint: {len(names)} tensors left out, since no flag asks" in lines[0]
    assert sorted(lines[0].split("; ")[0].split(": ")[2].split(", ")) == names
    assert all(value.equal(rich[key]) for key, value in without.state_dict().items())
    fresh, lines = loaded(having, rich, caplog)
    assert not lines and all(value.equal(rich[key]) for key, value in having.state_dict().items()), "resumed"
    with pytest.raises(InputError, match=f"1 missing, e.g. {names[0]}"):  # half of it is no remedy: a broken file
        having.load_state_dict({key: value for key, value in rich.items() if key != names[0]})


def test_bn_mu_may_begin_or_end_between_two_phases(caplog):
    names = [f"encoder.posterior.bn_mu.{name}" for name in ("shift", "mean", "var")]
    check_both_ways(model(), model(bn_mu=0.5), names, caplog)


@pytest.mark.parametrize("name", [name for name in posteriors.names() if name != "diagonal"])
def test_a_diagonal_posteriors_checkpoint_begins_another_posterior_with_the_same_one(name, caplog):
    flags = choosing(posteriors, name)
    plain, built = model(std=0.3, **{**flags, "latent_posterior": "diagonal"}), model(**flags)
    more = built.state_dict().keys() - plain.state_dict().keys()
    _, lines = loaded(built, plain.state_dict(), caplog)
    assert more and len(lines) == 1 and lines[0].startswith(f"VAE checkpoint: {len(more)} tensors new: ")
    states, mask, eps = torch.randn(7, 3, 16), torch.zeros(3, 7, dtype=torch.bool), torch.randn(3, plain.latent_dim)
    expected, found = (one.encoder.posterior(states, mask).rsample(eps) for one in (plain, built))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    state = dict(built.state_dict())
    del state[min(more)]
    with pytest.raises(InputError, match=f"1 missing, e.g. {min(more)}"):
        built.load_state_dict(state)


@pytest.mark.parametrize("part, place", [("posterior",) * 2, ("pooling", "posterior"), ("prior", "prior")])
def test_the_optional_state_of_a_part_of_ones_own_may_begin_or_end_too(part, place, own_parts, caplog):
    having = model(**{f"latent_{part}": "mine"})
    own_parts.on = False
    without = model(**{f"latent_{part}": "mine"})
    names = [f"encoder.{place}.more.{name}" for name in nn.BatchNorm1d(3).state_dict()]
    check_both_ways(without, having, names, caplog)
    state = without.state_dict()
    for name in (f"encoder.{place}.gain", f"encoder.{place}.moments"):
        with pytest.raises(InputError, match=f"1 missing, e.g. {name}"):
            without.load_state_dict({key: value for key, value in state.items() if key != name})


@pytest.mark.parametrize("flags", [dict(bow_weight=1.0), dict(rate_controller="pid", rate_target=2.0)])
def test_layers_of_training_alone_that_are_left_out_are_named(flags, caplog):
    _, lines = loaded(model(), model(**flags).state_dict(), caplog)
    assert len(lines) == 1 and lines[0].startswith("VAE checkpoint: 4 tensors left out, since no flag asks for them: ")


def test_every_copy_of_the_embeddings_fits_the_dictionary(monkeypatch):
    """Those of the encoder of targets and of the frozen one are copies of the encoder's."""
    monkeypatch.setattr(adaptation, "published_words", lambda dictionary: 9)
    monkeypatch.setattr(adaptation, "PUBLISHED_ROWS", {17: "a BART"})
    copies = ["align.pretrained.embed_tokens.weight", "encoder.target_encoder.embed_tokens.weight"]
    weights = torch.arange(34.0).view(17, 2)
    state = {key: weights.clone() for key in (*adaptation.EMBEDDINGS, *copies)}
    adaptation.fit_dictionary(state, dictionary(20), "checkpoint")
    assert {len(value) for value in state.values()} == {len(dictionary(20))}
    assert all(value.equal(state["encoder.embed_tokens.weight"]) for value in state.values())


def test_every_copy_of_the_embeddings_loses_the_row_of_the_mask_with_them():
    """fairseq takes the last row, of <mask>, from BART's own tables alone where a task has none."""
    copies = ["align.pretrained.embed_tokens.weight", "encoder.target_encoder.embed_tokens.weight"]
    words = dictionary(20)
    weights = torch.arange(2.0 * (len(words) + 1)).view(-1, 2)
    state = {**{key: weights[:-1] for key in adaptation.EMBEDDINGS}, **{key: weights for key in copies}}
    adaptation.fit_dictionary(state, words, "checkpoint")
    assert all(value.equal(weights[:-1]) for value in state.values())
