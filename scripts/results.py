"""Write the tables of results in READMEs from the JSON beside them: python scripts/results.py [--check] README.md ...

A table stands between two lines, of which the first names its kind and its file, from the README's folder:

    <!-- results: curve yelp.json -->
    <!-- end of results -->

Kinds: `curve`, of the curve.json that `fairseq-vae curve` writes; `labels`, of what examples/classification/labels.py
writes. With --check nothing is written, and a README whose tables are other ones is an error.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from fairseq_vae.base.files import write
from fairseq_vae.measure.seeds import OverSeeds
from fairseq_vae.report import rate
from fairseq_vae.report.text import grid

BLOCK = re.compile(r"(<!-- results: (\S+) (\S+) -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)
BASE, OTHER = "monotonic", "cyclical"  # arms whose difference is the claim of `labels`


def curve(found: Dict[str, Any]) -> str:
    """The table of a study's arms, how they were trained and measured, and the measurement's signature."""
    done = [point for point in found["points"] if point["state"] == "done"]
    [signature] = {point["figures"]["signature"] for point in done if not point["zero_latent"]}
    told = f"{rate.caption(found['points'], found['warm'])} Signature: `{signature}`."
    return f"{rate.table(found['points'], markdown=True)}\n\n{told}"


def labels(found: Sequence[Dict[str, Any]]) -> str:
    """Accuracy by arm and number of labels, in percent, and how much better OTHER is than BASE, seed by seed.

    >>> rows = [{"arm": arm, "seed": seed, "labels": 9, "accuracy": 0.5 + 0.1 * (arm == OTHER)}
    ...         for arm in (BASE, OTHER) for seed in (1, 2)]
    >>> print(labels(rows).splitlines()[-1])
    | cyclical less monotonic | +10.0 ± 0.0 |
    """
    sizes = sorted({row["labels"] for row in found})
    table = [["arm", *(f"{size:,} labels" for size in sizes)]]
    reached = {(row["arm"], row["labels"], row["seed"]): 100 * row["accuracy"] for row in found}
    for arm in dict.fromkeys(row["arm"] for row in found):
        line = []
        for size in sizes:
            over = OverSeeds.of([value for (a, b, _), value in reached.items() if (a, b) == (arm, size)])
            line.append(f"{over.mean:.1f} ± {over.half:.1f}")
        table.append([arm, *line])
    if {(BASE, sizes[0]), (OTHER, sizes[0])} <= {(arm, size) for arm, size, _ in reached}:
        line = []
        for size in sizes:
            seeds = [seed for arm, b, seed in reached if (arm, b) == (BASE, size) and (OTHER, size, seed) in reached]
            over = OverSeeds.of([reached[OTHER, size, seed] - reached[BASE, size, seed] for seed in seeds])
            line.append(f"{over.mean:+.1f} ± {over.half:.1f}")
        table.append([f"{OTHER} less {BASE}", *line])
    return grid(table, markdown=True)


KINDS: Dict[str, Callable[[Any], str]] = {"curve": curve, "labels": labels}


def filled(path: Path) -> str:
    """A README with the tables that its files give.

    Raises:
        ValueError: a kind or a file is not there
    """
    text = path.read_text(encoding="utf-8")

    def table(block: "re.Match[str]") -> str:
        first, kind, name, _, last = block.groups()
        if kind not in KINDS:
            raise ValueError(f"{path}: {kind}: expected a kind of table among {', '.join(KINDS)}")
        if not (path.parent / name).is_file():
            raise ValueError(f"{path}: {name}: no such file beside it")
        content = json.loads((path.parent / name).read_text(encoding="utf-8"))
        return f"{first}{KINDS[kind](content)}\n{last}"

    return BLOCK.sub(table, text)


def main(arguments: List[str]) -> int:
    """Fill or check READMEs; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a table is another one")
    parser.add_argument("readmes", nargs="+", metavar="README.md", type=Path)
    args = parser.parse_args(arguments)
    status = 0
    for path in args.readmes:
        try:
            wanted = filled(path)
        except ValueError as error:
            print(f"results.py: {error}", file=sys.stderr)
            status = 1
            continue
        if wanted != path.read_text(encoding="utf-8"):
            if args.check:
                print(f"results.py: {path}: a table is not that of its file: python scripts/results.py {path}")
                status = 1
            else:
                write(str(path), wanted)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
