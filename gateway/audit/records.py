"""Records: what is known of who watches an object now, and of what their clients hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...serializers.hashids import InvalidHashid, decode
from ..hub import _hubs
from .ledger import showings
from .lookups import Holds
from .models import LedgerEntry
from .objects import text_of

if TYPE_CHECKING:
    from ...permissions.viewers import Viewer
    from ..publications import Publication
    from .ledger import Showing


@dataclass(frozen=True, slots=True)
class Holding:
    """A subscription of one socket, and what its client holds."""

    viewer: Viewer  # at the socket, in whose language and so on it is shown
    socket: int
    is_admitted: bool  # else it is still to be decided
    since: datetime | None  # when it was admitted
    verified: datetime | None  # when it was last decided about
    etag: str | None  # of what the client holds; None where it holds nothing


def holdings_of(viewer: Viewer, label: str, hashid: str) -> list[Holding] | None:
    """The subscriptions of a user to an object, on whatever socket of this process; None where it has none at all, and
    others may have some."""
    sockets = [socket for hub in list(_hubs.values()) for socket in list(hub.sockets)]
    if not sockets:
        return None
    found = [
        subscription
        for socket in sockets
        if socket.viewer.identity == viewer.identity and (subscription := socket.subscriptions.get((label, hashid)))
    ]
    return [
        Holding(one.socket.viewer, one.socket.number, one.admitted, moment(one.since), moment(one.verified), one.etag)
        for one in found
    ]


def last_shown(viewer: Viewer, publication: Publication, hashid: str) -> Showing | None:
    """What the ledger says that a user was shown of an object last; None where nothing is on record."""
    try:
        key = text_of(publication.model, decode(publication.model, hashid))
    except InvalidHashid:
        return None
    user = "" if viewer.identity is None else str(viewer.identity[1])
    shown = LedgerEntry.objects.filter(
        Holds("users", user), model=publication.label, key=key, kind=LedgerEntry.Kind.SHOWN
    )
    return next(showings(shown, user), None)


def moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
