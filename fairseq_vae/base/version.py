"""The version of the distribution, which every checkpoint keeps."""

__all__ = ["__version__"]

__version__ = "0.1.0"
