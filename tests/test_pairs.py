"""Every pair of options works together or is refused in one line: training, validation, saving, resuming, generation.

The rows are a covering array: each pair of values of two options stands in at least one of them, except the pairs that
are refused. All rows run to their end, and of the pairs each is refused, so no pair hides behind another one's refusal.
"""

import functools
import itertools
import logging
import re
from argparse import Namespace

import pytest
import torch
from allpairspy import AllPairs
from fairseq import tasks
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from helpers import EVERY_INJECTION, POSTERIORS, PRIORS, command_line, configuration, every_injection, write_data

from fairseq_vae.base.corruption import corruptions
from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.latent.blocks import least_vectors
from fairseq_vae.latent.pooling import poolings
from fairseq_vae.latent.posterior import posteriors
from fairseq_vae.latent.prior import priors
from fairseq_vae.objective.controller import CONTROLLERS
from fairseq_vae.objective.terms import terms

OFF = ""
RATE = "--rate-target=2 --rate-max-weight=2"
SEVERAL = "--latent-pooling=attention --latent-vectors=2 --latent-dim=2"
# parts that need several vectors stand together; alone they are in test_states.py
NEEDY = [(part.kind, name) for part in (priors, posteriors) for name in part.names() if least_vectors(part, name) > 1]
LAYERS = " ".join(
    (SEVERAL, *(f"--latent-{kind}={name}" for kind, name in NEEDY), f"--latent-injection={every_injection(2)[-1]}")
)
OPTIONS = {
    "injection": [f"--latent-injection={name}" for name in [*EVERY_INJECTION, "self-attention,embedding"]],
    "pooling": [*(f"--latent-pooling={name}" for name in poolings.names()), SEVERAL],
    "prior": [command_line(flags) for name, flags in PRIORS.items() if ("prior", name) not in NEEDY],
    "posterior": [command_line(flags) for name, flags in POSTERIORS.items() if ("posterior", name) not in NEEDY],
    "layers": [OFF, LAYERS],  # wins over the options above
    "mirror": [OFF, "--mirror-slots"],
    "scale": [OFF, "--latent-slot-scale=0.3"],
    "slots": ["--latent-memory-slots=1", "--latent-memory-slots=2"],
    "latent": [OFF, "--deterministic-latent", "--zero-latent"],
    "frozen": [OFF, "--freeze-decoder", "--freeze-embeddings", "--freeze-decoder --freeze-embeddings"],
    "bn-mu": [OFF, "--bn-mu=0.5"],
    "variance": [OFF, "--posterior-max-variance=0.5"],
    **{name: [OFF, f"--{name.replace('_', '-')}-weight=0.5"] for name in terms.names()},
    "controller": [OFF, *(f"--rate-controller={name} {RATE}" for name in CONTROLLERS if name != "none")],
    "autocast": [OFF, "--autocast-bf16"],
    "activations": [OFF, "--checkpoint-activations", "--offload-activations"],
    "shared": [OFF, "--share-all-embeddings", "--share-decoder-input-output-embed"],
    "dropout": [OFF, "--dropout=0.1", "--encoder-layerdrop=0.5", "--decoder-layerdrop=0.5"],
    "schedule": [
        OFF,
        "--kl-schedule=linear --kl-warmup-updates=3 --kl-ramp=cosine --kl-start=0.1",
        "--kl-schedule=cyclical --kl-cycle-updates=2 --kl-zero-updates=1",
        "--kl-weight=0",
    ],
    "free bits": [
        OFF,
        "--free-bits=0.2",
        "--free-bits=0.5 --free-bits-mode=sentence",
        "--free-bits=0.2 --free-bits-mode=batch-dimension --free-bits-group=2",
        "--free-bits=0.5 --free-bits-mode=batch-sentence",
    ],
    "words": [OFF, "--word-dropout=0.3"],
    "smoothing": [OFF, "--label-smoothing=0.1"],
    "denominator": [OFF, "--sentence-avg"],
    "corruption": [f"--noise={name}" for name in corruptions.names()],
    "accumulation": [OFF, "--update-freq=2"],
    "inference": [OFF, "--aggressive-inference --aggressive-window=1 --aggressive-max-steps=2"],
    "average": [OFF, "--store-ema --ema-decay=0.9"],
    "generation": ["mean", "sample", "prior"],
}
REFUSED = (  # expressions of two values that are refused together
    # of dimensions, and of N(0, I) alone
    ("--latent-prior=(?!standard)", "--free-bits=0.2|--posterior-max-variance|--bn-mu"),
    ("--arch=bart_cvae", "--posterior-max-variance|--bn-mu"),
    ("--rate-controller", "--deterministic-latent|--zero-latent|--kl-"),
    ("--latent-posterior=(full|flow)", r"--bn-mu|--free-bits=\S+( --free-bits-mode=\S*dimension|$)"),
    ("--latent-posterior=flow", "--posterior-max-variance"),
    (
        "--zero-latent",
        r"--bn-mu|--posterior|--(?!kl)\w+-weight|--kl-|--free-bits|--noise=(?!none)|--latent-prior=\S+ "
        "|--latent-slot-scale",
    ),
    ("--kl-weight=0", "--free-bits"),
    (
        "--aggressive",
        "--zero-latent|--deterministic-latent|--freeze-decoder|--latent-posterior=flow|--latent-prior=vamp",
    ),
    ("--aggressive", f"{SEVERAL} "),
    ("--mirror-slots", "--zero-latent|--latent-injection=(?!.*cross)|--bn-mu"),
    ("--decoder-layerdrop", rf"--latent-injection=(\S+,)?embedding|{SEVERAL} "),
    (r"--bn-mu|--posterior-max|--latent-(prior|posterior)=\S+ ", f"{SEVERAL} "),
    ("--latent-memory-slots=2", "--latent-injection=(embedding|logits)$"),
)


@functools.lru_cache(maxsize=None)
def refused(one, other):
    return any(
        re.match(first, a) and re.match(second, b) for first, second in REFUSED for a, b in ((one, other), (other, one))
    )


def works(values):
    return not any(refused(*pair) for pair in itertools.combinations(values, 2))


def pairs(row):
    return set(itertools.combinations(row.items(), 2))


def count(name, value, among):
    return sum((name, value) in pair for pair in among)


def covering():
    """Rows with every pair that works. With a filter, AllPairs leaves some out; each further row takes one of them and
    then, option by option, the value that is in most of them."""
    rows = [dict(zip(OPTIONS, row)) for row in AllPairs(list(OPTIONS.values()), filter_func=works)]
    left = {
        ((one, a), (other, b))
        for one, other in itertools.combinations(OPTIONS, 2)
        for a, b in itertools.product(OPTIONS[one], OPTIONS[other])
        if not refused(a, b)
    }.difference(*map(pairs, rows))
    while left:
        row = dict(min(left))
        for name in sorted(set(OPTIONS) - set(row)):
            fitting = [value for value in OPTIONS[name] if works([*row.values(), value])]
            held = [pair for pair in left if any(pair[i][0] == name and pair[1 - i] in row.items() for i in (0, 1))]
            row[name] = max(fitting, key=lambda value: [count(name, value, among) for among in (held, left)])
        rows.append({name: row[name] for name in OPTIONS})
        left -= pairs(rows[-1])
    return rows


ROWS = covering()
PAIRS = [
    {one: a, other: b}
    for one, other in itertools.combinations(OPTIONS, 2)
    for a, b in itertools.product(OPTIONS[one], OPTIONS[other])
    if refused(a, b)
]
SIZES = (
    "--arch=bart_vae_tiny --latent-dim=4 --encoder-layers=2 --decoder-layers=2 --encoder-embed-dim=16 "
    "--decoder-embed-dim=16 --encoder-ffn-embed-dim=16 --decoder-ffn-embed-dim=16 --max-source-positions=32 "
    "--max-target-positions=32 --task=vae_denoising --criterion=vae_cross_entropy --optimizer=adam --lr=0.01 --cpu "
    "--max-tokens=40 --num-workers=0 --max-update=4 --clip-norm=1"
)


def flags(row):
    chosen = [value for name, value in row.items() if name != "generation"]
    return [*SIZES.split(), *" ".join(chosen).split()]


def trainer(data, given):
    cfg = configuration("training", [data, *given])
    torch.manual_seed(1)
    task = tasks.setup_task(cfg.task)
    for split in ("train", "valid"):
        task.load_dataset(split)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


def batches(task, split):
    """The batches of the first epoch, in the order of the sentences' lengths."""
    iterator = task.get_batch_iterator(task.dataset(split), max_tokens=40, disable_iterator_cache=True)
    return list(iterator.next_epoch_itr(shuffle=False))


def step(built):
    built.begin_epoch(1)
    built.train_step(batches(built.task, "train")[: built.cfg.optimization.update_freq[0]])


def validate(built):
    with metrics.aggregate(new_root=True) as found:
        for batch in batches(built.task, "valid"):
            built.valid_step(batch)
    return found.get_smoothed_values()


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch):
    """Autocast on any machine, however slow; and no meters of another trainer, which outlive it."""
    metrics.reset()
    monkeypatch.setattr("fairseq_vae.model.bfloat16_works", lambda device: True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    logging.disable(logging.ERROR)
    sentences = [[i % 7, (3 * i) % 11, i % 5, 2][: 1 + i % 4] for i in range(24)]
    yield write_data(tmp_path_factory.mktemp("data"), train=sentences, valid=sentences[:9], test=sentences[:5])
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(value for value in row.values() if value))
def test_a_row_of_options_trains_saves_resumes_validates_and_generates(data, tmp_path, row):
    built = trainer(data, [*flags(row), f"--save-dir={tmp_path}"])
    step(built)
    before = validate(built)
    built.consolidate_optimizer()
    built.save_checkpoint(str(tmp_path / "checkpoint_last.pt"), {"train_iterator": {"epoch": 1}, "val_loss": None})
    again = trainer(data, [*flags(row), f"--save-dir={tmp_path}"])
    again.load_checkpoint(str(tmp_path / "checkpoint_last.pt"))
    assert validate(again)["neg_elbo"] == before["neg_elbo"]
    step(built)
    step(again)
    assert all(before[key] == before[key] for key in ("rec", "kl", "loss")), "no NaN"
    for mine, theirs in zip(built.model.state_dict().values(), again.model.state_dict().values()):
        assert mine.equal(theirs), "resumed = uninterrupted"
    mode = row["generation"]
    mode = "sample" if mode == "prior" and built.model.conditional else mode  # of the prior of each source
    number = 3 if mode == "prior" else 0
    model, _, task = load_model(str(tmp_path / "checkpoint_last.pt"), data, latent_mode=mode, num_samples=number)
    task.load_dataset("test")
    generator = task.build_generator([model], Namespace(beam=2, max_len_b=8))
    for batch in batches(task, "test"):
        found = task.inference_step(generator, [model], batch)
        assert len(found) == len(batch["id"]) and all(len(one[0]["tokens"]) for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: " ".join(pair.values()))
def test_a_pair_that_no_row_has_is_refused_in_one_line(data, tmp_path, pair):
    with pytest.raises(InputError) as refusal:
        step(trainer(data, [*flags(pair), f"--save-dir={tmp_path}"]))
    assert re.search(r"^--[^\n]+$", str(refusal.value)), refusal.value


def test_every_pair_of_values_stands_in_a_row_or_is_refused():
    there = set().union(*map(pairs, ROWS))
    for one, other in itertools.combinations(OPTIONS, 2):
        for a, b in itertools.product(OPTIONS[one], OPTIONS[other]):
            assert refused(a, b) or ((one, a), (other, b)) in there, (a, b)
