"""fairseq's real command lines, end to end on a tiny model, and the project's own command."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import torch
from installation import install

from fairseq_vae.objective.controller import initial, lagrangian_step
from fairseq_vae.objective.schedule import kl_weight

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SPLITS = {"train": 61, "valid": 13, "test": 11}  # no multiples of fairseq's default batch size multiple, 8
TINY = (
    "--arch bart_vae_tiny --latent-dim 8 --max-source-positions 64 --max-target-positions 64 "
    "--criterion vae_cross_entropy"
)
OPTIMIZER = (
    "--optimizer adam --lr 0.01 --max-tokens 150 --cpu --num-workers 0 --log-format json --log-interval 1 "
    "--no-epoch-checkpoints"
)


def run(command, stdin=None, expect=0, cwd=ROOT, scripts=None):
    """Run a command line; returns what it printed to both streams. scripts: BIN for a process that imports all."""
    name, *arguments = command if isinstance(command, list) else command.split()
    done = subprocess.run(
        [str((scripts or commands.folder()) / name), *arguments],
        cwd=cwd,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == expect or (expect is None and done.returncode), done.stdout[-4000:]
    return done.stdout


def sentences(count, seed):
    words = random.Random(seed)
    subjects, verbs, objects = ("I you we they dogs cats", "like see want hear find", "tea rain books music snow it")
    pick = [part.split() for part in (subjects, verbs, objects)]
    return [
        " ".join([*(words.choice(part) for part in pick), *["very"] * words.randrange(4), "much ."])
        for _ in range(count)
    ]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of fairseq-preprocess --only-source."""
    folder = tmp_path_factory.mktemp("text")
    for seed, (split, count) in enumerate(SPLITS.items()):
        (folder / f"{split}.txt").write_text("\n".join(sentences(count, seed)) + "\n")
    prefs = " ".join(f"--{split}pref {folder}/{split}.txt" for split in SPLITS)
    run(f"fairseq-preprocess --only-source {prefs} --destdir {folder}/bin --workers 1")
    return folder / "bin"


def train(data, save_dir, extra="", scripts=None):
    """Train through the command line; returns what was logged at each update and at each validation."""
    output = run(
        f"fairseq-train {data} --user-dir fairseq_vae --task vae_denoising {TINY} {OPTIMIZER} --save-dir {save_dir} "
        f"--best-checkpoint-metric neg_elbo {extra}",
        scripts=scripts,
    )
    return logged(output, "train_inner"), logged(output, "valid")


def logged(output, tag):
    lines = re.findall(rf"^.*[|[] ?{tag} ?[]|](?:\[INFO\] -)? (\{{.*\}})$", output, re.MULTILINE)
    return [json.loads(line) for line in lines]


NOISY = "--noise deletion --noise-ratio 0.5 --kl-schedule linear --kl-warmup-updates 5 --free-bits 0.1 --dropout 0.1"


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A run of 8 updates in one go: its folder and its logs."""
    save_dir = tmp_path_factory.mktemp("trained")
    flags = f"{NOISY} --max-update 8 --tensorboard-logdir {save_dir}/tensorboard"
    return save_dir, *train(data, save_dir, flags, scripts=BIN)


def test_train_logs_the_metrics(trained):
    _, updates, valid = trained
    assert [int(update["num_updates"]) for update in updates] == list(range(1, 9))
    for number, update in enumerate(updates):
        assert float(update["kl_weight"]) == pytest.approx(min(1, number / 5))
        assert float(update["neg_elbo"]) == pytest.approx(float(update["rec"]) + float(update["kl"]), abs=0.01)
    last = valid[-1]
    for key in (
        "loss nll_loss rec kl neg_elbo ppl rec_ppl au mi mi_cap best_neg_elbo marginal_kl nll_gap kl_dim_max "
        "kl_dim_median kl_dim_min kl_dims diagnosis"
    ).split():
        assert f"valid_{key}" in last, key
    assert float(updates[-1]["loss"]) < float(updates[0]["loss"])


def test_train_writes_tensorboard(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = trained[0] / "tensorboard"
    tags = {tag for part in folder.iterdir() for tag in EventAccumulator(str(part)).Reload().Tags()["scalars"]}
    assert {"rec", "kl", "kl_weight", "neg_elbo", "au", "mi", "marginal_kl", "nll_gap", "kl_dim_max"} <= tags


def test_stopping_and_resuming_changes_nothing(data, trained, tmp_path):
    _, straight, valid = trained
    first, _ = train(data, tmp_path, f"{NOISY} --max-update 5")
    second, resumed_valid = train(data, tmp_path, f"{NOISY} --max-update 8 --num-workers 1")
    keys = ("loss", "rec", "kl", "kl_weight", "gnorm", "num_updates")
    expected = [[update[key] for key in keys] for update in straight]
    assert [[update[key] for key in keys] for update in first + second] == expected
    for key in ("rec", "kl", "au", "mi"):
        assert resumed_valid[-1][f"valid_{key}"] == valid[-1][f"valid_{key}"]


def test_update_freq_sees_one_beta_an_update(data, tmp_path):
    updates, _ = train(
        data, tmp_path, "--update-freq 2 --max-update 6 --kl-schedule cyclical --kl-cycle-updates 4 --kl-start 0.1"
    )
    expected = [kl_weight(update, "cyclical", 1.0, 0.1, cycle_updates=4) for update in range(6)]
    assert [float(update["kl_weight"]) for update in updates] == pytest.approx(expected, abs=1e-5)


CONTROLLED = "--rate-controller lagrangian --rate-target 3 --rate-gain 0.5 --rate-max-weight 10"


def test_a_controller_steps_once_an_update_and_resumes_bit_for_bit(data, tmp_path):
    """Also under --update-freq: its betas are those of a hand-made controller on the logged rates."""
    flags = f"{CONTROLLED} --update-freq 2 --word-dropout 0.2 --mmd-weight 1 --bow-weight 0.5 --bn-mu 0.5 --dropout 0.1"
    straight, _ = train(data, tmp_path / "straight", f"{flags} --max-update 6")
    first, _ = train(data, tmp_path / "stopped", f"{flags} --max-update 3")
    second, _ = train(data, tmp_path / "stopped", f"{flags} --max-update 6")
    keys = ("loss", "rec", "kl", "kl_weight", "gnorm", "num_updates")
    assert [[update[key] for key in keys] for update in first + second] == [
        [update[key] for key in keys] for update in straight
    ]
    states = [torch.load(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("straight", "stopped")]
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    state = initial("lagrangian", 10)
    for update in straight:
        assert float(update["kl_weight"]) == pytest.approx(state.weight.item(), abs=1e-3)
        rate = torch.tensor(float(update["kl"]), dtype=torch.float64)  # printed to 3 digits
        state = lagrangian_step(state, rate, 3, 0.5, 10)
    assert len({update["kl_weight"] for update in straight}) == 6


def test_a_controller_under_a_stock_task(data, pairs, tmp_path):
    output = run(
        f"fairseq-train {pairs} --user-dir fairseq_vae --task translation --source-lang source --target-lang target "
        f"{TINY} {OPTIMIZER} {CONTROLLED} --max-update 4 --save-dir {tmp_path} --disable-validation"
    )
    updates = logged(output, "train_inner")
    state = initial("lagrangian", 10)
    for update in updates:
        assert float(update["kl_weight"]) == pytest.approx(state.weight.item(), abs=1e-3)
        rate = torch.tensor(float(update["kl"]), dtype=torch.float64)
        state = lagrangian_step(state, rate, 3, 0.5, 10)
    assert len({update["kl_weight"] for update in updates}) == 4


def test_a_second_phase_starts_from_the_first_and_resumes(data, trained, tmp_path):
    flags = f"--finetune-from-model {trained[0]}/checkpoint_last.pt --kl-weight 0.5"
    updates, _ = train(data, tmp_path, f"{flags} --max-update 2")
    assert [float(update["kl_weight"]) for update in updates] == [0.5, 0.5]
    assert float(updates[0]["rec"]) < float(trained[1][1]["rec"])  # better than the first phase after one update
    updates, _ = train(data, tmp_path, f"{flags} --max-update 3")
    assert [int(update["num_updates"]) for update in updates] == [3]


def test_validate_and_evaluate_agree_with_training(data, trained, tmp_path):
    folder, _, valid = trained
    output = run(
        f"fairseq-validate {data} --user-dir fairseq_vae --task vae_denoising --path {folder}/checkpoint_last.pt "
        "--max-tokens 50 --cpu --log-format json"
    )
    [validated] = logged(output, "valid")
    numbers = tmp_path / "numbers.json"
    command = f"fairseq-vae evaluate {folder}/checkpoint_last.pt {data} --split valid --samples 1 --json {numbers}"
    shown = run(command, scripts=BIN)
    evaluated = json.loads(numbers.read_text())
    for key in ("rec", "kl", "neg_elbo"):
        assert float(validated[f"valid_{key}"]) == pytest.approx(float(valid[-1][f"valid_{key}"]), abs=2e-3)
        assert evaluated[key] == pytest.approx(float(valid[-1][f"valid_{key}"]), abs=2e-3)
    assert evaluated["au"] == int(valid[-1]["valid_au"]) and evaluated["sentences"] == SPLITS["valid"]
    lines = (data.parent / "valid.txt").read_text().splitlines()
    assert evaluated["words"] == evaluated["tokens"] == sum(len(line.split()) + 1 for line in lines)
    assert f"{evaluated['neg_elbo']:.2f}" in shown and "active units" in shown


GENERATE = "--task vae_denoising --user-dir fairseq_vae --cpu --max-len-b 20"


def generate(data, trained, extra):
    """What fairseq-generate printed: letter to sentence number to text."""
    output = run(f"fairseq-generate {data} --path {trained[0]}/checkpoint_last.pt {GENERATE} {extra}")
    found = {}
    for letter, number, text in re.findall(r"^([STHD])-(\d+)\t(.*)$", output, re.MULTILINE):
        found.setdefault(letter, {}).setdefault(int(number), []).append(text.split("\t")[-1])
    return found


def test_generate_reconstructs_every_sentence_alike_in_any_batch(data, trained):
    found = generate(data, trained, "--beam 5")
    lines = (data.parent / "test.txt").read_text().splitlines()
    assert [found["T"][i] for i in range(SPLITS["test"])] == [[line] for line in lines]
    assert len(found["H"]) == SPLITS["test"]
    assert generate(data, trained, "--beam 5 --batch-size 1")["H"] == found["H"]


def test_generate_samples_the_posterior_and_the_prior(data, trained):
    posterior = generate(data, trained, "--latent-mode sample --beam 2 --batch-size 3")
    assert sorted(posterior["H"]) == list(range(SPLITS["test"]))
    prior = "--latent-mode prior --num-samples 13 --beam 5"
    found = generate(data, trained, prior)
    assert sorted(found["H"]) == list(range(13)) and "T" not in found
    assert generate(data, trained, f"{prior} --batch-size 1")["H"] == found["H"]
    sampled = generate(data, trained, "--latent-mode prior --num-samples 4 --sampling --beam 3 --nbest 3")
    assert [len(sampled["H"][i]) for i in range(4)] == [3] * 4


def test_interactive(data, trained):
    output = run(
        f"fairseq-interactive {data} --path {trained[0]}/checkpoint_last.pt {GENERATE} --beam 5",
        stdin="I like tea very much .\nthey see it much .\n",
    )
    assert len(re.findall(r"^H-[01]\t", output, re.MULTILINE)) == 2
    assert re.search(r"^S-1\tthey see it much \.$", output, re.MULTILINE)


HYDRA = f"fairseq-hydra-train --config-dir {ROOT}/fairseq_vae/config --config-name finetune "


def test_hydra_train_with_a_recipe_and_in_bfloat16(data, tmp_path):
    def updates(name, override=""):
        sizes = (
            "+model.encoder_layers=1 +model.decoder_layers=1 +model.encoder_embed_dim=96 +model.decoder_embed_dim=96"
        )
        output = run(
            f"{HYDRA} recipe=li-2019-free-bits/phase2 task.data={data} {sizes} "
            f"common.user_dir={ROOT}/fairseq_vae common.cpu=true common.log_interval=1 optimization.max_update=2 "
            f"criterion.kl_warmup_updates=2 dataset.max_tokens=150 dataset.num_workers=0 "
            f"checkpoint.save_dir={tmp_path}/{name} {override}",
            cwd=tmp_path,
        )
        return [float(update["neg_elbo"]) for update in logged(output, "train_inner")]

    full = updates("full")
    assert "negative ELBO" in run(f"fairseq-vae evaluate {tmp_path}/full/checkpoint_last.pt {data}")
    assert updates("half", "common.bf16=true") == pytest.approx(full, rel=0.02) and len(full) == 2
    assert torch.load(tmp_path / "full/checkpoint_last.pt")["cfg"]["criterion"]["free_bits"] == 0.25


def test_hydra_train_refuses_an_unknown_key(data, tmp_path):
    output = run(
        f"{HYDRA} task.data={data} common.user_dir={ROOT}/fairseq_vae common.cpu=true +model.latent_dims=3",
        expect=None,
        cwd=tmp_path,
    )
    assert "latent_dims" in output


@pytest.fixture(scope="session")
def pairs(data, tmp_path_factory):
    """Source and target text for fairseq's translation task, with the dictionary of `data`."""
    folder = tmp_path_factory.mktemp("pairs")
    for split in SPLITS:
        lines = (data.parent / f"{split}.txt").read_text().splitlines()
        (folder / f"{split}.source").write_text("\n".join(lines) + "\n")
        (folder / f"{split}.target").write_text("\n".join(" ".join(line.split()[:3]) for line in lines) + "\n")
    prefs = " ".join(f"--{split}pref {folder}/{split}" for split in SPLITS)
    run(
        f"fairseq-preprocess --source-lang source --target-lang target {prefs} --destdir {folder}/bin --workers 1 "
        f"--srcdict {data}/dict.txt --tgtdict {data}/dict.txt"
    )
    return folder / "bin"


@pytest.fixture(scope="session")
def stock_bart(data, tmp_path_factory):
    """A checkpoint of fairseq's own denoising."""
    sizes = " ".join(
        f"--{side}-{flag}"
        for side in ("encoder", "decoder")
        for flag in ("layers 2", "embed-dim 32", "ffn-embed-dim 128", "attention-heads 2")
    )
    bart = tmp_path_factory.mktemp("bart")
    run(
        f"fairseq-train {data} --user-dir fairseq_vae --task denoising --arch bart_base {sizes} --mask 0.3 "
        f"--tokens-per-sample 64 --sample-break-mode complete --rotate 0 --required-batch-size-multiple 1 "
        f"--criterion cross_entropy {OPTIMIZER} "
        f"--max-update 2 --save-dir {bart}"
    )
    return bart / "checkpoint_last.pt"


def test_a_stock_bart_is_not_evaluated(data, stock_bart):
    refused = run(f"fairseq-vae evaluate {stock_bart} {data}", expect=1)
    assert "is of architecture bart_base, expected bart_vae" in refused


@pytest.mark.parametrize("arch", ["bart_vae_tiny", "bart_cvae_tiny"])
def test_fairseqs_bart_summarisation_recipe(pairs, stock_bart, arch, tmp_path):
    """examples/bart/README.summarization.md of fairseq, with only --arch and --criterion changed; of its flags, --fp16
    needs a GPU, and sizes are tiny."""
    recipe = (
        "--task translation --source-lang source --target-lang target --truncate-source --layernorm-embedding "
        "--share-all-embeddings --share-decoder-input-output-embed --reset-optimizer --reset-dataloader --reset-meters "
        "--required-batch-size-multiple 1 --label-smoothing 0.1 --dropout 0.1 --attention-dropout 0.1 "
        "--weight-decay 0.01 --optimizer adam --adam-eps 1e-08 --clip-norm 0.1 --lr-scheduler polynomial_decay "
        "--lr 0.01 --total-num-update 4 --warmup-updates 2 --update-freq 2 --skip-invalid-size-inputs-valid-test "
        "--find-unused-parameters"
    )
    output = run(
        f"fairseq-train {pairs} --user-dir fairseq_vae --restore-file {stock_bart} {recipe} "
        f"--arch {arch} --criterion vae_cross_entropy --max-tokens 150 --max-update 4 --cpu --log-format json "
        f"--log-interval 1 --save-dir {tmp_path}/vae"
    )
    assert "tensors reused" in output and len(logged(output, "train_inner")) == 4
    output = run(
        f"fairseq-generate {pairs} --path {tmp_path}/vae/checkpoint_last.pt --user-dir fairseq_vae --cpu --beam 4 "
        "--task translation --source-lang source --target-lang target --required-batch-size-multiple 1"
    )
    scores = re.findall(r"^H-\d+\t(\S+)\t", output, re.MULTILINE)
    assert len(scores) == SPLITS["test"] and len(set(scores)) > 1, "each of its own source"


@pytest.mark.parametrize("arch", ["bart_vae_tiny", "bart_cvae_tiny"])
def test_fairseqs_denoising_task(data, arch, tmp_path):
    output = run(
        f"fairseq-train {data} --user-dir fairseq_vae --task denoising --mask 0.3 --tokens-per-sample 62 "
        f"--sample-break-mode complete --rotate 0 --required-batch-size-multiple 1 "
        f"{TINY.replace('bart_vae_tiny', arch)} {OPTIMIZER} --max-update 2 --save-dir {tmp_path}"
    )
    assert len(logged(output, "train_inner")) == 2 and "valid_mi" in logged(output, "valid")[-1]


def two_workers(command):
    """The first one's output of two gloo processes, which share the batches."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (
        f"{commands.folder()}/{command} --ddp-backend legacy_ddp --distributed-world-size 2 --distributed-no-spawn "
        f"--distributed-init-method tcp://127.0.0.1:{port} --distributed-backend gloo --distributed-rank"
    )
    workers = [
        subprocess.Popen(
            [*command.split(), str(rank)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(output[-3000:] for output in outputs)
    return outputs[0]


def test_two_workers_add_up_to_one(data, trained, tmp_path):
    """The validation of two gloo processes, each with half of the set, is that of one."""
    output = two_workers(
        f"fairseq-train {data} --user-dir fairseq_vae --task vae_denoising {TINY} {OPTIMIZER} --max-update 1 "
        f"--finetune-from-model {trained[0]}/checkpoint_last.pt --lr 0 --save-dir {tmp_path}"
    )
    [valid] = logged(output, "valid")
    for key in ("rec", "kl", "neg_elbo", "au", "mi", "mi_cap", "marginal_kl", "nll_gap", "kl_dim_max"):
        assert float(valid[f"valid_{key}"]) == pytest.approx(float(trained[2][-1][f"valid_{key}"]), abs=2e-3), key


def test_a_controller_of_two_workers_is_that_of_one(data, tmp_path):
    """The same rates, betas and weights, with z sampled; test_workers has the resumption, and all other parts."""
    command = (
        f"fairseq-train {data} --user-dir fairseq_vae --task vae_denoising {TINY} {OPTIMIZER} {CONTROLLED} --dropout 0 "
        "--disable-validation --word-dropout 0.3"
    )
    one = run(f"{command} --update-freq 2 --max-update 5 --save-dir {tmp_path}/one")
    two = two_workers(f"{command} --max-update 5 --save-dir {tmp_path}/two")
    alone, shared = logged(one, "train_inner"), logged(two, "train_inner")
    assert len(alone) == len(shared) == 5 and len({update["kl_weight"] for update in shared}) == 5
    for expected, found in zip(alone, shared):
        for key in ("loss", "rec", "kl", "kl_weight", "gnorm", "bsz"):
            assert float(found[key]) == pytest.approx(float(expected[key]), rel=1e-4, abs=1.1e-3), key
    states = [torch.load(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("one", "two")]
    torch.testing.assert_close(states[1], states[0], atol=2e-5, rtol=1e-4)


def errors(output):
    return [line for line in output.splitlines() if "ERROR" in line and "fairseq_vae.errors" in line]


def test_bad_input_of_fairseqs_commands_is_one_error_line(data, trained, tmp_path):
    last = trained[0] / "checkpoint_last.pt"
    start = f"fairseq-train {data} --user-dir fairseq_vae --task vae_denoising {OPTIMIZER} --save-dir {tmp_path}/save"
    other = tmp_path / "other"
    other.mkdir()
    lines = (data / "dict.txt").read_text().splitlines()
    for name in ("test.bin", "test.idx", "valid.bin", "valid.idx"):
        (other / name).write_bytes((data / name).read_bytes())
    (other / "dict.txt").write_text("\n".join([*lines, "more 1"]) + "\n")
    cases = {
        f"{start} {TINY} --free-bits -1": "--free-bits -1.0: expected",
        f"{start} {TINY} --kl-warmup-updates 2000 --kl-start 0.1": "--kl-start 0.1 has no effect without --kl-schedule",
        f"fairseq-generate {data} --path {last} {GENERATE} --noise deletion": "--noise-splits test; or leave it out",
        f"{start} {TINY} --max-update 1 --max-source-positions 6": "--max-source-positions",
        f"{start} {TINY} --latent-dim 9 --finetune-from-model {last}": "of another architecture",
        f"fairseq-generate {other} --path {last} {GENERATE}": "--srcdict",
        f"fairseq-generate {data} --path {tmp_path}/none.pt {GENERATE}": "none.pt does not exist",
        f"{start} {TINY} --restore-file {tmp_path}/none.pt": "none.pt does not exist",
        f"fairseq-train {tmp_path} --user-dir fairseq_vae --task vae_denoising {TINY} {OPTIMIZER}": "dict.txt does not",
    }
    for command, message in cases.items():
        lines = errors(run(command, expect=None))
        assert len(lines) == 1 and message in lines[0], (command, lines)
    output = run(f"{start} {TINY} --kl-schedule sigmoidal", expect=2)
    assert "argument --kl-schedule: invalid choice: 'sigmoidal' (choose from" in output
    assert not list(tmp_path.glob("save/*"))


def test_bad_input_of_fairseq_vae_is_one_line_and_status_1(data, trained, tmp_path):
    last = trained[0] / "checkpoint_last.pt"
    cut = tmp_path / "cut.pt"
    cut.write_bytes(last.read_bytes()[:5000])
    text = tmp_path / "text.pt"
    text.write_text("not a checkpoint")
    for arguments, message in {
        f"{tmp_path}/none.pt {data}": "none.pt does not exist",
        f"{last} {tmp_path}/none": "none does not exist",
        f"{cut} {data}": "cut.pt is truncated (5,000 bytes)",
        f"{text} {data}": "text.pt cannot be read",
        f"{last} {data} --split dev": "dev.bin does not exist",
        f"{last} {data} --json {tmp_path}/no/file.json": "--json",
        f"{last} {data} --markdown {tmp_path}/no/table.md": "--markdown",
    }.items():
        output = run(f"fairseq-vae evaluate {arguments}", expect=1)
        [line] = [line for line in output.splitlines() if line.startswith("fairseq-vae")]
        assert message in line and "Traceback" not in output, output
    for sentence in "", "very " * 100:
        output = run(["fairseq-vae", "interpolate", str(last), str(data), "I like tea .", sentence], expect=1)
        assert " tokens; expected 1 to 62, the model's positions" in output and "Traceback" not in output


def test_interpolate_ends_at_the_reconstructions(data, trained):
    last = trained[0] / "checkpoint_last.pt"
    ends = ["I like tea very much .", "they see it much ."]
    output = run(["fairseq-vae", "interpolate", str(last), str(data), *ends, "--steps", "3"]).splitlines()[-3:]
    reconstructed = run(
        f"fairseq-interactive {data} --path {last} {GENERATE} --beam 5 --max-len-b 200", stdin="\n".join(ends) + "\n"
    )
    found = dict(re.findall(r"^H-([01])\t\S+\t(.*)$", reconstructed, re.MULTILINE))
    assert [output[0], output[2]] == [found["0"], found["1"]]


def test_path_is_what_user_dir_takes(tmp_path):
    done = subprocess.run([str(BIN / "fairseq-vae"), "path"], capture_output=True, text=True, cwd=tmp_path)
    path = done.stdout.strip()  # alone on standard output, for $(fairseq-vae path)
    assert not done.stderr
    assert (Path(path) / "criterion.py").exists()
    output = run(f"fairseq-train --user-dir {path} --task vae_denoising {TINY}", expect=2, cwd=tmp_path)
    assert "the following arguments are required: data" in output  # the task's own, so it was found


def test_user_dir_by_bare_name_after_a_plain_installation(data, tmp_path):
    """fairseq looks beside itself: a copy of it and the installed plug-in in one folder, and no clone in sight."""
    import shutil

    import fairseq

    site = tmp_path / "site"
    shutil.copytree(Path(fairseq.__file__).parent, site / "fairseq")
    shutil.move(install(tmp_path), site / "fairseq_vae")
    output = subprocess.run(
        f"{BIN}/fairseq-train {data} --user-dir fairseq_vae --task vae_denoising {TINY} {OPTIMIZER} --max-update 1 "
        f"--save-dir {tmp_path}/save".split(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
    ).stdout
    assert len(logged(output, "train_inner")) == 1, output[-3000:]


def test_training_warns_of_a_collapse_once_and_only_when_it_lasts(data, tmp_path):
    """Three validations of several batches each; z can say nothing under a huge beta."""
    output = run(
        f"fairseq-train {data} --user-dir fairseq_vae --task vae_denoising {TINY} {OPTIMIZER} --max-update 12 "
        f"--kl-weight 1000 --validate-interval-updates 4 --max-tokens-valid 60 --save-dir {tmp_path}"
    )
    names = [values["valid_diagnosis"] for values in logged(output, "valid")]
    warnings = [line for line in output.splitlines() if "| WARNING | fairseq_vae.validation |" in line]
    lasting = sum(a == b != "ok" for a, b in zip(names, names[1:]))
    assert len(names) >= 3 and lasting, names
    assert len(warnings) == len({line.split("| fairseq_vae.validation |")[1][:20] for line in warnings}) >= 1
    first = next(i for i, (a, b) in enumerate(zip(names, names[1:])) if a == b != "ok") + 1
    reports = [i for i, line in enumerate(output.splitlines()) if "| valid | {" in line]
    at = output.splitlines().index(warnings[0])
    assert reports[first - 1] < at, "not before a second validation has found it"
