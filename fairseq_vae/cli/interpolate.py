"""`fairseq-vae interpolate`: sentences between two sentences."""

import argparse

__all__ = ["add_arguments", "run"]

HELP = "sentences on the line between two sentences' latents"
DESCRIPTION = "Decode points on the straight line between the posterior means of two sentences."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, data folder, the two sentences, and the decoding."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint of bart_vae")
    command.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote")
    command.add_argument("start", metavar="FROM", help="the first sentence")
    command.add_argument("end", metavar="TO", help="the last sentence")
    command.add_argument("--steps", type=int, default=7, help="sentences to print, with both ends (default: 7)")
    command.add_argument("--beam", type=int, default=5, help="beam width (default: 5)")
    command.add_argument(
        "--sentencepiece-model",
        metavar="FILE",
        help="encode the sentences with it (default: what lies beside checkpoint or data; else they are tokens)",
    )
    command.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def run(args: argparse.Namespace) -> None:
    """Print one sentence a line, from the first sentence's reconstruction to the last one's."""
    from .. import hub
    from ..base.lines import one_line
    from ..base.text import find_bpe
    from ..checkpoints.read import folders

    given = args.sentencepiece_model
    settings = {"bpe": "sentencepiece", "sentencepiece_model": given}
    bpe = settings if given else find_bpe(folders(args.checkpoint, args.data))
    vae = hub.load(args.checkpoint, args.data, bpe)
    print("\n".join(map(one_line, vae.interpolate(args.start, args.end, args.steps, beam=args.beam))))
