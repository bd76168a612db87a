"""`fairseq-vae represent`: what z is worth as a representation."""

import argparse
import math
from typing import Any, List

from .arguments import add_model, check_folders, load, numbers

__all__ = ["add_arguments", "run"]

HELP = "what mu is worth as a representation: labels by few examples, similarity of pairs, beside baselines"
DESCRIPTION = (
    "Hold the means mu of sentences to other representations of them: linear classifiers from a share of the labels, "
    "cosines and ridge regressions of scored pairs, logistic regressions of labelled ones. Nothing of the models is "
    "trained, unless --tuned asks for it. Beside mu stand the encoder's states as the posterior pools them, bags of "
    "words, tf-idf, the commonest label and, where they are given, the BART before its training and a language model."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, tasks, labels, baselines and the files to write."""
    add_model(command)
    command.add_argument(
        "--task",
        action="append",
        required=True,
        metavar="DIR",
        help="folder of train, valid and test, as .txt with .labels, or as .tsv: score, sentence, sentence and perhaps "
        "a label; each perhaps .gz; repeatable",
    )
    command.add_argument(
        "--shares",
        default="0.01,0.1,1",
        metavar="X,...",
        help="of the labels of sentences, the smaller within the larger; pairs are all taken (default: 0.01,0.1,1)",
    )
    command.add_argument(
        "--seeds",
        default="1,2,3",
        metavar="N,...",
        help="of which labels a share has, each label of sentences in its proportion (default: 1,2,3)",
    )
    command.add_argument(
        "--most-labels",
        type=int,
        default=20_000,
        metavar="N",
        help="training items of a task that are its whole, drawn once where there are more; shares are shares of them "
        "(default: 20000)",
    )
    command.add_argument(
        "--bart",
        metavar="CHECKPOINT",
        help="the BART before the VAE's training, its dict.txt and BPE beside it: the mean of its encoder's states",
    )
    command.add_argument(
        "--language-model",
        metavar="CHECKPOINT",
        help="trained with --zero-latent on the same dictionary: the mean of its decoder's states",
    )
    command.add_argument(
        "--dimensions",
        type=int,
        default=0,
        metavar="N",
        help="of tasks of labelled sentences, also read the N dimensions and the N principal directions along which mu "
        "varies most, and MIG, SAP and completeness of the label, on test, or on 5,000 sentences of it, drawn once, "
        "where it has more (default: 0, none)",
    )
    command.add_argument(
        "--tuned",
        metavar="DIR",
        help="of tasks of labelled sentences, also train the encoder and a head on mu, by fairseq's own task "
        "sentence_prediction, from the checkpoint and from --bart, for each share and seed; what is trained "
        "stays there, and the same command goes on with the rest (default: none)",
    )
    command.add_argument(
        "--tuned-updates",
        type=int,
        metavar="N",
        help="updates of each such training, of 32 sentences; accuracy on 2,000 of valid, or all, chooses one of 10 "
        "checkpoints (default: 1000)",
    )
    command.add_argument(
        "--tuned-lr",
        type=float,
        metavar="X",
        help="their largest learning rate, reached after 6 %% of the updates and falling to 0 (default: 1e-4)",
    )
    command.add_argument("--json", metavar="FILE", help="also write every figure, of each seed, there")
    command.add_argument(
        "--picture", metavar="FILE", help="also draw accuracy against the number of labels, .svg or .png"
    )


def whole(flag: str, value: str) -> List[int]:
    """Whole numbers of 0 or more with commas between.

    >>> whole("--seeds", "1,2")
    [1, 2]

    Raises:
        ValueError: the value has something else, or a number twice
    """
    found = numbers(flag, value)
    if any(number < 0 or number != int(number) for number in found) or len(set(found)) < len(found):
        raise ValueError(f"{flag} {value}: expected different whole numbers of 0 or more with commas between")
    return [int(number) for number in found]


def run(args: argparse.Namespace) -> None:
    """Print the tables of each task; write the files that are asked for.

    Raises:
        ValueError: a flag, a task or a model cannot be used; tasks and flags are refused before a model is loaded. Or a
            training of --tuned failed, when all else is shown and written
    """
    import json

    from .. import hub
    from ..base.errors import InputError
    from ..base.files import write
    from ..base.labelled import read_task
    from ..finetune.tuned import Tuning, check_start, check_words, draws_of, settle, tuned
    from ..measure.dimensions import rows_to_read
    from ..measure.representation import drawn
    from ..report.dimensions import dimensions_text, disentangled_table
    from ..report.representation import check_picture, picture, tables
    from ..report.text import plain
    from ..represent import BART, MU, load_bart, represent, summary

    shares, seeds = numbers("--shares", args.shares), whole("--seeds", args.seeds)
    if not all(0 < share <= 1 for share in shares):
        raise ValueError(f"--shares {args.shares}: expected numbers above 0 to 1, e.g. 0.01,0.1,1")
    if args.most_labels < 1:
        raise ValueError(f"--most-labels {args.most_labels}: expected 1 or more")
    if args.dimensions < 0:
        raise ValueError(f"--dimensions {args.dimensions}: expected 0, for none, or more")
    for flag, value in (("updates", args.tuned_updates), ("lr", args.tuned_lr)):
        if value is not None and not args.tuned:
            raise ValueError(
                f"--tuned-{flag} {value:g} has no effect without --tuned DIR: give that too, or leave it out"
            )
    given = {"updates": args.tuned_updates, "lr": args.tuned_lr, "user_dir": args.user_dir}
    tuning = Tuning(args.tuned or "", **{key: value for key, value in given.items() if value is not None})
    if tuning.updates < 10:
        raise ValueError(f"--tuned-updates {tuning.updates}: expected 10 or more")
    if not 0 < tuning.lr < math.inf:
        raise ValueError(f"--tuned-lr {tuning.lr:g}: expected a number above 0, e.g. 1e-4")
    check_folders(json=args.json, picture=args.picture)
    if args.picture:
        check_picture(args.picture)
    tasks = [read_task(folder) for folder in args.task]
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"--task: two folders are called {max(names, key=names.count)}: rename one of them")
    labelled = [task for task in tasks if task.kind == "classification"]
    if args.picture and (len(set(shares)) < 2 or not labelled):
        raise ValueError(f"--picture {args.picture}: expected a --task of labelled sentences and two --shares or more")
    if args.dimensions and not labelled:
        raise ValueError(f"--dimensions {args.dimensions}: expected a --task of labelled sentences")
    if args.tuned and not labelled:
        raise ValueError(f"--tuned {args.tuned}: expected a --task of labelled sentences")
    for task in labelled if args.dimensions else []:
        rows_to_read(task)
    draws = {task.name: drawn(task, shares, seeds, args.most_labels) for task in tasks}
    starts = {MU: args.checkpoint, **({BART: args.bart} if args.bart else {})}
    if args.tuned:
        if args.bart:
            check_start(args.checkpoint, args.bart)
        for task in labelled:
            settle(args.checkpoint, starts, task, draws_of(draws[task.name], seeds), tuning)
    vae = load(args, without_z=True)  # which `represent` refuses with its own remedy
    bart = load_bart(args.bart, args.batch_size) if args.bart else None
    if args.tuned and bart is not None:
        check_words(vae, bart)
    language_model = None
    if args.language_model:
        data = args.data or hub.find_data(args.checkpoint)
        language_model = hub.load(args.language_model, data, vae.settings, args.batch_size)
    found: List[Any] = []
    dimensions: List[Any] = []
    results = represent(vae, tasks, shares, seeds, args.most_labels, bart, language_model, args.dimensions)
    failed: List[InputError] = []
    for task, (own, of_mu) in zip(tasks, results):
        if args.tuned and task in labelled:
            try:
                own += tuned(vae, starts, task, draws_of(draws[task.name], seeds), tuning)
            except InputError as error:  # what was found is shown and written first
                failed.append(error)
        extra = [disentangled_table(of_mu), dimensions_text(of_mu.readings)] if of_mu else []
        print(("\n" if found else "") + tables(summary(own), task.name, extra), flush=True)
        found += own
        dimensions += [of_mu.content()] if of_mu else []
    means = summary(found)
    if args.json:
        content = {
            "checkpoint": args.checkpoint,
            "bart": args.bart,
            "language_model": args.language_model,
            "most_labels": args.most_labels,
            "tuned": {"updates": tuning.updates, "lr": tuning.lr} if args.tuned else None,
            "sentences": {task.name: {name: split.size for name, split in task.splits.items()} for task in tasks},
            "figures": [figure._asdict() for figure in found],
            "summary": [row._asdict() for row in means],
            "dimensions": dimensions,
        }
        write(args.json, json.dumps(plain(content), indent=2) + "\n")
    if args.picture:
        picture(means, args.picture)
    if failed:
        raise failed[0]
