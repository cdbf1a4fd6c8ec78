"""The listener: a hub's ear on the channel layer. It has one channel, in all the notice groups."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer

from ..serializers.settings import setting
from .courier import courier
from .logs import report
from .metrics import count
from .notices import Bulletin, group_names, unpack
from .streams import send
from .tracing import hear

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .notices import Notice, Stamp

# Seconds between two echoes, until all groups are heard.
ECHO_INTERVAL = 0.2
# So many echoes of a group may not have been heard, before it is taken to be heard no more; or not to be joined.
MOST_UNHEARD, MOST_UNHEARD_AT_FIRST = 3, 25
# Seconds to wait after a failure, doubled with each that follows.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
# Of so many streams it is known how much of them was heard.
MOST_STREAMS = 10_000


class Silence(Exception):
    """The channel layer takes what is sent, and does not give it back."""


class Listener:
    """Calls ``hear`` with each notice; ``miss`` whenever some may have been missed; ``lose`` when it can't hear any
    more. ``hears`` is set as long as it does. To be run by ``keep_listening``.

    That it hears is known from echoes: each ``HEARTBEAT`` it calls into each group. That it heard everything is known
    from the stamps of what it hears.
    """

    def __init__(self, hear: Callable[[Notice], None], miss: Callable[[], None], lose: Callable[[], None]) -> None:
        self.hears = asyncio.Event()
        self._hear = hear
        self._miss = miss
        self._lose = lose
        self._unheard: dict[str, int] = {}  # the group of each echo, and how often it was sent since it was heard
        self._silent: set[str] = set()  # echoes that were never heard yet
        self._heard: OrderedDict[str, int] = OrderedDict()  # the number of the last that was heard of each stream

    async def keep_listening(self) -> None:
        """Listen, and begin again when it fails, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await self._listen()
            except Exception as error:
                report("hub_failed", "The hub can't hear the channel layer; it tries again.", error)
            has_heard = asyncio.get_running_loop().time() - begun > LONGEST_PAUSE
            pause = FIRST_PAUSE if has_heard else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Join the notice groups and hear them until something fails, and raise that."""
        groups, tasks = group_names(), set[asyncio.Task[None]]()
        layer = get_channel_layer()
        channel = None
        try:
            if layer is None:
                raise LookupError("CHANNEL_LAYERS has no default")
            channel = await in_time(layer.new_channel())
            await in_time(join(layer, groups, channel))
            name = uuid4().hex
            echoes = {f"{name}.{number}": group for number, group in enumerate(groups)}
            self._silent, self._unheard = set(echoes), dict.fromkeys(echoes, 0)
            tasks = {asyncio.create_task(self._call(echoes)), asyncio.create_task(self._receive(layer, channel))}
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = done.pop()
            if ended.cancelled():  # by somebody in the layer, and not by us
                raise Silence
            await ended
        except Exception:
            self.hears.clear()
            self._lose()  # before anything else is asked of a layer that may not answer
            with contextlib.suppress(Exception):
                await in_time(hang_up(layer))
            raise
        finally:
            await end(tasks)
            if channel:
                with contextlib.suppress(Exception):
                    await in_time(part(layer, groups, channel))

    async def _call(self, echoes: dict[str, str]) -> None:
        """Call into every group: often until all were heard, for that a group was joined is not certain before (on
        Redis, the SUBSCRIBE may still be on its way when ``group_add`` returns), and then once in a ``HEARTBEAT``."""
        while True:
            for echo, group in echoes.items():
                if self._unheard[echo] >= (MOST_UNHEARD_AT_FIRST if self._silent else MOST_UNHEARD):
                    raise Silence
                self._unheard[echo] += 1
                await send(group, Bulletin([], courier.stamp(group), echo))
            if self._silent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ECHO_INTERVAL):
                        await self.hears.wait()
            else:
                await asyncio.sleep(setting("HEARTBEAT"))

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            try:
                bulletin = unpack(message)
            except ValueError as error:
                report("notice_malformed", "A message in a notice group is none of livegate's.", error)
                continue
            count("notices_heard", len(bulletin.notices))
            if bulletin.traces:
                hear(bulletin)
            for notice in bulletin.notices:
                self._hear(notice)
            if not self._is_next(bulletin.stamp) and self.hears.is_set():
                self._miss()
            if bulletin.echo in self._unheard:
                self._hear_echo(bulletin.echo)

    def _hear_echo(self, echo: str) -> None:
        self._unheard[echo] = 0
        if self._silent:
            self._silent.discard(echo)
            if not self._silent:
                self.hears.set()
                self._miss()

    def _is_next(self, stamp: Stamp) -> bool:
        """Whether nothing is missing between what was heard of a stream and this."""
        heard = self._heard.pop(stamp.stream, 0)
        self._heard[stamp.stream] = max(heard, stamp.number)
        if len(self._heard) > MOST_STREAMS:
            self._heard.popitem(last=False)
        return heard >= stamp.after


async def in_time(asked: Awaitable[Any]) -> Any:
    """Of the channel layer; it may take as long as it may for notices."""
    async with asyncio.timeout(setting("SEND_TIMEOUT")):
        return await asked


async def join(layer: Any, groups: list[str], channel: str) -> None:
    """Put a channel into the groups. One that could not join all is forgotten, which channels_redis does only when a
    ``receive()`` is cancelled: until then it would collect what nobody reads."""
    try:
        for group in groups:
            await layer.group_add(group, channel)
    except BaseException:
        receiving = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)  # so that it has begun, and can be cancelled
        await end({receiving})
        raise


async def part(layer: Any, groups: list[str], channel: str) -> None:
    """Take a channel out of the groups."""
    for group in groups:
        await layer.group_discard(group, channel)


async def hang_up(layer: Any) -> None:
    """Have channels_redis hear on new connections, with all that it was subscribed to. It goes on with one that is
    dead, and says nothing of it, for as long as TCP does: a quarter of an hour."""
    if isinstance(layer, RedisPubSubChannelLayer):
        for shard in layer._get_layer()._shards:
            if shard._pubsub is not None and shard._pubsub.connection is not None:
                await shard._pubsub.connection.disconnect(nowait=True)


async def end(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel these, and wait until they have ended; not for ever, a cancelled ``receive()`` asks Redis once more."""
    for task in tasks:
        task.cancel()
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=setting("SEND_TIMEOUT"))
        for task in done:
            task.cancelled() or task.exception()  # it is known
