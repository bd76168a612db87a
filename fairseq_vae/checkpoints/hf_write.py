"""From fairseq's checkpoint of a BART, or of a VAE with cross-attention injection, to Hugging Face's folder."""

import json
import os
import re
from argparse import Namespace
from typing import Any, Dict, List

import torch
from fairseq.models.bart.model import bart_base_architecture
from torch import Tensor

from ..base.errors import InputError
from ..base.files import complete, write_bytes, write_text
from .adapt import ALIGNMENT, COPIES, EMBEDDINGS, latent_keys
from .hf_names import MASK, SETTINGS, SIDES, SPECIALS, check_names, expected_names, read_json, take_tied
from .read import folders, model_settings, read_checkpoint

__all__ = ["to_hf"]


def to_hf(source: str, target: str) -> List[str]:
    """Convert a fairseq checkpoint of BART, or of a VAE with cross-attention injection, to a folder of Hugging Face's.

    The VAE's pooling, posterior and memory layers go to latent.safetensors under fairseq_vae's names. The memory that
    they make of a sentence, M x B x C, is, transposed, the `encoder_outputs` that Hugging Face's decoder reads.

    Args:
        source: the checkpoint; dict.txt, encoder.json and vocab.bpe beside or above it become the tokenizer's files
        target: folder to write config.json, model.safetensors, vocab.json and merges.txt to; a finetuned BART's
            classification heads are left out

    Returns:
        the names of the files written

    Raises:
        InputError: Hugging Face's BART has no place for something in it; then nothing is written
    """
    from safetensors.torch import save  # to memory: save_file has temporary files of its own, which a kill leaves

    state = read_checkpoint(source)
    settings = checked_settings(source, state)
    # without the frozen encoder, which is as large as the one that it was
    kept = {key: value for key, value in state["model"].items() if not key.startswith(ALIGNMENT)}
    latent = {key: value.contiguous() for key, value in kept.items() if key.startswith(latent_keys())}
    weights = hf_weights(source, {key: value for key, value in kept.items() if key not in latent})
    config = hf_config(settings, weights["model.shared.weight"])
    tokenizer: Dict[str, str] = {}
    for folder in folders(source):
        tokenizer = tokenizer or hf_tokenizer(folder, config["vocab_size"])
    with complete(os.path.abspath(target), "config.json") as new:
        for name, text in tokenizer.items():
            write_text(new(name), text)
        write_bytes(new("model.safetensors"), save(weights, metadata={"format": "pt"}))
        if latent:
            write_bytes(new("latent.safetensors"), save(latent, metadata={"format": "pt"}))
        write_text(new("config.json"), json.dumps(config, indent=2) + "\n")
    return [*tokenizer, "model.safetensors", *(["latent.safetensors"] if latent else []), "config.json"]


def checked_settings(source: str, state: Dict[str, Any]) -> Namespace:
    """A checkpoint's settings of its model, with BART's own defaults for those that it lacks.

    Raises:
        InputError: the model is no BART, or one that Hugging Face's BART cannot be
    """
    settings = model_settings(state)
    if not settings.arch.startswith(("bart", "mbart")):
        raise InputError(f"{source} is of architecture {settings.arch}, expected a BART's or bart_vae's")
    if settings.arch.startswith("bart_cvae"):
        raise InputError(
            f"{source} is of bart_cvae, whose decoder reads z and a source: Hugging Face's BART has no place for z; "
            "expected a BART or bart_vae"
        )
    injection = getattr(settings, "latent_injection", "cross-attention")
    if settings.arch.startswith("bart_vae") and injection != "cross-attention":
        raise InputError(
            f"{source} has --latent-injection {injection}: Hugging Face's decoder takes z by cross-attention only: "
            "train the VAE with --latent-injection cross-attention to convert it"
        )
    bart_base_architecture(settings)
    expected = {"encoder_normalize_before": False, "decoder_normalize_before": False, "layernorm_embedding": True}
    expected.update(share_all_embeddings=True, encoder_learned_pos=True, decoder_learned_pos=True)
    expected.update(max_source_positions=settings.max_target_positions, no_token_positional_embeddings=False)
    for key, value in expected.items():
        if getattr(settings, key, False) != value:
            raise InputError(f"{source}: {key} is {getattr(settings, key, False)}, for Hugging Face expected {value}")
    return settings


def hf_config(settings: Namespace, embedding: Tensor) -> Dict[str, Any]:
    """The contents of config.json.

    Args:
        settings: of the model
        embedding: of the tokens, V x C
    """
    rows, width = embedding.shape
    return {
        "architectures": ["BartForConditionalGeneration"],
        **{key: getattr(settings, name, 0.0) for key, name in SETTINGS.items()},
        "model_type": "bart",
        "d_model": width,
        "vocab_size": rows,
        "max_position_embeddings": settings.max_target_positions,
        "scale_embedding": not settings.no_scale_embedding,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        **{"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
        "forced_eos_token_id": 2,
        "torch_dtype": str(embedding.dtype).split(".")[-1],
    }


def hf_weights(path: str, weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Put fairseq's tensors under Hugging Face's names.

    Args:
        path: the checkpoint, for messages
        weights: fairseq's, without latent layers

    Raises:
        InputError: the names are not those of a BART, or tied weights differ
    """
    left_out = re.compile(rf".*\.(plugin_)?version|classification_heads\..*|{COPIES.pattern}")
    weights = {key: value for key, value in weights.items() if not left_out.fullmatch(key)}
    embedding = take_tied(path, weights, EMBEDDINGS)
    layers = [1 + max(int(key.split(".")[2]) for key in weights if key.startswith(f"{side}.layers.")) for side in SIDES]
    names = {name for name in expected_names(*layers) if name not in EMBEDDINGS and not name.endswith("version")}
    check_names(path, weights, names)
    result = {f"model.{name}": weights[name].contiguous() for name in sorted(names)}
    result["model.shared.weight"] = embedding.contiguous()
    result["final_logits_bias"] = torch.zeros(1, len(embedding), dtype=embedding.dtype)
    return result


def hf_tokenizer(folder: str, rows: int) -> Dict[str, str]:
    """Make the tokenizer's files from dict.txt, encoder.json and vocab.bpe.

    Args:
        folder: where these three may lie
        rows: of the token embeddings

    Returns:
        the text of vocab.json and of merges.txt by name; nothing unless all three are there, since Hugging Face's BART
        has byte-level BPE only

    Raises:
        InputError: dict.txt has another number of symbols than the embeddings
    """
    paths = [os.path.join(folder, name) for name in ("dict.txt", "encoder.json", "vocab.bpe")]
    if not all(map(os.path.isfile, paths)):
        return {}
    with open(paths[0], encoding="utf-8") as file:
        symbols = [line.rsplit(" ", 1)[0] for line in file.read().splitlines()]
    if len(symbols) + len(SPECIALS) not in (rows, rows - 1):  # without and with <mask>
        raise InputError(
            f"{paths[0]} has {len(symbols)} lines, expected {rows - len(SPECIALS) - 1} for the {rows} token embeddings"
        )
    pieces = {str(number): piece for piece, number in read_json(paths[1]).items()}
    vocabulary = [*SPECIALS, *(pieces.get(symbol, symbol) for symbol in symbols), MASK]
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    with open(paths[2], encoding="utf-8") as file:
        return {"vocab.json": json.dumps(ids, ensure_ascii=False), "merges.txt": file.read()}
