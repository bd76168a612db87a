"""The console command fairseq-vae: one module a command, which loads fairseq and torch only when it runs."""

from .main import main

__all__ = ["main"]
