"""A trained VAE in Python: strings in, strings out."""

import math
import os
import zlib
from argparse import Namespace
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Union

import torch
import torch.nn as nn
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor

from .base.errors import InputError
from .base.lengths import Bounds
from .base.lines import sentence as stripped
from .base.stream import APART, Purpose, standard_normal
from .base.text import Joiner, build_bpe, find_bpe, piece_style, pieces_of
from .checkpoints.load import load_model
from .checkpoints.priors import use_prior
from .checkpoints.read import folders, has_dictionary, model_settings, read_checkpoint
from .data import SentenceDataset
from .edit.ways import Wish, sweep
from .flags.host import check_search
from .index import Index, Neighbour
from .latent import paths
from .latent.distributions import rows
from .latent.paths import PATHS
from .measure.scoring import encoder_input, joined, sentence_nll
from .vectors import LARGEST, Report

__all__ = ["BARTVAEHubInterface", "Latents", "Sentences", "find_data", "load", "settings_of"]

Sentences = Union[str, Sequence[str]]
Latents = Union[Sentences, Tensor]  # sentences, or the z's of sentences, N x Z


class BARTVAEHubInterface(nn.Module):
    """Encode, decode and sample sentences, in the manner of BART's own interface.

    Lists may have any length: they are cut into batches, and their order is kept. A single string counts as a list of
    one. A sentence's result does not depend on the other sentences of its list, but for rounding.

    Args:
        cfg: as fairseq loads it
        task: as fairseq loads it
        model: a bart_vae, as fairseq loads it, whose parameters from here on need no gradient: posteriors may hold them
        bpe: fairseq's settings of a BPE (see text.find_bpe); None takes tokens with spaces between
        batch_size: sentences at a time; changes nothing but speed, memory and rounding
        checkpoint: the model's file, to which an index of neighbours belongs

    >>> from fairseq_vae import BARTVAEModel
    >>> vae = BARTVAEModel.from_pretrained(folder, "checkpoint_best.pt")
    >>> posterior = vae.encode(["the dog barks .", "a cat sleeps ."])
    >>> posterior.mu.shape, posterior.logvar.shape
    (torch.Size([2, 32]), torch.Size([2, 32]))
    >>> len(vae.reconstruct(["the dog barks .", "a cat sleeps ."]))
    2
    >>> len(vae.sample(3)), vae.sample(3) == vae.sample(3, seed=1)
    (3, True)
    >>> len(vae.interpolate("the dog barks .", "a cat sleeps .", steps=5))
    5
    >>> vae.log_prob(["the dog barks ."], samples=10).shape
    torch.Size([1])
    """

    def __init__(
        self,
        cfg: Any,
        task: Any,
        model: Any,
        bpe: Optional[Dict[str, str]] = None,
        batch_size: int = 64,
        checkpoint: str = "",
    ):
        super().__init__()
        self.checkpoint = checkpoint
        model.eval().requires_grad_(False)
        self.cfg, self.task, self.model, self.batch_size = cfg, task, model, batch_size
        self.settings = bpe
        self.bpe: Any = build_bpe(bpe) if bpe else None
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

    def encode(
        self, sentences: Union[Sentences, Sequence[Tensor]], targets: Union[Sentences, Sequence[Tensor], None] = None
    ) -> Any:
        """The posteriors q(z|x) of N sentences; of a conditional model q(z|x, y) of N sources and targets.

        Args:
            sentences: N strings, or one, or the tokens of N sentences, each with </s> at its end; of a conditional
                model, the sources
            targets: of a conditional model, as many

        Returns:
            a distribution with N rows on the model's device: a GaussianPosterior, mu and logvar N x Z, unless the model
            has another --latent-posterior

        Raises:
            InputError: a sentence is empty or longer than the model's positions, or see check_targets
        """
        self.check_targets(sentences, targets)
        found, order = [], []
        for sample in self.batches(sentences, targets, has_target=False):
            found.append(self.model.encoder.infer(**encoder_input(sample)))
            order += sample["id"].tolist()
        if not found:
            with torch.no_grad():
                none = self.source(1, None)["src_tokens"]
                return rows(self.model.encoder.infer(none, target=none), slice(0))
        place = torch.empty(len(order), dtype=torch.long)
        place[order] = torch.arange(len(order))
        return rows(joined(found), place)

    def decode(
        self,
        z: Tensor,
        beam: int = 5,
        sampling: bool = False,
        sampling_topk: int = -1,
        sampling_topp: float = 1.0,
        temperature: float = 1.0,
        max_len: Optional[int] = None,
        seed: int = 1,
        sources: Union[Sentences, Sequence[Tensor], None] = None,
        first: int = 0,
        numbers: Optional[Sequence[int]] = None,
    ) -> List[str]:
        """A sentence for each row of z, N x Z, by fairseq's own sequence generator.

        Args:
            z: N x Z
            beam: width of beam search; 1 is greedy
            sampling: draw every token instead
            sampling_topk: from so many most probable ones; -1: from all
            sampling_topp: from the most probable ones that together have this probability; 1: from all
            temperature: of the softmax, both for sampling and for beam search
            max_len: most tokens of a sentence (default: as many as the model has positions)
            seed: of the drawn tokens, which depend on it and on the row's number alone
            sources: N sentences that the decoder of a conditional model reads beside z, as strings or as tokens as the
                training's data set has them; other models ignore them
            first: the first row's number, where z is a part of more rows
            numbers: of all rows, where they do not follow one another from `first`

        Returns:
            N strings

        Raises:
            InputError: z is not one that `check` takes, the search cannot be, there is another number of sources, or
                none for a conditional model
        """
        generator = self.generator(beam, sampling, sampling_topk, sampling_topp, temperature, max_len, seed)
        self.check(z)
        numbers = range(first, first + len(z)) if numbers is None else numbers
        self.check_beside(len(z), sources)
        return self.said(generator, numbers, sources, lambda part, context: z[part].to(self.device))

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

    def latents(self, given: Latents) -> Tensor:
        """The z's of sentences, their posteriors' means, N x Z; z's stay as they are.

        Raises:
            InputError: a sentence is empty or longer than the model's positions, or see check
        """
        if not isinstance(given, Tensor):
            return self.encode(given).mean
        self.check(given)
        return given.to(self.device)

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

    def reconstruct(self, sentences: Sentences, targets: Optional[Sentences] = None, **decoding: Any) -> List[str]:
        """Decode each sentence from its own posterior's mean; of a conditional model, each target.

        Args:
            sentences, targets: as for encode
            decoding: as for decode

        Returns:
            N strings
        """
        return self.decode(self.encode(sentences, targets).mean, sources=sentences, **decoding)

    def sample(
        self,
        n: int,
        seed: int = 1,
        sources: Union[Sentences, Sequence[Tensor], None] = None,
        first: int = 0,
        **decoding: Any,
    ) -> List[str]:
        """Draw z from the prior and decode it. `fairseq-generate --latent-mode prior` with this --seed has the same z.

        Args:
            n: number of sentences
            seed: of z and of drawn tokens
            sources: n sentences, for a conditional model, as for decode
            first: the first one's number, where these are a part of more
            decoding: as for decode

        Returns:
            n strings

        Raises:
            InputError: as of decode
        """
        return self.sampled(range(first, first + n), seed, sources, **decoding)

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

    def respond(
        self, contexts: Union[Sentences, Sequence[Tensor]], n: int = 5, seed: int = 1, first: int = 0, **decoding: Any
    ) -> List[Any]:
        """Draw n z's from the prior p(z|x) of each source, and decode them beside it.

        `fairseq-generate --task vae_translation --latent-mode sample --latent-samples n` with this --seed has the same
        z's.

        Args:
            contexts: N strings, or one, or tokens as for decode
            n: responses of each
            seed: of z and of drawn tokens
            first: the first context's number, where these are a part of more
            decoding: as for decode

        Returns:
            n strings for each context; of a single string, its n strings

        Raises:
            InputError: the model is no conditional one, n is less than 1, or as of decode
        """
        self.check_responses(n)
        given = [self.source_of(part) if isinstance(part, str) else part for part in listed(contexts)]
        every = [context for context in given for _ in range(n)]
        numbers = [first + place + sample * APART for place in range(len(given)) for sample in range(n)]
        found = self.sampled(numbers, seed, every, **decoding)
        lists = [found[start : start + n] for start in range(0, len(found), n)]
        return lists[0] if isinstance(contexts, str) else lists

    def check_responses(self, n: int) -> None:
        """Refuse to respond.

        Raises:
            InputError: the model is no conditional one, or n is less than 1
        """
        if not self.model.conditional:
            raise InputError(
                "this checkpoint is of bart_vae, which reads no context: to respond, train --arch bart_cvae"
            )
        if n < 1:
            raise InputError(f"{n} responses: expected 1 or more")

    def interpolate(
        self, a: Latents, b: Latents, steps: int = 7, path: str = "lerp", first: int = 0, **decoding: Any
    ) -> List[Any]:
        """Decode points between two sentences' posterior means, at equal steps.

        The first and the last string are the reconstructions of a and b.

        Args:
            a: the sentence at the start; or N of them, or their z's
            b: the sentence at the end; or as many
            steps: number of points
            path: one of latent.paths.PATHS: "lerp", the straight line; "slerp", the arc; "typical", the line at its
                ends' norm
            first: the first pair's number, where these are a part of more
            decoding: as for decode

        Returns:
            as many strings as steps; of N pairs, a list of them for each pair

        Raises:
            InputError: fewer than 2 steps, an unknown path, or unequal numbers of sentences
        """
        if steps < 2:
            raise InputError(f"{steps} steps: expected 2 or more")
        check_path(path)
        found = [paths.path(start, end, steps, path) for start, end in zip(*self.together(a, b))]
        lines = self.cut(found, steps, first, **decoding)
        return lines[0] if isinstance(a, str) else lines

    def between(self, a: str, b: str, t: Sequence[float], path: str = "lerp", **decoding: Any) -> List[str]:
        """Decode points between two sentences' posterior means; those at 0 and 1 are the reconstructions of a and b.

        Args:
            a: the sentence at 0
            b: the sentence at 1
            t: where the points are
            path: as for interpolate
            decoding: as for decode

        Returns:
            a string for each point

        Raises:
            InputError: the path is unknown
        """
        check_path(path)
        start, end = self.encode([a, b]).mean
        return self.decode(paths.along(start, end, torch.tensor(t).to(start), path), **decoding)

    def analogy(self, a: Latents, b: Latents, c: Latents, **decoding: Any) -> Any:
        """The sentence that is to c as b is to a: mu(c) + mu(b) - mu(a).

        Args:
            a: a sentence; or N of them, or their z's
            b: a changed in some way; or as many
            c: another sentence, to be changed in the same way; or as many
            decoding: as for decode

        Returns:
            a string; of N triples, N of them

        Raises:
            InputError: unequal numbers of sentences
        """
        found = self.decode(paths.analogy(*self.together(a, b, c)), **decoding)
        return found[0] if isinstance(a, str) else found

    def traverse(
        self, sentences: Latents, dimension: int, values: Sequence[float], first: int = 0, **decoding: Any
    ) -> List[Any]:
        """Decode a sentence's posterior mean with one dimension set to each of some values.

        Args:
            sentences: a string; or N of them, or their z's
            dimension: of z, from 0
            values: the dimension's
            first: the first sentence's number, where these are a part of more
            decoding: as for decode

        Returns:
            a string for each value; of N sentences, a list of them for each sentence

        Raises:
            InputError: z has no such dimension
        """
        if not 0 <= dimension < self.model.latent_dim:
            raise InputError(f"dimension {dimension}: expected 0 to {self.model.latent_dim - 1}")
        found = [paths.walk(z, dimension, torch.tensor(values).to(z)) for z in self.latents(sentences)]
        lines = self.cut(found, len(values), first, **decoding)
        return lines[0] if isinstance(sentences, str) else lines

    def together(self, *given: Latents) -> List[Tensor]:
        """The z's of the parts of pairs or triples, N x Z each, encoded at once where they are sentences.

        Raises:
            InputError: unequal numbers of sentences
        """
        parts = [[part] if isinstance(part, str) else part for part in given]
        if len({len(part) for part in parts}) > 1:
            raise InputError(f"{', '.join(str(len(part)) for part in parts)} sentences: expected as many of each")
        if any(isinstance(part, Tensor) for part in parts):
            return [self.latents(part) for part in parts]
        every = [text for part in parts for text in part]
        return list(self.encode(every).mean.view(len(parts), len(parts[0]), -1))

    def cut(self, points: Sequence[Tensor], steps: int, first: int, **decoding: Any) -> List[List[str]]:
        """Decode N sets of points, S x Z each.

        Args:
            points: N sets
            steps: S
            first: the first set's number
            decoding: as for decode

        Returns:
            S strings of each set
        """
        if not points or not steps:
            return [[] for _ in points]
        found = self.decode(torch.cat(list(points)), first=first * steps, **decoding)
        return [found[start : start + steps] for start in range(0, len(found), steps)]

    def edit(
        self, sentences: Latents, wishes: Sequence[Wish], way: str, strengths: Sequence[float], **decoding: Any
    ) -> List[List[str]]:
        """Decode sentences' posterior means moved towards attributes; strength 0 is the reconstruction.

        Args:
            sentences: N strings, or one, or N z's
            wishes: attributes of z and their targets, see edit.attributes
            way: one of edit.ways.ways
            strengths: of the edit, in the way's own unit
            decoding: as for decode

        Returns:
            for each strength N strings

        Raises:
            InputError: the way is unknown, or does not know an attribute
        """
        z = self.latents(sentences)
        return [self.decode(edited, **decoding) for edited in sweep(way, z, wishes, strengths)]

    def index(self, folder: str, text: Optional[str] = None, skip: Optional[Report] = None) -> Index:
        """The index of a text's lines in a folder, for `neighbours`.

        Args:
            folder: of the index
            text: a file, a sentence a line, to make the index of where there is none; None: it is there
            skip: told of each line that cannot be encoded, which is left out; None: such a line is an error

        Raises:
            InputError: there is none and no text, or it is of another checkpoint or text
        """
        if not os.path.isfile(self.checkpoint):
            raise InputError("an index belongs to a checkpoint's file: load the model from one")
        return Index.build(self, self.checkpoint, text, folder, skip) if text else Index(folder, self.checkpoint)

    def neighbours(
        self,
        sentences: Latents,
        index: Union[Index, str],
        count: int = 5,
        metric: str = "euclidean",
        approximate: bool = False,
    ) -> List[List[Neighbour]]:
        """The lines of an indexed text that are nearest in z, nearest first.

        Args:
            sentences: N strings, or one, or N z's
            index: of `index`, or its folder
            count: K
            metric: "euclidean" or "cosine"
            approximate: search a graph of the lines instead of all of them; it may miss some (pip install faiss-cpu)

        Returns:
            K neighbours of each sentence: number of the line from 1, distance, text

        Raises:
            InputError: see Index, and Index.search
        """
        found = self.index(index) if isinstance(index, str) else index
        return found.search(self.latents(sentences), count, metric, approximate)

    def log_prob(
        self, sentences: Sentences, samples: int = 100, seed: int = 1, targets: Optional[Sentences] = None
    ) -> Tensor:
        """Importance-weighted log p(x) of sentences: log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x) with K samples z_k.

        Burda et al. 2016, https://arxiv.org/abs/1509.00519, eq. 8. In expectation it is a lower bound, which rises with
        K towards log p(x). Of a conditional model it is log p(y|x) of targets, likewise.

        Args:
            sentences, targets: as for encode
            samples: K
            seed: of the samples

        Returns:
            nats, N, float64

        Raises:
            InputError: there are no samples, or a sentence is empty or longer than the model's positions
        """
        if samples < 1:
            raise InputError(f"{samples} samples: expected 1 or more")
        self.check_targets(sentences, targets)
        result = torch.empty(len(listed(sentences)), dtype=torch.float64)
        for sample in self.batches(sentences, targets):
            encoder = self.model.encoder
            posterior, prior = encoder.distributions(**encoder_input(sample))
            # eps belongs to the sentence itself, wherever it stands in a list
            keys = [zlib.crc32(row[row != self.model.encoder.padding_idx].cpu().numpy()) for row in sample["target"]]
            weights = torch.empty(samples, len(keys), dtype=torch.float64)
            for k in range(samples):
                z = posterior.rsample(standard_normal(seed, Purpose.VALIDATION, k, keys, encoder.posterior.eps_dim))
                log_weight = prior.log_prob(z) - posterior.log_prob(z) - sentence_nll(self.model, sample, z)
                weights[k] = log_weight.double().cpu()
            result[sample["id"].cpu()] = weights.logsumexp(0) - math.log(samples)
        return result

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
        longest = Bounds(*self.model.max_positions()).longest
        if not 1 <= len(tokens) - 1 <= longest:
            raise InputError(
                f"{sentence[:60]!r} has {len(tokens) - 1} tokens; expected 1 to {longest}, the model's positions"
            )
        return tokens

    def uncut(self, sentence: str) -> Tensor:
        """The tokens of any text with </s>, however many, T."""
        dictionary = self.task.source_dictionary
        pieces = pieces_of(stripped(sentence), self.bpe, dictionary)
        return torch.tensor([*map(dictionary.index, pieces), dictionary.eos()])  # fairseq's encode_line is slow

    def context(self, source: Union[str, Tensor]) -> Tensor:
        """The tokens of a conditional model's source with </s>: perhaps no others, and cut as training cut its own.

        Args:
            source: a string, or what `uncut` makes of one

        Returns:
            T

        Raises:
            InputError: it is longer than the model's positions, and training has cut none
        """
        tokens = self.task.cut(self.uncut(source) if isinstance(source, str) else source)
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


def check_path(path: str) -> None:
    """Refuse a path that is none of PATHS.

    Raises:
        InputError: it is none
    """
    if path not in PATHS:
        raise InputError(f"path {path}: expected one of {', '.join(PATHS)}")


def listed(sentences: Union[Sentences, Sequence[Tensor]]) -> Sequence[Any]:
    """A single string as a list of one; a list as it is."""
    return [sentences] if isinstance(sentences, str) else sentences


def find_data(checkpoint: str) -> str:
    """The folder with the dictionary of a checkpoint's training: near it, or the one that it was trained with.

    Args:
        checkpoint: a file

    Raises:
        InputError: neither is there
    """
    near = folders(checkpoint)
    for folder in [*near, *(os.path.join(folder, "data-bin") for folder in near)]:
        if has_dictionary(folder):
            return folder
    trained = str(getattr(model_settings(read_checkpoint(checkpoint)), "data", ""))
    if has_dictionary(trained):
        return trained
    raise InputError(
        f"no dict.txt beside {checkpoint} or above it: give the folder of its training's data (--data DIR)"
    )


def load(
    checkpoint: str,
    data: str,
    bpe: Union[str, Dict[str, str], None] = "auto",
    batch_size: int = 64,
    prior: Optional[str] = None,
) -> BARTVAEHubInterface:
    """Load a checkpoint as a hub interface.

    Args:
        checkpoint: a file
        data: folder with the dict.txt of the checkpoint's training
        bpe: "auto" takes the BPE that lies beside the checkpoint, above it or with the data, and none if the dictionary
            is of whole words; "gpt2" or "sentencepiece" must be there; None takes tokens with spaces between; settings
            are as find_bpe returns them
        batch_size: sentences at a time; changes nothing but speed, memory and rounding
        prior: a file of `fairseq-vae fit-prior`, to sample from; None: the model's own prior

    Returns:
        the model behind an interface of strings, in evaluation mode, on the GPU if there is one

    Raises:
        InputError: a file is missing, or the checkpoint is not of bart_vae
    """
    if not has_dictionary(data):
        raise InputError(f"{data} has no dict.txt: give the folder with the one that the model was trained with")
    model, cfg, task = load_model(checkpoint, data, latent_mode="mean", num_samples=0)
    settings = settings_of(checkpoint, data, task.source_dictionary, bpe) if isinstance(bpe, str) else bpe
    if prior is not None:
        use_prior(model, prior, checkpoint)
    return BARTVAEHubInterface(cfg, task, model, settings, batch_size, checkpoint)


def settings_of(checkpoint: str, data: str, dictionary: Any, bpe: str = "auto") -> Optional[Dict[str, str]]:
    """The settings of the BPE that lies beside a checkpoint, above it or with the data; see load.

    Args:
        checkpoint: a file
        data: folder with the dictionary
        dictionary: the one there
        bpe: a name of find_bpe

    Raises:
        InputError: there is none, and the dictionary is not of whole words
    """
    settings = find_bpe(folders(checkpoint, data), bpe)
    if settings is None and piece_style(dictionary) != "none":
        raise InputError(
            f"{data}/dict.txt is of pieces, and neither encoder.json with vocab.bpe nor sentencepiece.bpe.model lies "
            f"beside it or {checkpoint}: put it there, or give sentences as pieces with spaces between (bpe=None)"
        )
    return settings
