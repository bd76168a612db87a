"""Two workers (gloo) make the updates of one process that sees the same batches, by fairseq's own training loop."""

import re
import subprocess
import time

import commands
import pytest
import torch
from helpers import EVERY_INJECTION, POSTERIORS, PRIORS, abreast, command_line, every_injection, write_pairs
from workers import ROOT, SENTENCES, SIZES, free_port, together, train, write_splits

from fairseq_vae.base.corruption import corruptions
from fairseq_vae.latent.pooling import poolings
from fairseq_vae.latent.posterior import FixedScaleBatchNorm, posteriors
from fairseq_vae.latent.prior import priors
from fairseq_vae.objective.controller import CONTROLLERS
from fairseq_vae.objective.free_bits import FREE_BITS_MODES
from fairseq_vae.objective.schedule import SCHEDULES
from fairseq_vae.objective.terms import terms

pytestmark = pytest.mark.slow

SEVERAL = "--latent-pooling=attention --latent-vectors=2"
RATE = "--rate-target=2 --rate-gain=0.5 --rate-max-weight=2"
RAMPS = {"linear": "--kl-warmup-updates=3 --kl-start=0.1", "cyclical": "--kl-cycle-updates=2 --kl-zero-updates=1"}
PARTS = {  # of each kind one at a time
    "prior": [*map(command_line, PRIORS.values())],
    "posterior": [*map(command_line, POSTERIORS.values())],
    "pooling": [*(f"--latent-pooling={name}" for name in poolings.names()), SEVERAL],
    "injection": [f"--latent-injection={name}" for name in EVERY_INJECTION],
    "corruption": [f"--noise={name}" for name in corruptions.names()],
    "free bits": ["", *(f"--free-bits=0.3 --free-bits-mode={mode}" for mode in reversed(FREE_BITS_MODES))],
}
REMEDIES = [  # not with one another
    *(f"--rate-controller={name} {RATE}" for name in CONTROLLERS if name != "none"),
    *(f"--kl-schedule={name} {RAMPS.get(name, '--kl-weight=0.4')}" for name in SCHEDULES),
    *(f"--{name.replace('_', '-')}-weight=0.5" for name in terms.names()),
    "--bn-mu=0.5 --posterior-max-variance=0.5",
    "--freeze-decoder --freeze-embeddings",
    "--word-dropout=0.3 --label-smoothing=0.1 --sentence-avg",
    "--checkpoint-activations",
]
AGGRESSIVE = "--aggressive-inference --aggressive-window=2 --aggressive-max-steps=5"
DETERMINISTIC = "--deterministic-latent"
PAIRS = (
    "--task=vae_translation --source-lang=src --target-lang=tgt --arch=bart_cvae_tiny --encoder-layers=2 "
    "--free-bits=0.5 --free-bits-mode=batch-sentence"
)
COPY = "--target-encoder=copy --target-encoder-layers=1"
EVERY = f"--bow-weight=0.3 --word-dropout=0.3 --sentence-avg --rate-controller=pid {RATE}"


def cases():
    """Flags of trainings in which every registered part and every remedy stands at least once."""
    closed_form = {"prior": "standard", "posterior": "diagonal"}  # free bits of dimensions need it
    parts = {kind: [flag for flag in PARTS[kind] if flag.endswith(closed_form.get(kind, ""))] for kind in PARTS}
    return [*map(" ".join, abreast(*parts.values(), REMEDIES)), *wrapped()]


def wrapped():
    """Flags of trainings in which torch's own wrapper could miss a gradient."""
    others = [flag for kind in ("prior", "posterior") for flag in PARTS[kind][1:]]
    several = [flag for flag in others if "--latent-vectors" in flag]
    layered = " ".join((*several, f"--latent-injection={every_injection(2)[-1]} --decoder-layers=2"))
    calm = [POSTERIORS[name] for name in POSTERIORS if not getattr(posteriors[name], "has_rows", True)]  # without MI
    calm += [PRIORS[name] for name in PRIORS if priors[name].of_posterior]  # either is refused with inner steps
    calm = [*(flag for flag in map(command_line, calm) if flag not in several), layered]
    others = [flag for flag in others if flag not in (*several, *calm)]
    rows = (*abreast(others, [AGGRESSIVE, EVERY, DETERMINISTIC]), *abreast(calm, [EVERY, DETERMINISTIC]))
    return [*map(" ".join, rows), "--zero-latent"]


def without_devices():
    """Let fairseq's pytorch_ddp, which names a GPU to torch's DistributedDataParallel, run on a CPU."""
    from fairseq.models import distributed_fairseq_model as fairseq_ddp

    def on_cpu(*args, device_ids, output_device, **kwargs):
        return torch.nn.parallel.DistributedDataParallel(*args, **kwargs)

    fairseq_ddp.DistributedDataParallel = on_cpu


def train_all(rank, folder):
    """The states and the last validations' figures of all cases; beside them trainings of another kind."""
    name, same = ("pair", "") if rank is not None else ("alone", "--update-freq=2")  # so many batches an update

    def run(case, data, flags, save_dir=None):
        save_dir = folder / f"{name} {case}" if save_dir is None else save_dir
        found[case] = train(folder / data, save_dir, f"{flags} {same}", rank)

    found = {}
    for number, flags in enumerate(cases()):
        run(number, "data", f"--max-epoch=2 {flags}")
    run("few", "one sentence", "--max-epoch=2 --bow-weight=0.5")
    run("pairs", "pairs", f"--max-epoch=2 {PAIRS}")
    run("pairs, copy", "pairs", f"--max-epoch=2 {PAIRS} {COPY}")
    run("whole", "data", f"--max-epoch=2 {EVERY}")
    if rank is not None:
        run("resumed", "data", f"--max-epoch=2 {EVERY}", folder / "first alone")
        run("first half", "data", f"--max-epoch=1 {EVERY}", folder / "first together")
        for epochs in (1, 2):
            run("stopped", "data", f"--max-epoch={epochs} {EVERY}", folder / "stopped")
        without_devices()
        for number, flags in enumerate(wrapped()):
            run(f"pytorch_ddp {number}", "data", f"--max-epoch=2 {flags} --ddp-backend=pytorch_ddp")
        norm = FixedScaleBatchNorm(2, gamma=0.5).train()
        norm(MU[:3] if rank == 0 else MU[3:])
        found["moments"] = norm.state_dict()
    if rank != 1:
        torch.save(found, folder / f"{name}.pt")


MU = torch.arange(10.0).view(5, 2).square()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two workers found, what one process found with updates of two batches, and where."""
    folder = tmp_path_factory.mktemp("workers")
    write_splits(folder / "data")
    write_splits(folder / "one sentence", SENTENCES[:1], SENTENCES[:1])
    (folder / "pairs").mkdir()
    both = list(zip(SENTENCES, SENTENCES[1:] + SENTENCES[:1]))
    write_pairs(folder / "pairs", train=both, valid=both[:7])
    train(folder / "data", folder / "first alone", f"--max-epoch=1 --update-freq=2 {EVERY}")
    together(train_all, folder)
    return torch.load(folder / "pair.pt"), torch.load(folder / "alone.pt"), folder


def assert_equal(pair, alone, but=()):
    """Weights and buffers to 1e-6, and the figures of the last validation to their last printed digit."""
    (mine, said), (theirs, says) = pair, alone
    assert mine["model"].keys() == theirs["model"].keys()
    for name, value in mine["model"].items():
        unseen = name.startswith("encoder.") and name.endswith("k_proj.bias")  # by softmax: rounding alone moves it
        if not unseen and not name.endswith(but or "no such name"):
            torch.testing.assert_close(value, theirs["model"][name], atol=1e-6, rtol=1e-6, msg=name)
    figures = {"num_updates"} if but else set(says) - {"wps", "wpb", "bsz", "nll_gap"}
    assert {key: said[key] for key in figures} == pytest.approx({key: says[key] for key in figures}, abs=2e-3)
    assert says["num_updates"] > 1


def test_two_workers_make_the_updates_of_one(found):
    pair, alone, _ = found
    for number, flags in enumerate(cases()):
        # the averages of --bn-mu, by which validation normalises, move once for each batch of --update-freq
        but = ("bn_mu.mean", "bn_mu.var") if "--bn-mu" in flags else ()
        try:
            assert_equal(pair[number], alone[number], but)
        except AssertionError as error:
            raise AssertionError(flags) from error


def test_torchs_own_wrapper_makes_the_same_updates_and_misses_no_gradient(found):
    pair, alone, _ = found
    first = len(cases()) - len(wrapped())
    for number in range(len(wrapped())):
        assert_equal(pair[f"pytorch_ddp {number}"], alone[first + number])


def test_every_case_trains_another_model(found):
    """Else the flags would not be in what is compared."""
    _, alone, _ = found
    norms = [sum(p.double().norm() for p in alone[number][0]["model"].values()) for number in range(len(cases()))]
    assert len(set(norms)) == len(norms)


def test_a_worker_without_a_sentence_changes_nothing(found):
    pair, alone, _ = found
    assert_equal(pair["few"], alone["few"])


def test_of_pairs_too(found):
    pair, alone, _ = found
    for case in "pairs", "pairs, copy":
        assert_equal(pair[case], alone[case])
        own = any(name.startswith("encoder.target_encoder.layers.0.") for name in alone[case][0]["model"])
        assert own == (case == "pairs, copy")


def test_the_averages_of_bn_mu_are_those_of_all_workers_rows(found):
    norm = FixedScaleBatchNorm(2, gamma=0.5).train()
    norm(MU)
    torch.testing.assert_close(found[0]["moments"], norm.state_dict())


def test_workers_that_were_stopped_go_on_bit_for_bit(found):
    (stopped, _), (whole, _) = found[0]["stopped"], found[0]["whole"]
    assert all(value.equal(whole["model"][name]) for name, value in stopped["model"].items())


def test_training_goes_on_with_another_number_of_workers(found):
    pair, alone, folder = found
    assert_equal(pair["resumed"], alone["whole"])
    assert pair["first half"][1]["num_updates"] < alone["whole"][1]["num_updates"]
    resumed = train(folder / "data", folder / "first together", f"--max-epoch=2 --update-freq=2 {EVERY}")
    assert_equal(resumed, alone["whole"])


def test_a_worker_that_is_killed_ends_the_others_and_spoils_no_checkpoint(tmp_path):
    data, port, save_dir = write_splits(tmp_path / "data"), free_port(), tmp_path / "run"
    flags = [*SIZES.split(), "--ddp-backend=legacy_ddp", "--max-epoch=100000", f"--save-dir={save_dir}"]
    group = [
        *("--distributed-world-size=2", "--distributed-no-spawn", "--distributed-backend=gloo"),
        f"--distributed-init-method=tcp://127.0.0.1:{port}",
    ]
    train_script = str(commands.folder() / "fairseq-train")
    first, second = (
        subprocess.Popen(
            [train_script, data, "--user-dir=fairseq_vae", *flags, *group, f"--distributed-rank={rank}"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    )
    try:
        while not (save_dir / "checkpoint_last.pt").exists():
            assert first.poll() is None and second.poll() is None, first.communicate()[1]
            time.sleep(0.1)
        second.kill()
        _, errors = first.communicate(timeout=300)  # a survivor that waits for ever is the fault
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert first.returncode == 1
    assert re.search("Connection (reset|closed) by peer|Broken pipe", errors.splitlines()[-1]), errors[-2000:]
    assert not list(save_dir.glob("*.tmp"))
    more = int(torch.load(save_dir / "checkpoint_last.pt")["extra_state"]["train_iterator"]["epoch"]) + 1
    _, said = train(data, save_dir, f"--max-epoch={more}")
    assert said["num_updates"] > 0
