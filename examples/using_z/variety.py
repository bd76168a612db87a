"""How various samples are, by prior and by decoding: variety.py RUN TEXT KIND ...

RUN is a folder of `fairseq-vae finetune` with RUN/KIND.safetensors of `fairseq-vae fit-prior`; TEXT a file of sentences
that the model has not seen. The row `posteriors` draws one z from each of these sentences' own posterior: no prior that
is fitted to the aggregated posterior can do better than that.
"""

import sys
from pathlib import Path
from typing import Dict

import torch

from fairseq_vae import hub
from fairseq_vae.base.files import fingerprint
from fairseq_vae.base.lines import read_lines
from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.checkpoints.priors import load_prior
from fairseq_vae.measure.sentences import distinct, self_bleu

COUNT, SEED = 1000, 1
DECODINGS = {"greedy": {"beam": 1}, "nucleus 0.9": {"sampling": True, "sampling_topp": 0.9}}


def main() -> None:
    """Print the table."""
    run, text, kinds = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    checkpoint = str(run / "phase2/checkpoint_best.pt")
    vae = hub.load(checkpoint, str(run / "data-bin"))
    sentences = read_lines(text)[:COUNT]
    own = vae.model.encoder.prior
    priors = {"N(0, I)": own}
    for kind in kinds:
        priors[kind] = load_prior(str(run / f"{kind}.safetensors"), vae.model.latent_dim, fingerprint(checkpoint))

    def draws(dim: int) -> torch.Tensor:
        return standard_normal(SEED, Purpose.GENERATION, 0, range(COUNT), dim)

    z: Dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for name, prior in priors.items():
            z[name] = prior().rsample(draws(prior.eps_dim))
        z["posteriors"] = vae.encode(sentences).rsample(draws(vae.model.encoder.posterior.eps_dim)[: len(sentences)])
    print("| z from | " + " | ".join(f"{name}: self-BLEU | distinct-2" for name in DECODINGS) + " |")
    print("|---|" + "---:|---:|" * len(DECODINGS))
    for name, latents in z.items():
        cells = []
        for decoding in DECODINGS.values():
            found = vae.decode(latents, seed=SEED, max_len=60, **decoding)
            cells += [f"{self_bleu(found):.1f}", f"{distinct(found, 2):.3f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    data = [f"{self_bleu(sentences):.1f}", f"{distinct(sentences, 2):.3f}"]
    print(f"| the data | {' | '.join(data * len(DECODINGS))} |")


main()
