"""Whatever adds, averages, casts or flattens a state dict takes every part's, and what it makes is read again.

The cases come from the registries: a new part joins by its name, and its flags that are numbers with the default 0 are
switched on where that adds to the state.
"""

import copy
import dataclasses
import functools
from argparse import Namespace

import pytest
import torch
from fairseq.models.ema.ema import EMA
from helpers import PRIORS, SENTENCES, B, abreast, arguments, batch, choosing, criterion, hypotheses, model
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.swa_utils import AveragedModel

from fairseq_vae.base.precision import ExactBuffers
from fairseq_vae.base.version import __version__
from fairseq_vae.checkpoints.adapt import ALIGNMENT, VERSION_KEY, latent_keys
from fairseq_vae.checkpoints.hf_write import to_hf
from fairseq_vae.flags.model import latent_config
from fairseq_vae.latent.pooling import poolings
from fairseq_vae.latent.posterior import posteriors
from fairseq_vae.latent.prior import priors
from fairseq_vae.objective.controller import CONTROLLERS
from fairseq_vae.objective.terms import has_parameters, terms

CONTROLLER = {"rate_target": 2.0, "rate_gain": 0.05, "rate_max_weight": 2.0}


def adds_state(chosen, switch):
    """Whether a switch adds to the state of a model."""
    return model(**chosen, **switch).state_dict().keys() != model(**chosen).state_dict().keys()


CASES = [{}, *({"rate_controller": name, **CONTROLLER} for name in CONTROLLERS if name != "none")]
CASES += [{"latent_pooling": name, **prior} for name, prior in abreast(poolings.names(), [*PRIORS.values()])]
for kind, registry in (("prior", priors), ("posterior", posteriors), ("pooling", poolings), ("term", terms)):
    for name in registry.names():
        if kind == "term" and not has_parameters(registry[name]):
            continue
        chosen = {} if kind == "term" else choosing(registry, name)
        switches = [{field.name: 0.5} for field in dataclasses.fields(registry.configs[name]) if field.default == 0.0]
        switches = [switch for switch in switches if adds_state(chosen, switch)]
        CASES += [{**chosen, **switch} for switch in [{}, *switches] if switch or kind not in ("prior", "pooling")]
CASES.append({"latent_vectors": 2, "latent_dim": 3, "latent_pooling": "attention"})
DEFAULTS = {field.name: field.default for field in dataclasses.fields(latent_config())}
CASES = [{key: value for key, value in flags.items() if value != DEFAULTS.get(key)} for flags in CASES]
CASES = [flags for number, flags in enumerate(CASES) if flags not in CASES[:number]]
NAMES = [" ".join(f"{key}={value}" for key, value in flags.items() if key not in CONTROLLER) for flags in CASES]
every_case = pytest.mark.parametrize("flags", CASES, ids=[name or "plain" for name in NAMES])
in_turns = pytest.mark.parametrize(  # with a second choice for every other case
    "flags, other",
    [(flags, number % 2 > 0) for number, flags in enumerate(CASES)],
    ids=[name or "plain" for name in NAMES],
)
VERSION = [int(number) for number in __version__.split(".")]


def step(built, update):
    """One update; the model's state then has moments, sums and counters that are not those of its beginning."""
    built.train().set_num_updates(update)
    built.zero_grad()
    loss = criterion()(built, batch(SENTENCES))[0]
    loss.backward()
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-3)


def trained(updates=3, **flags):
    return copy.deepcopy(trained_once(updates, *flags.items()))


@functools.lru_cache(maxsize=None)
def trained_once(updates, *flags):
    built = model("self-attention,cross-attention", std=0.3, **dict(flags))
    for update in range(updates):
        step(built, update)
    return built


def clones(built):
    return {key: value.clone() for key, value in built.state_dict().items()}


def check_sane(built, last=None):
    """The model goes on: it validates with finite figures, takes an update, and its controller's beta is one."""
    _, _, log = criterion()(built.eval(), batch(SENTENCES))
    assert log["rec"].isfinite() and log["kl"].isfinite()
    step(built, 0 if last is None else last + 1)
    assert built.state_dict()[VERSION_KEY].tolist() == VERSION
    if built.rate_controller is not None:
        controller = built.rate_controller
        assert 0 <= controller.weight <= 2 and controller.memory.isfinite() and controller.sums.isfinite().all()
        assert controller.sums[1] == B and controller.update == built.num_updates


@in_turns
def test_a_moving_average_is_its_closed_form(flags, other):
    built, decay = trained(**flags), 0.75
    cfg = Namespace(ema_decay=decay, ema_seed_model=None, ema_fp32=other, ema_update_freq=1)
    averaged = EMA(built, cfg)
    expected = clones(built)
    places = [value.data_ptr() for value in built.state_dict().values()]
    for update in range(3, 6):
        step(built, update)
        averaged.step(built)
        for key, value in built.state_dict().items():
            keep = decay ** places.count(value.data_ptr())  # fairseq counts a tied weight once for each of its names
            if "version" not in key:
                expected[key] = keep * expected[key] + (1 - keep) * value
    for key, value in averaged.get_model().state_dict().items():
        torch.testing.assert_close(value, expected[key])
    again = model("self-attention,cross-attention", **flags)
    again.load_state_dict(clones(averaged.get_model()))
    check_sane(again)


def test_a_moving_average_keeps_the_layer_norm_at_the_end():
    built = trained(encoder_normalize_before=True, decoder_normalize_before=True)
    averaged = EMA(built, Namespace(ema_decay=0.5, ema_seed_model=None, ema_fp32=False, ema_update_freq=1))
    averaged.step(built)
    for key, value in averaged.get_model().state_dict().items():
        torch.testing.assert_close(value, built.state_dict()[key])
    assert averaged.get_model().encoder.layer_norm is not None and averaged.get_model().decoder.layer_norm is not None


def average_checkpoints(states):
    """What fairseq's scripts/average_checkpoints.py does, in the release whose division refuses integers."""
    total = {}
    for state in states:
        for key, value in state.items():
            value = value.float() if value.dtype == torch.float16 else value
            total[key] = total[key] + value if key in total else value.clone()
    return {key: value.div_(len(states)) for key, value in total.items()}


@every_case
def test_the_average_of_equal_checkpoints_is_that_checkpoint(flags):
    built = trained(**flags)
    state = clones(built)
    for count in (2, 3, 4):
        found = average_checkpoints([copy.deepcopy(state) for _ in range(count)])
        for key, value in state.items():  # a third of three times a number is not always that number
            torch.testing.assert_close(found[key], value, atol=0, rtol=2e-7 if count == 3 else 0)
    other = trained(5, **flags)
    found = average_checkpoints([state, clones(other)])
    again = model("self-attention,cross-attention", **flags)
    again.load_state_dict(copy.deepcopy(found))
    for key, value in again.state_dict().items():
        assert value.equal(found[key]), key
    check_sane(again)


@in_turns
def test_torchs_averaged_model_takes_every_buffer(flags, other):
    built = trained(**flags)
    averaged, states = AveragedModel(built, use_buffers=other), []
    for update in range(3, 6):
        step(built, update)
        averaged.update_parameters(built)
        states.append(clones(built))
    found = {key[7:]: value for key, value in averaged.state_dict().items() if key != "n_averaged"}
    for key, value in found.items():
        copied = not other and key in dict(built.named_buffers())
        expected = states[-1][key] if copied else torch.stack([state[key] for state in states]).mean(0)
        torch.testing.assert_close(value, expected)
    again = model("self-attention,cross-attention", **flags)
    again.load_state_dict(found)
    check_sane(again)


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_model_trains_validates_and_generates(flags, dtype):
    built = trained(**flags)
    exact = clones(built)
    if built.rate_controller is not None:
        built.rate_controller.update.fill_(100_001)
        built.rate_controller.sums.copy_(torch.tensor([1e9 + 1, 70_001], dtype=torch.float64))
    rec = criterion()(built.eval(), batch(SENTENCES))[2]["rec"]
    exact_buffers = copy.deepcopy([list(m.buffers()) for m in built.modules() if isinstance(m, ExactBuffers)])
    built.to(dtype)
    for before, after in zip(exact_buffers, (m for m in built.modules() if isinstance(m, ExactBuffers))):
        assert all(mine.equal(theirs.to(mine)) for mine, theirs in zip(after.buffers(), before))
    assert next(built.parameters()).dtype == dtype
    torch.testing.assert_close(criterion()(built, batch(SENTENCES))[2]["rec"].float(), rec, rtol=0.03, atol=0)
    assert all(tokens for tokens, _ in hypotheses(built, batch(SENTENCES), beam=2))
    step(built, 200_000)
    state = clones(built)
    again = model("self-attention,cross-attention", **flags)
    again.load_state_dict(state)
    check_sane(again, 200_000)
    built.load_state_dict(exact)
    check_sane(built)


@every_case
def test_a_cast_state_dict_is_read(flags):
    built = trained(**flags)
    if built.rate_controller is not None:
        built.rate_controller.update.fill_(100_001)
        built.rate_controller.sums.copy_(torch.tensor([1e9 + 1, 70_001], dtype=torch.float64))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        again = model("self-attention,cross-attention", **flags)
        again.load_state_dict({key: value.to(dtype) for key, value in clones(built).items()})
        check_sane(again, 100_001)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_parameters_flatten_into_one_vector_of_one_precision(flags, dtype):
    built = trained(**flags).to(dtype)
    exact, vector = clones(built), parameters_to_vector(built.parameters())
    assert {parameter.dtype for parameter in built.parameters()} == {dtype} == {vector.dtype}
    vector_to_parameters(vector.clone(), built.parameters())
    assert all(value.equal(exact[key]) for key, value in built.state_dict().items())


@every_case
def test_hugging_faces_folder_holds_the_latent_state(flags, tmp_path):
    from safetensors.torch import load_file

    built = model("cross-attention", std=0.3, **flags).half()
    settings = {**vars(arguments("cross-attention", **flags)), "arch": "bart_vae"}
    torch.save({"args": Namespace(**settings), "model": built.state_dict()}, tmp_path / "model.pt")
    to_hf(str(tmp_path / "model.pt"), str(tmp_path / "hf"))
    kept = {key: value for key, value in built.state_dict().items() if not key.startswith(ALIGNMENT)}
    state = {key: value for key, value in kept.items() if key.startswith(latent_keys())}
    found = load_file(tmp_path / "hf/latent.safetensors")
    assert found.keys() == state.keys()
    assert all(value.equal(state[key]) and value.dtype == state[key].dtype for key, value in found.items())


@every_case
def test_safetensors_hold_the_state(flags, tmp_path):
    from safetensors.torch import load_file, save_file

    built = trained(**flags)
    save_file(clones(built), tmp_path / "state.safetensors")
    again = model("self-attention,cross-attention", **flags)
    again.load_state_dict(load_file(tmp_path / "state.safetensors"))
    for key, value in again.state_dict().items():
        assert value.equal(built.state_dict()[key]) and value.dtype == built.state_dict()[key].dtype, key
    check_sane(again, 2)


@every_case
def test_older_checkpoints_have_integers_and_are_read_to_the_bit(flags):
    built = trained(**flags)
    state = clones(built)
    for key in (VERSION_KEY, "rate_controller.update"):
        if key in state:
            state[key] = state[key].long()
    again = model("self-attention,cross-attention", **flags)
    again.load_state_dict(state)
    for key, value in built.state_dict().items():
        assert value.equal(again.state_dict()[key]), key
