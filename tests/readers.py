"""Readers: sockets that are only sent to, without a server or a consumer between."""

from __future__ import annotations

import asyncio

from channels.layers import get_channel_layer
from clients import message_of, until

from livegate.gateway.credentials import Credentials
from livegate.gateway.decisions import Pair, View
from livegate.gateway.hub import enter, leave
from livegate.gateway.messages import parse
from livegate.gateway.notices import Notice, group_name
from livegate.gateway.publications import find
from livegate.gateway.subscriptions import Socket


class Reader:
    """At the other end of a socket. While it reads nothing, what is sent to it waits."""

    def __init__(self, viewer):
        self.reading = asyncio.Event()
        self.reading.set()
        self.sent, self.runners, self.closed = [], [], []
        self.error = self.close_error = None
        self.socket = Socket(Credentials.of_scope({}, viewer), self.send, self.close)

    async def send(self, message):
        self.runners.append(asyncio.current_task())
        if self.error is not None:
            raise self.error
        if not self.reading.is_set():
            await self.reading.wait()
        self.sent.append(message["text"])

    async def close(self, code):
        self.closed.append(code)
        if self.close_error is not None:
            raise self.close_error
        if not self.reading.is_set():
            await self.reading.wait()


class World:
    """One card that all readers watch; what it is like is said by ``change``."""

    def __init__(self, viewer):
        self.viewer = viewer()
        self.number = 0
        self.evaluations = []
        self.readers = []

    def evaluate(self, pairs):
        self.evaluations.append(len(pairs))
        view = View(b'{"n":%d}' % self.number, str(self.number))
        return dict.fromkeys(pairs, view)

    async def watch(self, count):
        """So many readers, who have been acknowledged; in the order in which they are sent to."""
        readers = [Reader(self.viewer) for _ in range(count)]
        self.readers += readers
        for reader in readers:
            self.hub = enter(reader.socket)
            message = parse('{"model": "board.Card", "id": "7sd8f", "request_id": 1}')
            self.hub.subscribe(reader.socket, Pair(self.viewer, find("board.Card"), "7sd8f"), message)
        await until(lambda: all(reader.sent for reader in readers))
        await self.settled()
        for reader in readers:
            reader.sent.clear()
            reader.runners.clear()
        return readers

    @property
    def tasks(self):
        """The tasks of the hub: those that run as long as it, and those that are sending."""
        return {task for task in self.hub._tasks if not task.done()}

    async def settled(self):
        """Nothing is being made, and nothing sent but to those who read nothing."""
        waiting = [reader for reader in self.readers if reader.reading.is_set() and not reader.closed]
        await until(lambda: self.hub._delivery.runner is None and not any(reader.socket.busy for reader in waiting))

    async def change(self):
        self.number += 1
        await get_channel_layer().group_send(group_name(0), message_of(Notice("update", "board.Card", "7sd8f")))

    def seen(self, readers):
        """The last that each of them was sent."""
        return [reader.sent[-1].partition('"n":')[2].partition("}")[0] if reader.sent else "" for reader in readers]

    async def see(self, readers):
        await until(lambda: set(self.seen(readers)) == {str(self.number)})

    async def end(self):
        for reader in self.readers:
            if reader.socket in self.hub.sockets:
                await leave(reader.socket, self.hub)
