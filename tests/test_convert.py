"""Conversion to and from Hugging Face's format, against its own implementation."""

import dataclasses
import json
import re
from argparse import Namespace

import pytest
import torch
from fairseq.models.bart import BARTModel
from helpers import arguments, bart, model, save_vae

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.convert import from_hf, gpt2_numbers, to_hf
from fairseq_vae.cli.main import main
from fairseq_vae.model import BARTVAEConfig

transformers = pytest.importorskip("transformers")

MERGES = ["t h", "Ġ th", "Ġth e", "d o", "Ġ do", "Ġdo g"]
SHAPES = {
    "tiny": {"d_model": 16, "layers": 2, "heads": 2, "ffn": 32},
    "base": {"d_model": 768, "layers": 6, "heads": 12, "ffn": 3072},
    "large": {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096},
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


def batch():
    """Source and decoder input with padding on the right, as both libraries have it."""
    source = torch.tensor([[0, 14, 25, 36, 47, 2], [0, 50, 2, 1, 1, 1], [0, 8, 9, 10, 2, 1]])
    previous = torch.tensor([[2, 14, 25, 36, 47], [2, 50, 1, 1, 1], [2, 8, 9, 10, 1]])
    return source, previous


def logits_of(huggingface, source, previous):
    with torch.no_grad():
        return huggingface(
            input_ids=source, attention_mask=source.ne(1).long(), decoder_input_ids=previous, use_cache=False
        ).logits


def stock(folder):
    return BARTModel.from_pretrained(
        str(folder),
        bpe="gpt2",
        gpt2_encoder_json=str(folder / "encoder.json"),
        gpt2_vocab_bpe=str(folder / "vocab.bpe"),
    ).eval()


@pytest.mark.parametrize(
    "shape, options",
    [
        ("tiny", {}),
        ("tiny", {"safe": False}),
        ("tiny", {"scale_embedding": True}),
        ("tiny", {"activation_function": "relu"}),
        pytest.param("base", {}, marks=pytest.mark.slow),
        pytest.param("large", {}, marks=pytest.mark.slow),
    ],
)
def test_logits_equal_hugging_faces_there_and_back(tmp_path, shape, options):
    huggingface = hugging_face(tmp_path / "hf", shape, **options)
    from_hf(str(tmp_path / "hf"), str(tmp_path / "fairseq/model.pt"))
    loaded = stock(tmp_path / "fairseq")
    source, previous = batch()
    real = previous.ne(1)
    expected = logits_of(huggingface, source, previous)[real]
    with torch.no_grad():
        found = loaded.model(source, source.ne(1).sum(1), previous)[0][real]
    assert expected.std() > 0.1 and torch.allclose(found, expected, atol=1e-4)
    assert loaded.encode("the dog").tolist()[1:-1] == [vocabulary().index(piece) for piece in ("th", "e", "Ġdog")], (
        "the words' numbers are Hugging Face's"
    )
    assert loaded.decode(loaded.encode("a dog, the dog")) == "a dog, the dog"

    to_hf(str(tmp_path / "fairseq/model.pt"), str(tmp_path / "back"))
    back = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "back").eval()
    assert torch.allclose(logits_of(back, source, previous)[real], expected, atol=1e-4)
    assert json.loads((tmp_path / "back/vocab.json").read_text()) == json.loads(
        (tmp_path / "hf/vocab.json").read_text()
    )
    assert (tmp_path / "back/merges.txt").read_text() == (tmp_path / "hf/merges.txt").read_text()
    tokenizer = transformers.BartTokenizer.from_pretrained(tmp_path / "back")
    assert tokenizer("the dog")["input_ids"] == loaded.encode("the dog").tolist()


def test_tied_weights_are_stored_once(tmp_path):
    hugging_face(tmp_path / "hf")
    from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    state = torch.load(tmp_path / "out/model.pt")["model"]
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
    assert len({state[name].untyped_storage().data_ptr() for name in names}) == 1


def test_the_encoder_of_gpt2_is_rebuilt_in_its_order():
    numbers = gpt2_numbers(MERGES)
    assert [numbers[piece] for piece in ("!", "~", "¡", "ÿ", "Ā", "Ġ", "Ń")] == [0, 93, 94, 187, 188, 220, 255]
    assert (numbers["th"], numbers["Ġdog"], numbers["<|endoftext|>"]) == (256, 261, 262)


def test_a_model_finetuned_without_mask_gets_one(tmp_path):
    huggingface = hugging_face(tmp_path / "hf", rows=len(vocabulary()) - 1)
    from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    rows = stock(tmp_path / "out").model.encoder.embed_tokens.weight
    shared = huggingface.model.shared.weight
    assert rows[:-1].equal(shared) and torch.allclose(rows[-1], shared.mean(0), atol=1e-6)


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
        **{field.name: field.default for field in dataclasses.fields(BARTVAEConfig)},
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


def cut(path, keep=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def retensor(path, change):
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda hf: (hf / "config.json").unlink(), "has no config.json"),
        (lambda hf: (hf / "vocab.json").unlink(), "has no vocab.json"),
        (lambda hf: (hf / "merges.txt").unlink(), "has no merges.txt"),
        (lambda hf: (hf / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
        (lambda hf: cut(hf / "model.safetensors"), r"model.safetensors \([\d,]+ bytes\) is cut off"),
        (lambda hf: (hf / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda hf: edit(hf / "config.json", model_type="mbart"), "model_type is 'mbart', expected 'bart'"),
        (lambda hf: edit(hf / "config.json", encoder_layers=3), "has no encoder.layers.2"),
        (lambda hf: edit(hf / "config.json", encoder_layers=1), "an unexpected encoder.layers.1"),
        (lambda hf: edit(hf / "vocab.json", dog=9000), "expected the ids 0 to"),
        (lambda hf: edit(hf / "vocab.json", dog=len(vocabulary())), "<mask> last"),
        (
            lambda hf: retensor(hf / "model.safetensors", lambda t: t.update(final_logits_bias=torch.ones(1, 5))),
            "final_logits_bias is not zero",
        ),
        (
            lambda hf: retensor(hf / "model.safetensors", lambda t: t.update({"lm_head.weight": torch.ones(2, 2)})),
            "differ, expected one matrix",
        ),
        (
            lambda hf: retensor(hf / "model.safetensors", lambda t: t.update(other=torch.ones(1))),
            "an unexpected other",
        ),
        (lambda hf: (hf / "merges.txt").write_text("#version: 0.2\na b c\n"), "merge 1 is 'a b c'"),
        (lambda hf: cut(hf / "merges.txt", 0.7), "no merges of merges.txt make vocab.json's 'Ġdog'"),
        (lambda hf: edit(hf / "config.json", encoder_ffn_dim=40), r"fc1.weight is \(32, 16\), .*expected \(40, 16\)"),
        (lambda hf: edit(hf / "config.json", max_position_embeddings=30), r"embed_positions.weight is \(34, 16\)"),
    ],
)
def test_a_bad_folder_is_one_line_and_leaves_nothing_behind(tmp_path, capsys, spoil, message):
    hugging_face(tmp_path / "hf")
    spoil(tmp_path / "hf")
    assert main(["convert", "--from-hf", str(tmp_path / "hf"), "--to", str(tmp_path / "out/model.pt")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(tmp_path / "hf") in error
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path):
    hugging_face(tmp_path / "hf")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dict.txt").write_text("mine")
    with pytest.raises(InputError, match="dict.txt is there already"):
        from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dict.txt"]


def test_arguments_must_pair(tmp_path, capsys):
    assert main(["convert", "--from-hf", "a", "--to-hf", "b"]) == 1
    assert "--from-hf DIR with --to FILE" in capsys.readouterr().err
