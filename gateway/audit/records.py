"""Records: who watches an object now, what their clients hold, and what became of its changes."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from socket import gethostname
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, connections, router, transaction

from ...permissions.viewers import Viewer
from ...serializers.hashids import InvalidHashid, decode
from ..hub import _hubs
from ..trail import steps_of
from .changes import Change, row_of
from .ledger import showings
from .lookups import Holds
from .models import LedgerEntry, RollCall
from .objects import text_of
from .people import ANONYMOUS
from .register import roll_call

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from ..publications import Publication
    from .ledger import Showing
    from .register import Process, Register


@dataclass(frozen=True, slots=True)
class Holding:
    """A subscription of one socket, and what its client holds."""

    viewer: Viewer  # at the socket, in whose language and so on it is shown
    socket: str  # as the register names it
    host: str
    pid: int
    is_admitted: bool  # else it is still to be decided
    since: datetime | None  # when it was admitted
    verified: datetime | None  # when it was last decided about
    etag: str | None  # of what the client holds; None where it holds nothing


@dataclass(frozen=True, slots=True)
class Records:
    """What the processes have of an object.

    ``processes`` are those that answered, None where this process alone was looked at. The ``holdings`` of the user are
    None where nobody was there to tell. Of the ``changes``, the latest is the last.
    """

    holdings: list[Holding] | None
    changes: tuple[Change, ...]
    processes: tuple[Process, ...] | None = None
    unanswered: tuple[Process, ...] = ()


def records_of(viewer: Viewer, label: str, hashid: str, timeout: float) -> Records:
    """What all processes have of an object and of a user's subscriptions to it, or this one alone where the others
    can't be asked, or are not to be. This one's own changes are there also if it has no sockets."""
    register = register_of(label, hashid, timeout)
    if register is None:
        return Records(holdings_here(viewer, label, hashid), changes_here(label, hashid))
    is_known = bool(register.processes or not register.unanswered)
    return Records(
        holdings_in(register, viewer) if is_known else None,
        told_once([*register.changes, *changes_here(label, hashid)]),
        register.processes,
        register.unanswered,
    )


def register_of(label: str, hashid: str, timeout: float) -> Register | None:
    """What the processes answer, if they can be asked: not in a transaction, and not without the tables for it."""
    if timeout <= 0 or connections[router.db_for_write(RollCall)].in_atomic_block:
        return None
    with suppress(DatabaseError, InterfaceError):
        return roll_call(timeout, about=(label, hashid))
    return None


def holdings_in(register: Register, viewer: Viewer) -> list[Holding]:
    """Those of a user. Who logged in as something else than a user is in no register."""
    key = viewer.user_key if viewer.identity else ANONYMOUS
    return [
        Holding(
            Viewer(viewer.user, *one.socket.surroundings),
            one.socket.name,
            one.socket.process.host,
            one.socket.process.pid,
            one.since is not None,
            one.since,
            one.verified,
            one.etag,
        )
        for one in register.subscriptions
        if key is not None and one.socket.user == str(key)
    ]


def holdings_here(viewer: Viewer, label: str, hashid: str) -> list[Holding] | None:
    """Those of a user on whatever socket of this process; None where it has none at all, and others may have some."""
    sockets = [(hub.identity, socket) for hub in list(_hubs.values()) for socket in list(hub.sockets)]
    if not sockets:
        return None
    return [
        Holding(
            socket.viewer,
            f"{process}:{socket.number}",
            *this_process(),
            one.admitted,
            moment(one.since),
            moment(one.verified),
            one.etag,
        )
        for process, socket in sockets
        if socket.viewer.identity == viewer.identity and (one := socket.subscriptions.get((label, hashid)))
    ]


def changes_here(label: str, hashid: str) -> tuple[Change, ...]:
    return tuple(Change.of_row(row_of(step), *this_process()) for step in steps_of(label, hashid))


def told_once(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Each once, as it was told last: a process with several event loops answers for each of them, and this one has its
    own at hand. In the order of time."""
    once = {(one.host, one.pid, one.at, one.fate == "heard"): one for one in changes}
    return tuple(sorted(once.values(), key=lambda change: change.at))


def this_process() -> tuple[str, int]:
    return gethostname(), os.getpid()


def last_shown(viewer: Viewer, publication: Publication, hashid: str) -> Showing | None:
    """What the ledger says that a user was shown of an object last; None where nothing is on record. Raises what the
    database raises, and leaves a transaction of the caller's as it was."""
    try:
        key = text_of(publication.model, decode(publication.model, hashid))
    except InvalidHashid:
        return None
    user = "" if viewer.user_key is None else str(viewer.user_key)
    shown = LedgerEntry.objects.filter(
        Holds("users", user), model=publication.label, key=key, kind=LedgerEntry.Kind.SHOWN
    )
    with savepoint(router.db_for_read(LedgerEntry)):
        return next(showings(shown, user), None)


def savepoint(using: str) -> AbstractContextManager[Any]:
    """Around what the database may refuse: in a transaction, it would refuse all that follows."""
    return transaction.atomic(using=using) if connections[using].in_atomic_block else nullcontext()


def moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
