"""Loading and noise alone: an epoch's batches of vae_denoising, with and without noise, against fairseq's stock
translation task on the same sentences; and the noise of z against one call of torch.randn.

    python benchmarks/data.py --folder FOLDER
"""

import torch
from measure import SIZES, STOCK, VAE, alternate, emit, named, parser, ratios, show, size_flags, text, trainer

from fairseq_vae.base.stream import Purpose, standard_normal

SENTENCES, LATENT = 150, 32  # a batch of 4,096 tokens, and the default --latent-dim


def main() -> None:
    args = parser(__doc__).parse_args()
    data = text(args.folder, args.vocabulary)
    sizes = size_flags(*SIZES["tiny"])
    trainers = {"stock translation": trainer(data, *STOCK, *sizes, max_tokens=args.max_tokens)}
    for noise in ("none", "deletion", "masking"):
        flags = (*VAE, *sizes, *([] if noise == "none" else [f"--noise={noise}", "--noise-ratio=0.3"]))
        trainers[f"vae_denoising, {noise}"] = trainer(data, *flags, task="vae_denoising", max_tokens=args.max_tokens)

    def epoch(index, trained):
        for _ in trained.get_train_iterator(index + 1, load_dataset=False).next_epoch_itr(shuffle=True):
            pass

    times = alternate({name: lambda i, t=trained: epoch(i, t) for name, trained in trainers.items()}, args.rounds)
    rows = ratios(times, "stock translation")
    show(rows)
    settings = named(args, ("vocabulary", "max_tokens", "rounds"))
    emit("an epoch of 2,000 sentences, loaded and collated", settings, rows)

    draws = {
        "one torch.randn": lambda i: torch.randn(SENTENCES, LATENT),
        "a stream a sentence": lambda i: standard_normal(1, Purpose.TRAINING, i, range(SENTENCES), LATENT),
    }
    rows = ratios(alternate(draws, 50 * args.rounds), "one torch.randn")
    show(rows)
    emit("noise of z for a batch", {"sentences": SENTENCES, "latent_dim": LATENT}, rows)


if __name__ == "__main__":
    main()
