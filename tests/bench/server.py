"""The server process: one contestant behind uvicorn, on one core. ``python -m bench.server PORT CORE``."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from typing import Any

import django
import uvicorn
from django.contrib.sessions.backends.db import SessionStore

from .contestants import CONTESTANTS, VARIABLE
from .sockets import raise_limit

# The path of a request that starts to count serializations, which costs time; any other stops it.
COUNT_SERIALIZATIONS = "/serializations"
# The paths of requests that count what is kept, too; and all that is, which takes a while.
COUNT_TABLES = "/tables"
COUNT_OBJECTS = "/objects"


class Server:
    """An ASGI application: the contestant's for WebSockets, the counters' for HTTP.

    A socket's user is the one whose number is its query string, before the key of a session, if there is one: the
    same for all contestants, at no query.
    """

    def __init__(self, sockets: Any, counters: Any, users: dict[int, Any]) -> None:
        self.sockets = sockets
        self.counters = counters
        self.users = users

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            number, _, key = scope["query_string"].decode().partition(":")
            session = {"session": SessionStore(key)} if key else {}
            await self.sockets({**scope, "user": self.users[int(number)], **session}, receive, send)
            return
        self.counters.count_serializations(scope["path"] == COUNT_SERIALIZATIONS)
        kept = self.counters.tables() if scope["path"] in (COUNT_TABLES, COUNT_OBJECTS) else {}
        if scope["path"] == COUNT_OBJECTS:
            kept |= self.counters.objects()
        body = json.dumps({**self.counters.read(), **kept}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})


def application(kind: str) -> Any:
    """The WebSocket side of a kind of contestants. What the others need is not imported."""
    if kind == "floor":
        from .floor import Floor

        return Floor()
    if kind == "livegate":
        from channels.routing import URLRouter

        from livegate.gateway.routing import websocket_urlpatterns

        return URLRouter(websocket_urlpatterns)
    if kind == "observer":
        from .observers import ObserverConsumer

        return ObserverConsumer.as_asgi()
    from .consumers import ClassicConsumer, NaiveConsumer

    return {"classic": ClassicConsumer, "naive": NaiveConsumer}[kind].as_asgi()


def listening(port: int, buffer: int) -> list[socket.socket]:
    """A socket whose connections keep no more than so many bytes that their client has not taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    listener.bind(("127.0.0.1", port))
    return [listener]


def main(port: int, core: int) -> None:
    os.sched_setaffinity(0, {core})
    raise_limit()
    django.setup()
    from django.contrib.auth import get_user_model
    from django.db import connections

    from livegate.gateway import evaluator

    from .counters import Counters

    evaluator.REFUSAL_BEAT = float(os.environ.get("BENCH_REFUSAL_BEAT", evaluator.REFUSAL_BEAT))
    counters = Counters()
    counters.install()
    viewers = get_user_model().objects.filter(username__startswith="viewer")
    users = {int(user.username.removeprefix("viewer")): user for user in viewers}
    connections.close_all()
    sockets = application(CONTESTANTS[os.environ[VARIABLE]].kind)
    config = uvicorn.Config(
        Server(sockets, counters, users),
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
        ws_per_message_deflate=False,
    )
    buffer = int(os.environ.get("BENCH_SEND_BUFFER", 0))
    with contextlib.suppress(KeyboardInterrupt):  # by which it is ended
        uvicorn.Server(config).run(listening(port, buffer) if buffer else None)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
