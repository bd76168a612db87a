"""The stock BART's encoder and decoder with a latent between them."""

import fairseq  # noqa: F401  before the modules here, which its loading registers
