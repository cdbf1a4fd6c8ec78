"""The examiner: looks whether those who are connected may still be."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from ..serializers.settings import setting
from .credentials import ended
from .listener import LONGEST_PAUSE
from .logs import report
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .subscriptions import Socket


class Examiner:
    """Calls ``expel`` with each socket that has no right to be there any more. To be run by ``keep_examining``.

    In a thread of its own: what looks at views does not wait for it, nor it for them.
    """

    def __init__(self, expel: Callable[[Socket], None]) -> None:
        self.doubted: dict[Socket, None] = {}
        self._expel = expel
        self._doubts = asyncio.Event()
        self._worker = Worker("examiner")

    def examine(self, sockets: Iterable[Socket]) -> None:
        """Have it looked at whether these sockets may still be there."""
        self.doubted |= dict.fromkeys(sockets)
        if self.doubted:
            self._doubts.set()

    def forget(self, socket: Socket) -> None:
        """It is not there any more."""
        self.doubted.pop(socket, None)

    async def keep_examining(self) -> None:
        """Whenever there is doubt, until cancelled. While it waits it keeps nothing of those who were looked at."""
        while True:
            await self._doubts.wait()
            await self._examine_some()

    async def _examine_some(self) -> None:
        sockets = {one.credentials: one for one in islice(self.doubted, setting("BATCH_SIZE"))}
        for socket in sockets.values():
            del self.doubted[socket]
        if not self.doubted:
            self._doubts.clear()
        if not sockets:  # all have left
            return
        try:
            over = await self._worker.do(ended, [*sockets])
        except Exception as error:
            report("sockets_unexamined", f"Whether {len(sockets)} sockets may stay can't be told yet.", error)
            asyncio.get_running_loop().call_later(LONGEST_PAUSE, self.examine, [*sockets.values()])
            return
        for credentials in over:
            self._expel(sockets[credentials])

    async def stop(self) -> None:
        """End its thread."""
        await self._worker.stop()
