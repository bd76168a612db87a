"""Commands that a server forks end as processes of their own do; configurations made by name are fairseq's."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from helpers import configuration, save_vae
from omegaconf import OmegaConf
from workers import SIZES

import fairseq_vae
from fairseq_vae.finetune.configuration import converted

PACKAGE = Path(fairseq_vae.__file__).parent
TRAINING = f"data {SIZES} --save-dir=s"
GENERATION = "data --task=vae_denoising --path=a:b --cpu"


@pytest.mark.parametrize(
    "kind, flags",
    [
        ("training", TRAINING),
        ("training", f"{TRAINING} --free-bits=0.2 --update-freq=2,3 --store-ema --adam-betas=(0.8,0.9) --fp16"),
        ("training", f"{TRAINING} --latent-prior=vamp --latent-injection=self-attention,logits --noise=deletion"),
        ("training", f"{TRAINING} --distributed-world-size=2 --distributed-no-spawn --distributed-rank=1"),
        ("training", "data --task=denoising --arch=bart_base --encoder-layers=2 --tokens-per-sample=64"),
        ("training", "data --task=translation --source-lang=a --arch=bart_cvae_tiny --criterion=vae_cross_entropy"),
        ("generation", f"{GENERATION} --beam=3 --prefix-size=2 --latent-mode=prior --prior=a:b --sampling-topp=0.3"),
        ("generation", f"{GENERATION} --constraints=ordered --latent-samples=3 --print-z --fp16 --nbest=2"),
        ("interactive_generation", f"{GENERATION} --buffer-size=3 --bpe=sentencepiece --sentencepiece-model=m"),
    ],
)
def test_a_configuration_is_that_of_fairseqs_conversion(kind, flags):
    args = options.parse_args_and_arch(getattr(options, f"get_{kind}_parser")(), input_args=flags.split())
    expected = convert_namespace_to_omegaconf(args)
    for _ in range(2):
        found = configuration(kind, flags.split())
        assert found == expected and OmegaConf.is_struct(found)
        found.common.seed = 7  # of nobody else's


@pytest.mark.parametrize("flags", [TRAINING, f"{TRAINING} --max-tokens-valid=9 --finetune-from-model=b --lr=0.1,0.2"])
def test_the_plugins_own_is_too_and_is_made_once_for_other_folders(monkeypatch, flags):
    for folder in "first", "second":
        args = options.parse_args_and_arch(options.get_training_parser(), input_args=[folder, *flags.split()[1:]])
        args.save_dir = f"{folder} of weights"
        args.finetune_from_model = args.finetune_from_model if folder == "first" else None  # as a phase without a start
        expected = convert_namespace_to_omegaconf(args)
        with monkeypatch.context() as patch:
            if folder == "second":
                patch.setattr("fairseq_vae.finetune.configuration.convert_namespace_to_omegaconf", None)
            found = converted(args)
        assert found == expected and OmegaConf.is_struct(found) and found.task.data == folder
        found.common.seed = 7


def test_the_namespace_of_a_stock_bart_is_of_one_configuration_alone():
    flags = ["data", "--task=denoising", "--arch=bart_base"]
    one, other = (
        converted(options.parse_args_and_arch(options.get_training_parser(), input_args=flags)) for _ in range(2)
    )
    one.model.encoder_layers = 99
    assert other.model.encoder_layers == 6 != one.model.encoder_layers


def test_a_folder_that_hydra_reads_otherwise_is_refused_whatever_came_before():
    for folder in "plain", "a\\":
        args = options.parse_args_and_arch(options.get_training_parser(), input_args=[folder, *TRAINING.split()[1:]])
        if folder == "plain":
            converted(args)
    with pytest.raises(Exception) as refused:
        convert_namespace_to_omegaconf(args)
    with pytest.raises(type(refused.value)):
        converted(args)


def run(name, *arguments, **options):
    return subprocess.run([str(commands.folder() / name), *arguments], capture_output=True, text=True, **options)


@pytest.mark.slow
def test_a_command_is_that_of_a_process_of_its_own(tmp_path):
    """Streams, status and folder. fairseq logs to standard output; only its line at its own import is missing."""
    ended = []
    for scripts in (Path(sys.executable).parent, commands.folder()):
        command = [str(scripts / "fairseq-validate"), "none", "--task=denoising", "--path=none"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        log = [re.sub(r"^\S+ \S+ ", "", line) for line in done.stdout.splitlines() if "tensorboardX" not in line]
        ended.append((done.returncode, log, done.stderr.splitlines()[-1]))  # of a traceback
    assert ended[0] == ended[1] and ended[0][0] == 1
    save_vae(tmp_path)
    done = run("fairseq-vae", "reconstruct", "checkpoint_best.pt", "--input=-", cwd=tmp_path, input="a dog\nthe\n")
    assert done.returncode == 0 and done.stdout.count("\n") == 2, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("filters", ["ignore", "ignore:semaphore_tracker:UserWarning,default::FutureWarning"])
def test_filters_of_warnings_are_those_of_the_variable(filters):
    done = run("fairseq-vae", "path", env={**os.environ, "PYTHONWARNINGS": filters})
    assert done.returncode == 0 and done.stdout.strip() == str(PACKAGE) and not done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_signals_reach_a_command_and_none_outlives_its_caller(tmp_path, number, status):
    save_vae(tmp_path)
    command = [str(commands.folder() / "fairseq-vae"), "sample", str(tmp_path / "checkpoint_best.pt"), "-n=1000000"]
    command += ["--batch-size=2", "--max-len=6", "--beam=1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell that runs the tests in the background would have it ignore interrupts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline()
    process.send_signal(number)
    process.communicate(timeout=300)  # which ends when nobody can write any more
    assert process.returncode == status
