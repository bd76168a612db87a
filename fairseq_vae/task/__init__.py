"""The tasks vae_denoising and vae_translation: their data, and fairseq's hooks around validation and generation."""

import fairseq  # noqa: F401  before the modules here: whichever is imported first, they are registered whole

from .denoising import VAEDenoisingTask
from .translation import VAETranslationTask

__all__ = ["VAEDenoisingTask", "VAETranslationTask"]
