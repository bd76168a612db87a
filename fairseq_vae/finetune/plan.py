"""A plan of `fairseq-vae finetune`: data, BART, recipe and settings, checked before the first update."""

import dataclasses
import os
import re
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq import tasks, utils
from fairseq.logging import metrics
from fairseq.models.bart.model import bart_base_architecture
from omegaconf import DictConfig

from ..base.errors import InputError
from ..base.files import fingerprint
from ..base.lines import read_references
from ..base.text import Joiner, find_bpe
from ..checkpoints.read import first_line, folders, model_settings, read_checkpoint
from ..flags.effects import check_effects
from ..flags.task import VAETranslationFlags, task_config
from .configuration import configuration
from .encode import check_lines
from .needs import check_number, check_saving, check_space, check_splits, check_surroundings, written
from .recipe import draw_anew, flags, read_recipe

__all__ = [
    *("PAIRS", "SPLITS", "TEXT", "Plan", "build", "check_folder", "check_text", "first_loss", "shape", "texts"),
    "words_of",
]

SPLITS = ("train", "valid", "test")
BINARISED, TEXT, PAIRS = (
    (".bin",),
    (".txt",),
    (".source", ".target"),
)  # forms of a data folder: endings of a split's files
STRUCTURE = [  # a BART checkpoint's settings of its shape
    *(f"{side}_{size}" for side in ("encoder", "decoder") for size in ("layers", "embed_dim", "ffn_embed_dim")),
    *(f"{side}_{what}" for side in ("encoder", "decoder") for what in ("attention_heads", "normalize_before")),
    *("encoder_learned_pos", "decoder_learned_pos", "no_token_positional_embeddings", "layernorm_embedding"),
    *("no_scale_embedding", "share_all_embeddings", "share_decoder_input_output_embed", "activation_fn"),
    *("max_source_positions", "max_target_positions"),
]


class Plan:
    """A run that can work, as far as its files and settings tell.

    Attributes:
        data: the folder that was given
        bin: the folder of binarised text: `data`, or the one in `output` to make of its plain text
        output: the folder for everything made
        form: of `data`, see check_folder
        is_text: whether `data` holds plain text, of sentences or of pairs
        is_pairs: whether `data` holds sources and targets, for bart_cvae
        words: the dictionary in `bin`
        left_out: settings of the recipe that pairs do not have, by name
        bart: the BART's checkpoint; None: random weights
        weights: the BART's weights, for check_parts
        shape: the flags that make bart_vae as large as the BART
        phases: each phase's settings
        user_dir: the plug-in of one's own that the model needs; None: none
        bpe: fairseq's settings of the BPE beside BART or data; None: the pieces' own marks join them
        split: the split to evaluate, "test" or else "valid"
        configurations: fairseq's configuration of each phase
        settings: all that must be the same for a run to go on in its output folder, as JSON
    """

    def __init__(
        self,
        data: str,
        output: str,
        recipe: str = "default",
        bart: Optional[str] = None,
        overrides: Sequence[str] = (),
        updates: Optional[Dict[str, int]] = None,
        user_dir: Optional[str] = None,
    ):
        """
        Args:
            data: folder of fairseq-preprocess, or of plain text, see check_folder
            output: folder for everything made
            recipe, overrides, updates: see read_recipe
            bart: fairseq checkpoint of a BART to start from; None: random weights
            user_dir: folder of a plug-in of one's own that is imported already; None: fairseq_vae alone

        Raises:
            InputError: something given cannot work; check_parts finds the rest
        """
        self.data, self.output = Path(data).absolute(), Path(output).absolute()
        self.phases = read_recipe(recipe, overrides, updates)
        draw_anew(self.phases)
        self.form = check_folder(self.data)
        self.is_text, self.is_pairs = self.form != BINARISED, self.form == PAIRS
        self.left_out = for_pairs(self.phases) if self.is_pairs else []
        self.bin = self.output / "data-bin" if self.is_text else self.data
        self.words = self.bin / ("dict.target.txt" if self.is_pairs else "dict.txt")
        self.user_dir = None if user_dir is None else os.path.abspath(user_dir)
        self.bart = None if bart is None else os.path.abspath(bart)
        self.weights: Optional[Dict[str, Any]] = None
        self.shape: Dict[str, Any] = {}
        if self.bart is not None:
            state = read_checkpoint(self.bart)
            self.weights, self.shape = state["model"], shape(self.bart, model_settings(state))
        elif any(settings.model.get("freeze_decoder") for settings in self.phases.values()):
            raise InputError(
                f"--recipe {recipe} freezes the decoder, which without --bart has random weights: give --bart "
                "CHECKPOINT, or --set model.freeze_decoder=false"
            )
        self.configurations = {phase: self.check_flags(phase) for phase in self.phases}
        check_saving(self.configurations)
        beside = [] if self.bart is None else folders(self.bart)
        self.bpe = find_bpe([*beside, str(self.data)])
        inputs = texts(self.data, self.form)
        self.split = "test" if "test" in inputs else "valid"
        if self.is_text:
            check_text(self.data, self.form, self.bart, self.bpe, self.split)
        self.settings: Dict[str, Any] = {
            "recipe": {phase: flags(settings) for phase, settings in self.phases.items()},
            "bart": None if self.bart is None else fingerprint(self.bart),
            "data": [fingerprint(path) for paths in inputs.values() for path in paths],
            "words": [fingerprint(path) for path in self.beside() if os.path.isfile(path)],
            "references": fingerprint(self.references) if self.references else None,
        }

    def beside(self) -> List[str]:
        """What there may be beside the sentences: the dictionary and the BPE's files."""
        dictionary = words_of(self.bart) if self.is_text and self.bart else str(self.words)
        return [*([dictionary] if dictionary else []), *(self.bpe or {}).values()]

    @property
    def references(self) -> Optional[Path]:
        """The file of more responses to the sources of the evaluated split; None: there is none."""
        path = self.data / f"{self.split}.references"
        return path if self.is_pairs and path.exists() else None

    def check_flags(self, phase: str) -> DictConfig:
        """The configuration of a phase; flags that do not exist, or have no effect beside its others, are refused.

        Raises:
            InputError: the message names the phase, the flag and the remedy
        """
        cfg = configuration(self.flags(phase, None), f"{phase} of the recipe")
        try:
            check_effects(cfg.model, cfg.criterion, cfg.task)
        except InputError as error:
            raise InputError(
                f"{phase} of the recipe: {error} (--set {phase}.GROUP.KEY=null takes a setting of the recipe out)"
            ) from error
        return cfg

    def check_parts(self) -> None:
        """Build all that training will build, from the binarised text on.

        Raises:
            InputError: weights, dictionary, settings and sentences do not fit one another, or a later step lacks
                something, see needs
        """
        start, weights, needed = self.bart, self.weights, 0
        check_surroundings(self.output, [self.output / phase for phase in self.phases])
        for phase in self.phases:
            cfg = self.configurations[phase]
            if start:
                cfg = configuration(self.flags(phase, start), f"{phase} of the recipe")
            try:
                task, model = build(cfg, weights)
                first_loss(cfg, task, model)
            except (InputError, RuntimeError) as error:  # RuntimeError: of torch, weights that do not fit
                raise InputError(f"{phase} of the recipe: {first_line(error)}") from error
            needed += written(cfg, model)
            start, weights = None, model.state_dict()  # phase 2 goes on from a file of phase 1's
        Joiner(task.source_dictionary, self.bpe)  # evaluation and samples need words
        check_splits(self.bin, task, self.split, self.configurations, fixed=self.bart is not None)
        check_space(self.output, needed)

    def flags(self, phase: str, start: Optional[str]) -> List[str]:
        """A phase's flags of fairseq-train.

        Args:
            phase: its name
            start: the checkpoint that it starts from; None: random weights
        """
        settings = self.phases[phase]
        model = {key: value for key, value in self.shape.items() if key not in settings.model}
        checkpoint = {"save_dir": str(self.output / phase), "finetune_from_model": start}
        return flags(
            settings, model=model, checkpoint=checkpoint, task={"data": str(self.bin)}, common={"user_dir": None}
        )


def for_pairs(phases: Dict[str, DictConfig]) -> List[str]:
    """Make the settings of phases those of pairs: bart_cvae in the place of bart_vae, and the task vae_translation.

    Args:
        phases: settings of each, which are changed

    Returns:
        the settings that only the task of sentences has, and that are left out, by name

    Raises:
        InputError: a setting names other sides than the files have
    """
    known, sentences = (
        {field.name for field in dataclasses.fields(cls)} for cls in (VAETranslationFlags, task_config())
    )
    found: Dict[str, None] = {}
    for settings in phases.values():
        settings.model._name = re.sub("^bart_vae", "bart_cvae", settings.model._name)
        for key in [key for key in settings.task if key in sentences - known]:
            settings.task.pop(key)
            found[f"task.{key}"] = None
        sides = {name: ending[1:] for name, ending in zip(("source_lang", "target_lang"), PAIRS)}
        for name, side in sides.items():
            if settings.task.get(name, side) != side:
                raise InputError(f"task.{name}={settings.task[name]}: expected {side}, as the files of pairs end")
        settings.task.update({"_name": "vae_translation", **sides})
        if not {"truncate_source", "truncate_source_left"} & set(settings.task):
            settings.task.truncate_source_left = True
    return list(found)


def check_folder(data: Path) -> Tuple[str, ...]:
    """Refuse a data folder that is neither of fairseq-preprocess nor of plain text, of sentences or of pairs.

    Returns:
        the endings of a split's files: BINARISED, TEXT or PAIRS

    Raises:
        InputError: a file is missing, or the folder is of two forms
    """
    sides = [f"{split}{side}" for split in SPLITS for side in PAIRS if (data / f"{split}{side}").is_file()]
    others = [name for name in ("dict.txt", *(f"{split}.txt" for split in SPLITS)) if (data / name).is_file()]
    if sides and others:
        raise InputError(
            f"{data} has {sides[0]}, of pairs, and {others[0]}, of sentences: expected a folder of its own for each"
        )
    if sides:
        splits = [split for split in SPLITS if split != "test" or any(side.startswith(split) for side in sides)]
        for name in (f"{split}{side}" for split in splits for side in PAIRS):
            if name not in sides:
                raise InputError(
                    f"{data} has no {name}: expected train.source, train.target, valid.source, valid.target and "
                    "perhaps test.source and test.target, a source and its target on the same line"
                )
        return PAIRS
    is_text = (data / "train.txt").is_file() and not (data / "dict.txt").is_file()
    for name in ("train.txt", "valid.txt") if is_text else ("dict.txt", "train.bin", "valid.bin"):
        if not (data / name).is_file():
            raise InputError(
                f"{data} has no {name}: expected a folder of fairseq-preprocess (dict.txt, train.bin, …), or of plain "
                "text, one sentence a line, in train.txt, valid.txt and perhaps test.txt, or pairs in train.source and "
                "train.target, and so on"
            )
    return TEXT if is_text else BINARISED


def texts(data: Path, form: Tuple[str, ...]) -> Dict[str, List[Path]]:
    """The files of a data folder's splits, one or, of pairs, two; a split that is not there is left out.

    Args:
        data: the folder
        form: of it, see check_folder
    """
    paths = {split: [data / f"{split}{ending}" for ending in form] for split in SPLITS}
    return {split: found for split, found in paths.items() if found[0].is_file()}


def check_text(
    data: Path, form: Tuple[str, ...], bart: Optional[str], bpe: Optional[Dict[str, str]], evaluated: str
) -> None:
    """Refuse plain text that cannot be encoded; what the tokenizer makes of its lines is for encode to see.

    Args:
        data: its folder
        form: of it, see check_folder
        bart: the checkpoint, beside or below which the dictionary lies
        bpe: settings of the BPE
        evaluated: the split of the evaluation

    Raises:
        InputError: no BPE or no dictionary lies beside the BART or above it, a file is no text, a line other than a
            source is empty, a source lacks its target, there are too few lines, or references are of another form
    """
    if bpe is None or bart is None or words_of(bart) is None:
        raise InputError(
            f"{data} is plain text: expected dict.txt and encoder.json with vocab.bpe, or sentencepiece.bpe.model, "
            f"beside --bart {bart} or above it; or give a folder of fairseq-preprocess"
        )
    for split, paths in texts(data, form).items():
        counts = [check_lines(path, blank=path.suffix == ".source") for path in paths]
        if counts[0] != counts[-1]:
            raise InputError(
                f"{paths[0]} has {counts[0]:,} lines and {paths[-1].name} {counts[-1]:,}: expected as many, a source "
                "and its target on the same line"
            )
        if split == evaluated:
            check_number(f"{paths[-1]}", counts[-1], split)
            references = data / f"{split}.references"
            if form == PAIRS and references.exists():
                read_references(references, counts[-1])


def words_of(bart: str) -> Optional[str]:
    """The dict.txt of a checkpoint, beside it or above it; None: there is none."""
    paths = (os.path.join(folder, "dict.txt") for folder in folders(bart))
    return next(filter(os.path.isfile, paths), None)


def shape(path: str, settings: Namespace) -> Dict[str, Any]:
    """The flags that make bart_vae as large as a BART.

    Args:
        path: the BART's checkpoint, for messages
        settings: of its model

    Returns:
        the settings that differ from the defaults of the architecture, by name

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


def first_loss(cfg: DictConfig, task: Any, model: Any) -> Any:
    """Put one batch of training through model and criterion, some of whose refusals only a batch can show.

    Args:
        cfg: fairseq's configuration
        task, model: as build gives them; the model is good for nothing else afterwards

    Returns:
        the model's output; None where there is no sentence that it takes, which check_splits tells

    Raises:
        InputError: the criterion refuses it
    """
    split = cfg.dataset.train_subset
    task.load_dataset(split)
    data, most = task.dataset(split), utils.resolve_max_positions(task.max_positions(), model.max_positions())
    good, _ = data.filter_indices_by_size(data.ordered_indices(), most)
    if not len(good):
        return None
    items = [data[int(number)] for number in good[:2]]
    kept: List[Any] = []
    with torch.no_grad(), metrics.aggregate(new_root=True):
        hook = model.register_forward_hook(lambda module, inputs, output: kept.append(output))
        criterion = task.build_criterion(cfg.criterion).train()
        if hasattr(model, "terms"):
            criterion.show_text(model, items)  # in the place of all of it
            criterion.begun = True
        criterion(model.train(), data.collater(items))
        hook.remove()
    return kept[0]


def build(cfg: DictConfig, weights: Optional[Dict[str, Any]]) -> Tuple[Any, Any]:
    """Build all that a training builds, with the weights that it starts from.

    Args:
        cfg: fairseq's configuration
        weights: of a checkpoint; None: random ones

    Returns:
        task and model

    Raises:
        InputError: settings, dictionary and weights do not fit one another
    """
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    task.build_criterion(cfg.criterion)
    if weights is not None:
        model.load_state_dict(dict(weights), strict=True)  # which adds what the checkpoint lacks, for this model alone
    return task, model
