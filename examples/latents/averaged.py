"""The importance-weighted NLL of a model of several latent vectors, right and with the latent's terms averaged.

python examples/latents/averaged.py CHECKPOINT DATA --output averaged.svg

A sample's weight is p(x|z) p(z) / q(z|x), and log p(z) - log q(z|x) is a sum over the L vectors of z. The released code
of DELLA (Hu et al. 2022, https://arxiv.org/abs/2207.06130) takes the mean over vectors, so its weights are
p(x|z) (p(z) / q(z|x))^(1/L). With ever more samples the estimate by the summed weights falls to -log p(x); that by the
averaged ones ends at least (1 - 1/L) KL(q||p) - KL(q||p(z|x)) below it (by Jensen's inequality), too good where q is
near the posterior.
"""

import argparse
import math
from typing import Any, List, Tuple

import torch
from torch import Tensor

from fairseq_vae.base.files import write
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.collect import load_split
from fairseq_vae.latent.distributions import log_ratio, rows
from fairseq_vae.measure.packing import Pairs
from fairseq_vae.measure.scoring import Scorer


def curve(nll: Tensor, ratio: Tensor, share: float = 1.0) -> Tensor:
    """-log 1/k sum_{j <= k} w_j with the weights w = p(x|z) (p(z) / q(z|x))^share, for k = 1 to K.

    Args:
        nll: -log p(x|z) of each sample, N x K
        ratio: log p(z) - log q(z|x), N x K
        share: 1, or 1/L

    Returns:
        nats per sentence, N x K
    """
    counts = torch.arange(1, nll.size(1) + 1, dtype=nll.dtype)
    return counts.log() - torch.logcumsumexp(share * ratio - nll, 1)


def sampled(scorer: Scorer, samples: int) -> Tuple[Tensor, Tensor]:
    """-log p(x|z) and log p(z) - log q(z|x) of K samples of each sentence's posterior, in nats, N x K."""
    posterior, prior = scorer.distributions()
    nll, ratio = torch.zeros(2, len(scorer), samples, dtype=torch.float64)

    def draw(pairs: Pairs) -> Tuple[Tensor, Tensor]:
        places = [index for index, _ in pairs]
        eps, own = scorer.eps(pairs), rows(posterior, places)
        z = own.rsample(eps)
        return z, log_ratio(own, rows(prior, places), z, eps)

    for pairs, (_, found), values in scorer.score(draw, samples, "importance samples"):
        sentences, numbers = zip(*pairs)
        nll[sentences, numbers], ratio[sentences, numbers] = values, found
    return nll, ratio


def plot(curves: List[Tuple[str, Tensor]], output: str) -> None:
    import io

    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for label, values in curves:
        axis.plot(range(1, len(values) + 1), values, label=label)
    axis.set_xscale("log")
    axis.set_xlabel("samples")
    axis.set_ylabel("nats per sentence")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    write(output, drawn.getvalue())


def main(args: Any) -> None:
    model, cfg, task = load_model(args.checkpoint, args.data, skip_invalid_size_inputs_valid_test=False)
    scorer = load_split(model, task, args.split, args.max_tokens, cfg.common.seed)
    nll, ratio = sampled(scorer, args.samples)
    vectors, tokens = model.encoder.memory.vectors, sum(scorer.lengths)
    right, averaged = (curve(nll, ratio, share).mean(0) for share in (1.0, 1 / vectors))
    plot([("summed over vectors", right), (f"averaged over {vectors} vectors", averaged)], args.output)
    for name, values in (("summed", right), ("averaged", averaged)):
        total = float(values[-1]) * len(scorer)
        print(f"{name}: {values[-1]:.2f} nats per sentence, {math.exp(total / tokens):.2f} a token's perplexity")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data", help="folder of fairseq-preprocess")
    parser.add_argument("--split", default="test")
    parser.add_argument("--samples", type=int, default=100, help="of each sentence (default: 100)")
    parser.add_argument("--max-tokens", type=int, default=4096, help="in a batch (default: 4096)")
    parser.add_argument("--output", default="averaged.svg")
    main(parser.parse_args())
