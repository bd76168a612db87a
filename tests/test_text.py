"""Tokens to text, for each kind of dictionary."""

import pytest
import torch
from fairseq.data import Dictionary

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.text import Joiner, find_bpe, piece_style


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
