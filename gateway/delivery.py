"""The delivery: sends each socket what was decided for it; none waits for another."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from ..serializers.settings import setting
from . import frames
from .decisions import Made
from .logs import report
from .metrics import count

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Sequence

    from .backlog import Backlog
    from .decisions import Decision
    from .recorder import Recorder
    from .subscriptions import Socket, Subscription
    from .tracing import Way

    # What of what was made a socket is to be sent. None stands for news of the server only, which are told whatever
    # else is being done about the socket.
    Parcel = tuple[Socket, Sequence[Subscription] | None, Made]

# A view that was not sent this many seconds after it was made is not sent, but made anew.
VIEW_LIFETIME = 1.0
# To so many sockets in a row is sent before everything else in the event loop has its turn.
SENDS_IN_A_ROW = 250
# Stands for the ETag of what a client holds, where that is not known; no view has it.
UNKNOWN = ""
# WebSocket close codes: for an error of the server's (RFC 6455, 7.4.1); for a client that takes nothing.
INTERNAL_ERROR, TOO_SLOW = 1011, 4408
# Of it are the parcels that are news only.
NOTHING = Made({}, inf)


class Sender(Protocol):
    """For whom is delivered: a hub."""

    @property
    def is_troubled(self) -> bool: ...
    def forget(self, subscription: Subscription) -> None: ...
    def drop(self, socket: Socket, code: int) -> None: ...
    def expel(self, socket: Socket, code: int) -> None: ...
    def has_news(self, socket: Socket) -> bool: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...


class Delivery:
    """Sends to one socket after the other, in one task, as long as none makes it wait.

    When one does, another task takes over all the others, and the first ends with that socket: a client that reads
    slowly delays nobody else, and the many that do not cost no task each. One that takes nothing for
    ``SLOW_CLIENT_TIMEOUT`` is closed.
    """

    def __init__(self, hub: Sender, backlog: Backlog, recorder: Recorder) -> None:
        self.due: deque[Parcel] = deque()
        self.runner: asyncio.Task[None] | None = None
        self._hub = hub
        self._backlog = backlog
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._sending_to: Socket | None = None  # the runner's
        self._all_handed_out = asyncio.Event()
        self._frames_sent = 0  # and not counted yet

    async def finish(self) -> None:
        """Until everything was handed out; what waits for a slow client was."""
        while self.due:
            self._all_handed_out.clear()
            await self._all_handed_out.wait()

    def hand_out(self, parcels: Collection[Parcel], way: Way | None = None) -> None:
        """Send these. Their sockets are busy, and put back when it is done."""
        self.due.extend(parcels)
        if way is not None and way.is_recorded:
            self._hub.spawn(way.delivering(len(parcels), self.finish))
        self._run_on()

    def tell(self, sockets: Iterable[Socket]) -> None:
        """Send these what is new of the server; who is being sent to is told afterwards."""
        self.hand_out([(socket, None, NOTHING) for socket in sockets if socket.delivery is None])

    def abandon(self, socket: Socket) -> None:
        """Wait no longer for what is being sent to a socket."""
        if socket.delivery is not None:
            self._relieve(socket.delivery)
            socket.delivery.cancel()

    async def answer(self, socket: Socket, frame: str) -> None:
        """Send a frame that says nothing of an object, besides what is delivered."""
        try:
            async with asyncio.timeout(setting("SLOW_CLIENT_TIMEOUT")):
                await socket.send(frames.message(frame))
            count("frames_sent")
        except TimeoutError:
            self._time_out(socket)

    def _run_on(self) -> None:
        if self.runner is None and self.due:
            self.runner = self._hub.spawn(self._run())

    async def _run(self) -> None:
        runner = asyncio.current_task()
        while self.due and self.runner is runner:
            # Comes to be called while it waits for a socket, and only then.
            relief = self._loop.call_soon(self._be_patient, runner)
            is_troubled = self._hub.is_troubled  # and so it stays until it waits
            for _ in range(SENDS_IN_A_ROW):
                if not self.due or self.runner is not runner:
                    break
                socket, taken, made = self.due.popleft()
                if socket.delivery is not None:  # news are being told, or what was made comes before
                    socket.parcels = (*socket.parcels, (socket, taken, made.of(one.pair for one in taken or ())))
                    continue
                socket.delivery, self._sending_to = runner, socket
                try:
                    frame = self._only_frame(socket, taken, made)
                    # A client that takes long keeps nothing that was made for others.
                    made = made.of(one.pair for one in taken or ()) if frame is None else NOTHING
                    if frame is None:
                        await self._deliver(socket, taken, made)
                    else:
                        await socket.send(frames.message(frame))
                        self._frames_sent += 1
                        if socket.dirty or socket.busy != 1:
                            self._backlog.put_back(socket, ())
                        else:
                            socket.busy = 0
                    if is_troubled or socket.is_behind or self.runner is not runner:
                        await self._tell_news(socket)
                except (Exception, asyncio.CancelledError) as error:
                    await self._give_up(socket, error)
                socket.delivery = None
                if socket.patience is not None:
                    socket.lose_patience()
                if socket.parcels:
                    self._resume(socket)
            relief.cancel()
            self._count()
            if self.runner is runner:
                await asyncio.sleep(0)  # everything else in this loop has its turn
        self._relieve(runner)

    def _count(self) -> None:
        """All at once: there may be a thousand in a moment."""
        count("frames_sent", self._frames_sent)
        self._frames_sent = 0

    def _resume(self, socket: Socket) -> None:
        """With what waited for this socket, as far as it is not too old: rights may have changed, and nobody heard."""
        parcels, socket.parcels = socket.parcels, ()
        for socket, taken, made in reversed(parcels):
            if taken and self._loop.time() > made.expires:
                self._backlog.put_back(socket, taken)
            else:
                self.due.appendleft((socket, taken, made))
        self._run_on()

    def _be_patient(self, runner: asyncio.Task[None] | None) -> None:
        """A socket makes its runner wait: for so long it may."""
        if self.runner is runner and self._sending_to is not None:
            self._sending_to.have_patience(setting("SLOW_CLIENT_TIMEOUT"), self._time_out)
        self._relieve(runner)

    def _relieve(self, runner: asyncio.Task[None] | None) -> None:
        if self.runner is runner:
            self.runner = self._sending_to = None
            self._all_handed_out.set()
            self._run_on()

    def _time_out(self, socket: Socket) -> None:
        # What was waiting has one more turn: where the whole loop stood still, it was not the client.
        socket.patience = self._loop.call_soon(self._hub.expel, socket, TOO_SLOW)

    def _only_frame(self, socket: Socket, taken: Sequence[Subscription] | None, made: Made) -> str | None:
        """The frame that is all that there is to be sent of it, as nearly always: one view, that is another than the
        client holds, and nothing that was asked for, or is outdated. It is settled then, and on record."""
        if taken is None or len(taken) != 1 or socket.dirty:
            return None
        [subscription] = taken
        view = made.decisions[subscription.pair]
        if view is None or subscription.requests or view.etag == subscription.etag or not subscription.is_current:
            return None
        if not made.is_on_record:
            subscription.verified, subscription.basis = made.verified, ""
        elif self._recorder.may_settle(subscription, view):
            self._recorder.show(subscription, view)
        else:
            return None
        return subscription.renew(view)

    async def _deliver(self, socket: Socket, taken: Sequence[Subscription] | None, made: Made) -> None:
        items = taken or ()
        for position, subscription in enumerate(items):
            decision = made.decisions[subscription.pair]
            if not made.is_on_record:
                subscription.verified, subscription.basis = made.verified, ""
            if socket.dirty and socket.dirty.get(subscription) and not is_refusal(subscription, decision):
                continue  # rights changed since it was made
            if subscription.basis and not self._recorder.may_settle(subscription, decision):
                self._backlog.mark([subscription], subscription.made_for)
                continue
            if position and self._loop.time() > made.expires:
                self._backlog.put_back(socket, items[position:])
                return
            for number, frame in enumerate(self._settle(subscription, decision)):
                if decision is not None and frame is decision.frame:
                    if number and self._is_too_late(subscription, made.expires):
                        subscription.etag = UNKNOWN
                        break
                    if subscription.basis:
                        self._recorder.show(subscription, decision)
                await socket.send(frames.message(frame))
                self._note_sent(socket)
        if taken is not None:
            self._backlog.put_back(socket, ())

    async def _tell_news(self, socket: Socket) -> None:
        self._encourage(socket)
        while self._hub.has_news(socket):
            socket.is_behind = not socket.is_behind
            await socket.send(frames.message(frames.delayed() if socket.is_behind else frames.current()))
            self._note_sent(socket)

    def _note_sent(self, socket: Socket) -> None:
        self._frames_sent += 1
        self._encourage(socket)

    def _encourage(self, socket: Socket) -> None:
        """It takes something, if slowly."""
        if socket.patience is not None:
            socket.have_patience(setting("SLOW_CLIENT_TIMEOUT"), self._time_out)

    async def _give_up(self, socket: Socket, error: BaseException) -> None:
        """Close a socket that could not be sent its views: its client would wait without a word."""
        if is_cancelled(socket.delivery):  # by ourselves, and not somewhere in what sends
            raise error
        if not is_gone(error):
            count("sockets_failed")
            report("delivery_failed", "A socket could not be sent its views, and is closed.", error)
        self._hub.drop(socket, INTERNAL_ERROR)
        try:
            await socket.close(INTERNAL_ERROR)
        except (Exception, asyncio.CancelledError):
            if is_cancelled(socket.delivery):
                raise

    def _is_too_late(self, subscription: Subscription, expires: float) -> bool:
        """Whether a view that waited for an answer before it is not to be sent any more: it is made anew, or was given
        up meanwhile."""
        if not subscription.is_current:
            return True
        if self._loop.time() > expires:
            self._backlog.mark([subscription], subscription.made_for)
        return subscription in subscription.socket.dirty

    def _settle(self, subscription: Subscription, decision: Decision) -> list[str]:
        if not subscription.is_current:
            return []
        is_on_record = bool(subscription.basis)
        texts = self._settle_on_record(subscription, decision) if is_on_record else subscription.settle(decision)
        if not subscription.admitted:  # refused; what is asked from here on is a new subscription
            self._hub.forget(subscription)
        return texts

    def _settle_on_record(self, subscription: Subscription, decision: Decision) -> list[str]:
        requests, was_admitted = len(subscription.requests), subscription.admitted
        texts = subscription.settle(decision)
        self._recorder.settled(subscription, decision, requests, was_admitted)
        if decision is None and len(texts) > requests:  # something was taken away besides
            self._recorder.took_away(subscription)
        return texts


def is_refusal(subscription: Subscription, decision: Decision) -> bool:
    """Whether it is one. That comes when it is due, whatever changed meanwhile: of what never existed, nothing does."""
    return decision is None and bool(subscription.requests)


def is_gone(error: BaseException) -> bool:
    """Whether it says that the connection is. ASGI has an OSError for that. Where uvicorn closes one that answers no
    pings, and still has something to write to it, it says so as if it had been closed by us."""
    return isinstance(error, OSError) or "after sending 'websocket.close'" in str(error)


def is_cancelled(task: asyncio.Task[None] | None) -> bool:
    return task is not None and task.cancelling() > 0
