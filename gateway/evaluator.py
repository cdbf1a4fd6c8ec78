"""The evaluator: has the backlog evaluated, batch after batch, and hands out what was decided."""

from __future__ import annotations

import asyncio
from itertools import chain, repeat
from math import ceil
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from ..serializers.settings import setting
from . import delivery
from .decisions import PUBLICATION, Made
from .entries import RETRY
from .evaluation import asked_by, evaluate
from .grounds import Grounds
from .listener import FIRST_PAUSE, LONGEST_PAUSE
from .logs import report
from .subscriptions import PAIR, REQUESTS
from .tracing import Way
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping, Sequence

    from .backlog import Backlog, Batch
    from .decisions import Decision, Pair
    from .delivery import Delivery, Parcel
    from .publications import Level, Publication
    from .recorder import Recorder
    from .subscriptions import Socket, Subscription

    # What one socket is to be sent of what was made: a parcel.
    Share = tuple[Socket, Sequence[Subscription], Made]


# Seconds that an evaluation may take before everybody is told that it takes long.
LONGEST_EVALUATION = 5.0
# Seconds. A batch in which something is refused is handed out so long after it was begun, or a multiple of it: not when
# it is known that there is nothing to see, which takes less long for what never existed than for what may not be seen.
REFUSAL_BEAT = 0.05


class Watched(Protocol):
    """For whom is evaluated: a hub."""

    @property
    def sockets(self) -> Collection[Socket]: ...
    @property
    def hears(self) -> bool: ...
    def tell(self, sockets: Collection[Socket]) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...


class Evaluator:
    """Evaluates one batch while the one before is sent, in a thread of its own."""

    def __init__(self, hub: Watched, backlog: Backlog, delivery: Delivery, recorder: Recorder) -> None:
        # The database could not be asked about these; it is tried again.
        self.undecided: dict[Subscription, None] = {}
        self.is_stuck = False  # an evaluation takes very long
        self._hub = hub
        self._backlog = backlog
        self._delivery = delivery
        self._recorder = recorder
        self._worker = Worker("evaluator")
        self._loop = asyncio.get_running_loop()
        self._pause = FIRST_PAUSE  # before it is tried again
        self._retry: asyncio.TimerHandle | None = None  # that has it tried again
        self._room = setting("BATCH_SIZE")  # of the next batch
        self._refusing = 0  # batches in which something is refused, or parts of one, that were not handed out
        self._releases: set[asyncio.TimerHandle] = set()  # that have them handed out

    @property
    def rests(self) -> bool:
        """Whether nothing is left to be refused of what was evaluated."""
        return not self._refusing

    async def keep_evaluating(self) -> None:
        """Until cancelled. While it waits it keeps nothing of those who were evaluated."""
        while True:
            await self._backlog.wait()
            await self._make_next()

    async def _make_next(self) -> None:
        # While nothing is heard no request is answered, for the answer promises that no change is missed from then on.
        # And none is looked at before others are refused: when it is answered would tell how long they took.
        batch = self._backlog.take(self._room, with_requests=self._hub.hears and self.rests)
        try:
            if batch:
                await self._make(batch)
        except BaseException:
            for socket, taken in batch.items():
                self._backlog.put_back(socket, taken)
            raise

    async def stop(self) -> None:
        for timer in (self._retry, *self._releases):
            if timer is not None:
                timer.cancel()
        await self._worker.stop()
        self.forget_who_asked()

    def forget_who_asked(self) -> None:
        """Of those who have gone, nothing is kept."""
        asked_by.cache_clear()

    async def _make(self, batch: Batch) -> None:
        """Evaluate a batch, and have it sent."""
        begun = self._loop.time()
        items = list(chain.from_iterable(batch.values()))
        pairs = list(map(PAIR, items))
        decisions: dict[Pair, Decision] = {}
        bases: dict[Pair, str] = {}
        levels = {publication: publication.level for publication in set(map(PUBLICATION, pairs))}
        way = Way()
        verified = time()  # not later than what is read
        patience = self._loop.call_later(LONGEST_EVALUATION, self._be_stuck)
        is_on_record = any(level != "off" for level in levels.values())
        try:
            if is_on_record:
                decisions, bases = await self._worker.do(way.evaluating(evaluate_on_record), pairs)
            else:
                decisions = await self._worker.do(way.evaluating(evaluate), pairs)
        except Exception as error:
            report("evaluation_failed", "Nothing could be evaluated; it is tried again.", error)
        finally:
            patience.cancel()
            was_stuck, self.is_stuck = self.is_stuck, False
        made = Made(decisions, self._loop.time() + delivery.VIEW_LIFETIME, verified, is_on_record)
        await self._delivery.finish()  # at most one batch waits to be sent while the next is evaluated
        self._adapt(items)
        if is_on_record:
            self._withhold(items)
        parcels: list[Share] = list(zip(batch.keys(), batch.values(), repeat(made)))
        if self.undecided or len(decisions) < len(items):
            self._try_again_later(items, decisions)
            items = [item for item in items if item.pair in decisions]
            parcels = [(socket, [one for one in taken if one.pair in decisions], made) for socket, taken, _ in parcels]
        if is_on_record:
            self._note_bases(items, made, bases, levels)
        refuses = any(map(REQUESTS, items)) and any(item.requests and decisions[item.pair] is None for item in items)
        if "strict" in levels.values():
            parcels = self._set_apart(parcels, levels, begun, refuses, way)
        self._hand_out(parcels, begun, refuses, way)
        if was_stuck:
            self._hub.tell(self._hub.sockets)

    def _withhold(self, items: Collection[Subscription]) -> None:
        """What was made of these before, is on record as shown, and was not sent, is not."""
        for item in items:
            if item.receipt is not None:
                self._recorder.withhold(item)

    def _note_bases(
        self,
        items: Collection[Subscription],
        made: Made,
        bases: Mapping[Pair, str],
        levels: Mapping[Publication, Level],
    ) -> None:
        for item in items:
            item.verified, item.basis = made.verified, bases.get(item.pair, "")
            item.level = levels[item.pair.publication]

    def _set_apart(
        self, parcels: list[Share], levels: Mapping[Publication, Level], begun: float, refuses: bool, way: Way
    ) -> list[Share]:
        """The parcels without what has to be on record before it is shown, which follows when it is. Their sockets are
        busy until both were sent."""
        apart: list[Share] = []
        others: list[Share] = []
        for socket, taken, made in parcels:
            strict: list[Subscription] = []
            rest: list[Subscription] = []
            for item in taken:
                decision = made.decisions.get(item.pair)
                is_strict = levels[item.pair.publication] == "strict"
                has_to_wait = is_strict and decision is not None and item.would_show(decision, item.requests)
                (strict if has_to_wait else rest).append(item)
            if strict:
                apart.append((socket, strict, made))
                socket.busy += bool(rest)
            if rest or not strict:
                others.append((socket, rest, made))
        if apart:
            self._hub.spawn(self._hand_out_when_on_record(apart, begun, refuses, way))
        return others

    async def _hand_out_when_on_record(self, parcels: list[Share], begun: float, refuses: bool, way: Way) -> None:
        made = parcels[0][2]
        items = [item for _, taken, _ in parcels for item in taken]
        showings: list[Any] = [(item, made.decisions[item.pair]) for item in items]
        try:
            is_on_record = await self._recorder.authorize(showings)
        except Exception as error:  # not of the sink's, which are its own affair: nobody is left waiting by any
            report("hub_failed", "What is to be shown could not be put on record; it is tried again.", error)
            is_on_record = False
        if not is_on_record or self._loop.time() > made.expires:
            self._try_again_later(items, {})
            parcels = [(socket, [], made) for socket, _, _ in parcels]
        self._hand_out(parcels, begun, refuses, way)

    def _hand_out(self, parcels: Sequence[Parcel], begun: float, refuses: bool, way: Way) -> None:
        """At once; where something is refused, on a beat: what is shown beside it would tell how long that took."""
        if refuses:
            self._refusing += 1
            beats = max(ceil((self._loop.time() - begun) / REFUSAL_BEAT), 1)
            beat = begun + beats * REFUSAL_BEAT
            self._releases.add(self._loop.call_at(beat, self._hand_out_now, parcels, way))
        else:
            self._delivery.hand_out(parcels, way)

    def _hand_out_now(self, parcels: Sequence[Parcel], way: Way) -> None:
        now = self._loop.time()
        self._refusing -= 1
        self._releases = {timer for timer in self._releases if timer.when() > now}
        self._delivery.hand_out(parcels, way)
        self._backlog.resume()

    def _be_stuck(self) -> None:
        """The database, or code of the application's, does not answer: everybody is told."""
        self.is_stuck = True
        report("evaluation_stuck", f"An evaluation has taken {LONGEST_EVALUATION:.0f} s, and goes on.")
        self._hub.tell(self._hub.sockets)

    def _try_again_later(self, items: list[Subscription], decisions: dict[Pair, Decision]) -> None:
        """What could not be decided is tried again by itself: nobody else waits for what can't be read."""
        undecided = [item for item in items if item.pair not in decisions]
        for item in items:
            if item.pair in decisions:
                self.undecided.pop(item, None)
            elif item.is_current:
                self.undecided[item] = None
                item.causes |= item.made_for
        if self.undecided and self._retry is None:
            self._retry = self._loop.call_later(self._pause, self._try_again)
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if undecided else FIRST_PAUSE

    def _try_again(self) -> None:
        self._retry = None
        self._backlog.mark(self.undecided, RETRY)

    def _adapt(self, made: list[Subscription]) -> None:
        """Where rights change faster than a large batch is made, so that most of it is outdated already, the next is
        half as large: smaller ones are made in time."""
        disturbed, self._backlog.is_disturbed = self._backlog.is_disturbed, False
        outdated = sum(one.socket.dirty.get(one, False) for one in made) if disturbed else 0
        self._room = max(1, len(made) // 2) if 2 * outdated > len(made) else min(2 * self._room, setting("BATCH_SIZE"))


def evaluate_on_record(pairs: list[Pair]) -> tuple[dict[Pair, Decision], dict[Pair, str]]:
    """What is decided, and the basis of each decision about what is on record."""
    grounds = Grounds()
    decisions = evaluate(pairs, grounds)
    publications = {pair.publication for pair in decisions}
    recorded = {publication for publication in publications if publication.level != "off"}
    return decisions, grounds.bases(pair for pair in decisions if pair.publication in recorded)
