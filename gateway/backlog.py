"""The backlog: what is dirty, and whose sockets are ready to be told. No I/O happens here."""

from __future__ import annotations

import asyncio
from itertools import chain, islice
from typing import TYPE_CHECKING

from .subscriptions import BUSY, CLEAN, DIRTY, REQUESTS, SOCKET

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .subscriptions import Key, Socket, Subscription

    Batch = dict[Socket, Sequence[Subscription]]


class Backlog:
    """Of the sockets of a hub, which may come and go."""

    def __init__(self, sockets: Collection[Socket]) -> None:
        self.is_disturbed = False  # something was outdated since this was last looked at
        self._sockets = sockets
        # All that is watched of an object that changed, and why: looked at one by one when it is taken.
        self._changed: dict[Key, tuple[Collection[Subscription], int]] = {}
        self._ready: dict[Socket, None] = {}  # not busy, and something of theirs is dirty
        self._asking: dict[Socket, None] = {}  # have asked for something while requests had to wait
        self._work = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._ready or self._changed)

    async def wait(self) -> None:
        """Until there is something to be done."""
        await self._work.wait()

    def mark_all(self, subscriptions: Collection[Subscription], cause: int) -> None:
        """The same as ``mark``, for all that are among these, which are to one object, when their turn comes."""
        for one in islice(subscriptions, 1):
            _, causes = self._changed.get(one.key, (subscriptions, 0))
            self._changed[one.key] = subscriptions, causes | cause
            self._work.set()

    def mark(self, subscriptions: Iterable[Subscription], cause: int, *, is_outdated: bool = False) -> None:
        """Have these evaluated, as far as they still are, when their sockets are ready. ``is_outdated``: what was made
        of them before is not to be sent any more."""
        ready = self._ready
        for subscription in subscriptions:
            if subscription.is_current:
                subscription.causes |= cause
                socket = subscription.socket
                socket.soil(subscription, is_outdated=is_outdated)
                if not socket.busy:
                    ready[socket] = None
        self.is_disturbed |= is_outdated
        if self._ready:
            self._work.set()

    def put_back(self, socket: Socket, subscriptions: Collection[Subscription]) -> None:
        """A parcel of the socket's is done with, after the last of which it is ready again. These subscriptions, as far
        as they still are, are dirty again."""
        if socket.busy:
            socket.busy -= 1
        if not socket.dirty and not subscriptions:  # as it nearly always is
            return
        for subscription in subscriptions:
            if subscription.is_current:
                subscription.causes |= subscription.made_for
                socket.soil(subscription)
        if socket.dirty and socket in self._sockets:
            self._turn_to(socket)

    def awaits(self, socket: Socket) -> bool:
        """Whether an object changed that the socket watches, and it was not taken since."""
        changed = self._changed
        return any(key in changed and one in changed[key][0] for key, one in socket.subscriptions.items())

    def forget(self, socket: Socket) -> None:
        self._ready.pop(socket, None)
        self._asking.pop(socket, None)

    def take(self, room: int, *, with_requests: bool) -> Batch:
        """The next batch: of sockets that are ready, in turn, what is dirty, and not more than there is room for; they
        are busy from now on. Without requests, what is asked for waits until ``resume``."""
        batch = self._take_changed(room)
        room -= len(batch)
        taken: list[Socket] = []
        for socket in self._ready:
            if room <= 0:
                break
            taken.append(socket)
            dirty = socket.dirty
            items = [*dirty] if with_requests else [one for one in dirty if not one.requests]
            if len(items) < len(dirty):
                self._asking[socket] = None
            if len(items) > room:
                items = items[:room]
            if len(items) == len(dirty):
                socket.dirty = CLEAN
            else:
                for subscription in items:
                    del dirty[subscription]
            for subscription in items:
                subscription.made_for, subscription.causes = subscription.causes, 0
            if items:
                batch[socket], socket.busy = items, 1
            room -= len(items) or 1
        for socket in taken:
            del self._ready[socket]
        if not self:
            self._work.clear()
        return batch

    def _take_changed(self, room: int) -> Batch:
        """Where nobody was ready, as nearly always, what is watched of changed objects, as far as nothing else is to be
        done about that. All else is marked, and has its turn: also where a socket watches several of the objects, which
        are one batch for it."""
        batch: Batch = {}
        changed, self._changed = self._changed, {}
        is_direct = not self._ready and are_apart([watched for watched, _ in changed.values()])
        for watched, cause in changed.values():
            free = at_rest(list(islice(watched, room - len(batch)))) if is_direct else {}
            if len(free) < len(watched):
                known = set(chain.from_iterable(free.values()))
                self.mark([one for one in watched if one not in known], cause)
            for socket, (subscription,) in free.items():
                subscription.made_for, subscription.causes = subscription.causes | cause, 0
                socket.busy = 1
            batch |= free
        return batch

    def resume(self) -> None:
        """What was asked for may be answered again."""
        asking, self._asking = self._asking, {}
        for socket in asking:
            self._turn_to(socket)

    def _turn_to(self, socket: Socket) -> None:
        if not socket.busy:
            self._ready[socket] = None
            self._work.set()


def are_apart(watched: list[Collection[Subscription]]) -> bool:
    """Whether no socket watches several of some objects, given what is watched of each."""
    return len(watched) < 2 or len(set(map(SOCKET, chain(*watched)))) == sum(map(len, watched))


def at_rest(subscriptions: list[Subscription]) -> Batch:
    """Those, of one object, about which nothing else is to be done, nor about their sockets: nearly always all."""
    sockets = list(map(SOCKET, subscriptions))
    if any(map(BUSY, sockets)) or any(map(DIRTY, sockets)) or any(map(REQUESTS, subscriptions)):
        subscriptions = [one for one in subscriptions if not (one.socket.busy or one.socket.dirty or one.requests)]
        sockets = list(map(SOCKET, subscriptions))
    return dict(zip(sockets, zip(subscriptions, strict=True), strict=True))
