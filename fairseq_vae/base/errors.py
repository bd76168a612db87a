"""Bad input in a fairseq command: one ERROR line with the remedy stands before the host's traceback."""

import contextlib
import functools
import logging
from typing import Iterator

__all__ = ["InputError", "NotWritten", "memory_remedy", "name_memory_flags", "reported"]

logger = logging.getLogger("fairseq_vae.errors")  # a public name: users and tests look for it in logs


class InputError(ValueError):
    """A user's input cannot work; the message names the file, line or flag, the value expected and the remedy.

    Attributes:
        logged: whether `reported` has logged it
    """

    logged = False


class NotWritten(InputError):
    """The system does not let something be written: its disk is full, or a folder is gone or read-only."""


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Log an InputError that leaves the block for fairseq, whose traceback would bury it.

    Of nested blocks, the inmost one logs it.
    """
    try:
        yield
    except InputError as error:
        if not error.logged:
            error.logged = True
            logger.error(str(error))
        raise


@contextlib.contextmanager
def memory_remedy() -> Iterator[None]:
    """Log the flags that lower the peak where memory runs out in the block; the host then skips the batch if it can."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = ("out of memory", "not enough memory", "allocate memory")  # CUDA's words, then torch's on a CPU
        if isinstance(error, MemoryError) or any(words in str(error) for words in told):
            name_memory_flags()
        raise


@functools.lru_cache(maxsize=None)
def name_memory_flags() -> None:
    """Log the flags that lower the peak of memory, once a process."""
    logger.error(
        "out of memory: lower --max-tokens (and raise --update-freq by as much: the same update from smaller parts), "
        "or give --checkpoint-activations, which computes activations twice, or --autocast-bf16, which halves them"
    )
