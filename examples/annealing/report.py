"""What the runs of examples/annealing measured, as a Markdown table and a picture: report.py OUTPUT

Reads OUTPUT/ARM-SEED.log, fairseq's JSON lines; writes OUTPUT/annealing.svg. Intervals are 95 % by Student's t over
seeds.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Dict, List

ARMS = ("constant", "monotonic", "cyclical", "lagrangian", "pid")
METRICS = [("kl", "KL, nats"), ("neg_elbo", "−ELBO, nats"), ("mi", "MI, nats"), ("au", "active units")]
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % quantile by the number of seeds

Curve = Dict[int, Dict[str, float]]  # update to metrics


def read(log: Path) -> Curve:
    """The validations of a run; a resumed one's repeated lines count once."""
    found: Curve = {}
    for line in re.findall(r"\| valid \| (\{.*\})", log.read_text(encoding="utf-8", errors="replace")):
        values = json.loads(line)
        found[int(values["valid_num_updates"])] = {key: float(values[f"valid_{key}"]) for key, _ in METRICS}
    return found


def interval(values: List[float]) -> str:
    mean = statistics.mean(values)
    if len(values) not in STUDENT:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {STUDENT[len(values)] * statistics.stdev(values) / len(values) ** 0.5:.2f}"


def table(runs: Dict[str, List[Curve]]) -> str:
    lines = ["| β | " + " | ".join(name for _, name in METRICS) + " |", "|---|" + "---:|" * len(METRICS)]
    last = {arm: [curve[max(curve)] for curve in curves] for arm, curves in runs.items()}
    for arm, ends in last.items():
        lines.append(f"| {arm} | " + " | ".join(interval([end[key] for end in ends]) for key, _ in METRICS) + " |")
    if {"cyclical", "monotonic"} <= set(last):
        pairs = list(zip(last["cyclical"], last["monotonic"]))
        cells = (interval([a[key] - b[key] for a, b in pairs]) for key, _ in METRICS)
        lines.append("| cyclical − monotonic, seed by seed | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(runs: Dict[str, List[Curve]], target: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, layout="constrained")
    for axis, (key, name) in zip(axes.flat, METRICS):
        for number, (arm, curves) in enumerate(runs.items()):
            updates = sorted(set.intersection(*(set(curve) for curve in curves)))
            values = [[curve[update][key] for curve in curves] for update in updates]
            axis.plot(updates, [statistics.mean(v) for v in values], ".-", color=f"C{number}", label=arm)
            axis.fill_between(
                updates, [min(v) for v in values], [max(v) for v in values], color=f"C{number}", alpha=0.15, linewidth=0
            )
        axis.set_title(name, loc="left", fontsize=10)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("update")
    figure.savefig(target, format=target.suffix[1:])


if __name__ == "__main__":
    output = Path(sys.argv[1])
    found = {arm: [read(log) for log in sorted(output.glob(f"{arm}-*.log"))] for arm in ARMS}
    found = {arm: [curve for curve in curves if curve] for arm, curves in found.items()}
    found = {arm: curves for arm, curves in found.items() if curves}
    if not found:
        sys.exit(f"report.py: no validation in {output}/ARM-SEED.log yet")
    print(table(found))
    plot(found, output / "annealing.svg")
