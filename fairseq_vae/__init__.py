"""fairseq-vae: BART models as text variational autoencoders, a plug-in for fairseq (`--user-dir fairseq_vae`)."""

__version__ = "0.1.0"

from .host import allow_checkpoint_classes, require_fairseq

require_fairseq()
allow_checkpoint_classes()

from . import criterion, model, task  # noqa: E402, F401  the import registers them
from .model import BARTVAEModel  # noqa: E402, F401
