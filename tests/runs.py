"""Folders of runs as `fairseq-vae finetune` leaves them, without a training."""

import json
import random

from evaluation import made_up
from helpers import WORDS, save_vae, write_data

from fairseq_vae.evaluate_edit import Row
from fairseq_vae.finetune.recipe import flags, read_recipe
from fairseq_vae.measure.summary import summarise
from fairseq_vae.objective.schedule import kl_weight
from fairseq_vae.report.render import as_json

DIMENSIONS = 8
HOSTILE = "</title><script>alert('x')</script>&$\\frac{$"  # as a word of a text
CYCLE = 40


def line(tag, **values):
    return f"2026-01-01 | INFO | {tag} | {json.dumps({'epoch': 1, **{key: str(v) for key, v in values.items()}})}\n"


def log(updates, beta, every=20):
    """What a training prints, with values that fall."""
    found = "2026-01-01 | INFO | fairseq_cli.train | {'_name': None}\n"
    for update in range(10, updates + 1, 10):
        found += line("train_inner", rec=90 - update / 4, kl=9.0, kl_weight=beta(update), num_updates=update)
        if update % every == 0:
            values = {"valid_rec": 80 - update / 4, "valid_kl": 8.0, "valid_au": 7, "valid_num_updates": update}
            dims = " ".join(f"{(d + 1) / 10:.3f}" for d in range(DIMENSIONS))
            found += line("valid", **values, valid_kl_dims=dims, valid_diagnosis="ok")
    return found


def settings():
    """Of the default recipe, with cycles in the second phase."""
    changes = ["kl_schedule=cyclical", f"kl_cycle_updates={CYCLE}", "kl_warmup_updates=null", "free_bits=0.25"]
    phases = read_recipe("default", [f"phase2.criterion.{c}" for c in changes], {"phase1": 60, "phase2": 100})
    return {"recipe": {phase: flags(found) for phase, found in phases.items()}, "bart": None, "data": []}


def make(folder):
    """A whole run of a tiny model, with an evaluation and a sweep of edits; one of its words is HOSTILE."""
    words = [*WORDS, HOSTILE, *(f"w{i}" for i in range(17))]  # 25, as write_data has
    (folder / "data-bin").mkdir(parents=True)
    draw = random.Random(1)
    rows = [[draw.randrange(len(words)) for _ in range(draw.randrange(2, 9))] for _ in range(40)]
    write_data(folder / "data-bin", test=rows, valid=rows[:5])
    for phase, std in ("phase1", 0.3), ("phase2", 0.4):
        save_vae(folder / phase, f"--latent-dim={DIMENSIONS}", words=words, std=std)
        (folder / phase / "dict.txt").unlink()
        (folder / f"{phase}.done").write_text("fairseq-train\n")
    text = "".join(f"{word} 1\n" for word in words)
    for path in folder / "dict.txt", folder / "data-bin/dict.txt":
        path.write_text(text)
    (folder / "settings.json").write_text(json.dumps(settings()))
    (folder / "phase1.log").write_text(log(60, lambda update: 0.0))
    (folder / "phase2.log").write_text(log(100, lambda update: kl_weight(update, "cyclical", cycle_updates=CYCLE)))
    numbers = summarise(made_up())
    numbers.update(latent_dim=DIMENSIONS, kl_dims=[1.0 / (d + 1) for d in range(DIMENSIONS)])
    numbers.update(signature=f"{numbers['signature']}|{HOSTILE}", diagnosis_message=HOSTILE)
    (folder / "evaluation.json").write_text(as_json([numbers]))
    edits = [Row("input", 0.0, seed, 0.05, 100.0, 4.1, 9.0, 0)._asdict() for seed in (1, 2)]
    edits += [
        Row(way, strength, seed, strength / 8, 50.0 - 5 * strength + seed, 4 + strength / 9, 9.0, 0)._asdict()
        for way in (HOSTILE, "_gradient")
        for strength in (0.0, 1.0, 2.0)
        for seed in (1, 2)
    ]
    (folder / "edits.json").write_text(json.dumps(edits))
    return folder
