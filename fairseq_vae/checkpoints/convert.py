"""BART checkpoints between Hugging Face's folders and fairseq's archives; the files are read directly.

Names of layers are the same on both sides but for a prefix, both number positions from 2, and both start the decoder
with </s>. Different are the names of tied weights, the settings, and the vocabulary: Hugging Face's vocab.json maps
byte-level pieces to the model's ids; fairseq's dict.txt lists GPT-2's numbers of those pieces in the model's order, and
encoder.json maps pieces to GPT-2's numbers.
"""

import argparse
import contextlib
import json
import os
import re
from argparse import Namespace
from typing import Any, Dict, Iterator, List, Tuple

import torch
from fairseq import options
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from fairseq.models.bart.model import bart_base_architecture
from torch import Tensor

from ..base.errors import InputError
from .adapt import COPIES, LATENT_KEYS
from .read import first_line, folders, load_safely, model_settings, read_checkpoint

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
SIDES = ("encoder", "decoder")
TIED = (  # one matrix under several names, Hugging Face's and fairseq's
    ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"),
    ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight"),
)
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
        source: folder with config.json, model.safetensors or pytorch_model.bin, vocab.json, merges.txt
        target: checkpoint to write; dict.txt, encoder.json and vocab.bpe are written beside it

    Returns:
        the names of tensors left out: a classification head's

    Raises:
        InputError: a file is missing, cut off, or holds something that BART in fairseq has no place for; then nothing
            is written
    """
    path = os.path.join(source, "config.json")
    config = read_json(path)
    for key, expected in REQUIRED.items():
        if config.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {config[key]!r}, expected {expected!r}")
    needed = [key for key in (*SETTINGS, "d_model", "max_position_embeddings") if not key.endswith("layerdrop")]
    missing = [key for key in needed if key not in config]
    if missing:
        raise InputError(f"{path} has no {missing[0]}: expected the configuration of a BART")
    weights_file, weights = read_weights(source)
    vocabulary = read_vocabulary(source)
    merges = read_merges(source)
    heads = [key for key in weights if key.startswith("classification_head.")]
    weights = {key: value for key, value in weights.items() if key not in heads}
    weights = fairseq_weights(weights_file, weights, config, vocabulary)
    encoder = gpt2_numbers(merges)
    for token in vocabulary[len(SPECIALS) : -1]:
        if token not in encoder and not token.startswith("madeupword"):
            raise InputError(f"{source}: no merges of merges.txt make vocab.json's {token!r}; is merges.txt cut off?")
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
        torch.save(state, new(os.path.basename(target)))
    return heads


def to_hf(source: str, target: str) -> List[str]:
    """Convert a fairseq checkpoint of BART, or of a VAE with cross-attention injection, to a folder of Hugging Face's.

    The VAE's pooling, posterior and memory layers go to latent.safetensors under fairseq_vae's names: what they make of
    a sentence, M x B x C, is, transposed, the `encoder_outputs` that Hugging Face's decoder reads.

    Args:
        source: the checkpoint; dict.txt, encoder.json and vocab.bpe beside or above it become the tokenizer's files
        target: folder to write config.json, model.safetensors, vocab.json and merges.txt to; a finetuned BART's
            classification heads are left out

    Returns:
        the names of the files written

    Raises:
        InputError: Hugging Face's BART has no place for something in it; then nothing is written
    """
    from safetensors.torch import save_file

    state = read_checkpoint(source)
    settings = model_settings(state)
    if not settings.arch.startswith(("bart", "mbart")):
        raise InputError(f"{source} is of architecture {settings.arch}, expected a BART's or bart_vae's")
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
    latent = {key: value.contiguous() for key, value in state["model"].items() if key.startswith(LATENT_KEYS)}
    weights = hf_weights(source, {key: value for key, value in state["model"].items() if key not in latent})
    rows, width = weights["model.shared.weight"].shape
    config = {
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
        "torch_dtype": str(weights["model.shared.weight"].dtype).split(".")[-1],
    }
    tokenizer: Dict[str, str] = {}
    for folder in folders(source):
        tokenizer = tokenizer or hf_tokenizer(folder, rows)
    with complete(os.path.abspath(target), "config.json") as new:
        for name, text in tokenizer.items():
            write_text(new(name), text)
        save_file(weights, new("model.safetensors"), metadata={"format": "pt"})
        if latent:
            save_file(latent, new("latent.safetensors"), metadata={"format": "pt"})
        write_text(new("config.json"), json.dumps(config, indent=2) + "\n")
    return [*tokenizer, "model.safetensors", *(["latent.safetensors"] if latent else []), "config.json"]


def read_json(path: str) -> Dict[str, Any]:
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


def read_weights(folder: str) -> Tuple[str, Dict[str, Tensor]]:
    """The weights' file and its tensors, by safe loaders."""
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


def read_vocabulary(folder: str) -> List[str]:
    """The pieces of vocab.json in the order of their ids."""
    path = os.path.join(folder, "vocab.json")
    ids = read_json(path)
    vocabulary = sorted(ids, key=ids.get)
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{path}: expected the ids 0 to {len(ids) - 1}, each once")
    if tuple(vocabulary[: len(SPECIALS)]) != SPECIALS or vocabulary[-1] != MASK:
        raise InputError(f"{path}: expected {' '.join(SPECIALS)} first and {MASK} last, as in every BART")
    return vocabulary


def read_merges(folder: str) -> List[str]:
    """The merges of merges.txt, without its header."""
    path = os.path.join(folder, "merges.txt")
    if not os.path.isfile(path):
        raise InputError(f"{folder} has no merges.txt: expected a folder of Hugging Face's BART, with merges.txt")
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    bad = [number for number, line in enumerate(merges, 1) if len(line.split(" ")) != 2]
    if bad:
        raise InputError(f"{path}: merge {bad[0]} is {merges[bad[0] - 1]!r}, expected two pieces")
    return merges


def gpt2_numbers(merges: List[str]) -> Dict[str, int]:
    """GPT-2's encoder.json, from the merges alone: the 256 bytes, each merge's result, and the end of text."""
    pieces = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    return {piece: number for number, piece in enumerate(pieces)}


def tied(path: str, weights: Dict[str, Tensor], names: Tuple[str, ...]) -> Tensor:
    """Take the one matrix that stands under several names out of the weights."""
    found = [weights.pop(name) for name in names if name in weights]
    if not found:
        raise InputError(f"{path} has no {names[0]}: expected the weights of a BART")
    if not all(matrix.shape == found[0].shape and matrix.equal(found[0]) for matrix in found):
        raise InputError(f"{path}: {', '.join(names)} differ, expected one matrix: fairseq's BART ties them")
    return found[0]


def fairseq_weights(path: str, weights: Dict[str, Tensor], config: Dict[str, Any], vocabulary: List[str]):
    """Hugging Face's tensors under fairseq's names, complete and nothing else."""
    weights = {key[len("model.") :] if key.startswith("model.") else key: value for key, value in weights.items()}
    bias = weights.pop("final_logits_bias", None)
    if bias is not None and bias.any():
        raise InputError(f"{path}: final_logits_bias is not zero, and fairseq's BART has no such bias")
    embedding = tied(path, weights, TIED[0])
    if len(embedding) == len(vocabulary) - 1:  # finetuned without <mask>
        embedding = torch.cat((embedding, embedding.float().mean(0, keepdim=True).to(embedding)))
    if len(embedding) != len(vocabulary):
        raise InputError(f"{path}: {len(embedding)} token embeddings, but vocab.json has {len(vocabulary)} pieces")
    for name in TIED[1]:  # one tensor under three names is stored once
        weights[name] = embedding
    weights["encoder.version"] = weights["decoder.version"] = torch.tensor([3.0])
    expected = set(expected_names(config["encoder_layers"], config["decoder_layers"]))
    for what, names in (("no", sorted(expected - set(weights))), ("an unexpected", sorted(set(weights) - expected))):
        if names:
            raise InputError(f"{path} has {what} {names[0]} ({len(names)} such in all): expected the weights of a BART")
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


def expected_names(encoder_layers: int, decoder_layers: int) -> Iterator[str]:
    """The names of all of a stock BART's weights in fairseq."""
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


def stock_settings(config: Dict[str, Any]) -> Namespace:
    """Settings as the published archives have them: a Namespace with all that fairseq-train would have put there."""
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


def hf_weights(path: str, weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """fairseq's tensors under Hugging Face's names."""
    left_out = re.compile(rf".*\.(plugin_)?version|classification_heads\..*|{COPIES.pattern}")
    weights = {key: value for key, value in weights.items() if not left_out.fullmatch(key)}
    embedding = tied(path, weights, TIED[1])
    layers = [1 + max(int(key.split(".")[2]) for key in weights if key.startswith(f"{side}.layers.")) for side in SIDES]
    names = {name for name in expected_names(*layers) if name not in TIED[1] and not name.endswith("version")}
    for what, keys in (("no", sorted(names - set(weights))), ("an unexpected", sorted(set(weights) - names))):
        if keys:
            raise InputError(f"{path} has {what} {keys[0]} ({len(keys)} such in all): expected the weights of a BART")
    result = {f"model.{name}": weights[name].contiguous() for name in sorted(names)}
    result["model.shared.weight"] = embedding.contiguous()
    result["final_logits_bias"] = torch.zeros(1, len(embedding), dtype=embedding.dtype)
    return result


def hf_tokenizer(folder: str, rows: int) -> Dict[str, str]:
    """The text of vocab.json and merges.txt, from dict.txt, encoder.json and vocab.bpe in the folder; nothing if they
    are not all there, since Hugging Face's BART has byte-level BPE only."""
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


@contextlib.contextmanager
def complete(folder: str, last: str):
    """Write files into a folder all or none: `new(name)` gives a temporary path; they are renamed at the end, `last`
    after the others.

    Raises:
        InputError: one of them is there already
    """
    names: List[str] = []
    made = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)

    def new(name: str) -> str:
        if os.path.exists(os.path.join(folder, name)):
            raise InputError(f"{os.path.join(folder, name)} is there already: give another folder, or delete it")
        names.append(name)
        return os.path.join(folder, f".{name}.part")

    try:
        yield new
        for name in sorted(names, key=lambda name: name == last):
            os.replace(os.path.join(folder, f".{name}.part"), os.path.join(folder, name))
    except BaseException:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, f".{name}.part"))
        if made:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise


def write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
