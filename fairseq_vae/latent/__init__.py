"""The latent z: pooling, posteriors, priors, distributions, and the slots through which the decoder reads z."""

from . import learned  # noqa: F401  the import registers its priors
