"""What the runs of an ablation measured, as a Markdown table and a picture: table.py OUTPUT RUN ...

Reads OUTPUT/RUN/evaluation.json; the run `language-model` is the line that -ELBO is held against. The picture is
OUTPUT/ablation.svg.
"""

import json
import sys
from pathlib import Path
from typing import Dict, List

LANGUAGE_MODEL = "language-model"
COLUMNS = [  # key of evaluation.json, heading, digits
    ("rec", "rec", 2),
    ("kl", "KL", 2),
    ("neg_elbo", "−ELBO", 2),
    ("mi", "MI", 2),
    ("au", "AU", 0),
    ("nll_gap_shuffled", "own-z gap", 2),
]


def read(output: Path, runs: List[str]) -> Dict[str, Dict[str, float]]:
    """Each finished run's numbers, in the order given."""
    found = {}
    for run in runs:
        path = output / run / "evaluation.json"
        if path.is_file():
            found[run] = json.loads(path.read_text(encoding="utf-8"))
        else:
            print(f"table.py: {run} has no evaluation.json yet", file=sys.stderr)
    return found


def table(results: Dict[str, Dict[str, float]]) -> str:
    reference = results.get(LANGUAGE_MODEL, {}).get("neg_elbo")
    heading = ["run", *(name for _, name, _ in COLUMNS)] + (["against the language model"] if reference else [])
    lines = [f"| {' | '.join(heading)} |", f"|---|{'---:|' * (len(heading) - 1)}"]
    for run, numbers in results.items():
        row = [run, *(f"{numbers[key] + 0.0:.{digits}f}".replace("-0.00", "0.00") for key, _, digits in COLUMNS)]
        row += [f"{numbers['neg_elbo'] - reference:+.2f}"] if reference else []
        lines.append(f"| {' | '.join(row)} |")
    first = next(iter(results.values()))
    lines.append(
        f"\nNats per sentence; {first['sentences']:,} sentences; MI at most {first['mi_cap']:.2f}; {first['signature']}"
    )
    return "\n".join(lines)


def plot(results: Dict[str, Dict[str, float]], target: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    runs = list(results)
    rows = range(len(runs))
    figure, (bound, rate) = plt.subplots(
        1, 2, figsize=(9, 1.2 + 0.3 * len(runs)), sharey=True, layout="constrained", width_ratios=[3, 2]
    )
    bound.plot([results[run]["neg_elbo"] for run in runs], rows, "o", color="C0")
    if LANGUAGE_MODEL in results:
        bound.axvline(results[LANGUAGE_MODEL]["neg_elbo"], color="0.5", linestyle="--", linewidth=1)
    bound.set_title("−ELBO, nats per sentence (dashed: the language model)", loc="left", fontsize=10)
    for key, label, marker in (("kl", "KL", "o"), ("mi", "mutual information", "x")):
        rate.plot([results[run][key] for run in runs], rows, marker, label=label)
    rate.set_title("what z says, nats", loc="left", fontsize=10)
    rate.legend(frameon=False, fontsize=8)
    rate.set_xlim(left=-0.3)
    bound.set_yticks(list(rows), runs, fontsize=9)
    bound.invert_yaxis()
    for axis in (bound, rate):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    temporary = target.with_name(f".{target.name}")
    figure.savefig(temporary, format=target.suffix[1:])
    temporary.replace(target)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    measured = read(folder, sys.argv[2:])
    if measured:
        print(table(measured))
        plot(measured, folder / "ablation.svg")
