"""examples/latents/averaged.py: what averaging over latent vectors does to importance weights, where all is known."""

import importlib.util
import math
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from helpers import save_vae, write_data
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from fairseq_vae.latent.distributions import Gaussian, log_ratio

PATH = Path(__file__).parent.parent / "examples/latents/averaged.py"
N, L, Z, SIGMA = 3000, 2, 4, 0.6  # sentences, vectors, their dimensions together and those of x, its noise


@pytest.fixture(scope="module")
def averaged():
    spec = importlib.util.spec_from_file_location("averaged", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class World:
    """z ~ N(0, I) of L vectors, x = W z + e, e ~ N(0, SIGMA^2 I), and q(z|x) that is near the posterior."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        eye = torch.eye(Z).double()
        self.W = (2 * torch.eye(Z) + 0.2 * torch.randn(Z, Z, generator=generator)).double()
        self.x = self.W @ torch.randn(Z, generator=generator).double()
        precision = eye + self.W.T @ self.W / SIGMA**2
        self.exact = MultivariateNormal(
            torch.linalg.solve(precision, self.W.T @ self.x) / SIGMA**2, torch.inverse(precision)
        )
        self.logp = MultivariateNormal(
            torch.zeros(Z).double(), self.W @ self.W.T + SIGMA**2 * torch.eye(Z).double()
        ).log_prob(self.x)
        self.q = Gaussian(self.exact.mean + 0.05, self.exact.covariance_matrix.diagonal().log())

    def limit(self, share):
        """log of the integral of q^(1 - share) p(z)^share p(x|z), the exponential of a quadratic in z."""
        spread = torch.exp(self.q.logvar)
        matrix = torch.diag((1 - share) / spread + share) + self.W.T @ self.W / SIGMA**2
        vector = (1 - share) * self.q.mu / spread + self.W.T @ self.x / SIGMA**2
        constant = -0.5 * (1 - share) * (self.q.mu.square() / spread + self.q.logvar).sum()
        constant -= 0.5 * (self.x / SIGMA).square().sum() + Z * math.log(SIGMA) + 0.5 * Z * math.log(2 * math.pi)
        return constant + 0.5 * vector @ torch.linalg.solve(matrix, vector) - 0.5 * torch.logdet(matrix)

    def samples(self, count):
        """-log p(x|z) and log p(z) - log q(z|x) of N rows of samples."""
        eps = torch.randn(N * count, Z, generator=torch.Generator().manual_seed(2)).double()
        many = Gaussian(self.q.mu.expand(N * count, Z), self.q.logvar.expand(N * count, Z))
        z = many.rsample(eps)
        nll = -Independent(Normal(z @ self.W.T, SIGMA), 1).log_prob(self.x)
        ratio = log_ratio(many, Gaussian.standard(torch.zeros(Z).double()), z, eps)
        return nll.view(N, count), ratio.view(N, count)


def test_the_summed_weights_find_the_likelihood_and_the_averaged_ones_exceed_it(averaged):
    world = World()
    nll, ratio = world.samples(64)
    assert world.limit(1.0).item() == pytest.approx(world.logp.item(), abs=1e-9)
    likelihoods = {}
    for share in (1.0, 1 / L):
        found = averaged.curve(nll, ratio, share)
        assert found[:, 0].allclose(nll[:, 0] - share * ratio[:, 0])
        means = found.mean(0)[[0, 3, 15, 63]]
        assert means.tolist() == sorted(means.tolist(), reverse=True), "from above, sample by sample"
        weights = (share * ratio - nll).exp().flatten()
        error = (weights.std() / weights.mean()).item() / math.sqrt(weights.numel())
        likelihoods[share] = weights.mean().log().item()
        assert likelihoods[share] == pytest.approx(world.limit(share).item(), abs=4 * error)
        assert -found[:, -1].mean().item() == pytest.approx(world.limit(share).item(), abs=0.05)
    assert likelihoods[1.0] == pytest.approx(world.logp.item(), abs=0.01)
    q = Independent(Normal(world.q.mu, (0.5 * world.q.logvar).exp()), 1)
    full = MultivariateNormal(world.q.mu, torch.diag(world.q.logvar.exp()))
    rate = kl_divergence(q, Independent(Normal(torch.zeros(Z).double(), 1.0), 1))
    least = (1 - 1 / L) * rate - kl_divergence(full, world.exact)
    assert least > 0.5, "nats by which it is too good at least"
    assert world.limit(1 / L) - world.logp > least


@pytest.mark.slow
def test_the_picture_of_a_model_is_drawn(averaged, tmp_path, capsys):
    flags = "--latent-vectors=2 --latent-dim=4 --latent-pooling=attention --latent-injection=layer"
    parts = "--latent-prior=layer-wise --latent-posterior=layer-wise"
    data = write_data(tmp_path, test=[[3, 1, 4], [1, 5], [2, 6, 5, 3], [5]])
    save_vae(tmp_path, *flags.split(), *parts.split(), words=[line.split()[0] for line in open(f"{data}/dict.txt")])
    output = tmp_path / "averaged.svg"
    given = Namespace(checkpoint=str(tmp_path / "checkpoint_best.pt"), data=data, split="test", samples=8)
    averaged.main(Namespace(**vars(given), max_tokens=100, output=str(output)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["summed", "averaged"]
    picture = output.read_text()
    assert "summed over vectors" in picture and "averaged over 2 vectors" in picture
