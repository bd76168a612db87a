"""The task vae_denoising: its data, and fairseq's hooks around its validations and its generation."""

import fairseq  # noqa: F401  before the modules here: whichever is imported first, they are registered whole

from .denoising import VAEDenoisingTask

__all__ = ["VAEDenoisingTask"]
