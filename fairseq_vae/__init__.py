"""fairseq-vae: BART models as text variational autoencoders, a plug-in for fairseq (`--user-dir fairseq_vae`).

The import does not load fairseq, so parts without fairseq (`fairseq_vae.latent`, `fairseq_vae.objective`,
`fairseq-vae path`) do not wait for it. Model, task and criterion are registered as soon as fairseq is loaded: at once
if fairseq loads the plug-in, otherwise at the end of fairseq's own import.
"""

from typing import Any

from .base.host import hush, when_fairseq_loads
from .base.version import __version__

__all__ = ["BARTVAEModel", "GaussianPosterior", "__version__", "register"]


def register() -> None:
    """Register model, task and criterion with fairseq; a second call does nothing.

    Raises:
        ImportError: fairseq is missing, does not import here, or is too old; the message names a version to install
    """
    from .base.host import allow_checkpoint_classes, require_fairseq

    require_fairseq()
    allow_checkpoint_classes()
    from . import criterion, model, task  # noqa: F401  the import registers them


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for first.

    Raises:
        AttributeError: the plug-in has no such name
    """
    if name == "BARTVAEModel":
        register()
        from .model import BARTVAEModel

        return BARTVAEModel
    if name == "GaussianPosterior":
        from .latent.distributions import GaussianPosterior

        return GaussianPosterior
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


hush()
when_fairseq_loads(register)
