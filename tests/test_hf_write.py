"""To Hugging Face's format, against its own implementation."""

import dataclasses
import json
from argparse import Namespace

import pytest
import torch
from helpers import arguments, bart, model, save_vae
from huggingface import MERGES, hugging_face, retensor, transformers, vocabulary

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.hf_names import gpt2_numbers
from fairseq_vae.checkpoints.hf_read import from_hf
from fairseq_vae.checkpoints.hf_write import to_hf
from fairseq_vae.cli.main import main
from fairseq_vae.flags.model import model_config


def save(path, built, arch, **settings):
    """A checkpoint as fairseq-train writes it."""
    torch.save(
        {"args": Namespace(**{**vars(arguments()), **settings, "arch": arch}), "model": built.state_dict()}, path
    )


def test_a_vae_with_cross_attention_decodes_in_hugging_face(tmp_path):
    built = model("cross-attention", std=0.3)
    save(tmp_path / "model.pt", built, "bart_vae", latent_injection="cross-attention")
    names = to_hf(str(tmp_path / "model.pt"), str(tmp_path / "hf"))
    assert names == ["model.safetensors", "latent.safetensors", "config.json"]
    huggingface = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "hf").eval()
    z = torch.randn(3, built.latent_dim)
    source, previous = torch.tensor([[0, 5, 2]]).repeat(3, 1), torch.tensor([[2, 7, 9], [2, 8, 1], [2, 10, 11]])
    with torch.no_grad():
        expected, _ = built(source, torch.tensor([3] * 3), previous, z=z)
        memory = built.encoder.memory(z).transpose(0, 1)
        encoded = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=memory)
        found = huggingface(encoder_outputs=encoded, decoder_input_ids=previous, use_cache=False).logits
    real = previous.ne(1)
    assert torch.allclose(found[real], expected[real], atol=1e-4)

    from safetensors.torch import load_file

    latent = load_file(tmp_path / "hf/latent.safetensors")
    assert latent["encoder.posterior.mu.weight"].equal(built.encoder.posterior.mu.weight)


def test_other_injections_say_why_they_cannot_be_converted(tmp_path):
    built = model("self-attention,cross-attention")
    save(tmp_path / "model.pt", built, "bart_vae", latent_injection="self-attention,cross-attention")
    with pytest.raises(InputError, match="takes z by cross-attention only"):
        to_hf(str(tmp_path / "model.pt"), str(tmp_path / "hf"))
    assert not (tmp_path / "hf").exists()


def test_a_vae_as_fairseq_saves_it_is_converted_with_its_tokenizer(tmp_path):
    """Settings as the trainer writes them: a plain dictionary, without what the architecture fills in; BPE above."""
    numbers = gpt2_numbers(MERGES)
    (tmp_path / "encoder.json").write_text(json.dumps(numbers))
    (tmp_path / "vocab.bpe").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    built = save_vae(tmp_path / "phase2", "--latent-injection=cross-attention", words=list(map(str, numbers.values())))
    state = torch.load(tmp_path / "phase2/checkpoint_best.pt")
    state["cfg"]["model"] = {
        **{field.name: field.default for field in dataclasses.fields(model_config())},
        "_name": "bart_vae_tiny",
        "latent_injection": "cross-attention",
    }
    torch.save(state, tmp_path / "phase2/checkpoint_best.pt")
    (tmp_path / "phase2/dict.txt").rename(tmp_path / "dict.txt")
    names = to_hf(str(tmp_path / "phase2/checkpoint_best.pt"), str(tmp_path / "hf"))
    assert names == ["vocab.json", "merges.txt", "model.safetensors", "latent.safetensors", "config.json"]
    huggingface = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "hf")
    assert huggingface.model.shared.weight.equal(built.encoder.embed_tokens.weight)
    assert huggingface.config.max_position_embeddings == 1024 and huggingface.config.encoder_attention_heads == 2


def test_classification_heads_are_left_out_both_ways(tmp_path, capsys):
    hugging_face(tmp_path / "hf")
    head = {"classification_head.dense.weight": torch.ones(2, 2), "classification_head.dense.bias": torch.ones(2)}
    retensor(tmp_path / "hf/model.safetensors", lambda tensors: tensors.update(head))
    assert main(["convert", "--from-hf", str(tmp_path / "hf"), "--to", str(tmp_path / "bart/model.pt")]) == 0
    assert "left out: classification_head.dense." in capsys.readouterr().out
    state = torch.load(tmp_path / "bart/model.pt")
    state["model"].update({f"classification_heads.mnli.{name}": torch.ones(2) for name in ("b", "a")})
    torch.save(state, tmp_path / "bart/model.pt")
    to_hf(str(tmp_path / "bart/model.pt"), str(tmp_path / "back"))


def test_an_archive_without_mask_goes_back(tmp_path):
    hugging_face(tmp_path / "hf")
    from_hf(str(tmp_path / "hf"), str(tmp_path / "bart/model.pt"))
    state = torch.load(tmp_path / "bart/model.pt")
    rows = state["model"]["encoder.embed_tokens.weight"][:-1].clone()
    state["model"].update({name: rows for name in state["model"] if name.endswith(TIED_ENDS)})
    torch.save(state, tmp_path / "bart/model.pt")
    to_hf(str(tmp_path / "bart/model.pt"), str(tmp_path / "back"))
    assert json.loads((tmp_path / "back/config.json").read_text())["vocab_size"] == len(vocabulary()) - 1
    assert json.loads((tmp_path / "back/vocab.json").read_text()) == json.loads(
        (tmp_path / "hf/vocab.json").read_text()
    )


TIED_ENDS = ("embed_tokens.weight", "output_projection.weight")


def test_ones_own_bart_goes_without_a_tokenizer(tmp_path, capsys):
    save(tmp_path / "model.pt", bart(), "bart_base")
    assert main(["convert", "--from", str(tmp_path / "model.pt"), "--to-hf", str(tmp_path / "hf")]) == 0
    assert "no tokenizer" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == ["config.json", "model.safetensors"]
