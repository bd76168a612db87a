"""From Hugging Face's format, against its own implementation; and back."""

import json

import pytest
import torch
from fairseq.models.bart import BARTModel
from huggingface import cut, edit, hugging_face, logits_of, retensor, save_tokenizer, transformers, vocabulary

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.hf_read import from_hf
from fairseq_vae.checkpoints.hf_write import to_hf


def batch():
    """Source and decoder input with padding on the right, as both libraries have it."""
    source = torch.tensor([[0, 14, 25, 36, 47, 2], [0, 50, 2, 1, 1, 1], [0, 8, 9, 10, 2, 1]])
    previous = torch.tensor([[2, 14, 25, 36, 47], [2, 50, 1, 1, 1], [2, 8, 9, 10, 1]])
    return source, previous


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
        ("deep", {}),
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


def test_a_folder_as_hugging_face_saves_it_is_read(tmp_path):
    """Release 5 writes tokenizer.json alone; earlier ones write its pieces to files of their own."""
    hugging_face(tmp_path / "hf")
    from_hf(str(tmp_path / "hf"), str(tmp_path / "by hand/model.pt"))
    tokenizer = save_tokenizer(tmp_path / "hf")
    from_hf(str(tmp_path / "hf"), str(tmp_path / "saved/model.pt"))
    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        assert (tmp_path / "saved" / name).read_text() == (tmp_path / "by hand" / name).read_text()
    assert tokenizer("the dog")["input_ids"] == stock(tmp_path / "saved").encode("the dog").tolist()


def as_tokenizer(folder, change=lambda tokenizer: None):
    """Put tokenizer.json in the place of vocab.json and merges.txt, with merges as older releases write them."""
    ids = json.loads((folder / "vocab.json").read_text())
    tokenizer = {
        "added_tokens": [{"id": ids["<mask>"], "content": "<mask>"}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": ids, "merges": (folder / "merges.txt").read_text().splitlines()[1:]},
    }
    change(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()


def test_merges_of_either_form_are_read(tmp_path):
    def pairs(tokenizer):
        tokenizer["model"]["merges"] = [merge.split() for merge in tokenizer["model"]["merges"]]

    for name, change in (("strings", lambda tokenizer: None), ("pairs", pairs)):
        hugging_face(tmp_path / name)
        as_tokenizer(tmp_path / name, change)
        from_hf(str(tmp_path / name), str(tmp_path / f"{name} out/model.pt"))
    first, second = ((tmp_path / f"{name} out/vocab.bpe").read_text() for name in ("strings", "pairs"))
    assert first == second and "Ġdo g" in first


def test_tied_weights_are_stored_once(tmp_path):
    hugging_face(tmp_path / "hf")
    from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    state = torch.load(tmp_path / "out/model.pt")["model"]
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
    assert len({state[name].untyped_storage().data_ptr() for name in names}) == 1


def test_a_model_finetuned_without_mask_gets_one(tmp_path):
    huggingface = hugging_face(tmp_path / "hf", rows=len(vocabulary()) - 1)
    from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    rows = stock(tmp_path / "out").model.encoder.embed_tokens.weight
    shared = huggingface.model.shared.weight
    assert rows[:-1].equal(shared) and torch.allclose(rows[-1], shared.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda hf: (hf / "config.json").unlink(), "has no config.json"),
        (lambda hf: (hf / "vocab.json").unlink(), "has no vocab.json and no tokenizer.json"),
        (lambda hf: (hf / "merges.txt").unlink(), "has no merges.txt and no tokenizer.json"),
        (lambda hf: as_tokenizer(hf, lambda t: t.update(normalizer={"type": "NFC"})), "expected those of a BART"),
        (lambda hf: as_tokenizer(hf, lambda t: t["model"].update(type="Unigram")), "are Unigram, ByteLevel, None"),
        (lambda hf: as_tokenizer(hf, lambda t: t["model"].pop("merges")), "tokenizer.json has no merges"),
        (lambda hf: as_tokenizer(hf, lambda t: t.pop("added_tokens")), "tokenizer.json has no added_tokens"),
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
        (lambda hf: cut(hf / "merges.txt", 0.66), "no merges of merges.txt make vocab.json's 'Ġdog'"),
        (lambda hf: edit(hf / "config.json", encoder_ffn_dim=40), r"fc1.weight is \(32, 16\), .*expected \(40, 16\)"),
        (lambda hf: edit(hf / "config.json", max_position_embeddings=30), r"embed_positions.weight is \(34, 16\)"),
    ],
)
def test_a_bad_folder_is_one_line_and_leaves_nothing_behind(tmp_path, spoil, message):
    hugging_face(tmp_path / "hf")
    spoil(tmp_path / "hf")
    with pytest.raises(InputError, match=message) as error:
        from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    assert "\n" not in str(error.value) and str(tmp_path / "hf") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path):
    hugging_face(tmp_path / "hf")
    from_hf(str(tmp_path / "hf"), str(tmp_path / "fairseq/model.pt"))
    (tmp_path / "out").mkdir()
    for name, convert in (
        (".model.pt.part", lambda: from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))),
        (".model.safetensors.part", lambda: to_hf(str(tmp_path / "fairseq/model.pt"), str(tmp_path / "out"))),
    ):
        (tmp_path / "out" / name).symlink_to("/dev/full")
        with pytest.raises(InputError, match=f"{tmp_path}/out cannot be written .No space left on device.") as error:
            convert()
        assert "\n" not in str(error.value) and not list((tmp_path / "out").iterdir())


def test_nothing_is_overwritten(tmp_path):
    hugging_face(tmp_path / "hf")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dict.txt").write_text("mine")
    with pytest.raises(InputError, match="dict.txt is there already"):
        from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dict.txt"]
