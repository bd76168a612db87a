"""Tokens to text, for each kind of dictionary."""

import pytest
import torch
from denoising import build
from fairseq.data import Dictionary, encoders
from helpers import save_vae, write_gpt2, write_sentencepiece
from omegaconf import OmegaConf

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.text import Joiner, LineByLine, build_bpe, find_bpe, piece_style, pieces_of


def dictionary(symbols):
    result = Dictionary()
    for symbol in symbols:
        result.add_symbol(symbol)
    return result


@pytest.mark.parametrize(
    "pieces, style",
    [
        (["the", "dog", "barks", "."], "none"),
        (["the", "do@@", "g", "bark@@", "s", "."], "subword_nmt"),
        (["\u2581the", "\u2581do", "g", "\u2581bark", "s", "\u2581."], "sentencepiece"),
    ],
)
def test_pieces_are_joined_by_their_marks(pieces, style):
    words = dictionary(pieces)
    assert piece_style(words) == style
    tokens = torch.tensor([*map(words.index, pieces), words.eos(), words.pad(), words.pad()])
    assert Joiner(words, None)(tokens) == "the dog barks ."


def test_gpt2_pieces_need_their_bpe_or_the_number_of_words():
    with pytest.raises(InputError, match="encoder.json and vocab.bpe.*--words"):
        Joiner(dictionary(map(str, range(41000))), None)


def test_a_bpe_that_is_named_must_be_there(tmp_path):
    assert find_bpe([str(tmp_path)]) is None
    with pytest.raises(InputError, match="bpe sentencepiece: no sentencepiece.bpe.model in"):
        find_bpe([str(tmp_path)], "sentencepiece")
    with pytest.raises(InputError, match="bpe bert: expected auto or one of gpt2, sentencepiece"):
        find_bpe([str(tmp_path)], "bert")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """sentencepiece.bpe.model with a piece for each byte."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "pieces").write_text("\n".join(write_sentencepiece(folder, byte_fallback=True)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pieces(folder):
    return (folder / "pieces").read_text(encoding="utf-8").split("\n")


UNSEEN = [
    "caf\u00e9 \U0001f600",
    "\u05e9\u05dc\u05d5\u05dd",
    "the \u65e5\u672c\u8a9e dog",
    "stra\u00dfe",
]  # in training


@pytest.mark.parametrize("text", UNSEEN)
def test_pieces_of_bytes_come_back_as_characters(folder, pieces, text):
    settings, words = find_bpe([str(folder)]), dictionary(pieces)
    encoded = build_bpe(settings).encode(text)
    assert "<0x" in encoded
    assert Joiner(words, settings)(words.encode_line(encoded, add_if_not_exist=False)) == text


@pytest.mark.parametrize("text", UNSEEN)
def test_fairseqs_commands_get_the_same_decoder_from_the_task(folder, pieces, text):
    built = task(folder, pieces)
    cfg = OmegaConf.create({"_name": "sentencepiece", "sentencepiece_model": str(folder / "sentencepiece.bpe.model")})
    bpe = built.build_bpe(cfg)
    assert bpe.decode(bpe.encode(text)) == text
    assert encoders.build_bpe(cfg).decode(bpe.encode(text)) != text, "fairseq's own"
    assert bpe.decode(bpe.encode("\ufeffa") + " <0x0A> <0x0D> <0x41>") == "a  A", "a line's output is a line"
    assert built.build_bpe(OmegaConf.create({"_name": "characters"})).decode("a b") == "ab", "others are fairseq's own"


def task(folder, pieces):
    (folder / "dict.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    return build(str(folder))


def test_symbols_that_the_model_has_no_piece_for_stay_as_they_are_written(folder, pieces):
    bpe = build_bpe(find_bpe([str(folder)]))
    assert bpe.decode("\u2581a <unk> \u2581a <mask> <mask> \u2581a") == "a<unk> a<mask><mask> a"
    assert bpe.decode("<unk> \u2581a \u2581none") == "<unk> a none" and bpe.decode("") == ""
    assert bpe.decode("\u2581a <<unk>> \u2581a") == "a<<unk>> a"


def test_gpt2_keeps_symbols_that_are_no_numbers_of_its(tmp_path):
    write_gpt2(tmp_path)
    bpe = build_bpe(find_bpe([str(tmp_path)]))
    assert bpe.decode(f"{bpe.encode('a dog')} <unk> <<unk>> 99999 {bpe.encode(' the')}") == "a dog<unk><<unk>>99999 the"


def test_pieces_of_bytes_need_their_model_or_the_number_of_words(pieces):
    with pytest.raises(InputError, match="sentencepiece with pieces of single bytes: put its sentencepiece.bpe.model"):
        Joiner(dictionary(pieces), None)


def test_a_mark_of_the_dictionary_in_words_is_refused(folder):
    words = dictionary(["a", "dog"])
    for mark in "<s>", "</s>", "<pad>":
        with pytest.raises(InputError, match=f"{mark} stands in the text, which the dictionary reads as a mark"):
            pieces_of(f"a {mark} dog", None, words)
    assert pieces_of("a <unk> cat", None, words) == ["a", "<unk>", "<unk>"]


def test_half_of_a_surrogate_pair_is_refused_in_a_line(folder):
    bpe = LineByLine(build_bpe(find_bpe([str(folder)])).bpe)
    with pytest.raises(InputError, match="has half of a surrogate pair at character 1"):
        bpe.encode("a\ud800")


def test_a_hub_reads_and_writes_any_script(tmp_path, pieces, folder):
    from fairseq_vae.hub import load

    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/sentencepiece.bpe.model").write_bytes((folder / "sentencepiece.bpe.model").read_bytes())
    save_vae(tmp_path / "vae", words=pieces)
    vae = load(str(tmp_path / "vae/checkpoint_best.pt"), str(tmp_path / "vae"))
    for text in UNSEEN:
        assert vae.join(vae.tokens(f" {text}\n")) == text and vae.tokens(text).equal(vae.tokens(f"\ufeff{text}"))
    vae.model.decoder.output_projection.weight.data[:] = 0
    favourite = [vae.task.target_dictionary.index(f"<0x{byte:02X}>") for byte in "\U0001f600".encode()]
    vae.model.decoder.output_projection.weight.data[favourite] += torch.rand(len(favourite), 1)
    texts = vae.sample(3, max_len=9) + vae.reconstruct(UNSEEN, max_len=9)
    assert not any("<0x" in text for text in texts) and any("\ufffd" in text for text in texts), texts
    with pytest.raises(InputError, match="half of a surrogate pair"):
        vae.encode("a\ud800b")
    with pytest.raises(InputError, match="expected 1 to"):
        vae.encode(["a", "\u200b"])
