"""The task vae_denoising: one sentence a sample, noised source, clean target; z by choice at generation."""

import os
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary, data_utils
from fairseq.data.indexed_dataset import get_available_dataset_impl
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING
from torch import Tensor

from . import data, validation
from .bart.nucleus import use_nucleus
from .base.corruption import NOISES, noised
from .base.errors import InputError, memory_remedy, reported
from .base.stream import Draw, sentence_generator, standard_normal
from .checkpoints.read import check_dictionary, check_file

LATENT_MODES = ("mean", "sample", "prior")


@dataclass
class VAEDenoisingConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "folder made by fairseq-preprocess --only-source"})
    noise: ChoiceEnum(NOISES) = field(
        default="none",
        metadata={
            "help": "noise on the encoder's input: deletion takes a uniform number between 0 and floor(ratio x length) "
            "of a sentence's tokens away, masking replaces each with probability ratio by <mask> (default: none)"
        },
    )
    noise_ratio: float = field(default=0.15, metadata={"help": "the noise's ratio, 0 to 1 (default: 0.15)"})
    noise_splits: str = field(
        default="train", metadata={"help": "comma-separated splits that get the noise (default: train)"}
    )
    latent_mode: ChoiceEnum(LATENT_MODES) = field(
        default="mean",
        metadata={
            "help": "z at generation: the posterior's mean, a sample of the posterior, or a sample of the prior, for "
            "which --num-samples stands in for the data; samples depend on --seed and the sentence's number only "
            "(default: mean)"
        },
    )
    num_samples: int = field(
        default=0, metadata={"help": "sentences to generate with --latent-mode prior (default: 0)"}
    )
    reuse_dataloader: bool = field(
        default=False,
        metadata={"help": "keep data workers between epochs; they would repeat the first epoch's noise (default: off)"},
    )
    seed: int = II("common.seed")
    path: Optional[str] = II("common_eval.path")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    save_dir: str = II("checkpoint.save_dir")
    dataset_impl: Optional[ChoiceEnum(get_available_dataset_impl())] = II("dataset.dataset_impl")
    skip_invalid_size_inputs_valid_test: bool = II("dataset.skip_invalid_size_inputs_valid_test")


@register_task("vae_denoising", dataclass=VAEDenoisingConfig)
class VAEDenoisingTask(FairseqTask):
    """Reconstruct sentences; every sentence of a split once an epoch."""

    @reported()
    def __init__(self, cfg: VAEDenoisingConfig, dictionary: Dictionary):
        super().__init__(cfg)
        if not 0 <= cfg.noise_ratio <= 1:
            raise InputError(f"--noise-ratio {cfg.noise_ratio}: expected a number between 0 and 1")
        if (cfg.latent_mode == "prior") != (cfg.num_samples > 0):
            raise InputError(
                f"--latent-mode {cfg.latent_mode} --num-samples {cfg.num_samples}: sentences from the prior take both "
                "--latent-mode prior and --num-samples N, N 1 or more; other modes take no --num-samples"
            )
        for path in utils.split_paths(cfg.path) if cfg.path else ():
            check_file(path)
        self.dictionary = dictionary
        self.mask = dictionary.add_symbol("<mask>")  # at the end, where BART's pretraining put it
        self.sentences_without_id = 0

    @classmethod
    @reported()
    def setup_task(cls, cfg: VAEDenoisingConfig, **kwargs):
        path = os.path.join(utils.split_paths(cfg.data)[0], "dict.txt")
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist: give the folder that fairseq-preprocess --only-source wrote")
        return cls(cfg, Dictionary.load(path))

    @reported()
    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Load a split, or with --latent-mode prior as many empty sentences as samples are wanted.

        Raises:
            InputError: the split does not exist, is empty, or has an empty line
        """
        if self.cfg.latent_mode == "prior":
            sentences = [torch.tensor([self.dictionary.eos()])] * self.cfg.num_samples
            self.datasets[split] = self.build_dataset_for_inference(sentences, [1] * len(sentences))
            return
        paths = utils.split_paths(self.cfg.data)
        path = os.path.join(paths[(epoch - 1) % len(paths)], split)
        if os.path.exists(f"{path}.bin") and os.path.getsize(f"{path}.bin") == 0:
            raise InputError(f"{path}.bin has no sentences: the text given to fairseq-preprocess was empty")
        sentences = data_utils.load_indexed_dataset(path, self.dictionary, self.cfg.dataset_impl, combine=combine)
        if sentences is None:
            raise InputError(f"{path}.bin does not exist: --{split}pref of fairseq-preprocess --only-source makes it")
        sizes = np.asarray(sentences.sizes)
        if (sizes < 2).any():
            raise InputError(
                f"{path}: line {int(sizes.argmin()) + 1} of the text is empty ({int((sizes < 2).sum())} empty lines in "
                "all): remove such lines and run fairseq-preprocess again"
            )
        noisy = self.cfg.noise != "none" and split in self.cfg.noise_splits.split(",")
        self.datasets[split] = data.SentenceDataset(
            sentences, sizes, self.dictionary, self.noised if noisy else None, seed=self.cfg.seed
        )

    def noised(self, tokens: Tensor, epoch: int, index: int) -> Tensor:
        """The sentence as the encoder sees it in this epoch; depends on (seed, epoch, index) only."""
        generator = sentence_generator(self.cfg.seed, Draw.SOURCE, epoch, index)
        return noised(tokens, str(self.cfg.noise), self.cfg.noise_ratio, self.mask, generator)

    def build_dataset_for_inference(self, src_tokens, src_lengths, **kwargs):
        return data.SentenceDataset(src_tokens, src_lengths, self.dictionary, has_target=False)

    @reported()
    def filter_indices_by_size(self, indices, dataset, max_positions=None, ignore_invalid_inputs=False):
        """Refuse sentences that the model has no positions for, rather than train on less than was given; skip them if
        --skip-invalid-size-inputs-valid-test says so, in training too."""
        _, ignored = dataset.filter_indices_by_size(indices, max_positions)
        if len(ignored) and not self.cfg.skip_invalid_size_inputs_valid_test:
            split = next((name for name, value in self.datasets.items() if value is dataset), "input")
            raise InputError(
                f"{os.path.join(self.cfg.data, split)}: line {min(ignored) + 1} of the text is too long, "
                f"{dataset.src_sizes[min(ignored)]} tokens with <s> and </s> where the model has positions for "
                f"{max_positions} (source, target); {len(ignored)} such lines in all. Shorten them, raise "
                "--max-source-positions and --max-target-positions, or skip them with "
                "--skip-invalid-size-inputs-valid-test"
            )
        return super().filter_indices_by_size(indices, dataset, max_positions, ignore_invalid_inputs=True)

    def train_step(self, *args, **kwargs):
        with memory_remedy():  # backward included, which the criterion does not see
            return super().train_step(*args, **kwargs)

    def post_validate(self, model, stats, agg):
        """After a whole validation (stats and meters); official fairseq 0.12.2 does not call it."""
        if "_kl_dims" in agg:  # of vae_cross_entropy
            validation.warn(agg)

    @reported()
    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        if self.cfg.latent_mode != "mean":
            if not hasattr(models[0], "latent_dim"):
                raise InputError(f"--latent-mode {self.cfg.latent_mode} needs a checkpoint of bart_vae")
            net_input = sample["net_input"]
            size = len(net_input["src_tokens"])
            if "id" in sample:
                indices = sample["id"].tolist()
            else:  # fairseq-interactive gives none: number the sentences as they come
                indices = range(self.sentences_without_id, self.sentences_without_id + size)
                self.sentences_without_id += size
            noise = standard_normal(self.cfg.seed, Draw.GENERATION, 0, indices, models[0].latent_dim)
            key = "z" if self.cfg.latent_mode == "prior" else "noise"
            sample = {**sample, "net_input": {**net_input, key: noise.to(net_input["src_tokens"].device)}}
        return super().inference_step(generator, models, sample, prefix_tokens, constraints)

    def build_model(self, cfg, from_checkpoint=False):
        """Before training, refuse a checkpoint to start from that is missing, truncated, unsafe or of other words: for
        a missing --restore-file fairseq would silently train from scratch."""
        start = self.cfg.path
        with reported():  # no decorator: fairseq looks at this method's own arguments
            if not from_checkpoint:
                last = os.path.join(self.cfg.save_dir or "", "checkpoint_last.pt")
                if self.cfg.restore_file not in (None, "checkpoint_last.pt"):
                    start = self.cfg.restore_file
                else:
                    start = last if os.path.exists(last) else self.cfg.finetune_from_model
                if start:
                    check_file(start)
                    check_dictionary(start, self.dictionary, self.cfg.data)
            model = super().build_model(cfg, from_checkpoint)
        if start:
            model.checkpoint = f"checkpoint {start}"
        return model

    def build_generator(self, models, args, **kwargs):
        """fairseq's generator, with a faster nucleus; the filler words of BART's dictionaries, which its GPT-2 BPE
        cannot decode, are not written out."""
        generator = super().build_generator(models, args, **kwargs)
        use_nucleus(generator, self.dictionary)
        fillers = {index for index, word in enumerate(self.dictionary.symbols) if word.startswith("madeupword")}
        if fillers and hasattr(generator, "symbols_to_strip_from_output"):
            generator.symbols_to_strip_from_output = generator.symbols_to_strip_from_output | fillers
        return generator

    @property
    def source_dictionary(self):
        return self.dictionary

    @property
    def target_dictionary(self):
        return self.dictionary
