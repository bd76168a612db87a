"""What the runs of examples/annealing measured, as a Markdown table and a picture: report.py OUTPUT

Reads OUTPUT/ARM-SEED.log, fairseq's JSON lines, of the runs that are done; writes OUTPUT/annealing.svg. Intervals are
95 % by Student's t over seeds.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Dict, List

from fairseq_vae.measure.seeds import OverSeeds

ARMS = ("constant", "monotonic", "cyclical", "lagrangian", "pid")
METRICS = [("kl", "KL, nats"), ("neg_elbo", "−ELBO, nats"), ("mi", "MI, nats"), ("au", "active units")]

Curve = Dict[int, Dict[str, float]]  # update to metrics


def read(log: Path) -> Curve:
    """The validations of a run; a resumed one's repeated lines count once."""
    found: Curve = {}
    for line in re.findall(r"\| valid \| (\{.*\})", log.read_text(encoding="utf-8", errors="replace")):
        values = json.loads(line)
        found[int(values["valid_num_updates"])] = {key: float(values[f"valid_{key}"]) for key, _ in METRICS}
    return found


def gather(output: Path) -> Dict[str, Dict[int, Curve]]:
    """The runs that are done, by arm and seed; those that are not are named on standard error."""
    found: Dict[str, Dict[int, Curve]] = {}
    for arm in ARMS:
        for log in output.glob(f"{arm}-*.log"):
            curve = read(log) if log.with_suffix(".done").exists() else {}
            if curve:
                found.setdefault(arm, {})[int(log.stem.rpartition("-")[2])] = curve
            else:
                print(f"report.py: {log} is of a run that is not done: left out", file=sys.stderr)
    return found


def interval(values: List[float]) -> str:
    """The mean, and half of its 95 % interval where there are several values."""
    mean, half = OverSeeds.of(values)
    return f"{mean:.2f} ± {half:.2f}" if len(values) > 1 else f"{mean:.2f}"


def table(runs: Dict[str, Dict[int, Curve]]) -> str:
    """A line for each arm, and one of the differences of cyclical and monotonic runs of the same seed."""
    lines = ["| β | seeds | " + " | ".join(name for _, name in METRICS) + " |", "|---|---:|" + "---:|" * len(METRICS)]
    last = {arm: {seed: curve[max(curve)] for seed, curve in curves.items()} for arm, curves in runs.items()}
    rows = {arm: [[end[key] for end in ends.values()] for key, _ in METRICS] for arm, ends in last.items()}
    first, second = last.get("cyclical", {}), last.get("monotonic", {})
    both = sorted(set(first) & set(second))
    if both:
        rows["cyclical − monotonic, seed by seed"] = [[first[s][k] - second[s][k] for s in both] for k, _ in METRICS]
    for name, values in rows.items():
        lines.append(f"| {name} | {len(values[0])} | " + " | ".join(map(interval, values)) + " |")
    return "\n".join(lines)


def plot(runs: Dict[str, Dict[int, Curve]], target: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, layout="constrained")
    for axis, (key, name) in zip(axes.flat, METRICS):
        for number, (arm, seeds) in enumerate(runs.items()):
            curves = list(seeds.values())
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
    found = gather(output)
    if not found:
        sys.exit(f"report.py: no run in {output} is done: there is no ARM-SEED.done")
    print(table(found))
    plot(found, output / "annealing.svg")
