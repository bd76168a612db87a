"""The names that Hugging Face and fairseq give to the parts of one BART.

Names of layers are the same on both sides but for a prefix, both number positions from 2, and both start the decoder
with </s>. Different are the names of tied weights, the settings, and the vocabulary: Hugging Face's vocab.json maps
byte-level pieces to the model's ids; fairseq's dict.txt lists GPT-2's numbers of those pieces in the model's order, and
encoder.json maps pieces to GPT-2's numbers.
"""

import json
import os
from typing import Any, Dict, Iterable, Iterator, List, Tuple

from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from torch import Tensor

from ..base.errors import InputError

__all__ = [
    "HF_TIED",
    "MASK",
    "SETTINGS",
    "SIDES",
    "SPECIALS",
    "check_names",
    "expected_names",
    "gpt2_numbers",
    "read_json",
    "take_tied",
]

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
SIDES = ("encoder", "decoder")
HF_TIED = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
SETTINGS = {  # Hugging Face's name to fairseq's
    **{f"{side}_layers": f"{side}_layers" for side in SIDES},
    **{f"{side}_ffn_dim": f"{side}_ffn_embed_dim" for side in SIDES},
    **{f"{side}_attention_heads": f"{side}_attention_heads" for side in SIDES},
    **{f"{side}_layerdrop": f"{side}_layerdrop" for side in SIDES},
    "activation_function": "activation_fn",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
}


def expected_names(encoder_layers: int, decoder_layers: int) -> Iterator[str]:
    """The names of all weights of a stock BART in fairseq.

    >>> len(list(expected_names(6, 6))), next(expected_names(6, 6))
    (263, 'decoder.output_projection.weight')
    """
    yield "decoder.output_projection.weight"
    for side, layers in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        yield f"{side}.version"
        yield f"{side}.embed_tokens.weight"
        yield f"{side}.embed_positions.weight"
        attentions = ["self_attn"] if side == "encoder" else ["self_attn", "encoder_attn"]
        modules = [f"{side}.layernorm_embedding"]
        for layer in range(layers):
            for attention in attentions:
                modules += [f"{side}.layers.{layer}.{attention}.{part}_proj" for part in ("q", "k", "v", "out")]
                modules.append(f"{side}.layers.{layer}.{attention}_layer_norm")
            modules += [f"{side}.layers.{layer}.{name}" for name in ("fc1", "fc2", "final_layer_norm")]
        for module in modules:
            yield f"{module}.weight"
            yield f"{module}.bias"


def check_names(path: str, found: Iterable[str], expected: Iterable[str]) -> None:
    """Hold the names of a file's weights against those of a BART.

    Raises:
        InputError: one is missing, or one is unknown
    """
    found, expected = set(found), set(expected)
    for lack, names in (("no", sorted(expected - found)), ("an unexpected", sorted(found - expected))):
        if names:
            raise InputError(f"{path} has {lack} {names[0]} ({len(names)} such in all): expected the weights of a BART")


def take_tied(path: str, weights: Dict[str, Tensor], names: Tuple[str, ...]) -> Tensor:
    """Take the one matrix that stands under several names out of the weights.

    Args:
        path: the weights' file, for messages
        weights: changed in place
        names: HF_TIED, or fairseq's EMBEDDINGS

    Raises:
        InputError: none of the names is there, or the matrices under them differ
    """
    found = [weights.pop(name) for name in names if name in weights]
    if not found:
        raise InputError(f"{path} has no {names[0]}: expected the weights of a BART")
    if not all(matrix.shape == found[0].shape and matrix.equal(found[0]) for matrix in found):
        raise InputError(f"{path}: {', '.join(names)} differ, expected one matrix: fairseq's BART ties them")
    return found[0]


def gpt2_numbers(merges: List[str]) -> Dict[str, int]:
    """GPT-2's encoder.json, made from the merges alone: the 256 bytes, each merge's result, and the end of text.

    >>> [gpt2_numbers(["t h", "th e"])[piece] for piece in ("!", "th", "the", "<|endoftext|>")]
    [0, 256, 257, 258]
    """
    pieces = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    return {piece: number for number, piece in enumerate(pieces)}


def read_json(path: str) -> Dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        InputError: the file is missing, is not JSON, or holds something else than an object
    """
    if not os.path.isfile(path):
        folder, name = os.path.split(path)
        raise InputError(f"{folder} has no {name}: expected a folder of Hugging Face's BART, with {name}")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:  # also not UTF-8
        raise InputError(f"{path} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected an object, found a {type(found).__name__}")
    return found
