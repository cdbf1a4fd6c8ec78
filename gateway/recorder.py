"""The recorder: puts on record who is shown what and who is not, and has it written in a thread of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count as count_from
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from ..serializers.hashids import InvalidHashid, decode
from ..serializers.settings import setting
from .decisions import fields_of
from .entries import Entry, words
from .logs import report, tell
from .metrics import count
from .publications import all_publications
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .decisions import Decision, View
    from .entries import Kind, Sink
    from .publications import Publication
    from .subscriptions import Socket, Subscription

# Entries that are written together, at most.
MOST_AT_ONCE = 500
# Seconds that a view may have to wait for its record, and with it all else for its socket: as long as a view lives.
LONGEST_WAIT = 1.0
# Seconds that the sink may take, before it is told that it can't write; and when everybody has left, for what is left.
LONGEST_WRITE = 5.0
# Seconds before it is tried again to write what could not be: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


@dataclass(slots=True)
class Draft:
    """What becomes an entry when it is written: until then viewers are added to it."""

    number: int
    kind: Kind
    at: float  # in seconds since the epoch
    publication: Publication | None = None
    hashid: str = ""
    view: View | None = None
    basis: str = ""
    causes: int = 0
    of: int | None = None
    code: int | None = None
    missing: int = 0
    viewers: list[Socket] = field(default_factory=list)

    def entry(self, process: str) -> Entry:
        publication, view = self.publication, self.view
        keys = [socket.credentials.viewer.user_key for socket in self.viewers]
        return Entry(
            at=datetime.fromtimestamp(self.at, UTC),
            kind=self.kind,
            process=process,
            number=self.number,
            users=tuple("" if key is None else str(key) for key in keys),
            sockets=tuple(socket.number for socket in self.viewers),
            model=publication.label if publication else "",
            key=key_of(publication, self.hashid) if publication else "",
            hashid=self.hashid,
            etag=view.etag if view else "",
            fields=fields_of(view) if view else (),
            basis=self.basis,
            cause=words(self.causes),
            of=self.of,
            code=self.code,
            missing=self.missing,
        )


class Recorder:
    """Of one hub. What happens together to viewers who are alike is one entry.

    A sink that fails is tried again; what comes meanwhile is kept, up to ``LEDGER_QUEUE`` entries, and how many more
    there were is put on record when it is over.
    """

    def __init__(self, process: str) -> None:
        self.is_failing = False  # what was to be written last could not be
        self._process = process
        self._numbers = count_from(1)
        self._drafts: dict[Any, Draft] = {}  # that grow, by what is one entry
        self._unwritten: list[Draft] = []  # that do not, and could not be written yet
        self._missing = 0  # entries for which there was no room
        self._news = asyncio.Event()
        self._worker = Worker("recorder")
        self._sink: Sink | None = None

    def __len__(self) -> int:
        """How many entries wait to be written, and the one that says for how many others there was no room."""
        return self._kept + bool(self._missing)

    @property
    def _kept(self) -> int:
        return len(self._drafts) + len(self._unwritten)

    # What happens

    def opened(self, socket: Socket) -> None:
        if is_on():
            self._add("opened", socket, at=socket.opened)

    def closed(self, socket: Socket, code: int | None) -> None:
        """``code`` is None where the client has left."""
        if is_on():
            self._add("closed", socket, code=code, at=time())

    def ended(self, subscription: Subscription) -> None:
        """The client has given it up."""
        if subscription.basis and subscription.admitted and not self._is_full():
            draft = self._drafts["ended", subscription] = self._draft_of("ended", subscription, None)
            draft.at, draft.causes = time(), 0  # not those of what was decided last
            draft.viewers.append(subscription.socket)

    def settled(self, subscription: Subscription, decision: Decision, requests: int, was_admitted: bool) -> None:
        """So many requests were answered by a decision, if any."""
        if decision is None and requests:
            self._note("refused", subscription)
        elif decision is not None and not was_admitted:
            self._note("admitted", subscription)

    def took_away(self, subscription: Subscription) -> None:
        """The client is told that there is nothing to see any more."""
        if subscription.level != "subscriptions":
            self._note("taken", subscription)

    def may_settle(self, subscription: Subscription, decision: Decision) -> bool:
        """Whether all that has to be on record before is: not where something was asked for after it was decided."""
        if decision is None or subscription.level != "strict":
            return True
        is_there = subscription.receipt is not None and subscription.receipt[0] is decision
        return is_there or not subscription.would_show(decision, subscription.requests)

    def show(self, subscription: Subscription, view: View) -> None:
        """It is shown now."""
        subscription.receipt = None
        if subscription.level == "showings":
            self._note("shown", subscription, view)

    async def authorize(self, showings: Sequence[tuple[Subscription, View]]) -> bool:
        """Put on record that these are shown, before they are; False where that can't be done."""
        if self.is_failing:
            return False
        drafts: dict[Any, Draft] = {}
        for subscription, view in showings:
            if not subscription.is_current:  # given up since it was decided: nothing will be shown
                continue
            key = (id(view), subscription.basis, subscription.made_for)
            if key not in drafts:
                drafts[key] = self._draft_of("shown", subscription, view)
            drafts[key].viewers.append(subscription.socket)
            subscription.receipt = (view, drafts[key].number)
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await self._worker.do(self._write, list(drafts.values()))
        except asyncio.CancelledError:
            self._unwritten += drafts.values()  # the hub stops, and writes what is left
            raise
        except Exception as error:
            # It may be there nevertheless. It is written again, and also that it came to nothing.
            self._unwritten += drafts.values()
            for subscription, _ in showings:
                self.withhold(subscription)
            self._fail(error)
            return False
        count("ledger_entries_written", len(drafts))
        return True

    def withhold(self, subscription: Subscription) -> None:
        """What is on record as shown, and was not shown yet, is not."""
        if subscription.receipt is not None:
            (view, number), subscription.receipt = subscription.receipt, None
            draft = self._drafts.get(("withheld", number))
            if draft is None:
                draft = self._drafts["withheld", number] = self._draft_of("withheld", subscription, view)
                draft.of = number
                self._news.set()
            draft.viewers.append(subscription.socket)

    def _note(self, kind: Kind, subscription: Subscription, view: View | None = None) -> None:
        made = view and id(view)
        key = (kind, *subscription.key, made, subscription.basis, subscription.made_for, subscription.verified)
        draft = self._drafts.get(key)
        if draft is None:
            if self._is_full():
                return
            draft = self._drafts[key] = self._draft_of(kind, subscription, view)
        draft.viewers.append(subscription.socket)

    def _add(self, kind: Kind, socket: Socket, **facts: Any) -> None:
        if not self._is_full():
            draft = self._drafts[kind, socket] = Draft(next(self._numbers), kind, **facts)
            draft.viewers.append(socket)

    def _is_full(self) -> bool:
        """Whether there is no room for another entry, of which only the number is kept then."""
        self._news.set()
        most: int = setting("LEDGER_QUEUE")
        is_full = self._kept >= most
        if is_full:
            self._missing += 1
            count("ledger_entries_lost")
        return is_full

    def _draft_of(self, kind: Kind, subscription: Subscription, view: View | None) -> Draft:
        pair = subscription.pair
        return Draft(
            number=next(self._numbers),
            kind=kind,
            at=subscription.verified,
            publication=pair.publication,
            hashid=pair.hashid,
            view=view,
            basis=subscription.basis,
            causes=subscription.made_for,
        )

    # Writing

    async def keep_writing(self) -> None:
        """Until cancelled."""
        pause = FIRST_PAUSE
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(setting("LEDGER_INTERVAL"))
            while self:
                is_written = await self._write_in_time()
                await asyncio.sleep(0 if is_written else pause)
                pause = FIRST_PAUSE if is_written else min(2 * pause, LONGEST_PAUSE)

    async def _write_in_time(self) -> bool:
        """A sink that hangs is one that fails. What it was given is given to it again, behind that."""
        try:
            async with asyncio.timeout(LONGEST_WRITE):
                return await self._write_some()
        except TimeoutError as error:
            self._fail(error)
            return False

    async def stop(self) -> None:
        """Write what is left, if the sink takes it, and end the thread."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WRITE):
                await self.flush()
        if lost := self._kept + self._missing:
            count("ledger_entries_lost", self._kept)
            report("ledger_lost", f"{lost} entries of the ledger could not be written before its process ended.")
        await self._worker.stop()

    async def flush(self) -> None:
        """Until all that is on record so far was written, or could not be."""
        while self and await self._write_some():
            pass

    async def _write_some(self) -> bool:
        if self._missing and not self.is_failing:
            lost = Draft(next(self._numbers), "lost", at=time(), missing=self._missing)
            self._unwritten, self._missing = [*self._unwritten, lost], 0
        room = MOST_AT_ONCE - len(self._unwritten)
        for key in list(islice(self._drafts, max(room, 0))):
            self._unwritten.append(self._drafts.pop(key))
        some = self._unwritten[:MOST_AT_ONCE]
        try:
            await self._worker.do(self._write, some)
        except Exception as error:
            self._fail(error)
            return False
        count("ledger_entries_written", len(some))
        written = set(map(id, some))
        self._unwritten = [draft for draft in self._unwritten if id(draft) not in written]
        if self.is_failing:
            self.is_failing = False
            tell("ledger_written", "The ledger can be written again.")
        return True

    def _write(self, drafts: Iterable[Draft]) -> None:
        if self._sink is None:
            self._sink = import_string(setting("LEDGER_SINK"))()
        self._sink.write([draft.entry(self._process) for draft in drafts])

    def _fail(self, error: Exception) -> None:
        if not self.is_failing:
            self.is_failing = True
            report("ledger_failed", "The ledger can't be written: what is strict is not shown until it can.", error)
        self._news.set()


def is_on() -> bool:
    """Whether anything is put on record, so that the sockets are, too."""
    return any(publication.level != "off" for publication in all_publications())


def key_of(publication: Publication, hashid: str) -> str:
    """The primary key as a text; '' where the hashid stands for none."""
    with suppress(InvalidHashid):
        return str(decode(publication.model, hashid))
    return ""
