"""A model's posteriors and likelihoods of a split's sentences, in batches that change nothing but speed.

Shapes: N sentences, P pairs of a sentence and a z, Z latent dimensions, B rows and U tokens of a batch.
"""

from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor
from tqdm import tqdm

from ..base.errors import InputError
from ..base.stream import Draw, sentence_generator
from ..latent.distributions import GaussianPosterior
from ..objective.likelihood import nll_each
from .estimators import Importance, log_weight

Pairs = Sequence[Tuple[int, int]]  # of a sentence and a sample's number k


def encoder_input(sample: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in sample["net_input"].items() if key != "prev_output_tokens"}


def sentence_nll(model, sample: Dict[str, Any], z: Tensor) -> Tensor:
    """-log p(x|z) of each sentence in nats, B, float64."""
    hidden, _ = model(**sample["net_input"], z=z, features_only=True)
    target = sample["target"]
    real = target.ne(model.decoder.padding_idx)
    nll = torch.zeros(target.shape, device=target.device, dtype=torch.float64)
    nll[real] = nll_each(hidden[real], model.decoder.output_projection.weight, target[real]).double()
    return nll.sum(1)


def pair_noise(seed: int, purpose: Draw, pairs: Pairs, dim: int) -> Tensor:
    """A standard normal vector for each pair, P x dim: of (seed, sentence, k) alone, whatever K and the batches are."""
    rows = [sentence_generator(seed, purpose, k, index).standard_normal(dim, np.float32) for index, k in pairs]
    return torch.from_numpy(np.stack(rows))


def packed(lengths: Sequence[int], indices: Sequence[int], samples: int, max_tokens: int) -> Iterator[Pairs]:
    """Batches of all pairs of these sentences and k < samples, of like length, longest first; of at most max_tokens
    tokens with padding, if no sentence is longer."""
    order = sorted(indices, key=lambda index: (-lengths[index], index))
    batch: List[Tuple[int, int]] = []
    for index in order:
        for k in range(samples):
            if batch and (len(batch) + 1) * lengths[batch[0][0]] > max_tokens:
                yield batch
                batch = []
            batch.append((index, k))
    if batch:
        yield batch


class Scorer:
    """A split under a model, in evaluation mode and without gradients.

    Args:
        dataset: task.SentenceDataset of N sentences
        max_tokens: tokens in a batch, padding included
        seed: of the samples of z
    """

    def __init__(self, model, dataset, max_tokens: int = 4096, seed: int = 1):
        self.model, self.dataset, self.max_tokens, self.seed = model, dataset, max_tokens, seed
        self.lengths = np.asarray(dataset.tgt_sizes).tolist()
        self.device = next(model.parameters()).device
        longest = max(self.lengths)
        if longest > max_tokens:
            raise InputError(f"--max-tokens {max_tokens}: expected at least {longest}, the split's longest sentence")

    def __len__(self) -> int:
        return len(self.lengths)

    @torch.no_grad()
    def posterior(self) -> GaussianPosterior:
        """q(z|x) of every sentence, N x Z, float32 on the CPU: each is encoded once."""
        mu, logvar = torch.empty(2, len(self), self.model.latent_dim)
        pad = self.model.encoder.padding_idx
        # sources have <s> in front
        with tqdm(total=len(self), desc="posteriors", unit="sentence", leave=False) as bar:
            for pairs in packed([length + 1 for length in self.lengths], range(len(self)), 1, self.max_tokens):
                indices = [index for index, _ in pairs]
                tokens = data_utils.collate_tokens([self.dataset[index]["source"] for index in indices], pad)
                found = self.model.encoder.infer(tokens.to(self.device), tokens.ne(pad).sum(1).to(self.device))
                mu[indices], logvar[indices] = found.mu.cpu(), found.logvar.cpu()
                bar.update(len(pairs))
        return GaussianPosterior(mu, logvar)

    @torch.no_grad()
    def score(
        self,
        z_of: Callable[[Pairs], Any],
        samples: int,
        what: str,
        indices: Optional[Sequence[int]] = None,
    ) -> Iterator[Tuple[Pairs, Any, Tensor]]:
        """-log p(x|z) of all pairs of sentences and samples, in packed batches.

        Args:
            z_of: pairs to z, P x Z, or to a tuple whose first entry is z
            samples: z's of each sentence
            what: name of the progress bar
            indices: of the sentences (default: all)

        Yields:
            the batch's pairs, what z_of made of them, and nll, P, float64 on the CPU
        """
        indices = range(len(self)) if indices is None else indices
        with tqdm(total=len(indices) * samples, desc=what, unit="z", leave=False) as bar:
            for pairs in packed(self.lengths, indices, samples, self.max_tokens):
                made = z_of(pairs)
                z = made[0] if isinstance(made, tuple) else made
                yield pairs, made, sentence_nll(self.model, self.batch(pairs), z.to(self.device)).cpu()
                bar.update(len(pairs))

    def importance(
        self, posterior: GaussianPosterior, samples: int, indices: Optional[Sequence[int]] = None
    ) -> Importance:
        """Sums over K = `samples` z's of each sentence's posterior, from which rec and the importance-weighted NLL
        follow."""

        def draw(pairs: Pairs):
            rows = [index for index, _ in pairs]
            noise = pair_noise(self.seed, Draw.VALIDATION, pairs, posterior.mu.size(1))
            own = GaussianPosterior(posterior.mu[rows], posterior.logvar[rows])
            return own.rsample(noise), own.logvar, noise, rows

        sums = Importance(len(self))
        for _, (z, logvar, noise, rows), nll in self.score(draw, samples, "importance samples", indices):
            sums.add(rows, nll, log_weight(logvar, noise, z, nll))
        return sums

    def nll(self, z: Tensor, what: str) -> Tensor:
        """-log p(x_i|z_i) of every sentence i, N, float64, for rows of z, N x Z."""
        result = torch.empty(len(self), dtype=torch.float64)
        for pairs, _, nll in self.score(lambda pairs: z[[index for index, _ in pairs]], 1, what):
            result[[index for index, _ in pairs]] = nll
        return result

    def batch(self, pairs: Pairs) -> Dict[str, Any]:
        """Decoder input and target of pairs; with z given, of the source only the number of rows counts."""
        dictionary = self.dataset.tgt_dict
        distinct = list(dict.fromkeys(index for index, _ in pairs))
        place = {index: row for row, index in enumerate(distinct)}
        rows = torch.tensor([place[index] for index, _ in pairs])
        tokens = [self.dataset.tgt[index] for index in distinct]
        target, before = (
            data_utils.collate_tokens(tokens, dictionary.pad(), dictionary.eos(), move_eos_to_beginning=moved)[rows]
            for moved in (False, True)
        )
        net_input = {"src_tokens": before, "src_lengths": None, "prev_output_tokens": before}
        sample = {"net_input": net_input, "target": target}
        return utils.apply_to_sample(lambda tensor: tensor.to(self.device), sample)
