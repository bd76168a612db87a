"""Training step: stock fairseq BART against bart_vae with each injection, and bart_cvae, on the same batches of
fairseq's translation task (source = target). Time, share of the machine's own rate of matrix products; with --memory
peak memory.

    python benchmarks/train_step.py --folder FOLDER [--size base] [--memory --vocabulary 50000]

A step is fairseq's Trainer.train_step: forward, backward, clipping, Adam. Utilisation is the time that the step's
matrix products take alone, replayed with the same shapes into memory that is there already, over the time of the step.
"""

import statistics
import time

import torch
from measure import (
    INJECTIONS,
    SIZES,
    STOCK,
    VAE,
    alternate,
    apart,
    batches,
    emit,
    finish,
    named,
    parser,
    peak,
    ratios,
    show,
    size_flags,
    text,
    trainer,
)

PRODUCTS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::addmm_": 1, "aten::baddbmm": 1}  # first factor


def arms():
    """Name to flags."""
    result = {"stock bart": STOCK}
    for injection in INJECTIONS:
        slots = ("--latent-memory-slots=4",) if injection == "cross-attention" else ()
        result[injection] = (*VAE, f"--latent-injection={injection}", *slots)
    default = result[INJECTIONS[0]]
    result["default, decoder frozen"] = (*default, "--freeze-decoder", "--freeze-embeddings")
    result["default, language model"] = (*default, "--zero-latent")
    result["default, --autocast-bf16"] = (*default, "--autocast-bf16")
    result["default, checkpointed"] = (*default, "--checkpoint-activations")
    result["bart_cvae"] = ("--arch=bart_cvae", *VAE[1:])
    result["bart_cvae, y by 1 layer"] = (*result["bart_cvae"], "--target-encoder-layers=1")
    result["bart_cvae, no z"] = (*result["bart_cvae"], "--zero-latent")
    return result


def product_shapes(step):
    """Shapes of the matrix products of a call, and how often each occurs."""
    from torch.profiler import profile

    with profile(record_shapes=True) as profiled:
        step()
    found = {}
    for event in profiled.key_averages(group_by_input_shape=True):
        if event.key in PRODUCTS:
            first = PRODUCTS[event.key]
            key = tuple(map(tuple, event.input_shapes[first : first + 2]))
            found[key] = found.get(key, 0) + event.count
    return found


def products_alone(shapes, dtype):
    """Seconds of these products, into memory that is there already."""
    seconds = 0.0
    for (left, right), count in shapes.items():
        a, b = torch.randn(left, dtype=dtype), torch.randn(right, dtype=dtype)
        out = torch.matmul(a, b)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            torch.matmul(a, b, out=out)
            finish()
            times.append(time.perf_counter() - start)
        seconds += count * statistics.median(times)
    return seconds


def memory(data, flags, max_tokens):
    """MiB: at the peak of three training steps, and before the model was built."""
    before = peak(reset=True)
    trained = trainer(data, *flags, max_tokens=max_tokens)
    some = batches(trained, 3)
    peak(reset=True)
    for batch in some:
        trained.train_step([batch])
    return peak(), before


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--memory", action="store_true", help="peak memory instead of time, a process each")
    options.add_argument("--only", help="comma-separated arms, by number, stock bart being 0 (default: all)")
    args = options.parse_args()
    data = text(args.folder, args.vocabulary)
    sizes = size_flags(*SIZES[args.size])
    chosen = list(arms().items())
    if args.only:
        chosen = [chosen[int(number)] for number in args.only.split(",")]
    settings = named(args, ("size", "vocabulary", "max_tokens", "rounds"))
    if args.memory:
        rows = {}
        for name, flags in chosen:
            highest, before = apart(memory, data, (*flags, *sizes), args.max_tokens)
            rows[name] = {"peak MiB": round(highest), "of which step and model": round(highest - before)}
        base = rows[chosen[0][0]]
        for row in rows.values():
            row["ratio"] = round(row["peak MiB"] / base["peak MiB"], 3)
            row["ratio without libraries"] = round(row["of which step and model"] / base["of which step and model"], 3)
        show(rows)
        emit("peak memory of a training step", settings, rows)
        return
    trainers = {name: trainer(data, *flags, *sizes, max_tokens=args.max_tokens) for name, flags in chosen}
    some = batches(next(iter(trainers.values())), args.rounds + 2)
    for trained in trainers.values():
        trained.begin_epoch(1)
    steps = {
        name: lambda index, trained=trained: trained.train_step([some[index % len(some)]])
        for name, trained in trainers.items()
    }
    times = alternate(steps, args.rounds)
    rows = ratios(times, chosen[0][0])
    for name, row in rows.items():
        row["utilisation"] = round(utilisation(steps[name], name), 3)
    show(rows)
    emit("training step", settings, rows)


def utilisation(step, name) -> float:
    """On one batch: its products alone over the whole step, timed next to each other."""
    shapes = product_shapes(lambda: step(0))
    alone = products_alone(shapes, torch.bfloat16 if "bf16" in name else torch.float32)
    start = time.perf_counter()
    step(0)
    finish()
    return alone / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
