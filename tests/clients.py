"""A WebSocket client in the same process: speaks ASGI to the consumer, with no server between."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from lab.models import Unwatched

from livegate.gateway.courier import courier
from livegate.gateway.hub import _hubs
from livegate.gateway.notices import Bulletin, Notice, Stamp, pack
from livegate.gateway.routing import websocket_urlpatterns
from livegate.serializers.hashids import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

application = URLRouter(websocket_urlpatterns)
PATIENCE = 30  # seconds that something may take which must happen


class Client:
    """One connection to the consumer. ``receive`` waits for a frame; ``nothing`` proves that there is none."""

    def __init__(self, user: Any = None, **scope: Any) -> None:
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()  # a client that reads nothing has cleared it
        self.reading.set()
        self.scope = {
            "type": "websocket",
            "path": "/ws/notifications/",
            "headers": [(b"host", b"testserver")],
            "subprotocols": [],
            **({"user": user} if user is not None else {}),
            **scope,
        }
        self.task = asyncio.create_task(application(self.scope, self._in.get, self._accept))

    async def _accept(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        self._out.put_nowait(message)

    async def open(self) -> dict[str, Any]:
        self._in.put_nowait({"type": "websocket.connect"})
        return await self.take()

    async def take(self) -> dict[str, Any]:
        """The next ASGI message that the consumer sends; an error of the consumer's is raised here."""
        taking = asyncio.create_task(self._out.get())
        await asyncio.wait({taking, self.task}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if taking.done():
            return taking.result()
        taking.cancel()
        if self.task.done():
            self.task.result()
        raise TimeoutError(f"nothing came in {PATIENCE} s")

    async def receive(self) -> Any:
        message = await self.take()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def send(self, message: Any) -> None:
        await self.send_raw(text=json.dumps(message))

    async def send_raw(self, **frame: Any) -> None:
        self._in.put_nowait({"type": "websocket.receive", **frame})

    async def ask(self, message: Any) -> Any:
        await self.send(message)
        return await self.receive()

    async def subscribe(self, instance: Any, **more: Any) -> Any:
        """Subscribe, and wait for the answer."""
        return await self.ask(
            {
                "action": "subscribe",
                "model": instance._meta.label,
                "id": instance.hashid,
                "request_id": 0,
                **more,
            }
        )

    async def nothing(self) -> None:
        """Everything that was caused before was sent before."""
        assert await self.rest() == []

    async def rest(self) -> list[str]:
        """The texts of all frames that were caused before and not received yet.

        Changes are heard, evaluated and sent in the order in which they were told: a change that is made now, of an
        object that nobody else watches, comes after all that was to come, but for refusals, which are waited for.
        """
        last = await sync_to_async(Unwatched.objects.create)()
        name = {"model": "lab.Unwatched", "id": hashid_of(last)}
        await self.send({"action": "subscribe", **name, "request_id": "the last"})
        texts = await self._take_until({"type": "SUBSCRIBED", "payload": name, "meta": {"request_id": "the last"}})
        [subscription] = _hubs[asyncio.get_running_loop()]._registry.watching[*name.values()].subscriptions
        await until(lambda: not subscription.socket.unanswered)
        last.name = "changed"
        await sync_to_async(last.save)()
        texts += await self._take_until({"type": "UPDATE_UNWATCHED"})
        await self.send({"action": "unsubscribe", **name})
        await self.send({"action": "ping"})  # its answer says that this is done, and nothing comes of it any more
        return texts + await self._take_until({"type": "PONG"})

    async def _take_until(self, end: dict[str, Any]) -> list[str]:
        """The texts of the frames before one that has these members."""
        texts = []
        while True:
            message = await self.take()
            assert message["type"] == "websocket.send", message
            if end.items() <= json.loads(message["text"]).items():
                return texts
            texts.append(message["text"])

    async def close(self) -> None:
        self.reading.set()
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(PATIENCE):
            await self.task


def message_of(*notices: Notice) -> dict[str, Any]:
    """What a process that has sent nothing else sends to the channel layer."""
    return pack(Bulletin(list(notices), Stamp("of the tests", 1, 0)))


def all_is_sent() -> bool:
    """Whether no notice of this process waits, or is being sent."""
    return not any(stream.waiting or stream.carrier for stream in courier._streams.values())


def hashid_of(instance: Any) -> str:
    return encode(type(instance), instance.pk)


@asynccontextmanager
async def connected() -> AsyncIterator[Callable[..., Any]]:
    clients: list[Client] = []

    async def open_one(user: Any = None, **scope: Any) -> Client:
        client = Client(user, **scope)
        clients.append(client)
        assert (await client.open())["type"] == "websocket.accept"
        return client

    try:
        yield open_one
    finally:
        for client in clients:
            if not client.task.done():
                await client.close()


async def until(true: Callable[[], bool]) -> None:
    """Let the event loop run until it is so. What takes longer than some turns of it is done in other threads, to which
    one that looks without a rest leaves hardly any time, on a machine with much else to do."""
    async with asyncio.timeout(PATIENCE):
        for turn in count():
            if true():
                return
            await asyncio.sleep(0.001 if turn > 100 else 0)
