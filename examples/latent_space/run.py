"""Fu et al. 2019's figure of the latent space: ten sequences, two dimensions, posteriors as ellipses over training.

python examples/latent_space/run.py --output examples/latent_space
"""

import argparse
import io
import json
import logging
import random
import re
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_vae import GaussianPosterior
from fairseq_vae.base.files import write
from fairseq_vae.criterion import VAECrossEntropyCriterion
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.measure.metrics import mutual_information
from fairseq_vae.model import BARTVAEModel

SEQUENCES, LENGTH, WORDS = 10, 10, 10
TARGET = 2.0  # nats: log 10 = 2.3 tell ten sequences apart


def runs(updates: int):
    """Title, flags of the criterion, flags of the model."""
    ramp = dict(kl_warmup_updates=updates // 2)
    return [
        ("constant β = 1", {}, {}),
        ("monotonic, half of training", dict(kl_schedule="linear", **ramp), {}),
        ("cyclical, 4 cycles", dict(kl_schedule="cyclical", kl_cycle_updates=updates // 4), {}),
        (
            f"Lagrangian, target {TARGET:g} nats",
            {},
            dict(rate_controller="lagrangian", rate_target=TARGET, rate_max_weight=10.0),
        ),
    ]


def data(seed: int):
    """The dictionary and one batch of all sequences, which are random words."""
    words = Dictionary()
    for i in range(WORDS):
        words.add_symbol(f"w{i}")
    words.add_symbol("<mask>")
    draw = random.Random(seed)
    rows = torch.tensor([[words.index(f"w{draw.randrange(WORDS)}") for _ in range(LENGTH)] for _ in range(SEQUENCES)])
    bos, eos = (torch.full((SEQUENCES, 1), symbol) for symbol in (words.bos(), words.eos()))
    source = torch.cat((bos, rows, eos), dim=1)
    return words, {
        "id": torch.arange(SEQUENCES),
        "ntokens": SEQUENCES * (LENGTH + 1),
        "target": torch.cat((rows, eos), dim=1),
        "net_input": {
            "src_tokens": source,
            "src_lengths": torch.full((SEQUENCES,), LENGTH + 2),
            "prev_output_tokens": torch.cat((eos, rows), dim=1),
        },
    }


def train(objective, flags, updates: int, seed: int, shots):
    """Posteriors (mu, sigma) at the updates of `shots`, and what each update logged."""
    torch.manual_seed(seed)
    words, sample = data(seed)
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words, cfg=SimpleNamespace())
    args = argparse.Namespace(latent_dim=2, dropout=0.1, max_source_positions=64, max_target_positions=64, **flags)
    ARCH_CONFIG_REGISTRY["bart_vae_tiny"](args)
    model = BARTVAEModel.build_model(args, task)
    cfg = criterion_config()(sentence_avg=True, max_update=updates, seed=seed, **objective)
    criterion = VAECrossEntropyCriterion(task, cfg)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    posteriors, log = [], []
    for update in range(updates + 1):
        if update in shots:
            model.eval()
            with torch.no_grad():
                posterior = model.encoder.infer(sample["net_input"]["src_tokens"])
            posteriors.append((posterior.mu, torch.exp(0.5 * posterior.logvar)))
            model.train()
        model.set_num_updates(update)
        loss, sentences, logged = criterion(model, sample)
        optimizer.zero_grad()
        (loss / sentences).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        log.append({key: float(logged[key]) / SEQUENCES for key in ("rec", "kl", "kl_weight")})
    eps = torch.randn(100, SEQUENCES, 2, generator=torch.Generator().manual_seed(0))
    mu, logvar = posterior
    mi = sum(mutual_information(GaussianPosterior(mu, logvar), draw) for draw in eps) / len(eps)
    return posteriors, log, mi


def plot(results, shots, output: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    import matplotlib.pyplot as plt
    from matplotlib.collections import EllipseCollection

    ratios = [*[1] * len(shots), 1.6]
    figure, axes = plt.subplots(
        len(results), len(shots) + 1, figsize=(9.5, 7.8), layout="constrained", width_ratios=ratios
    )
    for number, (row, (title, posteriors, log)) in enumerate(zip(axes, results)):
        for axis, shot, (mu, sigma) in zip(row, shots, posteriors):
            colors = [f"C{i}" for i in range(SEQUENCES)]
            size = (2 * sigma).T.tolist()  # one standard deviation to either side
            ellipses = EllipseCollection(*size, [0], units="xy", offsets=mu, transOffset=axis.transData)
            ellipses.set(facecolor=colors, alpha=0.35, linewidth=0)
            axis.add_collection(ellipses)
            axis.scatter(*mu.T, s=5, c=colors)
            axis.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xticks=[], yticks=[], aspect="equal")
            if number == 0:
                axis.set_title(f"update {shot:,}", fontsize=9)
        row[0].set_ylabel(title, fontsize=9)
        curve = row[-1]
        smooth = [sum(part) / len(part) for part in chunks([entry["kl"] for entry in log], 20)]
        curve.plot([20 * i for i in range(len(smooth))], smooth, color="C0", linewidth=1.2)
        curve.set_ylim(0, 4)
        curve.tick_params(labelsize=7, axis="y", colors="C0")
        curve.tick_params(labelsize=7, axis="x")
        beta = curve.twinx()
        every = max(1, len(log) // 200)
        beta.plot(range(0, len(log), every), [entry["kl_weight"] for entry in log[::every]], color="C1", linewidth=1)
        beta.set_ylim(0, 1.2)
        beta.tick_params(labelsize=7, colors="C1")
        if number == 0:
            curve.set_title("KL, nats per sequence (blue); β (orange)", fontsize=9)
        if number == len(results) - 1:
            curve.set_xlabel("update", fontsize=8)
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    # six decimals of a point would be half of the file
    write(output, re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number.group()):.2f}", picture.getvalue()))


def chunks(values, size):
    return [values[i : i + size] for i in range(0, len(values), size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for latent_space.svg and results.json")
    parser.add_argument("--updates", type=int, default=1600, help="of each run (default: 1600)")
    parser.add_argument("--seed", type=int, default=1, help="of data, weights and draws (default: 1)")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    shots = [args.updates * i // 3 for i in range(4)]
    results, table, start = [], {}, time.time()
    for title, objective, flags in runs(args.updates):
        posteriors, log, mi = train(objective, flags, args.updates, args.seed, shots)
        results.append((title, posteriors, log))
        last = log[-100:]
        row = {key: round(sum(entry[key] for entry in last) / len(last), 2) for key in last[0]}
        table[title] = {**row, "mi": round(mi, 2)}
        print(f"{title:<32}" + "  ".join(f"{key} {value:.2f}" for key, value in table[title].items()), flush=True)
    write(args.output / "results.json", json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    plot(results, shots, args.output / "latent_space.svg")
    print(f"{time.time() - start:.0f} s; {args.output}/latent_space.svg")


if __name__ == "__main__":
    main()
