"""How good a text VAE is, and whether it uses z: every number with its unit, denominator and signature."""

import hashlib
import math
import os
from typing import Any, Callable, Dict, List, Optional

import fairseq
import numpy as np
import sacrebleu
import torch
from fairseq import utils
from torch import Tensor
from tqdm import tqdm

from .base.errors import InputError
from .base.files import read_lines
from .base.stream import Draw, standard_normal
from .base.text import Joiner, find_bpe, is_gpt2
from .base.version import __version__
from .checkpoints.load import load_model
from .checkpoints.read import folders
from .hub import BARTVAEHubInterface
from .latent.distributions import GaussianPosterior
from .measure import sentences as generation
from .measure.diagnosis import Diagnosis, diagnose
from .measure.estimators import RESAMPLES, active_curve, aggregate, batch_information, information, intervals, saturates
from .measure.metrics import ACTIVE_VARIANCE, active_units
from .measure.probes import probe
from .measure.scoring import Scorer, pair_noise

SCHEMA = 2  # version of what evaluate returns: raised when a key changes its meaning or goes
MI_SAMPLES = 2  # of z a sentence, of which the error of the mutual information is estimated
BEAM = 5


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
) -> Dict[str, Any]:
    """Evaluate a checkpoint on a split, at the ELBO's own weights: no beta, no free bits, no smoothing, no dropout.

    Noise belongs to (seed, sentence, k): nothing depends on batches. z is sampled, an autoencoder's too.

    Args:
        checkpoint, data: files of the model and folder of the binarised text
        split: one of the folder's
        samples: K, z's a sentence
        words: the split's words and sentence ends, for `ppl_word`; counted from the joined pieces if None
        max_tokens: tokens in a batch; changes nothing but speed and memory
        seed: of all noise (default: the model's own)
        generate: sentences of the split to reconstruct (the first ones) and of the prior to sample; 0 leaves text out
        language_model: checkpoint of the same data trained with --zero-latent: the line to hold the VAE against
        labels: text file with a label for each sentence of the split, to read off mu
        mi_batch: also compute the mutual information within batches of so many sentences, as older papers do

    Returns:
        plain numbers, lists and strings; None where something was left out. Nats are nats a sentence.
        `schema`: version of this list

        `rec`: mean over K samples of -log p(x|z); `kl`: of the posterior from N(0, I); `neg_elbo`: their sum; nats
        `nll_iw`: -log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x), nats (Burda et al. 2016); `iw_effective`: mean effective
            number of its K samples: near 1, a few samples carry it, and a larger K lowers it further
        `ppl_token`, `ppl_word`: exp(neg_elbo * sentences / tokens), / words; `bits_per_byte`: / bytes / log 2;
            `ppl_token_iw`, `ppl_word_iw`, `bits_per_byte_iw`: of nll_iw
        `sentences`, `tokens`, `words`, `bytes`: the denominators; tokens and words count one end a sentence, bytes are
            those of the joined text in UTF-8, without line ends
        `intervals`: of the above, gaps included, the 95 % bootstrap interval over sentences, [low, high]

        `mi`, `mi_stderr`, `mi_cap`, `mi_saturated`: mutual information over all pairs of the split, its Monte Carlo
            error, log sentences, and whether the cap may hide most of it; nats
        `mi_batch`, `mi_batch_size`: see estimators.batch_information
        `marginal_kl`: kl - mi, of the aggregated posterior from N(0, I); too large by what the cap hides
        `agg_gaussian_kl` (its lower bound), `agg_mean_norm`, `agg_cov_distance`, `kl_dims`, `mu_variance_dims`,
            `variance_dims`: see estimators.aggregate
        `au`, `au_curve`, `latent_dim`: active units at Var(mu) > 0.01, and at other thresholds, of so many

        `nll_gap_shuffled`, `nll_gap_zero`, `nll_gap_prior`: by how many nats the next sentence's z, z = 0 and z from
            the prior explain a sentence worse than its own
        `lm_nll`, `lm_gap`: the language model's -log p(x), and neg_elbo less it; nats
        `diagnosis`, `diagnosis_message`: what is wrong with the use of z, in a word ("ok": nothing) and in a line

        `bleu`, `chrf`, `exact_match` (beam 5) and with `_greedy`: of reconstructions from mu; see
            generation.reconstruction; `text_sentences`: their number
        `self_bleu`, `distinct_1` ... : of the prior's samples, greedy; see generation.samples
        `training_copies`: the share of them that stand in the training text; None without one
        `probe` ... : see probes.probe

        `samples`, `seed`, `split`, `checkpoint`, `signature`: how the numbers were made

    Raises:
        InputError: something given cannot work, or the model's numbers are not finite
    """
    for flag, value, least in (
        ("--samples", samples, 1),
        ("--words", words, 1),
        ("--generate", generate, 0),
        ("--mi-batch", mi_batch, 2),
    ):
        if value is not None and value < least:
            raise InputError(f"{flag} {value}: expected {least} or more")
    given = read_lines(labels) if labels else None
    model, cfg, task = load_model(checkpoint, data, skip_invalid_size_inputs_valid_test=False)
    seed = cfg.common.seed if seed is None else seed
    scorer = load_split(model, task, split, max_tokens, seed)
    if given is not None and len(given) != len(scorer):
        raise InputError(f"--labels {labels}: {len(given):,} lines; expected {len(scorer):,}, one a sentence")
    reference = language_model and load_language_model(language_model, data, split, max_tokens)
    join = joiner(checkpoint, data, task.target_dictionary, words)
    texts = [join(tokens) for tokens in tqdm(scorer.dataset.tgt, desc="text", leave=False)] if join else []

    posterior = scorer.posterior()
    check_finite(torch.cat(posterior, 1), f"checkpoint {checkpoint}: the posterior", split)
    if model.encoder.zero_latent:  # nothing to sample
        samples = 1
    columns = likelihoods(scorer, posterior, samples)
    if reference:
        columns["lm"] = reference.nll(torch.zeros(len(scorer), reference.model.latent_dim), "language model")
    check_finite(torch.stack(list(columns.values()), 1), f"checkpoint {checkpoint}: the likelihood", split)
    numbers = {"schema": SCHEMA, **likelihood(columns, denominators(scorer, texts, words), seed)}
    numbers.update(latent(posterior, scorer, mi_batch))
    numbers["marginal_kl"] = numbers["kl"] - numbers["mi"]
    problem: Optional[Diagnosis] = Diagnosis("no z", "the model has none: --zero-latent")
    if not model.encoder.zero_latent:
        problem = diagnose(numbers["kl"], numbers["nll_gap_shuffled"], model.latent_dim)
    numbers["diagnosis"], numbers["diagnosis_message"] = problem or Diagnosis("ok", "z is used")
    numbers.update(dict.fromkeys(("bleu", "chrf", "exact_match", "self_bleu", "training_copies")))
    if texts and generate:
        vae = BARTVAEHubInterface(cfg, task, model)
        vae.join = join
        numbers.update(text(vae, posterior.mu, texts, scorer, generate))
        numbers["training_copies"] = copies(numbers.pop("generated"), task, data, join)
    if given is not None:
        numbers.update(probe(posterior.mu.numpy(), texts, given, seed))
    numbers.update(samples=samples, seed=seed, split=split, checkpoint=checkpoint)
    numbers["signature"] = signature(model, cfg, scorer, join, data, numbers)
    return numbers


def check_finite(rows: Tensor, what: str, split: str) -> None:
    """rows: a row a sentence, N x anything."""
    finite = torch.isfinite(rows).all(1)
    if not finite.all():
        raise InputError(
            f"{what} of {int((~finite).sum()):,} of {len(rows):,} sentences is not finite (first: line "
            f"{int(finite.int().argmin()) + 1} of {split}): training diverged; take an earlier checkpoint"
        )


def load_split(model, task, split: str, max_tokens: int, seed: int) -> Scorer:
    """A split of two or more sentences, every one of which counts: one that is too long is refused."""
    task.load_dataset(split)
    dataset = task.dataset(split)
    if len(dataset) < 2:
        raise InputError(f"--split {split}: one sentence; expected 2 or more, to tell its z from another's")
    positions = utils.resolve_max_positions(task.max_positions(), model.max_positions())
    task.filter_indices_by_size(np.arange(len(dataset)), dataset, positions)
    return Scorer(model, dataset, max_tokens, seed)


def load_language_model(checkpoint: str, data: str, split: str, max_tokens: int) -> Scorer:
    model, _, task = load_model(checkpoint, data, skip_invalid_size_inputs_valid_test=False)
    if not model.encoder.zero_latent:
        raise InputError(
            f"--language-model {checkpoint} has a latent: expected one trained with --zero-latent (recipe "
            "language-model)"
        )
    return load_split(model, task, split, max_tokens, 1)


def joiner(checkpoint: str, data: str, dictionary, words: Optional[int]) -> Optional[Joiner]:
    """Tokens to text; None where nothing can join the pieces but their words are given."""
    bpe = find_bpe(folders(checkpoint, data))
    return None if words is not None and bpe is None and is_gpt2(dictionary) else Joiner(dictionary, bpe)


def likelihoods(scorer: Scorer, posterior: GaussianPosterior, samples: int) -> Dict[str, Tensor]:
    """Nats of each sentence, N: rec, kl, nll_iw, and -log p(x|z) under the next sentence's z (its first sample), 0 and
    the prior's z; with the effective number of samples."""
    dim, everyone = posterior.mu.size(1), range(len(scorer))
    importance = scorer.importance(posterior, samples)
    first = posterior.rsample(pair_noise(scorer.seed, Draw.VALIDATION, [(i, 0) for i in everyone], dim))
    prior = standard_normal(scorer.seed, Draw.GENERATION, 0, everyone, dim)
    return {
        "rec": importance.nll,
        "kl": GaussianPosterior(posterior.mu.double(), posterior.logvar.double()).kl().sum(1),
        "nll_iw": importance.nll_iw,
        "effective": importance.effective,
        "shuffled": scorer.nll(first.roll(-1, 0), "shuffled z"),
        "zero": scorer.nll(torch.zeros_like(first), "zero z"),
        "prior": scorer.nll(prior, "prior z"),
    }


def denominators(scorer: Scorer, texts: List[str], words: Optional[int]) -> Dict[str, Tensor]:
    """Tokens, words and bytes of each sentence, N; words in equal shares where only their number is known."""
    if words is not None:
        counted = torch.full((len(scorer),), words / len(scorer))
    else:
        counted = torch.tensor([len(text.split()) + 1 for text in texts])
    result = {"tokens": torch.tensor(scorer.lengths), "words": counted}
    if texts:
        result["bytes"] = torch.tensor([len(text.encode()) for text in texts])
    return {name: values.double() for name, values in result.items()}


def likelihood(columns: Dict[str, Tensor], counted: Dict[str, Tensor], seed: int) -> Dict[str, Any]:
    """Figures of the likelihood, from nats and denominators of each sentence, with their intervals; see evaluate."""
    columns = {**columns, **counted}
    size = len(columns["rec"])
    functions = statistics(size, "bytes" in columns, "lm" in columns)
    sums = {name: values.sum() for name, values in columns.items()}
    return {
        **dict.fromkeys(("lm_nll", "lm_gap", "bits_per_byte", "bits_per_byte_iw", "bytes")),
        **{name: float(function(sums)) for name, function in functions.items()},
        **{name: round(float(sums[name])) for name in counted},
        "sentences": size,
        "iw_effective": float(sums["effective"]) / size,
        "intervals": intervals(columns, functions, seed),
    }


def statistics(sentences: int, has_bytes: bool, has_reference: bool) -> Dict[str, Callable]:
    """Names to functions of the columns' sums over sentences, so that a figure and its interval are of one formula."""
    totals = {"": lambda s: s["rec"] + s["kl"], "_iw": lambda s: s["nll_iw"]}
    result: Dict[str, Callable] = {name: lambda s, name=name: s[name] / sentences for name in ("rec", "kl", "nll_iw")}
    result["neg_elbo"] = lambda s: totals[""](s) / sentences
    for suffix, total in totals.items():
        for name in ("token", "word"):
            result[f"ppl_{name}{suffix}"] = lambda s, t=total, name=name: torch.exp(t(s) / s[f"{name}s"])
        if has_bytes:
            result[f"bits_per_byte{suffix}"] = lambda s, t=total: t(s) / s["bytes"] / math.log(2)
    for name in ("shuffled", "zero", "prior"):
        result[f"nll_gap_{name}"] = lambda s, name=name: (s[name] - s["rec"]) / sentences
    if has_reference:
        result["lm_nll"] = lambda s: s["lm"] / sentences
        result["lm_gap"] = lambda s: (totals[""](s) - s["lm"]) / sentences
    return result


def latent(posterior: GaussianPosterior, scorer: Scorer, mi_batch: Optional[int]) -> Dict[str, Any]:
    """What the posteriors alone say; see evaluate."""
    mu, logvar = posterior
    size, dim = mu.shape
    noise = torch.stack(
        [pair_noise(scorer.seed, Draw.VALIDATION, [(i, k) for i in range(size)], dim) for k in range(MI_SAMPLES)]
    )
    mi, error = information(mu, logvar, noise)
    return {
        "mi": mi,
        "mi_stderr": error,
        "mi_cap": math.log(size),
        "mi_saturated": saturates(mi, size),
        "mi_batch": batch_information(mu, logvar, noise[0], mi_batch) if mi_batch else None,
        "mi_batch_size": mi_batch,
        **aggregate(mu, logvar),
        "au": active_units(mu.double().sum(0), mu.double().square().sum(0), size),
        "au_curve": active_curve(mu),
        "latent_dim": dim,
    }


def text(vae: BARTVAEHubInterface, mu: Tensor, texts: List[str], scorer: Scorer, count: int) -> Dict[str, Any]:
    """Reconstructions from mu of the first sentences, and as many samples of the prior, under `generated`."""
    count = min(count, len(texts))
    order = sorted(range(count), key=lambda index: scorer.lengths[index])  # batches of like length
    longest = min(2 * max(scorer.lengths), vae.model.max_decoder_positions() - 1)
    prior = standard_normal(scorer.seed, Draw.GENERATION, 0, range(count), mu.size(1))

    def decode(z: Tensor, beam: int, what: str) -> List[str]:
        found = []
        with tqdm(total=len(z), desc=what, unit="sentence", leave=False) as bar:
            for part in z.split(vae.batch_size):
                found += vae.decode(part, beam=beam, max_len=longest)
                bar.update(len(part))
        return found

    result: Dict[str, Any] = {"text_sentences": count, "max_len": longest}
    for beam, suffix in ((BEAM, ""), (1, "_greedy")):
        found = decode(mu[order], beam, f"reconstructions, beam {beam}")
        scores = generation.reconstruction(found, [texts[index] for index in order])
        result.update({f"{key}{suffix}": value for key, value in scores.items() if not (suffix and "signature" in key)})
    generated = decode(prior, 1, "samples of the prior")
    return {**result, **generation.samples(generated, texts), "generated": generated}


def copies(generated: List[str], task, data: str, join: Joiner) -> Optional[float]:
    """The share of the generated sentences that stand in the training text, if there is one."""
    if not os.path.exists(os.path.join(data, "train.bin")):
        return None
    task.load_dataset("train")
    sentences = tqdm(task.dataset("train").tgt, desc="training text", unit="sentence", leave=False)
    return generation.copied(generated, map(join, sentences))


def signature(model, cfg, scorer: Scorer, join: Optional[Joiner], data: str, numbers: Dict[str, Any]) -> str:
    """What a number depends on beside its definition, in sacrebleu's manner."""
    digest = hashlib.sha256()
    for symbol in scorer.dataset.tgt_dict.symbols:
        digest.update(symbol.encode() + b"\n")
    for tokens in scorer.dataset.tgt:
        digest.update(tokens.numpy().astype("<i8").tobytes())
    tokenizer = "gpt2" if join is None else join.style or type(join.bpe).__name__.lower().replace("bpe", "")
    generated = numbers.get("text_sentences")
    fields = {
        "model": getattr(cfg.model, "_name", None) or getattr(cfg.model, "arch", "bart_vae"),
        "z": model.latent_dim,
        "pooling": model.cfg.latent_pooling,
        "injection": model.cfg.latent_injection,
        "data": f"{os.path.basename(os.path.normpath(data))}#{digest.hexdigest()[:12]}",
        "split": numbers["split"],
        "tok": f"{tokenizer}/{len(scorer.dataset.tgt_dict)}",
        "prior": "N(0,I)",
        "samples": numbers["samples"],
        "seed": numbers["seed"],
        "au": ACTIVE_VARIANCE,
        "mi_samples": MI_SAMPLES,
        "bootstrap": RESAMPLES,
        "text": f"first_{generated}/beam_{BEAM}/prior_greedy/max_len_{numbers['max_len']}" if generated else "none",
        "fairseq_vae": __version__,
        "fairseq": fairseq.__version__,
        "torch": torch.__version__,
        "sacrebleu": sacrebleu.__version__,
    }
    return "|".join(f"{key}:{value}" for key, value in fields.items())
