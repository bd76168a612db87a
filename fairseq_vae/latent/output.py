"""What a model returns of a batch, beside fairseq's own."""

from typing import Dict, NamedTuple, Optional

from torch import Tensor

from .distributions import Distribution

__all__ = ["VAEOutput"]


class VAEOutput(NamedTuple):
    """The latent of a batch and, where a target was given, its losses. Shapes: B sentences, Z latent dimensions.

    Attributes:
        prior: p(z), of each sentence or one for all
        z: the latents that the decoder read, B x Z
        posterior: q(z|x) of each sentence; None where z was given
        nll: -log p(x|z) of the batch in nats, a float32 scalar
        nll_rows: -log p(x|z) of each sentence in nats, B, whose sum `nll` is; in evaluation only
        rec_loss: the training loss of the reconstruction: `nll` and label smoothing, a scalar
        terms: in training, the weighted terms of the objective that have parameters, by name, scalars
    """

    prior: Distribution
    z: Tensor
    posterior: Optional[Distribution] = None
    nll: Optional[Tensor] = None
    nll_rows: Optional[Tensor] = None
    rec_loss: Optional[Tensor] = None
    terms: Dict[str, Tensor] = {}
