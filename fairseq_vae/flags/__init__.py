"""The flags of model, task and criterion: their own, and those of the registered parts."""

import fairseq  # noqa: F401  before the modules here: what fairseq registers as it loads is made of them
