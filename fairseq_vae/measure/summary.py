"""The figures of an evaluation, as pure functions of its collection. No fairseq, no model, no files.

Shapes: N sentences, Z latent dimensions, M sentences with text. definitions.py defines every figure.
"""

import json
import math
from typing import Any, Callable, Container, Dict, List, Mapping, Optional, Tuple

import sacrebleu
import torch
from torch import Tensor

from ..base.errors import InputError
from ..base.stream import Purpose, standard_normal
from ..latent.distributions import has_closed_form, rows
from . import sentences, smoothness
from .collection import BEAM, Collection
from .diagnosis import Diagnosis, diagnose
from .estimators import RESAMPLES, active_curve, aggregate, batch_information, information, intervals, saturates
from .metrics import ACTIVE_VARIANCE, active_units
from .papers import Numbers
from .probes import probe
from .responses import compared, embedding, response_columns, response_figures, rouge_columns, rouge_figures

__all__ = [
    "MI_SAMPLES",
    "SCHEMA",
    "answers",
    "latent",
    "less",
    "likelihood",
    "responses",
    "signature",
    "smooth",
    "summarise",
    "table",
    "text",
    "use",
]

SCHEMA = 2  # version of the figures: raised when a key changes its meaning or goes
Statistic = Callable[[Mapping[str, Tensor]], Tensor]
OF_SAMPLES = ("self_bleu", "distinct_1", "distinct_2", "distinct_3", "prior_length", "length_distance", "empty_share")
MI_SAMPLES = 2  # of z a sentence, of which the error of the mutual information is estimated


def summarise(collection: Collection, mi_batch: Optional[int] = None) -> Numbers:
    """All figures of a collection.

    Args:
        collection: of an evaluation
        mi_batch: sentences in a batch of `mi_batch`; None leaves that figure out

    Returns:
        the keys of definitions.EVALUATED with plain numbers, strings and lists; None for figures that are left out

    Raises:
        InputError: the labels are no two classes of two or more sentences each, or the collection has paths, and a
            package that their figures need is missing
    """
    settings = collection.settings
    numbers: Numbers = {"schema": SCHEMA, **likelihood(collection), **latent(collection, mi_batch)}
    numbers["diagnosis"], numbers["diagnosis_message"] = use(collection, numbers["kl"], numbers["nll_gap_shuffled"])
    numbers.update(dict.fromkeys(("bleu", "chrf", "exact_match", "self_bleu", "training_copies")))
    numbers.update(text(collection))
    found = smooth(collection)
    numbers["intervals"].update(found.pop("intervals"))
    numbers.update(found)
    numbers["responses"] = responses(collection)
    numbers["fitted_prior"] = None if collection.nll_iw_fitted is None else settings.fitted
    if collection.labels is not None:
        mu = collection.posterior.mean.numpy()
        numbers.update(probe(mu, collection.texts or [], collection.labels, settings.seed))
    numbers.update(samples=settings.samples, seed=settings.seed, split=settings.split)
    numbers.update(checkpoint=collection.given.checkpoint, signature=signature(collection))
    return numbers


def likelihood(collection: Collection) -> Numbers:
    """Figures of the likelihood with their denominators and intervals."""
    counted = denominators(collection)
    columns = {**nats(collection), **counted}
    size = len(collection.rec)
    functions = statistics(size, columns)
    sums = {name: values.sum() for name, values in columns.items()}
    return {
        **dict.fromkeys(("lm_nll", "lm_gap", "bits_per_byte", "bits_per_byte_iw", "bytes", "nll_iw_fitted")),
        **{name: float(function(sums)) for name, function in functions.items()},
        **{name: round(float(sums[name])) for name in counted},
        "bytes_of": bytes_of(collection),
        "sentences": size,
        "iw_effective": float(sums["effective"]) / size,
        "intervals": intervals(columns, functions, collection.settings.seed),
    }


def nats(collection: Collection) -> Dict[str, Tensor]:
    """Columns whose sums over sentences the figures of the likelihood are made of, each N, float64."""
    columns = {
        "rec": collection.rec,
        "kl": collection.kl.sum(1),
        "nll_iw": collection.nll_iw,
        "effective": collection.effective,
        "shuffled": collection.shuffled,
        "zero": collection.zero,
        "prior": collection.from_prior,
    }
    others = {"lm": collection.lm, "nll_iw_fitted": collection.nll_iw_fitted}
    return {**columns, **{name: column for name, column in others.items() if column is not None}}


def table(collection: Collection) -> str:
    """Nats of each sentence, a line each in the split's order, as values between tabs under a line of their names.

    They are `sentence` (from 1), `tokens` and, with as many digits as are exact, `rec`, `kl`, `nll_iw`; -log p(x|z)
    under the next sentence's z (`shuffled`), z = 0 (`zero`) and the prior's z (`prior`); and where there are such, the
    language model's -log p(x) (`lm`), and `nll_iw_fitted`, under a fitted prior. -ELBO is rec + kl.
    """
    columns = {"tokens": collection.lengths, **nats(collection)}
    del columns["effective"]
    rows = zip(*(values.tolist() for values in columns.values()))
    lines = [("sentence", *columns), *((number, *row) for number, row in enumerate(rows, 1))]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)


def denominators(collection: Collection) -> Dict[str, Tensor]:
    """Tokens, words and, with text, bytes of each sentence, N, float64; words in equal shares if their sum is given.

    Bytes are those of the text as given where it is at hand, else those of the joined pieces.
    """
    size, texts, words = len(collection.lengths), collection.texts or [], collection.given.words
    if words is not None:
        counted = torch.full((size,), words / size)
    else:
        counted = torch.tensor([len(text.split()) + 1 for text in texts])
    result = {"tokens": collection.lengths, "words": counted}
    if collection.given_bytes is not None:
        result["bytes"] = collection.given_bytes
    elif texts:
        result["bytes"] = torch.tensor([len(text.encode()) for text in texts])
    return {name: values.double() for name, values in result.items()}


def bytes_of(collection: Collection) -> Optional[str]:
    """Which text the bytes are counted in, "given" or "joined"; None without text."""
    return "given" if collection.given_bytes is not None else "joined" if collection.texts else None


def statistics(size: int, columns: Container[str]) -> Dict[str, Statistic]:
    """Names to functions of the columns' sums over sentences, so that a figure and its interval are of one formula.

    Args:
        size: N
        columns: their names
    """

    def mean(name: str) -> Statistic:
        return lambda s: s[name] / size

    def perplexity(total: Statistic, unit: str) -> Statistic:
        return lambda s: torch.exp(total(s) / s[unit])

    def bits(total: Statistic) -> Statistic:
        return lambda s: total(s) / s["bytes"] / math.log(2)

    def gap(name: str) -> Statistic:
        return lambda s: (s[name] - s["rec"]) / size

    def bound(s: Mapping[str, Tensor]) -> Tensor:
        return s["rec"] + s["kl"]

    result = {name: mean(name) for name in ("rec", "kl", "nll_iw")}
    result["neg_elbo"] = lambda s: bound(s) / size
    totals: Dict[str, Statistic] = {"": bound, "_iw": lambda s: s["nll_iw"]}
    for suffix, total in totals.items():
        for name in ("token", "word"):
            result[f"ppl_{name}{suffix}"] = perplexity(total, f"{name}s")
        if "bytes" in columns:
            result[f"bits_per_byte{suffix}"] = bits(total)
    for name in ("shuffled", "zero", "prior"):
        result[f"nll_gap_{name}"] = gap(name)
    if "nll_iw_fitted" in columns:
        result["nll_iw_fitted"] = mean("nll_iw_fitted")
    if "lm" in columns:
        result["lm_nll"] = mean("lm")
        result["lm_gap"] = lambda s: (bound(s) - s["lm"]) / size
    return result


def latent(collection: Collection, mi_batch: Optional[int] = None) -> Numbers:
    """Figures of the posteriors alone.

    Args:
        collection: of an evaluation
        mi_batch: as for summarise
    """
    posterior, prior, settings = collection.posterior, collection.prior, collection.settings
    given = prior.mean.dim() > 1  # a prior of each sentence's own source
    mu = posterior.mean.double() - (prior.mean.double() if given else 0)
    size, dim = mu.shape
    draws = (
        standard_normal(settings.seed, Purpose.VALIDATION, k, range(size), settings.eps_dim) for k in range(MI_SAMPLES)
    )
    eps = torch.stack(list(draws))  # MI_SAMPLES x N x eps_dim
    among = min(size, getattr(posterior, "mi_sentences", size))
    mi, error = information(rows(posterior, slice(among)), eps[:, :among])
    saturated, of_source = saturates(mi, among), None
    if given:  # I(z; y|x) = I(z; x, y) - I(z; x), the latter of the priors
        draws = (standard_normal(settings.seed, Purpose.GENERATION, k, range(among), dim) for k in range(MI_SAMPLES))
        of_source, its_error = information(rows(prior, slice(among)), torch.stack(list(draws)))
        mi, error = mi - of_source, math.hypot(error, its_error)
    return {
        "kl_sampled": not has_closed_form(posterior, prior),
        "mi": mi,
        "mi_stderr": error,
        "mi_cap": math.log(among) - (of_source or 0.0),  # both parts have log N, so that a gap is what is left
        "mi_saturated": saturated,
        "mi_source": of_source,
        "marginal_kl": float(collection.kl[:among].double().sum(1).mean()) - mi,
        "mi_batch": batch_information(posterior, eps[0], mi_batch) if mi_batch else None,
        "mi_batch_size": mi_batch,
        **aggregate(posterior, prior, collection.kl),
        "au": active_units(mu.sum(0), mu.square().sum(0), size),
        "au_curve": active_curve(mu),
        "latent_dim": dim,
    }


def use(collection: Collection, kl: float, gap: float) -> Diagnosis:
    """The diagnosis of the use of z.

    Args:
        collection: of an evaluation
        kl: nats per sentence
        gap: to the next sentence's z, nats per sentence
    """
    if collection.settings.zero_latent:
        return Diagnosis("no z", "the model has none: --zero-latent")
    return diagnose(kl, gap, collection.settings.latent_dim) or Diagnosis("ok", "z is used")


def text(collection: Collection) -> Numbers:
    """Scores of the reconstructions and of the prior's samples; empty without text."""
    texts, samples = collection.texts, collection.samples
    if not texts or samples is None:
        return {}
    result: Numbers = {"text_sentences": len(samples), "max_len": collection.settings.max_len}
    for found, suffix in ((collection.reconstructions, ""), (collection.greedy, "_greedy")):
        scores = sentences.reconstruction(found or [], texts[: len(samples)])
        result.update({f"{key}{suffix}": value for key, value in scores.items() if not (suffix and "signature" in key)})
    result.update(sentences.samples(samples, texts))
    result.update(fluent(collection.samples_lm, collection))
    if collection.samples_fitted is not None:
        found_there = sentences.samples(collection.samples_fitted, texts)
        result.update({f"{key}_fitted": found_there[key] for key in OF_SAMPLES})
        told = fluent(collection.samples_fitted_lm, collection)
        result.update({f"{key}_fitted": told[key] for key in told if not key.endswith("_data")})
    copied = collection.copied
    return {**result, "training_copies": None if copied is None else sentences.copied(samples, copied)}


def fluent(told: Optional[Tensor], collection: Collection) -> Numbers:
    """What a language model thinks of samples, and of the data; empty without one, None of samples without a word.

    Args:
        told: nats and tokens of each sample, M x 2; None without a language model
        collection: of the data
    """
    if told is None or collection.lm is None:
        return {}
    nats, tokens = told.sum(0).tolist()
    data = float(collection.lm.sum()) / float(collection.lengths.sum())
    return {"samples_nll": nats / tokens if tokens else None, "samples_nll_data": data}


def smooth(collection: Collection) -> Numbers:
    """Figures of the decodings under noise and along paths, and their `intervals`; None if there are none."""
    size, noised, walked = collection.settings.smoothness, collection.noised, collection.walked
    if not size or noised is None or walked is None:
        return {"smoothness_sentences": None, "aubleu": None, "smoothness_lerp": None, "intervals": {}}
    seed = collection.settings.seed
    under_noise = smoothness.noise(noised, (collection.texts or [])[:size], seed)
    between = smoothness.interpolation(walked, smoothness.word_mover(), seed)
    both = {**under_noise.pop("intervals"), **between.pop("intervals")}
    return {"smoothness_sentences": size, **under_noise, **between, "intervals": both}


def answers(collection: Collection) -> Optional[Tuple[List[List[str]], List[List[str]], List[str]]]:
    """Responses to each source, its references and its target; None without sources."""
    settings, found, texts = collection.settings, collection.responses, collection.texts
    if settings.responses is None or found is None or not texts:
        return None
    size = int(settings.responses.split("/")[0])
    hypotheses = [found[start : start + size] for start in range(0, len(found), size)]
    targets = texts[: len(hypotheses)]
    references = [[target] for target in targets]
    if collection.references is not None:
        references = [json.loads(line) for line in collection.references]
    return hypotheses, references, targets


def responses(collection: Collection) -> Optional[Numbers]:
    """Figures of the responses to sources, and of the first one of each against the target; None without sources."""
    found = answers(collection)
    if found is None:
        return None
    hypotheses, references, targets = found
    settings = collection.settings
    try:
        words = embedding()
    except InputError:  # then two scores are left out
        words = None
    numbers = response_figures(hypotheses, references, words, settings.seed)
    rouge = rouge_figures([texts[0] for texts in hypotheses], targets, settings.seed)
    numbers["intervals"] = {**numbers["intervals"], **rouge.pop("intervals")}
    way = str(settings.responses).split("/")[1]
    return {**numbers, **rouge, "responses_signature": f"{way}|{numbers['responses_signature']}"}


def less(ours: Collection, theirs: Collection) -> Dict[str, Tuple[float, float, float]]:
    """Differences of two models of one split, ours less theirs, with 95 % intervals paired by sentence.

    Args:
        ours, theirs: of the same sentences and seed

    Returns:
        `neg_elbo`, nats per sentence, and where both have responses their figures that are means or F1, each to the
        difference and the ends of its interval

    Raises:
        InputError: they are of other sentences, or of other numbers of responses
    """
    for name in ("data", "split", "text_sentences", "references"):
        here, there = getattr(ours.settings, name), getattr(theirs.settings, name)
        if here != there:
            raise InputError(f"{name} {here} and {there}: expected two evaluations of the same sentences")
    seed = ours.settings.seed
    bounds = [{"neg_elbo": found.rec + found.kl.double().sum(1)} for found in (ours, theirs)]
    result = compared(bounds[0], bounds[1], seed)
    both = [found for found in map(answers, (ours, theirs)) if found is not None]
    if len(both) < 2:
        return result
    counts = [len(hypotheses[0]) for hypotheses, _, _ in both]
    if counts[0] != counts[1]:
        raise InputError(f"{counts[0]} and {counts[1]} responses to a source: expected as many of both")
    columns = [
        {**response_columns(found, references), **rouge_columns([texts[0] for texts in found], targets)}
        for found, references, targets in both
    ]
    return {**result, **compared(columns[0], columns[1], seed)}


def signature(collection: Collection) -> str:
    """All that a figure depends on beside its definition, in sacrebleu's manner."""
    settings = collection.settings
    generated = settings.text_sentences
    fields: Dict[str, Any] = {
        "model": settings.model,
        "z": settings.latent_dim,
        "pooling": settings.pooling,
        "injection": settings.injection,
        "data": f"{collection.given.data}#{settings.data}",
        "split": settings.split,
        "tok": settings.tokenizer,
        "prior": settings.prior + (f"/fitted:{settings.fitted}" if settings.fitted else ""),
        "samples": settings.samples,
        "seed": settings.seed,
        "au": ACTIVE_VARIANCE,
        "mi_samples": MI_SAMPLES,
        "bootstrap": RESAMPLES,
        "text": f"first_{generated}/beam_{BEAM}/prior_greedy/max_len_{settings.max_len}" if generated else "none",
        "fairseq_vae": settings.fairseq_vae,
        "fairseq": settings.fairseq,
        "torch": settings.torch,
        "sacrebleu": sacrebleu.__version__,
    }
    if settings.posterior != "diagonal":
        fields["posterior"] = settings.posterior
    if settings.smoothness:
        fields["smoothness"] = smoothness.signature(settings.smoothness)
    return "|".join(f"{key}:{value}" for key, value in fields.items())
