"""The stream: what waits to be sent to one group, and what was."""

from __future__ import annotations

import asyncio
from itertools import islice
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from channels.layers import get_channel_layer

from ..serializers.settings import setting
from .notices import Bulletin, Notice, Stamp, pack
from .tracing import posting

if TYPE_CHECKING:
    from threading import RLock

    from .tracing import Origin

# The most notices in one message.
MESSAGE_SIZE = 500
# More notices than this are not kept while the channel layer is away: one that anything may have changed stands for
# all.
MOST_WAITING = 10_000
ANYTHING = Notice("access")


class Stream:
    """The notices of this process for one group, in messages that are numbered. One is sent at a time.

    May be added to from any thread, under ``lock``.
    """

    def __init__(self, name: str, group: str, lock: RLock) -> None:
        self.group = group
        self.waiting: dict[Notice, Origin | None] = {}
        self.is_growing = False  # more is about to be added
        self.sent = -inf  # when something was, in the monotonic clock's time
        self.is_stuck = False  # what was sent last could not be
        # The event loop in which it is sent, or is to be, while anything waits; and the task that does.
        self.carrier: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[None] | None = None
        self.hurry = asyncio.Event()  # of the task: not to wait any longer before it is tried again
        self._name = name
        self._lock = lock
        self._number = 0
        self._confirmed = 0

    def add(self, notice: Notice, origin: Origin | None = None) -> None:
        """Have it sent with what is waiting; equal ones are one, the first."""
        if self.is_stuck and len(self.waiting) >= MOST_WAITING:
            self.waiting = {ANYTHING: None}
        if ANYTHING not in self.waiting:
            self.waiting.setdefault(notice, origin)

    @property
    def stamp(self) -> Stamp:
        """Of what was sent and was no failure."""
        return Stamp(self._name, self._confirmed, self._confirmed)

    async def send_next(self) -> None:
        """Send what is waiting, or the first part of it. Raises what the layer raises; then it is still waiting.

        What fails may have been sent nevertheless: its number is not used again.
        """
        with self._lock:
            notices = dict(islice(self.waiting.items(), MESSAGE_SIZE))
            for notice in notices:
                del self.waiting[notice]
            self._number += 1
            stamp = Stamp(self._name, self._number, self._confirmed)
        try:
            with posting(self.group, notices) as traces:
                await send(self.group, Bulletin([*notices], stamp, traces=traces))
        except BaseException:
            with self._lock:
                self.waiting = {**notices, **self.waiting, **notices}
            raise
        with self._lock:
            self._confirmed = stamp.number
            self.sent = monotonic()


async def send(group: str, bulletin: Bulletin) -> None:
    """Send a message to a group, within ``SEND_TIMEOUT``."""
    layer = get_channel_layer()
    if layer is None:
        raise LookupError("CHANNEL_LAYERS has no default")
    async with asyncio.timeout(setting("SEND_TIMEOUT")):
        await layer.group_send(group, pack(bulletin))
