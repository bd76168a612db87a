"""How a training step's time and memory grow with layers, width, length and memory slots: each doubled from the small
size, one at a time.

    python benchmarks/scale.py --folder FOLDER

Every setting in a process of its own, three steps of 4,096 tokens, the fastest kept. `GFLOP` counts the matrix products
of forward and backward from the shapes, so that a GPU's time can be put beside it: seconds = GFLOP / (its rate x the
share of it that is reached).
"""

import time

from measure import VAE, apart, batches, emit, named, parser, peak, show, size_flags, text, trainer

SMALL = {"layers": 4, "width": 256, "heads": 4, "vocabulary": 8000, "length": 25, "slots": 1}
CHANGES = [
    {},
    {"layers": 8},
    {"layers": 12},
    {"width": 512, "heads": 8},
    {"width": 1024, "heads": 16},
    {"vocabulary": 50000},
    {"length": 50},
    {"length": 100},
    {"length": 400},
    {"slots": 4},
    {"slots": 16},
]


def operations(layers, width, vocabulary, tokens, length, slots, **_) -> float:
    """GFLOP of a step: 2 a multiplication, 3 times for the two gradients; encoder layers, decoder layers without
    cross-attention, attention over the length (and slots), the projection of real tokens."""
    linear = 2 * layers * 12 * width**2
    attention = layers * 2 * width * (2 * length + slots)
    return 3 * 2 * tokens * (linear + attention + vocabulary * width) / 1e9


def step(folder, max_tokens, layers, width, heads, vocabulary, length, slots):
    """Seconds, MiB of model and step, tokens."""
    data = text(folder, vocabulary, length=length)
    before = peak(reset=True)
    flags = (*VAE, *size_flags(layers, width, heads), f"--latent-memory-slots={slots}")
    trained = trainer(data, *flags, max_tokens=max_tokens)
    some = batches(trained, 4)
    times = []
    for batch in some:
        start = time.perf_counter()
        trained.train_step([batch])
        times.append(time.perf_counter() - start)
    return min(times[1:]), peak() - before, some[0]["ntokens"]


def main() -> None:
    args = parser(__doc__).parse_args()
    rows = {}
    for change in CHANGES:
        setting = {**SMALL, **change}
        seconds, memory, tokens = apart(step, args.folder, args.max_tokens, *setting.values())
        name = ", ".join(f"{key} {value}" for key, value in change.items() if key != "heads")
        rows[name or "small: 4 + 4 layers, 256 wide"] = {
            "seconds": round(seconds, 3),
            "MiB": round(memory),
            "GFLOP": round(operations(tokens=tokens, **setting), 1),
            "GFLOP/s": round(operations(tokens=tokens, **setting) / seconds, 1),
        }
    show(rows)
    emit("growth of a step", named(args, ("max_tokens",)), rows)


if __name__ == "__main__":
    main()
