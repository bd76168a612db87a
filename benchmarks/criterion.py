"""The criterion alone, from the decoder's last states to the loss and back; and what beta, the KL and free bits cost.

    python benchmarks/criterion.py --folder FOLDER [--vocabulary 50000]

First table: projection onto the vocabulary, softmax, loss and their gradients, as stock cross_entropy does it and as
bart_vae does it. Second: a whole training step of bart_vae (size small), against the bookkeeping alone.
"""

import statistics

import torch
import torch.nn.functional as F
from measure import SIZES, VAE, alternate, batches, emit, named, parser, ratios, show, size_flags, text, trainer

from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.latent.distributions import GaussianPosterior
from fairseq_vae.measure.metrics import mutual_information
from fairseq_vae.objective.free_bits import free_bits
from fairseq_vae.objective.likelihood import nll_sum
from fairseq_vae.objective.schedule import kl_weight
from fairseq_vae.validation import MI_SENTENCES, latent_statistics

PAD = 1


def main() -> None:
    args = parser(__doc__).parse_args()
    data = text(args.folder, args.vocabulary)
    layers, width, heads = SIZES[args.size]
    trained = trainer(data, *VAE, *size_flags(layers, width, heads), max_tokens=args.max_tokens)
    some = batches(trained, 8)
    device = trained.device
    weight = torch.randn(args.vocabulary, width, device=device).mul_(0.02).requires_grad_()
    states = [torch.randn(*batch["target"].shape, width, device=device, requires_grad=True) for batch in some]

    def stock(index):
        hidden, target = states[index % 8], some[index % 8]["target"].to(device)
        lprobs = F.log_softmax(F.linear(hidden, weight).float(), dim=-1)
        F.nll_loss(lprobs.view(-1, args.vocabulary), target.view(-1), ignore_index=PAD, reduction="sum").backward()

    def ours(index):
        hidden, target = states[index % 8], some[index % 8]["target"].to(device)
        real = target.ne(PAD)
        nll_sum(hidden[real], weight, target[real]).backward()

    rows = ratios(alternate({"stock cross_entropy": stock, "bart_vae": ours}, args.rounds), "stock cross_entropy")
    show(rows)
    settings = named(args, ("size", "vocabulary", "max_tokens", "rounds"))
    emit("projection and loss, both ways", settings, rows)

    def bookkeeping(index):
        sentences = some[index % 8]["nsentences"]
        mu = torch.zeros(sentences, 32, device=device, requires_grad=True)
        posterior = GaussianPosterior(mu, mu)
        beta = kl_weight(index, "cyclical", cycle_updates=100)
        standard_normal(1, Purpose.TRAINING, index, range(sentences), 32).to(device)
        (beta * free_bits(posterior.kl(), 0.25).sum()).backward()

    def statistics_of_validation(index):
        posterior = GaussianPosterior(torch.randn(some[0]["nsentences"], 32), torch.zeros(some[0]["nsentences"], 32))
        latent_statistics(some[0]["id"].tolist(), posterior, posterior.kl())

    table = GaussianPosterior(*torch.randn(2, MI_SENTENCES, 32))
    arms = {
        "training step": lambda index: trained.train_step([some[index % 8]]),
        "beta, z's noise, KL, free bits": bookkeeping,
        "statistics of a validation batch": statistics_of_validation,
        "mutual information, once a validation": lambda index: mutual_information(table, table.mu),
    }
    times = alternate(arms, args.rounds)
    step = statistics.median(times["training step"])
    rows = {
        name: {
            "seconds": round(statistics.median(values), 5),
            "share of a step": round(statistics.median(values) / step, 4),
        }
        for name, values in times.items()
    }
    show(rows)
    emit("bookkeeping", settings, rows)


if __name__ == "__main__":
    main()
