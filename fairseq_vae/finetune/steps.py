"""The steps of `fairseq-vae finetune`, by fairseq's own commands; nothing is done twice."""

import contextlib
import fcntl
import functools
import itertools
import json
import os
import re
import shlex
import shutil
import time
from pathlib import Path
from types import MappingProxyType
from typing import IO, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from fairseq.data import data_utils
from torch import Tensor

from ..base.errors import InputError, NotWritten
from ..base.files import write
from ..base.lines import one_line, read_lines, sentence
from ..base.text import Joiner, bpe_flags, build_bpe, pieces_of, read_dictionary
from ..checkpoints.read import read_checkpoint
from .encode import Cut, Limit, encode, loss
from .needs import as_settings, cut_of, limit, source_limit
from .plan import PAIRS, SPLITS, Plan, texts, words_of
from .process import call, clear, mend, train

__all__ = [
    "USER_DIR",
    "Finetuning",
    "alone",
    "binarise",
    "held",
    "hypotheses",
    "minutes",
    "save_model",
    "step",
    "train_on",
    "unmade",
]

USER_DIR = Path(__file__).parent.parent
PATIENCE = 5  # seconds


class Finetuning:
    """The run of a plan, in a folder where every step's result lies once it is complete.

    Args:
        plan: all that the run will do
    """

    def __init__(self, plan: Plan):
        self.plan, self.output = plan, plan.output

    def run(self) -> None:
        """Make all steps, and print the evaluation and the samples at the end.

        Raises:
            InputError: a step failed, and the next run goes on with it; or another run is at work in the folder
        """
        with alone(self.output):
            self.run_steps()

    def run_steps(self) -> None:
        """Make all steps in a folder that this process has locked."""
        started = time.time()
        out = self.output
        self.check_settings()
        try:
            if self.plan.left_out:
                print(f"  left out, since pairs do not have them: {', '.join(self.plan.left_out)}", flush=True)
            if self.plan.is_text:
                step("binarised text", self.plan.bin, self.binarise)
            step("checks of data, recipe and BART", out / "dict.txt", self.check)
        except NotWritten:
            raise  # the next run goes on
        except InputError:  # settings that cannot work leave the folder free for others
            if self.plan.is_text:
                for folder in (self.plan.bin, out / ".data-bin", out / "pieces"):
                    shutil.rmtree(folder, ignore_errors=True)
            (out / "settings.json").unlink()
            raise
        self.plan.weights = None  # training is in other processes
        start = self.plan.bart
        for phase, settings in self.plan.phases.items():
            step(
                f"{phase}: {settings.optimization.max_update:,} updates at most",
                out / f"{phase}.done",
                functools.partial(self.train, phase, start),
            )
            start = str(out / phase / "checkpoint_best.pt")
        step("evaluation", out / "evaluation.txt", self.evaluate)
        step("samples", out / "samples.txt", self.sample)
        print("\n" + (out / "evaluation.txt").read_text(encoding="utf-8"))
        print((out / "samples.txt").read_text(encoding="utf-8"))
        print(f"Model: {self.model}. All in {minutes(started)}.")

    @property
    def model(self) -> Path:
        """The checkpoint that the run ends with."""
        return self.output / "phase2/checkpoint_best.pt"

    def check_settings(self) -> None:
        """Refuse to mix steps of different settings in one folder.

        Raises:
            InputError: the folder holds a run with other settings, another BART or other data
        """
        path = self.output / "settings.json"
        if not path.exists():
            made = [name for phase in self.plan.phases for name in (phase, f"{phase}.done")]
            made += ["dict.txt", "evaluation.txt", "samples.txt"]
            made += ["data-bin", "pieces"] if self.plan.is_text else []
            unmade([self.output / name for name in made], "another --output")
            write(path, json.dumps(self.plan.settings, indent=2) + "\n")
            return
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # also not UTF-8
            raise InputError(f"{path} is damaged ({error}): give another --output, or delete {self.output}") from error
        now = self.plan.settings
        if not isinstance(kept, dict) or {**kept, "references": None} != {**now, "references": None}:
            raise InputError(f"{self.output} holds a run with other settings, BART or data: give another --output")
        if kept.get("references") != now["references"]:  # training has not seen them; older folders have no such key
            evaluated = self.output / "evaluation.txt"
            if evaluated.exists():
                raise InputError(
                    f"{evaluated} was made with other references than {self.plan.data} has: delete it to evaluate anew"
                )
            write(path, json.dumps(now, indent=2) + "\n")

    def binarise(self, target: Path) -> None:
        """Encode plain text with the BPE beside the BART, and binarise it with its dictionary.

        Args:
            target: the folder to write
        """
        plan = self.plan
        assert plan.bpe is not None and plan.bart is not None, "a plan of plain text has both"
        most = {split: limit(split, plan.split, plan.configurations, fixed=True) for split in SPLITS}
        sources, cut = {}, None
        if plan.is_pairs:
            sources = {split: source_limit(split, plan.configurations) for split in SPLITS}
            cut = cut_of(plan.configurations.values())
        binarise(plan.data, plan.form, plan.bart, plan.bpe, most, self.output / "pieces", target, sources, cut)

    def check(self, target: Path) -> None:
        """Check the plan's parts against one another; keep dictionary and BPE at hand, in the output folder.

        Args:
            target: the dictionary's path
        """
        try:
            self.plan.check_parts()
        except InputError as error:
            raise InputError(as_settings(str(error), self.plan.configurations["phase2"])) from error
        for path in (self.plan.bpe or {}).values():
            if os.path.isfile(path):
                write(self.output / os.path.basename(path), Path(path).read_bytes())
        write(target, self.plan.words.read_bytes())

    def train(self, phase: str, start: Optional[str], target: Path) -> None:
        """Train a phase to its last update, from where it was stopped if it was.

        Args:
            phase: its name
            start: the checkpoint that it starts from; None: random weights
            target: the file to write the command to
        """
        settings = self.plan.phases[phase]
        updates = settings.optimization.max_update
        command = ["fairseq-train", *self.plan.flags(phase, start)]
        command.insert(2, f"--user-dir={self.plan.user_dir or USER_DIR}")
        keep = settings.checkpoint.get("keep_interval_updates", -1)
        train_on(command, self.output / phase, self.output / f"{phase}.log", updates, keep)
        write(target, shlex.join(command) + "\n")

    def own_parts(self) -> List[str]:
        """The flag of fairseq-vae's commands for a plug-in of one's own, if there is one."""
        return [f"--user-dir={self.plan.user_dir}"] if self.plan.user_dir else []

    def evaluate(self, target: Path) -> None:
        """Evaluate the model on the plan's split; the numbers go to evaluation.json, the table to `target`."""
        command = ["fairseq-vae", "evaluate", str(self.model), str(self.plan.bin), f"--split={self.plan.split}"]
        command += [f"--text={self.plan.data / self.plan.split}{self.plan.form[-1]}"] if self.plan.is_text else []
        command += [f"--references={self.plan.references}"] if self.plan.references else []
        positions = self.plan.configurations["phase2"].model.max_source_positions
        command += [f"--max-tokens={positions}"] if positions > 4096 else []  # no sentence is longer
        command += self.own_parts()
        write(target, call([*command, f"--json={self.output / 'evaluation.json'}"], progress=True))

    def sample(self, target: Path) -> None:
        """Write what the model makes of examples."""
        write(target, "\n".join(self.responses() if self.plan.is_pairs else self.sentences()) + "\n")

    def responses(self) -> List[str]:
        """Five responses to each of five sources."""
        given = read_lines(self.plan.data / f"{self.plan.split}.source")
        sources = list(dict.fromkeys(given))[:5]
        path = self.output / "sources.txt"
        write(path, "".join(f"{source}\n" for source in sources))
        command = ["fairseq-vae", "respond", str(self.model), str(path), f"--data={self.plan.bin}", "--beam=1"]
        drawn = "of five z's of each one's prior"
        if self.plan.configurations["phase2"].model.zero_latent:  # which responds in one way but for the sampling
            command, drawn = [*command, "--sampling", "--sampling-topp=0.9"], "five nucleus samples (0.9) each"
        rows = [f"Responses to {len(sources)} {self.plan.split} sources, {drawn}"]
        found = [line.partition("\t") for line in call([*command, *self.own_parts()]).split("\n")[:-1]]
        for number, source in enumerate(sources, 1):
            rows += [f"  {source}", *(f"  → {text}" for place, _, text in found if int(place) == number)]
        return rows

    def sentences(self) -> List[str]:
        """Ten sentences from the prior, five reconstructions, and a line between the latents of two sentences."""
        plan = self.plan
        dictionary = read_dictionary(str(plan.bin / "dict.txt"))
        dataset = data_utils.load_indexed_dataset(str(plan.bin / plan.split), dictionary)
        join = Joiner(dictionary, plan.bpe)
        examples = list(itertools.islice(self.examples(dataset, join), 5))
        common = [str(plan.bin), f"--path={self.model}", f"--user-dir={plan.user_dir or USER_DIR}"]
        common.append("--task=vae_denoising")
        common += [f"--max-len-b={max(dataset.sizes)}", "--beam=5"]
        common += bpe_flags(plan.bpe) if plan.bpe else [f"--post-process={join.style}"] if join.style != "none" else []
        prior = call(["fairseq-generate", *common, "--latent-mode=prior", "--num-samples=10"])
        rows = ["Ten sentences from the prior", *(f"  {text}" for _, text in sorted(hypotheses(prior).items()))]
        rows.append(f"\nReconstructions of {len(examples)} {plan.split} sentences")
        if examples:
            inputs = [given for _, given in examples]
            source = self.output / "sentences.txt"
            write(source, "\n".join(inputs) + "\n")
            found = call(["fairseq-interactive", *common, f"--buffer-size={len(inputs)}", f"--input={source}"])
            for (line, _), (_, text) in zip(examples, sorted(hypotheses(found).items())):
                rows += [f"  {line}", f"  → {text}"]
            ends = inputs[:2] if len(inputs) > 1 else inputs * 2
            command = ["fairseq-vae", "interpolate", str(self.model), str(plan.bin), *self.own_parts(), "--", *ends]
            rows.append("\nOn the line between the latents of the first two")
            rows += [f"  · {text}" for text in call(command).rstrip("\n").split("\n")]
        return rows

    def examples(self, dataset: Sequence[Tensor], join: Joiner) -> Iterator[Tuple[str, str]]:
        """Sentences of a split that can be given to a command again; one with <unk> may be longer then, or empty.

        Args:
            dataset: the split's tokens
            join: tokens to text

        Yields:
            the text, and what a command is given for it: the same, or pieces where there is no BPE
        """
        shape = self.plan.configurations["phase2"].model
        most = min(shape.max_source_positions, shape.max_target_positions) - 2
        for tokens in dataset:
            text = one_line(join(tokens))
            given = text if join.bpe else join.dictionary.string(tokens)
            try:
                pieces = pieces_of(sentence(given), join.bpe, join.dictionary)
            except InputError:
                continue
            if 0 < len(pieces) <= most:
                yield text, given


@contextlib.contextmanager
def alone(folder: Path, patience: Optional[float] = None) -> Iterator[None]:
    """Hold a folder for this run and the processes that it starts; it is made if it is missing.

    Args:
        folder: of the run
        patience: seconds to wait for another run; None: PATIENCE

    Raises:
        InputError: another run holds it
    """
    with held(folder, patience) as free:
        if not free:
            raise InputError(f"another run is at work in {folder}: wait for it or stop it")
        yield


@contextlib.contextmanager
def held(folder: Path, patience: Optional[float] = None) -> Iterator[bool]:
    """Hold a folder as alone does, if it is free.

    Args:
        folder: of the run
        patience: as of alone

    Yields:
        whether this run holds it
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        free = locked(lock, PATIENCE if patience is None else patience)
        if free:
            os.set_inheritable(lock.fileno(), True)  # the last process of a killed run keeps it until it is gone
        yield free


def locked(file: IO[str], patience: float) -> bool:
    """Lock a file; the processes of a run that was killed a moment ago have `patience` seconds to be gone."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.1)


def binarise(
    text: Path,
    form: Tuple[str, ...],
    bart: str,
    bpe: Dict[str, str],
    most: Mapping[str, Limit],
    pieces: Path,
    target: Path,
    sources: Mapping[str, Limit] = MappingProxyType({}),
    cut: Optional[Cut] = None,
) -> None:
    """Encode plain text with the BPE beside a BART, and binarise it with its dictionary.

    Args:
        text: folder of sentences or pairs
        form: of the folder, see plan.check_folder
        bart: the checkpoint, beside or below which the dictionary lies
        bpe: settings of the BPE
        most: each split's longest sentence, of pairs its longest target
        pieces: folder for the encoded text
        target: the folder to write
        sources: of pairs, each split's longest source
        cut: of pairs, what training keeps of a source

    Raises:
        InputError: a sentence is too long
    """
    pieces.mkdir(exist_ok=True)
    words = words_of(bart)
    assert words is not None, "check_text saw it"
    encoder, dictionary, parts = build_bpe(bpe), read_dictionary(words), []
    sides = [f"--{side}-lang={ending[1:]}" for side, ending in zip(("source", "target"), PAIRS)]
    command = ["fairseq-preprocess", *([*sides, "--joined-dictionary"] if form == PAIRS else ["--only-source"])]
    command.append(f"--srcdict={words}")
    long = total = 0
    for split, paths in texts(text, form).items():
        for path in paths:
            is_source = form == PAIRS and path.suffix == PAIRS[0]
            limit = sources[split] if is_source else most[split]
            kept = cut is not None and is_source and limit.tokens >= cut.tokens
            parts.append(encode(path, encoder, dictionary, None if kept else limit, blank=is_source))
            write(pieces / path.name, "".join(f"{line}\n" for line in parts[-1].pieces))
            if is_source and cut is not None:
                long += sum(len(line.split(" ")) > cut.tokens for line in parts[-1].pieces)
                total += len(parts[-1].pieces)
        command.append(f"--{split}pref={pieces / (split if form == PAIRS else f'{split}.txt')}")
    if cut is not None and long:
        told = f"  {long:,} of {total:,} sources have more than {cut.tokens:,} tokens: their {cut.side} are cut off"
        print(told, flush=True)
    changed = loss(parts)
    if changed:
        print(f"  {changed}", flush=True)
    call([*command, f"--destdir={target}", f"--workers={os.cpu_count()}"])


def train_on(command: List[str], folder: Path, log: Path, updates: int, keep: int = -1) -> None:
    """Train to the last update, from where it was stopped if it was.

    Args:
        command: of fairseq-train
        folder: of its checkpoints
        log: the file that its output is appended to
        updates: at which it ends
        keep: how many checkpoints of an interval fairseq keeps; below 1: all

    Raises:
        InputError: the training failed
    """
    mend(folder, keep)
    last = folder / "checkpoint_last.pt"
    # stopped after its last update, fairseq-train would make one more
    if not last.exists() or read_checkpoint(str(last))["optimizer_history"][-1]["num_updates"] < updates:
        try:
            train(command, log, updates)
        finally:
            clear(folder)


def save_model(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint without the optimizer's state, which is two thirds of it."""
    state = read_checkpoint(str(checkpoint))
    state["last_optimizer_state"] = None
    with open(target, "wb") as file:  # by Python's file, a full disk is told as such
        torch.save(state, file)


def unmade(paths: Sequence[Path], other: str) -> None:
    """Refuse what stands where a run would take it for its own, though no run has left its settings there.

    Args:
        paths: that a run makes
        other: what to give instead, for the message

    Raises:
        InputError: one is there
    """
    for path in paths:
        if path.exists():
            raise InputError(
                f"{path} is there, but no settings.json beside it, so that no run made it: give {other}, or delete it"
            )


def step(name: str, target: Path, action: Callable[[Path], None]) -> None:
    """Make a file or folder unless it is there.

    Args:
        name: to print
        target: the path of the result
        action: makes it, at the path that it is given: beside `target`, which then gets its name, so that nothing
            half-written is taken for done

    Raises:
        NotWritten: the system does not let it be made
    """
    if target.exists():
        print(f"✓ {name}: done before")
        return
    print(f"▶ {name}", flush=True)
    started = time.time()
    temporary = target.with_name(f".{target.name}")
    if temporary.is_dir():
        shutil.rmtree(temporary)
    try:
        action(temporary)
        temporary.replace(target)
    except OSError as error:
        raise NotWritten(
            f"{name}: {error.filename or target.parent}: {error.strerror}: mend that and run it again, it goes on there"
        ) from error
    print(f"✓ {name}: {minutes(started)}", flush=True)


def hypotheses(output: str) -> Dict[int, str]:
    """The detokenised hypothesis of each sentence number, from the output of fairseq-generate or -interactive.

    >>> hypotheses("S-3\\ta dog\\nH-3\\t-0.5\\ta @@dog\\nD-3\\t-0.5\\ta dog")
    {3: 'a dog'}
    """
    return {int(number): text for number, text in re.findall(r"^D-(\d+)\t\S+\t(.*)$", output, re.MULTILINE)}


def minutes(started: float) -> str:
    """The time since `started` (of time.time), as text.

    >>> minutes(time.time() - 75)
    '1 min 15 s'
    """
    seconds = round(time.time() - started)
    return f"{seconds // 60} min {seconds % 60} s"
