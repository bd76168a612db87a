"""Strings as a model reads them: their tokens, batches of them, and the sources of a conditional model."""

import logging
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Union

import torch
import torch.nn as nn
from fairseq import utils
from torch import Tensor

from .base.errors import InputError
from .base.lengths import Bounds
from .base.lines import sentence as stripped
from .base.text import Joiner, build_bpe, of_pieces, pieces_of
from .data import SentenceDataset

__all__ = ["Sentences", "Strings", "listed"]

logger = logging.getLogger(__name__)

Sentences = Union[str, Sequence[str]]


class Strings(nn.Module):
    """A model, and what turns strings into its batches.

    Args:
        task: as fairseq loads it
        model: a bart_vae, as fairseq loads it, whose parameters from here on need no gradient: posteriors may hold them
        bpe: fairseq's settings of a BPE (see text.find_bpe); None takes tokens with spaces between
        batch_size: sentences at a time

    Attributes:
        cut_sources: how often a source was cut so far; the first time is a warning of the log
    """

    def __init__(self, task: Any, model: Any, bpe: Optional[Dict[str, str]], batch_size: int):
        super().__init__()
        model.eval().requires_grad_(False)
        self.task, self.model, self.batch_size = task, model, batch_size
        self.settings, self.cut_sources = bpe, 0
        self.bpe: Any = build_bpe(bpe) if bpe else None
        self.given_in_pieces = not bpe and of_pieces(task.source_dictionary)
        self.join: Callable[[Tensor], str] = (
            Joiner(task.target_dictionary, bpe) if bpe else task.target_dictionary.string
        )

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    @property
    def window(self) -> int:
        """Sentences within which `encode` sorts by length; it cuts a longer list into such windows."""
        return 100 * self.batch_size

    def check_targets(self, sentences: Sequence[Any], targets: Optional[Sequence[Any]]) -> None:
        """Refuse sources without targets of a conditional model, and targets of another one.

        Raises:
            InputError: targets are missing or too many, or the model reads none
        """
        if self.model.conditional and targets is None:
            raise InputError(
                "bart_cvae: a posterior is one of a source and its target: give targets beside the sources"
            )
        if targets is not None and not self.model.conditional:
            raise InputError("this checkpoint is of bart_vae, which encodes sentences alone: leave the targets out")
        if targets is not None and len(listed(targets)) != len(listed(sentences)):
            raise InputError(f"{len(listed(targets))} targets for {len(listed(sentences))} sources: expected as many")

    def batches(
        self,
        sentences: Union[Sentences, Sequence[Tensor]],
        targets: Union[Sentences, Sequence[Tensor], None] = None,
        has_target: bool = True,
    ) -> Iterator[Dict[str, Any]]:
        """Cut sentences into batches of like length. The code that takes a batch runs without gradients.

        Args:
            sentences, targets: as for encode
            has_target: whether batches without targets have the sentences as what the decoder reads and is to say

        Returns:
            fairseq's batches, with the sentences' numbers, from 0 to N - 1, under `id`

        Raises:
            InputError: a sentence is empty or longer than the model's positions
        """
        first = self.tokens if targets is None else self.context
        tokens = [first(part) if isinstance(part, str) else part for part in listed(sentences)]
        sizes = [len(sentence) for sentence in tokens]
        if targets is None:
            dataset = SentenceDataset(tokens, sizes, self.task.source_dictionary, has_target=has_target)
        else:
            others = [self.tokens(part) if isinstance(part, str) else part for part in listed(targets)]
            dataset = self.task.pairs(tokens, others)
        order = sorted(range(len(tokens)), key=lambda i: (i // self.window, sizes[i]))
        for start in range(0, len(order), self.batch_size):
            sample = dataset.collater([dataset[i] for i in order[start : start + self.batch_size]])
            with torch.no_grad():
                yield utils.apply_to_sample(lambda tensor: tensor.to(self.device), sample)

    def tokens(self, sentence: str) -> Tensor:
        """The tokens of a sentence with </s>, as the data has them.

        Args:
            sentence: a string

        Returns:
            T

        Raises:
            InputError: the sentence is empty or longer than the model's positions
        """
        tokens = self.uncut(sentence)
        if not 1 <= len(tokens) - 1 <= self.longest:
            raise InputError(
                f"{sentence[:60]!r} has {len(tokens) - 1} tokens; expected 1 to {self.longest}, the model's positions"
            )
        return tokens

    @property
    def longest(self) -> int:
        """The most tokens that a sentence may have, its end not counted."""
        return Bounds(*self.model.max_positions()).longest

    def uncut(self, sentence: str) -> Tensor:
        """The tokens of any text with </s>, however many, T.

        Raises:
            InputError: the dictionary is of pieces, there is no BPE, and the text has none of the pieces
        """
        dictionary = self.task.source_dictionary
        pieces = pieces_of(stripped(sentence), self.bpe, dictionary)
        tokens = [*map(dictionary.index, pieces)]
        if tokens and self.given_in_pieces and set(tokens) == {dictionary.unk()}:
            raise InputError(
                f"{sentence[:60]!r} has no piece of the dictionary: put its BPE beside the checkpoint "
                "(--sentencepiece-model names one), or give sentences as pieces with spaces between"
            )
        return torch.tensor([*tokens, dictionary.eos()])  # fairseq's encode_line is slow

    def context(self, source: Union[str, Tensor]) -> Tensor:
        """The tokens of a conditional model's source with </s>: perhaps no others, and cut as training cut its own.

        Args:
            source: a string, or what `uncut` makes of one

        Returns:
            T

        Raises:
            InputError: it is longer than the model's positions, and training has cut none
        """
        whole = self.uncut(source) if isinstance(source, str) else source
        tokens = self.task.cut(whole)
        if len(tokens) < len(whole):
            self.cut_sources += 1
            if self.cut_sources == 1:
                logger.warning(
                    f"a source of {len(whole) - 1:,} tokens is cut to {len(tokens) - 1:,}, as in training; "
                    "`cut_sources` counts them"
                )
        longest = self.model.max_positions()[0] - 1 - self.task.source_starts
        if len(tokens) - 1 > longest:
            raise InputError(
                f"a source of {len(tokens) - 1:,} tokens; expected at most {longest:,}, the model's positions: shorten "
                "it; a training with --truncate-source-left keeps a source's last ones"
            )
        return tokens

    def source_of(self, source: Union[str, Tensor]) -> Tensor:
        """The tokens of a source as the training's data set has them; see context."""
        starts = [self.task.source_dictionary.bos()] if self.task.source_starts else []
        return torch.cat((torch.tensor(starts, dtype=torch.long), self.context(source)))


def listed(sentences: Union[Sentences, Sequence[Tensor]]) -> Sequence[Any]:
    """A single string as a list of one; a list as it is."""
    return [sentences] if isinstance(sentences, str) else sentences
