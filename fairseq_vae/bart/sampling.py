"""Sampling of words in generation: the draws belong to (seed, sentence, step), and the vocabulary is not sorted.

fairseq draws all rows of a batch from torch's global generator, so that a sentence's words depend on its neighbours,
and sorts the vocabulary for a nucleus, which costs more than the model's own step.

Shapes: B sentences, K beams, R = B x K rows, V words.
"""

from typing import Any, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq import search
from fairseq.data import Dictionary
from torch import Tensor

from ..base.errors import InputError
from ..base.stream import APART, Purpose, stream
from ..base.transfer import on_device

__all__ = ["SentenceSampling", "draw_words", "use_sentence_sampling"]

TRIES = 16  # draws of a word of the nucleus by rejection; rows that all of them miss are sorted
SMALLEST_BY_REJECTION = 0.5  # of a smaller nucleus, draws from all words would be rejected too often


def draw_words(lprobs: Tensor, uniforms: Tensor, topk: int = -1, topp: float = -1.0) -> Tensor:
    """One word for each row, as a function of uniform numbers.

    The word is drawn from all words; from the `topk` most probable ones; or from the nucleus, the smallest set of most
    probable words whose mass reaches `topp` (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751). In the nucleus, a
    word drawn from all of them is kept if the words more probable than it have less than topp together, and drawn again
    if not, which is the nucleus' own distribution; words of equal probability at its edge are in it together.

    Args:
        lprobs: log-probabilities, R x V, of any positive mass; -inf for words that cannot come
        uniforms: numbers in [0, 1), R x TRIES + 1
        topk: number of words to draw from; -1: not limited
        topp: mass of the nucleus, in the units of exp(lprobs); -1, 1 or more: no nucleus

    Returns:
        words, R

    Raises:
        ValueError: a row has no finite entry, or one that is not a number; names the row

    >>> draw_words(torch.tensor([[0.2, 0.5, 0.3]]).log(), torch.full((1, 17), 0.4)).tolist()
    [1]
    """
    largest = lprobs.amax(1, keepdim=True)  # R x 1
    empty = ~torch.isfinite(largest[:, 0])
    if empty.any():
        raise ValueError(f"row {int(empty.int().argmax())} has no word with a probability")
    probs = (lprobs - largest).exp()
    uniforms = uniforms.to(probs)
    if 0 < topp < 1:
        bound = topp * (-largest.double()).exp().clamp(max=1e300)  # R x 1, in the units of probs
        if topp < SMALLEST_BY_REJECTION:
            return draw_sorted(probs, uniforms[:, -1:], bound)
        return draw_by_rejection(probs, uniforms, bound)
    if 0 < topk < probs.size(1):
        probs, words = probs.topk(topk)
        return words.gather(1, draw_all(probs, probs.cumsum(1), uniforms[:, :1]))[:, 0]
    return draw_all(probs, probs.cumsum(1), uniforms[:, :1])[:, 0]


def draw_all(probs: Tensor, cumulative: Tensor, uniforms: Tensor) -> Tensor:
    """One word of each row in proportion to probs, R x V, by their cumulative sums and uniforms, R x 1; R x 1."""
    word = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True)
    # a uniform near 1 may round to the whole mass: the last word that has some
    last = probs.size(1) - 1 - (probs > 0).flip(1).int().argmax(1, keepdim=True)
    return word.minimum(last)


def draw_sorted(probs: Tensor, uniforms: Tensor, bound: Tensor) -> Tensor:
    """One word of each row's nucleus, R, by a sort of the row."""
    ordered, words = probs.sort(1, descending=True)
    cumulative = ordered.double().cumsum(1)
    nucleus = ordered.masked_fill(cumulative - ordered >= bound, 0)
    return words.gather(1, draw_all(nucleus, nucleus.cumsum(1), uniforms))[:, 0]


def draw_by_rejection(probs: Tensor, uniforms: Tensor, bound: Tensor) -> Tensor:
    """One word of each row's nucleus, R, in 1 / topp draws on average at the most."""
    cumulative = probs.cumsum(1)
    chosen = torch.zeros(len(probs), dtype=torch.long, device=probs.device)
    rows = torch.arange(len(probs), device=probs.device)
    for attempt in range(TRIES):
        whole = len(rows) == len(probs)
        of_rows, up_to = (probs, cumulative) if whole else (probs[rows], cumulative[rows])
        word = draw_all(of_rows, up_to, uniforms[rows, attempt : attempt + 1])  # rows x 1
        own = of_rows.gather(1, word)
        more_probable = (of_rows * (of_rows > own)).double().sum(1)
        kept = more_probable < bound[rows, 0]
        chosen[rows] = torch.where(kept, word[:, 0], chosen[rows])
        rows = rows[~kept]  # a host waits for their number
        if not len(rows):
            return chosen
    chosen[rows] = draw_sorted(probs[rows], uniforms[rows, -1:], bound[rows])
    return chosen


class SentenceSampling(search.Sampling):
    """fairseq's sampling, plain, top-k or nucleus: the same distribution, by draws of each sentence's own.

    Args:
        stock: fairseq's
        tgt_dict: the target's dictionary
        seed: of the draws
    """

    def __init__(self, stock: search.Sampling, tgt_dict: Dictionary, seed: int):
        super().__init__(tgt_dict, stock.sampling_topk, stock.sampling_topp)
        self.seed = seed

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """One word for each hypothesis.

        Args:
            step: number of words before it
            lprobs: B x K x V
            scores: cumulative, of the words before, B x K x step
            prev_output_tokens: not used
            original_batch_idxs: the sentences' numbers, B

        Returns:
            cumulative scores, words and beams, B x K each

        Raises:
            InputError: a sentence's numbers are not finite
        """
        size, beam, _ = lprobs.shape
        if step == 0:  # all hypotheses are the same
            lprobs = lprobs[:, :1].expand_as(lprobs)
        sentences = range(size) if original_batch_idxs is None else original_batch_idxs.tolist()
        uniforms = on_device(torch.from_numpy(self.uniforms(step, sentences, beam)), lprobs.device)
        try:
            words = draw_words(lprobs.flatten(0, 1), uniforms, self.sampling_topk, self.sampling_topp).view(size, beam)
        except ValueError as error:
            rows = torch.isfinite(lprobs.amax(2)).all(1).int().argmin()
            raise InputError(
                f"sentence {sentences[int(rows)] % APART}: no word has a probability; the model's numbers are not "
                "finite: take an earlier checkpoint, or a higher --temperature"
            ) from error
        found = lprobs.gather(2, words[:, :, None])[:, :, 0]
        if step > 0 and scores is not None:
            found = found + scores[:, :, step - 1]
        return found, words, torch.arange(beam, device=words.device).expand(size, beam)

    def uniforms(self, step: int, sentences: Sequence[int], beam: int) -> np.ndarray:
        """Uniform numbers of each sentence's own, R x TRIES + 1, float32."""
        shape = beam, TRIES + 1
        return np.concatenate(
            [stream(self.seed, Purpose.TOKENS, step, index).random(shape, np.float32) for index in sentences]
        )


def use_sentence_sampling(generator: Any, tgt_dict: Dictionary, seed: int) -> None:
    """Let a fairseq generator that samples draw a sentence's words from the sentence's own stream.

    Args:
        generator: fairseq's; one that searches stays as it is
        tgt_dict: the target's dictionary
        seed: of the draws
    """
    stock = getattr(generator, "search", None)
    if isinstance(stock, search.Sampling):
        generator.search = SentenceSampling(stock, tgt_dict, seed)
