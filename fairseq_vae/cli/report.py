"""`fairseq-vae report`: a run as one page."""

import argparse
import os
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .arguments import check_folders

if TYPE_CHECKING:
    from ..evaluate_edit import Row
    from ..finetune.run import Run
    from ..report.contents import Contents

__all__ = ["add_arguments", "run"]

HELP = "a run as one page of HTML: curves, KL of each dimension, map, evaluation, sentences"
DESCRIPTION = (
    "Write what a run of finetune has come to as one page, which asks for no other file and no network. What the run "
    "lacks, as one that was stopped, is named in the page. The same run and flags give the same bytes."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The run, the page, and what its map and its sentences are made of."""
    command.add_argument("run", metavar="RUN_DIR", help="the folder that `fairseq-vae finetune --output` made")
    command.add_argument("--output", metavar="FILE", help="the page to write (default: report.html in RUN_DIR)")
    command.add_argument(
        "--text",
        metavar="FILE",
        help="sentences for the map and the reconstructions, one a line (default: the run's test split, or else its "
        "validation split)",
    )
    command.add_argument(
        "--labels",
        metavar="FILE",
        help="a label a line for each of these sentences, to colour the map (default: length)",
    )
    command.add_argument(
        "--map",
        choices=("pca", "tsne"),
        default="pca",
        help="pca: the plane in which the sentences differ most; tsne: neighbours stay neighbours, and distances mean "
        "nothing (default: pca)",
    )
    command.add_argument(
        "--points", type=int, default=2000, metavar="N", help="most sentences on the map (default: 2000)"
    )
    command.add_argument(
        "--samples",
        type=int,
        default=10,
        metavar="N",
        help="sentences to reconstruct, and as many to draw from the prior; 0: none (default: 10)",
    )
    command.add_argument(
        "--edits",
        metavar="FILE",
        help="what `evaluate-edit --json` wrote (default: edits.json in RUN_DIR, if it is there)",
    )
    command.add_argument("--seed", type=int, default=1, help="of the choice of sentences and of all draws (default: 1)")
    command.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def run(args: argparse.Namespace) -> None:
    """Write the page.

    Raises:
        ValueError: RUN_DIR is no run, a flag's file cannot be used, or the page cannot be written
    """
    from ..base.files import write
    from ..base.version import __version__
    from ..finetune.run import read_run
    from ..report import scatter
    from ..report.curves import Part, spans
    from ..report.page import PhaseShown, Shown, page

    for flag, value, least in (("--points", args.points, 1), ("--samples", args.samples, 0)):
        if value < least:
            raise ValueError(f"{flag} {value}: expected {least} or more")
    output = args.output or os.path.join(args.run, "report.html")
    check_folders(output=args.output)
    found = read_run(args.run)
    lacks = list(found.lacks)
    points = edits(args, lacks)
    source, contents = sentences(args, found, lacks)
    plane = None
    if contents:
        shown = (contents.mu, contents.texts, contents.lengths, contents.labels)
        plane = scatter.draw(*shown, kind=args.map, seed=args.seed)
    phases = []
    for phase in found.phases:
        log, updates = phase.log, phase.log.updates
        part = Part(phase.name, log.train, log.valid, *spans(phase.flags, updates))
        phases.append(PhaseShown(phase.flags.get("max-update", "?"), updates, phase.flags, part))
    dims, of, free = dimensions(found, lacks)
    html = page(
        Shown(
            name=os.path.basename(os.path.abspath(args.run)),
            version=__version__,
            lacks=lacks,
            phases=phases,
            kl_dims=dims,
            kl_source=of,
            free_bits=free,
            evaluation=found.evaluation,
            model=os.path.relpath(found.checkpoint, args.run) if found.checkpoint else None,
            source=source,
            contents=contents,
            map=plane,
            points=points,
            samples=args.samples,
            seed=args.seed,
        )
    )
    write(output, html)
    print(f"{output}: {len(html.encode('utf-8')) / 1e6:.1f} MB")
    for sentence in lacks:
        print(f"  {sentence}")


def edits(args: argparse.Namespace, lacks: List[str]) -> Optional[List[Dict[str, Any]]]:
    """The summary of a sweep of edits; None if there is none.

    Raises:
        ValueError: the file of --edits is of something else
    """
    import json

    from ..evaluate_edit import Row, summary
    from ..report.edits import cells

    path = args.edits or os.path.join(args.run, "edits.json")
    if not args.edits and not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            points = summary([checked(Row(**row)) for row in json.load(file)])
        if not cells(points)[1:]:
            raise ValueError("it has no rows")
        return points
    except (ValueError, TypeError, OverflowError) as error:
        reason = f"{path} is not what `fairseq-vae evaluate-edit --json` writes ({error})"
        if args.edits:
            raise ValueError(f"--edits {reason}") from error
        lacks.append(f"{reason}: the sweep of edits is missing.")
        return None


def checked(row: "Row") -> "Row":
    """A row of a sweep that can be summed up and drawn.

    Raises:
        ValueError: the way is no text, or a figure is no finite number; fluency alone may be None
    """
    import math

    figures = row._asdict()
    if not isinstance(figures.pop("way"), str):
        raise ValueError(f"way {row.way!r}: expected a name")
    for name, value in figures.items():
        if name == "fluency" and value is None:
            continue
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{name} {value!r}: expected a finite number")
    return row


def sentences(args: argparse.Namespace, found: "Run", lacks: List[str]) -> Tuple[str, Optional["Contents"]]:
    """What the sentences of a page are of, and what the model makes of them; None without a model or sentences.

    Raises:
        ValueError: a file of --text or --labels cannot be used
    """
    from .. import hub
    from ..base.errors import InputError
    from ..base.lines import read_lines
    from ..checkpoints.load import check_alone
    from ..report.contents import find_split, gather

    given: Optional[Sequence[Any]] = read_lines(args.text) if args.text else None
    labels = read_lines(args.labels) if args.labels else None
    source = os.path.basename(args.text) if args.text else "the split"
    if found.checkpoint is None:
        return source, None
    try:
        vae = hub.load(found.checkpoint, hub.find_data(found.checkpoint))
        check_alone(vae.model, found.checkpoint)
        if given is None:
            split = find_split(args.run, found.checkpoint)
            if split is None:
                lacks.append(
                    "The run's binarised text is not where it was: without --text there is no map, and no sentence."
                )
                return source, None
            if split.name != "test":
                lacks.append("The text has no test split: the sentences are of the validation split.")
            source, given = f"the split {split.name}", split.sentences
    except InputError as error:
        lacks.append(f"There is no map and no sentence: {error}.")
        return source, None
    return source, gather(vae, given, labels, args.points, args.samples, args.seed)


def dimensions(found: "Run", lacks: List[str]) -> Tuple[Optional[List[float]], str, Optional[float]]:
    """The KL of each dimension, nats per sentence; what it is of, the evaluation or else the last validation; and the
    free bits of that training, nats of a dimension, if they are of single dimensions."""
    if found.evaluation is not None:
        kl = found.evaluation.get("kl_dims")
        if isinstance(kl, list) and kl and all(isinstance(value, (int, float)) for value in kl):
            if len(kl) == found.evaluation.get("latent_dim"):
                return kl, f"over the split {found.evaluation.get('split')}", free_bits(found.phases[-1].flags)
            lacks.append("This posterior's KL is no sum over dimensions: it has no bars.")
            return None, "", None
    for phase in reversed(found.phases):
        if phase.log.kl_dims:
            return phase.log.kl_dims, f"at the last validation of {phase.name}", free_bits(phase.flags)
    return None, "", None


def free_bits(flags: Mapping[str, str]) -> Optional[float]:
    """Nats of each dimension that cost nothing; None where there are none, or they are not of single dimensions.

    >>> free_bits({"free-bits": "0.25"}), free_bits({"free-bits": "4", "free-bits-mode": "sentence"}), free_bits({})
    (0.25, None, None)
    """
    single = flags.get("free-bits-mode", "dimension").endswith("dimension") and flags.get("free-bits-group", "1") == "1"
    return float(flags.get("free-bits", 0)) or None if single else None
