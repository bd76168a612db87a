"""The texts of a collection: reconstructions, samples, responses and paths, which a model decodes from z's."""

from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from tqdm import tqdm

from .base.store import Store
from .base.stream import Purpose, standard_normal
from .hub import BARTVAEHubInterface
from .latent.distributions import rows
from .latent.paths import PATHS, noised, path
from .measure.collection import BEAM, Settings
from .measure.smoothness import POINTS, SCALES, pairs

__all__ = ["NUCLEUS", "decode", "responded", "told", "walk"]

NUCLEUS = 0.9  # what a model without z draws its responses from


def decode(
    store: Store, vae: BARTVAEHubInterface, sources: Sequence[Tensor], settings: Settings, fitted: Any = None
) -> None:
    """Make reconstructions from mu of the first sentences, and as many samples of the prior.

    Args:
        store: with posterior, prior and lengths
        vae: the model
        sources: each sentence's source with <s> and </s>, for a model that decodes it beside z
        settings: of the collection, with text
        fitted: a prior that was fitted after training, to be sampled as well
    """
    posterior, lengths, count = store["posterior"], store["lengths"].tolist(), settings.text_sentences or 0
    everyone, max_len = range(count), settings.max_len

    def reconstructed(beam: int) -> List[List[str]]:
        name = f"reconstructions, beam {beam}"
        return [decoded(vae, posterior.mean[:count], everyone, sources, max_len, name, beam, lengths)]

    def sampled(z: Tensor, name: str) -> List[List[str]]:
        return [decoded(vae, z, everyone, sources, max_len, name)]

    store.make("reconstructions", lambda: reconstructed(BEAM))
    store.make("greedy", lambda: reconstructed(1))
    store.make("samples_z", lambda: [drawn(store["prior"], vae.model.encoder.prior.eps_dim, settings.seed, count)])
    store.make("samples", lambda: sampled(store["samples_z"], "samples of the prior"))
    if fitted:
        z = drawn(fitted(), fitted.eps_dim, settings.seed, count)
        store.make("samples_fitted", lambda: sampled(z, "samples of the fitted prior"))


def told(language_model: BARTVAEHubInterface, texts: Sequence[str]) -> Tuple[Tensor, int]:
    """-log p of texts under a language model.

    Args:
        language_model: trained with --zero-latent, of sentences alone
        texts: M; one without a word has neither nats nor tokens

    Returns:
        nats and tokens of each text, its end counted, M x 2, float64; and how many texts are longer than the model
        takes, of which their beginnings are told
    """
    result = torch.zeros(len(texts), 2, dtype=torch.float64)
    spoken = [place for place, text in enumerate(texts) if text.strip()]
    whole = [language_model.uncut(texts[place]) for place in spoken]
    most = language_model.longest
    tokens = [text if len(text) <= most + 1 else torch.cat((text[:most], text[-1:])) for text in whole]
    result[spoken, 0] = -language_model.log_prob(tokens, samples=1)
    result[spoken, 1] = torch.tensor([len(text) for text in tokens], dtype=torch.float64)
    return result, sum(len(ours) < len(theirs) for ours, theirs in zip(tokens, whole))


def responded(vae: BARTVAEHubInterface, sources: Sequence[Tensor], count: int, settings: Settings) -> List[str]:
    """Responses to sources, each source's after one another: greedy ones from z's of the prior.

    A model without z has nucleus samples in their place (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).

    Args:
        vae: a conditional model
        sources: M
        count: responses of each
        settings: of the collection, with text
    """
    way = {"sampling": True, "sampling_topp": NUCLEUS} if settings.zero_latent else {"beam": 1}
    step, found = max(1, vae.batch_size // count), []
    with tqdm(total=len(sources), desc="responses", unit="source", leave=False) as bar:
        for start in range(0, len(sources), step):
            part = sources[start : start + step]
            for texts in vae.respond(part, count, settings.seed, first=start, max_len=settings.max_len, **way):
                found += texts
            bar.update(len(part))
    return found


def walk(store: Store, vae: BARTVAEHubInterface, sources: Sequence[Tensor], settings: Settings) -> None:
    """Make greedy decodings of the first sentences under noise, and of paths between pairs of them.

    All start from mu. The noise of a sentence is one draw of the prior, the one of its sample, at every scale: the last
    scale gives the samples of the prior. Between two sentences, a model that decodes the source beside z has the
    source of the nearer one.

    Args:
        store, vae, sources: as for decode
        settings: of the collection, with smoothness
    """
    size = settings.smoothness or 0
    mu, lengths = store["posterior"].mean[:size], store["lengths"].tolist()
    own = rows(store["prior"], slice(size))

    def under_noise() -> List[List[str]]:
        draws = drawn(store["prior"], vae.model.encoder.prior.eps_dim, settings.seed, size)
        z = torch.cat([noised(mu, draws, scale, own.mean) for scale in SCALES])  # L N x Z
        indices = list(range(size)) * len(SCALES)
        return [decoded(vae, z, indices, sources, settings.max_len, "under noise", 1, lengths)]

    def between() -> List[List[str]]:
        couples = [couple for _ in PATHS for couple in pairs(settings.seed, size)]  # kind by kind
        kinds = [kind for kind in PATHS for _ in range(size // 2)]
        inner = [path(mu[a], mu[b], POINTS, kind)[1:-1] for kind, (a, b) in zip(kinds, couples)]
        nearer = [couple[step > POINTS // 2] for couple in couples for step in range(1, POINTS - 1)]
        texts = decoded(vae, torch.cat(inner), nearer, sources, settings.max_len, "between pairs", 1, lengths)
        found: List[str] = []
        for number, (a, b) in enumerate(couples):
            start = number * (POINTS - 2)
            found += [store["noised"][a], *texts[start : start + POINTS - 2], store["noised"][b]]
        return [found]

    store.make("noised", under_noise)
    store.make("walked", between)


def drawn(prior: Any, eps_dim: int, seed: int, count: int) -> Tensor:
    """A draw of the prior for each of the first sentences, count x Z."""
    return rows(prior, slice(count)).rsample(standard_normal(seed, Purpose.GENERATION, 0, range(count), eps_dim))


def decoded(
    vae: BARTVAEHubInterface,
    z: Tensor,
    indices: Sequence[int],
    sources: Sequence[Tensor],
    max_len: Optional[int],
    name: str,
    beam: int = 1,
    lengths: Optional[Sequence[int]] = None,
) -> List[str]:
    """A sentence for each z, in the order of the z's.

    Args:
        vae: the model
        z: B x Z
        indices: of the sentence that each z belongs to, B
        sources: of the sentences
        max_len: most tokens of a decoded sentence
        name: of the progress bar
        beam: 1 is greedy
        lengths: of the sentences, where batches are to be of like length

    Returns:
        B strings
    """
    order = sorted(range(len(z)), key=lambda row: lengths[indices[row]] if lengths else row)
    found: List[str] = []
    with tqdm(total=len(z), desc=name, unit="sentence", leave=False) as bar:
        for start in range(0, len(z), vae.batch_size):
            part = order[start : start + vae.batch_size]
            given = [sources[indices[row]] for row in part]
            found += vae.decode(z[part], beam=beam, max_len=max_len, sources=given)
            bar.update(len(part))
    return [text for _, text in sorted(zip(order, found))]
