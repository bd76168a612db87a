"""Sentences decoded from z's, beside their sources where the model is conditional, by fairseq's sequence generator."""

from argparse import Namespace
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import torch
from fairseq.data import data_utils
from torch import Tensor

from .base.errors import InputError
from .base.stream import Purpose, standard_normal
from .flags.host import check_search
from .strings import Sentences, Strings, listed
from .vectors import LARGEST

__all__ = ["Decoding"]


class Decoding(Strings):
    """What decodes z's batch by batch; a source that several z's of a batch share is encoded once."""

    def generator(
        self,
        beam: int = 5,
        sampling: bool = False,
        sampling_topk: int = -1,
        sampling_topp: float = 1.0,
        temperature: float = 1.0,
        max_len: Optional[int] = None,
        seed: int = 1,
    ) -> Any:
        """fairseq's sequence generator of a search; arguments and errors as of decode."""
        check_search(beam, sampling, sampling_topk, sampling_topp, temperature, max_len, seed)
        options = Namespace(beam=1 if sampling else beam, temperature=temperature, sampling=sampling)
        options.sampling_topk = sampling_topk if sampling else -1
        options.sampling_topp = sampling_topp if sampling else -1.0
        options.max_len_b = max_len or self.model.max_decoder_positions() - 1
        generator = self.task.build_generator([self.model], options)
        generator.search.seed = seed
        return generator

    def check(self, z: Tensor) -> None:
        """Refuse z's that no sentence can have.

        Args:
            z: N x Z

        Raises:
            InputError: another shape, or a number that is not finite or beyond LARGEST
        """
        if z.dim() != 2 or z.size(1) != self.model.latent_dim:
            raise InputError(f"z of shape {tuple(z.shape)}: expected N x {self.model.latent_dim}")
        good = (z.abs() <= LARGEST).all(1).tolist()  # NaN is not less than anything
        if not all(good):
            raise InputError(
                f"z, row {good.index(False) + 1} of {len(z):,}: expected finite numbers, none beyond {LARGEST:,.0f}"
            )

    def check_beside(self, count: int, sources: Union[Sentences, Sequence[Tensor], None]) -> None:
        """Refuse sources of another number than the z's, and none for a conditional model.

        Args:
            count: of the z's
            sources: as for decode

        Raises:
            InputError: they do not fit
        """
        if sources is None and self.model.conditional and count:
            raise InputError("bart_cvae decodes z beside a source: give sources")
        if sources is not None and len(listed(sources)) != count:
            raise InputError(f"{len(listed(sources))} sources for {count} rows of z: expected as many")

    def check_responses(self, n: int, sampling: bool) -> None:
        """Refuse to respond.

        Args:
            n: responses to each source
            sampling: whether words are drawn

        Raises:
            InputError: the model is no conditional one, n is less than 1, or all n would be the same
        """
        if not self.model.conditional:
            raise InputError(
                "this checkpoint is of bart_vae, which reads no context: to respond, train --arch bart_cvae"
            )
        if not isinstance(n, int) or n < 1:
            raise InputError(f"{n!r} responses: expected 1 or more, a whole number")
        if n > 1 and self.model.encoder.zero_latent and not sampling:
            raise InputError(
                f"{n} responses of a model without z would be the same: draw words, by sampling, or ask for 1"
            )

    def source(self, size: int, sentences: Optional[Sequence[Union[str, Tensor]]]) -> Dict[str, Tensor]:
        """The encoder's input for given z's.

        Args:
            size: number of z's, B
            sentences: B sources, as strings or as tokens as the training's data set has them; None: empty ones

        Returns:
            `src_tokens`, B x T, and with sentences `src_lengths`, B
        """
        dictionary = self.task.source_dictionary
        if sentences is None:
            return {"src_tokens": torch.full((size, 1), dictionary.eos(), device=self.device)}
        rows = [self.source_of(part) if isinstance(part, str) else part for part in sentences]
        source = data_utils.collate_tokens(rows, dictionary.pad()).to(self.device)
        return {"src_tokens": source, "src_lengths": source.ne(dictionary.pad()).sum(1)}

    def source_once(self, sentences: Sequence[Union[str, Tensor]]) -> Dict[str, Any]:
        """As `source`, with the `context` of the sources, of which the encoder has read equal ones once.

        Args:
            sentences: B sources
        """
        every = [self.source_of(part) if isinstance(part, str) else part for part in sentences]
        keys = [tuple(tokens.tolist()) for tokens in every]
        distinct = dict(zip(keys, every))
        places = {key: place for place, key in enumerate(distinct)}
        once = self.source(len(distinct), list(distinct.values()))
        context = self.model.encoder.context(**once)
        repeated = torch.tensor([places[key] for key in keys], device=self.device)
        given = {name: tokens.index_select(0, repeated) for name, tokens in once.items()}
        return {**given, "context": context.rows(repeated)}

    def said(
        self,
        generator: Any,
        numbers: Sequence[int],
        sources: Union[Sentences, Sequence[Tensor], None],
        z_of: Callable[[slice, Any], Tensor],
    ) -> List[str]:
        """What a generator says of z's, batch by batch.

        Args:
            generator: fairseq's
            numbers: of the rows, N
            sources: N, see decode
            z_of: from the rows of a batch and the context of their sources to their z's, B x Z

        Returns:
            N strings
        """
        sentences: List[str] = []
        beside = listed(sources) if sources is not None and self.model.conditional else None
        with torch.no_grad():
            for start in range(0, len(numbers), self.batch_size):
                part = slice(start, start + self.batch_size)
                own = numbers[part]
                given = self.source(len(own), None) if beside is None else self.source_once(beside[part])
                z = z_of(part, given.get("context"))
                sample = {"id": torch.tensor(own, device=self.device), "net_input": {**given, "z": z}}
                sentences += [self.join(best["tokens"]) for best, *_ in generator.generate([self.model], sample)]
        return sentences

    def sampled(
        self,
        numbers: Sequence[int],
        seed: int,
        sources: Union[Sentences, Sequence[Tensor], None] = None,
        **decoding: Any,
    ) -> List[str]:
        """The sentences of these numbers among those that `sample` draws.

        Args:
            numbers: N
            seed, decoding: as for sample
            sources: N
        """
        generator = self.generator(seed=seed, **decoding)
        if sources is None and self.model.conditional and len(numbers):
            raise InputError("bart_cvae has a prior of z given a source: give sources")
        self.check_beside(len(numbers), sources)
        prior = self.model.encoder.prior

        def drawn(part: slice, context: Any) -> Tensor:
            eps = standard_normal(seed, Purpose.GENERATION, 0, numbers[part], prior.eps_dim)
            z = prior(context).rsample(eps.to(self.device))
            self.check(z)
            return z

        return self.said(generator, numbers, sources, drawn)
