"""Between text and tokens: the BPE that lies beside a checkpoint, and how pieces join to words."""

import itertools
import os
import re
from typing import Any, Dict, List, Optional, Protocol, Sequence

import torch
from fairseq import utils
from fairseq.data import Dictionary, encoders
from fairseq.data.data_utils import post_process
from fairseq.tokenizer import tokenize_line
from omegaconf import OmegaConf
from torch import Tensor

from .errors import InputError, reported
from .lines import one_line, sentence

__all__ = [
    "BPE",
    "Exact",
    "Joiner",
    "LineByLine",
    "bpe_flags",
    "build_bpe",
    "find_bpe",
    "lacking",
    "of_pieces",
    "piece_style",
    "pieces_of",
    "read_dictionary",
]

FILES = {  # fairseq's name of a BPE, its settings, and the files they have in BART's archives
    "gpt2": {"gpt2_encoder_json": "encoder.json", "gpt2_vocab_bpe": "vocab.bpe"},
    "sentencepiece": {"sentencepiece_model": "sentencepiece.bpe.model"},
}


class BPE(Protocol):
    """fairseq's encoders of text: pieces are separated by spaces."""

    def encode(self, x: str) -> str:
        """The pieces of a text."""

    def decode(self, x: str) -> str:
        """The text of pieces."""


def read_dictionary(path: str) -> Dictionary:
    """Read a dict.txt.

    Raises:
        InputError: it is no dictionary of fairseq's
    """
    try:
        return Dictionary.load(path)
    except Exception as error:  # of a bad line, or of bytes that are no UTF-8
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no dictionary ({reason}): expected lines of a symbol and its count") from error


def find_bpe(folders: Sequence[str], name: str = "auto") -> Optional[Dict[str, str]]:
    """Find the first BPE whose files lie in one of the folders.

    Args:
        folders: in the order in which they are searched
        name: "gpt2" or "sentencepiece"; "auto" takes either

    Returns:
        fairseq's settings (`bpe` and paths), or None if "auto" finds none

    Raises:
        InputError: the name is unknown, or no folder has its files
    """
    if name not in ("auto", *FILES):
        raise InputError(f"bpe {name}: expected auto or one of {', '.join(FILES)}")
    for folder in folders:
        for bpe, files in FILES.items():
            paths = {setting: os.path.join(folder, file) for setting, file in files.items()}
            if name in ("auto", bpe) and all(map(os.path.isfile, paths.values())):
                return {"bpe": bpe, **paths}
    if name == "auto":
        return None
    raise InputError(f"bpe {name}: no {' and '.join(FILES[name].values())} in {' or '.join(folders)}")


def build_bpe(settings: Dict[str, str]) -> "Exact":
    """Build fairseq's own encoder of these settings, as find_bpe returns them, with an exact decoder.

    Raises:
        InputError: its files cannot be read
    """
    rest = {key: value for key, value in settings.items() if key != "bpe"}
    try:
        return Exact(encoders.build_bpe(OmegaConf.create({"_name": settings["bpe"], **rest})))
    except ImportError:
        raise  # it names the package
    except Exception as error:  # of JSON, UTF-8, or sentencepiece's own
        reason = " ".join(str(error).split())
        raise InputError(f"{' or '.join(rest.values())} cannot be read ({reason}): copy it again") from error


class Exact:
    """A BPE of fairseq's whose decoder gives back the text that the tokenizer read.

    fairseq decodes sentencepiece by replacing marks in strings, which writes the pieces of single bytes out as <0xF0>.
    Here the model itself decodes its pieces. Bytes that are no UTF-8 become U+FFFD, with either BPE. Symbols that the
    BPE has no piece for, such as <unk> and <mask>, stay as they are written.

    Args:
        bpe: fairseq's, of either kind

    Attributes:
        name: "sentencepiece" or "gpt2"
    """

    def __init__(self, bpe: Any):
        self.bpe = bpe
        self.name = type(bpe).__name__.lower().replace("bpe", "")
        self.model: Any = getattr(bpe, "sp", None)

    def known(self, piece: str) -> bool:
        """Whether the BPE has a piece."""
        if self.model is None:
            return piece.isdecimal() and int(piece) in self.bpe.bpe.decoder
        return self.model.piece_to_id(piece) != self.model.unk_id()

    def encode(self, x: str) -> str:
        """The pieces of a text, as fairseq's encoder gives them."""
        return self.bpe.encode(x)

    def decode(self, x: str) -> str:
        """The text of pieces."""
        text = ""
        for known, group in itertools.groupby(filter(None, x.split(" ")), self.known):
            run = list(group)
            text += self.joined(run, inside=bool(text)) if known else "".join(run).replace("\u2581", " ")
        return text.strip(" ") if self.model is not None else text

    def joined(self, pieces: Sequence[str], inside: bool) -> str:
        """The text of pieces that the BPE has.

        Args:
            pieces: one or more
            inside: whether something stands before them, so that their first space counts
        """
        if self.model is None:
            return self.bpe.decode(" ".join(pieces))
        ids = [self.model.piece_to_id(piece) for piece in pieces]
        if not inside:
            return self.model.decode(ids)
        unknown = self.model.unk_id()  # before it, in place of what stands there
        return self.model.decode([unknown, *ids])[len(self.model.decode([unknown])) :]


class LineByLine(Exact):
    """The BPE of a command that reads and writes a sentence a line: the input checked, the output a single line."""

    @reported()
    def encode(self, x: str) -> str:
        """The pieces of a line's sentence.

        Raises:
            InputError: see lines.sentence
        """
        return super().encode(sentence(x))

    def decode(self, x: str) -> str:
        """The text of pieces, with a space for each line end that a model makes of bytes."""
        return one_line(super().decode(x))


def bpe_flags(settings: Dict[str, str]) -> List[str]:
    """The flags of fairseq's commands for these settings, as find_bpe returns them.

    >>> bpe_flags({"bpe": "sentencepiece", "sentencepiece_model": "bart/sentencepiece.bpe.model"})
    ['--bpe=sentencepiece', '--sentencepiece-model=bart/sentencepiece.bpe.model']
    """
    return [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]


def lacking(dictionary: Dictionary) -> Optional[str]:
    """What alone can join a dictionary's pieces, because they stand for bytes; None if their marks can.

    Returns:
        a tokenizer with its files, for messages
    """
    symbols = dictionary.symbols[dictionary.nspecial :]
    if len(symbols) > 40000 and all(symbol.isdigit() for symbol in symbols[:1000]):
        return "GPT-2 BPE: put its encoder.json and vocab.bpe"
    if any(re.fullmatch("<0x[0-9A-F]{2}>", symbol) for symbol in symbols):
        return "sentencepiece with pieces of single bytes: put its sentencepiece.bpe.model"
    return None


def of_pieces(dictionary: Dictionary) -> bool:
    """Whether a dictionary's symbols are pieces of words."""
    return bool(lacking(dictionary)) or piece_style(dictionary) != "none"


def piece_style(dictionary: Dictionary) -> str:
    """fairseq's name for the way in which a dictionary's pieces join to words (`--post-process`), told by their marks.

    sentencepiece marks with U+2581, subword-nmt with @@; tokens without marks are words.

    Returns:
        "sentencepiece", "subword_nmt" or "none"

    Raises:
        InputError: the dictionary's pieces stand for bytes, so that only their tokenizer can join them
    """
    tokenizer = lacking(dictionary)
    if tokenizer:
        raise InputError(
            f"this dictionary is of {tokenizer} beside the checkpoint or the data; for an evaluation it is enough to "
            "give the split's words, one more for each sentence (--words)"
        )
    symbols = dictionary.symbols[dictionary.nspecial :]
    if any(symbol.startswith("\u2581") for symbol in symbols):
        return "sentencepiece"
    return "subword_nmt" if any(symbol.endswith("@@") for symbol in symbols) else "none"


def pieces_of(line: str, bpe: Optional[BPE], dictionary: Dictionary) -> List[str]:
    """The pieces that fairseq will read of a sentence, <unk> for those that the dictionary lacks.

    Args:
        line: a sentence
        bpe: None takes the sentence's words for its pieces
        dictionary: that the pieces are binarised with

    Raises:
        InputError: the dictionary reads a piece as a sentence's start or end, or as padding
    """
    pieces = tokenize_line(bpe.encode(line) if bpe else line)
    for piece in (dictionary.bos_word, dictionary.eos_word, dictionary.pad_word):
        if piece in pieces:
            raise InputError(f"{piece} stands in the text, which the dictionary reads as a mark: write it otherwise")
    return [piece if piece in dictionary.indices else dictionary.unk_word for piece in pieces]


class Joiner:
    """From tokens to text: by the BPE if there is one, else by the marks on the dictionary's pieces.

    Args:
        dictionary: of the tokens
        settings: of the BPE, as find_bpe returns them

    Attributes:
        bpe: the BPE, if there is one
        style: otherwise, how pieces join; see piece_style

    Raises:
        InputError: there is no BPE, and the dictionary's pieces stand for bytes
    """

    def __init__(self, dictionary: Dictionary, settings: Optional[Dict[str, str]]):
        self.dictionary = dictionary
        symbols = enumerate(dictionary.symbols)
        self.fillers = torch.tensor([index for index, word in symbols if word.startswith("madeupword")]).long()
        self.bpe = build_bpe(settings) if settings else None
        self.style = None if settings else piece_style(dictionary)

    def __call__(self, tokens: Tensor) -> str:
        """The text of one sentence, without specials, padding and the dictionary's filler words.

        Args:
            tokens: T
        """
        fillers = self.fillers.to(tokens.device)
        tokens = tokens[~torch.isin(tokens, fillers)] if len(fillers) else tokens
        # of a list, three times as fast as of a tensor
        pieces = self.dictionary.string(utils.strip_pad(tokens, self.dictionary.pad()).tolist())
        return self.bpe.decode(pieces) if self.bpe else post_process(pieces, self.style)
