"""The task vae_translation: each sample is a source and a target, read as fairseq's task translation reads them."""

import logging
import os
from itertools import zip_longest
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary, data_utils
from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationTask
from torch import Tensor

from .. import data  # in hints, as strings: when `data` is imported first, this module runs before its end
from ..base import text  # as a module, for the same reason
from ..base.errors import InputError, reported
from ..base.lengths import Bounds, pair_too_long
from ..base.needs import check_sizes
from ..flags.task import VAETranslationFlags
from .sentences import SentenceTask

__all__ = ["VAETranslationTask"]

logger = logging.getLogger(__name__)

SIDES = ("source-lang", "target-lang")
PREPROCESS = "fairseq-preprocess --source-lang SOURCE --target-lang TARGET --joined-dictionary"


@register_task("vae_translation", dataclass=VAETranslationFlags)
class VAETranslationTask(SentenceTask, TranslationTask):
    """Model targets given sources; every pair of a split comes once an epoch.

    Checkpoints of fairseq's task translation and of this one are of the same tokens.

    Args:
        cfg: the task's flags
        src_dict: the one dictionary, as the source's file has it
        tgt_dict: as the target's file has it

    Raises:
        InputError: the two differ, a flag has a bad value, or a checkpoint of --path is missing or truncated
    """

    source_starts = False

    @reported()
    def __init__(self, cfg: VAETranslationFlags, src_dict: Dictionary, tgt_dict: Dictionary):
        super().__init__(cfg, src_dict, src_dict, tgt_dict)
        if cfg.latent_mode == "prior":
            raise InputError(
                "--latent-mode prior: here z is drawn from p(z|x) of a source x, by --latent-mode sample: give that"
            )
        if cfg.left_pad_target:
            raise InputError("--left-pad-target: the posterior reads targets from the left; leave it out")
        if src_dict != tgt_dict:
            symbols = zip_longest(*(dictionary.symbols[dictionary.nspecial :] for dictionary in (src_dict, tgt_dict)))
            line = 1 + next(place for place, (source, target) in enumerate(symbols) if source != target)
            raise InputError(
                f"{self.dictionary_path} and dict.{cfg.source_lang}.txt differ from line {line} on, and one model "
                "reads both sides: run fairseq-preprocess with --joined-dictionary"
            )

    @classmethod
    @reported()
    def setup_task(cls, cfg: VAETranslationFlags, **kwargs: Any) -> "VAETranslationTask":
        """Make the task of a configuration, with the dictionary of its data, or of a checkpoint the dict.txt beside it.

        Args:
            cfg: the task's flags

        Raises:
            InputError: the folder is missing or has no pairs, or see the class
        """
        folder = utils.split_paths(cfg.data)[0] if cfg.data else ""
        if not os.path.isdir(folder):
            raise InputError(f"data folder {folder} does not exist: give the one that {PREPROCESS} wrote")
        given = languages = cfg.source_lang, cfg.target_lang
        if None in languages:
            languages = data_utils.infer_language_pair(folder)
            for (name, other), one, found in zip((SIDES, SIDES[::-1]), given, languages):
                if one not in (None, found) and found is not None:  # fairseq takes the folder's two in its place
                    raise InputError(
                        f"--{name} {one} has no effect without --{other}: give that too, or leave --{name} out"
                    )
        missing = [f"dict.{side}.txt" for side in languages if not os.path.isfile(f"{folder}/dict.{side}.txt")]
        if None in languages or missing:
            if kwargs.get("from_checkpoint") and os.path.isfile(f"{folder}/dict.txt"):
                both = cls.load_dictionary(f"{folder}/dict.txt")
                return cls(cfg, both, both)  # to generate from lines; its splits are of no known languages
            raise InputError(
                f"{folder} has no {' and no '.join(missing) if None not in languages else 'pairs of two languages'}: "
                f"give the folder that {PREPROCESS} wrote, or --task vae_denoising for sentences without a source"
            )
        return super().setup_task(cfg, **kwargs)

    @classmethod
    def load_dictionary(cls, filename: str) -> Dictionary:
        """fairseq's hook: read a dictionary.

        Args:
            filename: its path

        Raises:
            InputError: it is no dictionary
        """
        return text.read_dictionary(filename)

    @property
    def dictionary_path(self) -> str:
        """See GeneratingTask."""
        return os.path.join(utils.split_paths(self.cfg.data)[0], f"dict.{self.cfg.target_lang}.txt")

    @reported()
    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split, as fairseq's task translation does, after its files are checked.

        Args:
            split: e.g. "train"
            epoch: chooses the folder of the training text where there are several
            combine: as in fairseq

        Raises:
            InputError: a side of the split does not exist, is empty or cut off; a target is empty; or a split of one
                file is to be upsampled
        """
        files = list(self.paths(split, epoch, combine))
        often = self.cfg.upsample_primary
        if often != 1 and split == self.cfg.train_subset and combine:
            check_sizes(self.cfg, upsample_primary=1)
            if len(files) == 1:
                raise InputError(
                    f"--upsample-primary {often} has no effect: {files[0][0]} is the only file of {split}, and others "
                    f"would be {split}1, {split}2 and so on; leave it out"
                )
        for source, target in files:
            made_by = f"--{split}pref of {PREPROCESS}"
            sizes = [np.asarray(self.read(path, made_by).sizes) for path in (source, target)]
            if len(sizes[0]) != len(sizes[1]):
                raise InputError(
                    f"{source} has {len(sizes[0]):,} lines and {target} {len(sizes[1]):,}: expected as many; run "
                    "fairseq-preprocess again on texts whose lines belong together"
                )
            self.refuse_empty(target, sizes[1])
        super().load_dataset(split, epoch, combine, **kwargs)
        last = self.cfg.max_source_positions if self.cfg.truncate_source_left else None
        self.datasets[split] = data.PairDataset(self.datasets[split], last, self.cfg.seed, split=split)
        self.tell_cut(split)

    def text_path(self, split: str) -> str:
        """See SentenceTask."""
        return next(self.paths(split, 1, False))[1]

    def paths(self, split: str, epoch: int, combine: bool) -> Iterator[Tuple[str, str]]:
        """Paths, without endings, of the two sides of a split and, where it is to be combined, of those that follow.

        Args:
            split, epoch, combine: as for load_dataset
        """
        folders = utils.split_paths(self.cfg.data)
        folder = folders[(epoch - 1) % len(folders) if split == self.cfg.train_subset else 0]
        sides = self.cfg.source_lang, self.cfg.target_lang
        if None in sides:
            raise InputError(
                f"{folder} has no pairs of two languages: give the folder that {PREPROCESS} wrote of sources and "
                "targets"
            )
        number = 0
        while True:
            names = ["-".join(sides), "-".join(sides[::-1])]
            found = [f"{folder}/{split}{number or ''}.{name}." for name in names]
            there = [prefix for prefix in found if any(os.path.exists(f"{prefix}{side}.bin") for side in sides)]
            if number and not there:
                return
            prefix = (there or found)[0]
            yield f"{prefix}{sides[0]}", f"{prefix}{sides[1]}"
            if not combine:
                return
            number += 1

    def dataset_of_lines(
        self, tokens: Sequence[Tensor], lengths: Sequence[int], constraints: Optional[Tensor]
    ) -> "data.PairDataset":
        """See GeneratingTask; longer sources are cut as those of a split are."""
        self.tell_cut("input", sizes=np.asarray(lengths))
        tokens = [self.cut(line) for line in tokens]
        lengths = [len(line) for line in tokens]
        return data.PairDataset(TranslationTask.build_dataset_for_inference(self, tokens, lengths, constraints))

    def cut(self, source: Tensor) -> Tensor:
        """See SentenceTask."""
        most = self.cfg.max_source_positions
        if self.cfg.truncate_source and len(source) > most:
            return torch.cat((source[: most - 1], source[-1:]))
        return source[-most:] if self.cfg.truncate_source_left else source

    def tell_cut(
        self, split: str, tell: Callable[[str], None] = logger.info, sizes: Optional[np.ndarray] = None
    ) -> None:
        """Tell how many sources are cut.

        Args:
            split: its name
            tell: told of it
            sizes: of its sources, as they are given; None: those of the split, which is loaded
        """
        sizes = data.uncut_sizes(self.datasets[split].src) if sizes is None else sizes
        most = self.cfg.max_source_positions
        sides = {"--truncate-source": "ends", "--truncate-source-left": "beginnings"}
        given = self.cfg.truncate_source, self.cfg.truncate_source_left
        for (flag, side), wanted in zip(sides.items(), given):
            count = int((sizes > most).sum())
            if wanted and (count or split != "input"):  # fairseq-interactive has many buffers
                tell(f"{flag}: the {side} of {count:,} of {len(sizes):,} sources of {split} are cut off")

    def too_long(
        self, path: str, sizes: Dict[int, Tuple[int, int]], bounds: Bounds, trained: bool, skip_with: Optional[str]
    ) -> str:
        """See SentenceTask."""
        if bounds.target == bounds.source - 1:  # as a conditional model has it; a pair's target has no other bound then
            bounds = bounds._replace(target=None, read=True)
        return pair_too_long(path, sizes, bounds, trained, skip_with)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """See SentenceTask.

        Raises:
            InputError: as there, or the model has a latent that is of sources alone
        """
        model = super().build_model(cfg, from_checkpoint)
        with reported():
            if not getattr(model, "conditional", True):
                raise InputError(
                    "--task vae_translation: bart_vae infers z from the source alone, which has no target's words; "
                    "give --arch bart_cvae, or --task vae_denoising for sentences without a source"
                )
        return model

    def reduce_metrics(self, logging_outputs: Sequence[Dict[str, Any]], criterion: Any) -> None:
        """See WatchedTask; sums of --eval-bleu are tensors, since torch's safe loader refuses checkpoints with arrays.

        Args:
            logging_outputs: as in fairseq
            criterion: as in fairseq
        """
        super().reduce_metrics(logging_outputs, criterion)
        for meters in metrics.get_active_aggregators():
            for meter in (meters[name] for name in ("_bleu_counts", "_bleu_totals") if name in meters):
                meter.val, meter.sum = torch.as_tensor(meter.val), torch.as_tensor(meter.sum)
