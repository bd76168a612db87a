"""`fairseq-vae finetune`: from a BART and text to a trained, measured and sampled VAE."""

import argparse

from ..finetune import recipe

__all__ = ["add_arguments", "run"]

HELP = "a BART and text to a trained, measured and sampled VAE"
DESCRIPTION = (
    "Finetune a BART into a VAE, or with pairs of source and target into a conditional one, by a recipe, "
    "in one or two phases, then evaluate and sample it. Every fairseq command is printed and can be run by hand. "
    "Interrupted or run again, it goes on where it stopped."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Data, BART, output folder, recipe, and the settings that differ from the recipe's."""
    command.add_argument(
        "data",
        metavar="DATA",
        help="folder of fairseq-preprocess, made with the BART's dict.txt; or of plain text, one sentence a line, in "
        "train.txt, valid.txt and perhaps test.txt, to encode with dict.txt and BPE beside the BART; or of pairs, in "
        "train.source and train.target, valid.source and so on",
    )
    command.add_argument("--bart", metavar="CHECKPOINT", help="fairseq checkpoint of a BART (default: random weights)")
    command.add_argument("--output", metavar="DIR", required=True, help="folder for everything made")
    command.add_argument(
        "--recipe",
        default="default",
        help=f"one of {', '.join(recipe.names())}, or a folder with phase1.yaml and phase2.yaml (default: default)",
    )
    for phase in recipe.PHASES:
        command.add_argument(
            f"--{phase}-updates",
            type=int,
            metavar="N",
            help=f"length of {phase} in updates, with which its ramps and save intervals shrink or grow (default: the "
            "recipe's)",
        )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.KEY=VALUE",
        help="another setting of fairseq's configuration than the recipe's, e.g. dataset.max_tokens=2048; "
        "phase1.GROUP.KEY=VALUE for one phase; may be repeated",
    )
    command.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def run(args: argparse.Namespace) -> None:
    """Plan the run, then make its steps; steps that are complete in the output folder are not made again."""
    from ..finetune.plan import Plan
    from ..finetune.steps import Finetuning

    lengths = {phase: getattr(args, f"{phase}_updates") for phase in recipe.PHASES}
    updates = {phase: length for phase, length in lengths.items() if length is not None}
    Finetuning(Plan(args.data, args.output, args.recipe, args.bart, args.set, updates, args.user_dir)).run()
