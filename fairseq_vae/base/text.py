"""Between text and tokens: the BPE that lies beside a checkpoint, and how pieces join to words."""

import os
from typing import Dict, List, Optional, Protocol, Sequence

import torch
from fairseq import utils
from fairseq.data import Dictionary, encoders
from fairseq.data.data_utils import post_process
from omegaconf import OmegaConf
from torch import Tensor

from .errors import InputError

__all__ = ["BPE", "Joiner", "bpe_flags", "build_bpe", "find_bpe", "is_gpt2", "piece_style", "read_dictionary"]

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


def build_bpe(settings: Dict[str, str]) -> BPE:
    """Build fairseq's own encoder of these settings, as find_bpe returns them.

    Raises:
        InputError: its files cannot be read
    """
    rest = {key: value for key, value in settings.items() if key != "bpe"}
    try:
        return encoders.build_bpe(OmegaConf.create({"_name": settings["bpe"], **rest}))
    except Exception as error:  # of JSON, UTF-8, or sentencepiece's own
        reason = " ".join(str(error).split())
        raise InputError(f"{' or '.join(rest.values())} cannot be read ({reason}): copy it again") from error


def bpe_flags(settings: Dict[str, str]) -> List[str]:
    """The flags of fairseq's commands for these settings, as find_bpe returns them.

    >>> bpe_flags({"bpe": "sentencepiece", "sentencepiece_model": "bart/sentencepiece.bpe.model"})
    ['--bpe=sentencepiece', '--sentencepiece-model=bart/sentencepiece.bpe.model']
    """
    return [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]


def is_gpt2(dictionary: Dictionary) -> bool:
    """Whether a dictionary's symbols are numbers of GPT-2's BPE."""
    symbols = dictionary.symbols[dictionary.nspecial :]
    return len(symbols) > 40000 and all(symbol.isdigit() for symbol in symbols[:1000])


def piece_style(dictionary: Dictionary) -> str:
    """fairseq's name for the way in which a dictionary's pieces join to words (`--post-process`), told by their marks.

    sentencepiece marks with U+2581, subword-nmt with @@; tokens without marks are words.

    Returns:
        "sentencepiece", "subword_nmt" or "none"

    Raises:
        InputError: the dictionary is of GPT-2 BPE, whose pieces only its encoder.json can join
    """
    if is_gpt2(dictionary):
        raise InputError(
            "this dictionary is of GPT-2 BPE: put its encoder.json and vocab.bpe beside the checkpoint or the data, or "
            "give the split's words, one more for each sentence (--words)"
        )
    symbols = dictionary.symbols[dictionary.nspecial :]
    if any(symbol.startswith("\u2581") for symbol in symbols):
        return "sentencepiece"
    return "subword_nmt" if any(symbol.endswith("@@") for symbol in symbols) else "none"


class Joiner:
    """From tokens to text: by the BPE if there is one, else by the marks on the dictionary's pieces.

    Args:
        dictionary: of the tokens
        settings: of the BPE, as find_bpe returns them

    Attributes:
        bpe: the BPE, if there is one
        style: otherwise, how pieces join; see piece_style

    Raises:
        InputError: the dictionary is of GPT-2 BPE, and there is no BPE
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
        pieces = self.dictionary.string(utils.strip_pad(tokens, self.dictionary.pad()))
        return self.bpe.decode(pieces) if self.bpe else post_process(pieces, self.style)
