"""Tiny BARTs as Hugging Face's library writes them, and the ways to spoil them."""

import json

import torch
import transformers

from fairseq_vae.checkpoints.hf_names import gpt2_numbers

MERGES = ["t h", "Ġ th", "Ġth e", "d o", "Ġ do", "Ġdo g"]
SHAPES = {
    "tiny": {"d_model": 16, "layers": 2, "heads": 2, "ffn": 32},
    "base": {"d_model": 768, "layers": 2, "heads": 12, "ffn": 3072},  # of 6
    "large": {"d_model": 1024, "layers": 2, "heads": 16, "ffn": 4096},  # of 12, the number of "deep"
    "deep": {"d_model": 16, "layers": 12, "heads": 2, "ffn": 32},
}


def vocabulary(fillers=3):
    """Of a BART with few merges: specials, the pieces in another order than GPT-2's, the end of text, fillers, mask."""
    pieces = list(reversed([piece for piece in gpt2_numbers(MERGES) if piece != "<|endoftext|>"]))
    words = [*pieces, "<|endoftext|>", *(f"madeupword{i:04d}" for i in range(fillers))]
    return ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]


def hugging_face(folder, shape="tiny", safe=True, rows=None, **config):
    """A folder of random weights as Hugging Face's own library writes it."""
    size = SHAPES[shape]
    words = vocabulary()
    built = transformers.BartForConditionalGeneration(
        transformers.BartConfig(
            vocab_size=rows or len(words),
            d_model=size["d_model"],
            max_position_embeddings=32,
            **{f"{side}_layers": size["layers"] for side in ("encoder", "decoder")},
            **{f"{side}_attention_heads": size["heads"] for side in ("encoder", "decoder")},
            **{f"{side}_ffn_dim": size["ffn"] for side in ("encoder", "decoder")},
            **config,
        )
    ).eval()
    with torch.no_grad():
        for parameter in built.parameters():  # nothing at zero or one, where a mistake would hide
            parameter.add_(0.02 * torch.randn_like(parameter))
    folder.mkdir(parents=True, exist_ok=True)
    if safe:
        built.save_pretrained(folder)
    else:
        built.config.save_pretrained(folder)
        torch.save(built.state_dict(), folder / "pytorch_model.bin")
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")
    return built


def logits_of(huggingface, source, previous):
    with torch.no_grad():
        return huggingface(
            input_ids=source, attention_mask=source.ne(1).long(), decoder_input_ids=previous, use_cache=False
        ).logits


def save_tokenizer(folder):
    """The tokenizer as Hugging Face's library itself saves it, in place of the files that hugging_face wrote."""
    built = transformers.BartTokenizer.from_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    built.save_pretrained(folder)
    return built


def cut(path, keep=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def retensor(path, change):
    """Change the tensors of a safetensors file in place."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
