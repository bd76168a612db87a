"""Bad input in a fairseq command: one ERROR line with the remedy stands before the host's traceback."""

import contextlib
import functools
import logging

logger = logging.getLogger(__name__)


class InputError(ValueError):
    """What a user gave cannot work; the message names the file, line or flag, what was expected and the remedy."""

    def __init__(self, message: str):
        super().__init__(message)
        logger.error(message)


@contextlib.contextmanager
def memory_remedy():
    """Where memory runs out, name the flags that lower the peak, once; the host then skips the batch if it can."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = ("out of memory", "not enough memory", "allocate memory")  # CUDA's words, and those of torch's CPU side
        if isinstance(error, MemoryError) or any(words in str(error) for words in told):
            name_memory_flags()
        raise


@functools.lru_cache(maxsize=None)
def name_memory_flags() -> None:
    logger.error(
        "out of memory: lower --max-tokens (and raise --update-freq by as much: the same update from smaller parts), "
        "or give --checkpoint-activations, which computes activations twice, or --autocast-bf16, which halves them"
    )
