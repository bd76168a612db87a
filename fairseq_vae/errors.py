"""Bad input in a fairseq command: one ERROR line with the remedy stands before the host's traceback."""

import logging

logger = logging.getLogger(__name__)


class InputError(ValueError):
    """What a user gave cannot work; the message names the file, line or flag, what was expected and the remedy."""

    def __init__(self, message: str):
        super().__init__(message)
        logger.error(message)
