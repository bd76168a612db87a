"""What the tasks of this package share: batches of all sentences, none that is too long, and checks before a run."""

import copy
import filecmp
import os
from typing import Any, Callable, ClassVar, Dict, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary, LanguagePairDataset
from torch import Tensor

from .. import data  # in hints, as strings: when `data` is imported first, this module runs before its end
from ..base.errors import InputError, reported
from ..base.lengths import Bounds, told_apart, too_long
from ..base.needs import plain
from ..checkpoints.read import check_dictionary, check_file, read_checkpoint
from ..flags.effects import check_effects
from ..flags.host import check_machine
from ..flags.task import SentenceFlags
from ..latent.posterior import posteriors
from ..latent.prior import Prior
from ..objective.terms import active_terms
from .generating import GeneratingTask
from .training import TrainingTask

__all__ = ["SentenceTask"]


class SentenceTask(TrainingTask, GeneratingTask):
    """A task of which every sentence of a split comes once an epoch, or is refused by its line.

    Args:
        cfg: the task's flags
        dictionary: of source and target
        dictionaries: as fairseq's task, if it is one of fairseq's, takes them

    Attributes:
        source_starts: whether a source begins with <s>
        positions: of source and target, once there is a model
        trains: the flags of the model that is built for training; None: its weights are loaded

    Raises:
        InputError: a flag has a bad value, or a checkpoint of --path is missing or truncated
    """

    source_starts: ClassVar[bool]

    def __init__(self, cfg: SentenceFlags, dictionary: Dictionary, *dictionaries: Dictionary):
        super().__init__(cfg, *dictionaries)
        if cfg.latent_samples < 1:
            raise InputError(f"--latent-samples {cfg.latent_samples}: expected 1 or more")
        for path in utils.split_paths(cfg.path) if cfg.path else ():
            check_file(path)
        self.dictionary = dictionary
        for folder in utils.split_paths(cfg.data or "")[1:]:
            path, other = self.dictionary_path, os.path.join(folder, os.path.basename(self.dictionary_path))
            if os.path.isfile(other) and not filecmp.cmp(path, other, shallow=False):
                raise InputError(f"{other} is another dictionary than {path}: binarise all parts of the data with one")
        self.positions: Optional[Tuple[int, int]] = None
        self.trains: Any = None

    def read(self, path: str, made_by: str, combine: bool = False) -> Any:
        """Read the sentences of a split.

        Args:
            path: of the .bin and .idx, without these endings
            made_by: what makes them
            combine: as in fairseq

        Raises:
            InputError: there are none, or the files are cut off or of another format
        """
        if os.path.exists(f"{path}.bin") and os.path.getsize(f"{path}.bin") == 0:
            raise InputError(f"{path}.bin has no sentences: the text given to fairseq-preprocess was empty")
        data.check_format(path, self.cfg.dataset_impl and str(self.cfg.dataset_impl))
        sentences = data.read_sentences(path, self.dictionary, self.cfg.dataset_impl, combine)
        if sentences is None:
            raise InputError(f"{path}.bin does not exist: {made_by} makes it")
        largest = data.largest_token(sentences)
        if largest >= len(self.dictionary):
            raise InputError(
                f"{path}.bin has tokens up to {largest:,}, and {self.dictionary_path} gives {len(self.dictionary):,}: "
                "expected the dict.txt that it was binarised with"
            )
        return sentences

    def refuse_empty(self, path: str, sizes: np.ndarray) -> None:
        """Refuse sentences without a word.

        Args:
            path: of the text
            sizes: of the sentences with </s>

        Raises:
            InputError: names the first one
        """
        if (sizes < 2).any():
            raise InputError(
                f"{path}: line {int(sizes.argmin()) + 1} of the text is empty ({int((sizes < 2).sum())} empty lines in "
                "all): remove such lines and run fairseq-preprocess again"
            )

    def text_path(self, split: str) -> str:
        """The path, without ending, of the sentences of a split; of pairs, of their targets."""
        return os.path.join(utils.split_paths(self.cfg.data)[0], split)

    def tell_cut(self, split: str, tell: Callable[[str], None]) -> None:
        """Tell how many sources of a split that is loaded are cut; here none is.

        Args:
            split: its name
            tell: told of it
        """

    def cut(self, source: Tensor) -> Tensor:
        """A source cut as those of a split are.

        Args:
            source: tokens with </s> at the end
        """
        return source

    def pairs(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> "data.PairDataset":
        """The data set of some sources and their targets, for a conditional model.

        Args:
            sources: N tensors of tokens, each with </s> at its end
            targets: as many
        """
        start = torch.tensor([self.dictionary.bos()] if self.source_starts else [], dtype=torch.long)
        given = [torch.cat((start, source)) for source in sources]
        sizes = ([len(tokens) for tokens in side] for side in (given, targets))
        sides = zip((given, targets), sizes, (self.dictionary, self.dictionary))
        return data.PairDataset(LanguagePairDataset(*(part for side in sides for part in side), left_pad_source=False))

    def get_batch_iterator(
        self,
        dataset: Any,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        max_positions: Any = None,
        **options: Any,
    ) -> Any:
        """fairseq's batches; a sentence that is longer than a batch meets filter_indices_by_size, not an assertion.

        Args:
            dataset: of the sentences
            max_tokens: in a batch
            max_sentences: in a batch
            max_positions: of source and target; None: not bounded
            options: as in fairseq
        """
        if options.get("grouped_shuffling") and options.get("num_shards", 1) > 1:
            with reported():
                raise InputError(
                    "--grouped-shuffling with several workers leaves the same longest sentences out in every epoch: "
                    "leave it out"
                )
        if max_positions is not None:
            max_positions = utils.resolve_max_positions(max_positions, max_tokens)
        return super().get_batch_iterator(dataset, max_tokens, max_sentences, max_positions, **options)

    @reported()
    def filter_indices_by_size(
        self,
        indices: np.ndarray,
        dataset: "data.WholeDataset",
        max_positions: Any = None,
        ignore_invalid_inputs: bool = False,
    ) -> np.ndarray:
        """Refuse sentences that are too long for model or batch, rather than leave them out without a word.

        --skip-invalid-size-inputs-valid-test leaves them out, in training too.

        Args:
            indices: the sentences' numbers
            dataset: of these sentences
            max_positions: of source and target, or the tokens of a batch where they are fewer
            ignore_invalid_inputs: not used

        Returns:
            the numbers of the sentences that stay

        Raises:
            InputError: a sentence is too long; names the bounds that were met
        """
        stay, ignored = dataset.filter_indices_by_size(indices, max_positions)
        skip = self.cfg.skip_invalid_size_inputs_valid_test
        buffer = all(dataset is not split for split in self.datasets.values())  # of fairseq-interactive
        if len(ignored) and not (skip and (len(stay) or buffer)):
            self.refuse_long(dataset, max_positions, None if skip else "--skip-invalid-size-inputs-valid-test")
        kept = super().filter_indices_by_size(indices, dataset, max_positions, ignore_invalid_inputs=True)
        dataset.kept = np.sort(kept)
        return kept

    @reported()
    def refuse_long(
        self,
        dataset: "data.WholeDataset",
        max_positions: Any,
        skip_with: Optional[str] = None,
        max_tokens: Optional[int] = None,
    ) -> None:
        """Refuse a data set with a sentence that is too long.

        Args:
            dataset: of all sentences
            max_positions: as for filter_indices_by_size
            skip_with: what to give to leave such sentences out; None: they cannot be left out
            max_tokens: of the command's own --max-tokens; None: fairseq's flags are the command's

        Raises:
            InputError: names the bounds that were met
        """
        _, ignored = dataset.filter_indices_by_size(np.arange(len(dataset)), max_positions)
        if len(ignored):
            positions = utils.resolve_max_positions((None, None), max_positions)
            limits = (max_tokens, None) if max_tokens else (self.cfg.max_tokens, self.cfg.max_tokens_valid)
            bounds = told_apart(positions, self.positions, dataset.tgt_sizes is not None, *limits)
            split = next((name for name, value in self.datasets.items() if value is dataset), "input")
            first = 1 + (self.lines - len(dataset) if split == "input" else 0)  # fairseq-interactive has buffers
            both = {first + index: dataset.size(index) for index in ignored}
            sizes = {line: (int(source), int(target)) for line, (source, target) in both.items()}
            path = os.path.join(utils.split_paths(self.cfg.data)[0], split)
            raise InputError(self.too_long(path, sizes, bounds, self.trains is None, skip_with))

    def too_long(
        self, path: str, sizes: Dict[int, Tuple[int, int]], bounds: Bounds, trained: bool, skip_with: Optional[str]
    ) -> str:
        """The message about sentences that are too long.

        Args:
            sizes: number of the line to positions of source and target (0 without one), for each of the sentences
            others: as for base.lengths.too_long
        """
        return too_long(path, {line: source - 2 for line, (source, _) in sizes.items()}, bounds, trained, skip_with)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a model and, before training, check the checkpoint from which training starts; a prior that begins with
        sentences of the training text gets them. A model that is not trained is built without its terms, and loads
        without their weights.

        If the file of --restore-file were missing, fairseq would train from scratch without a word.

        Args:
            cfg: the model's flags
            from_checkpoint: whether fairseq loads a checkpoint, as for generation

        Returns:
            the model, its weights initialised

        Raises:
            InputError: the checkpoint is missing, truncated, unsafe, or of another dictionary; or the task has
                aggressive inference and the model no latent or validation no MI
        """
        start = self.cfg.path
        self.trains = None if from_checkpoint else cfg
        with reported():  # not a decorator, since fairseq looks at the arguments of this method
            if not from_checkpoint:
                check_machine(self.cfg.cpu, self.cfg.fp16, self.cfg.tpu, bool(plain(self.cfg.amp)))
                if self.cfg.train_subset in str(plain(self.cfg.valid_subset)).split(","):
                    raise InputError(
                        f"--valid-subset {self.cfg.valid_subset}: a validation of {self.cfg.train_subset} would move "
                        "training's place in it: copy it under another name, e.g. train0"
                    )
                last = os.path.join(self.cfg.save_dir or "", "checkpoint_last.pt")
                if self.cfg.restore_file not in (None, "checkpoint_last.pt"):
                    start = self.cfg.restore_file
                else:
                    start = last if os.path.exists(last) else self.cfg.finetune_from_model
                if start:
                    check_file(start)
                    check_dictionary(start, self.dictionary, self.dictionary_path)
                    if plain(self.cfg.store_ema) and "ema" not in read_checkpoint(start).get("extra_state", {}):
                        raise InputError(
                            f"--store-ema: fairseq cannot begin an average at {start}, which has none: leave it out, "
                            "and average checkpoints afterwards (fairseq's average_checkpoints.py)"
                        )
            model = super().build_model(without_terms(cfg) if from_checkpoint else cfg, from_checkpoint)
            prior = getattr(getattr(model, "encoder", None), "prior", None)
            train = None if from_checkpoint else plain(self.cfg.train_subset)
            if train and isinstance(prior, Prior) and type(prior).begin is not Prior.begin:
                if train not in self.datasets:
                    self.load_dataset(train)
                prior.begin(self.datasets[train].src)
            if self.aggressive is not None and not from_checkpoint:
                if not hasattr(model, "latent_dim"):
                    raise InputError("--aggressive-inference needs a model with a latent: --arch bart_vae or bart_cvae")
                if not getattr(model.encoder.posterior, "has_rows", True):
                    able = [name for name in posteriors.names() if getattr(posteriors[name], "has_rows", True)]
                    raise InputError(
                        "--aggressive-inference ends when mi falls, of which validation has none with "
                        f"--latent-posterior {cfg.latent_posterior}: give {' or '.join(able)}, or leave "
                        "--aggressive-inference out"
                    )
                if getattr(prior, "of_posterior", False):
                    raise InputError(
                        "--aggressive-inference trains the posterior alone in inner steps, of which --latent-prior "
                        f"{cfg.latent_prior} is made: leave one of the two out"
                    )
        if start:
            model.checkpoint = f"checkpoint {start}"
        self.positions = utils.resolve_max_positions(self.max_positions(), model.max_positions())
        return model

    @reported()
    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build a criterion and, before training, check that every flag of model, criterion and task has an effect.

        Args:
            cfg: the criterion's flags
            others: as in fairseq

        Raises:
            InputError: a flag has a bad value, or no effect beside the others, or asks for sentences from the prior
        """
        criterion = super().build_criterion(cfg, *args, **kwargs)
        if self.trains is not None:
            check_effects(self.trains, cfg, self.cfg)
            without = any(getattr(self.trains, name, False) for name in ("zero_latent", "deterministic_latent"))
            drawn = hasattr(self.trains, "latent_dim") and not without
            if drawn and not hasattr(criterion, "unchecked"):
                raise InputError(
                    f"--criterion {cfg._name} has no KL, so that nothing bounds what z says: give --criterion "
                    "vae_cross_entropy"
                )
            if hasattr(criterion, "unchecked"):
                criterion.unchecked = None
        elif self.cfg.latent_mode == "prior":
            raise InputError("--latent-mode prior: validation needs the data's sentences; leave it out")
        return criterion

    @property
    def source_dictionary(self) -> Dictionary:
        """The one dictionary, of source and target."""
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """The one dictionary, of source and target."""
        return self.dictionary


def without_terms(cfg: Any) -> Any:
    """A copy of a model's flags without the terms that have parameters."""
    names = active_terms(cfg, of_model=True)
    if names:
        cfg = copy.deepcopy(cfg)
    for name in names:
        setattr(cfg, f"{name}_weight", 0.0)
    return cfg
