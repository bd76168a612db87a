"""Write the tables of results in READMEs from the JSON beside them: python scripts/results.py [--check] README.md ...

A table stands between two lines, of which the first names its kind and its file, from the README's folder:

    <!-- results: curve yelp.json -->
    <!-- end of results -->

With --draw, pictures of the same JSON are made anew, where they are: yelp.svg, yelp-validation.svg,
yelp-differences.svg.

Kinds: `curve`, of the curve.json that `fairseq-vae curve` writes; `responses`, of a curve.json of pairs, all scores of
its responses; `validation`, of a curve.json, the validations' -ELBO over updates; `printed:DATA:PAPER,...`, of a
curve.json, its evaluations under the definitions of papers, beside their figures of DATA; `doublings`, of a curve.json
with language models of N, 2N and 4N updates, what more updates come to; `labels`, of what
examples/classification/labels.py writes; `starts`, of what gain.py of examples/pretrain_small_bart writes. With
--check nothing is written, and a README whose tables are others is an error.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from fairseq_vae.base.files import write
from fairseq_vae.measure.seeds import OverSeeds
from fairseq_vae.report import differences, drawing, learning, rate
from fairseq_vae.report.text import beside_paper, grid

BLOCK = re.compile(r"(<!-- results: (\S+) (\S+) -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)
BASE, OTHER = "monotonic", "cyclical"  # arms whose difference is the claim of `labels`


def curve(found: Dict[str, Any]) -> str:
    """The table of a study's arms, how they were trained and measured, and what all signatures of theirs share."""
    points = found["points"]
    signatures = [p["figures"]["signature"].split("|") for p in points if p["state"] == "done" and not p["zero_latent"]]
    if not signatures:
        raise ValueError("no point with a latent is done")
    common = [part for part in signatures[0] if all(part in other for other in signatures)]
    names = dict.fromkeys(part.partition(":")[0] for parts in signatures for part in parts if part not in common)
    differing = f"; they differ in {', '.join(names)}" if names else ""
    versus = found.get("versus", {})
    told = f"{rate.caption(points, found['warm'], versus)} Signatures: `{'|'.join(common)}`{differing}."
    return f"{rate.table(points, True, versus)}\n\n{told}"


SCORES = {  # of responses: heading to the name in an evaluation
    **{f"BLEU-{n}": f"bleu_{n}" for n in (1, 2, 3, 4)},
    **{"bag of words, average": "a_bow", "bag of words, extrema": "e_bow"},
}
MEANS = ("precision", "recall", "f1")
ALONE = {"ROUGE-1": "rouge_1", "ROUGE-2": "rouge_2", "ROUGE-L": "rouge_l"}


def responses(found: Dict[str, Any]) -> str:
    """Every score of an arm's responses, in percent: precision, recall and F1, or ROUGE alone; means over seeds.

    >>> scores = {f"{name}_{kind}": 0.125 for name in SCORES.values() for kind in MEANS}
    >>> scores.update(dict.fromkeys(ALONE.values(), 0.25))
    >>> point = {"arm": "plain", "setting": "kl-weight=1", "state": "done", "figures": {"responses": scores}}
    >>> responses({"points": [point]}).splitlines()[-1].split(" | ")[1::7]
    ['12.5 / 12.5 / 12.5', '25.0']
    """
    done = [point for point in found["points"] if point["state"] == "done" and point["figures"].get("responses")]
    if not done:
        raise ValueError("no point of it has responses")
    several = len({point["setting"] for point in done if "=" in point["setting"]}) > 1

    def mean(rows: Sequence[Any], key: str) -> str:
        return f"{100 * OverSeeds.of([row['figures']['responses'][key] for row in rows]).mean:.1f}"

    table = [["arm", *SCORES, *ALONE]]
    for arm, setting in dict.fromkeys((point["arm"], point["setting"]) for point in done):
        rows = [point for point in done if (point["arm"], point["setting"]) == (arm, setting)]
        three = [" / ".join(mean(rows, f"{name}_{kind}") for kind in MEANS) for name in SCORES.values()]
        table.append([f"{arm}, {setting}" if several else arm, *three, *(mean(rows, key) for key in ALONE.values())])
    return grid(table, markdown=True)


def validation(found: Dict[str, Any]) -> str:
    """The validations' -ELBO of each arm over updates since the study's start, nats a sentence; means over seeds.

    >>> seen = {"updates": [50, 100], "neg_elbo": [60.0, 55.5], "kl": [0.0, 0.0]}
    >>> row = {"arm": "no z", "setting": "only", "zero_latent": True, "validation": seen}
    >>> other = {**row, "arm": "two phases", "validation": {**seen, "updates": [100, 150]}}
    >>> print(validation({"points": [row, other]}))
    | updates | 50 | 100 | 150 |
    |---|---:|---:|---:|
    | no z | 60.0 | 55.5 | - |
    | two phases | - | 60.0 | 55.5 |
    """
    seen: Dict[str, List[Dict[int, float]]] = {}
    for name, each in learning.lines(found["points"]).items():
        seen[name] = [{x: y for x, y in zip(seed["updates"], seed["neg_elbo"]) if rate.finite(y)} for seed in each]
    updates = sorted({update for seeds in seen.values() for seed in seeds for update in seed})
    if not updates:
        raise ValueError("no training of it has validated")
    table = [["updates", *(f"{update:,}" for update in updates)]]
    for name, seeds in seen.items():
        shared = [[seed[update] for seed in seeds if update in seed] for update in updates]
        table.append([name, *(f"{sum(some) / len(some):.1f}" if len(some) == len(seeds) else "-" for some in shared)])
    return grid(table, markdown=True)


def printed(found: Dict[str, Any], data: str, papers: str) -> str:
    """What papers have printed of a data set, and the figures of a study's points by the same definitions.

    >>> point = {"arm": "two phases", "seed": 1, "state": "done", "figures": {"ppl_word": 90.0, "neg_elbo": 101.5}}
    >>> print(printed({"points": [point]}, "PTB", "texar").splitlines()[-3])
    | here: two phases | 90.00 | 101.50 |
    """
    done = [point for point in found["points"] if point["state"] == "done"]
    if not done:
        raise ValueError("no point of it is done")
    several = len(done) > len({point["arm"] for point in done})
    ours = [
        {**point["figures"], "checkpoint": "{arm}, seed {seed}, {setting}".format(**point) if several else point["arm"]}
        for point in done
    ]
    return "\n\n".join(beside_paper(ours, paper, markdown=True, data=data) for paper in papers.split(","))


def doublings(found: Dict[str, Any]) -> str:
    """-ELBO of language models of N, 2N and 4N updates, and of longer ones, if the gain of a doubling shrinks evenly.

    That is -ELBO = a + b / updates ** c, through the last three: the next doublings gain r, r^2, ... of the last gain,
    r the last gain by the one before. It knows nothing of overfitting, so it is the best that is to be hoped for.

    >>> ends = {100: 48.0, 200: 44.0, 400: 42.0}
    >>> points = [{"state": "done", "zero_latent": True, "updates": updates, "figures": {"neg_elbo": neg_elbo}}
    ...           for updates, neg_elbo in ends.items()]
    >>> print(doublings({"points": points}))
    | updates | -ELBO | gain |
    |---|---:|---:|
    | 100 | 48.00 | - |
    | 200 | 44.00 | 4.00 |
    | 400 | 42.00 | 2.00 |
    | 800, by the curve | 41.00 | 1.00 |
    | 1,600, by the curve | 40.50 | 0.50 |
    """
    ends: Dict[int, List[float]] = {}
    for point in found["points"]:
        if point["state"] == "done" and point["zero_latent"]:
            ends.setdefault(point["updates"], []).append(point["figures"]["neg_elbo"])
    means = {updates: OverSeeds.of(values).mean for updates, values in sorted(ends.items())}
    lengths = list(means)
    if len(lengths) < 3 or any(after != 2 * before for before, after in zip(lengths, lengths[1:])):
        raise ValueError(
            f"its language models have {lengths} updates: expected three or more, each twice the one before"
        )
    gains = [means[before] - means[after] for before, after in zip(lengths, lengths[1:])]
    shrinks = gains[-1] / gains[-2]
    if not 0 < shrinks < 1:
        raise ValueError("the gain of a doubling does not shrink")
    table = [["updates", "-ELBO", "gain"]]
    for updates, gain in zip(lengths, ["-", *(f"{gain:.2f}" for gain in gains)]):
        table.append([f"{updates:,}", f"{means[updates]:.2f}", gain])
    last = lengths[-1]
    value = means[last]
    for power in (1, 2):
        gain = gains[-1] * shrinks**power
        value -= gain
        table.append([f"{last * 2**power:,}, by the curve", f"{value:.2f}", f"{gain:.2f}"])
    return grid(table, markdown=True)


def labels(found: Sequence[Dict[str, Any]]) -> str:
    """Accuracy by arm and number of labels, in percent, and how much better OTHER is than BASE, seed by seed.

    >>> rows = [{"task": "t", "arm": arm, "seed": seed, "labels": 9, "accuracy": 0.5 + 0.1 * seed * (arm == OTHER)}
    ...         for arm in (BASE, OTHER) for seed in (1, 2)]
    >>> print(labels(rows).splitlines()[-1])
    | cyclical less monotonic | 2 | +15.0 ± 63.5 |
    """
    [_] = {row["task"] for row in found}
    sizes = sorted({row["labels"] for row in found})
    reached = {(row["arm"], row["labels"], row["seed"]): 100 * row["accuracy"] for row in found}
    if len(reached) < len(found):
        raise ValueError("an arm, a seed and a number of labels stand there twice")
    table = [["arm", "seeds", *(f"{size:,} labels" for size in sizes)]]
    for arm in dict.fromkeys(row["arm"] for row in found):
        own = [[value for (a, b, _), value in reached.items() if (a, b) == (arm, size)] for size in sizes]
        table.append([arm, counted(own), *(cell(values, "") for values in own)])
    both = [[s for arm, b, s in reached if (arm, b) == (BASE, size) and (OTHER, size, s) in reached] for size in sizes]
    if any(both):
        less = [[reached[OTHER, b, s] - reached[BASE, b, s] for s in seeds] for b, seeds in zip(sizes, both)]
        table.append([f"{OTHER} less {BASE}", counted(less), *(cell(values, "+") for values in less)])
    return grid(table, markdown=True)


def counted(rows: Sequence[Sequence[float]]) -> str:
    """How many seeds the cells of a line have, from the fewest to the most.

    >>> counted([[1.0, 2.0], [1.0]]), counted([[1.0], [2.0]])
    ('1 to 2', '1')
    """
    few, many = (end(map(len, rows)) for end in (min, max))
    return f"{few}" if few == many else f"{few} to {many}"


def cell(values: Sequence[float], sign: str) -> str:
    """The mean of a figure's values over seeds, with half of its interval where there are several; a dash for none.

    >>> cell([1.0, 2.0], "+"), cell([1.0], ""), cell([], "")
    ('+1.5 ± 6.4', '1.0', '-')
    """
    if not values:
        return "-"
    mean, half = OverSeeds.of(values)
    return f"{mean:{sign}.1f}" + (f" ± {half:.1f}" if len(values) > 1 else "")


def starts(found: Dict[str, Any]) -> str:
    """What gain.py of examples/pretrain_small_bart gathered: each pretraining's loss, and each arm's figures behind it.

    >>> figures = {"neg_elbo": 110.0, "nll_iw": 109.0, "mi": 4.5, "bleu_greedy": 5.0, "split": "test", "sentences": 9}
    >>> points = [{"arm": "two phases", "seed": 1, "figures": {**figures, "samples": 5}}]
    >>> seen = {"losses": {"valid": {"updates": [2, 4], "bits": [9.0, 8.0]}}, "points": points}
    >>> print(*starts({"pretrainings": [seen]}).splitlines()[2:], sep="\\n")
    | 4 | 8.00 | two phases | 110.00 | 109.00 | 4.50 | 5.00 |
    <BLANKLINE>
    Nats per sentence; the split test, 9 sentences, K = 5; BLEU of greedy reconstructions from mu; one seed.
    """
    figures = {"neg_elbo": "-ELBO", "nll_iw": "NLL, IW", "mi": "MI", "bleu_greedy": "BLEU"}
    table = [["updates of pretraining", "its best loss, bits a piece", "arm", *figures.values()]]
    for each in found["pretrainings"]:
        valid = each["losses"]["valid"]
        for arm in dict.fromkeys(point["arm"] for point in each["points"]):
            rows = [point["figures"] for point in each["points"] if point["arm"] == arm]
            told = [rate.cell(OverSeeds.of([row[key] for row in rows]), 2, len(rows)) for key in figures]
            table.append([f"{max(valid['updates']):,}", f"{min(valid['bits']):.2f}", arm, *told])
    points = [point for each in found["pretrainings"] for point in each["points"]]
    one = max((point["figures"] for point in points), key=lambda row: row["samples"])  # without z there is one sample
    seeds = len({point["seed"] for point in points})
    return (
        f"{grid(table, markdown=True)}\n\nNats per sentence; the split {one['split']}, {one['sentences']:,} sentences, "
        f"K = {one['samples']}; BLEU of greedy reconstructions from mu; "
        f"{'one seed' if seeds == 1 else f'means over {seeds} seeds, and half of their 95 % intervals'}."
    )


KINDS: Dict[str, Callable[..., str]] = {
    "curve": curve,
    "responses": responses,
    "validation": validation,
    "printed": printed,
    "doublings": doublings,
    "labels": labels,
    "starts": starts,
}


def filled(path: Path) -> str:
    """A README with the tables that its files give.

    Raises:
        ValueError: a kind or a file is not there, or a file is of another kind
    """
    text = path.read_text(encoding="utf-8")

    def table(block: "re.Match[str]") -> str:
        first, whole, name, _, last = block.groups()
        kind, *options = whole.split(":")
        if kind not in KINDS:
            raise ValueError(f"{path}: {kind}: expected a kind of table among {', '.join(KINDS)}")
        if not (path.parent / name).is_file():
            raise ValueError(f"{path}: {name}: no such file beside it")
        try:
            content = json.loads((path.parent / name).read_text(encoding="utf-8"))
            return f"{first}{KINDS[kind](content, *options)}\n{last}"
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path.parent / name} is of no {kind} ({error!r})") from error

    return BLOCK.sub(table, text)


def draw(path: Path) -> None:
    """Draw anew the pictures of a README's `curve` NAME.json that are there: NAME.svg, NAME-validation.svg and
    NAME-differences.svg."""
    names = {name for _, kind, name, _, _ in BLOCK.findall(path.read_text(encoding="utf-8")) if kind == "curve"}
    for name in sorted(names):
        found = json.loads((path.parent / name).read_text(encoding="utf-8"))
        stem = path.parent / Path(name).stem
        with drawing.style("results.py --draw"):
            if Path(f"{stem}.svg").exists():
                drawing.save(rate.curve(found["points"], found["warm"]), f"{stem}.svg")
            others = {
                "validation": learning.learning(found["points"]),
                "differences": differences.differences(found["points"], found.get("versus", {})),
            }
            for kind, figure in others.items():
                if figure is not None and Path(f"{stem}-{kind}.svg").exists():
                    drawing.save(figure, f"{stem}-{kind}.svg")


def main(arguments: List[str]) -> int:
    """Fill or check READMEs; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a table is another one")
    parser.add_argument("--draw", action="store_true", help="draw anew the pictures that stand beside their JSON, too")
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
        if args.draw and not args.check:
            draw(path)
        if wanted != path.read_text(encoding="utf-8"):
            if args.check:
                print(f"results.py: {path}: a table is not that of its file: python scripts/results.py {path}")
                status = 1
            else:
                write(str(path), wanted)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
