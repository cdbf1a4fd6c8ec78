"""The hub: hears of changes, marks what is watched as dirty, has it evaluated, and hands it out.

One for each process and event loop, from its first socket to its last. It has one channel, in all the notice groups,
whatever the number of sockets: a subscription costs the broker nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections

from ..serializers.settings import setting
from .courier import courier
from .credentials import ended
from .evaluation import evaluate
from .listener import FIRST_PAUSE, LONGEST_PAUSE, Listener
from .logs import report
from .messages import Refusal
from .metrics import count
from .paces import Pace
from .subscriptions import Subscription, Watch
from .sweep import keep_sweeping

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from .credentials import Credentials
    from .decisions import Decision, Pair
    from .messages import Message
    from .notices import Notice
    from .subscriptions import Key, Socket

    Decided = tuple[Subscription, Decision]

Given = TypeVar("Given")
Answer = TypeVar("Answer")

# A view that was not sent this many seconds after it was made is not sent, but made anew.
VIEW_LIFETIME = 1.0
# To so many sockets in a row is sent before everything else in the event loop has its turn.
SENDS_IN_A_ROW = 250
# The WebSocket close code for an error of the server's (RFC 6455, 7.4.1).
INTERNAL_ERROR = 1011
# The one for a socket whose user was logged out, deactivated or deleted, or whose right to be there expired.
UNAUTHORIZED = 4401
# Of at least so many notices that rights changed it is known when they last came.
MOST_PACES = 1_000
# Stands for the ETag of what a client holds, where that is not known; no view has it.
UNKNOWN = ""
# Seconds for which the session of a socket that was closed for a log out opens no other.
LOGGED_OUT_FOR = 60


class Hub:
    """Use ``enter`` and ``leave``; they make and stop the hub of the running loop."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self._by_token: dict[str, dict[Socket, None]] = {}  # of the user and of the session
        self._logged_out: dict[str, float] = {}  # tokens of sessions, and when (in the loop's time)
        self._watching: dict[Key, Watch] = {}
        self._paces: dict[Notice, Pace] = {}  # of notices that rights changed
        self._most_paces = MOST_PACES  # before those that are over are forgotten
        self._ready: dict[Socket, None] = {}  # not busy, and something of them is dirty
        self._work = asyncio.Event()
        self._doubted: dict[Socket, None] = {}  # whose credentials are to be examined
        self._doubts = asyncio.Event()
        self._evaluator = ThreadPoolExecutor(max_workers=1, thread_name_prefix="livegate-evaluator")
        self._examiner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="livegate-examiner")
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        # What of the last batch is still to be sent, and until when (in the loop's time) it may be.
        self._due: deque[tuple[Socket, list[Decided]]] = deque()
        self._expires = 0.0
        self._room = setting("BATCH_SIZE")  # of the next batch
        self._is_disturbed = False  # rights changed while the last one was made
        self._all_handed_out = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._listener = Listener(self._hear, self._miss)
        courier.use(self._loop)
        self._spawn(self._listener.keep_listening())
        self._spawn(self._evaluate_forever())
        self._spawn(self._examine_forever())
        self._spawn(keep_sweeping(self))

    # What sockets ask of it

    def admit(self, socket: Socket) -> None:
        """Take in a socket that was opened. One of a session that has just ended is closed at once."""
        self.sockets.add(socket)
        for token in socket.tokens:
            self._by_token.setdefault(token, {})[socket] = None
        self._await_expiry(socket)
        self.examine([socket])  # what was told since somebody let it in, nobody here has heard
        if not self._logged_out.keys().isdisjoint(socket.tokens):
            self._expel(socket)

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
            socket.subscriptions[subscription.key] = subscription
            self._watch(subscription.key).subscriptions[subscription] = None
        subscription.requests.append(request)
        socket.unanswered += 1
        self._mark(subscription)

    def unsubscribe(self, socket: Socket, key: Key) -> None:
        """Stop watching an object for a socket; harmless when it is not watched."""
        if subscription := socket.subscriptions.pop(key, None):
            subscription.is_current = False
            socket.dirty.pop(subscription, None)
            socket.unanswered -= len(subscription.requests)
            watch = self._watching[key]
            del watch.subscriptions[subscription]
            if not watch.subscriptions:
                del self._watching[key]
                watch.pace.cancel()

    def drop(self, socket: Socket) -> None:
        """Forget a socket and all its subscriptions."""
        for key in list(socket.subscriptions):
            self.unsubscribe(socket, key)
        self.sockets.discard(socket)
        self._ready.pop(socket, None)
        self._doubted.pop(socket, None)
        for token in socket.tokens:
            if same := self._by_token.get(token):
                same.pop(socket, None)
                if not same:
                    del self._by_token[token]
        if socket.expiry is not None:
            socket.expiry.cancel()

    def abandon(self, socket: Socket) -> None:
        """Forget a socket, and wait no longer for what is being sent to it."""
        self.drop(socket)
        if socket.delivery is not None:
            self._relieve(socket.delivery)
            socket.delivery.cancel()

    async def stop(self) -> None:
        """End all tasks of the hub; nothing is left running."""
        courier.release(self._loop)
        for pace in self._paces.values():
            pace.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for executor in (self._evaluator, self._examiner):
            await self._loop.run_in_executor(executor, connections.close_all)
            executor.shutdown(wait=False)

    # Hearing

    def _hear(self, notice: Notice) -> None:
        if notice.kind == "logout":
            self._log_out(notice.token)
        elif notice.kind == "access":
            self._hear_of_access(notice)
        elif watch := self._watching.get((notice.label, notice.hashid)):
            watch.pace.tell()

    def _hear_of_access(self, notice: Notice) -> None:
        """What was made is dropped at once, and who may have to go is examined; to make it anew has its pace."""
        concerned = list(self._concerned_by(notice))
        for subscription in concerned:
            if subscription.socket.busy:
                self._mark(subscription, is_outdated=True)
        if not notice.label:
            self.examine(self._by_token.get(notice.token, {}))
        if concerned:
            if len(self._paces) >= self._most_paces:
                self._paces = {of: pace for of, pace in self._paces.items() if not pace.is_over}
                self._most_paces = max(MOST_PACES, 2 * len(self._paces))
            if notice not in self._paces:
                self._paces[notice] = Pace(lambda: self._outdate(self._concerned_by(notice)), longest=1)
            self._paces[notice].tell()

    def _concerned_by(self, notice: Notice) -> Iterator[Subscription]:
        """The subscriptions that a change of rights may be about."""
        if notice.label:
            watch = self._watching.get((notice.label, notice.hashid))
            for subscription in watch.subscriptions if watch else ():
                # Who is anonymous has the rights of a user that guardian keeps for that.
                if not notice.token or subscription.socket.user_token in (notice.token, ""):
                    yield subscription
        else:
            for socket in self._by_token.get(notice.token, {}) if notice.token else self.sockets:
                yield from socket.subscriptions.values()

    def _outdate(self, subscriptions: Iterable[Subscription]) -> None:
        for subscription in subscriptions:
            self._mark(subscription, is_outdated=True)

    def _log_out(self, token: str) -> None:
        """Close the sockets of a session, without a look: it was told before the session was removed. For the same
        reason, one that is opened with it is closed for a while."""
        now = self._loop.time()
        while self._logged_out and next(iter(self._logged_out.values())) < now - LOGGED_OUT_FOR:
            del self._logged_out[next(iter(self._logged_out))]
        self._logged_out.setdefault(token, now)
        for socket in list(self._by_token.get(token, ())):
            self._expel(socket)

    def _miss(self) -> None:
        """Anything may have changed, rights too."""
        self._outdate(self.subscriptions())
        self.examine(self.sockets)

    def _watch(self, key: Key) -> Watch:
        if key not in self._watching:
            self._watching[key] = Watch(self.look_again)
        return self._watching[key]

    def look_again(self, subscriptions: Iterable[Subscription]) -> None:
        """Have these evaluated, as far as they are still there, when their sockets are ready."""
        for subscription in subscriptions:
            self._mark(subscription)

    def subscriptions(self) -> Iterator[Subscription]:
        """All of them; those to one object stand together."""
        for watch in self._watching.values():
            yield from watch.subscriptions

    def _mark(self, subscription: Subscription, *, is_outdated: bool = False) -> None:
        """``is_outdated``: what was made of it before is not to be sent any more."""
        socket = subscription.socket
        if not subscription.is_current:
            return
        self._is_disturbed |= is_outdated
        socket.dirty[subscription] = is_outdated or socket.dirty.get(subscription, False)
        if not socket.busy:
            self._ready[socket] = None
            self._work.set()

    # Evaluating

    async def _evaluate_forever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._work.wait()
            await self._listener.has_heard.wait()  # no longer: what is swept is evaluated also while the layer is away
            batch = self._take()
            if not batch:
                continue
            items = [item for taken in batch.values() for item in taken]
            try:
                decisions = await self._evaluate([item.pair for item in items])
            except Exception as error:
                report("evaluation_failed", "Nothing could be evaluated; it is tried again.", error)
                decisions = {}
            expires = self._loop.time() + VIEW_LIFETIME
            while self._due:  # at most one batch waits to be sent while the next is evaluated
                self._all_handed_out.clear()
                await self._all_handed_out.wait()
            self._adapt(items)
            self._expires = expires
            for socket, taken in batch.items():
                self._due.append((socket, [(item, decisions[item.pair]) for item in taken if item.pair in decisions]))
            undecided = [item for item in items if item.pair not in decisions] if len(decisions) < len(items) else []
            for item in undecided:  # tried again by itself: nobody else waits for what can't be read
                self._loop.call_later(pause, self._mark, item)
            pause = min(2 * pause, LONGEST_PAUSE) if undecided else FIRST_PAUSE
            self._run_on()

    def _adapt(self, made: list[Subscription]) -> None:
        """Where rights change faster than a large batch is made, so that most of it is outdated already, the next is
        half as large: smaller ones are made in time."""
        disturbed, self._is_disturbed = self._is_disturbed, False
        outdated = sum(one.socket.dirty.get(one, False) for one in made) if disturbed else 0
        self._room = max(1, len(made) // 2) if 2 * outdated > len(made) else min(2 * self._room, setting("BATCH_SIZE"))

    def _take(self) -> dict[Socket, list[Subscription]]:
        """The next batch: of sockets that are ready, in turn, what is dirty; they are busy from now on.

        While nothing is heard no request is answered, for the answer promises that no change is missed from then on.
        They are dirty again when it is heard.
        """
        batch: dict[Socket, list[Subscription]] = {}
        room, taken = self._room, 0
        hears = self._listener.hears.is_set()
        for socket in self._ready:
            if room <= 0:
                break
            taken += 1
            ripe = socket.dirty if hears else [one for one in socket.dirty if not one.requests]
            items = list(islice(ripe, room))
            room -= len(items)
            if len(items) == len(socket.dirty):
                socket.dirty.clear()
            for subscription in items if socket.dirty else ():
                del socket.dirty[subscription]
            if items:
                batch[socket], socket.busy = items, True
        for socket in list(islice(self._ready, taken)):
            del self._ready[socket]
        if not self._ready:
            self._work.clear()
        return batch

    async def _evaluate(self, pairs: list[Pair]) -> dict[Pair, Decision]:
        # In a context of its own: nothing that is set in one evaluation is there in the next.
        return await self._loop.run_in_executor(self._evaluator, Context().run, evaluate_connected, pairs)

    # Examining

    def examine(self, sockets: Iterable[Socket]) -> None:
        """Have it looked at whether these sockets may still be there, and those closed that may not."""
        self._doubted |= dict.fromkeys(sockets)
        if self._doubted:
            self._doubts.set()

    async def _examine_forever(self) -> None:
        while True:
            await self._doubts.wait()
            sockets = {one.credentials: one for one in islice(self._doubted, setting("BATCH_SIZE"))}
            for socket in sockets.values():
                del self._doubted[socket]
            if not self._doubted:
                self._doubts.clear()
            try:
                over = await self._loop.run_in_executor(self._examiner, Context().run, ended_connected, [*sockets])
            except Exception as error:
                report("sockets_unexamined", f"Whether {len(sockets)} sockets may stay can't be told yet.", error)
                self._loop.call_later(LONGEST_PAUSE, self.examine, [*sockets.values()])
                continue
            for credentials in over:
                self._expel(sockets[credentials])

    def _expel(self, socket: Socket) -> None:
        """Close a socket that has no right to be there any more, also one that is waiting for its client to read."""
        if socket in self.sockets:
            count("sockets_expelled")
            self.abandon(socket)
            closing = self._loop.create_task(close(socket, UNAUTHORIZED), context=Context())
            _closing.add(closing)
            closing.add_done_callback(_closing.discard)

    # Delivering

    def _run_on(self) -> None:
        if self._runner is None and self._due:
            self._runner = self._spawn(self._run())

    async def _run(self) -> None:
        """Send what is due, to one socket after the other, as long as none makes it wait.

        When one does, another runner takes over all the others, and this one ends with that socket: a client that
        reads slowly delays nobody else, and the many that do not cost no task each.
        """
        runner = asyncio.current_task()
        while self._due and self._runner is runner:
            # Comes to be called while it waits for a socket, and only then.
            relief = self._loop.call_soon(self._relieve, runner)
            for _ in range(SENDS_IN_A_ROW):
                if not self._due or self._runner is not runner:
                    break
                socket, decided = self._due.popleft()
                socket.delivery, expires = runner, self._expires
                try:
                    for position, (subscription, decision) in enumerate(decided):
                        if socket.dirty and socket.dirty.get(subscription):
                            continue  # rights changed since it was made
                        if position and self._loop.time() > expires:
                            self._put_back(socket, [one for one, _ in decided[position:]])
                            break
                        for number, frame in enumerate(self._settle(subscription, decision)):
                            if number and self._is_too_late(subscription, decision, frame, expires):
                                subscription.etag = UNKNOWN
                                break
                            await socket.send(frame)
                    else:
                        self._put_back(socket, [])
                except (Exception, asyncio.CancelledError) as error:
                    await self._give_up(socket, error)
                socket.delivery = None
            relief.cancel()
            if self._runner is runner:
                await asyncio.sleep(0)  # everything else in this loop has its turn
        if self._runner is runner:
            self._runner = None
            self._all_handed_out.set()

    def _relieve(self, runner: asyncio.Task[None] | None) -> None:
        if self._runner is runner:
            self._runner = None
            self._all_handed_out.set()
            self._run_on()

    async def _give_up(self, socket: Socket, error: BaseException) -> None:
        """Close a socket that could not be sent its views: its client would wait without a word."""
        if is_cancelled(socket.delivery):  # by ourselves, and not somewhere in what sends
            raise error
        if not isinstance(error, OSError):  # as it is when the connection is gone
            report("delivery_failed", "A socket could not be sent its views, and is closed.", error)
        self.drop(socket)
        try:
            await socket.close(INTERNAL_ERROR)
        except (Exception, asyncio.CancelledError):
            if is_cancelled(socket.delivery):
                raise

    def _is_too_late(self, subscription: Subscription, decision: Decision, frame: str, expires: float) -> bool:
        """Whether a view that waited for an answer before it is not to be sent any more: it is made anew, or was given
        up meanwhile."""
        if decision is None or frame is not decision.frame:  # an answer, which is never too late
            return False
        if not subscription.is_current:
            return True
        if self._loop.time() > expires:
            self._mark(subscription)
        return subscription in subscription.socket.dirty

    def _settle(self, subscription: Subscription, decision: Decision) -> list[str]:
        if not subscription.is_current:
            return []
        frames = subscription.settle(decision)
        if not subscription.admitted:  # refused; what is asked from here on is a new subscription
            self.unsubscribe(subscription.socket, subscription.key)
        return frames

    def _put_back(self, socket: Socket, subscriptions: list[Subscription]) -> None:
        """The socket is ready again, and these subscriptions, as far as they still are, are dirty again."""
        socket.busy = False
        for subscription in subscriptions:
            if subscription.is_current:
                socket.dirty.setdefault(subscription, False)
        if socket.dirty and socket in self.sockets:
            self._ready[socket] = None
            self._work.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In a context of its own: what was set around the socket that happened to be first concerns nobody else.
        task = self._loop.create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def is_cancelled(task: asyncio.Task[None] | None) -> bool:
    return task is not None and task.cancelling() > 0


def evaluate_connected(pairs: list[Pair]) -> dict[Pair, Decision]:
    """Evaluate on the connections of this thread, which stay open from one evaluation to the next (also where
    ``CONN_MAX_AGE`` is 0, as for requests): to open one takes longer than to evaluate."""
    return connected(evaluate, pairs)


def ended_connected(credentials: list[Credentials]) -> set[Credentials]:
    """The same, to examine."""
    return connected(ended, credentials)


def connected(function: Callable[[Given], Answer], given: Given) -> Answer:
    """Call it on the connections of this thread; one that has failed is replaced."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    try:
        return function(given)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        # What would end the hub, or can't be handed to it, which would then wait for ever.
        raise RuntimeError("An evaluation was ended from within.") from error


async def close(socket: Socket, code: int) -> None:
    with contextlib.suppress(Exception):  # it is gone already
        await socket.close(code)


# Sockets that are being closed; none is forgotten because a hub stops.
_closing: set[asyncio.Task[None]] = set()
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


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
    return None if hub is None else hub._listener.hears.is_set()
