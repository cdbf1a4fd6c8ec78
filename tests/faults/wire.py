"""A wire: a TCP line between two processes that can be broken in the ways in which lines break."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
# So little is received ahead that a wire which passes nothing on is soon felt at the other end.
RECEIVE_BUFFER = 4096
RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 seconds


@dataclass(eq=False)
class Line:
    """One connection, with its ``far`` end, and the task in which it is passed on. It is reset where that ends."""

    far: asyncio.StreamWriter
    task: asyncio.Task[Any]
    is_silent: bool = False


class Wire:
    """What connects to its ``port`` is connected on to the port behind. It runs in a thread of its own."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._lines: set[Line] = set()
        self._is_cut = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire")

    def __enter__(self) -> Wire:
        self._thread.start()
        self._flows = self._call(asyncio.Event)
        self._call(self._flows.set)
        listening = asyncio.start_server(self._connect, HOST)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # The faults; each tells how many connections it met

    def reset(self) -> int:
        """End all connections by a RST, as a host does that does not know them."""
        return self._call(lambda: self._reset(lambda line: True))

    def hush(self) -> int:
        """What is connected now stays so and hears nothing any more, as when a firewall has forgotten a connection, or
        a host was unplugged: not even that the other one went away. New connections are as good as ever."""
        return self._call(self._hush)

    def cut(self) -> int:
        """Nobody is connected, and nobody can connect, until it is mended."""
        self._is_cut = True
        return self.reset()

    def mend(self) -> None:
        """As if it had never been broken: what was silent is reset."""
        self._is_cut = False
        self._call(lambda: self._reset(lambda line: line.is_silent))
        self.let_go()

    def hold(self) -> int:
        """Take nothing more from anybody, until ``let_go``, which passes on what there is."""
        self._call(self._flows.clear)
        return len(self._lines)

    def let_go(self) -> None:
        self._call(self._flows.set)

    def far_ports(self) -> set[int]:
        """The ports from which it is connected to the port behind."""
        return self._call(lambda: {line.far.get_extra_info("sockname")[1] for line in self._lines})

    # In its thread

    def _call(self, function: Callable[[], Any]) -> Any:
        async def called() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    def _reset(self, concerns: Callable[[Line], bool]) -> int:
        lines = [line for line in self._lines if concerns(line)]
        for line in lines:
            line.task.cancel()
        return len(lines)

    def _hush(self) -> int:
        for line in self._lines:
            line.is_silent = True
        return len(self._lines)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            if not self._is_cut:
                await self._connect_on(task, reader, writer)
        except (OSError, asyncio.CancelledError):  # nobody listens there; it is reset
            pass
        finally:
            self._tasks.discard(task)
            abort(writer)

    async def _connect_on(self, task: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await connect(self._behind)
        line = Line(far_writer, task)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass(line, reader, far_writer))
                ways.create_task(self._pass(line, far_reader, writer))
        finally:
            self._lines.discard(line)
            abort(far_writer)

    async def _pass(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(RECEIVE_BUFFER):
                await self._flows.wait()
                if line.is_silent:
                    break
                writer.write(data)
                await writer.drain()
        if line.is_silent:
            await asyncio.Event().wait()
        writer.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for the sockets to be closed


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with contextlib.ExitStack() as unless_connected:
        end = unless_connected.enter_context(socket.socket())
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)  # before it is connected
        await asyncio.get_running_loop().sock_connect(end, (HOST, port))
        unless_connected.pop_all()
        return await asyncio.open_connection(sock=end, limit=RECEIVE_BUFFER)


def abort(writer: asyncio.StreamWriter) -> None:
    """Close it by a RST, if it is not closed yet."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
        writer.transport.abort()
