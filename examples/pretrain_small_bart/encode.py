"""Learn a sentencepiece BPE, write fairseq's dictionary of it, and encode the text: encode.py TEXT OUTPUT PIECES."""

import sys
from pathlib import Path

import sentencepiece


def main(text: Path, output: Path, pieces: int) -> None:
    model = output / "sentencepiece.bpe.model"
    sentencepiece.SentencePieceTrainer.train(
        input=str(text / "train.txt"),
        model_prefix=str(model.with_suffix("")),
        model_type="bpe",
        vocab_size=pieces,
        hard_vocab_limit=False,
        character_coverage=0.9995,
        byte_fallback=True,
        input_sentence_size=1_000_000,
        shuffle_input_sentence=True,
        minloglevel=2,
    )
    model.with_suffix(".vocab").unlink()
    encoder = sentencepiece.SentencePieceProcessor(model_file=str(model))
    for split in ("train", "valid"):
        with open(text / f"{split}.txt", encoding="utf-8") as lines, open(
            output / f"work/{split}.txt", "w", encoding="utf-8"
        ) as encoded:
            encoded.writelines(" ".join(encoder.encode(line.strip(), out_type=str)) + "\n" for line in lines)
    symbols = (encoder.id_to_piece(i) for i in range(encoder.get_piece_size()))
    dictionary = [f"{symbol} 1\n" for symbol in symbols if symbol not in ("<unk>", "<s>", "</s>")]  # fairseq adds those
    temporary = output / "work/dict.txt"
    temporary.write_text("".join(dictionary), encoding="utf-8")
    temporary.replace(output / "dict.txt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
