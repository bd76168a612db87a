"""fairseq's hooks around generation: whose z is decoded, the sentences' numbers, the search, and the text.

At generation a flag chooses z: the posterior's mean, a sample of the posterior, or a sample of the prior.
"""

from collections import deque
from typing import Any, Deque, Dict, List, Optional, Sequence

import torch
from fairseq import search, utils
from fairseq.data import Dictionary
from fairseq.sequence_scorer import SequenceScorer
from torch import Tensor

from .. import data  # in hints, as strings: when `data` is imported first, this module runs before its end
from ..bart.sampling import use_sentence_sampling
from ..base import text  # as a module, for the same reason
from ..base.errors import InputError, reported
from ..base.stream import Purpose, standard_normal
from ..base.transfer import on_device
from ..checkpoints.priors import use_prior
from ..flags.effects import check_generation
from ..flags.host import check_decoding
from .watched import WatchedTask

__all__ = ["GeneratingTask"]


class GeneratingTask(WatchedTask):
    """A task that generates sentences from z. Each sentence's draws belong to its number, in any batch and buffer.

    Args:
        cfg: the task's flags

    Attributes:
        dictionary: of source and target
    """

    dictionary: Dictionary

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        self.lines = 0  # of fairseq-interactive, which numbers the sentences of each buffer anew
        self.numbers: Deque[List[int]] = deque()  # of the sentences in batches that are made and not yet generated from

    def build_dataset_for_inference(
        self, src_tokens: Sequence[Tensor], src_lengths: Sequence[int], constraints: Optional[Tensor] = None
    ) -> "data.SentenceDataset":
        """The data set of some sentences, clean and without targets.

        Args:
            src_tokens: N tensors of tokens, each with </s> at its end
            src_lengths: their lengths, N
            constraints: of constrained decoding, as fairseq packs them, N x L
        """
        first = self.lines
        self.lines += len(src_tokens)

        def remember(ids: List[int]) -> None:
            self.numbers.append([first + index for index in ids])

        return data.SentenceDataset(
            src_tokens, src_lengths, self.dictionary, has_target=False, on_batch=remember, constraints=constraints
        )

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
            InputError: the mode needs a latent, and the model has none; or there are no constraints to search under
        """
        if constraints is None and getattr(getattr(generator, "search", None), "supports_constraints", False):
            raise InputError(
                "--constraints: they stand in the input lines of fairseq-interactive, behind tabs; fairseq-generate "
                "has none: leave the flag out"
            )
        if isinstance(generator, SequenceScorer) and sample.get("target") is None:
            raise InputError("--score-reference: these sentences have no reference; leave the flag out")
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
        if isinstance(getattr(generator, "search", None), search.DiverseBeamSearch):
            # which takes them for the numbers of the batch's rows
            sample = {**sample, "id": torch.arange(len(numbers), device=device)}
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

    def build_generator(self, models: Sequence[Any], args: Any, **kwargs: Any) -> Any:
        """fairseq's sequence generator, with draws of each sentence's own, and without filler words in its output.

        Dictionaries of BART have filler words, which GPT-2's BPE cannot decode.

        Args:
            models: as in fairseq
            args: flags of generation

        Raises:
            InputError: a flag has no effect, or no meaning for this model
        """
        with reported():
            check_decoding(args, str(self.cfg.latent_mode))
            zero_latent = getattr(getattr(models[0], "encoder", None), "zero_latent", False)
            if self.cfg.path:  # otherwise the flags are those of a checkpoint's training
                check_generation(self.cfg, list(self.datasets), zero_latent)
            if self.cfg.prior:
                use_prior(models[0], self.cfg.prior, utils.split_paths(self.cfg.path)[0])
        generator = super().build_generator(models, args, **kwargs)
        use_sentence_sampling(generator, self.dictionary, self.cfg.seed)
        fillers = {index for index, word in enumerate(self.dictionary.symbols) if word.startswith("madeupword")}
        if fillers and hasattr(generator, "symbols_to_strip_from_output"):
            generator.symbols_to_strip_from_output = generator.symbols_to_strip_from_output | fillers
        return generator

    def build_bpe(self, args: Any) -> Any:
        """The BPE of fairseq-generate and fairseq-interactive (`--bpe`), with an exact decoder where there is one.

        Args:
            args: the BPE's flags
        """
        bpe = super().build_bpe(args)
        return text.LineByLine(bpe) if bpe is not None and text.Exact(bpe).name in text.FILES else bpe
