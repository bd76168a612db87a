"""What a report shows of a model: posterior means, reconstructions, samples, interpolations. Here the model runs.

Shapes: N sentences on the map, Z latent dimensions.
"""

import os
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..base.errors import InputError
from ..base.lengths import Bounds
from ..base.lines import one_line
from ..base.text import read_dictionary
from ..checkpoints.read import model_settings, read_checkpoint
from ..data import read_sentences
from ..hub import BARTVAEHubInterface
from ..latent.paths import path

__all__ = ["Contents", "Line", "Split", "find_split", "gather"]

LINES, STEPS = 3, 7  # interpolations, and points on each


class Line(NamedTuple):
    """Sentences on the straight line between two sentences' latents, the ends' reconstructions included."""

    start: str
    end: str
    points: List[str]


class Contents(NamedTuple):
    """What a report shows of a model.

    Attributes:
        total: sentences of the text
        left_out: of those looked at, sentences that the model cannot take: empty, or beyond its positions
        texts: N sentences, chosen by chance
        lengths: theirs in tokens, N, their ends not counted
        labels: N; None if none are given
        mu: posterior means, N x Z
        reconstructions: sentences and what the model makes of their means
        samples: sentences from the prior
        lines: interpolations
    """

    total: int
    left_out: int
    texts: List[str]
    lengths: List[int]
    labels: Optional[List[str]]
    mu: np.ndarray
    reconstructions: List[Tuple[str, str]]
    samples: List[str]
    lines: List[Line]


def gather(
    vae: BARTVAEHubInterface,
    sentences: Sequence[Union[str, Tensor]],
    labels: Optional[Sequence[str]],
    points: int,
    samples: int,
    seed: int,
) -> Contents:
    """Run the model on some sentences of a text.

    The sentences of the map are drawn from the whole text without replacement; of these, the first ones in the order of
    the text are reconstructed, and lines run between the first two, the next two and so on.

    Args:
        vae: the model
        sentences: the text's, as strings or as tokens with </s>
        labels: theirs
        points: most sentences on the map, N
        samples: sentences to reconstruct, and as many to sample
        seed: of the choice and of the samples

    Raises:
        InputError: labels and sentences differ in number, or the model can take no sentence
    """
    if labels is not None and len(labels) != len(sentences):
        raise InputError(
            f"--labels: {len(labels):,} lines; expected {len(sentences):,}, as many as the text has sentences"
        )
    order = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen: List[int] = []
    tokens: List[Tensor] = []
    tried = 0
    longest = Bounds(*vae.model.max_positions()).longest
    for index in order:
        if len(chosen) == points:
            break
        tried += 1
        found = taken(vae, sentences[index], longest)
        if found is not None:
            chosen.append(index)
            tokens.append(found)
    if not chosen:
        raise InputError("the model can take no sentence of the text: all are empty or beyond its positions")
    mu = vae.encode(tokens).mean
    finite = torch.isfinite(mu).all(1).tolist()
    first = sorted((place for place in range(len(chosen)) if finite[place]), key=lambda place: chosen[place])[:samples]
    start = torch.tensor([vae.task.source_dictionary.bos()])
    sources = [torch.cat((start, tokens[place])) for place in first]  # for a model with a context
    texts = [one_line(vae.join(part)) for part in tokens]
    decoding = {"max_len": min(2 * max(map(len, tokens)), vae.model.max_decoder_positions() - 1)}
    back = vae.decode(mu[first], sources=sources, **decoding) if first else []
    given = [sources[i % len(sources)] for i in range(samples)]
    drawn = vae.sample(samples, seed=seed, sources=given, **decoding) if first else []
    lines = []
    for a, b in list(zip(first[::2], first[1::2]))[:LINES]:
        between = vae.decode(path(mu[a], mu[b], STEPS, "lerp"), sources=[sources[first.index(a)]] * STEPS, **decoding)
        lines.append(Line(texts[a], texts[b], list(map(one_line, between))))
    return Contents(
        total=len(sentences),
        left_out=tried - len(chosen),
        texts=texts,
        lengths=[len(part) - 1 for part in tokens],
        labels=None if labels is None else [labels[index] for index in chosen],
        mu=mu.cpu().numpy(),
        reconstructions=[(texts[place], one_line(text)) for place, text in zip(first, back)],
        samples=list(map(one_line, drawn)),
        lines=lines,
    )


def taken(vae: BARTVAEHubInterface, sentence: Union[str, Tensor], longest: int) -> Optional[Tensor]:
    """A sentence's tokens with </s>; None if the model cannot take it.

    Args:
        vae: the model
        sentence: as text or as tokens
        longest: most tokens that its positions take
    """
    if isinstance(sentence, str):
        try:
            return vae.tokens(sentence)
        except InputError:
            return None
    return sentence if 1 <= len(sentence) - 1 <= longest else None


class Split(NamedTuple):
    """A split of binarised text: its name, and its sentences' tokens, each with </s>."""

    name: str
    sentences: Sequence[Tensor]


def find_split(folder: str, checkpoint: str) -> Optional[Split]:
    """The test split of a run's text, or else the validation split: in its data-bin, or where the model was trained.

    Args:
        folder: of the run
        checkpoint: of its model

    Returns:
        None if neither is there

    Raises:
        InputError: the checkpoint or the text is damaged
    """
    trained = str(getattr(model_settings(read_checkpoint(checkpoint)), "data", ""))
    for data in (os.path.join(folder, "data-bin"), trained):
        for name in ("test", "valid"):
            words = os.path.join(data, "dict.txt")
            if os.path.isfile(words) and os.path.isfile(os.path.join(data, f"{name}.bin")):
                return Split(name, read_sentences(os.path.join(data, name), read_dictionary(words)))
    return None
