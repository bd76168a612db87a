"""The trainings and evaluations of a study, each in its own folder; gather reads back what they measured."""

import contextlib
import functools
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

from ..base.errors import InputError, NotWritten
from ..base.files import fingerprint, source_fingerprint, write
from ..base.store import can_keep
from ..base.text import find_bpe
from ..checkpoints.read import first_line, folders, model_settings, read_checkpoint
from ..collect import joiner, load_split
from ..flags.effects import check_effects
from .configuration import configuration
from .encode import Limit
from .kept import prints, read_settings, same, settings
from .needs import cut_of
from .plan import BINARISED, SPLITS, build, check_folder, check_text, first_loss, shape, texts
from .process import call
from .steps import USER_DIR, alone, binarise, held, minutes, save_model, step, train_on, unmade
from .study import Point, Study, as_flags

__all__ = ["WAIT", "Curve"]

BEGUN = ".begun"  # that a run has gone beyond its checks
WAIT = 600  # seconds for another run that writes what both need


class Spent:
    """The seconds that an amount of work has taken."""

    def __init__(self) -> None:
        self.amount, self.seconds = 0, 0.0

    @contextlib.contextmanager
    def more(self, amount: int) -> Iterator[None]:
        """Count a block that works off this amount; one that fails does not count."""
        started = time.time()
        yield
        self.amount += amount
        self.seconds += time.time() - started


class Curve:
    """The run of a study, in a folder where each point has its own: ARM/seed-S/FLAG-VALUE.

    A point's folder holds model.pt (without the optimizer's state), train.log, and of each split that was evaluated
    SPLIT.json, SPLIT.txt and SPLIT.tsv (each sentence's nats), of pairs also SPLIT with all that the evaluation is made
    of, unless a flow or layer-wise latents are among it; failed.txt says why a point has failed.

    Args:
        study: all that there is to do
        output: the study's folder
        arms: those to make; empty: all
        user_dir: folder of a plug-in of one's own that is imported already

    Raises:
        InputError: an arm is unknown, or data or BART are of another kind
    """

    def __init__(self, study: Study, output: str, arms: Sequence[str] = (), user_dir: Optional[str] = None):
        unknown = [arm for arm in arms if arm not in study.arms]
        if unknown:
            raise InputError(f"--only {unknown[0]}: expected arms of the study, {', '.join(study.arms)}")
        if study.data is None:
            raise InputError(f"{study.path}: data: expected a folder, here or as --data DIR")
        self.study, self.output = study, Path(output).absolute()
        self.points = [point for point in study.points if not arms or point.arm in arms]
        self.user_dir = None if user_dir is None else os.path.abspath(user_dir)
        self.data = Path(study.data)
        self.form = check_folder(self.data)
        self.is_text = self.form != BINARISED
        self.bin = self.output / "data-bin" if self.is_text else self.data
        self.pieces = self.output / "data-bin-pieces"
        self.bpe = find_bpe([*(folders(study.bart) if study.bart else []), study.data])
        self.weights: Optional[Dict[str, Any]] = None
        self.shape: Dict[str, str] = {}
        self.unkept: Set[str] = set()  # arms whose distributions cannot be kept on disk
        self.spent = {"updates": Spent(), "evaluations": Spent()}
        if self.is_text:
            check_text(self.data, self.form, study.bart, self.bpe, study.split)
        self.texts = texts(self.data, self.form)
        self.references = self.data / f"{study.split}.references"
        if study.split not in self.texts:
            raise InputError(f"{study.path}: split: {study.split}: {self.data} has no such split")
        if study.bart:
            state = read_checkpoint(study.bart)
            self.weights = state["model"]
            sizes = shape(study.bart, model_settings(state))
            self.shape = as_flags("bart", {key.replace("_", "-"): value for key, value in sizes.items()})

    def run(self) -> None:
        """Make all points that are not there; a point that fails ends its chain, and the others go on.

        Raises:
            InputError: settings cannot work or are not those of the folder, another run is at work in it, or the
                system does not let something be written
        """
        with alone(self.output, WAIT):  # another run may begin at the same time
            self.check_settings()
            left = [point for point in self.points if not self.done(point)]
            done = len(self.points) - len(left)
            evaluations, samples = sum(point.evaluated for point in left), self.study.evaluate.get("samples")
            print(
                f"{len(self.points):,} points, {done:,} of them done before; {self.updates(left):,} updates to go, and "
                f"{evaluations:,} evaluations{f', K = {samples}' if samples else ''}",
                flush=True,
            )
            if not left:
                return
            self.prepare(left)
        self.weights = None  # training is in other processes
        # those without z first: the others are held to them
        started, theirs = time.time(), sorted(chains(left), key=lambda chain: not chain[-1].zero_latent)
        for patience in (0.0, None):  # first what no other run is at, then what others have left
            mine, theirs = theirs, []
            for chain in mine:
                with held((self.output / chain[0].place).parent, patience) as free:
                    if not free:
                        theirs.append(chain)
                        continue
                    self.make_chain(chain, left, started)
                left = [point for point in left if point not in chain]
        print(f"\nAll in {minutes(started)}.")
        if theirs:
            print(f"Another run is at work on {sum(map(len, theirs)):,} points: it shows the table of all at its end.")

    def prepare(self, points: Sequence[Point]) -> None:
        """Binarise text and check the points, in a folder that this process has locked.

        Raises:
            InputError: as of check; a folder in which no run has come further is free for other settings then
        """
        try:
            if self.is_text:
                step("binarised text", self.bin, self.binarise)
            self.check(points)
        except NotWritten:
            raise  # the next run goes on
        except InputError:
            if not ((self.output / BEGUN).exists() or begun(self.output)):
                if self.is_text:
                    for folder in (self.bin, self.bin.with_name(f".{self.bin.name}"), self.pieces):
                        shutil.rmtree(folder, ignore_errors=True)
                (self.output / "settings.json").unlink(missing_ok=True)
            raise
        (self.output / BEGUN).touch()

    def make_chain(self, chain: Sequence[Point], left: Sequence[Point], started: float) -> None:
        """Make the points of a chain in order, as far as none fails.

        Args:
            chain: points that start from one another, or one that stands alone
            left: all points that this run may have to make
            started: when it began, of time.time
        """
        for point in chain:
            told = self.folder(point) / "failed.txt"
            if told.exists() and told.stat().st_mtime > started:  # to another run, and it would to this one
                return
            if self.done(point):
                continue
            rest = self.estimate([other for other in left if not self.done(other)])
            about = "" if rest is None else f", about {minutes(time.time() - rest)} left"
            number = self.points.index(point) + 1
            print(f"\npoint {number} of {len(self.points)}: {point} ({minutes(started)} so far{about})")
            if not self.make(point):
                return

    def estimate(self, points: Sequence[Point]) -> Optional[float]:
        """Seconds that points will take, by what trainings and evaluations have taken so far; None before there is one
        of each."""
        updates, evaluations = self.spent["updates"], self.spent["evaluations"]
        if not (updates.amount and evaluations.amount):
            return None
        evaluated = sum(point.evaluated for point in points)
        return (
            self.updates(points) * updates.seconds / updates.amount
            + evaluated * evaluations.seconds / evaluations.amount
        )

    def updates(self, points: Sequence[Point]) -> int:
        """The updates of the points that are not trained yet."""
        return sum(point.updates for point in points if not (self.folder(point) / "model.pt").exists())

    def folder(self, point: Point) -> Path:
        """Where a point lies."""
        return self.output / point.place

    def done(self, point: Point) -> bool:
        """Whether a point is trained, and evaluated if it is to be."""
        return (self.folder(point) / (f"{self.study.split}.json" if point.evaluated else "model.pt")).exists()

    def check_settings(self) -> None:
        """Refuse to mix points of different settings in one folder; more arms, seeds and points may come.

        Raises:
            InputError: the folder or a point in it is of other settings; the message names the first one
        """
        study = self.study
        common: Dict[str, Any] = {
            "bart": None if study.bart is None else fingerprint(study.bart)[:16],
            "data": {split: prints(paths) for split, paths in self.texts.items()},
            "pairs": study.pairs,
            "evaluate": study.evaluate,
        }
        if self.references.exists():
            common["data"][self.references.name] = prints([self.references])
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / "settings.json"
        if path.exists():
            there = read_settings(path)
            if "pairs" not in there:  # an older one
                common.pop("pairs")
            evaluated = any(self.output.glob(f"*/seed-*/*/{study.split}.json"))
            if not evaluated and isinstance(there.get("data"), dict):  # no training has seen the references
                there["data"].pop(self.references.name, None)
                now = {name: found for name, found in common["data"].items() if name == self.references.name}
                write(path, json.dumps({**there, "data": {**there["data"], **now}}, indent=2) + "\n")
            same(path, common)
        else:
            unmade([*([self.bin, self.pieces] if self.is_text else []), *begun(self.output)], "another OUTPUT")
            write(path, json.dumps(common, indent=2) + "\n")
        for point in self.points:
            self.check_point(point)

    def settings(self, point: Point) -> Dict[str, Any]:
        """All that must be the same for a point to go on in its folder."""
        return settings(point, "bart" if self.study.bart else "random weights")

    def check_point(self, point: Point) -> List[str]:
        """Refuse to go on with a point of other settings.

        Returns:
            the fingerprints of the code that has made what there is of it

        Raises:
            InputError: its folder is of other settings; the message names the first one
        """
        path = self.folder(point) / "settings.json"
        if not path.exists():
            return []
        try:
            return list(same(path, self.settings(point)).get("code", []))
        except InputError as error:
            if not (point.zero_latent and "max-update=" in str(error)):
                raise
            raise InputError(
                f"{error}; or give the arm {point.arm!r} `updates` of its own: it has those of a whole chain"
            ) from error

    def binarise(self, target: Path) -> None:
        """Encode plain text with the BPE beside the BART, and binarise it with its dictionary."""
        assert self.bpe is not None and self.study.bart is not None, "check_text saw both"
        cfg = configuration(self.arguments(self.points[0]), f"{self.study.path}: {self.points[0].arm}")
        size = cfg.model
        positions = min(size.max_source_positions - 2, size.max_target_positions - 1)
        reason = "the model's positions take"
        most = dict.fromkeys(SPLITS, Limit(positions, reason, ""))
        sources = dict.fromkeys(SPLITS, Limit(size.max_source_positions - 1, reason, ""))
        binarise(self.data, self.form, self.study.bart, self.bpe, most, self.pieces, target, sources, cut_of([cfg]))

    def check(self, points: Sequence[Point]) -> None:
        """Hold the flags of every point against one another, and build a model of each arm.

        Raises:
            InputError: flags, weights, dictionary and sentences do not fit one another; the message names the arm
        """
        for arm in dict.fromkeys(point.arm for point in points):
            where = f"{self.study.path}: {arm}"
            chosen = [point for point in points if point.arm == arm]
            built: Dict[bool, Any] = {}  # of the arm's PHASE1, and of its points
            for point in (point for point in chosen if point.seed == chosen[0].seed):
                cfg = configuration(self.arguments(point), where)
                try:
                    check_effects(cfg.model, cfg.criterion, cfg.task)
                    if point.evaluated not in built:
                        weights = built[not point.evaluated] if built else self.weights
                        task, model = build(cfg, weights)
                        if point == points[0]:
                            self.check_split(task, model)
                        output = first_loss(cfg, task, model)
                        if output is not None and not all(map(can_keep, (output.posterior, output.prior))):
                            self.unkept.add(arm)
                        built[point.evaluated] = model.state_dict()
                except InputError as error:
                    raise InputError(f"{where}, {point.setting}: {error}") from error
                except RuntimeError as error:  # of torch: weights that do not fit
                    raise InputError(f"{where}: {self.study.bart} does not fit ({first_line(error)})") from error

    def check_split(self, task: Any, model: Any) -> None:
        """Refuse sentences that the evaluation cannot take, and pieces that it cannot join to words.

        Raises:
            InputError: as of evaluate
        """
        flags = self.study.evaluate
        load_split(model.eval(), task, self.study.split, int(flags.get("max-tokens", 4096)), 1)
        joiner(task.target_dictionary, self.bpe, int(flags["words"]) if "words" in flags else None)

    def arguments(self, point: Point) -> List[str]:
        """The arguments of a point's fairseq-train but for the plug-in: data, flags, and the model it starts from."""
        flags = {**self.shape, **point.flags, "save-dir": str(self.folder(point) / "checkpoints")}
        start = self.start(point)
        if start:
            flags["finetune-from-model"] = start
        data = self.bin if self.bin.exists() else self.data  # of text that is not binarised yet
        return [str(data), *(f"--{flag}={value}" if value else f"--{flag}" for flag, value in flags.items())]

    def start(self, point: Point) -> Optional[str]:
        """The checkpoint that a point starts from, before that is made the study's own; None: random weights."""
        before = self.before(point)
        return str(before) if before is not None and before.exists() else self.study.bart

    def before(self, point: Point) -> Optional[Path]:
        """The model of the point that another starts from, which may not be made yet; None: it starts from none."""
        return self.folder(point._replace(setting=point.before)) / "model.pt" if point.before else None

    def make(self, point: Point) -> bool:
        """Train a point and, unless it is a PHASE1, evaluate it, as far as it is not.

        Returns:
            whether that has worked; if not, the reason is in the point's folder

        Raises:
            NotWritten: the system does not let something be written
        """
        folder = self.folder(point)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failed.txt").unlink(missing_ok=True)
        self.keep_words(folder.parent)
        try:
            code = source_fingerprint([USER_DIR, *([self.user_dir] if self.user_dir else [])])[:12]  # may have changed
            made = dict.fromkeys([*self.check_point(point), code])  # another run may have begun it
            kept = {**self.settings(point), "code": list(made)}
            write(folder / "settings.json", json.dumps(kept, indent=2) + "\n")
            before = self.before(point)
            if before is not None and not (before.exists() or (folder / "model.pt").exists()):
                raise InputError(f"{before} is gone, from which it starts: delete {before.parent} to make it again")
            step(f"training: {point.updates:,} updates", folder / "model.pt", functools.partial(self.train, point))
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            if point.evaluated:
                step("evaluation", folder / f"{self.study.split}.json", functools.partial(self.evaluate, point))
        except NotWritten:
            raise
        except InputError as error:
            write(folder / "failed.txt", f"{error}\n")
            print(f"✗ {point} failed: {error}", flush=True)
            return False
        return True

    def keep_words(self, folder: Path) -> None:
        """Put dictionary and BPE above the points' models, where they are looked for."""
        words = self.bin / ("dict.target.txt" if self.study.pairs else "dict.txt")
        others = [path for path in map(str, (self.bpe or {}).values()) if os.path.isfile(path)]
        for name, path in (("dict.txt", words), *((os.path.basename(path), Path(path)) for path in others)):
            if not (folder / name).exists():
                write(folder / name, path.read_bytes())

    def train(self, point: Point, target: Path) -> None:
        """Train a point to its last update; the model without the optimizer's state goes to `target`."""
        checkpoints = self.folder(point) / "checkpoints"
        data, *flags = self.arguments(point)
        command = ["fairseq-train", data, f"--user-dir={self.user_dir or USER_DIR}", *flags]
        keep = int(point.flags.get("keep-interval-updates", -1))
        with self.spent["updates"].more(point.updates):
            train_on(command, checkpoints, self.folder(point) / "train.log", point.updates, keep)
        save_model(checkpoints / "checkpoint_last.pt", target)

    def evaluate(self, point: Point, target: Path) -> None:
        """Evaluate a point's model on the study's split: the numbers to `target`, the table beside it."""
        study, folder = self.study, self.folder(point)
        command = ["fairseq-vae", "evaluate", str(folder / "model.pt"), str(self.bin), f"--split={study.split}"]
        command += [f"--text={self.texts[study.split][-1]}"] if self.is_text else []
        command += [f"--keep={folder / study.split}"] if study.pairs and point.arm not in self.unkept else []
        command += [f"--references={self.references}"] if study.pairs and self.references.exists() else []
        model = None if study.pairs or point.zero_latent else self.language_model(point)
        command += [f"--language-model={model}"] if model else []
        command += [f"--sentences={folder / study.split}.tsv"]
        command += [f"--{flag}={value}" for flag, value in study.evaluate.items()]
        command += [f"--user-dir={self.user_dir}"] if self.user_dir else []
        with self.spent["evaluations"].more(1):
            write(folder / f"{study.split}.txt", call([*command, f"--json={target}"], progress=True))

    def language_model(self, point: Point) -> Optional[Path]:
        """The model of the first arm without z that a point is held to: of its seed, or else of the first that is done.

        A run waits while another run is making the one of its seed. Where that run has ended before it was done, this
        one makes it, if it is among its points.

        Returns:
            its file; None if the study has none, or none is done
        """
        without = [other for other in self.study.points if other.zero_latent and other.evaluated]
        models = [other for other in without if other.arm == without[0].arm]
        for other in sorted(models, key=lambda other: other.seed != point.seed):
            folder, told = self.folder(other), False
            while not self.done(other) and other.seed == point.seed and folder.parent.exists():
                with held(folder.parent, 0.0) as free:
                    if free:
                        chain = [p for p in self.points if (p.arm, p.seed) == (other.arm, other.seed)]
                        if not any((self.folder(each) / "failed.txt").exists() for each in chain):
                            all(self.done(each) or self.make(each) for each in chain)  # up to one that fails
                        break
                if not told:
                    print(f"waiting for {other}, which another run is at", flush=True)
                told = True
                time.sleep(0.5)
            if self.done(other) and (folder / "model.pt").exists():
                return folder / "model.pt"
        return None


def begun(output: Path) -> List[Path]:
    """The settings of points in a study's folder, whatever study they are of."""
    return sorted(output.glob("*/seed-*/*/settings.json"))


def chains(points: Sequence[Point]) -> Iterator[List[Point]]:
    """Points that start from one another, or stand alone."""
    chain: List[Point] = []
    for point in points:
        if chain and (point.arm, point.seed, point.before) != (chain[-1].arm, chain[-1].seed, chain[-1].setting):
            yield chain
            chain = []
        chain.append(point)
    if chain:
        yield chain
