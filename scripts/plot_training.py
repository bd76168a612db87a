"""Training curves from fairseq's JSON logs: reconstruction, KL, beta and active units over updates.

    fairseq-train ... --log-format json | tee train.log
    python scripts/plot_training.py train.log --output curves.png

Several logs are phases of one training, drawn one after another.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Dict, List, Tuple

LINE = re.compile(r"\| (train_inner|valid) \| (\{.*\})$")
Curve = Dict[int, Dict[str, float]]  # update to metrics


def read_log(path: Path) -> Tuple[Curve, Curve]:
    """Metrics of training and of validation by update; what a resumed run logged again replaces the first time."""
    curves: Dict[str, Curve] = {"train_inner": {}, "valid": {}}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        found = LINE.search(line)
        if found:
            tag, values = found.group(1), json.loads(found.group(2))
            words = ("epoch", "valid_kl_dims", "valid_diagnosis")
            metrics = {key.replace("valid_", "", 1): float(value) for key, value in values.items() if key not in words}
            curves[tag][int(metrics["num_updates"])] = metrics
    return curves["train_inner"], curves["valid"]


def plot(logs: List[Path], output: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    panels = [
        ("rec", "reconstruction", "nats per sentence"),
        ("kl", "KL", "nats per sentence"),
        ("kl_weight", "β", "weight of the KL"),
        ("au", "active units", "dimensions"),
    ]
    figure, axes = plt.subplots(2, 2, figsize=(9, 5.5), sharex=True, layout="constrained")
    start = 0
    for phase, log in enumerate(logs):
        train, valid = read_log(log)
        for axis, (key, *_) in zip(axes.flat, panels):
            for curve, color, label in ((train, "C0", "training"), (valid, "C1", "validation")):
                updates = [update for update in sorted(curve) if key in curve[update]]
                if not updates:
                    continue
                x, y = [start + update for update in updates], [curve[update][key] for update in updates]
                if curve is train:  # batches are of one length each: show them faintly, and their running mean
                    axis.plot(x, y, color=color, linewidth=0.8, alpha=0.3)
                    y = [sum(part) / len(part) for part in (y[max(0, i - 4) : i + 5] for i in range(len(y)))]
                marker = "o" if curve is valid else None
                axis.plot(x, y, color=color, linewidth=1.4, marker=marker, markersize=3, label=None if phase else label)
            if phase:
                axis.axvline(start, color="0.6", linewidth=0.8, linestyle="--")
        start += max([0, *train, *valid])
    for axis, (_, title, unit) in zip(axes.flat, panels):
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_ylabel(unit, fontsize=9)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    for axis in axes[1]:
        axis.set_xlabel("updates" + (" (dashed: the next phase)" if len(logs) > 1 else ""), fontsize=9)
    axes[0, 0].legend(frameon=False, fontsize=9)
    temporary = output.with_name(f".{output.name}")
    figure.savefig(temporary, dpi=130, format=output.suffix[1:])
    temporary.replace(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "logs", metavar="LOG", nargs="+", type=Path, help="what fairseq-train --log-format json printed"
    )
    parser.add_argument("--output", type=Path, required=True, help="the picture, .png or .svg")
    args = parser.parse_args()
    for log in args.logs:
        if not log.is_file():
            sys.exit(f"plot_training.py: {log} does not exist")
        if not any(read_log(log)):
            sys.exit(f"plot_training.py: {log} has no metrics; train with --log-format json")
    plot(args.logs, args.output)


if __name__ == "__main__":
    main()
