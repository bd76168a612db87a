"""Everything that an evaluation is made of: each figure, table and picture is a function of a Collection.

Shapes: N sentences, Z latent dimensions, K samples of z a sentence, M sentences that are reconstructed, and as many
samples of the prior. Sentences are in the split's order throughout. Nats are nats per sentence.
"""

import itertools
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from torch import Tensor

from ..base.errors import InputError
from ..base.store import Store
from ..latent.distributions import Distribution

__all__ = ["BEAM", "Collection", "Given", "Settings", "resumed"]

BEAM = 5  # of the reconstructions that are not greedy


class Settings(NamedTuple):
    """A collection's settings, of which every value in it is a function. Files count by fingerprint, not by path.

    The batches' size is none of them: it changes nothing but speed, memory and rounding.

    Attributes:
        checkpoint: fingerprint of the file
        data: fingerprint of the dictionary's symbols and the split's tokens
        split: its name
        seed: of all streams
        samples: K; 1 for a model without a latent
        model: name of the architecture
        latent_dim: Z
        zero_latent: whether the model has no latent
        pooling, injection, prior: of the model, as in its flags and signature
        eps_dim: standard normal draws that the posterior makes a z of
        tokenizer: the BPE or the style in which pieces join, and the number of symbols
        fairseq_vae, fairseq, torch: versions
        text: fingerprint of the BPE, or the style; None where nothing joins pieces
        text_sentences: M; None without text
        max_len: most tokens of a decoded sentence; None without text
        training: fingerprint of the training text; None without text or training split
        language_model: fingerprint of its checkpoint, if one is given
        labels: fingerprint of their file, if one is given
        given_text: fingerprint of the file of the sentences as given, if there is one
        fitted: kind and fingerprint of a prior that was fitted after training, if one is given
        smoothness: sentences that are decoded under noise and along paths; None without
        posterior: of the model, as in its flags
        responses: number a source and way of decoding, as in "5/greedy"; None without sources
        references: fingerprint of the file of several references, if one is given
        told: fingerprint of the language model that tells what it thinks of samples; None without one, of a conditional
            model, or where no BPE makes pieces of text
    """

    checkpoint: str
    data: str
    split: str
    seed: int
    samples: int
    model: str
    latent_dim: int
    zero_latent: bool
    pooling: str
    injection: str
    prior: str
    eps_dim: int
    tokenizer: str
    fairseq_vae: str
    fairseq: str
    torch: str
    text: Optional[str] = None
    text_sentences: Optional[int] = None
    max_len: Optional[int] = None
    training: Optional[str] = None
    language_model: Optional[str] = None
    labels: Optional[str] = None
    given_text: Optional[str] = None
    fitted: Optional[str] = None
    smoothness: Optional[int] = None
    posterior: str = "diagonal"  # what older collections have
    responses: Optional[str] = None
    references: Optional[str] = None
    told: Optional[str] = None


class Given(NamedTuple):
    """Names and a denominator of the caller's, on which no part of a collection depends.

    Attributes:
        checkpoint: path of the file
        data: name of the folder
        words: the split's words and sentence ends, in place of those counted in the texts
    """

    checkpoint: str
    data: str
    words: Optional[int] = None


class Collection(NamedTuple):
    """Everything that an evaluation is made of.

    Attributes:
        settings: that it belongs to
        given: by the caller
        posterior: q(z|x) of the N sentences
        prior: p(z), one for all of them, or of N sentences
        z: the first sample of each posterior, N x Z, float32
        kl: KL(q(z|x) || p(z)) in nats, float64: of each dimension, N x Z, or of the whole of z, N x 1; see rate
        rec: mean over K samples of -log p(x|z), nats, N, float64
        nll_iw: importance-weighted -log p(x) of these samples, nats, N, float64
        effective: effective number of these samples, N, float64, 1 to K
        shuffled, zero, from_prior: -log p(x|z) for the next sentence's z, for z = 0 and for z from the prior, nats, N,
            float64
        lengths: tokens and one end of each sentence, N, int64
        lm: the language model's -log p(x), nats, N, float64; None without one
        texts: N sentences; None where nothing joins pieces
        reconstructions, greedy: of the first M sentences, decoded from mu by beam search and greedily; None without
            text, as the next three
        samples, samples_z: M sentences from the prior, decoded greedily, and their z, M x Z, float32
        copied: the samples that stand in the training text, each once; None without a training split, too
        labels: N; None if none are given
        given_bytes: bytes of the sentences as given, N, int64; None without their file
        nll_iw_fitted: as nll_iw, under a prior fitted after training, N, float64; None without one
        samples_fitted: as samples, from that prior; None without text, too
        noised: the first sentences, decoded greedily from mu under each of the noise scales of smoothness.py, scale by
            scale; None unless asked for
        walked: points of paths between pairs of these sentences, decoded greedily: kind by kind, pair by pair, point by
            point; None unless asked for
        responses: to the first M sources, each source's after one another, decoded from z's of its prior; None without
            sources
        references: of the first M sources, each a JSON list of strings; None unless their file is given
        samples_lm, samples_fitted_lm: the language model's -log p of each of these samples in nats, and its tokens, M x
            2, float64; None where it tells of none
    """

    settings: Settings
    given: Given
    posterior: Distribution
    prior: Distribution
    z: Tensor
    kl: Tensor
    rec: Tensor
    nll_iw: Tensor
    effective: Tensor
    shuffled: Tensor
    zero: Tensor
    from_prior: Tensor
    lengths: Tensor
    lm: Optional[Tensor] = None
    texts: Optional[List[str]] = None
    reconstructions: Optional[List[str]] = None
    greedy: Optional[List[str]] = None
    samples: Optional[List[str]] = None
    samples_z: Optional[Tensor] = None
    copied: Optional[List[str]] = None
    labels: Optional[List[str]] = None
    given_bytes: Optional[Tensor] = None
    nll_iw_fitted: Optional[Tensor] = None
    samples_fitted: Optional[List[str]] = None
    noised: Optional[List[str]] = None
    walked: Optional[List[str]] = None
    responses: Optional[List[str]] = None
    references: Optional[List[str]] = None
    samples_lm: Optional[Tensor] = None
    samples_fitted_lm: Optional[Tensor] = None

    def save(self, folder: str) -> None:
        """Write the collection to a folder, see base.store.

        Raises:
            InputError: the folder holds other files, or a collection of other settings
        """
        store = resumed(self.settings, self.given, folder)
        store.add(**{name: value for name, value in self._asdict().items() if name in PARTS and value is not None})

    @classmethod
    def load(cls, folder: str) -> "Collection":
        """Read a collection that `save` or an evaluation with `--keep` wrote.

        Raises:
            InputError: the folder has none, or a part of it is damaged or not yet there
        """
        store = Store(folder)
        settings, given = described(store)
        if settings is None or given is None:
            raise InputError(
                f"{folder} holds no collection: expected a folder that `fairseq-vae evaluate --keep` wrote"
            )
        parts: Dict[str, Any] = {}
        for name in asked(settings):
            if name not in store:
                reason = store.damaged.get(name, f"{name} is not there yet")
                raise InputError(f"{folder}: {reason}; evaluate with --keep {folder} again, which makes it")
            parts[name] = store[name]
        return cls(settings, given, **parts)


PARTS = tuple(name for name in Collection._fields if name not in ("settings", "given"))
WHEN: Mapping[str, Tuple[str, ...]] = {  # parts that may come later, to settings that ask for them unless one is None
    "lm": ("language_model",),
    "texts": ("text",),
    **dict.fromkeys(("reconstructions", "greedy", "samples", "samples_z"), ("text_sentences",)),
    "copied": ("training",),
    "labels": ("labels",),
    "given_bytes": ("given_text",),
    "nll_iw_fitted": ("fitted",),
    "samples_fitted": ("fitted", "text_sentences"),
    **dict.fromkeys(("noised", "walked"), ("smoothness",)),
    "responses": ("responses", "text_sentences"),
    "references": ("references", "responses"),
    "samples_lm": ("told", "text_sentences"),
    "samples_fitted_lm": ("told", "fitted", "text_sentences"),
}
LATER = {*itertools.chain.from_iterable(WHEN.values()), "max_len"}  # settings of those parts


def asked(settings: Settings) -> List[str]:
    """Names of the parts that a collection of these settings has."""
    return [name for name in PARTS if None not in (getattr(settings, setting) for setting in WHEN.get(name, ()))]


def described(store: Store) -> Tuple[Optional[Settings], Optional[Given]]:
    """A store's header; None for a new store.

    Raises:
        InputError: another version wrote it
    """
    if not store.header:
        return None, None
    try:
        return Settings(**store.header["settings"]), Given(**store.header["given"])
    except (TypeError, LookupError) as error:
        raise InputError(f"{store.folder} is of another version: give another folder, or delete it") from error


def resumed(settings: Settings, given: Given, folder: Optional[str] = None) -> Store:
    """The parts of a collection that an earlier run left in a folder, and a place for the others.

    Args:
        settings: of the collection
        given: by the caller
        folder: None keeps everything in memory

    Raises:
        InputError: the folder holds other files, or a collection of other settings
    """
    store = Store(folder)
    kept = described(store)[0] or settings
    for name, there, here in zip(Settings._fields, kept, settings):
        if there != here and not (name in LATER and None in (there, here)):
            raise InputError(
                f"--keep {folder} belongs to other settings ({name}: {there} there, {here} here): give another folder, "
                "or delete it"
            )
    for name in set(store) - set(asked(settings)):
        del store[name]
    others = {name: getattr(kept, name) for name in LATER if getattr(settings, name) is None}
    store.describe({"settings": settings._replace(**others)._asdict(), "given": given._asdict()})
    return store
