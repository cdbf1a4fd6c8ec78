"""Attendance: a hub enters itself among those that are running, and answers roll calls."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from itertools import chain
from socket import gethostname
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, connections, router
from django.db.models.functions import Now

from ...permissions.lookups import Among
from ..logs import report
from ..worker import LONGEST_CLOSE, Worker
from .models import RollCall, RollSheet, RunningHub, clean, cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..rolls import Present
    from ..subscriptions import Socket

# Seconds after which a hub says again that it is there.
SEEN_EVERY = 30.0
# Seconds between two looks at what it was asked. Whoever can write to the broker can have it look, and not more.
PAUSE = 1.0
# Of so many calls at once the names are kept.
MOST_CALLS = 100
# So many sockets and subscriptions fill a sheet. The subscriptions of one socket stand on one sheet.
SHEET = 500


class Attendance:
    """Of one hub. The database is asked in a thread of its own, and not kept connected: it is seldom.

    Whatever fails is logged, once until it works again, and harms nobody: the hub is not in the register meanwhile.
    """

    def __init__(self, hub: Present) -> None:
        self._hub = hub
        self._called: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._worker = Worker("register")
        self._is_failing = False

    def call(self, token: str) -> None:
        """Answer this roll call soon, if there is one of that name."""
        if len(self._called) < MOST_CALLS:
            self._called[token] = None
            self._wake.set()

    async def keep_attending(self) -> None:
        """Say every now and then that it is there, and answer what is called; until cancelled."""
        while True:
            called, self._called = list(self._called), {}
            self._wake.clear()
            await self._attend(called)
            if called:
                await asyncio.sleep(PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(SEEN_EVERY):
                    await self._wake.wait()

    async def _attend(self, called: Sequence[str]) -> None:
        try:
            await self._worker.do(enter, self._hub.identity)
            for roll in await self._worker.do(open_among, called) if called else ():
                await self._answer(roll)
            await self._worker.do(disconnect, None)
            self._is_failing = False
        except Exception as error:
            if not self._is_failing:
                report("register_failed", "A process can't say that it is there, or who is; it tries again.", error)
            self._is_failing = True

    async def _answer(self, roll: str) -> None:
        """In parts: what is connected is looked at while the one before is written, and all else has its turn."""
        for number, sheet in enumerate(chain(sheets(self._hub), [None])):
            answer = RollSheet(roll_id=roll, process=self._hub.identity, number=number, sockets=sheet or [])
            answer.is_last = sheet is None
            if not await self._worker.do(hand_in, answer):
                return

    async def stop(self) -> None:
        """It is not there any more. A database that does not answer is not waited for: who is not seen is gone."""
        leaving = asyncio.ensure_future(self._worker.do(leave, self._hub.identity))
        await asyncio.wait([leaving], timeout=LONGEST_CLOSE)
        if not leaving.cancel() and (error := leaving.exception()) and not self._is_failing:
            report("register_failed", "A process that ends can't say so; it is gone from the register soon.", error)
        await self._worker.stop()


def sheets(hub: Present) -> Iterator[list[Any]]:
    """What a hub has: of each socket the number, the user's primary key as a text ('' for one who is anonymous), when
    it was opened, whether it is behind, and of each of its subscriptions the model's label, the hashid, when it was
    admitted and last decided about, whether it is admitted, the basis, and the ETag of what the client holds.

    Each socket is as it is when its sheet is made; one that has gone by then is on none.
    """
    sheet: list[Any] = []
    size = 0
    for socket in list(hub.sockets):
        if socket in hub.sockets:
            sheet.append(described(socket))
            size += 1 + len(socket.subscriptions)
        if size >= SHEET:
            yield sheet
            sheet, size = [], 0
    if sheet:
        yield sheet


def described(socket: Socket) -> list[Any]:
    user = socket.viewer.user_key
    subscriptions = [
        [*one.key, one.since, one.verified, one.admitted, one.basis, one.etag] for one in socket.subscriptions.values()
    ]
    return [socket.number, "" if user is None else str(user), socket.opened, socket.is_behind, subscriptions]


# What is asked of the database


def enter(identity: str) -> None:
    """The hub is there."""
    hubs = RunningHub.objects.using(router.db_for_write(RunningHub))
    if not hubs.filter(identity=identity).update(seen=Now()):
        hubs.create(identity=identity, host=gethostname(), pid=os.getpid(), since=Now(), seen=Now())


def open_among(tokens: Sequence[str]) -> list[str]:
    """Those by which somebody asks who is there."""
    calls = RollCall.objects.using(router.db_for_write(RollCall))
    return list(calls.filter(Among("token", [clean(token) for token in tokens])).values_list("token", flat=True))


def hand_in(sheet: RollSheet) -> bool:
    """False where it is there already, or nobody asks any more. What clients have sent is made fit for the table."""
    for *_, subscriptions in sheet.sockets:
        for one in subscriptions:
            one[1], one[5] = cut(one[1], 64), clean(one[5])
    try:
        sheet.save(using=router.db_for_write(RollSheet), force_insert=True)
    except IntegrityError:
        return False
    return True


def leave(identity: str) -> None:
    """The hub is not there any more."""
    RunningHub.objects.using(router.db_for_write(RunningHub)).filter(identity=identity).delete()


def disconnect(_: None) -> None:
    connections.close_all()
