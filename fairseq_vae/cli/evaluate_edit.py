"""`fairseq-vae evaluate-edit`: what an edit costs."""

import argparse

from .arguments import add_decoding, add_model, check_folders, decoding, labelled, load, warn
from .edit import add_labelled

__all__ = ["add_arguments", "run"]

HELP = "accuracy, likeness to the input and fluency of edits, over strengths, ways and seeds"
DESCRIPTION = (
    "Edit sentences towards the other of two labels by each way at eight to ten strengths. The labelled text falls "
    "into halves: the attribute learns from one, the classifier that judges the edits from the other."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, labelled text, the sentences to edit and the files to write."""
    add_model(command)
    add_labelled(command)
    command.add_argument("--input", required=True, metavar="FILE", help="sentences to edit, one a line")
    command.add_argument("--input-labels", required=True, metavar="FILE", help="their labels, one a line")
    command.add_argument(
        "--skip-invalid", action="store_true", help="leave sentences out that cannot be encoded, and go on"
    )
    command.add_argument("--limit", type=int, metavar="N", help="of the sentences to edit, the first N (default: all)")
    command.add_argument(
        "--language-model",
        metavar="CHECKPOINT",
        help="trained with --zero-latent, best on sentences that the VAE has not seen: judges fluency",
    )
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="halves and classifiers (default: 3)")
    command.add_argument("--json", metavar="FILE", help="also write the figures of each seed there")
    command.add_argument("--picture", metavar="FILE", help="also draw the sweep, .svg or .png")
    add_decoding(command)


def run(args: argparse.Namespace) -> None:
    """Print the table of all ways and strengths: means over seeds, with half the width of their 95 % intervals."""
    import json

    from .. import hub
    from ..base.files import write
    from ..edit.ways import solver
    from ..evaluate_edit import dominance, evaluate_edit, summary
    from ..report.edits import check_picture, picture, table, verdicts
    from ..represent import check_language_model

    if args.seeds < 1:
        raise ValueError(f"--seeds {args.seeds}: expected 1 or more")
    check_folders(json=args.json, picture=args.picture)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit {args.limit}: expected 1 or more")
    solver()  # what is not installed is said now, and not after hours
    if args.picture:
        check_picture(args.picture)
    vae, skip = load(args), warn if args.skip_invalid else None
    texts, labels = labelled(vae, args.text, args.labels, skip)
    inputs, input_labels = labelled(vae, args.input, args.input_labels, skip)
    judge = None
    if args.language_model:
        judge = hub.load(args.language_model, args.data or hub.find_data(args.checkpoint), vae.settings)
        check_language_model(judge)
    rows = evaluate_edit(
        vae,
        texts,
        labels,
        inputs[: args.limit],
        input_labels[: args.limit],
        seeds=range(args.seed, args.seed + args.seeds),
        language_model=judge,
        hidden=args.hidden,
        **decoding(args),
    )
    print(table(summary(rows)))
    long = sum(row.long for row in rows)
    if long:
        warn(f"{long:,} edited sentences are longer than --language-model takes, and are judged up to there")
    verdict = verdicts(dominance(rows))
    if verdict:
        print(f"\n{verdict}")
    if args.json:
        write(args.json, json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    if args.picture:
        picture(summary(rows), args.picture)
