"""A model's distributions and likelihoods of a split's sentences, in batches that change speed and rounding alone.

Shapes: N sentences, P pairs of a sentence and a z, Z latent dimensions, B rows and U tokens of a batch.
"""

from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq import utils
from torch import Tensor
from tqdm import tqdm

from ..base.store import arrays_of
from ..base.stream import Purpose, stream
from ..latent.distributions import log_ratio, mapped, rows
from ..objective.likelihood import nll_each
from .estimators import Importance
from .packing import Pairs, packed

__all__ = ["Scorer", "encoder_input", "joined", "on_cpu", "pair_eps", "sentence_nll"]


def encoder_input(sample: Dict[str, Any]) -> Dict[str, Any]:
    """What an encoder makes the posteriors of a batch of: its source, and its target where it has one."""
    source = {key: value for key, value in sample["net_input"].items() if key != "prev_output_tokens"}
    return source if sample.get("target") is None else {**source, "target": sample["target"]}


def sentence_nll(model: Any, sample: Dict[str, Any], z: Tensor) -> Tensor:
    """-log p(x|z) of each sentence in nats.

    Args:
        model: a bart_vae
        sample: a batch of B sentences with its source, which a conditional model reads beside z
        z: B x Z

    Returns:
        B, float64
    """
    hidden, _ = model(**sample["net_input"], z=z, features_only=True)
    target = sample["target"]
    real = target.ne(model.decoder.padding_idx)
    nll = torch.zeros(target.shape, device=target.device, dtype=torch.float64)
    nll[real] = nll_each(hidden[real], model.decoder.output_projection.weight, target[real]).double()
    return nll.sum(1)


def pair_eps(seed: int, purpose: Purpose, pairs: Pairs, dim: int) -> Tensor:
    """Standard normal draws of each pair, of (seed, sentence, k) alone, whatever K and the batches are.

    Args:
        seed, purpose: of the streams, see base.stream
        pairs: P
        dim: draws a pair

    Returns:
        P x dim, float32, on the CPU
    """
    draws = [stream(seed, purpose, k, index).standard_normal(dim, np.float32) for index, k in pairs]
    return torch.from_numpy(np.stack(draws))


class Scorer:
    """A split under a model, without gradients.

    Args:
        model: a bart_vae in evaluation mode, whose parameters from here on need no gradient: a prior's distribution may
            hold them
        dataset: SentenceDataset of N sentences
        max_tokens: tokens in a batch, padding included, unless a single sentence has more
        seed: of the streams of z

    Attributes:
        lengths: tokens of each sentence, one end included, N
        sizes: tokens of each sentence or of its source, whichever has more, as an encoder reads them, N
        device: the model's
    """

    def __init__(self, model: Any, dataset: Any, max_tokens: int = 4096, seed: int = 1):
        model.requires_grad_(False)
        self.model, self.dataset, self.max_tokens, self.seed = model, dataset, max_tokens, seed
        self.lengths = np.asarray(dataset.tgt_sizes).tolist()
        self.sizes = np.maximum(dataset.src_sizes, np.asarray(dataset.tgt_sizes) + 1).tolist()
        self.device = next(model.parameters()).device

    def __len__(self) -> int:
        """N"""
        return len(self.lengths)

    @torch.no_grad()
    def distributions(self) -> Tuple[Any, Any]:
        """Infer the posteriors and the prior.

        Returns:
            q(z|x) of the N sentences, and p(z) of the N sentences or one for all, on the CPU
        """
        order: List[int] = []
        posteriors, given = [], []
        with tqdm(total=len(self), desc="posteriors", unit="sentence", leave=False) as bar:
            for pairs in packed(self.sizes, range(len(self)), 1, self.max_tokens):
                posterior, prior = self.model.encoder.distributions(**encoder_input(self.batch(pairs)))
                posteriors.append(on_cpu(posterior))
                given.append(on_cpu(prior))
                order += [index for index, _ in pairs]
                bar.update(len(pairs))
        place = torch.empty(len(self), dtype=torch.long)
        place[order] = torch.arange(len(self))
        return rows(joined(posteriors), place), rows(joined(given), place)

    @torch.no_grad()
    def check_kept(self) -> None:
        """Refuse a posterior or prior that cannot be kept on disk, by the first sentence's.

        Raises:
            InputError: a field of one is no tensor
        """
        for found in self.model.encoder.distributions(**encoder_input(self.batch([(0, 0)]))):
            arrays_of(on_cpu(found))

    @torch.no_grad()
    def score(
        self,
        z_of: Callable[[Pairs], Any],
        samples: int,
        name: str,
        indices: Optional[Sequence[int]] = None,
    ) -> Iterator[Tuple[Pairs, Any, Tensor]]:
        """-log p(x|z) of all pairs of sentences and samples, in packed batches.

        Args:
            z_of: pairs to z, P x Z, or to a tuple whose first entry is z
            samples: z's of each sentence
            name: of the progress bar
            indices: of the sentences (default: all)

        Yields:
            the batch's pairs, the result of z_of, and nll in nats, P, float64 on the CPU
        """
        indices = range(len(self)) if indices is None else indices
        with tqdm(total=len(indices) * samples, desc=name, unit="z", leave=False) as bar:
            sizes = self.sizes if self.model.conditional else self.lengths
            for pairs in packed(sizes, indices, samples, self.max_tokens):
                made = z_of(pairs)
                z = made[0] if isinstance(made, tuple) else made
                yield pairs, made, sentence_nll(self.model, self.batch(pairs), z.to(self.device)).cpu()
                bar.update(len(pairs))

    def importance(
        self, posterior: Any, prior: Any, samples: int, indices: Optional[Sequence[int]] = None
    ) -> Importance:
        """Score K samples of each sentence's posterior.

        Args:
            posterior: of the N sentences
            prior: of the N sentences, or one for all
            samples: K
            indices: of the sentences (default: all)

        Returns:
            sums over the samples of these sentences, and none of the others
        """

        def draw(pairs: Pairs) -> Tuple[Tensor, Tensor, List[int]]:
            places = [index for index, _ in pairs]
            eps = self.eps(pairs)
            own = rows(posterior, places)
            z = own.rsample(eps)
            return z, log_ratio(own, rows(prior, places), z, eps), places

        sums = Importance(len(self))
        for _, (_, ratio, places), nll in self.score(draw, samples, "importance samples", indices):
            sums.add(places, nll, ratio - nll)
        return sums

    def eps(self, pairs: Pairs) -> Tensor:
        """The standard normal draws that the pairs' samples of the posterior are made of, P x eps_dim."""
        return pair_eps(self.seed, Purpose.VALIDATION, pairs, self.model.encoder.posterior.eps_dim)

    def nll(self, z: Tensor, name: str) -> Tensor:
        """-log p(x_i|z_i) of every sentence i in nats.

        Args:
            z: N x Z
            name: of the progress bar

        Returns:
            N, float64
        """
        result = torch.empty(len(self), dtype=torch.float64)
        for pairs, _, nll in self.score(lambda pairs: z[[index for index, _ in pairs]], 1, name):
            result[[index for index, _ in pairs]] = nll
        return result

    def batch(self, pairs: Pairs) -> Dict[str, Any]:
        """The data set's own batch of the pairs' sentences, with the source, which a conditional model reads beside z.

        Args:
            pairs: P

        Returns:
            `net_input` and `target` of P rows, on the model's device
        """
        distinct = list(dict.fromkeys(index for index, _ in pairs))
        collated = self.dataset.collater([self.dataset[index] for index in distinct])
        place = {index: row for row, index in enumerate(collated["id"].tolist())}
        order = torch.tensor([place[index] for index, _ in pairs])
        sample = {"net_input": collated["net_input"], "target": collated["target"]}
        return utils.apply_to_sample(lambda tensor: tensor[order].to(self.device), sample)


def on_cpu(distribution: Any) -> Any:
    """A distribution with its tensors on the CPU."""
    return mapped(distribution, Tensor.cpu)


def joined(parts: Sequence[Any]) -> Any:
    """One distribution of the sentences of all parts, in their order.

    Args:
        parts: distributions of a class, each of some sentences; or of all sentences, and then the first is the result
    """
    if parts[0].mean.dim() < 2:
        return parts[0]
    fields = zip(*parts)
    return type(parts[0])(*(torch.cat(field) if torch.is_tensor(field[0]) else field[0] for field in fields))
