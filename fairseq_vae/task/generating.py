"""fairseq's hooks around generation: whose z is decoded, the sentences' numbers, the search, and the text.

At generation a flag chooses z: the posterior's mean, a sample of the posterior, or a sample of the prior.
"""

import json
import os
from collections import defaultdict, deque
from typing import Any, DefaultDict, Deque, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from fairseq import search, utils
from fairseq.data import Dictionary
from fairseq.sequence_scorer import SequenceScorer
from fairseq.token_generation_constraints import unpack_constraints
from torch import Tensor

from .. import data  # in hints, as strings: when `data` is imported first, this module runs before its end
from ..bart.sampling import use_sentence_sampling
from ..base import text  # as a module, for the same reason
from ..base.errors import InputError, reported
from ..base.needs import plain
from ..base.stream import APART, Purpose, standard_normal
from ..base.transfer import on_device
from ..checkpoints.priors import use_prior
from ..flags.effects import check_generation
from ..flags.host import check_decoding
from .watched import WatchedTask

__all__ = ["GeneratingTask"]

ROWS = 64  # that are generated from together, where there are several draws for each of few sentences


def picked(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows of a tensor, as often as given."""
    return tensor.index_select(0, on_device(torch.tensor(rows), tensor.device))


def passes(groups: Sequence[Sequence[int]], draws: int) -> Iterator[List[Tuple[int, int]]]:
    """Pairs of row and draw that are generated from together; a row's draws come in order.

    Args:
        groups: rows that may be together
        draws: for each row

    >>> list(passes([[0, 2], [1]], draws=2))
    [[(0, 0), (2, 0), (0, 1), (2, 1)], [(1, 0), (1, 1)]]
    """
    for rows in groups:
        together = max(1, ROWS // len(rows))
        for first in range(0, draws, together):
            yield [(row, draw) for draw in range(first, min(first + together, draws)) for row in rows]


class GeneratingTask(WatchedTask):
    """A task that generates sentences from z. Each sentence's draws belong to its number, in any batch and buffer.

    Args:
        cfg: the task's flags
        dictionaries: see SentenceTask

    Attributes:
        dictionary: of source and target
    """

    dictionary: Dictionary

    def __init__(self, cfg: Any, *dictionaries: Dictionary):
        super().__init__(cfg, *dictionaries)
        self.nbest: Optional[int] = None  # hypotheses of each z; None: all
        self.z_file = "w"  # how the file of Z- lines is opened: what a former run wrote goes
        self.lines = 0  # of fairseq-interactive, which numbers the sentences of each buffer anew
        self.numbers: Deque[List[int]] = deque()  # of the sentences in batches that are made and not yet generated from

    @property
    def dictionary_path(self) -> str:
        """The dictionary's file."""
        raise NotImplementedError

    def build_dataset_for_inference(
        self, src_tokens: Sequence[Tensor], src_lengths: Sequence[int], constraints: Optional[Tensor] = None
    ) -> "data.WholeDataset":
        """The data set of the lines of a buffer, whose numbers are remembered batch by batch.

        Args:
            src_tokens, src_lengths, constraints: as for dataset_of_lines
        """
        first = self.lines
        self.lines += len(src_tokens)

        def remember(ids: List[int]) -> None:
            self.numbers.append([first + index for index in ids])

        dataset = self.dataset_of_lines(src_tokens, src_lengths, constraints)
        dataset.on_batch = remember
        return dataset

    def dataset_of_lines(
        self, tokens: Sequence[Tensor], lengths: Sequence[int], constraints: Optional[Tensor]
    ) -> "data.WholeDataset":
        """The data set of some lines, without targets.

        Args:
            tokens: N tensors of tokens, each with </s> at its end
            lengths: their lengths, N
            constraints: of constrained decoding, as fairseq packs them, N x L
        """
        raise NotImplementedError

    @reported()
    def inference_step(
        self,
        generator: Any,
        models: Sequence[Any],
        sample: Dict[str, Any],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
    ) -> List[List[Dict[str, Any]]]:
        """Generate sentences from the z's that --latent-mode chooses, and print these with --print-z.

        Args:
            generator: fairseq's sequence generator
            models: an ensemble; each model has its own z, made of draws that all share
            sample: fairseq's batch; without `id`, as fairseq-interactive gives it, a sentence has its line's number
            prefix_tokens: as in fairseq
            constraints: as in fairseq

        Returns:
            hypotheses of each sentence, as in fairseq; with --latent-samples those of one z behind those of another

        Raises:
            InputError: a flag needs a latent, and a model has none; or there are no constraints to search under, or
                some that no hypothesis can meet
        """
        searching = getattr(generator, "search", None)
        if constraints is None and getattr(searching, "supports_constraints", False):
            raise InputError(
                "--constraints: they stand in the input lines of fairseq-interactive, behind tabs; fairseq-generate "
                "has none: leave the flag out"
            )
        if isinstance(generator, SequenceScorer) and sample.get("target") is None:
            raise InputError("--score-reference: these sentences have no reference; leave the flag out")
        numbers = self.numbered(sample)
        if constraints is not None:
            self.check_constraints(generator, sample, numbers, constraints)
        found: DefaultDict[int, List[Dict[str, Any]]] = defaultdict(list)  # by row
        latents: DefaultDict[int, List[List[float]]] = defaultdict(list)
        for pairs in passes(self.groups(generator, sample), self.cfg.latent_samples):
            rows = [row for row, _ in pairs]
            part = self.with_draws(models, self.rows(sample, rows), [numbers[row] + k * APART for row, k in pairs])
            if self.cfg.print_z:
                for row, *own in zip(rows, *self.latents(models, part)):
                    latents[row] += own
            if isinstance(searching, search.DiverseBeamSearch):  # which takes them for the numbers of the batch's rows
                part = {**part, "id": torch.arange(len(rows), device=part["id"].device)}
            others = [None if tokens is None else picked(tokens, rows) for tokens in (prefix_tokens, constraints)]
            for row, beams in zip(rows, super().inference_step(generator, models, part, *others)):
                found[row] += beams[: self.nbest]
        if latents:
            own = [(numbers[row], json.dumps(z)) for row in sorted(latents) for z in latents[row]]
            self.print_latents("".join(f"Z-{number}\t{z}\n" for number, z in own))
        return [found[row] for row in range(len(numbers))]

    def check_constraints(
        self, generator: Any, sample: Dict[str, Any], numbers: List[int], constraints: Tensor
    ) -> None:
        """Refuse constraints under which fairseq's search ends without a hypothesis, or must write <unk>.

        Raises:
            InputError: names the line, and what is too long or unknown
        """
        lengths = sample["net_input"]["src_tokens"].ne(self.dictionary.pad()).sum(1).tolist()
        for number, length, row in zip(numbers, lengths, constraints.cpu()):
            words = [word for phrase in unpack_constraints(row) for word in phrase.tolist()]
            most = min(int(generator.max_len_a * length + generator.max_len_b), generator.max_len - 1)
            if self.dictionary.unk() in words:
                raise InputError(f"line {number + 1}: a constraint has a word that {self.dictionary_path} lacks")
            if len(words) > most:
                raise InputError(
                    f"line {number + 1}: its constraints have {len(words)} tokens, and a sentence {most} at most: "
                    "raise --max-len-b, up to the model's positions, or give fewer"
                )

    def groups(self, generator: Any, sample: Dict[str, Any]) -> List[List[int]]:
        """The rows of a batch that may be generated from together, so that neighbours change nothing.

        fairseq bounds the length of all of a batch's hypotheses by the longest source in it (--max-len-a,
        --match-source-len), so sources of other lengths are then other groups.
        """
        source = sample["net_input"]["src_tokens"]
        if not (getattr(generator, "max_len_a", 0) or getattr(generator, "match_source_len", False)):
            return [list(range(len(source)))]
        groups: DefaultDict[int, List[int]] = defaultdict(list)
        for row, length in enumerate(source.ne(self.dictionary.pad()).sum(1).tolist()):
            groups[length].append(row)
        return list(groups.values())

    def rows(self, sample: Dict[str, Any], rows: Sequence[int]) -> Dict[str, Any]:
        """Some rows of a batch, as often as given: what generators read, without columns of nothing but padding."""
        net_input = {name: picked(value, rows) for name, value in sample["net_input"].items()}
        source = net_input["src_tokens"]
        net_input["src_tokens"] = source[:, source.ne(self.dictionary.pad()).any(0)]
        target = sample.get("target")
        return {"net_input": net_input, "target": None if target is None else picked(target, rows)}

    def with_draws(self, models: Sequence[Any], sample: Dict[str, Any], numbers: Sequence[int]) -> Dict[str, Any]:
        """A batch with the numbers of its draws as `id`, and with the draws that --latent-mode needs.

        Raises:
            InputError: a flag needs a latent, and a model has none
        """
        mode, device = str(self.cfg.latent_mode), sample["net_input"]["src_tokens"].device
        sample = {**sample, "id": on_device(torch.tensor(numbers), device)}
        if mode == "mean" and not self.cfg.print_z:
            return sample
        if not all(hasattr(model, "latent_dim") for model in models):
            given = "--print-z" if mode == "mean" else f"--latent-mode {mode}"
            raise InputError(f"{given} needs a checkpoint of bart_vae or bart_cvae")
        if mode == "mean":
            return sample
        conditional = any(model.conditional for model in models)  # whose z, given a source alone, is the prior's
        name, part = ("prior_eps", "prior") if mode == "prior" or conditional else ("eps", "posterior")
        dim = max(getattr(model.encoder, part).eps_dim for model in models)
        eps = on_device(standard_normal(self.cfg.seed, Purpose.GENERATION, 0, numbers, dim), device)
        return {**sample, "net_input": {**sample["net_input"], name: eps}}

    @staticmethod
    def latents(models: Sequence[Any], sample: Dict[str, Any]) -> List[List[List[float]]]:
        """The z's that each model's decoder reads, models x rows x Z."""
        net_input = {name: value for name, value in sample["net_input"].items() if name != "prev_output_tokens"}
        with torch.no_grad():
            found = [model.encoder(**net_input)["vae"].z.float().cpu() for model in models]
        return [[[float(f"{value:.9g}") for value in row] for row in z.tolist()] for z in found]

    def print_latents(self, lines: str) -> None:
        """Print lines where fairseq's command prints its own, or with --results-path in a file of their own beside it.

        fairseq opens the other file itself and hands it to nobody.
        """
        folder = plain(self.cfg.results_path) if self.datasets else None  # fairseq-interactive has no such file
        if not folder:
            print(lines, end="")
            return
        with open(os.path.join(folder, f"z-{self.cfg.gen_subset}.txt"), self.z_file, encoding="utf-8") as file:
            file.write(lines)
        self.z_file = "a"

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
        conditional = {bool(getattr(model, "conditional", False)) for model in models}
        with reported():
            if len(conditional) > 1:
                raise InputError(
                    f"--path {self.cfg.path}: bart_cvae beside other models: expected bart_cvae alone, or none"
                )
            check_decoding(args, str(self.cfg.latent_mode), conditional == {True})
            if self.cfg.path:  # otherwise the flags are those of a checkpoint's training
                zero_latent = any(getattr(getattr(model, "encoder", None), "zero_latent", False) for model in models)
                check_generation(self.cfg, list(self.datasets), zero_latent)
            if getattr(self.cfg, "prior", None):  # a flag of vae_denoising
                self.use_priors(models)
        if self.cfg.path and self.cfg.latent_samples > 1:
            self.nbest = self.nbest or args.nbest
            args.nbest = self.nbest * self.cfg.latent_samples  # fairseq's commands print so many of each sentence
        generator = super().build_generator(models, args, **kwargs)
        use_sentence_sampling(generator, self.dictionary, self.cfg.seed)
        fillers = {index for index, word in enumerate(self.dictionary.symbols) if word.startswith("madeupword")}
        if fillers and hasattr(generator, "symbols_to_strip_from_output"):
            generator.symbols_to_strip_from_output = generator.symbols_to_strip_from_output | fillers
        return generator

    def use_priors(self, models: Sequence[Any]) -> None:
        """Put the fitted priors of --prior into the places of the models' own.

        Raises:
            InputError: there are more or fewer than models, or see checkpoints.priors.use_prior
        """
        priors, paths = utils.split_paths(self.cfg.prior), utils.split_paths(self.cfg.path)
        if len(priors) != len(paths):
            raise InputError(
                f"--prior {self.cfg.prior}: expected a file for each of the {len(paths)} checkpoints of --path, in "
                f"their order, with {os.pathsep} between"
            )
        for model, prior, path in zip(models, priors, paths):
            use_prior(model, prior, path)

    def build_bpe(self, args: Any) -> Any:
        """The BPE of fairseq-generate and fairseq-interactive (`--bpe`), with an exact decoder where there is one.

        Args:
            args: the BPE's flags
        """
        bpe = super().build_bpe(args)
        return text.LineByLine(bpe) if bpe is not None and text.Exact(bpe).name in text.FILES else bpe
