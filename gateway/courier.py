"""The courier: carries notices from any thread to the channel layer, without making anybody wait."""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..serializers.settings import setting
from .logs import report, tell
from .metrics import count
from .notices import Bulletin
from .streams import Stream, send
from .tracing import origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .notices import Notice, Stamp

# Seconds before the hop where more notices are to come, or the last hop was so short a time ago. The callbacks of one
# commit come within microseconds of one another.
COLLECTING = 0.001
# Seconds to wait after a failure, doubled with each that follows.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Courier:
    """One per process. ``post`` puts notices down and wakes an event loop, where they are sent, however often it takes.

    The loop is that of a hub of this process where there is one (the in-memory layer delivers only within its
    loop), else one of the courier's own, in a thread that is started when it is first needed. All that is waiting
    for a group is sent together: notices of one commit make one hop.
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Forget everything. In a forked child the threads are missing, and what waits is the parent's to send."""
        self._name = uuid4().hex[:16]
        self._lock = threading.RLock()  # a signal handler or finalizer may post in the middle of a post
        self._streams: dict[str, Stream] = {}  # by group
        self._hub_loops: list[asyncio.AbstractEventLoop] = []
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._own_thread: threading.Thread | None = None
        self._confirming: set[asyncio.Task[None]] = set()
        self._closing = threading.Lock()  # held by who does
        self._is_closing = False

    def post(self, notices: Iterable[Notice], *, more: bool = False) -> None:
        """Have these notices sent; returns at once, from any thread, whether it has an event loop or not. ``more`` are
        about to be posted, and worth a moment's wait."""
        here = origin()
        with self._lock:
            for notice in notices:
                stream = self._stream_to(notice.group)
                stream.add(notice, here)
                stream.is_growing = more
                count("notices_posted")
            for stream in self._streams.values():
                self._wake(stream)

    def stamp(self, group: str) -> Stamp:
        """What this process has sent to a group so far: who has not heard that has missed something."""
        with self._lock:
            return self._stream_to(group).stamp

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send from this loop from now on: a hub runs on it."""
        with self._lock:
            self._hub_loops.append(loop)

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        """The hub on this loop has stopped. What it has not begun to send is sent from elsewhere."""
        with self._lock:
            self._hub_loops.remove(loop)
            for stream in self._streams.values():
                if stream.carrier is loop and stream.task is None:
                    stream.carrier = None
                    self._wake(stream)

    def close(self) -> None:
        """Send what is waiting, and end the courier's own thread. Called when the process ends: what can't be sent now
        is lost, and it is logged. What is posted meanwhile is sent afterwards."""
        with self._closing:
            self._close()
        self.post(())

    def _close(self) -> None:
        with self._lock:
            for stream in self._streams.values():
                if stream.carrier is not None and not stream.carrier.is_running():  # it never will again
                    stream.carrier = None
        self.post(())
        with self._lock:
            thread, loop = self._own_thread, self._own_loop
        if thread is None or loop is None:
            return
        self._is_closing = True
        asyncio.run_coroutine_threadsafe(self._finish(loop), loop).result()
        with self._lock:  # what is posted from here on, or was and has not begun to be sent, goes from another
            self._own_thread = self._own_loop = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()  # channels_redis closes its connections with the loop
        self._is_closing = False

    def _stream_to(self, group: str) -> Stream:
        if group not in self._streams:
            self._streams[group] = Stream(f"{self._name}.{len(self._streams)}", group, self._lock)
        return self._streams[group]

    def _wake(self, stream: Stream) -> None:
        """Have what is waiting carried, if nobody does."""
        if stream.carrier is not None and stream.carrier.is_closed():
            stream.carrier = stream.task = None
        if not stream.waiting or stream.carrier is not None:
            return
        for loop in reversed(self._hub_loops):
            if self._begin(stream, loop):
                return
        self._begin(stream, self._loop_of_own())

    def _begin(self, stream: Stream, loop: asyncio.AbstractEventLoop) -> bool:
        is_woken = wake(loop, lambda: self._carry_from(loop, stream))
        if is_woken:
            stream.carrier, stream.task = loop, None
        return is_woken

    def _loop_of_own(self) -> asyncio.AbstractEventLoop:
        if self._own_loop is None:
            loop = CourierLoop()
            thread = threading.Thread(target=loop.serve, name="livegate-courier", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads just now; the next post tries again
                loop.close()
                raise
            self._own_loop, self._own_thread = loop, thread
        return self._own_loop

    def _carry_from(self, loop: asyncio.AbstractEventLoop, stream: Stream) -> None:
        with self._lock:
            if stream.carrier is loop and stream.task is None:
                stream.hurry = asyncio.Event()
                stream.task = loop.create_task(self._carry(stream))

    async def _carry(self, stream: Stream) -> None:
        """Send all that is waiting, however long it takes."""
        try:
            if stream.is_growing or monotonic() < stream.sent + COLLECTING:
                await asyncio.sleep(COLLECTING)
            pause = FIRST_PAUSE
            while self._is_to_go_on(stream):
                if await self._send(stream):
                    pause = FIRST_PAUSE
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await stream.hurry.wait()
                    pause = min(2 * pause, LONGEST_PAUSE)
        except asyncio.CancelledError:  # this loop is ending; it is sent from our own
            with self._lock:
                self._begin(stream, self._loop_of_own())
            raise

    def _is_to_go_on(self, stream: Stream) -> bool:
        with self._lock:
            if not stream.waiting:
                if not self._hub_loops:  # nobody says so otherwise
                    self._confirm_later(stream)
                stream.carrier = stream.task = None
            return bool(stream.waiting)

    async def _send(self, stream: Stream) -> bool:
        """Whether the next of what is waiting could be sent."""
        try:
            await stream.send_next()
        except Exception as error:
            if self._is_closing:
                self._lose(stream, error)
            elif not stream.is_stuck:
                waiting = f"{len(stream.waiting)} notices can't be sent to {stream.group} and are kept"
                report("notices_unsent", f"{waiting}; it is tried again.", error, count=len(stream.waiting))
            stream.is_stuck = not self._is_closing
            return False
        if stream.is_stuck:
            stream.is_stuck = False
            tell("notices_sent", f"Notices are sent to {stream.group} again.")
        return True

    def _lose(self, stream: Stream, error: Exception) -> None:
        lost = len(stream.waiting)
        report("notices_lost", f"{lost} notices were not sent to {stream.group}, and never are.", error, count=lost)
        stream.waiting.clear()

    def _confirm_later(self, stream: Stream) -> None:
        """Say once more, a while after the last notice, how many there were: it may be the last for long, and whoever
        has missed it would not know."""
        loop = asyncio.get_running_loop()

        def confirm() -> None:
            if stream.carrier is None:
                task = loop.create_task(self._confirm(stream))
                self._confirming.add(task)
                task.add_done_callback(self._confirming.discard)

        loop.call_later(setting("HEARTBEAT"), confirm)

    async def _confirm(self, stream: Stream) -> None:
        with suppress(Exception):  # the next notice says so
            await send(stream.group, Bulletin([], self.stamp(stream.group)))

    async def _finish(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            carrying = [one for one in self._streams.values() if one.carrier is loop]
        for stream in carrying:
            self._carry_from(loop, stream)
            stream.hurry.set()
        await asyncio.gather(*[one.task for one in carrying if one.task], *self._confirming)


class CourierLoop(asyncio.SelectorEventLoop):
    """An event loop that looks up host names in its own thread.

    Others do that in a pool of threads, which Python has closed by the time that a process sends its last notices.
    """

    def serve(self) -> None:
        """Run until it is stopped, and then until whatever has begun since was cancelled: nothing is left pending."""
        self.run_forever()
        while tasks := asyncio.all_tasks(self):
            for task in tasks:
                task.cancel()
            self.run_until_complete(asyncio.wait(tasks))

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return socket.getaddrinfo(host, port, **hints)


def wake(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
    """Run the callback on the loop soon; False where the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True


courier = Courier()
atexit.register(lambda: courier.close())
os.register_at_fork(after_in_child=lambda: courier.start_over())
