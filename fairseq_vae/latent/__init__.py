"""The latent z: pooling, posteriors, priors, distributions, and the slots through which the decoder reads z."""

from . import layerwise  # noqa: F401  the import registers its prior and posterior
