"""The consumer: what a person connects to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from ..permissions.viewers import Viewer
from . import frames
from .allowances import Allowance
from .credentials import Credentials
from .decisions import Pair
from .hub import TOO_MANY, enter, leave
from .messages import Refusal, parse
from .metrics import count
from .publications import find
from .subscriptions import Socket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .hub import Hub
    from .messages import Message

SUBPROTOCOL = "livegate"
# The WebSocket close codes that are not of the protocol itself (RFC 6455, 7.4.2).
OF_APPLICATIONS = range(3_000, 5_000)


class NotificationConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels is untyped
    """One WebSocket: reads messages, owns the subscriptions, sends frames. Its viewer is ``scope["user"]``.

    A client that offers subprotocols is answered with ``livegate``, if that is among them.
    """

    # The hub hears the channel layer for all sockets; a consumer has no channel of its own.
    channel_layer_alias = ""
    socket: Socket
    allowance: Allowance
    hub: Hub
    entered = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # disconnect() is not called when a handler fails (channels #1466)
            if self.entered:
                await leave(self.socket, self.hub)

    async def connect(self) -> None:
        credentials = await credentials_in(self.scope)
        self.allowance = Allowance()
        self.socket = Socket(credentials, self.base_send, self.close)
        offered = self.scope.get("subprotocols", [])
        await self.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        self.hub, self.entered = enter(self.socket), True

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        if not self.allowance.take():
            self.hub.expel(self.socket, TOO_MANY)
            return
        try:
            await self.carry_out(parse(text_data))
        except Refusal as refusal:
            count("messages_refused")
            await self.hub.answer(self.socket, frames.refused(refusal.code, refusal.request_id))

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Daphne lets an application close with 1000 or with codes from 3000 on, and refuses others. It then is 3000
        more, for a socket that stays open without a word is worse."""
        try:
            await super().close(code, reason)
        except Exception:
            if code is None or code in OF_APPLICATIONS:
                raise
            await super().close(OF_APPLICATIONS.start + code, reason)

    async def carry_out(self, message: Message) -> None:
        if message.action == "ping":
            await self.hub.answer(self.socket, frames.pong(message.request_id))
        elif message.action == "unsubscribe":
            self.hub.unsubscribe(self.socket, (message.model, message.id))
        else:
            publication = find(message.model)
            if publication is None:
                raise Refusal("unknown_model", message.request_id)
            self.hub.subscribe(self.socket, Pair(self.socket.viewer, publication, message.id), message)


async def credentials_in(scope: Mapping[str, Any]) -> Credentials:
    """In a thread where the session has to be read; AuthMiddleware has read it."""
    viewer, session = Viewer.of_scope(scope), scope.get("session")
    if session is None or hasattr(session, "_session_cache"):
        return Credentials.of_scope(scope, viewer)
    read: Credentials = await database_sync_to_async(Credentials.of_scope)(scope, viewer)
    return read
