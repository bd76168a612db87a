"""The task vae_denoising: each sample is one sentence, with a corrupted source and a clean target."""

import os
from typing import Any, Optional, Sequence

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.tasks import register_task
from torch import Tensor

from .. import data  # in hints, as strings: when `data` is imported first, this module runs before its end
from ..base import text  # as a module, for the same reason
from ..base.corruption import corrupted, corruptions
from ..base.errors import InputError, reported
from ..base.host import declare
from ..base.stream import Purpose, stream
from ..flags.task import VAEDenoisingFlags, task_config
from .sentences import SentenceTask

__all__ = ["VAEDenoisingTask"]


@register_task("vae_denoising", dataclass=task_config())
class VAEDenoisingTask(SentenceTask):
    """Reconstruct sentences; every sentence of a split comes once an epoch.

    Args:
        cfg: the task's flags
        dictionary: of source and target; gets <mask> if it lacks it

    Attributes:
        mask: the number of <mask>

    Raises:
        InputError: a flag has a bad value, or a checkpoint of --path is missing or truncated
    """

    source_starts = True

    @reported()
    def __init__(self, cfg: VAEDenoisingFlags, dictionary: Dictionary):
        super().__init__(cfg, dictionary)
        if not 0 <= cfg.noise_ratio <= 1:
            raise InputError(f"--noise-ratio {cfg.noise_ratio}: expected a number between 0 and 1")
        if cfg.latent_mode != "prior" and cfg.num_samples:
            raise InputError(
                f"--num-samples {cfg.num_samples} has no effect without --latent-mode prior: give that too, or leave "
                "--num-samples out"
            )
        self.mask = dictionary.add_symbol("<mask>")  # at the end, where BART's pretraining put it

    @classmethod
    @reported()
    def setup_task(cls, cfg: VAEDenoisingFlags, **kwargs: Any) -> "VAEDenoisingTask":
        """Make the task of a configuration, with the dictionary of its data.

        Args:
            cfg: the task's flags

        Raises:
            InputError: the folder has no dict.txt, or another file of that name, or see the class
        """
        path = dictionary_path(cfg)
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist: give the folder that fairseq-preprocess --only-source wrote")
        return cls(cfg, text.read_dictionary(path))

    @property
    def dictionary_path(self) -> str:
        """See GeneratingTask."""
        return dictionary_path(self.cfg)

    @reported()
    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split; with --latent-mode prior, make --num-samples empty sentences instead.

        Args:
            split: e.g. "train"
            epoch: chooses the folder where there are several
            combine: as in fairseq

        Raises:
            InputError: the split does not exist, is empty, cut off, or has an empty line; or --num-samples is missing
        """
        if self.cfg.latent_mode == "prior":
            if self.cfg.num_samples < 1:
                raise InputError(
                    f"--num-samples {self.cfg.num_samples}: --latent-mode prior needs 1 or more, to generate so many"
                )
            sentences = [torch.tensor([self.dictionary.eos()])] * self.cfg.num_samples
            self.datasets[split] = data.SentenceDataset(
                sentences, [1] * len(sentences), self.dictionary, has_target=False
            )
            return
        paths = utils.split_paths(self.cfg.data)
        path = os.path.join(paths[(epoch - 1) % len(paths)], split)
        sentences = self.read(path, f"--{split}pref of fairseq-preprocess --only-source", combine)
        sizes = np.asarray(sentences.sizes)
        self.refuse_empty(path, sizes)
        corrupt = self.cfg.noise != "none" and split in self.cfg.noise_splits.split(",")
        self.datasets[split] = data.SentenceDataset(
            sentences, sizes, self.dictionary, self.corrupted if corrupt else None, seed=self.cfg.seed, split=split
        )

    def corrupted(self, tokens: Tensor, epoch: int, index: int) -> Tensor:
        """Corrupt a sentence for the encoder; the result depends on the sentence and (seed, epoch, index) alone.

        Args:
            tokens: T
            epoch: the number of the epoch
            index: the sentence's number

        Returns:
            tokens
        """
        own = stream(self.cfg.seed, Purpose.SOURCE, epoch, index)
        return corrupted(tokens, str(self.cfg.noise), self.cfg.noise_ratio, self.mask, own)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """See SentenceTask.

        Raises:
            InputError: as there, or the task has noise and the model reads no source
        """
        model = super().build_model(cfg, from_checkpoint)
        noise, encoder = str(self.cfg.noise), getattr(model, "encoder", None)
        with reported():
            if noise != "none" and not from_checkpoint and not getattr(encoder, "reads_source", True):
                raise InputError(f"--noise {noise} has no effect with --zero-latent: leave one of the two out")
        return model

    def dataset_of_lines(
        self, tokens: Sequence[Tensor], lengths: Sequence[int], constraints: Optional[Tensor]
    ) -> "data.SentenceDataset":
        """See GeneratingTask; the sentences are clean."""
        return data.SentenceDataset(tokens, lengths, self.dictionary, has_target=False, constraints=constraints)


def dictionary_path(cfg: Any) -> str:
    """The dictionary's file beside the data of the task's flags."""
    return os.path.join(utils.split_paths(cfg.data)[0], "dict.txt")


def declare_flags() -> None:
    """Tell fairseq the flags of corruptions that were registered after the task."""
    declare("task", "vae_denoising", VAEDenoisingTask, task_config())


corruptions.on_change(declare_flags)
