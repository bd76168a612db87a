"""The stock BART's encoder and decoder with a latent between them."""

import fairseq  # noqa: F401  its loading imports the modules here, so it must come first
