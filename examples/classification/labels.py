"""Gather what `fairseq-vae represent` found of a study's models: labels.py OUTPUT > labels.json

Reads OUTPUT/ARM-SEED.json, and prints a row for each task of labelled sentences, arm, seed of its training and number
of labels: the accuracy of mu on test, its mean over the choices of the labels.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, List

NAME = re.compile(r"(.+)-(\d+)\.json")


def rows(output: Path) -> List[Dict[str, Any]]:
    """The rows, in the order of the seeds of an arm."""
    found = []
    names = (NAME.fullmatch(path.name) for path in sorted(output.glob("*.json")))
    for arm, seed in sorted((name.group(1), int(name.group(2))) for name in names if name):
        for row in json.loads((output / f"{arm}-{seed}.json").read_text(encoding="utf-8"))["summary"]:
            if (row["representation"], row["method"], row["figure"]) == ("mu", "logistic", "accuracy"):
                of_row = {"labels": row["labels"], "accuracy": round(row["mean"], 6)}
                found.append({"task": row["task"], "arm": arm, "seed": seed, **of_row})
    return found


if __name__ == "__main__":
    found = rows(Path(sys.argv[1]))
    if not found:
        sys.exit(f"labels.py: {sys.argv[1]} has no ARM-SEED.json")
    print(json.dumps(found, indent=1))
