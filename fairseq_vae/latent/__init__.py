"""The latent z: pooling, posteriors, priors, distributions, and the slots through which the decoder reads z."""

from . import conditional, correlated, layerwise, learned  # noqa: F401  the imports register their posteriors and priors
