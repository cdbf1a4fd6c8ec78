"""The courier: carries notices from any thread to the channel layer, without making anybody wait."""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from channels.layers import get_channel_layer

from ..serializers.settings import setting
from .logs import report
from .notices import Notice, pack

if TYPE_CHECKING:
    from collections.abc import Iterable

# The most notices in one message.
MESSAGE_SIZE = 500
# Seconds between the first notice and the hop. The callbacks of one commit come within microseconds of one another.
COLLECTING = 0.001


class Courier:
    """One per process. ``post`` puts notices down and wakes an event loop, where they are sent.

    The loop is that of a hub of this process where there is one (the in-memory layer delivers only within its
    loop), else one of the courier's own, in a thread that is started when it is first needed. All that is waiting
    is sent together: notices of one commit make one hop, and equal notices one.
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Forget everything. In a forked child the threads are missing, and what waits is the parent's to send."""
        self._lock = threading.RLock()  # a signal handler or finalizer may post in the middle of a post
        self._waiting: dict[Notice, None] = {}
        self._hub_loops: list[asyncio.AbstractEventLoop] = []
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._own_thread: threading.Thread | None = None
        self._collecting: set[asyncio.AbstractEventLoop] = set()  # loops that are about to send
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, notices: Iterable[Notice]) -> None:
        """Have these notices sent; returns at once, from any thread, whether it has an event loop or not."""
        with self._lock:
            self._waiting.update(dict.fromkeys(notices))
            for loop in reversed(self._hub_loops):
                if wake(loop, self._start_sending):
                    return
            wake(self._loop_of_own(), self._start_sending)

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send from this loop from now on: a hub runs on it."""
        with self._lock:
            self._hub_loops.append(loop)

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        """The hub on this loop has stopped. What is still waiting is sent from elsewhere."""
        with self._lock:
            self._hub_loops.remove(loop)
            self._collecting.discard(loop)
        if self._waiting:
            self.post(())

    def close(self) -> None:
        """Send what is waiting, and end the courier's own thread. Called when the process ends."""
        thread, loop = self._own_thread, self._own_loop
        if thread is None or loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._finish(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()  # channels_redis closes its connections with the loop
        self._own_thread = self._own_loop = None

    def _loop_of_own(self) -> asyncio.AbstractEventLoop:
        if self._own_loop is None:
            loop = CourierLoop()
            thread = threading.Thread(target=loop.run_forever, name="livegate-courier", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads just now; the next post tries again
                loop.close()
                raise
            self._own_loop, self._own_thread = loop, thread
        return self._own_loop

    def _start_sending(self) -> None:
        loop = asyncio.get_running_loop()
        if self._waiting and loop not in self._collecting:
            self._collecting.add(loop)
            task = loop.create_task(self._send_soon())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _finish(self) -> None:
        await self._send_waiting()
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in self._tasks if task.get_loop() is loop))

    async def _send_soon(self) -> None:
        await asyncio.sleep(COLLECTING)
        self._collecting.discard(asyncio.get_running_loop())
        await self._send_waiting()

    async def _send_waiting(self) -> None:
        with self._lock:
            notices, self._waiting = list(self._waiting), {}
        by_group: dict[str, list[Notice]] = {}
        for notice in notices:
            by_group.setdefault(notice.group, []).append(notice)
        try:
            await asyncio.gather(*(send(group, together) for group, together in by_group.items()))
        except asyncio.CancelledError:  # this loop is ending; what it may not have sent is sent from our own
            with self._lock:
                self._waiting.update(dict.fromkeys(notices))
                wake(self._loop_of_own(), self._start_sending)
            raise


class CourierLoop(asyncio.SelectorEventLoop):
    """An event loop that looks up host names in its own thread.

    Others do that in a pool of threads, which Python has closed by the time that a process sends its last notices.
    """

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return socket.getaddrinfo(host, port, **hints)


async def send(group: str, notices: list[Notice]) -> None:
    """Send notices to their group, within ``SEND_TIMEOUT``; what can't be sent is logged."""
    left = list(notices)
    try:
        layer = get_channel_layer()
        if layer is None:
            raise LookupError("CHANNEL_LAYERS has no default")
        async with asyncio.timeout(setting("SEND_TIMEOUT")):
            while left:
                await layer.group_send(group, pack(left[:MESSAGE_SIZE]))
                del left[:MESSAGE_SIZE]
    except Exception as error:
        report("notices_unsent", f"{len(left)} notices could not be sent to {group}.", error, count=len(left))


def wake(loop: asyncio.AbstractEventLoop, callback: object) -> bool:
    """Run the callback on the loop soon; False where the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback)  # type: ignore[arg-type]
    except RuntimeError:
        return False
    return True


courier = Courier()
atexit.register(lambda: courier.close())
os.register_at_fork(after_in_child=lambda: courier.start_over())
