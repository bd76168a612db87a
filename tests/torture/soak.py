"""Train, validate, save, load, generate and evaluate in one process, over and over, and look whether anything grows.

    python tests/torture/soak.py --minutes 30

prints one line of JSON: cycles, the slope of the resident memory over time with its 95 % interval, and the numbers of
open file handles, threads, child processes and tensors after the warm-up and at the end. A cycle resumes one training
for an epoch by fairseq-train's own loop, reads the checkpoint as a user does, reconstructs, samples and interpolates.
"""

import argparse
import gc
import json
import logging
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from workers import train, write_splits  # noqa: E402

SENTENCES = [[(i * j) % 11 for j in range(1, 2 + i % 7)] for i in range(1, 61)]
FLAGS = (
    "--bn-mu=0.5 --bow-weight=0.1 --mmd-weight=0.1 --rate-controller=pid --rate-target=2 --word-dropout=0.2 "
    "--noise=masking --store-ema --ema-decay=0.9 --keep-last-epochs=2"
)
LINES = ["w3 w1 w4", "w1", "w5 w9 w2 w6"]


def cycle(folder, number, workers=0):
    """One epoch more of the training in the folder, and everything that a user does with its checkpoint."""
    from fairseq_vae import BARTVAEModel

    train(folder / "data", folder / "run", f"{FLAGS} --max-epoch={number} --num-workers={workers}")
    vae = BARTVAEModel.from_pretrained(str(folder / "run"), "checkpoint_last.pt", str(folder / "data"), bpe=None)
    vae.reconstruct(LINES)
    vae.sample(3, sampling=True, sampling_topp=0.9)
    vae.interpolate(LINES[0], LINES[2], steps=3)


def measured():
    """Resident memory in MB, and the numbers of open file handles, threads, child processes and tensors."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks = list(Path("/proc/self/task").iterdir())
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return {
        "memory": pages * resource.getpagesize() / 1e6,
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(tasks),
        "children": len(children),
        "tensors": sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()),
    }


def slope(seconds, values):
    """The least-squares slope of values over time and half the width of its 95 % interval, by the hour."""
    hours = np.asarray(seconds) / 3600
    values, centred = np.asarray(values), hours - hours.mean()
    found = (centred @ values) / (centred @ centred)
    rest = values - values.mean() - found * centred
    error = np.sqrt((rest @ rest) / max(1, len(values) - 2) / (centred @ centred))
    return float(found), float(1.96 * error)


def soak(folder, minutes=0.0, cycles=0, workers=0, say=lambda line: None):
    """Cycles until both the minutes and the number are over; what was measured after each one."""
    write_splits(folder / "data", SENTENCES, SENTENCES[:20])
    begin, rows = time.monotonic(), []
    while len(rows) < cycles or time.monotonic() - begin < 60 * minutes:
        cycle(folder, len(rows) + 1, workers)
        rows.append({"seconds": time.monotonic() - begin, **measured()})
        say(json.dumps(rows[-1]))
    return rows


def summary(rows, warm_up=0.2):
    """The figures of a soak, without its first cycles."""
    warm = rows[int(warm_up * len(rows)) :]
    found, width = slope([row["seconds"] for row in warm], [row["memory"] for row in warm])
    return {
        "cycles": len(rows),
        "minutes": round(rows[-1]["seconds"] / 60, 1),
        "memory, MB": [round(warm[0]["memory"], 1), round(warm[-1]["memory"], 1)],
        "MB an hour": [round(found, 2), round(found - width, 2), round(found + width, 2)],
        **{name: [warm[0][name], warm[-1][name]] for name in ("handles", "threads", "children", "tensors")},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=0, help="processes that load training data (default: 0)")
    parser.add_argument("--log", type=Path, help="file for a line of JSON after each cycle")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)

    def say(line):
        if args.log:
            with args.log.open("a") as file:
                file.write(f"{line}\n")

    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(summary(soak(Path(folder), args.minutes, workers=args.workers, say=say))))


if __name__ == "__main__":
    main()
