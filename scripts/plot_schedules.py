"""A picture of the schedules of beta, drawn from the functions that training calls.

python scripts/plot_schedules.py --output examples/schedules.svg
"""

import argparse
import logging
from pathlib import Path

from fairseq_vae.objective.schedule import RAMPS, kl_weight

UPDATES = 1000
PANELS = [  # title, flags, what kl_weight gets
    ("constant", "--kl-weight 1", dict(schedule="constant")),
    ("linear", "--kl-warmup-updates 600", dict(schedule="linear", warmup_updates=600)),
    (
        "cyclical",
        "--kl-cycle-updates 250\n--kl-cycle-ratio 0.5",
        dict(schedule="cyclical", cycle_updates=250, cycle_ratio=0.5),
    ),
    (
        "constant after zero",
        "--kl-zero-updates 300",
        dict(schedule="constant", zero_updates=300),
    ),
    (
        "linear from above, to 0.2",
        "--kl-start 1 --kl-weight 0.2\n--kl-warmup-updates 600",
        dict(schedule="linear", start=1.0, final=0.2, warmup_updates=600),
    ),
    (
        "zero, ramp, hold (Optimus), twice",
        "--kl-cycle-updates 500\n--kl-zero-updates 250 --kl-cycle-ratio 0.25",
        dict(schedule="cyclical", cycle_updates=500, cycle_ratio=0.25, zero_updates=250),
    ),
]
STYLES = {"linear": "-", "sigmoid": "--", "cosine": ":"}


def plot(output: Path) -> None:
    logging.disable(logging.INFO)  # matplotlib's search for fonts, which fairseq's logging would show
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    figure, axes = plt.subplots(2, 3, figsize=(11, 5), sharex=True, sharey=True, layout="constrained")
    for axis, (title, flags, arguments) in zip(axes.flat, PANELS):
        ramps = RAMPS[:1] if arguments["schedule"] == "constant" else RAMPS
        for number, shape in enumerate(ramps):
            beta = [kl_weight(update, shape=shape, **arguments) for update in range(0, UPDATES, 2)]
            axis.plot(range(0, UPDATES, 2), beta, STYLES[shape], color=f"C{number}", linewidth=1.6, label=shape)
        axis.set_title(title, loc="left", fontsize=11)
        axis.text(0, 1.36, flags, fontsize=8, color="0.35", family="monospace", va="top")
        axis.set_ylim(-0.03, 1.4)
        axis.set_yticks([0, 0.5, 1])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    for axis in axes[1]:
        axis.set_xlabel("update", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("β", fontsize=10)
    axes[0, 1].legend(title="--kl-ramp", loc="lower right", frameon=False, fontsize=8, title_fontsize=8)
    figure.savefig(
        output, dpi=130, format=output.suffix[1:], metadata={"Date": None} if output.suffix == ".svg" else None
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the picture, .png or .svg")
    plot(parser.parse_args().output)
