"""Fixtures: a tiny VAE with a language model, data and labels, its evaluation, and a collection that no model made."""

import numpy as np
import pytest
import torch
from helpers import V, save_vae, write_data

from fairseq_vae.base.files import fingerprint
from fairseq_vae.base.stream import Purpose, standard_normal
from fairseq_vae.checkpoints.priors import save_prior
from fairseq_vae.collect import collect
from fairseq_vae.evaluate import evaluate
from fairseq_vae.latent.distributions import Gaussian
from fairseq_vae.latent.fitted import FittedGaussian
from fairseq_vae.measure.collection import Collection, Given, Settings

DIMENSIONS = 8
SPLIT = [5, 2, 9, 1, 7, 4, 3, 8, 6, 2, 5, 11]  # words of each sentence


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a tiny VAE, a language model of its data, and twelve sentences of different lengths."""
    folder = tmp_path_factory.mktemp("made")
    words = [f"w{i}" for i in range(V - 5)]
    save_vae(folder / "vae", f"--latent-dim={DIMENSIONS}", words=words, std=0.15)
    save_vae(folder / "lm", f"--latent-dim={DIMENSIONS}", "--zero-latent", words=words, std=0.15)
    random = np.random.default_rng(1)
    rows = [random.integers(V - 5, size=n).tolist() for n in SPLIT]
    write_data(folder, test=rows, one=rows[:1], train=[*rows[:3], *rows[5:]])
    (folder / "labels").write_text("a\nb\n" * 6)
    (folder / "given").write_text("".join(" ".join(f"w{i}" for i in row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def checkpoint(made):
    return str(made / "vae/checkpoint_best.pt")


@pytest.fixture(scope="module")
def everything(made):
    """Arguments that leave nothing out."""
    reference, prior = str(made / "lm/checkpoint_best.pt"), str(made / "prior.safetensors")
    fitted = FittedGaussian({"mu": torch.full((DIMENSIONS,), 0.1), "tril": 0.8 * torch.eye(DIMENSIONS)})
    save_prior(fitted, prior, fingerprint(str(made / "vae/checkpoint_best.pt")))
    return {
        "samples": 5,
        "language_model": reference,
        "labels": str(made / "labels"),
        "generate": 12,
        "text": str(made / "given"),
        "prior": prior,
        "smoothness": 5,
    }


@pytest.fixture(scope="module")
def numbers(made, checkpoint, everything):
    """All of it."""
    return evaluate(checkpoint, str(made), mi_batch=4, **everything)


@pytest.fixture(scope="module")
def collected(made, checkpoint, everything):
    """All of it."""
    return collect(checkpoint, str(made), **everything)


def made_up(**parts):
    """A collection of six sentences in three dimensions; parts replace its own."""
    torch.manual_seed(0)
    size, dim = 6, 3
    posterior = Gaussian(torch.randn(size, dim), torch.randn(size, dim) / 4)
    texts = ["a b", "c", "a b c d", "d d", "b", "a c"]
    nll = 10 + torch.rand(5, size, dtype=torch.float64)
    settings = Settings(
        **{"checkpoint": "c", "data": "d", "split": "test", "seed": 1, "samples": 4, "model": "bart_vae"},
        **{"latent_dim": dim, "zero_latent": False, "pooling": "mean", "injection": "logits", "prior": "N(0,I)"},
        **{"eps_dim": dim, "tokenizer": "none/9", "fairseq_vae": "0", "fairseq": "1", "torch": "2", "text": "none"},
        **{"text_sentences": 4, "max_len": 9, "training": "t", "language_model": "l", "labels": "f", "fitted": "g"},
        **{"smoothness": 4, "told": "l"},
    )
    collection = Collection(
        settings,
        Given("run/model.pt", "data"),
        posterior,
        Gaussian.standard(torch.zeros(dim)),
        z=posterior.rsample(standard_normal(1, Purpose.VALIDATION, 0, range(size), dim)),
        kl=posterior.kl().double(),
        rec=nll[0],
        nll_iw=nll[0] + posterior.kl().double().sum(1) - 0.5,
        effective=torch.full((size,), 2.0, dtype=torch.float64),
        shuffled=nll[1] + 3,
        zero=nll[2] + 2,
        from_prior=nll[3] + 4,
        lengths=torch.tensor([len(text.split()) + 1 for text in texts]),
        lm=nll[4] + 5,
        nll_iw_fitted=nll[0] + 1,
        samples_fitted=["a b", "d", "a c", ""],
        samples_lm=torch.tensor([[3.0, 2], [0, 0], [4, 2], [3, 2]], dtype=torch.float64),
        samples_fitted_lm=torch.tensor([[6.0, 3], [2, 2], [4, 3], [0, 0]], dtype=torch.float64),
        noised=[*texts[:4], *texts[1:5] * 9, "a", "", "c", "a"],
        walked=[word for step in range(6) for word in ("a b", *["c " * step + "d"] * 9, "d d")],
        texts=texts,
        reconstructions=texts[:4],
        greedy=["a b", "c", "a b c", "d"],
        samples=["a", "", "c", "a"],
        samples_z=torch.randn(4, dim),
        copied=["a", "c"],
        labels=["x", "x", "x", "y", "y", "y"],
    )
    return collection._replace(**parts)
