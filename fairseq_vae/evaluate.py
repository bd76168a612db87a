"""How good a text VAE is, and whether it uses z: plain numbers for one split."""

import math
from typing import Any, Dict, Iterator, Optional

import fairseq
import torch
from fairseq import utils
from torch import Tensor
from tqdm import tqdm

from . import __version__
from .checkpoints import folders, load_model
from .errors import InputError
from .latent import GaussianPosterior
from .likelihood import nll_each
from .metrics import Diagnosis, active_units, diagnose, mutual_information, perplexity
from .noise import Draw, standard_normal
from .text import Joiner, find_bpe


def evaluate(
    checkpoint: str, data: str, split: str = "test", words: Optional[int] = None, max_tokens: int = 4096
) -> Dict[str, Any]:
    """Evaluate a checkpoint on a split, with one sample of z a sentence (of an autoencoder's too) and no weights.

    Args:
        checkpoint, data: files of the model and folder of the binarised text
        split: one of the folder's
        words: the split's words and sentence ends, for `ppl_word`; counted from the pieces if None
        max_tokens: tokens in a batch; changes nothing but speed and memory

    Returns:
        `rec`, `kl`, `neg_elbo`: nats a sentence
        `ppl_word`, `ppl_token`: exp(neg_elbo / words), / tokens, both with one end a sentence
        `mi`, `mi_cap`: mutual information over the whole split and log of its sentences, nats
        `au`: active units, `latent_dim` at most
        `gap`, `gap_low`, `gap_high`: by how many nats a sentence another sentence's z explains it worse than its own,
            and the 95 % interval (normal approximation)
        `diagnosis`, `diagnosis_message`: what is wrong with the use of z, in a word ("ok": nothing) and in a line
        `sentences`, `words`, `tokens`: the denominators
        `signature`: how the numbers were made
    """
    # every sentence counts: one that is too long is refused
    model, cfg, task = load_model(checkpoint, data, skip_invalid_size_inputs_valid_test=False)
    join = Joiner(task.target_dictionary, find_bpe(folders(checkpoint, data))) if words is None else None
    if words is not None and words < 1:
        raise InputError(f"--words {words}: expected 1 or more")
    task.load_dataset(split)
    dataset = task.dataset(split)
    longest = int(max(dataset.num_tokens_vec(range(len(dataset)))))
    if longest > max_tokens:
        raise InputError(f"--max-tokens {max_tokens}: expected at least {longest}, the split's longest sentence")
    device = next(model.parameters()).device
    size = len(dataset)
    if size < 2:
        raise InputError(f"--split {split}: one sentence; expected 2 or more, to tell its z from another's")
    mu, logvar = torch.empty(2, size, model.latent_dim, device=device)
    for sample in batches(model, task, dataset, max_tokens, "posteriors"):
        posterior = model.encoder.infer(**encoder_input(sample))
        mu[sample["id"]], logvar[sample["id"]] = posterior.mu, posterior.logvar
    posterior = GaussianPosterior(mu, logvar)
    noise = standard_normal(cfg.common.seed, Draw.VALIDATION, 0, range(size), model.latent_dim).to(device)
    z = posterior.rsample(noise)

    rec, gap = torch.empty(2, size, dtype=torch.float64)
    counted = tokens = 0
    for sample in batches(model, task, dataset, max_tokens, "likelihoods"):
        own = sentence_nll(model, sample, z[sample["id"]])
        other = sentence_nll(model, sample, z[(sample["id"] + 1) % size])  # the next sentence of the text
        ids = sample["id"].cpu()
        rec[ids], gap[ids] = own.double().cpu(), (other - own).double().cpu()
        tokens += sample["ntokens"]
        if words is None:
            counted += sum(len(join(row).split()) + 1 for row in sample["target"])
    words = counted if words is None else words
    kl = posterior.kl().sum(1).mean().item()
    neg_elbo = rec.mean().item() + kl
    if kl:
        problem = diagnose(kl, gap.mean().item(), model.latent_dim) or Diagnosis("ok", "z is used")
    else:  # exactly
        problem = Diagnosis("no z", "the model has none: --zero-latent")
    half_width = 1.96 * gap.std().item() / math.sqrt(size)
    return {
        "rec": rec.mean().item(),
        "kl": kl,
        "neg_elbo": neg_elbo,
        "ppl_word": perplexity(neg_elbo * size / words),
        "ppl_token": perplexity(neg_elbo * size / tokens),
        "mi": mutual_information(mu, logvar, noise),
        "mi_cap": math.log(size),
        "diagnosis": problem.name,
        "diagnosis_message": problem.message,
        "au": active_units(mu.double().sum(0), mu.double().square().sum(0), size),
        "latent_dim": model.latent_dim,
        "gap": gap.mean().item(),
        "gap_low": gap.mean().item() - half_width,
        "gap_high": gap.mean().item() + half_width,
        "sentences": size,
        "words": words,
        "tokens": tokens,
        "signature": f"split:{split}|prior:N(0,I)|samples:1|seed:{cfg.common.seed}|au:0.01|fairseq_vae:{__version__}"
        f"|fairseq:{fairseq.__version__}|torch:{torch.__version__}",
    }


def batches(model, task, dataset, max_tokens: int, what: str) -> Iterator[Dict[str, Any]]:
    """All sentences once, on the model's device, without gradients, under a progress bar."""
    iterator = task.get_batch_iterator(
        dataset,
        max_tokens=max_tokens,
        max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions()),
        required_batch_size_multiple=1,
    ).next_epoch_itr(shuffle=False)
    device = next(model.parameters()).device
    with torch.no_grad():
        for sample in tqdm(iterator, desc=what, leave=False):
            yield utils.move_to_cuda(sample, device) if device.type == "cuda" else sample


def encoder_input(sample: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in sample["net_input"].items() if key != "prev_output_tokens"}


def sentence_nll(model, sample: Dict[str, Any], z: Tensor) -> Tensor:
    """-log p(x|z) of each sentence in nats, B."""
    hidden, _ = model(**sample["net_input"], z=z, features_only=True)
    target = sample["target"]
    real = target.ne(model.decoder.padding_idx)
    nll = torch.zeros(target.shape, device=target.device)
    nll[real] = nll_each(hidden[real], model.decoder.output_projection.weight, target[real])
    return nll.sum(1)
