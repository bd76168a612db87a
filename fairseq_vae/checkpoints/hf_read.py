"""From Hugging Face's folder of a BART to fairseq's archive; the files are read directly."""

import argparse
import json
import os
from typing import Any, Dict, List, Tuple

import torch
from fairseq import options
from torch import Tensor

from ..base.errors import InputError
from ..base.files import complete, write_text
from .adapt import EMBEDDINGS
from .hf_names import HF_TIED, SETTINGS, SPECIALS, check_names, expected_names, gpt2_numbers, read_json, take_tied
from .hf_tokenizer import read_merges, read_vocabulary
from .read import first_line, load_safely

__all__ = ["from_hf"]

REQUIRED = {  # older configurations spell these out; any other value is another architecture than fairseq's BART
    "model_type": "bart",
    "normalize_before": False,
    "add_final_layer_norm": False,
    "normalize_embedding": True,
    "static_position_embeddings": False,
    "extra_pos_embeddings": 2,
    "decoder_start_token_id": 2,
    "tie_word_embeddings": True,
}


def from_hf(source: str, target: str) -> List[str]:
    """Convert a folder of Hugging Face's BART to a stock fairseq checkpoint (task denoising).

    Args:
        source: folder with config.json, model.safetensors or pytorch_model.bin, and vocab.json with merges.txt, or
            tokenizer.json in their place
        target: checkpoint to write; dict.txt, encoder.json and vocab.bpe are written beside it

    Returns:
        the names of the tensors left out, those of a classification head

    Raises:
        InputError: a file is missing, cut off, or holds something that BART in fairseq has no place for; then nothing
            is written
    """
    config = read_config(source)
    weights_file, weights = read_weights(source)
    vocabulary_file, vocabulary = read_vocabulary(source)
    merges_file, merges = read_merges(source)
    heads = [key for key in weights if key.startswith("classification_head.")]
    weights = {key: value for key, value in weights.items() if key not in heads}
    weights = fairseq_weights(weights_file, weights, config, vocabulary)
    encoder = gpt2_numbers(merges)
    for token in vocabulary[len(SPECIALS) : -1]:
        if token not in encoder and not token.startswith("madeupword"):
            raise InputError(
                f"{source}: no merges of {merges_file} make {vocabulary_file}'s {token!r}; is {merges_file} cut off?"
            )
    symbols = [str(encoder.get(token, token)) for token in vocabulary[len(SPECIALS) : -1]]
    state = {
        "args": stock_settings(config),
        "model": weights,
        "optimizer_history": [
            {
                "criterion_name": "CrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": None},
                "num_updates": 0,
            }
        ],
        "extra_state": {},
        "task_state": {},
        "last_optimizer_state": None,
    }
    with complete(os.path.dirname(os.path.abspath(target)), os.path.basename(target)) as new:
        write_text(new("dict.txt"), "".join(f"{symbol} 1\n" for symbol in symbols))
        write_text(new("encoder.json"), json.dumps(encoder))
        write_text(new("vocab.bpe"), "".join(f"{line}\n" for line in ["#version: 0.2", *merges]))
        with open(new(os.path.basename(target)), "wb") as file:  # by Python's file, a full disk is told as such
            torch.save(state, file)
    return heads


def read_config(folder: str) -> Dict[str, Any]:
    """Read config.json and hold it against the one architecture that fairseq's BART has.

    Raises:
        InputError: a setting has another value than fairseq's BART, or a size is missing
    """
    path = os.path.join(folder, "config.json")
    config = read_json(path)
    for key, expected in REQUIRED.items():
        if config.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {config[key]!r}, expected {expected!r}")
    needed = [key for key in (*SETTINGS, "d_model", "max_position_embeddings") if not key.endswith("layerdrop")]
    missing = [key for key in needed if key not in config]
    if missing:
        raise InputError(f"{path} has no {missing[0]}: expected the configuration of a BART")
    return config


def read_weights(folder: str) -> Tuple[str, Dict[str, Tensor]]:
    """Read the weights by safe loaders, from model.safetensors or else from pytorch_model.bin.

    Returns:
        the path of the file, and its tensors by name

    Raises:
        InputError: neither file is there, or it is cut off, or holds something else than tensors
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = os.path.join(folder, "model.safetensors")
    if os.path.isfile(path):
        try:
            return path, load_file(path)
        except (SafetensorError, ValueError, KeyError) as error:
            raise InputError(
                f"{path} ({os.path.getsize(path):,} bytes) is cut off or no safetensors file ({first_line(error)}): "
                "copy it again"
            ) from error
    path = os.path.join(folder, "pytorch_model.bin")
    if not os.path.isfile(path):
        raise InputError(f"{folder} has neither model.safetensors nor pytorch_model.bin")
    weights = load_safely(path)
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise InputError(f"{path}: expected a dictionary of tensors")
    return path, weights


def fairseq_weights(
    path: str, weights: Dict[str, Tensor], config: Dict[str, Any], vocabulary: List[str]
) -> Dict[str, Tensor]:
    """Put Hugging Face's tensors under fairseq's names, complete and nothing else.

    Args:
        path: the weights' file, for messages
        weights: Hugging Face's, without a classification head
        config: of config.json
        vocabulary: the pieces in the order of their ids; one more than the embeddings have rows if <mask> is the one
            that is missing, which then gets the mean of the others

    Raises:
        InputError: names or shapes are not those of a BART of this configuration, or a bias has no place in fairseq
    """
    weights = {key[len("model.") :] if key.startswith("model.") else key: value for key, value in weights.items()}
    bias = weights.pop("final_logits_bias", None)
    if bias is not None and bias.any():
        raise InputError(f"{path}: final_logits_bias is not zero, and fairseq's BART has no such bias")
    embedding = take_tied(path, weights, HF_TIED)  # V x C
    if len(embedding) == len(vocabulary) - 1:  # finetuned without <mask>
        embedding = torch.cat((embedding, embedding.float().mean(0, keepdim=True).to(embedding)))
    if len(embedding) != len(vocabulary):
        raise InputError(f"{path}: {len(embedding)} token embeddings, but the tokenizer has {len(vocabulary)} pieces")
    for name in EMBEDDINGS:  # one tensor under three names is stored once
        weights[name] = embedding
    weights["encoder.version"] = weights["decoder.version"] = torch.tensor([3.0])
    check_names(path, weights, expected_names(config["encoder_layers"], config["decoder_layers"]))
    width, rows = config["d_model"], config["max_position_embeddings"] + 2
    for name, shape in (
        ("encoder.embed_tokens.weight", (len(vocabulary), width)),
        ("encoder.embed_positions.weight", (rows, width)),
        ("decoder.embed_positions.weight", (rows, width)),
        ("encoder.layers.0.fc1.weight", (config["encoder_ffn_dim"], width)),
        ("decoder.layers.0.fc1.weight", (config["decoder_ffn_dim"], width)),
    ):
        if name in weights and tuple(weights[name].shape) != shape:
            raise InputError(f"{path}: {name} is {tuple(weights[name].shape)}, by config.json expected {shape}")
    return weights


def stock_settings(config: Dict[str, Any]) -> argparse.Namespace:
    """The settings that a published archive of this configuration has: all that fairseq-train would put there.

    Raises:
        InputError: this fairseq's own denoising task cannot be configured
    """
    sizes = {name: config.get(key, 0.0) for key, name in SETTINGS.items()}
    sizes["encoder_embed_dim"] = sizes["decoder_embed_dim"] = config["d_model"]
    positions = config["max_position_embeddings"]
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in sizes.items()]
    flags += [f"--max-source-positions={positions}", f"--max-target-positions={positions}"]
    flags += ["--task=denoising", "--arch=bart_base", "--criterion=cross_entropy", "--optimizer=adam", "--bpe=gpt2"]
    try:
        settings = options.parse_args_and_arch(options.get_training_parser(), input_args=[".", *flags])
    except argparse.ArgumentError as error:
        raise InputError(f"this fairseq cannot configure its own denoising task ({error}); use a newer one") from error
    settings.no_scale_embedding = not config.get("scale_embedding", False)
    settings.tokens_per_sample = min(settings.tokens_per_sample, positions)
    return settings
