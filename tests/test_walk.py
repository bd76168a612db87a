"""A walk over all flags of model, criterion, task and registered parts: none is accepted and ignored.

Flags come from the dataclasses, so a new one joins the walk. Each is tried alone, beside what its refusal asks for, and
beside flags that take others their effect. Measured are weights, losses, batches and generated sentences.
"""

import contextlib
import dataclasses
import io
import logging
import re
import zlib
from argparse import Namespace
from enum import Enum
from pathlib import Path

import pytest
import torch
from denoising import TRAIN, VALID, build, epoch, settings
from fairseq.optim.sgd import SGD
from helpers import arguments, write_data, write_pairs
from omegaconf import OmegaConf
from test_pairs import bfloat16  # noqa: F401  autocast on any machine

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import fingerprint
from fairseq_vae.base.needs import plain
from fairseq_vae.checkpoints.priors import save_prior
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.flags.model import REGISTRIES, latent_config
from fairseq_vae.flags.task import VAETranslationFlags, task_config
from fairseq_vae.latent.fitted import FittedGaussian
from fairseq_vae.latent.prior import priors
from fairseq_vae.task import VAETranslationTask

GROUPS = ("model", "criterion", "task")


def flags_of(group, config):
    """The flags of a dataclass by name, with their group."""
    fields = [field for field in dataclasses.fields(config) if field.metadata.get("help")]
    return {field.name: (group, field) for field in fields if field.name not in NO_FLAGS}


NO_FLAGS = {
    "data",  # the folder that every command needs
    *(f"max_{side}_positions" for side in ("source", "target")),  # bounds, without effect on what is within them
    *("eval_bleu_detok", "eval_bleu_detok_args"),  # other packages
}
ALONE = {
    **flags_of("model", latent_config()),
    **flags_of("criterion", criterion_config()),
    **flags_of("task", task_config()),
}
PAIRED = flags_of("task", VAETranslationFlags)  # of pairs, with a conditional model
FIELDS = {**ALONE, **PAIRED}
NEVER = {("latent_mode", "prior"), ("left_pad_target", True), ("load_alignments", True)}  # of pairs
VALUES = {  # of free text, and of what is bounded
    "latent_injection": ["embedding", "logits"],
    "noise_splits": ["valid", "train,valid"],
    "vamp_length": [8, 12],
    "aggressive_window": [1, 2],  # of few steps
    "aggressive_max_steps": [1, 2],
    "prior": ["0.1", "3"],  # the scale of a fitted Gaussian, whose file is made of it
    "source_lang": ["tgt"],
    "target_lang": ["src"],
    "upsample_primary": [2, 3],
    "eval_bleu_args": ['{"max_len_b": 2}', '{"max_len_b": 4}'],
    "eval_bleu_remove_bpe": ["@@ "],
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


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pairs whose training set is in two files, with words of which BLEU's ways of cutting words differ."""
    folder = tmp_path_factory.mktemp("pairs")
    splits = {"train": TRAIN[:12], "train1": TRAIN[12:18], "valid": VALID[:6], "test": VALID[:6]}
    short = {name: [(x, x[::-1][:8]) for x in sentences] for name, sentences in splits.items()}
    write_pairs(folder, **short)
    for path in folder.glob("dict.*"):
        lines = [re.sub("^(w1[0-9]) ", r"\1, ", line) for line in path.read_text().splitlines()]
        path.write_text("".join(re.sub("^(w[0-9]) ", r"\1@@ ", line) + "\n" for line in lines))
    return str(folder)


def is_of_pairs(data):
    return (Path(data) / "dict.src.txt").exists()


def built(data, flags):
    """The task; sources of pairs have more tokens than it keeps of them, where it cuts some off."""
    subsets = {"train_subset": "train", "valid_subset": "valid", "fp16": False, "bf16": False}
    if not is_of_pairs(data):
        return build(data, **subsets, **flags)
    known = {"required_seq_len_multiple": 1, "max_source_positions": 12, "disable_validation": False}
    cfg = VAETranslationFlags(data=data, **settings(**{**subsets, **known, **flags}))
    return VAETranslationTask.setup_task(cfg)


def made(data, flags):
    """Task, model and criterion as fairseq-train makes them; the same weights under the same names."""
    own = {group: {} for group in GROUPS}
    for name, value in flags.items():
        own[FIELDS[name][0]][name] = value
    task = built(data, own["task"])
    latent = {"latent_injection": "self-attention,embedding", "latent_memory_slots": 1, "latent_dim": 12}
    name = "bart_cvae_tiny" if is_of_pairs(data) else "bart_vae_tiny"
    model = task.build_model(arguments(_name=name, **{**latent, **own["model"]}))
    rest = {"_name": "vae_cross_entropy", "sentence_avg": False, "max_update": 0, "seed": 1}
    criterion = task.build_criterion(OmegaConf.create({**rest, **own["criterion"]}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            model.encoder.memory.reset_parameters()  # whose size is a flag's
    if model.cfg.mirror_slots:  # a flag of the initialisation, which the weights above have replaced
        model.encoder.memory.mirror(model.encoder.posterior.mu, model.decoder.layout)
    return task, model, criterion


@contextlib.contextmanager
def told(name):
    """The records of a logger."""
    lines, logger = [], logging.getLogger(name)
    handler = logging.Handler()
    handler.emit = lines.append
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield lines
    logger.setLevel(level)
    logger.removeHandler(handler)


def trained(data, flags, cache={}):  # noqa: B006  runs that come again
    """All that can be measured of three updates and a validation."""
    key = (data, *sorted(flags.items()))
    if key not in cache:
        task, model, criterion = made(data, flags)
        plain_descent = Namespace(lr=[0.01], momentum=0.0, weight_decay=0.0)
        optimizer = SGD(plain_descent, [p for p in model.parameters() if p.requires_grad])
        task.load_dataset("train", combine=is_of_pairs(data))
        batches = epoch(task, "train")
        for update, batch in enumerate(batches[:3]):
            optimizer.zero_grad()
            _, size, _ = task.train_step(batch, model, criterion, optimizer, update)
            optimizer.multiply_grads(1 / size)
            task.optimizer_step(optimizer, model, update)
        with told("fairseq.tasks.translation") as lines:
            loss, _, log = task.valid_step(epoch(task, "valid")[0], model, criterion)
        bleu = [log.get(f"_bleu_{name}", -1) for name in ("sys_len", "ref_len", "counts_0", "totals_0")]
        iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=100, disable_iterator_cache=True)
        numbers = {"bleu": bleu, "examples": len(lines), "batches": len(batches)}
        found = {"validation": loss, "workers stay": torch.tensor(iterator.reuse_dataloader)}
        found.update({key: torch.tensor(value) for key, value in numbers.items()})
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
    task = built(data, own)
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


def walked(fields):
    return [(name, value) for name in fields for value in values(name)]


@pytest.mark.parametrize("name, value", walked(ALONE))
def test_a_flag_alone_has_an_effect_or_is_refused_and_beside_what_the_refusal_asks_for_it_has_one(data, name, value):
    walk(data, name, value)


@pytest.mark.parametrize("name, value", walked(PAIRED))
def test_a_flag_of_pairs_does_too(pairs, name, value):
    if (name, value) in NEVER:
        found, message = attempt(trained, pairs, {name: value})
        assert not found and message.startswith(flag(name)) and re.search("leave it out|give that", message)
    else:
        walk(pairs, name, value)


def walk(data, name, value):
    """A flag alone, and beside what its refusal asks for."""
    found, message = attempt(trained, data, {name: value})
    if found:
        assert differ(found, trained(data, {}))
        return
    assert flag(name) in message, message
    results = [followed(data, {name: value}, choice) for choice in choices(data)]
    assert all(found for found, *_ in results), [message for _, message, *_ in results]
    assert any(counts(data, found, name, flags, run) for found, _, flags, run in results), results[0][2]


def choices(data):
    """Which of several values that a refusal names are tried; of --latent-mode, pairs have `sample` alone."""
    return (0,) if is_of_pairs(data) else (-1, 0)


COMPANY = [
    {"zero_latent": True},
    {"rate_controller": "lagrangian", "rate_target": 8.0, "rate_max_weight": 10.0},
]


@pytest.mark.slow
@pytest.mark.parametrize("company", COMPANY, ids=lambda company: " ".join(map(flag, company)))
@pytest.mark.parametrize("name", ALONE)
def test_a_flag_beside_another_has_an_effect_or_is_refused(data, company, name):
    walk_beside(data, company, name)


@pytest.mark.slow
@pytest.mark.parametrize("company", COMPANY, ids=lambda company: " ".join(map(flag, company)))
def test_flags_of_pairs_do_too(pairs, company):
    for name in PAIRED:
        walk_beside(pairs, company, name)


def walk_beside(data, company, name):
    """A flag in company, and beside what its refusal asks for."""
    for value in values(name)[: 2 if name in company else 1]:
        results = [followed(data, {**company, name: value}, choice) for choice in choices(data)]
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
