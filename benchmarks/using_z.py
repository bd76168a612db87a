"""Encoding files, sampling, exploring: `fairseq-vae encode` against the encoder's own forward pass, `sample` over batch
sizes, steps of the page of `fairseq-vae explore`.

    python benchmarks/using_z.py encode --checkpoint FILE --text FILE [--sentences 100000] [--output .npy]
    python benchmarks/using_z.py sample --checkpoint FILE [--prior FILE] [--alone 20]
    python benchmarks/using_z.py explore --checkpoint FILE --text FILE --labels FILE [--steps 50]

A checkpoint has its dict.txt and its BPE beside it. The bare encoder gets the same batches, made before: what the
command takes longer is reading, tokens, batches and writing. Seconds by the clock and of the process, all threads.
A step of the page is greedy, with at most 64 tokens: its seconds by the clock, without a browser.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch
from measure import emit, finish, quiet, show

from fairseq_vae.base.lines import stream_lines
from fairseq_vae.cli.arguments import labelled
from fairseq_vae.edit.attributes import fit_label
from fairseq_vae.edit.ways import ways
from fairseq_vae.evaluate_edit import DEFAULT_STRENGTHS
from fairseq_vae.explore.explorer import Explorer, Shown
from fairseq_vae.hub import find_data, load
from fairseq_vae.latent.paths import PATHS
from fairseq_vae.measure.scoring import encoder_input
from fairseq_vae.vectors import encode_file

METHODS = {
    "beam 5": {"beam": 5},
    "greedy": {"beam": 1},
    "all words": {"sampling": True},
    "nucleus 0.9": {"sampling": True, "sampling_topp": 0.9},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("question", choices=("encode", "sample", "explore"))
    options.add_argument("--checkpoint", required=True, help="of bart_vae")
    options.add_argument("--text", type=Path, help="to encode or explore, a sentence a line; repeated if it is short")
    options.add_argument("--labels", type=Path, help="of the text, one a line, to explore edits")
    options.add_argument("--steps", type=int, default=50, help="of each kind that are explored (default: 50)")
    options.add_argument("--sentences", type=int, default=20_000, help="to encode (default: 20000)")
    options.add_argument("--output", default=".npy", help="ending of the file that is written (default: .npy)")
    options.add_argument("--prior", help="of fit-prior, to sample from")
    options.add_argument("--batches", default="1,64,256", help="sentences at a time (default: 1,64,256)")
    options.add_argument("--alone", type=int, default=20, help="sentences that are sampled one at a time (default: 20)")
    options.add_argument("--max-len", type=int, help="most tokens of a sample, for a model that seldom ends one")
    options.add_argument("--rounds", type=int, default=5, help="counted rounds (default: 5)")
    args = options.parse_args()
    quiet()
    {"encode": encode, "sample": sample, "explore": explore}[args.question](args)


def measured(arms: Dict[str, Callable[[], Any]], rounds: int) -> Dict[str, Dict[str, List[float]]]:
    """Seconds by the clock and of the process of each arm in each round; arms take turns, after a round to warm up."""
    found: Dict[str, Dict[str, List[float]]] = {name: {"clock": [], "process": []} for name in arms}
    for index in range(rounds + 1):
        for name, arm in arms.items():
            start = time.perf_counter(), time.process_time()
            arm()
            finish()
            if index:
                found[name]["clock"].append(time.perf_counter() - start[0])
                found[name]["process"].append(time.process_time() - start[1])
    return found


def encode(args: argparse.Namespace) -> None:
    vae = load(args.checkpoint, find_data(args.checkpoint))
    lines = list(itertools.islice(itertools.cycle(stream_lines(args.text)), args.sentences))
    tokens = [vae.tokens(line) for line in lines]
    batches = [encoder_input(sample) for sample in vae.batches(tokens, has_target=False)]
    with tempfile.TemporaryDirectory() as folder:
        text = f"{folder}/text.txt"
        Path(text).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

        def bare() -> None:
            with torch.no_grad():
                for batch in batches:
                    vae.model.encoder.infer(**batch)

        def command() -> None:
            encode_file(vae, args.checkpoint, text, f"{folder}/z{args.output}")

        found = measured({"encoder alone": bare, "encode": command}, args.rounds)
    rows = {}
    for name, times in found.items():
        row = {}
        for kind, values in times.items():
            row[kind] = round(statistics.median(values), 2)
            against = [own / base for own, base in zip(values, found["encoder alone"][kind])]
            row[f"{kind}, times"] = round(statistics.median(against), 3)
        rows[name] = row
    show(rows)
    emit("encode", {"sentences": args.sentences, "output": args.output, "rounds": args.rounds}, rows)


def sample(args: argparse.Namespace) -> None:
    rows: Dict[str, Dict[str, Any]] = {}
    vae = load(args.checkpoint, find_data(args.checkpoint), prior=args.prior)
    limits = {"max_len": args.max_len} if args.max_len else {}
    sizes = list(map(int, args.batches.split(",")))
    for method, flags in METHODS.items():

        def draw(size: int, flags: Dict[str, Any] = flags) -> None:
            vae.batch_size = size
            vae.sample(args.alone if size == 1 else size, **flags, **limits)

        found = measured({str(size): lambda size=size: draw(size) for size in sizes}, args.rounds)
        rows[method] = {}
        for size in sizes:
            count = args.alone if size == 1 else size
            rows[method][str(size)] = round(count / statistics.median(found[str(size)]["process"]), 2)
        rows[method]["best / alone"] = round(max(rows[method].values()) / rows[method][str(sizes[0])], 1)
    print("Sentences a second of the process, by sentences at a time")
    show(rows)
    emit("sample", {"alone": args.alone, "max_len": args.max_len, "rounds": args.rounds}, rows)


def explore(args: argparse.Namespace) -> None:
    vae = load(args.checkpoint, find_data(args.checkpoint), prior=args.prior)
    texts, labels = labelled(vae, str(args.text), str(args.labels), None)
    attribute = fit_label(vae.encode(texts).mean.cpu(), labels).to(vae.device)
    explorer = Explorer(vae, {"beam": 1, "max_len": args.max_len or 64}, attribute)
    kinds: Dict[str, Callable[[str, str, int], Shown]] = {
        **{f"between, {path}": lambda a, b, i, path=path: explorer.between(a, b, i % 11 / 10, path) for path in PATHS},
        "walk": lambda a, b, i: explorer.walk(a, i % explorer.dimensions, i % 9 - 4.0),
        "sample": lambda a, b, i: explorer.sample(1, i),
        **{
            f"edit, {way}": lambda a, b, i, way=way: explorer.edit(
                a, attribute.labels[i % len(attribute.labels)], way, DEFAULT_STRENGTHS.get(way, [4.0])[-1]
            )
            for way in ways.names()
        },
    }
    rows: Dict[str, Dict[str, Any]] = {}
    for name, step in kinds.items():
        seconds = []
        for index in range(args.steps + 1):
            pair = texts[index % len(texts)], texts[(index + 1) % len(texts)]
            start = time.perf_counter()
            shown = step(*pair, index)
            finish()
            seconds.append(time.perf_counter() - start)
            if not shown.texts:
                raise SystemExit(f"{name}: {shown.message}")
        counted = seconds[1:]  # the first one warms up
        rows[name] = {"median": round(statistics.median(counted), 4), "worst": round(max(counted), 4)}
    print("Seconds a step")
    show(rows)
    emit("explore", {"steps": args.steps, "max_len": args.max_len or 64}, rows)


if __name__ == "__main__":
    main()
