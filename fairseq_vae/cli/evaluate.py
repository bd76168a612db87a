"""`fairseq-vae evaluate`: likelihood, use of z, reconstructions and samples."""

import argparse
import os

from ..base.files import write
from ..measure.papers import PAPERS
from .arguments import check_folders

__all__ = ["add_arguments", "run"]

HELP = "likelihood, use of z, reconstructions and samples of one or several checkpoints"
DESCRIPTION = (
    "Evaluate checkpoints at the ELBO's own weights: ELBO, importance-weighted likelihood, perplexities with their "
    "denominators, mutual information, active units, what other z's cost, reconstructions and samples. "
    "Several checkpoints give a table as well."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Checkpoints, data folder, the measures and the files to write."""
    command.add_argument(
        "paths",
        metavar="CHECKPOINT ... DATA",
        nargs="+",
        help="checkpoints of bart_vae or bart_cvae, then fairseq-preprocess' folder",
    )
    command.add_argument("--split", default="test", help="the split (default: test)")
    command.add_argument("--samples", type=int, default=20, metavar="K", help="z's of each sentence (default: 20)")
    command.add_argument("--json", metavar="FILE", help="also write the numbers there; of several, as a list")
    command.add_argument(
        "--sentences",
        metavar="FILE",
        help="also write each sentence's nats there, a line each: reconstruction (rec), kl, nll_iw, those under the "
        "next sentence's z (shuffled), z = 0 (zero), the prior's z (prior), a fitted prior (nll_iw_fitted) and the "
        "language model (lm); of one checkpoint",
    )
    command.add_argument("--markdown", metavar="FILE", help="also write the table of all checkpoints there")
    command.add_argument(
        "--generate",
        type=int,
        default=1000,
        metavar="N",
        help="sentences of the split to reconstruct (the first ones) and of the prior to sample; 0 leaves text out "
        "(default: 1000)",
    )
    command.add_argument(
        "--smoothness",
        type=int,
        metavar="N",
        help="sentences of the split (the first ones) to decode under growing noise on z and, in random pairs, along "
        "paths: 25 greedy decodings a sentence (pip install POT 'wordllama<0.3.4') (default: none)",
    )
    command.add_argument(
        "--responses",
        type=int,
        metavar="N",
        help="of a conditional model, responses to each of the first --generate sources: greedy ones from z's of "
        "p(z|x), of a model with --zero-latent nucleus samples (0.9); 0 leaves them out (default: 5)",
    )
    command.add_argument(
        "--references",
        metavar="FILE",
        help="a JSON list of texts a line for each source of the split, to hold responses to (default: its target)",
    )
    command.add_argument(
        "--language-model",
        metavar="CHECKPOINT",
        help="one trained with --zero-latent, to hold -ELBO and the prior's samples to",
    )
    command.add_argument(
        "--labels", metavar="FILE", help="a label a line for each sentence of the split, for a linear classifier on mu"
    )
    command.add_argument(
        "--prior",
        metavar="FILE",
        help="of `fairseq-vae fit-prior`: likelihood and samples under it beside the model's own",
    )
    command.add_argument(
        "--text",
        metavar="FILE",
        help="the split's sentences as they were before any tokenizer, one a line: bits per byte count its bytes "
        "(default: those of the joined tokens)",
    )
    command.add_argument("--paper", choices=sorted(PAPERS), help="print its rows, and ours under its definitions")
    command.add_argument(
        "--mi-batch",
        type=int,
        metavar="B",
        help="mutual information within batches of B sentences as well, as older papers define it",
    )
    command.add_argument(
        "--words", type=int, help="the split's words, one more a sentence (default: counted by joining the pieces)"
    )
    command.add_argument("--seed", type=int, help="of all streams (default: the model's)")
    command.add_argument("--max-tokens", type=int, default=4096, help="tokens in a batch (default: 4096)")
    command.add_argument(
        "--keep",
        metavar="DIR",
        help="folder for posteriors, z, likelihoods, texts and samples; of several checkpoints, one each below it. "
        "A later run, or one after an interruption, uses what is there",
    )
    command.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def run(args: argparse.Namespace) -> None:
    """Print a table for each checkpoint and one of all; write the files that are asked for at the end.

    Raises:
        ValueError: no checkpoint stands before DATA, a file to write has no folder, or a value cannot be used; all but
            the last are found before anything is loaded
    """
    from ..evaluate import evaluate
    from ..report.render import as_json, as_markdown
    from ..report.text import beside_paper, comparison, names, table

    checkpoints, data = args.paths[:-1], args.paths[-1]
    if not checkpoints:
        raise ValueError(f"{data}: expected one or more checkpoints, then the data folder")
    check_folders(json=args.json, markdown=args.markdown, sentences=args.sentences)
    if args.sentences and len(checkpoints) > 1:
        raise ValueError(f"--sentences {args.sentences}: expected one checkpoint, found {len(checkpoints)}")
    default = PAPERS[args.paper].mi_batch if args.paper else None
    mi_batch = default if args.mi_batch is None else args.mi_batch
    results = []
    keep = [args.keep] * len(checkpoints)
    if args.keep and len(checkpoints) > 1:
        keep = [os.path.join(args.keep, name) for name in names(checkpoints)]
    for checkpoint, folder in zip(checkpoints, keep):
        numbers = evaluate(
            checkpoint,
            data,
            args.split,
            samples=args.samples,
            words=args.words,
            max_tokens=args.max_tokens,
            seed=args.seed,
            generate=args.generate,
            language_model=args.language_model,
            labels=args.labels,
            mi_batch=mi_batch,
            keep=folder,
            text=args.text,
            prior=args.prior,
            smoothness=args.smoothness,
            responses=args.responses,
            references=args.references,
            sentences=args.sentences,
        )
        print((f"{checkpoint}\n" if len(checkpoints) > 1 else "") + table(numbers), flush=True)
        results.append(numbers)
    if len(results) > 1:
        print("\n" + comparison(results))
    if args.paper:
        print("\n" + beside_paper(results, args.paper))
    if args.markdown:
        write(args.markdown, as_markdown(results, args.paper))
    if args.json:
        write(args.json, as_json(results))
