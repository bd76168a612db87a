"""From a BART and text to a trained, measured and sampled VAE, by fairseq's own commands; nothing is done twice."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
from fairseq import options, tasks, utils
from fairseq.data import Dictionary, data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models.bart.model import bart_base_architecture
from tqdm import tqdm

from ..base.errors import InputError
from ..base.files import read_lines, write
from ..base.text import Joiner, bpe_flags, build_bpe, find_bpe
from ..checkpoints.read import model_settings, read_checkpoint
from .recipe import flags, read_recipe

USER_DIR = Path(__file__).parent.parent
SPLITS = ("train", "valid", "test")
STRUCTURE = [  # what a BART checkpoint's settings say of its shape
    *(f"{side}_{size}" for side in ("encoder", "decoder") for size in ("layers", "embed_dim", "ffn_embed_dim")),
    *(f"{side}_{what}" for side in ("encoder", "decoder") for what in ("attention_heads", "normalize_before")),
    *("encoder_learned_pos", "decoder_learned_pos", "no_token_positional_embeddings", "layernorm_embedding"),
    *("no_scale_embedding", "share_all_embeddings", "share_decoder_input_output_embed", "activation_fn"),
    *("max_source_positions", "max_target_positions"),
]


class Finetuning:
    """One run of `fairseq-vae finetune`: a folder in which every step's result lies once it is complete."""

    def __init__(
        self,
        data: str,
        output: str,
        recipe: str = "default",
        bart: Optional[str] = None,
        overrides: Sequence[str] = (),
        updates: Optional[Dict[str, int]] = None,
    ):
        """
        Args:
            data: folder of fairseq-preprocess, or of plain text in train.txt, valid.txt and perhaps test.txt
            output: folder for everything made
            recipe, overrides, updates: see read_recipe
            bart: fairseq checkpoint of a BART to start from; None: random weights

        Raises:
            InputError: something given cannot work; found before anything is trained
        """
        self.data, self.output, self.bart = Path(data).absolute(), Path(output).absolute(), bart
        self.phases = read_recipe(recipe, overrides, updates)
        self.is_text = (self.data / "train.txt").is_file() and not (self.data / "dict.txt").is_file()
        self.bin = self.output / "data-bin" if self.is_text else self.data
        needed = ("train.txt", "valid.txt") if self.is_text else ("dict.txt", "train.bin", "valid.bin")
        for name in needed:
            if not (self.data / name).is_file():
                raise InputError(
                    f"{self.data} has no {name}: expected a folder of fairseq-preprocess (dict.txt, train.bin, …), or "
                    "of plain text, one sentence a line, in train.txt, valid.txt and perhaps test.txt"
                )
        beside = [str(self.data)]
        self.shape: Dict[str, Any] = {}
        self.weights: Optional[Dict[str, Any]] = None
        if bart is not None:
            self.bart = os.path.abspath(bart)
            beside.insert(0, os.path.dirname(self.bart))
            state = read_checkpoint(self.bart)
            self.weights, self.shape = state["model"], shape(self.bart, model_settings(state))
        elif any(settings.model.get("freeze_decoder") for settings in self.phases.values()):
            raise InputError(
                f"--recipe {recipe} freezes the decoder, which without --bart has random weights: give --bart "
                "CHECKPOINT, or --set model.freeze_decoder=false"
            )
        for phase, settings in self.phases.items():
            configuration(self.flags(phase, settings, None), phase)
        self.bpe = find_bpe(beside)
        if self.is_text:
            self.check_text(beside)
        suffix = "txt" if self.is_text else "bin"
        self.split = "test" if (self.data / f"test.{suffix}").is_file() else "valid"
        inputs = [self.data / f"{split}.{suffix}" for split in SPLITS]
        self.settings = {
            "recipe": {phase: flags(settings) for phase, settings in self.phases.items()},
            "bart": fingerprint(self.bart) if bart else None,
            "data": [fingerprint(path) for path in inputs if path.is_file()],
        }

    def check_text(self, beside: List[str]) -> None:
        """Plain text can be encoded: a BPE and its dictionary are there, and every line has words."""
        if self.bpe is None or self.bart is None or not os.path.isfile(os.path.join(beside[0], "dict.txt")):
            raise InputError(
                f"{self.data} is plain text: expected dict.txt and encoder.json with vocab.bpe, or "
                f"sentencepiece.bpe.model, beside --bart {self.bart}; or give a folder of fairseq-preprocess"
            )
        for split in SPLITS:
            path = self.data / f"{split}.txt"
            if path.is_file():
                lines = read_lines(path)
                empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
                if empty or not lines:
                    raise InputError(f"{path}: {f'line {empty[0]}' if lines else 'it'} is empty: remove empty lines")

    def run(self) -> None:
        """All steps; prints the evaluation and the samples at the end.

        Raises:
            InputError: a step failed; the next run goes on with it
        """
        self.output.mkdir(parents=True, exist_ok=True)
        with open(self.output / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"another run is at work in {self.output}: wait for it or stop it") from error
            os.set_inheritable(lock.fileno(), True)  # a training that outlives a killed run keeps the lock
            self.run_steps()

    def run_steps(self) -> None:
        started = time.time()
        out = self.output
        self.check_settings()
        try:
            if self.is_text:
                step("binarised text", self.bin, self.binarise)
            step("checks of data, recipe and BART", out / "dict.txt", self.check)
        except InputError:  # what cannot work leaves the folder free for what can
            (out / "settings.json").unlink()
            if self.is_text:
                for folder in (self.bin, out / ".data-bin", out / "pieces"):
                    shutil.rmtree(folder, ignore_errors=True)
            raise
        self.weights = None
        start = self.bart
        for phase, settings in self.phases.items():
            step(
                f"{phase}: {settings.optimization.max_update:,} updates at most",
                out / f"{phase}.done",
                lambda target, phase=phase, start=start: self.train(phase, start, target),
            )
            start = str(out / phase / "checkpoint_best.pt")
        step("evaluation", out / "evaluation.txt", self.evaluate)
        step("samples", out / "samples.txt", self.sample)
        print("\n" + (out / "evaluation.txt").read_text(encoding="utf-8"))
        print((out / "samples.txt").read_text(encoding="utf-8"))
        print(f"Model: {self.model}. All in {minutes(started)}.")

    @property
    def model(self) -> Path:
        return self.output / "phase2/checkpoint_best.pt"

    def check_settings(self) -> None:
        """One folder, one run: refuse to mix steps of different settings."""
        path = self.output / "settings.json"
        if not path.exists():
            write(path, json.dumps(self.settings, indent=2) + "\n")
        elif json.loads(path.read_text(encoding="utf-8")) != self.settings:
            raise InputError(f"{self.output} holds a run with other settings, BART or data: give another --output")

    def binarise(self, target: Path) -> None:
        """Encode plain text with the BPE beside the BART, and binarise it with its dictionary."""
        pieces = self.output / "pieces"
        pieces.mkdir(exist_ok=True)
        encoder = build_bpe(self.bpe)
        command = ["fairseq-preprocess", "--only-source", f"--srcdict={Path(self.bart).with_name('dict.txt')}"]
        for split in SPLITS:
            if (self.data / f"{split}.txt").is_file():
                lines = tqdm(read_lines(self.data / f"{split}.txt"), desc=f"encoding {split}", leave=False)
                write(pieces / f"{split}.txt", "".join(encoder.encode(line.strip()) + "\n" for line in lines))
                command.append(f"--{split}pref={pieces / f'{split}.txt'}")
        call([*command, f"--destdir={target}", f"--workers={os.cpu_count()}"])

    def check(self, target: Path) -> None:
        """Build all that training will build, so that what cannot work is said now; keep dictionary and BPE at hand."""
        start = self.bart
        for phase, settings in self.phases.items():
            cfg = configuration(self.flags(phase, settings, start), phase)
            task = tasks.setup_task(cfg.task)
            task.build_criterion(cfg.criterion)
            model = task.build_model(cfg.model)
            if start is not None:
                model.load_state_dict(self.weights, strict=True)
            start = None  # phase 2 goes on from a file of phase 1's
        Joiner(task.source_dictionary, self.bpe)  # evaluation and samples need words
        positions = utils.resolve_max_positions(task.max_positions(), model.max_positions())
        for split in ("train", "valid", self.split):
            task.load_dataset(split)
            dataset = task.dataset(split)
            task.filter_indices_by_size(np.arange(len(dataset)), dataset, positions)
        for path in (self.bpe or {}).values():
            if os.path.isfile(path):
                shutil.copyfile(path, self.output / os.path.basename(path))
        shutil.copyfile(self.bin / "dict.txt", target)

    def flags(self, phase: str, settings, start: Optional[str]) -> List[str]:
        """A phase's flags of fairseq-train."""
        model = {key: value for key, value in self.shape.items() if key not in settings.model}
        checkpoint = {"save_dir": str(self.output / phase), "finetune_from_model": start}
        return flags(
            settings, model=model, checkpoint=checkpoint, task={"data": str(self.bin)}, common={"user_dir": None}
        )

    def train(self, phase: str, start: Optional[str], target: Path) -> None:
        settings = self.phases[phase]
        command = ["fairseq-train", *self.flags(phase, settings, start)]
        command.insert(2, f"--user-dir={USER_DIR}")
        mend(self.output / phase)
        last, updates = self.output / phase / "checkpoint_last.pt", settings.optimization.max_update
        # stopped after its last update, fairseq-train would make one more
        if not last.exists() or read_checkpoint(str(last))["optimizer_history"][-1]["num_updates"] < updates:
            train(command, self.output / f"{phase}.log", updates)
        write(target, shlex.join(command) + "\n")

    def evaluate(self, target: Path) -> None:
        command = ["fairseq-vae", "evaluate", str(self.model), str(self.bin), f"--split={self.split}"]
        write(target, call([*command, f"--json={self.output / 'evaluation.json'}"], progress=True))

    def sample(self, target: Path) -> None:
        """Ten sentences from the prior, five reconstructions, and a line between the latents of two sentences."""
        dictionary = Dictionary.load(str(self.bin / "dict.txt"))
        dataset = data_utils.load_indexed_dataset(str(self.bin / self.split), dictionary)
        join = Joiner(dictionary, self.bpe)
        texts = [join(dataset[i]) for i in range(min(5, len(dataset)))]
        inputs = texts if self.bpe else [dictionary.string(dataset[i]) for i in range(len(texts))]
        common = [
            str(self.bin),
            f"--path={self.model}",
            f"--user-dir={USER_DIR}",
            "--task=vae_denoising",
        ]
        common += [f"--max-len-b={max(dataset.sizes)}", "--beam=5"]
        common += bpe_flags(self.bpe) if self.bpe else [f"--post-process={join.style}"] if join.style != "none" else []
        prior = call(["fairseq-generate", *common, "--latent-mode=prior", "--num-samples=10"])
        source = self.output / "sentences.txt"
        write(source, "\n".join(inputs) + "\n")
        reconstructed = call(["fairseq-interactive", *common, f"--buffer-size={len(texts)}", f"--input={source}"])
        ends = inputs[:2] if len(inputs) > 1 else inputs * 2
        between = call(["fairseq-vae", "interpolate", str(self.model), str(self.bin), *ends])
        rows = ["Ten sentences from the prior", *(f"  {text}" for _, text in sorted(hypotheses(prior).items()))]
        rows.append(f"\nReconstructions of {len(texts)} {self.split} sentences")
        for line, (_, text) in zip(texts, sorted(hypotheses(reconstructed).items())):
            rows += [f"  {line}", f"  → {text}"]
        rows.append("\nOn the line between the latents of the first two")
        rows += [f"  · {text}" for text in between.splitlines()]
        write(target, "\n".join(rows) + "\n")


def step(name: str, target: Path, action: Callable[[Path], None]) -> None:
    """Make `target` unless it is there; `action` writes beside it, so no half-written step is taken for done."""
    if target.exists():
        print(f"✓ {name}: done before")
        return
    print(f"▶ {name}", flush=True)
    started = time.time()
    temporary = target.with_name(f".{target.name}")
    if temporary.is_dir():
        shutil.rmtree(temporary)
    action(temporary)
    temporary.replace(target)
    print(f"✓ {name}: {minutes(started)}", flush=True)


def shape(path: str, settings: Namespace) -> Dict[str, Any]:
    """The flags that make bart_vae as large as a BART, those that are not the architecture's own defaults.

    Raises:
        InputError: the checkpoint is of no BART, or of one that no flags make
    """
    if not hasattr(settings, "encoder_layers") or not settings.arch.startswith(("bart", "mbart")):
        raise InputError(f"--bart {path} is of architecture {settings.arch}, expected a BART's")
    defaults = Namespace()
    bart_base_architecture(defaults)
    given = Namespace(**vars(settings))
    bart_base_architecture(given)
    result = {}
    for key in STRUCTURE:
        value, default = getattr(given, key, None), getattr(defaults, key, None)
        if default is True and value is False:
            raise InputError(
                f"--bart {path} has {key} off, which no flag of fairseq-train can say: use fairseq-hydra-train with "
                f"model.{key}=false"
            )
        if value != default:
            result[key] = value
    return result


def configuration(arguments: List[str], what: str):
    """fairseq-train's configuration of these flags, by its own parser.

    Raises:
        InputError: a flag is unknown or its value has another type
    """
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            args = options.parse_args_and_arch(options.get_training_parser(), input_args=arguments)
            return convert_namespace_to_omegaconf(args)
    except SystemExit as error:
        reason = messages.getvalue().strip().splitlines()[-1].split("error: ")[-1]
        raise InputError(f"{what} of the recipe: {reason}") from error


def hypotheses(output: str) -> Dict[int, str]:
    """Sentence number to detokenised hypothesis, from what fairseq-generate or -interactive printed."""
    return {int(number): text for number, text in re.findall(r"^D-(\d+)\t\S+\t(.*)$", output, re.MULTILINE)}


def environment() -> Dict[str, str]:
    """Settings that pay on a CPU: threads that sleep while they wait, and large buffers kept for the next update (some
    12 % of an update's time goes into getting them back from the kernel)."""
    scripts = os.path.dirname(sys.executable)
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "MALLOC_TOP_PAD_": "300000000",
        "PYTHONWARNINGS": "ignore",
        **os.environ,
        "PATH": os.pathsep.join((scripts, os.environ.get("PATH", ""))),
    }


def call(command: List[str], progress: bool = False) -> str:
    """Run a command, shown first; returns its standard output. progress: let its standard error through."""
    print(f"  $ {shlex.join(command)}", flush=True)
    pipes = {"stdout": subprocess.PIPE, "stderr": None if progress else subprocess.PIPE}
    with running(command, text=True, **pipes) as process:
        output, errors = process.communicate()
    if process.returncode:
        raise failure(command, output + (errors or "see above"))
    return output


def run(command: List[str]) -> None:
    """Run a command that shows its own progress."""
    print(f"  $ {shlex.join(command)}", flush=True)
    with running(command) as process:
        process.wait()
    if process.returncode:
        raise InputError(f"{command[0]} ended with status {process.returncode}, see above")


@contextlib.contextmanager
def running(command: List[str], **options: Any):
    """A process that is stopped if what waits for it is (but by no SIGKILL). It holds the run's lock."""
    process = subprocess.Popen(command, env=environment(), close_fds=False, **options)
    try:
        yield process
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()


def failure(command: List[str], output: str, log: Optional[Path] = None) -> InputError:
    """What went wrong in a command, by its own ERROR line or else its last."""
    lines = [line for line in output.splitlines() if line.strip()] or ["it said nothing"]
    reason = next((line for line in reversed(lines) if "ERROR" in line), lines[-1])
    return InputError(f"{command[0]} failed: {reason}" + (f" (all of it: {log})" if log else ""))


def train(command: List[str], log: Path, updates: int) -> None:
    """Run fairseq-train under a progress bar, its output appended to a log."""
    print(f"  $ {shlex.join(command)}", flush=True)
    interval = 0.5 if sys.stderr.isatty() else 15
    with open(log, "a", encoding="utf-8") as file, tqdm(total=updates, unit="update", mininterval=interval) as bar:
        start = file.tell()
        with running(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout:
                file.write(line)
                found = re.search(r"\| train_inner \| (\{.*\})$", line)
                warning = re.search(r"\| WARNING \| fairseq_vae\.validation \| (.*)$", line)
                if warning:
                    tqdm.write(f"  {warning.group(1)}", file=sys.stderr)
                if found:
                    values = {key: float(value) for key, value in json.loads(found.group(1)).items()}
                    shown = f"rec {values['rec']:.1f} kl {values['kl']:.1f} β {values['kl_weight']:.2f}"
                    bar.set_postfix_str(shown, refresh=False)
                    bar.update(int(values["num_updates"]) - bar.n)
    if process.returncode:
        with open(log, encoding="utf-8") as file:
            file.seek(start)
            raise failure(command, file.read(), log)


def mend(folder: Path) -> None:
    """Replace checkpoints that a kill cut off: fairseq writes one file, then copies it to the others byte by byte."""
    whole = [path for path in folder.glob("checkpoint*.pt") if zipfile.is_zipfile(path)]
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        path = folder / name
        if path.exists() and path not in whole:
            path.unlink()
            if whole:
                newest = max(whole, key=lambda found: found.stat().st_mtime)
                shutil.copyfile(newest, folder / ".mended")
                (folder / ".mended").replace(path)


def fingerprint(path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def minutes(started: float) -> str:
    seconds = round(time.time() - started)
    return f"{seconds // 60} min {seconds % 60} s"
