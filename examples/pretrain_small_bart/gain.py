"""The loss of pretrainings, and what a study found from each: gain.py GAIN.json BART:STUDY [BART:STUDY ...].

BART is an OUTPUT of run.sh, STUDY that of gain.yaml from its model.pt; points that it does not have yet are left out.
Beside GAIN.json a picture is written, GAIN.svg. `gain.py GAIN.json` alone draws it anew.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, List

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import write
from fairseq_vae.report import drawing

LINE = re.compile(r"\| INFO \| (train_inner|valid) \| .*?\bloss[= ]([\d.]+).*?\bnum_updates[= ](\d+)")
KINDS = {"train_inner": "train", "valid": "valid"}
SHOWN = (("neg_elbo", "−ELBO, nats per sentence"), ("mi", "MI, nats"))


def losses(log: str) -> Dict[str, Dict[str, List[float]]]:
    """The losses of fairseq-train's simple log over updates, bits a piece; of an update that was made twice the last.

    >>> losses("… | INFO | train_inner | epoch 001: 50 / 99 loss=9.5, ppl=724, num_updates=50, lr=0.1")["train"]
    {'updates': [50], 'bits': [9.5]}
    """
    found: Dict[str, Dict[int, float]] = {kind: {} for kind in KINDS.values()}
    for kind, loss, update in LINE.findall(log):
        found[KINDS[kind]][int(update)] = float(loss)
    return {
        kind: {"updates": sorted(rows), "bits": [rows[update] for update in sorted(rows)]}
        for kind, rows in found.items()
    }


def gathered(bart: Path, study: Path) -> Dict[str, Any]:
    """One pretraining: its losses, and the points of the study from it, language model first.

    Raises:
        InputError: there is no log, or it has no validation
    """
    log, curve = bart / "work/train.log", study / "curve.json"
    found = losses(log.read_text(encoding="utf-8")) if log.exists() else losses("")
    if not found["valid"]["updates"]:
        raise InputError(f"{log}: expected the log of run.sh, with a validation: run run.sh to its end")
    points = json.loads(curve.read_text(encoding="utf-8"))["points"] if curve.exists() else []
    kept = [
        {key: point[key] for key in ("arm", "seed", "updates", "code", "figures")}
        for point in points
        if point["state"] == "done"
    ]
    return {"losses": found, "points": kept}


def draw(found: List[Dict[str, Any]], path: str) -> None:
    """The losses over updates, and under each pretraining's updates what the study's arms found, means over seeds."""
    axes = drawing.axes(1, 1 + len(SHOWN), 11, 3.6)[0]
    updates = [max(each["losses"]["valid"]["updates"]) for each in found]
    for number, each in enumerate(found):
        look = {"color": drawing.SAFE[number % len(drawing.SAFE)]}
        train, valid = each["losses"]["train"], each["losses"]["valid"]
        axes[0].plot(train["updates"], train["bits"], linewidth=0.8, alpha=0.5, **look)
        axes[0].plot(valid["updates"], valid["bits"], "o-", markersize=4, **look)
    axes[0].set_xlabel("updates of pretraining")
    axes[0].set_ylabel("denoising loss, bits a piece")
    axes[0].set_xlim(left=0)
    arms = list(dict.fromkeys(point["arm"] for each in found for point in each["points"]))
    for axis, (key, unit) in zip(axes[1:], SHOWN):
        for number, arm in enumerate(arms):
            rows = [[p["figures"][key] for p in each["points"] if p["arm"] == arm] for each in found]
            x = [place for place, values in enumerate(rows) if values]
            y = [sum(values) / len(values) for values in rows if values]
            color, marker = drawing.SAFE[number % len(drawing.SAFE)], drawing.MARKERS[number % len(drawing.MARKERS)]
            axis.plot(x, y, marker=marker, markersize=5, linewidth=1.4, color=color, label=arm)
        axis.set_xticks(range(len(found)), [f"{count:,}" for count in updates])
        axis.set_xlim(-0.3, len(found) - 0.7)
        axis.set_xlabel("updates of pretraining")
        axis.set_ylabel(unit)
    axes[1].legend()
    drawing.save(axes[0].figure, path)


def main(target: Path, pairs: List[str]) -> None:
    if pairs:
        both = [pair.partition(":") for pair in pairs]
        found = [gathered(Path(bart), Path(study)) for bart, _, study in both]
        found.sort(key=lambda each: max(each["losses"]["valid"]["updates"]))
        write(str(target), json.dumps({"pretrainings": found}, indent=1) + "\n")
    with drawing.style("gain.py"):
        draw(json.loads(target.read_text(encoding="utf-8"))["pretrainings"], str(target.with_suffix(".svg")))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except InputError as error:
        sys.exit(f"gain.py: {error}")
