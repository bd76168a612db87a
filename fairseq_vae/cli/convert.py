"""`fairseq-vae convert`: BART checkpoints between Hugging Face's format and fairseq's."""

import argparse

__all__ = ["add_arguments", "run"]

HELP = "BART checkpoints between Hugging Face's format and fairseq's"
DESCRIPTION = (
    "Convert a folder of Hugging Face's BART to a stock fairseq checkpoint, with dict.txt, encoder.json and vocab.bpe "
    "beside it: --from-hf DIR --to FILE. Or back, from a checkpoint of BART or of a VAE with cross-attention "
    "injection: --from FILE --to-hf DIR. Existing files are not overwritten."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """One source and one target."""
    start = command.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--from-hf",
        metavar="DIR",
        help="folder with config.json, model.safetensors (or pytorch_model.bin), vocab.json and merges.txt (or "
        "tokenizer.json)",
    )
    start.add_argument("--from", dest="from_fairseq", metavar="FILE", help="a fairseq checkpoint")
    end = command.add_mutually_exclusive_group(required=True)
    end.add_argument("--to", metavar="FILE", help="fairseq checkpoint to write, e.g. DIR/model.pt")
    end.add_argument("--to-hf", metavar="DIR", help="folder to write")


def run(args: argparse.Namespace) -> None:
    """Convert in the direction of the arguments, and print the files written and the tensors left out.

    Raises:
        ValueError: source and target are of the same format, or the source cannot be converted
    """
    from ..checkpoints.hf_read import from_hf
    from ..checkpoints.hf_write import to_hf

    if bool(args.from_hf) != bool(args.to):
        raise ValueError("expected --from-hf DIR with --to FILE, or --from FILE with --to-hf DIR")
    if args.from_hf:
        heads = from_hf(args.from_hf, args.to)
        print(f"{args.to}; beside it dict.txt, encoder.json, vocab.bpe")
        if heads:
            print(f"left out: {', '.join(heads)}")
    else:
        names = to_hf(args.from_fairseq, args.to_hf)
        print(f"{args.to_hf}: {', '.join(names)}")
        if "vocab.json" not in names:
            print("no tokenizer: it needs dict.txt, encoder.json and vocab.bpe (GPT-2's BPE) beside the checkpoint")
