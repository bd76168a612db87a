"""The figures of a checkpoint on a split: quality as a text VAE, and the use of z."""

from typing import Optional

from .base.files import write
from .collect import at_least, collect
from .measure.papers import Numbers
from .measure.smoothness import word_mover
from .measure.summary import SCHEMA, summarise, table

__all__ = ["SCHEMA", "evaluate"]


def evaluate(
    checkpoint: str,
    data: str,
    split: str = "test",
    samples: int = 20,
    words: Optional[int] = None,
    max_tokens: int = 4096,
    seed: Optional[int] = None,
    generate: int = 1000,
    language_model: Optional[str] = None,
    labels: Optional[str] = None,
    mi_batch: Optional[int] = None,
    keep: Optional[str] = None,
    text: Optional[str] = None,
    prior: Optional[str] = None,
    smoothness: Optional[int] = None,
    responses: Optional[int] = None,
    references: Optional[str] = None,
    sentences: Optional[str] = None,
) -> Numbers:
    """Evaluate a checkpoint on a split, at the ELBO's own weights: no beta, no free bits, no smoothing, no dropout.

    Noise belongs to (seed, sentence, k): nothing depends on batches. z is sampled, an autoencoder's too.

    Args:
        checkpoint: file of a bart_vae
        data: folder of the binarised text
        split: one of the folder's
        samples: K, z's of each sentence
        words: the split's words and sentence ends, for `ppl_word`; None counts them in the joined pieces
        max_tokens: tokens in a batch; changes nothing but speed, memory and rounding
        seed: of all streams; None takes the model's own
        generate: sentences of the split to reconstruct, the first ones, and of the prior to sample; 0 leaves text out
        language_model: checkpoint trained with --zero-latent on the same data, to compare the VAE with
        labels: text file with a label for each sentence of the split, for a classifier on mu
        mi_batch: sentences in a batch of the mutual information within batches; None leaves it out
        keep: folder for everything collected, see Collection; an earlier run's parts in it are used, not made again
        text: file of the split's sentences as they were given, one a line, whose bytes `bits_per_byte` divides by; None
            counts those of the joined pieces, from which a tokenizer's normaliser may have taken some
        prior: file of `fairseq-vae fit-prior`, for the likelihood and samples under that prior beside the model's own

        smoothness: sentences of the split to decode under growing noise, the first ones, and in random pairs to decode
            paths between; None leaves that out
        responses: of a conditional model, to each of the first `generate` sources; None: 5; 0 leaves them out
        references: file with a JSON list of texts a line for each source of the split; None: its target alone
        sentences: file to write each sentence's nats to, see measure.summary.table

    Returns:
        the keys that measure/definitions.py defines, with plain numbers, lists and strings; None for figures that are
        left out

    Raises:
        InputError: an argument cannot work, the model's numbers are not finite, `keep` belongs to other settings, or
            packages that `smoothness` needs are missing

    >>> numbers = evaluate(checkpoint, data, samples=2, generate=0, keep=folder)
    >>> numbers["sentences"], numbers["samples"], numbers["bleu"]
    (12, 2, None)
    >>> evaluate(checkpoint, data, samples=2, generate=0, keep=folder) == numbers  # of the same collection
    True
    >>> from fairseq_vae.measure.collection import Collection
    >>> Collection.load(folder).z.shape
    torch.Size([12, 8])
    """
    at_least("--mi-batch", mi_batch, 2)
    if smoothness:
        word_mover()  # loaded before anything runs, so that what is missing is said at once
    collection = collect(
        checkpoint,
        data,
        split,
        samples,
        words,
        max_tokens,
        seed,
        generate,
        language_model,
        labels,
        keep,
        text,
        prior,
        smoothness,
        responses,
        references,
    )
    numbers = summarise(collection, mi_batch)
    if sentences:
        write(sentences, table(collection))
    return numbers
