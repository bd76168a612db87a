"""The task vae_denoising: each sample is one sentence, with a corrupted source and a clean target.

At generation a flag chooses z: the posterior's mean, a sample of the posterior, or a sample of the prior.
"""

import os
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary, data_utils
from fairseq.tasks import FairseqTask, register_task
from torch import Tensor

from . import data, validation  # in hints, as strings: when `data` is imported first, this module runs before its end
from .bart.sampling import use_sentence_sampling
from .base.corruption import corrupted, corruptions
from .base.errors import InputError, memory_remedy, reported
from .base.host import declare
from .base.stream import Purpose, standard_normal, stream
from .base.transfer import on_device
from .checkpoints.read import check_dictionary, check_file
from .flags.task import VAEDenoisingFlags, task_config

__all__ = ["VAEDenoisingTask"]


@register_task("vae_denoising", dataclass=task_config())
class VAEDenoisingTask(FairseqTask):
    """Reconstruct sentences; every sentence of a split comes once an epoch.

    Args:
        cfg: the task's flags
        dictionary: of source and target; gets <mask> if it lacks it

    Attributes:
        mask: the number of <mask>

    Raises:
        InputError: a flag has a bad value, or a checkpoint of --path is missing or truncated
    """

    @reported()
    def __init__(self, cfg: VAEDenoisingFlags, dictionary: Dictionary):
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
        self.lines = 0  # of fairseq-interactive, which numbers the sentences of each buffer anew
        self.numbers: Deque[List[int]] = deque()  # of the sentences in batches that are made and not yet generated from

    @classmethod
    @reported()
    def setup_task(cls, cfg: VAEDenoisingFlags, **kwargs: Any) -> "VAEDenoisingTask":
        """Make the task of a configuration, with the dictionary of its data.

        Args:
            cfg: the task's flags

        Raises:
            InputError: the folder has no dict.txt, or see the class
        """
        path = os.path.join(utils.split_paths(cfg.data)[0], "dict.txt")
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist: give the folder that fairseq-preprocess --only-source wrote")
        return cls(cfg, Dictionary.load(path))

    @reported()
    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split; with --latent-mode prior, make --num-samples empty sentences instead.

        Args:
            split: e.g. "train"
            epoch: chooses the folder where there are several
            combine: as in fairseq

        Raises:
            InputError: the split does not exist, is empty, or has an empty line
        """
        if self.cfg.latent_mode == "prior":
            sentences = [torch.tensor([self.dictionary.eos()])] * self.cfg.num_samples
            self.datasets[split] = data.SentenceDataset(
                sentences, [1] * len(sentences), self.dictionary, has_target=False
            )
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
        corrupt = self.cfg.noise != "none" and split in self.cfg.noise_splits.split(",")
        self.datasets[split] = data.SentenceDataset(
            sentences, sizes, self.dictionary, self.corrupted if corrupt else None, seed=self.cfg.seed
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

    def build_dataset_for_inference(
        self, src_tokens: Sequence[Tensor], src_lengths: Sequence[int], **kwargs: Any
    ) -> "data.SentenceDataset":
        """The data set of some sentences, clean and without targets.

        Args:
            src_tokens: N tensors of tokens, each with </s> at its end
            src_lengths: their lengths, N
        """
        first = self.lines
        self.lines += len(src_tokens)

        def remember(ids: List[int]) -> None:
            self.numbers.append([first + index for index in ids])

        return data.SentenceDataset(src_tokens, src_lengths, self.dictionary, has_target=False, on_batch=remember)

    @reported()
    def filter_indices_by_size(
        self,
        indices: np.ndarray,
        dataset: "data.SentenceDataset",
        max_positions: Any = None,
        ignore_invalid_inputs: bool = False,
    ) -> np.ndarray:
        """Refuse sentences that are longer than the model's positions, rather than leave them out without a word.

        --skip-invalid-size-inputs-valid-test leaves them out, in training too.

        Args:
            indices: the sentences' numbers
            dataset: of these sentences
            max_positions: of source and target
            ignore_invalid_inputs: not used

        Returns:
            the numbers of the sentences that stay

        Raises:
            InputError: a sentence is too long
        """
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

    def train_step(self, *args: Any, **kwargs: Any) -> Tuple[Tensor, int, Dict[str, Any]]:
        """fairseq's training step; where memory runs out, an error line names the flags that lower the peak."""
        with memory_remedy():  # the criterion's own covers no backward pass
            return super().train_step(*args, **kwargs)

    def post_validate(self, model: Any, stats: Dict[str, Any], agg: Any) -> None:
        """fairseq's hook after a whole validation: warn of a wrong rate. Official fairseq 0.12.2 does not call it.

        Args:
            model: not used
            stats: not used
            agg: the validation's meters, by name
        """
        if "_kl_dims" in agg:  # vae_cross_entropy logs it
            validation.warn(agg)

    @reported()
    def inference_step(
        self,
        generator: Any,
        models: Sequence[Any],
        sample: Dict[str, Any],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
    ) -> List[List[Dict[str, Any]]]:
        """Generate sentences from the z that --latent-mode chooses.

        Args:
            generator: fairseq's sequence generator
            models: an ensemble; its first model gives z
            sample: fairseq's batch; without `id`, as fairseq-interactive gives it, a sentence has its line's number
            prefix_tokens: as in fairseq
            constraints: as in fairseq

        Returns:
            hypotheses of each sentence, as in fairseq

        Raises:
            InputError: the mode needs a latent, and the model has none
        """
        numbers, device = self.numbered(sample), sample["net_input"]["src_tokens"].device
        if "id" not in sample:
            sample = {**sample, "id": on_device(torch.tensor(numbers), device)}
        if self.cfg.latent_mode != "mean":
            if not hasattr(models[0], "latent_dim"):
                raise InputError(f"--latent-mode {self.cfg.latent_mode} needs a checkpoint of bart_vae")
            net_input = sample["net_input"]
            encoder, prior = models[0].encoder, self.cfg.latent_mode == "prior"
            dim = encoder.prior.eps_dim if prior else encoder.posterior.eps_dim
            eps = on_device(standard_normal(self.cfg.seed, Purpose.GENERATION, 0, numbers, dim), device)
            latent = {"eps": eps}
            if prior:
                with torch.no_grad():
                    context = encoder.context(net_input["src_tokens"], net_input.get("src_lengths"))
                    latent = {"z": encoder.prior(context).rsample(eps)}
            sample = {**sample, "net_input": {**net_input, **latent}}
        return super().inference_step(generator, models, sample, prefix_tokens, constraints)

    def numbered(self, sample: Dict[str, Any]) -> List[int]:
        """The numbers of a batch's sentences, B, on which all of their draws depend."""
        if "id" in sample:
            return sample["numbers"] if "numbers" in sample else sample["id"].tolist()
        size = len(sample["net_input"]["src_tokens"])
        if self.numbers:
            return self.numbers.popleft()
        self.lines += size
        return list(range(self.lines - size, self.lines))

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a model and, before training, check the checkpoint from which training starts.

        If the file of --restore-file were missing, fairseq would train from scratch without a word.

        Args:
            cfg: the model's flags
            from_checkpoint: whether fairseq loads a checkpoint, as for generation

        Returns:
            the model, its weights initialised

        Raises:
            InputError: the checkpoint is missing, truncated, unsafe, or of another dictionary
        """
        start = self.cfg.path
        with reported():  # not a decorator, since fairseq looks at the arguments of this method
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

    def build_generator(self, models: Sequence[Any], args: Any, **kwargs: Any) -> Any:
        """fairseq's sequence generator, with draws of each sentence's own, and without filler words in its output.

        Dictionaries of BART have filler words, which GPT-2's BPE cannot decode.

        Args:
            models: as in fairseq
            args: flags of generation
        """
        generator = super().build_generator(models, args, **kwargs)
        use_sentence_sampling(generator, self.dictionary, self.cfg.seed)
        fillers = {index for index, word in enumerate(self.dictionary.symbols) if word.startswith("madeupword")}
        if fillers and hasattr(generator, "symbols_to_strip_from_output"):
            generator.symbols_to_strip_from_output = generator.symbols_to_strip_from_output | fillers
        return generator

    @property
    def source_dictionary(self) -> Dictionary:
        """The one dictionary, of source and target."""
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """The one dictionary, of source and target."""
        return self.dictionary


def declare_flags() -> None:
    """Tell fairseq the flags of corruptions that were registered after the task."""
    declare("task", "vae_denoising", VAEDenoisingTask, task_config())


corruptions.on_change(declare_flags)
