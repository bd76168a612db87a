"""Steps that follow one another faster than they can be taken: one at a time, and only the latest of each kind."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Hashable

__all__ = ["SKIPPED", "Latest"]

SKIPPED = object()


class Latest:
    """Takes steps one at a time in a thread, so that the event loop stays free.

    Of the steps of a kind that wait, the newest is taken and the others are skipped: a slider that moves on while a
    sentence is decoded asks for the place where it is then.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.free = asyncio.Lock()
        self.newest: Dict[Hashable, object] = {}

    async def take(self, kind: Hashable, step: Callable[[], Any]) -> Any:
        """The outcome of a step, or SKIPPED where a newer one of its kind came before its turn.

        Args:
            kind: steps of different kinds do not replace one another
            step: runs in the thread
        """
        mark = self.newest[kind] = object()
        async with self.free:
            if self.newest.get(kind) is not mark:
                return SKIPPED
            del self.newest[kind]
            return await asyncio.get_running_loop().run_in_executor(self.thread, step)
