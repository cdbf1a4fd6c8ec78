"""Subscriptions: what one socket watches, what its client holds, and what it is sent next. No I/O happens here."""

from __future__ import annotations

from asyncio import get_running_loop
from functools import partial
from operator import attrgetter
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import frames
from .metrics import count, observe
from .paces import Pace

if TYPE_CHECKING:
    from asyncio import Handle, Task, TimerHandle
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from ..permissions.viewers import Viewer
    from .credentials import Credentials
    from .decisions import Decision, Pair, View
    from .messages import Message
    from .publications import Level

# The model's label and the hashid, as in a notice.
Key = tuple[str, str]
# Of a socket that is not dirty. What is nearly always empty is one thing for all, and not one for each of a thousand,
# which would all have to be fetched from memory to see that there is nothing in them.
CLEAN: Any = MappingProxyType({})
# For loops of C's, which fetch several of a thousand objects at once from memory.
SOCKET, PAIR, REQUESTS, BUSY, DIRTY = map(attrgetter, ("socket", "pair", "requests", "busy", "dirty"))


class Socket:
    """One connected client: its credentials, its subscriptions, and which of them are dirty.

    While it is ``busy`` (its views are being made or sent) it is not evaluated again: what changes meanwhile only
    becomes dirty, however often.
    """

    __slots__ = (
        *("busy", "close", "credentials", "delivery", "dirty", "expiry", "is_behind", "number", "opened"),
        *("parcels", "patience", "send", "session_token", "subscriptions", "token", "unanswered", "user_token"),
    )

    def __init__(
        self,
        credentials: Credentials,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        close: Callable[[int], Awaitable[None]],
    ) -> None:
        self.credentials = credentials
        self.user_token = credentials.user_token
        self.session_token = credentials.session_token
        self.send = send  # as ASGI has it
        self.close = close
        self.subscriptions: dict[Key, Subscription] = {}
        # True where what was made of it before is not to be sent any more.
        self.dirty: dict[Subscription, bool] = CLEAN
        self.expiry: TimerHandle | None = None  # that will have its credentials examined
        self.number = 0  # by which it is known in its hub
        self.token = ""  # what stands for itself in notices
        self.opened = time()
        self.busy = 0  # how many parcels are being made for it, or sent to it
        self.delivery: Task[None] | None = None  # that is sending to it just now
        self.parcels: Sequence[Any] = ()  # that are to be sent when that is done
        self.patience: Handle | None = None  # that will end, where the delivery has to wait for the client
        self.is_behind = False  # the client was told that what it holds may be old
        self.unanswered = 0  # requests

    @property
    def viewer(self) -> Viewer:
        return self.credentials.viewer

    def soil(self, subscription: Subscription, *, is_outdated: bool = False) -> None:
        """Make one of its subscriptions dirty; what is outdated remains so."""
        if not self.dirty:
            self.dirty = {}
        self.dirty[subscription] = is_outdated or self.dirty.get(subscription, False)

    @property
    def tokens(self) -> list[str]:
        """What stands for it, its user and its session in notices."""
        return [token for token in (self.token, self.user_token, self.session_token) if token]

    def have_patience(self, seconds: float, afterwards: Callable[[Socket], None]) -> None:
        """Call ``afterwards`` when so many seconds have passed, unless patience is lost or given anew before."""
        self.lose_patience()
        self.patience = get_running_loop().call_later(seconds, afterwards, self)

    def lose_patience(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None


class Subscription:
    """One socket's interest in one object, from the request on until it is refused or given up.

    It outlives what it shows: an object that left the viewer's view and comes back is shown again.
    """

    __slots__ = (
        *("admitted", "basis", "causes", "doubted", "etag", "is_current", "key", "level", "made_for", "pair"),
        *("receipt", "requests", "since", "socket", "verified"),
    )

    def __init__(self, socket: Socket, pair: Pair) -> None:
        self.socket = socket
        self.pair = pair
        self.key: Key = (pair.publication.label, pair.hashid)
        self.requests: Sequence[Message] = ()
        self.causes = 0  # for which it is dirty, as bits
        self.made_for = 0  # the causes of what was made of it last
        self.doubted: float | None = None  # when it was heard that rights changed, if nothing was decided since
        self.admitted = False
        self.since = 0.0  # when it was admitted, in seconds since the epoch
        self.verified = 0.0  # when it was last decided about, likewise
        self.basis = ""  # of the last decision, if its publication is on record
        self.level: Level = "off"  # of its publication, when that was decided
        self.receipt: Any = None  # for what is on record as shown, and was not shown yet
        self.etag: str | None = None  # of what the client holds; None when it holds nothing
        self.is_current = True  # its socket still has it: it was neither given up nor refused

    def doubt(self, now: float) -> None:
        """Rights changed on what it shows."""
        self.doubted = now if self.doubted is None else self.doubted

    def settle(self, decision: Decision) -> list[str]:
        """The frames that make the client current with a decision; none when it is.

        A first request without an ``etag`` says that the client knows the present view: it is told of changes
        only. A request that finds nothing to see is answered ``not_found``, and is not remembered: afterwards the
        subscription is not ``admitted``. One with an ``etag`` says that the client holds something, which is taken
        from it before: whether it ever was there is not asked, and so not told.
        """
        requests, self.requests = self.requests, ()
        doubted, self.doubted = self.doubted, None
        self.socket.unanswered -= len(requests)
        if decision is None:
            return self._take_away(requests, doubted)
        if not requests and decision.etag != self.etag:
            return [self.renew(decision)]
        is_shown = self.would_show(decision, requests)
        if not self.admitted:
            self.admitted, self.since = True, time()
        self.etag = decision.etag
        if not requests:
            count("frames_suppressed")
        answers = [frames.subscribed(self.pair, request.request_id) for request in requests if request.wants_ack]
        return [*answers, frames.updated(self.pair, decision)] if is_shown else answers

    def renew(self, view: View) -> str:
        """The frame that shows a view which is another than the client holds, where nothing was asked for."""
        self.etag, self.doubted = view.etag, None
        return view.frame or frames.updated(self.pair, view)

    def would_show(self, view: View, requests: Sequence[Message]) -> bool:
        """Whether the client is shown this view, where these requests are answered by it: it holds another, or may."""
        if not requests:
            return view.etag != self.etag
        told = [request.etag for request in requests if request.wants_view]
        held = [*told, self.etag] if self.admitted else told
        return any(etag != view.etag for etag in held)

    def _take_away(self, requests: Sequence[Message], doubted: float | None) -> list[str]:
        holds, self.etag = self.etag is not None, None
        if holds:
            count("views_taken")
        if holds and doubted is not None:
            observe("revocation_seconds", get_running_loop().time() - doubted)
        if not requests:
            return [frames.deleted(self.pair)] if holds else []
        self.admitted = False
        count("refusals", len(requests))
        answers: list[str] = []
        for request in requests:
            if holds or request.etag:
                answers.append(frames.deleted(self.pair))
            answers.append(frames.refused("not_found", request.request_id))
            holds = False
        return answers


class Watch:
    """All subscriptions of a hub to one object, and the pace at which they are looked at when it changes."""

    __slots__ = ("pace", "subscriptions")

    def __init__(self, look: Callable[[Collection[Subscription]], None]) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self.pace = Pace(partial(look, self.subscriptions))
