"""Priors fitted to the aggregated posterior of a training split.

Shapes: N sentences, Z latent dimensions.
"""

import os
import warnings
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from tqdm import tqdm

from .base.errors import InputError
from .base.files import fingerprint
from .base.stream import Purpose, standard_normal
from .checkpoints.load import check_alone, load_model
from .checkpoints.priors import save_prior
from .collect import load_split
from .latent.distributions import Gaussian, sampled
from .latent.fitted import KINDS, FittedFlow, FittedGaussian, FittedMixture
from .latent.flows import libraries

__all__ = ["Fit", "fit_flow", "fit_gaussian", "fit_mixture", "fit_prior"]

COMPONENTS = (1, 2, 4, 8, 16, 32, 64)  # of a mixture, to choose from
CHUNK = 256  # z's whose density is taken at a time: a mixture of flows takes megabytes for each
RIDGE = 1e-6  # added to covariances' diagonals: a component of few points stays positive definite


class Fit(NamedTuple):
    """A fitted prior and how well it fits, nats per sentence.

    Attributes:
        prior: of one of KINDS
        kind: its name
        density: mean log density of held-out z's under it
        standard: the same under the model's own prior
        kl: KL of the fitted prior from the model's own, by samples
        note: a few words, e.g. the number of components
    """

    prior: Any
    kind: str
    density: float
    standard: float
    kl: float
    note: str


def fit_gaussian(mean: Tensor, variance: Tensor) -> FittedGaussian:
    """The Gaussian with the moments of the aggregated posterior 1/N sum_i q(z|x_i), exactly.

    Its covariance is Cov(mu) + diag(mean variance), the law of total variance.

    Args:
        mean: of each sentence's posterior, N x Z
        variance: of each sentence's posterior, N x Z

    >>> fit_gaussian(torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), 3.0)).tril
    tensor([[2.]])
    """
    mean, variance = mean.double(), variance.double()
    covariance = torch.cov(mean.T, correction=0).reshape(mean.size(1), -1) + variance.mean(0).diag()
    return FittedGaussian({"mu": mean.mean(0), "tril": torch.linalg.cholesky(covariance)})


def fit_mixture(z: Tensor, held_out: Tensor, components: int = 32, seed: int = 1) -> FittedMixture:
    """A mixture of Gaussians by expectation-maximisation; held-out z's choose the number of components.

    Args:
        z: of the training sentences, N x Z
        held_out: z's of other sentences
        components: most of them
        seed: of the initialisation
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    tried = [k for k in COMPONENTS if k <= min(components, max(1, len(z) // (2 * z.size(1))))]
    best: Optional[Any] = None
    best_density = -float("inf")
    for k in tqdm(tried, desc="mixtures", leave=False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the density on held-out z's is what counts
            found = GaussianMixture(k, reg_covar=RIDGE, random_state=seed).fit(z.double().numpy())
        density = float(found.score(held_out.double().numpy()))
        if density > best_density:
            best, best_density = found, density
    assert best is not None, "one component is always tried"
    trils = torch.linalg.cholesky(torch.from_numpy(best.covariances_))
    return FittedMixture(
        {"logits": torch.from_numpy(best.weights_).log(), "mus": torch.from_numpy(best.means_), "trils": trils}
    )


def fit_flow(
    z: Tensor, held_out: Tensor, epochs: int = 100, patience: int = 5, batch: int = 512, seed: int = 1
) -> FittedFlow:
    """A neural spline flow by maximum likelihood, behind the linear map that whitens the z's.

    Adam at learning rate 1e-3; the epoch that is best on held-out z's counts, and training ends `patience` epochs after
    it.

    Args:
        z: of the training sentences, N x Z
        held_out: z's of other sentences
        epochs: most of them
        patience: epochs without progress before the end
        batch: z's of a step
        seed: of the weights and of the order
    """
    centre = z.double().mean(0)
    tril = torch.linalg.cholesky(torch.cov(z.double().T, correction=0).reshape(z.size(1), -1))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        prior = FittedFlow({"mu": centre, "tril": tril})
        optimizer = torch.optim.Adam(prior.parameters(), lr=1e-3)
        best, best_density, since = prior.state_dict(), -float("inf"), 0
        for _ in tqdm(range(epochs), desc="flow", unit="epoch", leave=False):
            for rows in torch.randperm(len(z)).split(batch):
                loss = -prior().log_prob(z[rows]).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(prior.parameters(), 5.0)  # one z far out would throw the splines off
                optimizer.step()
            density = mean_density(prior, held_out)
            since += 1
            if density > best_density:
                best = {name: value.clone() for name, value in prior.state_dict().items()}
                best_density, since = density, 0
            if since >= patience:
                break
    prior.load_state_dict(best)
    return prior


def mean_density(prior: Any, z: Tensor) -> float:
    """The mean log density of z's under a prior, nats."""
    with torch.no_grad():
        density = prior()
        return float(torch.cat([density.log_prob(part) for part in z.split(CHUNK)]).double().mean())


def fit_prior(
    checkpoint: str,
    data: str,
    kind: str,
    output: str,
    components: int = 32,
    max_tokens: int = 4096,
    seed: int = 1,
) -> Fit:
    """Fit a prior to the aggregated posterior of the training split, and write it to a file; of an autoencoder
    (--deterministic-latent) to the means, since no variance of it is trained.

    Args:
        checkpoint: file of a bart_vae
        data: folder of the binarised text, with the splits train and valid
        kind: one of KINDS
        output: the file to write
        components: most of a mixture
        max_tokens: tokens in a batch; changes nothing but speed, memory and rounding
        seed: of the z's and of the fit

    Raises:
        InputError: an argument cannot work, or posteriors are not finite
    """
    if kind not in KINDS:
        raise InputError(f"--kind {kind}: expected one of {', '.join(KINDS)}")
    if components < 1:
        raise InputError(f"--components {components}: expected 1 or more")
    if kind == "flow":
        libraries()
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise InputError(f"--output {output}: the folder {folder} does not exist")
    model, cfg, task = load_model(checkpoint, data, skip_invalid_size_inputs_valid_test=False)
    check_alone(model, checkpoint)
    if model.encoder.zero_latent:
        raise InputError(f"checkpoint {checkpoint} has no latent (--zero-latent): there is nothing to fit a prior to")
    scorers = {split: load_split(model, task, split, max_tokens, seed) for split in ("train", "valid")}
    posteriors = {split: scorer.distributions()[0] for split, scorer in scorers.items()}
    eps_dim = model.encoder.posterior.eps_dim
    means = getattr(cfg.model, "deterministic_latent", False)  # an autoencoder's decoder has seen no others
    z = {
        split: finite(found.mean) if means else one_each(found, seed, eps_dim, held_out=split != "train")
        for split, found in posteriors.items()
    }
    count, dim = z["train"].shape
    if count <= dim and not (kind == "mixture" or isinstance(posteriors["train"], Gaussian) and kind == "gaussian"):
        raise InputError(
            f"--kind {kind}: {data} has {count:,} sentences to train on; expected more than the {dim:,} dimensions of "
            "z, whose covariance it takes of one z each: give more text or another kind"
        )
    prior: Any
    if kind == "gaussian":
        prior = gaussian(None if means else posteriors["train"], z["train"])
    elif kind == "mixture":
        prior = fit_mixture(z["train"], z["valid"], components, seed)
    else:
        prior = fit_flow(z["train"], z["valid"], seed=seed)
    prior.requires_grad_(False).eval()
    save_prior(prior, output, fingerprint(checkpoint))
    return described(prior, kind, model.cpu().encoder.prior, z["valid"], seed)


def one_each(posterior: Any, seed: int, eps_dim: int, held_out: bool) -> Tensor:
    """One sample of each sentence's posterior, N x Z.

    Training and held-out sentences have draws of their own: with the same ones, a posterior that says little gives the
    same z's, and what is held out would be known. An evaluation's draws are others, too.

    Args:
        posterior: of N sentences
        seed: of the draws
        eps_dim: of the posterior
        held_out: whether they are no training sentences

    Raises:
        InputError: a number is not finite
    """
    count = len(posterior.mean)
    return finite(sampled(posterior, standard_normal(seed, Purpose.FITTING, int(held_out), range(count), eps_dim)))


def finite(z: Tensor) -> Tensor:
    """z as it is.

    Raises:
        InputError: a number is not finite
    """
    if not torch.isfinite(z).all():
        raise InputError(
            "posteriors of the training text are not finite: training diverged; take an earlier checkpoint"
        )
    return z


def gaussian(posterior: Any, z: Tensor) -> FittedGaussian:
    """A full Gaussian: of a Gaussian posterior's own moments, otherwise of the moments of samples."""
    if isinstance(posterior, Gaussian):
        return fit_gaussian(posterior.mean, posterior.variance)
    return fit_gaussian(z, torch.zeros_like(z))


def described(prior: Any, kind: str, own: Any, held_out: Tensor, seed: int, size: int = 10_000) -> Fit:
    """How well a prior fits.

    Args:
        prior: the fitted one
        kind: its kind
        own: the model's
        held_out: z's of other sentences, N x Z
        seed: of the samples for the KL
        size: number of these samples
    """
    with torch.no_grad():
        z = prior().rsample(standard_normal(seed, Purpose.GENERATION, 1, range(size), prior.eps_dim))
    kl = mean_density(prior, z) - mean_density(own, z)
    note = f"{len(prior.logits)} components" if kind == "mixture" else ""
    return Fit(prior, kind, mean_density(prior, held_out), mean_density(own, held_out), kl, note)
