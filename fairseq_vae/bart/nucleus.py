"""Nucleus sampling without sorting the vocabulary, which costs stock fairseq more than the model's own step."""

import torch
from fairseq import search
from torch import Tensor


def sample_nucleus(probs: Tensor, topp: float) -> Tensor:
    """One word for each row, from the smallest set of most probable words whose mass reaches topp (Holtzman et al.
    2020).

    A word drawn from all of them is kept if the words more probable than it have less than topp together, and drawn
    again if not: the nucleus' own distribution, in 1 / topp draws on average at the most. Words of equal probability
    at its edge are in it together; a sort takes some of them.

    Args:
        probs: rows x V, not negative; of any positive sum, topp counts in the same units
        topp: more than 0

    Returns:
        indices, rows
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
    """fairseq's sampling with `--sampling-topp`; the same distribution, other random numbers."""

    def __init__(self, stock: search.Sampling, tgt_dict, beam_size: int):
        super().__init__(tgt_dict, stock.sampling_topk, stock.sampling_topp)
        self.beam_size = beam_size

    def _sample_topp(self, lprobs: Tensor):
        """The words drawn as candidates of their own, from which the caller's draw of one must take them."""
        if lprobs.size(1) != self.beam_size:  # the first step of a beam: several draws from one row
            return super()._sample_topp(lprobs)
        probs = lprobs.exp_()  # sentences x beams x V
        words = sample_nucleus(probs.flatten(0, 1), self.sampling_topp).view(*probs.shape[:2], 1)
        return probs.gather(2, words), words


def use_nucleus(generator, tgt_dict) -> None:
    """Let a fairseq generator that samples from a nucleus do so without sorting. Where the nucleus is small, draws
    from all words would be refused too often, and the sort stays."""
    stock = getattr(generator, "search", None)
    if type(stock) is search.Sampling and 0.5 <= stock.sampling_topp:
        generator.search = NucleusSampling(stock, tgt_dict, generator.beam_size)
