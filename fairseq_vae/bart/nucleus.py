"""Nucleus sampling without a sort of the vocabulary, which costs stock fairseq more than the model's own step."""

from typing import Any, Tuple

import torch
from fairseq import search
from fairseq.data import Dictionary
from torch import Tensor

__all__ = ["NucleusSampling", "sample_nucleus", "use_nucleus"]


def sample_nucleus(probs: Tensor, topp: float) -> Tensor:
    """Draw one word for each row from its nucleus, the smallest set of most probable words whose mass reaches topp.

    Holtzman et al. 2020, https://arxiv.org/abs/1904.09751. A word is drawn from all words. It is kept if the words more
    probable than it have less than topp together; otherwise another one is drawn. The kept words have the nucleus' own
    distribution, after at most 1 / topp draws on average. Words of equal probability at the nucleus' edge are all in
    it; a sort takes only some of them.

    Args:
        probs: rows x V, not negative, of any positive sum
        topp: more than 0, in the units of that sum

    Returns:
        the words' numbers, rows

    >>> sample_nucleus(torch.tensor([[0.1, 0.8, 0.1], [0.0, 0.0, 1.0]]), topp=0.5).tolist()
    [1, 2]
    """
    cumulative = probs.cumsum(1)
    chosen = torch.zeros(len(probs), dtype=torch.long, device=probs.device)
    rows = torch.arange(len(probs), device=probs.device)
    while len(rows):
        of_rows, up_to = (probs, cumulative) if len(rows) == len(probs) else (probs[rows], cumulative[rows])
        draw = torch.rand(len(rows), 1, device=probs.device, dtype=probs.dtype) * up_to[:, -1:]
        word = torch.searchsorted(up_to, draw, right=True).clamp_(max=probs.size(1) - 1)  # rows x 1
        own = of_rows.gather(1, word)
        more_probable = (of_rows * (of_rows > own)).sum(1)
        kept = (more_probable < topp) & (own[:, 0] > 0)
        chosen[rows[kept]] = word[kept, 0]
        rows = rows[~kept]
    return chosen


class NucleusSampling(search.Sampling):
    """fairseq's sampling with `--sampling-topp`: the distribution is the same, the random numbers are others.

    Args:
        stock: fairseq's search, whose settings are taken over
        tgt_dict: the target's dictionary
        beam_size: of the sequence generator
    """

    def __init__(self, stock: search.Sampling, tgt_dict: Dictionary, beam_size: int):
        super().__init__(tgt_dict, stock.sampling_topk, stock.sampling_topp)
        self.beam_size = beam_size

    def _sample_topp(self, lprobs: Tensor) -> Tuple[Tensor, Tensor]:
        """Draw the words here and return each as its row's only candidate, which the caller's own draw must then take.

        Args:
            lprobs: log probabilities, sentences x beams x V

        Returns:
            probabilities and numbers of the candidates, each sentences x beams x candidates
        """
        if lprobs.size(1) != self.beam_size:  # the first step of a beam: several draws from one row
            return super()._sample_topp(lprobs)
        probs = lprobs.exp_()  # sentences x beams x V
        words = sample_nucleus(probs.flatten(0, 1), self.sampling_topp).view(*probs.shape[:2], 1)
        return probs.gather(2, words), words


def use_nucleus(generator: Any, tgt_dict: Dictionary) -> None:
    """Let a sequence generator that samples from a nucleus do so without a sort.

    Below a topp of 0.5 the sort stays: most words drawn from all words would be drawn again.

    Args:
        generator: fairseq's sequence generator, changed in place
        tgt_dict: the target's dictionary
    """
    stock: Any = getattr(generator, "search", None)
    if type(stock) is search.Sampling and 0.5 <= stock.sampling_topp:
        generator.search = NucleusSampling(stock, tgt_dict, generator.beam_size)
