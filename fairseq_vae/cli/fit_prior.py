"""`fairseq-vae fit-prior`: a prior fitted to where training put the sentences."""

import argparse

__all__ = ["add_arguments", "run"]

HELP = "fit a prior to the z's of the training text, to sample from"
DESCRIPTION = (
    "Fit a prior to the aggregated posterior of the training split, and say how well it fits held-out sentences (split "
    "valid). Samples from it look more like the data than those of N(0, I), where the two differ: give it to "
    "fairseq-generate, evaluate and sample as --prior FILE."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Checkpoint, data folder, the kind and the file to write."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint of bart_vae")
    command.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote, with train and valid")
    command.add_argument(
        "--kind",
        choices=("gaussian", "mixture", "flow"),
        default="mixture",
        help="full-covariance Gaussian, by moments; mixture of such, whose number held-out sentences choose; neural "
        "spline flow (pip install zuko) (default: mixture)",
    )
    command.add_argument("--output", required=True, metavar="FILE", help="to write, e.g. prior.safetensors")
    command.add_argument(
        "--components", type=int, default=32, metavar="N", help="most components of a mixture (default: 32)"
    )
    command.add_argument("--seed", type=int, default=1, help="of the z's and of the fit (default: 1)")
    command.add_argument("--max-tokens", type=int, default=4096, help="tokens in a batch (default: 4096)")
    command.add_argument("--user-dir", metavar="DIR", help="your own plug-in")


def run(args: argparse.Namespace) -> None:
    """Fit, write, and print the figures of the fit."""
    from ..fit import fit_prior

    fit = fit_prior(
        args.checkpoint,
        args.data,
        args.kind,
        args.output,
        components=args.components,
        max_tokens=args.max_tokens,
        seed=args.seed,
    )
    note = f" ({fit.note})" if fit.note else ""
    print(f"{args.output}: {fit.kind}{note}")
    print("log density of held-out z's, nats per sentence (higher fits better)")
    print(f"  under the model's own prior  {fit.standard:9.3f}")
    print(f"  under the fitted prior       {fit.density:9.3f}")
    print(f"KL(fitted || the model's own)  {fit.kl:9.3f} nats")
