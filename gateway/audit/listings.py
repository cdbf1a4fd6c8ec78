"""Listings: the register as rows, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .people import nameless, names_of

if TYPE_CHECKING:
    from .register import OpenSocket, OpenSubscription, Register


@dataclass(frozen=True, slots=True)
class Row:
    """A subscription; or a socket that has none, whose ``model`` is ''. ``name`` is the user's of today, or
    what stands in its place."""

    socket: str
    host: str
    pid: int
    user: str
    name: str
    opened: datetime
    is_behind: bool
    model: str = ""
    hashid: str = ""
    key: str = ""
    since: datetime | None = None
    verified: datetime | None = None
    basis: str = ""
    etag: str | None = None


def rows_of(register: Register) -> list[Row]:
    """All of it, by the users' names."""
    names = names_of({one.user for one in register.sockets})
    busy = {one.socket for one in register.subscriptions}
    rows = [row_of(one.socket, names, one) for one in register.subscriptions]
    rows += [row_of(one, names) for one in register.sockets if one not in busy]
    return sorted(rows, key=lambda row: (row.name, row.socket, row.model, row.hashid))


def row_of(socket: OpenSocket, names: dict[str, str], subscription: OpenSubscription | None = None) -> Row:
    of_socket: dict[str, Any] = {
        "socket": socket.name,
        "host": socket.process.host,
        "pid": socket.process.pid,
        "user": socket.user,
        "name": names.get(socket.user) or nameless(socket.user),
        "opened": socket.opened,
        "is_behind": socket.is_behind,
    }
    if subscription is None:
        return Row(**of_socket)
    shown = ("model", "hashid", "key", "since", "verified", "basis", "etag")
    return Row(**of_socket, **{name: getattr(subscription, name) for name in shown})


def age(moment: datetime | None) -> str:
    """How long ago that is: ``"12 s"``, ``"3 min"``, ``"2 h"``, ``"5 d"``; ``"-"`` where it is not known."""
    if moment is None:
        return "-"
    seconds = max((datetime.now(UTC) - moment).total_seconds(), 0)
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 86_400:.0f} d"
