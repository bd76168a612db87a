"""The corpus of odd and bad text, through the checks and the encoding of `fairseq-vae finetune`, in this process."""

import pytest
import torch
from fairseq.data import Dictionary
from helpers import write_gpt2, write_sentencepiece
from text_cases import CASES, EXACT

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.text import Joiner, build_bpe, find_bpe
from fairseq_vae.finetune.encode import Limit, check_lines, encode, loss

LIMIT = Limit(1000, "the test takes", "")
NAMES = [case[0] for case in CASES]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Each tokenizer's settings and its dictionary."""
    folder = tmp_path_factory.mktemp("tokenizers")
    found = {}
    for name, pieces in (
        ("sentencepiece", write_sentencepiece(folder / "sentencepiece", byte_fallback=True)),
        ("gpt2", write_gpt2(folder / "gpt2")),
    ):
        dictionary = Dictionary()
        for piece in pieces:
            dictionary.add_symbol(piece)
        found[name] = find_bpe([str(folder / name)]), dictionary
    return found


def test_the_corpus_has_as_many_cases_as_it_promises_each_once():
    assert len(set(NAMES)) == len(CASES) >= 60
    assert len({content for _, content, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize("kind", ["sentencepiece", "gpt2"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_text_is_refused_in_one_line_or_comes_back_as_the_corpus_says(case, kind, tokenizers, tmp_path):
    _, content, *expected = case
    expected = expected[kind == "gpt2"]
    path = tmp_path / "text.txt"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    settings, dictionary = tokenizers[kind]
    if isinstance(expected, str) and expected != EXACT:
        with pytest.raises(InputError) as error:
            check_lines(path)
            encode(path, build_bpe(settings), dictionary, LIMIT)
        message = str(error.value)
        assert message.startswith(str(path)) and expected in message and "\n" not in message and len(message) < 400
        return
    given = content[: -1 if content.endswith("\n") else None].split("\n")
    lines = given if expected == EXACT else [a if b == EXACT else b for a, b in zip(given, expected)]
    found = encode(path, build_bpe(settings), dictionary, LIMIT)
    tokens = [dictionary.encode_line(pieces, add_if_not_exist=False) for pieces in found.pieces]
    assert check_lines(path) == len(tokens) and not any((row == dictionary.unk()).any() for row in tokens)
    assert [Joiner(dictionary, settings)(row) for row in tokens] == lines
    # what is said of the loss: the lines that the reading left whole and the tokenizer changed
    changed = [n for n, (a, b) in enumerate(zip(found.lines, lines), 1) if a != b]
    assert [number for number, _ in found.changed] == changed
    assert (loss([found]) is None) == (not changed)
    if changed:
        assert f"{len(changed)} of {len(lines)} lines" in loss([found]) and f"text.txt, line {changed[0]}: " in loss(
            [found]
        )


@pytest.mark.parametrize("kind", ["sentencepiece", "gpt2"])
def test_any_tokens_become_text_that_any_file_takes(kind, tokenizers):
    """Broken sequences of bytes, as a model may write them, are U+FFFD and never an error."""
    settings, dictionary = tokenizers[kind]
    join, random = Joiner(dictionary, settings), torch.Generator().manual_seed(1)
    for _ in range(300):
        tokens = torch.randint(dictionary.nspecial - 1, len(dictionary), (12,), generator=random)
        join(tokens).encode("utf-8")


@pytest.mark.parametrize("kind", ["sentencepiece", "gpt2"])
@pytest.mark.parametrize("broken", ["f09f98", "c0", "eda080", "80", "ff", "e228a1"])
def test_bytes_that_are_no_utf8_become_replacement_characters_and_the_rest_stays(kind, broken, tokenizers):
    settings, dictionary = tokenizers[kind]
    bpe = build_bpe(settings)

    def pieces(content):
        """Of each byte alone."""
        if kind == "gpt2":
            return [str(bpe.bpe.bpe.encoder[bpe.bpe.bpe.byte_encoder[byte]]) for byte in content]
        return [f"<0x{byte:02X}>" for byte in content]

    whole = [*bpe.encode("a").split(), *pieces("\u00e9".encode()), *pieces(bytes.fromhex(broken)), *pieces(b"z")]
    text = Joiner(dictionary, settings)(torch.tensor([*map(dictionary.index, whole), dictionary.eos()]))
    assert text.startswith("a\u00e9\ufffd") and text.endswith("z") and set(text[2:-1]) <= {"\ufffd", "("}
