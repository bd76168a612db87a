"""A checkpoint's weights made to fit a model: keys of BART, of older plug-ins and of training alone, and dictionaries.

The functions work on state dicts. A checkpoint's is changed in place; the model's own is only read.
"""

import logging
import re
from typing import Dict, Iterable, Sequence, Tuple

from fairseq.data import Dictionary
from torch import Tensor

from ..base.errors import InputError
from ..base.version import __version__
from ..objective.terms import has_parameters, terms

__all__ = [
    "ALIGNMENT",
    "PRETRAINED",
    "TARGET_ENCODER",
    "VERSION_KEY",
    "adapt",
    "check_architecture",
    "check_origin",
    "fit_dictionary",
    "latent_keys",
    "published_words",
    "training_keys",
]

logger = logging.getLogger(__name__)

StateDict = Dict[str, Tensor]

VERSION_KEY = "encoder.plugin_version"
TARGET_ENCODER = "encoder.target_encoder."
ALIGNMENT = "align."
PRETRAINED = f"{ALIGNMENT}pretrained."
EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
COPIES = re.compile(r"encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)")  # fairseq 0.12.2's own
GPT2_WORDS = 50257  # symbols of GPT-2's byte-level BPE; they come first in the dictionary of every published BART
GPT2_SYMBOLS = sorted(map(str, range(GPT2_WORDS)))
OWN_FLAGS = {  # that decide over tensors of these prefixes
    "encoder.prior.": "--latent-prior and its own flags",
    "encoder.posterior.": "--latent-posterior and its own flags, --latent-pooling, --latent-vectors",
    "encoder.memory.": "--latent-vectors, --latent-dim, --latent-injection",
    TARGET_ENCODER: "--target-encoder, --target-encoder-layers",
}
PUBLISHED_ROWS = {  # rows of the token embeddings in circulation
    50264: "bart.large finetuned without <mask>",
    50265: "bart.large, Hugging Face's base and large",
    51200: "bart.base finetuned without <mask>",
    51201: "bart.base",
}


def training_keys() -> Tuple[str, ...]:
    """Prefixes of the weights that only training needs; a model makes them new where a checkpoint lacks them."""
    return ("rate_controller.", *(f"{name}." for name in terms.names() if has_parameters(terms[name])))


def latent_keys() -> Tuple[str, ...]:
    """Prefixes of weights that a BART checkpoint does not have."""
    parts = ("posterior", "memory", "prior", "source_pooling", "target_encoder")
    return (*(f"encoder.{part}." for part in parts), *training_keys())


def check_origin(state_dict: StateDict, checkpoint: str) -> None:
    """Refuse weights that are not of a BART, and weights that a newer plug-in wrote.

    Args:
        state_dict: the checkpoint's weights
        checkpoint: the checkpoint's name for messages, e.g. "checkpoint model.pt"

    Raises:
        InputError: the weights have no token embeddings, or a newer minor version of fairseq-vae wrote them
    """
    if EMBEDDINGS[0] not in state_dict:
        raise InputError(
            f"{checkpoint} has no encoder.embed_tokens: expected the weights of bart, bart_vae or bart_cvae"
        )
    if VERSION_KEY not in state_dict:  # the oldest checkpoints
        return
    # major, minor, patch; an average of checkpoints is of a version between theirs, and rounded
    version = [round(part, 3) for part in state_dict[VERSION_KEY].tolist()]
    if version[:2] > [int(part) for part in __version__.split(".")][:2]:
        raise InputError(
            f"{checkpoint} was written by fairseq-vae {'.'.join(f'{part:g}' for part in version)}; this is "
            f"{__version__}: upgrade fairseq-vae"
        )


def adapt(
    state_dict: StateDict,
    own: StateDict,
    dictionary: Dictionary,
    checkpoint: str,
    cross_attention: bool,
    heads: int = 0,
    optional: Sequence[str] = (),
) -> None:
    """Make a checkpoint's weights fit a model.

    A BART checkpoint gets the model's latent layers, as they were initialised, an encoder of targets and a frozen one
    that are its own encoder, and loses the cross-attention that the injection does not use. A VAE checkpoint gets the
    layers of training alone and the optional state that it lacks, and loses those that the model lacks; either is
    logged. A frozen encoder that it has it keeps: that of the BART with which the first of several phases began.

    Args:
        state_dict: the checkpoint's weights, changed in place
        own: the model's weights
        dictionary: the model's
        checkpoint: the checkpoint's name for messages
        cross_attention: whether the model's decoder has cross-attention
        heads: number of tensors of classification heads that were left out before
        optional: names of tensors and modules that a flag adds to the architecture or leaves out

    Raises:
        InputError: the checkpoint is of another dictionary
    """
    for key in {**state_dict, **own}:
        if COPIES.fullmatch(key):  # fairseq 0.12.2 makes these from the other weights after loading
            state_dict.pop(key, None)
            if key in own:
                state_dict[key] = own[key]
    fit_dictionary(state_dict, dictionary, checkpoint)
    # fairseq's upgrade of weights marks the version of every encoder of the model
    if any(key.startswith(latent_keys()) and not key.startswith(TARGET_ENCODER) for key in state_dict):
        fit_optional(state_dict, own, optional)
        return
    left_out = [key for key in state_dict if ".encoder_attn" in key and not cross_attention]
    for key in left_out:
        del state_dict[key]
    reused = len(state_dict) - 1  # without the version, which is not of BART
    new = {key: value for key, value in own.items() if key.startswith(latent_keys())}
    new.update({key: copied(key, state_dict, value) for key, value in new.items()})
    state_dict.update(new)
    logger.info(f"BART checkpoint: {reused} tensors reused")
    logger.info(f"BART checkpoint: {len(new)} latent tensors new: {listed(new)}")
    logger.info(
        f"BART checkpoint: {len(left_out)} tensors of cross-attention left out, which the injection does not use, and "
        f"{heads} of classification heads"
    )


def copied(key: str, state_dict: StateDict, value: Tensor) -> Tensor:
    """What a checkpoint's encoder has for a tensor of an encoder that begins as a copy of it.

    Args:
        key: the tensor's name
        state_dict: the checkpoint's weights
        value: returned for other tensors
    """
    prefix = next((prefix for prefix in (TARGET_ENCODER, PRETRAINED) if key.startswith(prefix)), key)
    return state_dict.get(f"encoder.{key[len(prefix) :]}", value)


def listed(keys: Iterable[str]) -> str:
    """Tensors' names for a message; those of a whole encoder are one."""
    return ", ".join(dict.fromkeys(PRETRAINED[:-1] if key.startswith(PRETRAINED) else key for key in keys))


RESTORED = "; with --restore-file give --reset-optimizer: the saved optimizer has other tensors"


def fit_optional(state_dict: StateDict, own: StateDict, optional: Sequence[str]) -> None:
    """Add to a VAE checkpoint what it may lack, as the model initialised it, and take out what the model may lack.

    A checkpoint may lack a prior's weights, since its prior may have had none, and an encoder of targets, which then
    begins as its encoder is: with as many layers as have read targets there, the posterior stays. Of a name in
    `optional` it has all tensors or none; a checkpoint with some of them is broken, and is left as it is.

    Args:
        state_dict: the checkpoint's weights, changed in place
        own: the model's weights
        optional: names of tensors and modules
    """
    new = [key for key in own if key.startswith(training_keys()) and key not in state_dict]
    old = [key for key in state_dict if key.startswith(training_keys()) and key not in own]
    for name in (*optional, "encoder.prior", TARGET_ENCODER[:-1]):
        here, there = ([key for key in keys if f"{key}.".startswith(f"{name}.")] for keys in (own, state_dict))
        there = [key for key in there if not key.endswith(".version")]  # the mark of fairseq's upgrade, not a weight
        if not there:
            new += here
        elif not here and name in optional:
            old += there
    new, old = list(dict.fromkeys(new)), list(dict.fromkeys(old))  # names of parts may overlap
    state_dict.update({key: copied(key, state_dict, own[key]) for key in new})
    for key in old:
        del state_dict[key]
    if new:
        logger.info(f"VAE checkpoint: {len(new)} tensors new: {listed(new)}{RESTORED}")
    if old:
        logger.info(
            f"VAE checkpoint: {len(old)} tensors left out, since no flag asks for them: {listed(old)}{RESTORED}"
        )


def fit_dictionary(state_dict: StateDict, dictionary: Dictionary, checkpoint: str) -> None:
    """Give the token embeddings of a published BART one row for each symbol of the data's dictionary.

    The archives and their conversions have the same words in the same order. They differ in filler words, which no text
    has, and some of them end with <mask>.

    Args:
        state_dict: the checkpoint's weights, changed in place
        dictionary: the data's
        checkpoint: the checkpoint's name for messages

    Raises:
        InputError: the rows are neither the dictionary's nor a published BART's
    """
    rows = len(state_dict[EMBEDDINGS[0]])
    copies = [
        key
        for key in state_dict
        if key.startswith((PRETRAINED, TARGET_ENCODER)) and key.endswith("embed_tokens.weight")
    ]
    if rows == len(dictionary):
        for key in copies:  # fairseq has taken the row of <mask>, the last one, from BART's own tables alone
            if len(state_dict[key]) == rows + 1:
                state_dict[key] = state_dict[key][:rows]
        return
    words = published_words(dictionary)
    if not words or rows not in PUBLISHED_ROWS:
        owner = PUBLISHED_ROWS.get(rows)
        raise InputError(
            f"{checkpoint} has a dictionary of {rows} symbols, the data's dict.txt gives {len(dictionary)}. To the "
            f"checkpoint belongs a dict.txt of {rows - 5} lines ({rows}, without 4 specials and "
            f"<mask>{'; ' + owner if owner else ''}): binarise the data with it (fairseq-preprocess --srcdict)"
        )
    has_mask = rows % 8 == 1  # fairseq fills dictionaries up to a multiple of 8, then adds <mask>
    mask = dictionary.index("<mask>")
    for key in (*EMBEDDINGS, *copies):
        old = state_dict[key]
        new = old[:words].mean(0, keepdim=True).repeat(len(dictionary), 1)
        common = min(rows - has_mask, len(dictionary) - (mask != dictionary.unk()))
        new[:common] = old[:common]
        if has_mask and mask != dictionary.unk():
            new[mask] = old[-1]
        state_dict[key] = new
    logger.info(
        f"BART checkpoint: token embeddings cut or filled up from {rows} rows to the dictionary's {len(dictionary)}; "
        f"{'<mask> kept' if has_mask else '<mask> new, at the mean of the words'}, no word lost"
    )


def check_architecture(state_dict: StateDict, own: StateDict, checkpoint: str) -> None:
    """Refuse a checkpoint whose names or shapes differ from a model's, with the difference in one line.

    fairseq's own check would hide the difference behind a traceback.

    Args:
        state_dict: the checkpoint's weights
        own: the model's weights
        checkpoint: the checkpoint's name for messages

    Raises:
        InputError: a tensor is missing, unknown, or of another shape
    """
    there, here = map(kind, (state_dict, own))
    remedy = "Give the --arch, sizes and latent flags that it was trained with"
    if there and here and there != here:
        raise InputError(
            f"{checkpoint} is of another architecture: a {there}, not a {here}. {remedy}, or a checkpoint of bart or "
            "of the same --arch"
        )
    differing = [
        f"{key} ({shape(state_dict[key])} there, {shape(value)} here)"
        for key, value in own.items()
        if key in state_dict and state_dict[key].shape != value.shape
    ]
    missing = [key for key in own if key not in state_dict]
    extra = [key for key in state_dict if key not in own]
    if differing or missing or extra:
        found = (*differing, *missing, *extra)
        flags = [text for prefix, text in OWN_FLAGS.items() if any(key.startswith(prefix) for key in found)]
        look = f" (look at {', '.join(dict.fromkeys(', '.join(flags).split(', ')))})" if flags else ""
        parts = [
            f"{len(keys)} {fault}, e.g. {keys[0]}"
            for fault, keys in (("of another shape", differing), ("missing", missing), ("unknown", extra))
            if keys
        ]
        raise InputError(
            f"{checkpoint} is of another architecture: {'; '.join(parts)}. {remedy}{look}, or a checkpoint of bart or "
            "of the same --arch"
        )


def kind(weights: StateDict) -> str:
    """The model that weights are of, by what their posterior reads: a sentence, or source and target; else empty."""
    head, table = weights.get("encoder.posterior.mu.weight"), weights.get(EMBEDDINGS[0])
    if head is None or table is None:
        return ""
    return {table.size(-1): "bart_vae", 2 * table.size(-1): "bart_cvae"}.get(head.size(-1), "")


def shape(tensor: Tensor) -> str:
    """A tensor's sizes as messages write them, e.g. "6x16"."""
    return "x".join(map(str, tensor.shape))


def published_words(dictionary: Dictionary) -> int:
    """The number of specials and words of a published BART's dictionary.

    It has GPT-2's 50,257 symbols, then only filler words, and perhaps <mask>.

    Returns:
        50,261, or 0 for any other dictionary
    """
    words = dictionary.nspecial + GPT2_WORDS
    rest = dictionary.symbols[words:]
    fillers = all(symbol.startswith("madeupword") or symbol == "<mask>" for symbol in rest)
    return words if fillers and sorted(dictionary.symbols[dictionary.nspecial : words]) == GPT2_SYMBOLS else 0
