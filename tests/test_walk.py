"""A walk over all flags of model, criterion, task and registered parts: none is accepted and ignored.

Flags come from the dataclasses, so a new one joins the walk. Each is tried alone, beside what its refusal asks for, and
beside flags that take others their effect. Measured are weights, losses, batches and generated sentences.
"""

import contextlib
import dataclasses
import io
import re
import zlib
from argparse import Namespace
from enum import Enum
from pathlib import Path

import pytest
import torch
from denoising import TRAIN, VALID, build, epoch
from fairseq.optim.sgd import SGD
from helpers import arguments, write_data
from omegaconf import OmegaConf
from test_pairs import bfloat16  # noqa: F401  autocast on any machine

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import fingerprint
from fairseq_vae.base.needs import plain
from fairseq_vae.checkpoints.priors import save_prior
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.flags.model import REGISTRIES, latent_config
from fairseq_vae.flags.task import task_config
from fairseq_vae.latent.fitted import FittedGaussian
from fairseq_vae.latent.prior import priors

CONFIGS = {"model": latent_config(), "criterion": criterion_config(), "task": task_config()}
FIELDS = {
    field.name: (group, field)
    for group, config in CONFIGS.items()
    for field in dataclasses.fields(config)
    if field.metadata.get("help") and field.name != "data"  # no flag, but the folder that every command needs
}
VALUES = {  # of free text, and of what is bounded
    "latent_injection": ["embedding", "logits"],
    "noise_splits": ["valid", "train,valid"],
    "vamp_length": [8, 12],
    "aggressive_window": [1, 2],  # of few steps
    "aggressive_max_steps": [1, 2],
    "prior": ["0.1", "3"],  # the scale of a fitted Gaussian, whose file is made of it
}
# what shapes the weights may stand in any run, since it must fit the checkpoint that training starts from
SHAPE = {"latent_dim", *(f"latent_{registry.kind}" for registry in REGISTRIES)}


def values(name):
    """Two values that differ from the default; one of a switch, all others of a choice."""
    field = FIELDS[name][1]
    if name in VALUES:
        return VALUES[name]
    if isinstance(field.type, type) and issubclass(field.type, Enum):
        every = [member.value for member in field.type if member.value != plain(field.default)]
        if name == "latent_prior":  # of bart_vae
            every = [value for value in every if not priors[value].conditional]
        return every
    if field.type is bool:
        return [not field.default]
    if field.type is int:
        return [field.default + 2, field.default + 3]
    return [0.37, 0.61]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), train=TRAIN[:24], valid=VALID[:6], test=VALID[:6])


def made(data, flags):
    """Task, model and criterion as fairseq-train makes them; the same weights under the same names."""
    own = {group: {} for group in CONFIGS}
    for name, value in flags.items():
        own[FIELDS[name][0]][name] = value
    subsets = {"train_subset": "train", "valid_subset": "valid", "fp16": False, "bf16": False}
    task = build(data, **subsets, **own["task"])
    latent = {"latent_injection": "self-attention,embedding", "latent_memory_slots": 1, "latent_dim": 12}
    model = task.build_model(arguments(_name="bart_vae_tiny", **{**latent, **own["model"]}))
    rest = {"_name": "vae_cross_entropy", "sentence_avg": False, "max_update": 0, "seed": 1}
    criterion = task.build_criterion(OmegaConf.create({**rest, **own["criterion"]}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if model.cfg.mirror_slots:  # a flag of the initialisation, which the weights above have replaced
        model.encoder.memory.mirror(model.encoder.posterior.mu, model.decoder.layout)
    return task, model, criterion


def trained(data, flags, cache={}):  # noqa: B006  runs that come again
    """All that can be measured of three updates and a validation."""
    key = (data, *sorted(flags.items()))
    if key not in cache:
        task, model, criterion = made(data, flags)
        plain_descent = Namespace(lr=[0.01], momentum=0.0, weight_decay=0.0)
        optimizer = SGD(plain_descent, [p for p in model.parameters() if p.requires_grad])
        batches = epoch(task, "train")
        for update, batch in enumerate(batches[:3]):
            optimizer.zero_grad()
            _, size, _ = task.train_step(batch, model, criterion, optimizer, update)
            optimizer.multiply_grads(1 / size)
            task.optimizer_step(optimizer, model, update)
        with torch.no_grad():
            loss, _, _ = criterion(model.eval(), epoch(task, "valid")[0])
        iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=100, disable_iterator_cache=True)
        found = {"validation": loss, "workers stay": torch.tensor(iterator.reuse_dataloader)}
        found.update({f"batch {i}": one["net_input"]["src_tokens"] for i, one in enumerate(batches)})
        cache[key] = {**found, **{name: value.detach() for name, value in model.named_parameters()}}
    return cache[key]


def generated(data, flags):
    """The sentences that fairseq-generate makes of a model."""
    own = {name: value for name, value in flags.items() if FIELDS[name][0] == "task"}
    _, model, _ = made(data, {name: value for name, value in flags.items() if name not in own})
    path = Path(data) / "model.pt"
    if "prior" in own:
        path.write_bytes(b"its weights")
        fitted = FittedGaussian(
            {"mu": torch.zeros(model.latent_dim), "tril": float(own["prior"]) * torch.eye(model.latent_dim)}
        )
        own["prior"] = str(path.with_name(f"{own['prior']}.safetensors"))
        save_prior(fitted, own["prior"], fingerprint(path))
    task = build(data, **own)
    task.cfg.path = str(path)
    task.load_dataset("test")
    generator = task.build_generator([model.eval()], Namespace(beam=1, nbest=1, max_len_b=6))
    found, output = {"sentences": torch.tensor(len(task.dataset("test")))}, io.StringIO()
    with contextlib.redirect_stdout(output):
        for batch in epoch(task, "test"):
            for index, beams in zip(batch["id"].tolist(), task.inference_step(generator, [model], batch)):
                found[str(index)] = torch.cat([best["tokens"] for best in beams])
    found["lines"] = torch.tensor(output.getvalue().count("\n"))
    return found


def differ(one, other):
    """Whether two runs differ in something that both have, beyond rounding; weights that only one has do not count."""
    common = [key for key in one if key in other]
    return any(
        one[key].shape != other[key].shape or not one[key].double().allclose(other[key].double(), 1e-5, 1e-7)
        for key in common
        if one[key].shape == other[key].shape or not one[key].is_floating_point()
    )


def flag(name):
    return f"--{name.replace('_', '-')}"


def attempt(run, data, flags):
    try:
        return run(data, flags), ""
    except InputError as error:
        assert "\n" not in str(error), error
        return None, str(error)


def followed(data, flags, choice=-1):
    """What a run with the flags shows, or why it is refused, once refusals have got what they ask for.

    choice: which of several values that a refusal names

    Returns: the run's outcome, the message, the flags in the end, and whether it trains or generates
    """
    flags, run = dict(flags), trained
    for _ in range(6):
        found, message = attempt(run, data, flags)
        if "has no effect in training: give it to fairseq-generate" in message:
            run = generated
            continue
        missing = re.search(r"has no effect without --([a-z-]+)(?: ([a-z0-9 -]+))?: give that too", message)
        needed = missing or re.match(r"--([a-z-]+) \S+: ", message)
        name = needed.group(1).replace("-", "_") if needed else ""
        if found or not name or name in flags:
            return found, message, flags, run
        named = missing and missing.group(2)
        if named and named.endswith(" or more"):
            flags[name] = int(named.split()[0])
        else:
            flags[name] = named.split(" or ")[choice] if named else values(name)[-1]
    raise AssertionError(f"{flags}: {message}")


def counts(data, found, name, flags, run):
    """Whether a run differs from the one without a flag or, where that cannot be, with another value of it."""
    others = [value for value in values(name) if value != flags[name]]
    without = {other: given for other, given in flags.items() if other != name}
    for base in (without, *({**without, name: value} for value in others), {}):
        shown, _ = attempt(run, data, base)
        if shown:
            return differ(found, shown)


CASES = [(name, value) for name in FIELDS for value in values(name)]


@pytest.mark.parametrize("name, value", CASES)
def test_a_flag_alone_has_an_effect_or_is_refused_and_beside_what_the_refusal_asks_for_it_has_one(data, name, value):
    found, message = attempt(trained, data, {name: value})
    if found:
        assert differ(found, trained(data, {}))
        return
    assert flag(name) in message, message
    results = [followed(data, {name: value}, choice) for choice in (-1, 0)]
    assert all(found for found, *_ in results), [message for _, message, *_ in results]
    assert any(counts(data, found, name, flags, run) for found, _, flags, run in results), results[0][2]


COMPANY = [
    {"zero_latent": True},
    {"rate_controller": "lagrangian", "rate_target": 8.0, "rate_max_weight": 10.0},
]


@pytest.mark.slow
@pytest.mark.parametrize("company", COMPANY, ids=lambda company: " ".join(map(flag, company)))
@pytest.mark.parametrize("name", FIELDS)
def test_a_flag_beside_another_has_an_effect_or_is_refused(data, company, name):
    for value in values(name)[: 2 if name in company else 1]:
        results = [followed(data, {**company, name: value}, choice) for choice in (-1, 0)]
        for found, message, flags, _ in results:
            own = [flag(other) in message for other in flags if other not in company]
            assert found or (name not in SHAPE and (any(own) or name in company)), message
        ran = [result for result in results if result[0]]
        if ran and name not in company and name not in SHAPE:
            assert any(counts(data, found, name, flags, run) for found, _, flags, run in ran), ran[0][2]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"noise_ratio": 0.3}, "--noise-ratio 0.3 has no effect without --noise"),
        (
            {"noise": "deletion"},
            "--noise deletion has no effect with --noise-splits train: it needs --noise-splits test",
        ),
        ({"noise": "deletion", "noise_splits": "test,valid"}, ""),
        ({"latent_mode": "sample"}, ""),
        (
            {"aggressive_inference": True},
            "--aggressive-inference has no effect in generation: give it",
        ),
    ],
)
def test_generation_refuses_what_has_no_effect_in_it(data, flags, message):
    assert attempt(generated, data, flags)[1].startswith(message)
    assert bool(attempt(generated, data, flags)[1]) == bool(message)
