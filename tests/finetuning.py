"""What `fairseq-vae finetune` is given: a tiny BART with its dictionary and BPE, text, and the text binarised."""

import sentencepiece
import torch
from fairseq.data import Dictionary, indexed_dataset
from helpers import save_bart, write_sentencepiece

SENTENCES = ["the dog barks at the cat", "a cat sleeps on the dog", "the cat barks", "a dog sleeps"]
SOURCES = ["a dog", "", "the cat sleeps at the dog " * 9, "a dog"]  # none, one that is too long, one twice


def make(folder):
    """bart/{model.pt, dict.txt, sentencepiece.bpe.model}, text/{train,valid,test}.txt, data/, as the command would make
    it of them, and pairs/{train,valid,test}.{source,target}."""
    save_bart(folder / "bart", words=write_sentencepiece(folder / "bart"))
    (folder / "text").mkdir()
    (folder / "data").mkdir()
    (folder / "pairs").mkdir()
    (folder / "data/dict.txt").write_bytes((folder / "bart/dict.txt").read_bytes())
    for split in ("train", "valid", "test"):
        (folder / f"text/{split}.txt").write_text("\n".join(SENTENCES) + "\n")
        (folder / f"pairs/{split}.source").write_text("\n".join(SOURCES) + "\n")
        (folder / f"pairs/{split}.target").write_text("\n".join(SENTENCES) + "\n")
        binarise(folder / "data", split, SENTENCES, folder / "bart/sentencepiece.bpe.model")
    return folder


def binarise(data, split, sentences, model):
    """A split as fairseq-preprocess --only-source writes it, in this process."""
    words = Dictionary.load(str(data / "dict.txt"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    builder = indexed_dataset.make_builder(str(data / f"{split}.bin"), "mmap", vocab_size=len(words))
    for sentence in sentences:
        tokens = [words.index(piece) for piece in pieces.encode(sentence, out_type=str)]
        builder.add_item(torch.tensor([*tokens, words.eos()]))
    builder.finalize(str(data / f"{split}.idx"))
