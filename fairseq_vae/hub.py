"""A trained VAE in Python: strings in, strings out."""

import math
import os
import zlib
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from torch import Tensor

from .base.errors import InputError
from .base.stream import APART, Purpose, standard_normal
from .base.text import find_bpe, of_pieces
from .checkpoints.load import load_model
from .checkpoints.priors import use_prior
from .checkpoints.read import find_data, folders, has_dictionary
from .decoding import Decoding
from .edit.ways import Wish, sweep
from .index import Index, Neighbour
from .latent import paths
from .latent.distributions import rows
from .latent.paths import PATHS
from .measure.scoring import encoder_input, joined, sentence_nll
from .strings import Sentences, listed
from .vectors import Report

__all__ = ["BARTVAEHubInterface", "Latents", "Sentences", "find_data", "load", "settings_of"]

Latents = Union[Sentences, Tensor]  # sentences, or the z's of sentences, N x Z


class BARTVAEHubInterface(Decoding):
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
        super().__init__(task, model, bpe, batch_size)
        self.cfg, self.checkpoint = cfg, checkpoint

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
            InputError: z is not one that `check` takes, the search cannot be, there is another number of sources or of
                numbers, or no sources for a conditional model
        """
        if not isinstance(beam, int):
            raise InputError(f"beam={beam!r}: expected a number, 1 or more (sources are given as sources=…)")
        generator = self.generator(beam, sampling, sampling_topk, sampling_topp, temperature, max_len, seed)
        self.check(z)
        numbers = range(first, first + len(z)) if numbers is None else numbers
        if len(numbers) != len(z):
            raise InputError(f"{len(numbers)} numbers for {len(z)} rows of z: expected as many")
        self.check_beside(len(z), sources)
        return self.said(generator, numbers, sources, lambda part, context: z[part].to(self.device))

    def latents(self, given: Latents) -> Tensor:
        """The z's of sentences, their posteriors' means, N x Z; z's stay as they are.

        Raises:
            InputError: a sentence is empty or longer than the model's positions, or see check
        """
        if not isinstance(given, Tensor):
            return self.encode(given).mean
        self.check(given)
        return given.to(self.device)

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
            InputError: the model is no conditional one, n is less than 1, it has no z for n to differ by and words
                are not drawn, or as of decode
        """
        self.check_responses(n, bool(decoding.get("sampling")))
        given = [self.source_of(part) if isinstance(part, str) else part for part in listed(contexts)]
        every = [context for context in given for _ in range(n)]
        numbers = [first + place + sample * APART for place in range(len(given)) for sample in range(n)]
        found = self.sampled(numbers, seed, every, **decoding)
        lists = [found[start : start + n] for start in range(0, len(found), n)]
        return lists[0] if isinstance(contexts, str) else lists

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
        return list(self.encode(every).mean.reshape(len(parts), len(parts[0]), self.model.latent_dim))

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
        if not wishes:
            raise InputError("no wishes: expected an attribute and its target, or several")
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
        if text:
            return Index.build(self, self.checkpoint, text, folder, skip)
        return Index(folder, self.checkpoint, self.settings)

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
        self,
        sentences: Union[Sentences, Sequence[Tensor]],
        samples: int = 100,
        seed: int = 1,
        targets: Optional[Sentences] = None,
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
        if not isinstance(samples, int) or samples < 1:
            raise InputError(f"samples={samples!r}: expected a number, 1 or more (targets are given as targets=…)")
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


def check_path(path: str) -> None:
    """Refuse a path that is none of PATHS.

    Raises:
        InputError: it is none
    """
    if path not in PATHS:
        raise InputError(f"path {path}: expected one of {', '.join(PATHS)}")


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
    if settings is None and of_pieces(dictionary):
        raise InputError(
            f"{data}/dict.txt is of pieces, and neither encoder.json with vocab.bpe nor sentencepiece.bpe.model lies "
            f"beside it or {checkpoint}: put it there, or give sentences as pieces with spaces between (bpe=None)"
        )
    return settings
