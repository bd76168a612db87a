"""The version: of the distribution, and of what a checkpoint is written by."""

__version__ = "0.1.0"
