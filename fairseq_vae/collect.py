"""Collect everything that an evaluation is made of: the half of it that runs the model and reads the data."""

import functools
import hashlib
import os
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

import fairseq
import torch
from fairseq import utils
from fairseq.data import Dictionary
from torch import Tensor
from tqdm import tqdm

from .base.errors import InputError
from .base.files import fingerprint
from .base.lines import read_lines, read_references
from .base.store import Store
from .base.stream import Purpose, standard_normal
from .base.text import Joiner, find_bpe, lacking
from .base.version import __version__
from .checkpoints.load import load_model
from .checkpoints.priors import check_prior, load_prior
from .checkpoints.read import folders
from .collect_texts import NUCLEUS, decode, responded, told, walk
from .hub import BARTVAEHubInterface
from .latent.distributions import as_double, has_closed_form, have_conditionals, rate, sampled
from .measure.collection import Collection, Given, Settings, resumed
from .measure.probes import check_labels
from .measure.scoring import Scorer

__all__ = ["at_least", "collect", "load_split", "score"]

VERSIONS = {"fairseq_vae": __version__, "fairseq": fairseq.__version__, "torch": str(torch.__version__)}
DECODERS = {"sentencepiece": "sentencepiece-2"}  # whose texts are other ones than in collections before 2 decoded bytes
RESPONSES = 5  # to a source, by default
LIKELIHOODS = ("rec", "nll_iw", "nll_iw_fitted", "effective", "shuffled", "zero", "from_prior")


def collect(
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
    keep: Optional[str] = None,
    text: Optional[str] = None,
    prior: Optional[str] = None,
    smoothness: Optional[int] = None,
    responses: Optional[int] = None,
    references: Optional[str] = None,
) -> Collection:
    """Collect everything that the evaluation of a checkpoint on a split is made of.

    Arguments and errors are those of evaluate.
    """
    at_least("--samples", samples, 1)
    at_least("--words", words, 1)
    at_least("--generate", generate, 0)
    at_least("--smoothness", smoothness, 2)
    at_least("--responses", responses, 0)
    given = read_lines(labels) if labels else None
    lines = read_lines(text) if text else None
    model, cfg, task = load_model(checkpoint, data, skip_invalid_size_inputs_valid_test=False)
    if not model.conditional and (responses or references):
        raise InputError(
            f"--{'responses' if responses else 'references'}: {checkpoint} is of bart_vae, which responds to nothing: "
            "leave it out"
        )
    if prior:
        check_prior(model, prior)
    fitted = load_prior(prior, model.latent_dim, fingerprint(checkpoint)) if prior else None
    scorer = load_split(model, task, split, max_tokens, cfg.common.seed if seed is None else seed)
    if given is not None and len(given) != len(scorer):
        raise InputError(f"--labels {labels}: {len(given):,} lines; expected {len(scorer):,}, one a sentence")
    if given is not None:
        check_labels(given)
    if lines is not None and len(lines) != len(scorer):
        raise InputError(
            f"--text {text}: {len(lines):,} lines; expected {len(scorer):,}, the sentences of {split} as they were "
            "before any tokenizer"
        )
    dictionary, bpe = task.target_dictionary, find_bpe(folders(checkpoint, data))
    join = joiner(dictionary, bpe, words)
    reference, critic = None, None
    if language_model:
        reference, critic = load_language_model(language_model, data, split, max_tokens, model, bpe)
    if smoothness and not join:
        raise InputError(
            f"--smoothness {smoothness}: nothing joins the pieces of {data} to text: {lacking(dictionary)}"
        )
    count = min(generate, len(scorer)) if join else 0
    smooth = min(smoothness, len(scorer)) if smoothness and not model.encoder.zero_latent else None
    several = read_references(references, len(scorer)) if references else None
    if (responses or references) and not count:
        why = "--generate 0" if join else f"nothing joins the pieces of {data} to text"
        raise InputError(f"--{'responses' if responses else 'references'} has no effect with {why}: leave it out")
    answers = (RESPONSES if responses is None else responses) if model.conditional and count else 0
    if references and not answers:
        raise InputError("--references has no effect with --responses 0: leave it out")
    training = f"{task.text_path('train')}.bin"
    settings = Settings(
        checkpoint=short(checkpoint),
        data=data_fingerprint(dictionary, scorer.dataset.tgt, scorer.dataset.src if model.conditional else ()),
        split=split,
        seed=scorer.seed,
        samples=1 if model.encoder.zero_latent else samples,  # without z there is nothing to sample
        **model_settings(model, cfg),
        **VERSIONS,
        tokenizer=f"{tokenizer(join, dictionary)}/{len(dictionary)}",
        text=text_fingerprint(join, bpe),
        text_sentences=count or None,
        max_len=min(2 * max(scorer.lengths), model.max_decoder_positions() - 1) if count or smooth else None,
        training=short(training) if count and os.path.exists(training) else None,
        language_model=short(language_model) if language_model else None,
        labels=short(labels) if labels else None,
        given_text=short(text) if text else None,
        fitted=f"{fitted.signature}#{short(prior)}" if prior and fitted else None,
        smoothness=smooth,
        responses=f"{answers}/{'topp_' + str(NUCLEUS) if model.encoder.zero_latent else 'greedy'}" if answers else None,
        references=short(references) if references else None,
        told=short(language_model) if language_model and critic and join and count else None,
    )
    names = Given(checkpoint, os.path.basename(os.path.normpath(data)), words)
    if keep:
        scorer.check_kept()
    store = resumed(settings, names, keep)

    if join:
        store.make("texts", lambda: [[join(tokens) for tokens in tqdm(scorer.dataset.tgt, desc="text", leave=False)]])
    if given is not None:
        store.make("labels", lambda: [given])
    if lines is not None:
        sizes = torch.tensor([len(line.encode()) for line in lines])
        store.make("given_bytes", lambda: [sizes])
    store.make("posterior prior", scorer.distributions)
    fields = torch.cat([field.flatten(1) for field in store["posterior"] if torch.is_tensor(field)], 1)
    check_finite(fields, f"checkpoint {checkpoint}: the posterior", split)
    score(store, scorer, settings.samples)
    if fitted:
        sums = functools.partial(scorer.importance, store["posterior"], fitted(), settings.samples)
        store.make("nll_iw_fitted", lambda: [sums().nll_iw])
    if reference:
        nothing = torch.zeros(len(scorer), reference.model.latent_dim)
        store.make("lm", lambda: [reference.nll(nothing, "language model")])
        check_finite(store["lm"][:, None], f"--language-model {language_model}: the likelihood", split)
    columns = [store[name] for name in LIKELIHOODS if name in store]
    check_finite(torch.stack([*columns, store["kl"].sum(1)], 1), f"checkpoint {checkpoint}: the likelihood", split)
    if count or smooth:
        vae = BARTVAEHubInterface(cfg, task, model)
        vae.join = join or vae.join
        sources = [scorer.dataset[index]["source"] for index in range(max(count, smooth or 0))]
        if count:
            decode(store, vae, sources, settings, fitted)
        if smooth:
            walk(store, vae, sources, settings)
        if answers:
            store.make("responses", lambda: [responded(vae, sources[:count], answers, settings)])
        if answers and several:
            store.make("references", lambda: [several[:count]])
    if settings.told and critic:
        store.make("samples_lm", lambda: told(critic, store["samples"])[:1])
        if fitted:
            store.make("samples_fitted_lm", lambda: told(critic, store["samples_fitted"])[:1])
    if join and settings.training:
        store.make("copied", lambda: [copies(store["samples"], task, join)])
    return Collection(settings, names, **store)


def at_least(flag: str, value: Optional[int], least: int) -> None:
    """Check a flag's number.

    Raises:
        InputError: it is too small
    """
    if value is not None and value < least:
        raise InputError(f"{flag} {value}: expected {least} or more")


def check_finite(table: Tensor, name: str, split: str) -> None:
    """Check numbers of each sentence.

    Args:
        table: a row a sentence, N x anything
        name: of the table
        split: of the sentences

    Raises:
        InputError: a number is not finite
    """
    finite = torch.isfinite(table).all(1)
    if not finite.all():
        raise InputError(
            f"{name} of {int((~finite).sum()):,} of {len(table):,} sentences is not finite (first: line "
            f"{int(finite.int().argmin()) + 1} of {split}): training diverged; take an earlier checkpoint"
        )


def load_split(model: Any, task: Any, split: str, max_tokens: int, seed: int) -> Scorer:
    """Load a split with all of its sentences.

    Raises:
        InputError: it has fewer than two sentences, or one that is longer than the model's positions or `max_tokens`
    """
    task.load_dataset(split)
    dataset = task.dataset(split)
    if len(dataset) < 2:
        raise InputError(f"--split {split}: one sentence; expected 2 or more, to tell its z from another's")
    positions = utils.resolve_max_positions(task.max_positions(), model.max_positions(), max_tokens)
    task.refuse_long(dataset, positions, max_tokens=max_tokens)
    task.tell_cut(split, functools.partial(tqdm.write, file=sys.stderr))
    return Scorer(model, dataset, max_tokens, seed)


def load_language_model(
    checkpoint: str, data: str, split: str, max_tokens: int, model: Any, bpe: Optional[Dict[str, str]]
) -> Tuple[Scorer, Optional[BARTVAEHubInterface]]:
    """Load the language model to compare with; to a conditional model, the one of targets given sources.

    Returns:
        the split under it; and its interface of strings, None where it cannot tell what it thinks of a text alone: of a
        conditional model, or where nothing makes pieces of text

    Raises:
        InputError: the checkpoint has a latent, or reads sources where the model does not, or the other way round
    """
    compared = model
    model, cfg, task = load_model(checkpoint, data, skip_invalid_size_inputs_valid_test=False)
    if not model.encoder.zero_latent:
        raise InputError(
            f"--language-model {checkpoint} has a latent: expected one trained with --zero-latent (recipe "
            "language-model)"
        )
    if model.conditional != compared.conditional:
        raise InputError(
            f"--language-model {checkpoint} {'reads' if model.conditional else 'does not read'} sources, unlike the "
            "model: give one of the same --arch"
        )
    scorer = load_split(model, task, split, max_tokens, 1)
    critic = BARTVAEHubInterface(cfg, task, model, bpe, checkpoint=checkpoint)
    return scorer, None if model.conditional or critic.given_in_pieces else critic


def joiner(dictionary: Dictionary, bpe: Optional[Dict[str, str]], words: Optional[int]) -> Optional[Joiner]:
    """Tokens to text; None where nothing can join the pieces and their words are given."""
    return None if words is not None and bpe is None and lacking(dictionary) else Joiner(dictionary, bpe)


def model_settings(model: Any, cfg: Any) -> Dict[str, Any]:
    """The settings of a collection that are the model's own."""
    encoder = model.encoder
    return {
        "model": getattr(cfg.model, "_name", None) or getattr(cfg.model, "arch", "bart_vae"),
        "latent_dim": model.latent_dim,
        "zero_latent": bool(encoder.zero_latent),
        "pooling": model.cfg.latent_pooling,
        "injection": model.cfg.latent_injection,
        "prior": encoder.prior.signature,
        "posterior": str(model.cfg.latent_posterior),
        "eps_dim": encoder.posterior.eps_dim,
    }


def short(path: str) -> str:
    """A file's fingerprint, short enough to be read."""
    return fingerprint(path)[:16]


def data_fingerprint(dictionary: Dictionary, sentences: Sequence[Tensor], sources: Sequence[Tensor] = ()) -> str:
    """The fingerprint of a dictionary's symbols and of the tokens of sentences and of their sources."""
    digest = hashlib.sha256()
    for symbol in dictionary.symbols:
        digest.update(symbol.encode() + b"\n")
    for tokens in (*sentences, *sources):
        digest.update(tokens.numpy().astype("<i8").tobytes())
    return digest.hexdigest()[:12]


def tokenizer(join: Optional[Joiner], dictionary: Dictionary) -> str:
    """The name of the BPE, or of the style in which pieces join."""
    if join is None:
        return "gpt2" if "GPT-2" in (lacking(dictionary) or "") else "sentencepiece"
    return join.bpe.name if join.bpe else join.style or "none"


def text_fingerprint(join: Optional[Joiner], bpe: Optional[Dict[str, str]]) -> Optional[str]:
    """The fingerprint of all that texts depend on beside tokens; None where nothing joins them."""
    if join is None:
        return None
    files = [path for key, path in sorted((bpe or {}).items()) if key != "bpe"]
    name = tokenizer(join, join.dictionary)
    return "+".join([DECODERS.get(name, name) if bpe else name, *map(short, files)])


def score(store: Store, scorer: Scorer, samples: int) -> None:
    """Make lengths, z, KL and likelihoods of every sentence; posterior and prior are in the store.

    Args:
        store: of a collection's parts
        scorer: of the split's N sentences
        samples: K
    """
    posterior, prior = store["posterior"], store["prior"]
    everyone = range(len(scorer))

    def own() -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        sums = scorer.importance(posterior, prior, samples)
        exact = has_closed_form(posterior, prior)
        if not exact and not have_conditionals(posterior, prior):
            return sums.nll, sums.nll_iw, sums.effective, sums.kl[:, None]
        draws = 1 if exact else samples
        kl = functools.reduce(torch.add, map(each_rate, range(draws))) / draws  # N x G
        return sums.nll, sums.nll_iw, sums.effective, kl

    def each_rate(sample: int) -> Tensor:
        found = posterior.rsample(scorer.eps([(i, sample) for i in everyone]))
        return rate(as_double(posterior), as_double(prior), found.double())

    def others() -> List[Tensor]:
        eps = standard_normal(scorer.seed, Purpose.GENERATION, 0, everyone, scorer.model.encoder.prior.eps_dim)
        return [scorer.nll(prior.rsample(eps), "prior z")]

    store.make("lengths", lambda: [torch.tensor(scorer.lengths)])
    store.make("z", lambda: [sampled(posterior, scorer.eps([(i, 0) for i in everyone]))])  # N x Z
    z = store["z"]
    store.make("rec nll_iw effective kl", own)
    store.make("shuffled", lambda: [scorer.nll(z.roll(-1, 0), "shuffled z")])
    store.make("zero", lambda: [scorer.nll(torch.zeros_like(z), "zero z")])
    store.make("from_prior", others)


def copies(generated: Sequence[str], task: Any, join: Joiner) -> List[str]:
    """Those generated sentences that stand in the training text, each once."""
    task.load_dataset("train")
    sentences = tqdm(task.dataset("train").tgt, desc="training text", unit="sentence", leave=False)
    wanted = set(generated)
    return sorted({text for text in map(join, sentences) if text in wanted})
