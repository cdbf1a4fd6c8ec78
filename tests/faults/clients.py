"""The clients: people at WebSockets, each of whom keeps what the frames tell, and comes back when thrown out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from collections.abc import Iterable

# Seconds before a client that lost its connection tries again.
PAUSE = 0.05
# It finds out nothing by itself: it neither pings nor gives up, and takes frames of any length.
OPTIONS: dict[str, Any] = {"ping_interval": None, "close_timeout": 1, "max_size": None, "compression": None}
# The close code after which it stays away.
NOT_WELCOME = 4401


class Key(NamedTuple):
    model: str
    id: str


class Client:
    """Somebody who watches some objects, at one address.

    ``views`` is what they hold of each: the object, or None for nothing. ``updates`` are all the frames that ever
    showed them something. Of what is ``refused`` they are not told.
    """

    def __init__(self, name: str, address: str, keys: Iterable[Key], query: str = "", **options: Any) -> None:
        self.name = name
        self.views: dict[Key, Any] = dict.fromkeys(keys)
        self.updates: list[Any] = []
        self.refused: set[Key] = set()
        self.unanswered = set(self.views)
        self.processes: list[str] = []  # that it has reached, one for each connection
        self.closed_with: list[int] = []
        self.is_delayed = self.was_delayed = False  # and was told so
        self.may_connect = asyncio.Event()
        self.may_connect.set()
        self._etags: dict[Key, str] = {}
        self._connection = connect(
            f"ws://{address}/ws/notifications/{query}", origin=f"http://{address}", **{**OPTIONS, **options}
        )
        self.task = asyncio.create_task(self._stay_connected())

    async def _stay_connected(self) -> None:
        while self.is_welcome:
            await self.may_connect.wait()
            with contextlib.suppress(OSError, WebSocketException):  # there is nobody, or not any more
                await self._connect()
            await asyncio.sleep(PAUSE)

    async def _connect(self) -> None:
        async with self._connection as self._socket:
            self.is_delayed = False
            self.processes.append(self._socket.response.headers["x-process"])
            try:
                await self.ask(self.views)
                async for text in self._socket:
                    self._hear(json.loads(text))
            finally:
                self.closed_with.append(self._socket.close_code)

    @property
    def is_welcome(self) -> bool:
        return NOT_WELCOME not in self.closed_with

    @property
    def is_informed(self) -> bool:
        """Whether they hold everything that they are told of."""
        return all(view is not None or key in self.refused for key, view in self.views.items())

    async def ask(self, keys: Iterable[Key]) -> None:
        """Subscribe, telling what it holds."""
        for key in list(keys):
            self.unanswered.add(key)
            self.refused.discard(key)
            request = {**key._asdict(), "request_id": key, "etag": self._etags.get(key)}
            await self._socket.send(json.dumps({"action": "subscribe", **request}))

    def _hear(self, frame: Any) -> None:
        meta = frame.get("meta")
        match frame["type"].partition("_")[0]:
            case "DELAYED":
                self.is_delayed = self.was_delayed = True
            case "CURRENT":
                self.is_delayed = False
            case "SUBSCRIBED":
                self.unanswered.discard(Key(*meta["request_id"]))
            case "ERROR":
                assert frame["payload"]["code"] == "not_found", frame
                key = Key(*meta["request_id"])
                self.unanswered.discard(key)
                self.refused.add(key)
                self._hold(key, None)
            case "DELETE":
                self._hold(Key(meta["model"], meta["id"]), None)
            case _:
                self.updates.append(frame)
                self._hold(Key(meta["model"], meta["id"]), frame["payload"], meta["etag"])

    def _hold(self, key: Key, view: Any, etag: str | None = None) -> None:
        self.views[key] = view
        self._etags[key] = etag

    def vanish(self) -> None:
        """End the connection without a word, and stay away until it ``may_connect``."""
        self.may_connect.clear()
        self._socket.transport.abort()

    async def end(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
