"""Operations on a GPU, and waits of the host for it, of a step: stock fairseq BART against bart_vae. No GPU is needed.

    python benchmarks/waits.py --folder FOLDER

They are counted on the pretended device of tests/pretended.py. A wait leaves the device without work when it ends: the
host has queued nothing meanwhile. An operation counts as one whatever its size; torch's chunked loss is one. A step of
decoding is one word of a whole batch.
"""

import sys
from argparse import Namespace
from pathlib import Path
from unittest import mock

from measure import SIZES, STOCK, VAE, batches, emit, named, parser, show, size_flags, text, trainer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from pretended import Device, moved_trainer, pinned  # noqa: E402

RATE = ("--rate-target=2", "--rate-max-weight=2")
EVERYTHING = ("--rate-controller=pid", *RATE, "--free-bits=0.2", "--bow-weight=1", "--mmd-weight=1", "--bn-mu=0.5")
ARMS = {
    "stock bart": STOCK,
    "default": VAE,
    "cross-attention, 4 slots": (*VAE, "--latent-injection=cross-attention", "--latent-memory-slots=4"),
    "rate controller": (*VAE, "--rate-controller=lagrangian", *RATE),
    "all remedies at once": (*VAE, *EVERYTHING, "--word-dropout=0.3", "--label-smoothing=0.1"),
}
SEARCHES = {  # beam search last: stock BART's attention keeps the width
    "greedy": {"beam": 1},
    "nucleus": {"beam": 1, "sampling": True, "sampling_topp": 0.9},
    "beam 5": {"beam": 5},
}


def counted(device, call):
    """Operations and waits of a call."""
    device.reset()
    call()
    return sum(device.operations.values()), sum(device.waits.values())


def decoding(device, built, sample, options):
    """Operations and waits of a step, on average over the steps of a batch."""
    model = built.model.eval()
    generator = built.task.build_generator([model], Namespace(max_len_b=20, **options))
    step, steps = generator.search.step, []
    with mock.patch.object(generator.search, "step", lambda *given: steps.append(1) or step(*given)):
        numbers = counted(device, lambda: built.task.inference_step(generator, [model], sample))
    return [round(number / len(steps), 1) for number in numbers]


def row(data, flags, task, args):
    """The counts of an arm."""
    built = trainer(data, *flags, *size_flags(*SIZES[args.size]), task=task, max_tokens=args.max_tokens)
    some = [*batches(built, 3)]
    result = {}
    with Device() as device:
        moved_trainer(built).begin_epoch(1)
        *_, last = before = [*map(pinned, some)]
        for sample in before:  # the optimizer's state is made, and masks as long as the last batch
            built.train_step([sample])
        result["training"], result["waits"] = counted(device, lambda: built.train_step([last]))
        result["validation"], result["its waits"] = counted(device, lambda: built.valid_step(last))
        sample, _ = built._prepare_sample(last)
        for search, options in SEARCHES.items():
            result[search], result[f"{search} waits"] = decoding(device, built, sample, options)
    return result


def main() -> None:
    args = parser(__doc__).parse_args()
    args.max_tokens = min(args.max_tokens, 1024)
    data = text(args.folder, args.vocabulary)
    rows = {
        name: row(data, flags, "translation" if name == "stock bart" else "vae_denoising", args)
        for name, flags in ARMS.items()
    }
    show(rows)
    emit("operations and waits of a step", named(args, ("size", "vocabulary", "max_tokens")), rows)


if __name__ == "__main__":
    main()
