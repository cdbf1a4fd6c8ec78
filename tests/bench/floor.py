"""The floor: bare ASGI sends of a text that is there already, in a loop; no channel layer, no database."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from redis.asyncio import Redis

from .rights import GUARDED, PLAIN, value

CHANNEL = "floor"
# What the payloads of the others hold.
PLAIN_VALUES = {
    "title": "Platform engineer",
    "summary": ("Keeps it running. " * 5).strip(),
    "status": "open",
    "priority": 3,
    "price": "19.90",
    "weight": 1.5,
    "public": False,
    "due": None,
    "created": "2025-01-01T12:00:00.000000Z",
}
SUBSCRIBED = {"type": "websocket.send", "text": '{"type": "SUBSCRIBED"}'}

assert PLAIN_VALUES.keys() == set(PLAIN) - {"id", "version"}


class Floor:
    """An ASGI application. What is published on Redis, a card and its version, is sent to the card's sockets."""

    def __init__(self) -> None:
        self.sockets: dict[str, dict[Any, None]] = {}
        self.listening: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.listening is None:
            self.listening = asyncio.create_task(self.listen())
        watched = []
        while True:
            message = await receive()
            if message["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            elif message["type"] == "websocket.disconnect":
                for hashid in watched:
                    del self.sockets[hashid][send]
                return
            else:
                watched.append(json.loads(message["text"])["id"])
                self.sockets.setdefault(watched[-1], {})[send] = None
                await send(SUBSCRIBED)

    async def listen(self) -> None:
        subscription = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None).pubsub()
        await subscription.subscribe(CHANNEL)
        async for heard in subscription.listen():
            if heard["type"] == "message":
                change = json.loads(heard["data"])
                frame = {"type": "websocket.send", "text": text(**change)}
                for send in list(self.sockets.get(change["id"], ())):
                    await send(frame)


def text(id: str, version: int) -> str:  # noqa: A002  (the field's name)
    payload = {"id": id, "version": version, **PLAIN_VALUES, **{name: value(name, version) for name in GUARDED}}
    return json.dumps({"type": "UPDATE_CARD", "payload": payload, "meta": {"model": "bench.Card", "id": id}})
