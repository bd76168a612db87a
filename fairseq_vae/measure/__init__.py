"""How good a text VAE is, and whether it uses z."""
