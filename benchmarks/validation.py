"""Validation of an epoch, and checkpoints saved and loaded: stock BART against bart_vae.

    python benchmarks/validation.py --folder FOLDER

Validation is fairseq's Trainer.valid_step over the batches of 2,000 sentences; bart_vae's includes the KL, active units
and mutual information that it reports and, with the task vae_denoising, the own-z gap.
"""

from fairseq.logging import metrics
from measure import SIZES, STOCK, VAE, alternate, emit, named, parser, ratios, show, size_flags, text, trainer


def main() -> None:
    args = parser(__doc__, rounds=5).parse_args()
    data = text(args.folder, args.vocabulary)
    sizes = size_flags(*SIZES[args.size])
    trainers = {
        name: trainer(data, *flags, *sizes, task=task, max_tokens=args.max_tokens)
        for name, flags, task in (
            ("stock bart", STOCK, "translation"),
            ("bart_vae, no gap", VAE, "translation"),
            ("bart_vae", VAE, "vae_denoising"),
        )
    }

    def validate(trained):
        with metrics.aggregate(new_root=True) as found:
            for sample in trained.get_valid_iterator("valid").next_epoch_itr(shuffle=False):
                trained.valid_step(sample)
            found.get_smoothed_values()

    settings = named(args, ("size", "vocabulary", "max_tokens", "rounds"))
    rows = ratios(
        alternate({name: lambda i, t=t: validate(t) for name, t in trainers.items()}, args.rounds, 1), "stock bart"
    )
    show(rows)
    emit("validation of 2,000 sentences", settings, rows)

    for trained in trainers.values():  # an optimizer with state
        trained.train_step([next(trained.get_train_iterator(1, load_dataset=False).next_epoch_itr(shuffle=True))])
    files = {name: str(args.folder / f"{name.replace(' ', '-')}.pt") for name in trainers}

    def save(trained, file):
        trained.consolidate_optimizer()
        trained.save_checkpoint(file, {})

    saving = {name: lambda i, t=t, f=files[name]: save(t, f) for name, t in trainers.items()}
    rows = ratios(alternate(saving, args.rounds, 1), "stock bart")
    show(rows)
    emit("a checkpoint saved", settings, rows)

    loading = {name: lambda i, t=t, f=files[name]: t.load_checkpoint(f) for name, t in trainers.items()}
    rows = ratios(alternate(loading, args.rounds, 1), "stock bart")
    show(rows)
    emit("a checkpoint loaded", settings, rows)


if __name__ == "__main__":
    main()
