"""Evaluation: importance samples in packed batches against the loop of public evaluators, and mutual information.

    python benchmarks/evaluation.py --folder FOLDER [--checkpoint FILE --data FOLDER]

The loop takes one sentence at a time and K = 100 samples in chunks of 5, with the chunk's logits at once; noise and
results are the same. Mutual information is of 10,000 sentences and 32 dimensions, in a process of its own. With a
checkpoint and its data, also the seconds of each part of the default evaluation of its test set.
"""

import time

import torch
from measure import (
    SIZES,
    VAE,
    alternate,
    apart,
    emit,
    named,
    parser,
    peak,
    quiet,
    ratios,
    show,
    size_flags,
    text,
    trainer,
)

from fairseq_vae.base.stream import Purpose
from fairseq_vae.latent.distributions import Gaussian, log_ratio, mapped, rows
from fairseq_vae.measure.estimators import Importance, information
from fairseq_vae.measure.scoring import Scorer, pair_eps

SIZES["quickstart"] = (2, 192, 4)
SAMPLES, CHUNK = 100, 5


class First:
    """The first sentences of a dataset."""

    def __init__(self, dataset, count: int):
        self.dataset, self.tgt_sizes = dataset, dataset.tgt_sizes[:count]
        self.src_sizes = dataset.src_sizes[:count]
        self.tgt, self.tgt_dict = dataset.tgt, dataset.tgt_dict

    def __getitem__(self, index):
        return self.dataset[index]

    def collater(self, samples):
        return self.dataset.collater(samples)


@torch.no_grad()
def one_at_a_time(model, scorer: Scorer) -> torch.Tensor:
    """IW-NLL of each sentence, N."""
    sums = Importance(len(scorer))
    for index in range(len(scorer)):
        sample = scorer.dataset[index]
        source = sample["source"][None].to(scorer.device)
        posterior, prior = (
            mapped(found, torch.Tensor.cpu) for found in (model.encoder.infer(source), model.encoder.prior())
        )
        target = sample["target"].to(scorer.device).expand(CHUNK, -1)
        before = torch.cat((target[:, -1:], target[:, :-1]), 1)
        for start in range(0, SAMPLES, CHUNK):
            pairs = [(index, k) for k in range(start, start + CHUNK)]
            eps = pair_eps(scorer.seed, Purpose.VALIDATION, pairs, model.latent_dim)
            z = posterior.rsample(eps)
            logits, _ = model(before, None, before, z=z.to(scorer.device))
            nll = -logits.log_softmax(-1).gather(2, target[:, :, None]).double().sum((1, 2)).cpu()
            sums.add([index] * CHUNK, nll, log_ratio(rows(posterior, [0] * CHUNK), prior, z, eps) - nll)
    return sums.nll_iw


def mutual_information(sentences: int, dim: int, samples: int):
    """Seconds, and MiB above what was there before."""
    generator = torch.Generator().manual_seed(1)
    mu, logvar = torch.randn(2, sentences, dim, generator=generator)
    eps = torch.randn(samples, sentences, dim, generator=generator)
    before, start = peak(reset=True), time.perf_counter()
    information(Gaussian(mu, logvar), eps)
    return time.perf_counter() - start, peak() - before


def main() -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--sentences", type=int, default=20, help="of the importance samples (default: 20)")
    options.add_argument("--checkpoint", help="of the default evaluation")
    options.add_argument("--data", help="folder of fairseq-preprocess, for it")
    options.set_defaults(size="quickstart", vocabulary=4000)
    args = options.parse_args()
    quiet()

    built = trainer(text(args.folder, args.vocabulary), *VAE, *size_flags(*SIZES[args.size]), task="vae_denoising")
    model = built.model.eval()
    scorer = Scorer(model, First(built.task.dataset("valid"), args.sentences), args.max_tokens)
    found = {}

    def packed():
        return scorer.importance(*scorer.distributions(), SAMPLES).nll_iw

    arms = {"one at a time": lambda i: found.update(loop=one_at_a_time(model, scorer))}
    arms["packed"] = lambda i: found.update(packed=packed())
    rows = ratios(alternate(arms, args.rounds, 1), "one at a time")
    show(rows)
    largest = float(((found["loop"] - found["packed"]) / found["loop"]).abs().max())
    print(f"largest relative difference of a sentence's IW-NLL: {largest:.1e}")
    settings = {**named(args, ("size", "vocabulary", "max_tokens", "sentences", "rounds")), "samples": SAMPLES}
    emit("importance-weighted likelihood", {**settings, "difference": largest}, rows)

    seconds, memory = apart(mutual_information, 10000, 32, 1)
    row = {"10,000 x 32": {"seconds": round(seconds, 2), "MiB": round(memory, 1)}}
    show(row)
    emit("mutual information over all pairs, one sample a sentence", {}, row)

    if args.checkpoint:
        from fairseq_vae.evaluate import evaluate

        row = {}
        for name, generate in (("without text", 0), ("default", 1000)):
            start = time.perf_counter()
            numbers = evaluate(args.checkpoint, args.data, generate=generate)
            row[name] = {"seconds": round(time.perf_counter() - start, 1), "sentences": numbers["sentences"]}
        show(row)
        emit("default evaluation", {"samples": numbers["samples"]}, row)


if __name__ == "__main__":
    main()
