"""The hub: hears of changes, and marks what is watched as dirty; evaluator and delivery do the rest.

One for each process and event loop, from its first socket to its last. It has one channel, in all the notice groups,
whatever the number of sockets: a subscription costs the broker nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from itertools import count as count_from
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..serializers.settings import setting
from . import delivery
from .backlog import Backlog
from .courier import courier
from .delivery import Delivery
from .entries import CHANGE, LOSS, REQUEST, RESUME, RIGHTS
from .evaluator import Evaluator
from .examiner import Examiner
from .listener import Listener
from .logs import report
from .messages import Refusal
from .metrics import count, gauge
from .notices import token_of_socket
from .paces import Pace
from .recorder import Recorder, is_on
from .registry import Registry
from .rolls import attendants
from .subscriptions import Subscription
from .sweep import keep_sweeping
from .trail import note_heard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator

    from .decisions import Pair
    from .messages import Message
    from .metrics import Count
    from .notices import Notice
    from .subscriptions import Key, Socket

# WebSocket close codes: for who was logged out, deactivated or deleted, or whose right to be there expired; for who
# sends too much, or is there too often; for whom an operator has closed.
UNAUTHORIZED, TOO_MANY, CLOSED = 4401, 4429, 4403
COUNTED: dict[int, Count] = {
    CLOSED: "sockets_closed_by_operator",
    UNAUTHORIZED: "sockets_expelled",
    delivery.TOO_SLOW: "sockets_too_slow",
    TOO_MANY: "sockets_too_many",
}
# Seconds before a part of it that failed begins again.
PAUSE = 1.0
# Of at least so many notices that rights changed it is known when they last came.
MOST_PACES = 1_000
# Seconds for which the session of a socket that was closed for a log out opens no other.
LOGGED_OUT_FOR = 60


class Hub:
    """Use ``enter`` and ``leave``; they make and stop the hub of the running loop."""

    def __init__(self) -> None:
        self.identity = token_hex(8)  # what it is named by in records
        self._loop = asyncio.get_running_loop()
        self._numbers = count_from(1)  # of its sockets
        self.swept = monotonic()  # from end to end; before it ever was, it was all new
        self._tasks: set[asyncio.Task[None]] = set()
        self._registry = Registry(look=self._look_at_all)
        self._logged_out: dict[str, float] = {}  # tokens of sessions, and when (in the loop's time)
        self._paces: dict[Notice, Pace] = {}  # of notices that rights changed
        self._most_paces = MOST_PACES  # before those that are over are forgotten
        self._losses = Pace(self._resync, longest=1)
        self._is_deaf = False
        self._backlog = Backlog(self._registry.sockets)
        self._recorder = Recorder(self.identity)
        self._delivery = Delivery(self, self._backlog, self._recorder)
        self._evaluator = Evaluator(self, self._backlog, self._delivery, self._recorder)
        self._examiner = Examiner(self.expel)
        self._attendants = [make(self) for make in attendants]
        self._listener = Listener(self._hear, self._miss, self._go_deaf)
        courier.use(self._loop)
        self.spawn(self._keep(self._listener.keep_listening))
        self.spawn(self._keep(self._evaluator.keep_evaluating))
        self.spawn(self._keep(self._examiner.keep_examining))
        self.spawn(self._keep(self._recorder.keep_writing))
        self.spawn(self._keep(lambda: keep_sweeping(self)))
        for attendant in self._attendants:
            self.spawn(self._keep(attendant.keep_attending))

    @property
    def sockets(self) -> Collection[Socket]:
        """All that are connected."""
        return self._registry.sockets

    def subscriptions(self) -> Iterator[Subscription]:
        """All of them; those to one object stand together."""
        return self._registry.subscriptions()

    @property
    def hears(self) -> bool:
        """Whether it hears of what changes."""
        return self._listener.hears.is_set()

    # What sockets ask of it

    def admit(self, socket: Socket) -> None:
        """Take in a socket that was opened. One of a session that has just ended is closed at once, and so is one of a
        user who has as many as they may."""
        socket.number = next(self._numbers)
        socket.token = token_of_socket(self.identity, socket.number)
        count("sockets_opened")
        same = len(self._registry.sockets_of(socket.user_token))
        self._registry.add(socket)
        self._recorder.opened(socket)
        self._await_expiry(socket)
        self.examine([socket])  # what was told since somebody let it in, nobody here has heard
        if socket.session_token and socket.session_token in self._logged_out:
            self.expel(socket)
        if same >= setting("MAX_SOCKETS_PER_USER"):
            self.expel(socket, TOO_MANY)
        if socket in self.sockets:
            self.tell([socket])

    def _await_expiry(self, socket: Socket) -> None:
        seconds = socket.credentials.seconds_left
        if seconds is not None and seconds > 0:  # again, where the clock was set back meanwhile
            socket.expiry = self._loop.call_later(seconds, self._await_expiry, socket)
        elif seconds is not None:
            self.examine([socket])

    def subscribe(self, socket: Socket, pair: Pair, request: Message) -> None:
        """Watch an object for a socket, and answer the request when it was evaluated. Raises Refusal at a limit.

        It is registered before it is read, so that a change in between is not missed. A socket that is being closed
        asks in vain.
        """
        if socket not in self.sockets:
            return
        limit = setting("MAX_SUBSCRIPTIONS")
        subscription = socket.subscriptions.get((pair.publication.label, pair.hashid))
        if socket.unanswered >= limit or (subscription is None and len(socket.subscriptions) >= limit):
            raise Refusal("too_many_subscriptions", request.request_id)
        if subscription is None:
            subscription = Subscription(socket, pair)
            self._registry.watch(subscription)
        subscription.requests = (*subscription.requests, request)
        socket.unanswered += 1
        self._backlog.mark([subscription], RESUME if request.etag else REQUEST)

    def unsubscribe(self, socket: Socket, key: Key) -> None:
        """A client wants to watch an object no more; harmless when it does not watch it."""
        if subscription := socket.subscriptions.get(key):
            self._recorder.ended(subscription)
            self.forget(subscription)

    def forget(self, subscription: Subscription) -> None:
        """Stop watching an object for a socket."""
        self._evaluator.undecided.pop(subscription, None)
        self._recorder.withhold(subscription)
        self._registry.unwatch(subscription.socket, subscription.key)
        self.tell([subscription.socket])  # it may have been behind because of that

    async def answer(self, socket: Socket, frame: str) -> None:
        """Send a socket what says nothing of an object; one that is being closed is sent nothing."""
        if socket in self.sockets:
            await self._delivery.answer(socket, frame)

    def drop(self, socket: Socket, code: int | None = None) -> None:
        """Forget a socket and all its subscriptions. ``code`` is the one it is closed with, None where it is gone."""
        for subscription in list(socket.subscriptions.values()):
            self.forget(subscription)
        if socket in self.sockets:
            self._recorder.closed(socket, code)
        self._registry.remove(socket)
        self._backlog.forget(socket)
        self._examiner.forget(socket)
        self._evaluator.forget_who_asked()
        if socket.expiry is not None:
            socket.expiry.cancel()

    def abandon(self, socket: Socket, code: int | None = None) -> None:
        """Forget a socket, and wait no longer for what is being sent to it."""
        self.drop(socket, code)
        self._delivery.abandon(socket)

    def expel(self, socket: Socket, code: int = UNAUTHORIZED) -> None:
        """Close a socket that may not be there any more, also one that is waiting for its client to read."""
        if socket in self.sockets:
            count(COUNTED[code])
            self.abandon(socket, code)
            closing = self._loop.create_task(close(socket, code), context=Context())
            _closing.add(closing)
            closing.add_done_callback(_closing.discard)

    async def stop(self) -> None:
        """End all tasks of the hub; nothing is left running."""
        courier.release(self._loop)
        for pace in (self._losses, *self._paces.values()):
            pace.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._evaluator.stop()
        await self._examiner.stop()
        await self._recorder.stop()
        for attendant in self._attendants:
            await attendant.stop()

    # Hearing

    def _hear(self, notice: Notice) -> None:
        note_heard(notice)
        if notice.kind == "logout":
            self._log_out(notice.token)
        elif notice.kind == "close":
            self._close(notice.token)
        elif notice.kind == "roll":
            for attendant in self._attendants:
                attendant.call(notice.token)
        elif notice.kind == "access":
            self._hear_of_access(notice)
        elif watch := self._registry.watching.get((notice.label, notice.hashid)):
            watch.pace.tell()

    def _hear_of_access(self, notice: Notice) -> None:
        """What was made is dropped at once, and who may have to go is examined; to make it anew has its pace."""
        concerned = list(self._registry.concerned_by(notice))
        for subscription in concerned:
            subscription.doubt(self._loop.time())
        self._outdate((one for one in concerned if one.socket.busy), RIGHTS)
        if not notice.label:
            self.examine(self._registry.sockets_of(notice.token) if notice.token else self.sockets)
        if concerned:
            if len(self._paces) >= self._most_paces:
                self._paces = {of: pace for of, pace in self._paces.items() if not pace.is_over}
                self._most_paces = max(MOST_PACES, 2 * len(self._paces))
            if notice not in self._paces:
                self._paces[notice] = Pace(
                    lambda: self._outdate(self._registry.concerned_by(notice), RIGHTS), longest=1
                )
            self._paces[notice].tell()

    def _outdate(self, subscriptions: Iterable[Subscription], cause: int) -> None:
        self._backlog.mark(subscriptions, cause, is_outdated=True)

    def _log_out(self, token: str) -> None:
        """Close the sockets of a session, without a look: it was told before the session was removed. For the same
        reason, one that is opened with it is closed for a while. What stands for a user, which anybody may have heard
        who hears notices, closes nothing."""
        now = self._loop.time()
        while self._logged_out and next(iter(self._logged_out.values())) < now - LOGGED_OUT_FOR:
            del self._logged_out[next(iter(self._logged_out))]
        self._logged_out.setdefault(token, now)
        for socket in [one for one in self._registry.sockets_of(token) if one.session_token == token]:
            self.expel(socket)

    def _close(self, token: str) -> None:
        """Close one socket for an operator. Nor does what stands for its user or session."""
        for socket in [one for one in self._registry.sockets_of(token) if one.token == token]:
            self.expel(socket, CLOSED)

    def _miss(self) -> None:
        """Anything may have changed, rights too."""
        self._losses.tell()

    def _resync(self) -> None:
        self._outdate(self.subscriptions(), LOSS)
        self.examine(self.sockets)
        if self._is_deaf and self.hears:
            self._is_deaf = False
            self.tell(self.sockets)

    def _go_deaf(self) -> None:
        """Nothing is heard for now: everybody is told."""
        self._is_deaf = True
        self.tell(self.sockets)

    @property
    def is_troubled(self) -> bool:
        """Whether what some client holds may be old, and it is not known for how long."""
        return self._is_deaf or self._evaluator.is_stuck or bool(self._evaluator.undecided)

    def has_news(self, socket: Socket) -> bool:
        """Whether its client is to be told that what it holds may be old, and it is not known for how long; or, when it
        was told so, that all is current again: then nothing is left to be made, shown or answered."""
        is_behind = self._is_deaf or self._evaluator.is_stuck
        if not is_behind and self._evaluator.undecided:
            is_behind = not self._evaluator.undecided.keys().isdisjoint(socket.subscriptions.values())
        if is_behind == socket.is_behind:
            return False
        is_left = socket.busy or socket.dirty or socket.unanswered or self._backlog.awaits(socket)
        return (is_behind or not is_left) and socket in self.sockets

    def tell(self, sockets: Iterable[Socket]) -> None:
        """Have those told for whom there is news; also while what they watch is being evaluated."""
        if news := [socket for socket in sockets if self.has_news(socket)]:
            self._delivery.tell(news)

    def _look_at_all(self, subscriptions: Collection[Subscription]) -> None:
        self._backlog.mark_all(subscriptions, CHANGE)

    def look_again(self, subscriptions: Iterable[Subscription], cause: int) -> None:
        """Have these evaluated, as far as they are still there, when their sockets are ready."""
        self._backlog.mark(subscriptions, cause)

    def examine(self, sockets: Iterable[Socket]) -> None:
        """Have it looked at whether these sockets may still be there, and those closed that may not."""
        self._examiner.examine(sockets)

    async def _keep(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin it again, should it ever end by an error."""
        while True:
            try:
                await work()
            except Exception as error:
                report("hub_failed", "A part of the hub has failed; it begins again.", error)
            await asyncio.sleep(PAUSE)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it besides; it ends with the hub at the latest."""
        # In a context of its own: what was set around the socket that happened to be first concerns nobody else.
        task = self._loop.create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def close(socket: Socket, code: int) -> None:
    with contextlib.suppress(Exception):  # it is gone already
        await socket.close(code)


# Sockets that are being closed; none is forgotten because a hub stops.
_closing: set[asyncio.Task[None]] = set()
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


# Asked from any thread, while sockets come and go: of copies, which are made at once.
gauge("sockets", lambda: sum(len(hub.sockets) for hub in list(_hubs.values())))
gauge("subscriptions", lambda: sum(len(one.subscriptions) for hub in list(_hubs.values()) for one in list(hub.sockets)))
gauge("sweep_age_seconds", lambda: max((monotonic() - hub.swept for hub in list(_hubs.values())), default=None))
gauge("ledger_queue", lambda: sum(len(hub._recorder) for hub in list(_hubs.values())) if is_on() else None)


def enter(socket: Socket) -> Hub:
    """The hub of the running loop, with this socket in it."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    _hubs[loop].admit(socket)
    return _hubs[loop]


async def leave(socket: Socket, hub: Hub) -> None:
    """Take the socket out of its hub, which stops with the last one; nothing is sent to it any more."""
    hub.abandon(socket)
    loop = asyncio.get_running_loop()
    if not hub.sockets and _hubs.get(loop) is hub:
        del _hubs[loop]
        await hub.stop()


def listening() -> bool | None:
    """Whether the hub of the running loop hears the channel layer; None where there is no socket, and so no hub."""
    hub = _hubs.get(asyncio.get_running_loop())
    return None if hub is None else hub.hears
