"""The listener: a hub's ear on the channel layer. It has one channel, in all the notice groups."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from channels.layers import get_channel_layer

from .logs import report
from .notices import group_names, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from .notices import Notice

# Seconds between two echoes, until one is heard.
ECHO_INTERVAL = 0.2
# Seconds to wait after a failure, doubled with each that follows.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Listener:
    """Calls ``hear`` with each notice, and ``miss`` whenever some may have been missed: what came before it heard
    them. ``hears`` is set as long as it does, ``has_heard`` from the first time on. To be run by ``keep_listening``."""

    def __init__(self, hear: Callable[[Notice], None], miss: Callable[[], None]) -> None:
        self.hears = asyncio.Event()
        self.has_heard = asyncio.Event()
        self._hear = hear
        self._miss = miss
        self._unheard: dict[str, str] = {}  # echoes not heard yet, to the group they were sent to

    async def keep_listening(self) -> None:
        """Listen, and begin again when it fails, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._listen()
            except Exception as error:
                report("hub_failed", "The hub can't hear the channel layer; it tries again.", innermost(error))
                pause = FIRST_PAUSE if self.hears.is_set() else min(2 * pause, LONGEST_PAUSE)
                self.hears.clear()
                await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Join the notice groups and hear them until something fails."""
        layer = get_channel_layer()
        if layer is None:
            raise LookupError("CHANNEL_LAYERS has no default")
        channel = await layer.new_channel()
        groups = group_names()
        try:
            await join(layer, groups, channel)
            self._unheard = {uuid4().hex: group for group in groups}
            async with asyncio.TaskGroup() as together:
                together.create_task(self._echo(layer))
                together.create_task(self._receive(layer, channel))
        finally:
            for group in groups:
                with contextlib.suppress(Exception):
                    await layer.group_discard(group, channel)

    async def _echo(self, layer: Any) -> None:
        """Call into every group until it is heard: that a group was joined is not certain before (on Redis, the
        SUBSCRIBE may still be on its way when ``group_add`` returns)."""
        while self._unheard:
            for echo, group in list(self._unheard.items()):
                await layer.group_send(group, pack([], echo))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ECHO_INTERVAL):
                    await self.hears.wait()

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            try:
                notices = unpack(message)
            except ValueError as error:
                report("notice_malformed", "A message in a notice group is none of livegate's.", error)
                continue
            for notice in notices:
                self._hear(notice)
            if self._unheard.pop(message.get("echo", ""), None) and not self._unheard:
                self._miss()
                self.hears.set()
                self.has_heard.set()


async def join(layer: Any, groups: list[str], channel: str) -> None:
    """Put a channel into the groups. One that could not join all is forgotten, which channels_redis does only when a
    ``receive()`` is cancelled: until then it would collect what nobody reads."""
    try:
        for group in groups:
            await layer.group_add(group, channel)
    except BaseException:
        receiving = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)  # so that it has begun, and can be cancelled
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        raise


def innermost(error: BaseException) -> BaseException:
    """The first error in a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
