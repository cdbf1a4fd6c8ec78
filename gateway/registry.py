"""The registry: who is connected, and who watches what. No I/O happens here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .subscriptions import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from .notices import Notice
    from .subscriptions import Key, Socket, Subscription


class Registry:
    """The sockets of a hub, by what stands for them, their users and sessions, and their subscriptions, by the object
    they are to.

    ``look`` is called, at the pace of the object, with all subscriptions to one that changed.
    """

    def __init__(self, look: Callable[[Collection[Subscription]], None]) -> None:
        self.sockets: set[Socket] = set()
        self.watching: dict[Key, Watch] = {}
        self.by_token: dict[str, dict[Socket, None]] = {}
        self._look = look

    def add(self, socket: Socket) -> None:
        self.sockets.add(socket)
        for token in socket.tokens:
            self.by_token.setdefault(token, {})[socket] = None

    def remove(self, socket: Socket) -> None:
        """Forget a socket and all its subscriptions."""
        for key in list(socket.subscriptions):
            self.unwatch(socket, key)
        self.sockets.discard(socket)
        for token in socket.tokens:
            if same := self.by_token.get(token):
                same.pop(socket, None)
                if not same:
                    del self.by_token[token]

    def watch(self, subscription: Subscription) -> None:
        """Enter a subscription; its socket has none to that object."""
        key = subscription.key
        subscription.socket.subscriptions[key] = subscription
        if key not in self.watching:
            self.watching[key] = Watch(self._look)
        self.watching[key].subscriptions[subscription] = None

    def unwatch(self, socket: Socket, key: Key) -> None:
        """Forget a subscription; harmless when there is none."""
        if subscription := socket.subscriptions.pop(key, None):
            subscription.is_current = False
            if subscription in socket.dirty:
                del socket.dirty[subscription]
            socket.unanswered -= len(subscription.requests)
            watch = self.watching[key]
            del watch.subscriptions[subscription]
            if not watch.subscriptions:
                del self.watching[key]
                watch.pace.cancel()

    def sockets_of(self, token: str) -> Collection[Socket]:
        """Those of one user or session, or one socket itself."""
        return self.by_token.get(token, {})

    def subscriptions(self) -> Iterator[Subscription]:
        """All of them; those to one object stand together."""
        for watch in self.watching.values():
            yield from watch.subscriptions

    def concerned_by(self, notice: Notice) -> Iterator[Subscription]:
        """The subscriptions that a change of rights may be about."""
        if notice.label:
            watch = self.watching.get((notice.label, notice.hashid))
            for subscription in watch.subscriptions if watch else ():
                # Who is anonymous has the rights of a user that guardian keeps for that.
                if not notice.token or subscription.socket.user_token in (notice.token, ""):
                    yield subscription
        else:
            for socket in self.sockets_of(notice.token) if notice.token else self.sockets:
                yield from socket.subscriptions.values()
