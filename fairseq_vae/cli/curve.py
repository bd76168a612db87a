"""`fairseq-vae curve`: trainings at many rates, and their rate-distortion curve."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

if TYPE_CHECKING:
    from ..finetune.study import Study

__all__ = ["add_arguments", "run"]

HELP = "trainings at many rates, and what z holds at each: distortion, BLEU and MI against KL"
DESCRIPTION = (
    "Train and evaluate every arm of a study at every point of a sweep, as a rule of beta, from the highest rate "
    "down, each point from the one before. Then print the table, and write it with the picture to OUTPUT: curve.json, "
    "curve.md, curve.svg and curve.png; where trainings validate, their -ELBO over updates as validation.svg and "
    ".png; where arms are held to others, the differences as differences.svg and .png. Run again, it goes on at the "
    "first point that is not done; more arms, seeds and, if a language model has `updates` of its own, lower points "
    "may be added to the study. The same command, started twice or more, shares the work: each takes arms and seeds "
    "that no other is at. A point that fails stands in the table as failed, the other arms go on, and the exit status "
    "is 1."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The study, its folder, and what of it to do."""
    command.add_argument("study", metavar="STUDY", help="YAML file of arms, points and flags, see docs/guides/curve.md")
    command.add_argument(
        "output", metavar="OUTPUT", help="folder for everything made, a point in ARM/seed-S/FLAG-VALUE"
    )
    command.add_argument("--data", metavar="DIR", help="text or pairs, as finetune takes them (default: the study's)")
    command.add_argument(
        "--bart",
        metavar="CHECKPOINT",
        help="a BART, or a VAE, to start from, with dict.txt and BPE beside or above it (default: the study's)",
    )
    command.add_argument(
        "--only",
        metavar="ARM",
        nargs="+",
        default=[],
        help="train these arms alone (default: all)",
    )
    command.add_argument("--draw", action="store_true", help="train nothing: table and picture of what is there")
    command.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def run(args: argparse.Namespace) -> None:
    """Make the points that are not there, then table and picture of all that are.

    Raises:
        ValueError: the study cannot work, or a point has failed
    """
    from ..finetune.curve import WAIT, Curve
    from ..finetune.gather import gather
    from ..finetune.kept import common_settings
    from ..finetune.steps import alone
    from ..finetune.study import read_study
    from ..report import drawing

    with drawing.style("curve"):  # matplotlib is needed at the end
        study = read_study(args.study, args.data, args.bart, common_settings(args.output).get("pairs", False))
        if not args.draw:
            Curve(study, args.output, args.only, args.user_dir).run()
        rows = gather(study, args.output)
        if any(row["state"] != "missing" for row in rows):
            with alone(Path(args.output), WAIT):  # another run may end at the same time
                show(study, args.output, rows)
    failed = [row for row in rows if row["state"] == "failed"]
    if failed:
        first = "{arm}, seed {seed}, {setting}".format(**failed[0])
        raise ValueError(f"{len(failed)} of {len(rows)} points failed, first {first}: {failed[0]['reason']}")
    if args.draw and all(row["state"] == "missing" for row in rows):
        raise ValueError(f"{args.output} has no point that was evaluated on {study.split}: run it without --draw")


def show(study: "Study", output: str, rows: List[Dict[str, Any]]) -> None:
    """Print the table, and write it as JSON and Markdown, and the pictures; within drawing.style."""
    import json

    from ..base.files import write
    from ..report import differences, learning, rate
    from ..report.text import plain

    path = os.path.join(output, "curve")
    done = [row for row in rows if row["state"] == "done"]
    told = rate.caption(rows, study.warm, study.versus) if done else "No point is done."
    found = {"split": study.split, "warm": study.warm, "versus": dict(study.versus), "caption": told, "points": rows}
    write(f"{path}.json", json.dumps(plain(found), indent=2) + "\n")
    write(f"{path}.md", f"{rate.table(rows, True, study.versus)}\n\n{told}\n")
    print(f"\n{rate.table(rows, False, study.versus)}\n\n{told}")
    if any(not row["zero_latent"] for row in done):
        save(rate.curve(rows, study.warm), path)
    save(differences.differences(rows, study.versus), os.path.join(output, "differences"))
    save(learning.learning(rows), os.path.join(output, "validation"))


def save(figure: Any, path: str) -> None:
    """Write a picture, unless it is None, as `path`.svg and `path`.png."""
    from ..report import drawing

    if figure is None:
        return
    for kind in ("svg", "png"):
        drawing.save(figure, f"{path}.{kind}")
    print(f"\n{path}.svg")
