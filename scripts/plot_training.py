"""Training curves from fairseq's JSON logs: reconstruction, KL, beta and active units over updates.

    fairseq-train ... --log-format json | tee train.log
    python scripts/plot_training.py train.log --output curves.png

Several logs are phases of one training, drawn one after another.
"""

import argparse
import sys
from pathlib import Path

from fairseq_vae.base.errors import InputError
from fairseq_vae.finetune.run import read_log
from fairseq_vae.report import drawing
from fairseq_vae.report.curves import Part, curves


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
    logs = [read_log(log) for log in args.logs]
    for path, log in zip(args.logs, logs):
        if not log.updates:
            sys.exit(f"plot_training.py: {path} has no metrics; train with --log-format json")
    try:
        with drawing.style("plot_training.py"):
            drawing.save(
                curves([Part(path.stem, log.train, log.valid) for path, log in zip(args.logs, logs)]), str(args.output)
            )
    except InputError as error:
        sys.exit(f"plot_training.py: {error}")


if __name__ == "__main__":
    main()
