"""Decoding: sentences a second from the prior and from posteriors, greedy, beam 5 and nucleus, over batch sizes.

    python benchmarks/decoding.py --folder FOLDER [--length 25]

Random weights with an end of sentence that never wins, so that every sentence is `--length` tokens long and all arms do
the same work. Stock BART, greedy, is the row to compare posteriors with: it encodes the same sentences.
"""

import copy
from argparse import Namespace

import torch
from measure import SIZES, STOCK, VAE, alternate, emit, finish, named, parser, show, size_flags, text, trainer

BATCHES = (1, 8, 32, 128, 256)
METHODS = {
    "greedy": {"beam": 1},
    "beam 5": {"beam": 5},
    "nucleus": {"beam": 1, "sampling": True, "sampling_topp": 0.9},
}


def main() -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--length", type=int, default=25, help="tokens of every sentence (default: 25)")
    options.add_argument("--batches", default=",".join(map(str, BATCHES)), help="sentences at a time")
    args = options.parse_args()
    data = text(args.folder, args.vocabulary, length=args.length)
    sizes = size_flags(*SIZES[args.size])
    built = {"stock bart": trainer(data, *STOCK, *sizes), "bart_vae": trainer(data, *VAE, *sizes, task="vae_denoising")}
    dataset = built["stock bart"].task.dataset("train")
    rows = {}
    for size in map(int, args.batches.split(",")):
        sample = dataset.collater([dataset[i] for i in range(size)])
        z = torch.randn(size, 32)
        arms = {}
        for method, flags in METHODS.items():
            for name, trained in built.items():
                # a copy each: stock BART stays set to the beam of its last generator
                model = copy.deepcopy(trained.model).eval()
                limits = {"max_len_a": 0, "max_len_b": args.length, "min_len": args.length}
                generator = trained.task.build_generator([model], Namespace(**limits, **flags))
                net_input = {key: sample["net_input"][key] for key in ("src_tokens", "src_lengths")}
                sources = {"prior": {**net_input, "z": z}} if name == "bart_vae" else {}
                sources["posterior" if name == "bart_vae" else "stock bart"] = net_input
                for source, given in sources.items():

                    def decode(index, generator=generator, model=model, given=given):
                        with torch.no_grad():
                            generator.generate([model], {"net_input": given})
                        finish()

                    arms[f"{source}, {method}"] = decode
        for name, values in alternate(arms, args.rounds, 1).items():
            rows.setdefault(name, {})[str(size)] = round(size / sorted(values)[len(values) // 2], 2)
    for row in rows.values():
        row["best / alone"] = round(max(row.values()) / next(iter(row.values())), 1)
    print("Sentences a second, by sentences at a time")
    show(rows)
    emit("decoding", named(args, ("size", "vocabulary", "length", "rounds")), rows)


if __name__ == "__main__":
    main()
