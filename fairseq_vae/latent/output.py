"""The result of a model's forward pass, beside fairseq's own."""

from typing import Dict, NamedTuple, Optional

from torch import Tensor

from .distributions import Distribution

__all__ = ["VAEOutput"]


class VAEOutput(NamedTuple):
    """The latent of a batch and, where a target was given, its losses. Shapes: B sentences, Z latent dimensions.

    Attributes:
        prior: p(z), of each sentence or one for all sentences
        z: the latents that the decoder read, B x Z
        posterior: q(z|x) of each sentence; None where z was given
        nll: -log p(x|z) of the batch in nats, a float32 scalar
        nll_rows: -log p(x|z) of each sentence in nats, B; their sum is `nll`; in evaluation only
        rec_loss: the training loss of the reconstruction, a scalar: `nll` and label smoothing
        rate: KL(q(z|x) || p(z)) of each sentence in nats, float32, B x Z or B x 1, see distributions.rate; None where z
            was given
        terms: in training, the weighted terms of the objective that have parameters, by name, scalars

    >>> import torch
    >>> from fairseq_vae.latent.distributions import Gaussian
    >>> output = VAEOutput(prior=Gaussian.standard(torch.zeros(3)), z=torch.zeros(2, 3))
    >>> output.posterior is None and output.nll is None
    True
    """

    prior: Distribution
    z: Tensor
    posterior: Optional[Distribution] = None
    nll: Optional[Tensor] = None
    nll_rows: Optional[Tensor] = None
    rec_loss: Optional[Tensor] = None
    rate: Optional[Tensor] = None
    terms: Dict[str, Tensor] = {}
