"""Checkpoints: read safely, adapted, loaded, converted."""

import fairseq  # noqa: F401  before the modules here, which its loading registers
