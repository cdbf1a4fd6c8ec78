"""The register: who is subscribed to what right now, on which process; and how to close their sockets.

There is none that anybody keeps: whoever wants to know calls the roll, and all processes answer.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from channels.db import database_sync_to_async
from django.apps import apps
from django.db import router, transaction
from django.db.models.functions import Now

from ...serializers.hashids import InvalidHashid, decode, encode
from ..courier import courier
from ..notices import Notice, token_of_socket
from .models import RollCall, RollSheet, RunningHub
from .objects import shown_in, text_of
from .people import key_of
from .tenants import users_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model, QuerySet

# Seconds: of a hub that was not seen for so long it is known that it is gone.
GONE_AFTER = timedelta(seconds=90)
# What is left of roll calls whose askers ended in their midst.
FORGOTTEN_AFTER = timedelta(hours=1)
# Seconds between two looks at who has answered, doubled with each that follows; and until it is called again.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.2
AGAIN_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class Process:
    """One that has sockets: more exactly, one of its event loops. ``identity`` is what names it everywhere."""

    identity: str
    host: str
    pid: int
    since: datetime

    def __str__(self) -> str:
        return f"{self.identity} ({self.host}, process {self.pid})"


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """A client that is connected. ``user`` is the primary key as a text, '' for one who is anonymous; ``is_behind``
    says that it was told that what it holds may be old."""

    process: Process
    number: int
    user: str
    opened: datetime
    is_behind: bool

    @property
    def name(self) -> str:
        """By which it can be asked for: ``"9f2c51d7a0b3e846:12"``."""
        return f"{self.process.identity}:{self.number}"


@dataclass(frozen=True, slots=True)
class OpenSubscription:
    """What one socket watches.

    ``since`` is when it was admitted, None
    before it was; ``verified`` when it was last decided about, ``basis`` on what that rested; None and '' where that is
    not known. ``etag`` is that of what the client holds: None where it holds nothing, '' where it is not known what.
    """

    socket: OpenSocket
    model: str
    hashid: str
    since: datetime | None
    verified: datetime | None
    basis: str
    etag: str | None

    @property
    def key(self) -> str:
        """The primary key as a text; '' where the hashid stands for none, here at least."""
        try:
            model = apps.get_model(self.model)
            return text_of(model, decode(model, self.hashid))
        except (LookupError, InvalidHashid):
            return ""


@dataclass(frozen=True, slots=True)
class Register:
    """What the processes answered. ``unanswered`` are those that did not, whose sockets are missing."""

    sockets: tuple[OpenSocket, ...]
    subscriptions: tuple[OpenSubscription, ...]
    processes: tuple[Process, ...]
    unanswered: tuple[Process, ...]

    def of(
        self, *, user: Any = None, instance: Model | None = None, socket: str | None = None, tenant: Model | None = None
    ) -> Register:
        """The part of it that is about a user (who may be an AnonymousUser), an instance, a socket by its name, the
        users of a tenant: about all of them that are named. Of the sockets of an ``instance`` only their subscriptions
        to it are there. It is ``user`` and ``tenant`` that the database is asked about.

        Raises TypeError, ValueError and LookupError for what can't be asked for.
        """
        chosen = set(self.sockets)
        subscriptions: Iterable[OpenSubscription] = self.subscriptions
        if instance is not None:
            shown = {(one.label, encode(one.model, key)) for one, key in shown_in(instance)}
            subscriptions = [one for one in subscriptions if (one.model, one.hashid) in shown]
            chosen &= {one.socket for one in subscriptions}
        if user is not None:
            key = key_of(user)
            chosen = {one for one in chosen if one.user == key}
        if tenant is not None:
            keys = users_of(tenant)
            chosen = {one for one in chosen if one.user in keys}
        if socket is not None:
            chosen = {one for one in chosen if one.name == socket}
        return replace(
            self,
            sockets=tuple(one for one in self.sockets if one in chosen),
            subscriptions=tuple(one for one in subscriptions if one.socket in chosen),
        )


def roll_call(timeout: float = 5.0) -> Register:
    """Ask all processes who is there, and wait until all have answered, but not longer than so many seconds.

    In a transaction it raises RuntimeError: nobody would see that something is asked. Costs each process a row for
    each 500 sockets and subscriptions that it has, which is removed again.
    """
    asking = Asking(timeout)
    asking.begin()
    try:
        while not asking.is_over():
            time.sleep(asking.pause)
        return asking.read()
    finally:
        asking.end()


async def aroll_call(timeout: float = 5.0) -> Register:  # noqa: ASYNC109
    """``roll_call`` from async code."""
    asking = Asking(timeout)
    await database_sync_to_async(asking.begin)()
    try:
        while not await database_sync_to_async(asking.is_over)():  # noqa: ASYNC110
            await asyncio.sleep(asking.pause)
        read: Register = await database_sync_to_async(asking.read)()
        return read
    finally:
        await database_sync_to_async(asking.end)()


def close(register: Register) -> int:
    """Close the sockets in a register, or in a part of it, on whatever process they are, with the code 4403; gives how
    many there are. Returns before it is done.

    >>> close(roll_call().of(user=amira))  # doctest: +SKIP
    2
    """
    courier.post([Notice("close", token=token_of_socket(one.process.identity, one.number)) for one in register.sockets])
    return len(register.sockets)


class Asking:
    """One roll call, from the question to the answer."""

    def __init__(self, timeout: float) -> None:
        self.pause = FIRST_PAUSE  # until it is looked again
        self._token = uuid4().hex
        self._ends = time.monotonic() + timeout
        self._called = -inf
        self._using = router.db_for_write(RollCall)

    def begin(self) -> None:
        calls, hubs = RollCall.objects.using(self._using), RunningHub.objects.using(router.db_for_write(RunningHub))
        calls.filter(at__lt=Now() - FORGOTTEN_AFTER).delete()
        hubs.filter(seen__lt=Now() - GONE_AFTER).delete()
        with transaction.atomic(using=self._using, durable=True):
            calls.create(token=self._token, at=Now())

    def is_over(self) -> bool:
        """Whether all have answered, or need not be waited for any longer. Calls, again where somebody may not have
        heard it."""
        if not self._missing():
            return True
        now = time.monotonic()
        if now >= self._called + AGAIN_AFTER:
            self._called = now
            courier.post([Notice("roll", token=self._token)])
        self.pause = min(2 * self.pause, LONGEST_PAUSE, max(self._ends - now, 0))
        return now >= self._ends

    def read(self) -> Register:
        answered = set(self._sheets.filter(is_last=True).values_list("process", flat=True))
        processes = [Process(one.identity, one.host, one.pid, one.since) for one in hubs_running()]
        present = {one.identity: one for one in processes if one.identity in answered}
        sockets, subscriptions = [], []
        for sheet in self._sheets.filter(process__in=present).order_by("process", "number").iterator():
            for number, user, opened, is_behind, watched in sheet.sockets:
                socket = OpenSocket(present[sheet.process], number, user, moment(opened), is_behind)
                sockets.append(socket)
                subscriptions += [subscription_of(socket, *one) for one in watched]
        unanswered = [one for one in processes if one.identity not in answered]
        return Register(tuple(sockets), tuple(subscriptions), tuple(present.values()), tuple(unanswered))

    def end(self) -> None:
        RollCall.objects.using(self._using).filter(token=self._token).delete()

    @property
    def _sheets(self) -> QuerySet[RollSheet]:
        return RollSheet.objects.using(router.db_for_write(RollSheet)).filter(roll=self._token)

    def _missing(self) -> bool:
        answered = self._sheets.filter(is_last=True).values_list("process", flat=True)
        return not {one.identity for one in hubs_running()}.issubset(answered)


def hubs_running() -> QuerySet[RunningHub]:
    return RunningHub.objects.using(router.db_for_write(RunningHub)).order_by("host", "pid", "since")


def subscription_of(
    socket: OpenSocket,
    model: str,
    hashid: str,
    since: float,
    verified: float,
    is_admitted: bool,
    basis: str,
    etag: str | None,
) -> OpenSubscription:
    admitted = moment(since) if is_admitted else None
    checked = moment(verified) if verified else None
    return OpenSubscription(socket, model, hashid, admitted, checked, basis, etag)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
