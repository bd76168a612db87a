"""The latent z: pooling, posteriors, priors, distributions, and the slots through which the decoder reads z."""

from . import correlated as correlated  # registers its posteriors
