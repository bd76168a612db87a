"""Encoders that learn the labels of a task, by fairseq's own task and criterion `sentence_prediction`.

Encoder and head learn from the training items of a draw; the head reads mu without noise, and nothing is decoded.
Accuracy on valid chooses the checkpoint; test is told once, by that one.
"""

import dataclasses
import hashlib
import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set

import numpy as np
import torch
from fairseq.data import Dictionary, indexed_dataset
from fairseq.models.transformer import DEFAULT_MAX_SOURCE_POSITIONS
from torch import Tensor

from ..base.errors import InputError
from ..base.files import fingerprint, write
from ..base.labelled import Split, Task
from ..base.needs import plain
from ..checkpoints.load import load_model
from ..checkpoints.read import model_settings, read_checkpoint
from ..flags.model import model_config
from ..hub import BARTVAEHubInterface
from ..measure.representation import Draw, Figure, label_figures
from ..objective.terms import terms
from .kept import difference, same
from .plan import shape
from .recipe import flags
from .run import flags_of
from .steps import USER_DIR, alone, save_model, step, train_on

__all__ = ["Tuning", "check_start", "check_words", "draws_of", "settle", "tuned"]

HEAD = "sentence_classification_head"  # fairseq's own name
MOST_VALID = 2000  # items of valid that choose the checkpoint, drawn once
CHECKS = 10  # times that they do


class Tuning(NamedTuple):
    """How encoders learn labels.

    Attributes:
        folder: of the trainings, each in its own: TASK/START/share-X-seed-S
        updates: of each
        lr: its largest learning rate, reached after 6 % of the updates and falling to 0 at the end
        batch_size: sentences of an update
        user_dir: folder of a plug-in of one's own that is imported already
    """

    folder: str
    updates: int = 1000
    lr: float = 1e-4
    batch_size: int = 32
    user_dir: Optional[str] = None


def check_start(checkpoint: str, bart: str) -> None:
    """Refuse a BART that is not as large as a VAE, whose architecture trainings from both have.

    Args:
        checkpoint: of the VAE
        bart: the BART's

    Raises:
        InputError: a size differs; the message names it
    """
    sizes = []
    for path in (bart, checkpoint):
        found = shape(path, model_settings(read_checkpoint(path)))
        sizes.append({key: value for key, value in found.items() if value})  # a missing one is off
    differs = difference(sizes[0], sizes[1], "the checkpoint")
    if differs:
        raise InputError(f"--tuned: --bart {bart} has {differs}: give the BART that the VAE's training began with")


def check_words(vae: BARTVAEHubInterface, bart: BARTVAEHubInterface) -> None:
    """Refuse a BART whose dictionary has other words in the places of a VAE's.

    Raises:
        InputError: it has
    """
    both = zip(vae.task.source_dictionary.symbols, bart.task.source_dictionary.symbols)
    if any(own != other for own, other in both if "<mask>" not in (own, other)):
        raise InputError(
            f"--tuned: --bart {bart.checkpoint} has another dictionary than the checkpoint: give the BART that the "
            "VAE's training began with"
        )


def draws_of(draws: Sequence[Draw], seeds: Sequence[int]) -> List[Draw]:
    """A training for each share and seed: where a share is the whole pool, the seed is of the head's first weights,
    dropout and order.

    Args:
        draws: of representation.drawn
        seeds: that it had
    """
    return [draw._replace(seed=seed) for draw in draws for seed in ([draw.seed] if draw.seed is not None else seeds)]


def tuned(
    vae: BARTVAEHubInterface, starts: Mapping[str, str], task: Task, draws: Sequence[Draw], tuning: Tuning
) -> Iterator[Figure]:
    """Train what is not trained yet, and tell the labels of test.

    Args:
        vae: whose architecture all have, and whose dictionary and BPE
        starts: checkpoints that trainings start from by the names of their representations: of the VAE, of a BART
        task: of labelled sentences
        draws: of draws_of
        tuning: folder and settings; the folder may hold some of it

    Yields:
        the figures of each start and draw

    Raises:
        InputError: a training failed, the folder has other settings or data, another run is at work in it, or a
            sentence cannot be encoded
    """
    labels = sorted(set(task.splits["train"].labels or ()))
    folder = Path(tuning.folder).absolute() / task.name
    common = settle(vae.checkpoint, starts, task, draws, tuning, begin=True)
    with alone(folder):
        for name, checkpoint in starts.items():
            for draw in draws:
                place = placed(folder, name, draw)
                about = f"{task.name}, {name}, {draw.rows.size:,} labels, seed {draw.seed}"
                command = [*common, f"--finetune-from-model={checkpoint}"]
                command.append(f"--user-dir={tuning.user_dir or USER_DIR}")
                one = Training(vae, task, draw, labels, command, tuning.updates, place)
                step(about, place / "figures.json", one.make)
                one.clear()
                found = json.loads((place / "figures.json").read_text(encoding="utf-8"))
                of_draw = (draw.share, draw.rows.size, draw.seed)
                yield Figure(task.name, "label", f"{name}, tuned", "tuned", *of_draw, None, **found)


def settle(
    checkpoint: str,
    starts: Mapping[str, str],
    task: Task,
    draws: Sequence[Draw],
    tuning: Tuning,
    begin: bool = False,
) -> List[str]:
    """Hold what trainings of a task are made of to what is written in their folders.

    Args:
        checkpoint: of the VAE
        starts, task, draws, tuning: as of tuned
        begin: write it where nothing is written yet; before a run is known to work, that would keep others out

    Returns:
        the flags that all of them have

    Raises:
        InputError: the folder has other settings or data, or another run is at work in it
    """
    folder = Path(tuning.folder).absolute() / task.name
    common = settings_of(checkpoint, len(set(task.splits["train"].labels or ())), tuning)
    content = {split: (part.texts, part.labels) for split, part in task.splits.items()}
    with alone(folder):
        keep(begin, folder / "settings.json", {"task": digest(content), "flags": flags_of(common)})
        for name, start in starts.items():
            keep(begin, folder / name / "settings.json", {"start": fingerprint(Path(start))})
            for draw in draws:
                of_draw = {"labels": int(draw.rows.size), "rows": digest(draw.rows.tolist())}
                keep(begin, placed(folder, name, draw) / "settings.json", of_draw)
    return common


def placed(folder: Path, name: str, draw: Draw) -> Path:
    """The folder of a training, by the name of its start."""
    return folder / name / f"share-{draw.share:g}-seed-{draw.seed}"


class Training:
    """One training and its figures, in a folder that keeps model.pt, train.log and figures.json.

    Args:
        vae, task: as of tuned
        draw: the training items
        labels: by their numbers
        flags: of fairseq-train, but for seed and folders
        updates: of the training
        place: the folder
    """

    def __init__(
        self,
        vae: BARTVAEHubInterface,
        task: Task,
        draw: Draw,
        labels: Sequence[str],
        flags: Sequence[str],
        updates: int,
        place: Path,
    ):
        self.vae, self.task, self.draw, self.labels = vae, task, draw, labels
        self.flags, self.updates, self.place = flags, updates, place
        self.data, self.checkpoints = place / "data-bin", place / "checkpoints"

    def make(self, target: Path) -> None:
        """Train, tell the labels of test, and write the figures to a file."""
        step("binarised text", self.data, self.binarise)
        own = [f"--seed={self.draw.seed}", f"--save-dir={self.checkpoints}"]
        command = ["fairseq-train", str(self.data), *self.flags, *own]
        train_on(command, self.checkpoints, self.place / "train.log", self.updates, keep=1)
        best = self.checkpoints / "checkpoint_best.pt"
        model, _, _ = load_model(str(best), str(self.data))
        test = self.task.splits["test"]
        assert test.labels is not None, "of labelled sentences"
        accuracy, macro_f1 = label_figures(test.labels, self.told(model, test))
        valid = read_checkpoint(str(best))["extra_state"]["best"] / 100
        write(target, json.dumps({"valid": valid, "accuracy": accuracy, "macro_f1": macro_f1}) + "\n")

    def clear(self) -> None:
        """Keep of the checkpoints the best one, once the figures are there."""
        if self.checkpoints.exists():
            best = self.checkpoints / "checkpoint_best.pt"
            if best.exists():
                save_model(best, self.place / "model.pt")
            shutil.rmtree(self.checkpoints)

    def binarise(self, target: Path) -> None:
        """Write sentences and labels as fairseq-preprocess does: those of the draw, and MOST_VALID of valid at most."""
        train, valid = self.task.splits["train"], self.task.splits["valid"]
        chosen = np.arange(valid.size)
        if valid.size > MOST_VALID:
            chosen = np.sort(np.random.default_rng(0).permutation(valid.size)[:MOST_VALID])
        words = Dictionary()
        for number in range(len(self.labels)):
            words.add_symbol(str(number))
        for name, dictionary in (("input0", self.vae.task.source_dictionary), ("label", words)):
            (target / name).mkdir(parents=True)
            dictionary.save(str(target / name / "dict.txt"))
        for name, split, rows in (("train", train, self.draw.rows), ("valid", valid, chosen)):
            assert split.labels is not None, "of labelled sentences"
            texts = [self.tokens(split, row) for row in rows.tolist()]
            numbers = [words.index(str(self.labels.index(split.labels[row]))) for row in rows.tolist()]
            ends = [torch.tensor([number, words.eos()]) for number in numbers]
            for folder, items in (("input0", texts), ("label", ends)):
                builder = indexed_dataset.make_builder(f"{target / folder / name}.bin", "mmap", vocab_size=1 << 20)
                for item in items:
                    builder.add_item(item)
                builder.finalize(f"{target / folder / name}.idx")

    def tokens(self, split: Split, row: int) -> Tensor:
        """The tokens of a sentence, T.

        Raises:
            InputError: it is longer than the model's positions; names its line
        """
        try:
            return self.vae.tokens(split.texts[0][row])
        except InputError as error:
            raise InputError(f"{split.file}, line {row + 1}: {error}") from error

    def told(self, model: Any, split: Split) -> List[str]:
        """The labels that a trained model tells of a split's sentences."""
        found: Dict[int, str] = {}
        tokens = [self.tokens(split, row) for row in range(split.size)]
        for sample in self.vae.batches(tokens, has_target=False):
            inputs = {"src_tokens": sample["net_input"]["src_tokens"], "src_lengths": None, "prev_output_tokens": None}
            with torch.no_grad():
                logits, _ = model(**inputs, features_only=True, classification_head_name=HEAD)
            told = zip(sample["id"].tolist(), logits.argmax(1).tolist())
            found.update((number, self.labels[label]) for number, label in told)
        return [found[row] for row in range(split.size)]


def settings_of(checkpoint: str, classes: int, tuning: Tuning) -> List[str]:
    """The flags that all trainings of a task have: the model's, of its checkpoint, and the training's.

    Args:
        checkpoint: of the VAE
        classes: different labels
        tuning: updates, learning rate and batch

    Raises:
        InputError: the checkpoint has a setting that no flag says
    """
    from omegaconf import OmegaConf

    interval = -(-tuning.updates // CHECKS)
    never = 1_000_000_000  # validation and saving go by updates, not by epochs, which are short with few labels
    settings = model_settings(read_checkpoint(checkpoint))
    groups = {
        "task": {
            "_name": "sentence_prediction",
            "data": "-",
            "num_classes": classes,
            "init_token": 0,
            "add_prev_output_tokens": True,
            "max_positions": getattr(settings, "max_source_positions", DEFAULT_MAX_SOURCE_POSITIONS),
        },
        "model": {"_name": settings.arch, **model_flags(checkpoint, settings)},
        "criterion": {"_name": "sentence_prediction"},
        "optimizer": {"_name": "adam", "adam_betas": "(0.9,0.98)"},
        "lr_scheduler": {
            "_name": "polynomial_decay",
            "warmup_updates": max(1, round(0.06 * tuning.updates)),
            "total_num_update": tuning.updates,
        },
        "optimization": {"lr": [tuning.lr], "max_update": tuning.updates, "clip_norm": 1.0},
        "dataset": {
            "batch_size": tuning.batch_size,
            "num_workers": 0,
            "validate_interval": never,
            "validate_interval_updates": interval,
        },
        "checkpoint": {
            "save_interval": never,
            "save_interval_updates": interval,
            "keep_interval_updates": 1,
            "no_epoch_checkpoints": True,
            "best_checkpoint_metric": "accuracy",
            "maximize_best_checkpoint_metric": True,
        },
        "common": {"log_format": "json", "log_interval": 10},
        "distributed_training": {"distributed_world_size": 1},  # an update is of one batch on every machine
    }
    return flags(OmegaConf.create(groups))[1:]


def model_flags(checkpoint: str, settings: Namespace) -> Dict[str, Any]:
    """The settings of a VAE's model that fairseq-train has to be told for its encoder to learn labels.

    Args:
        checkpoint: for messages
        settings: of its model

    Returns:
        those that differ from the architecture's defaults, by name, without those of the VAE's own training

    Raises:
        InputError: one is off that no flag turns off
    """
    config = model_config()
    given = config()
    own = {field.name for field in terms.fields()} | {"deterministic_latent", "freeze_decoder", "freeze_embeddings"}
    for _ in range(2):  # what counts beside the criterion alone, and what beside that
        own |= {field.name for field in dataclasses.fields(config) if needs_one(field, own, given)}
    defaults = model_settings({"cfg": {"model": {**vars(given), "_name": settings.arch}}})
    found = {}
    for field in dataclasses.fields(config):
        value, default = getattr(settings, field.name, None), getattr(defaults, field.name, None)
        if field.name in own or value is None or plain(value) == plain(default):
            continue
        if default is True and value is False:
            raise InputError(f"{checkpoint} has {field.name} off, which no flag of fairseq-train can say")
        found[field.name] = plain(value)
    return found


def needs_one(field: dataclasses.Field, names: Set[str], defaults: Any) -> bool:
    """Whether a flag counts only beside the criterion, or where a flag of these names is not as by default."""
    needs = field.metadata.get("needs", {})
    beside = (name for name in needs if name in names)
    return "criterion" in needs or any(plain(getattr(defaults, name)) not in needs[name] for name in beside)


def keep(begin: bool, path: Path, settings: Mapping[str, Any]) -> None:
    """Hold what must be the same for trainings to go on in a folder to what is written there, or begin with it.

    Raises:
        InputError: it is another one
    """
    if path.exists():
        same(path, settings, "the command", "folder as --tuned")
    elif begin:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, json.dumps(settings, indent=2) + "\n")


def digest(content: Any) -> str:
    """A fingerprint of what JSON can say."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
