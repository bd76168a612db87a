import pytest
import torch
from fairseq.data import Dictionary
from helpers import SENTENCES, Z, batch, model

from fairseq_vae.errors import InputError
from fairseq_vae.evaluate import count_words, piece_style, sentence_nll


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
def test_words_are_counted_with_their_sentence_ends(pieces, style):
    words = dictionary(pieces)
    assert piece_style(words) == style
    sentence = [words.index(piece) for piece in pieces]
    rows = [[*sentence, words.eos()], [*sentence[:-1], words.eos(), words.pad()]]
    assert count_words(words, torch.tensor(rows), style) == 5 + 4


def test_gpt2_pieces_need_the_number_of_words():
    with pytest.raises(InputError, match="--words"):
        piece_style(dictionary(map(str, range(41000))))


def test_sentence_nll_is_the_sum_of_its_tokens():
    built, sample, z = model(std=0.3), batch(SENTENCES), torch.randn(len(SENTENCES), Z)
    with torch.no_grad():
        nll = sentence_nll(built, sample, z)
        lprobs = built(**sample["net_input"], z=z)[0].log_softmax(-1)
    for row, target in enumerate(sample["target"].tolist()):
        expected = -sum(lprobs[row, i, token].item() for i, token in enumerate(target) if token != 1)
        assert nll[row].item() == pytest.approx(expected, rel=1e-5)
