"""The worker: a thread in which the database is asked, on connections that stay open."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import TYPE_CHECKING, TypeVar

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds that it may take to close connections.
LONGEST_CLOSE = 1.0
Given = TypeVar("Given")
Answer = TypeVar("Answer")


class Worker:
    """Does one thing after the other, each in a context of its own: nothing that is set in one is there in the next.

    Its connections stay open from one to the next, also where ``CONN_MAX_AGE`` is 0, as for requests: to open one takes
    longer than to evaluate.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"livegate-{name}")

    async def do(self, function: Callable[[Given], Answer], given: Given) -> Answer:
        """What the function answers. Raises what it raises; where that can't be handed on, a RuntimeError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, Context().run, connected, function, given)

    async def stop(self) -> None:
        """Close the connections and end the thread. A database that does not answer is not waited for."""
        closing = asyncio.get_running_loop().run_in_executor(self._thread, connections.close_all)
        self._thread.shutdown(wait=False)
        await asyncio.wait([closing], timeout=LONGEST_CLOSE)


def connected(function: Callable[[Given], Answer], given: Given) -> Answer:
    """Call it on the connections of this thread; one that has failed is replaced."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    try:
        return function(given)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        # What would end who waits for it, or can't be handed to them, who would then wait for ever.
        raise RuntimeError("What was asked of the database was ended from within.") from error
