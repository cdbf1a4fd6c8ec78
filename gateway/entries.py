"""Entries: what the ledger has on record, and who keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# A socket was opened, or closed; a subscription was admitted, refused, or given up; a view was shown, or, though it is
# on record as shown, was not; it was taken away; and so many entries could not be kept.
Kind = Literal["opened", "closed", "admitted", "refused", "ended", "shown", "withheld", "taken", "lost"]

# Why something was decided, each of them a bit: a client asked for it, or asked with what it held; the object changed;
# rights did; it was swept; something was missed; it could not be decided before.
CAUSES = ("request", "resume", "change", "rights", "sweep", "loss", "retry")
REQUEST, RESUME, CHANGE, RIGHTS, SWEEP, LOSS, RETRY = (1 << position for position in range(len(CAUSES)))


def words(causes: int) -> str:
    """As they stand in an entry: ``"change+sweep"``."""
    return "+".join(word for position, word in enumerate(CAUSES) if causes >> position & 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, with all viewers whom it concerned alike: those of one audience, by one basis.

    ``users`` has the primary keys, as texts, of the users ('' for one who is anonymous) at the sockets in ``sockets``,
    in the same order: a socket is known by the ``process`` in which it was opened, and its number there. ``process``
    and ``number`` name the entry: none is missing between two numbers of a process. No value of a field is in it.
    """

    at: datetime  # in UTC
    kind: Kind
    process: str
    number: int
    users: tuple[str, ...] = ()
    sockets: tuple[int, ...] = ()
    model: str = ""  # the label of the publication's model
    key: str = ""  # the primary key of the instance as a text; '' where the hashid stands for none
    hashid: str = ""
    etag: str = ""  # of the view that was shown
    fields: tuple[str, ...] = ()  # the names of the fields shown
    basis: str = ""  # the decision's permission, with each answer
    cause: str = ""  # why it was decided: of ``CAUSES``, with + between them
    of: int | None = None  # the number of the entry that this one corrects ("withheld")
    code: int | None = None  # the WebSocket close code ("closed")
    missing: int = 0  # how many entries could not be kept ("lost")


class Sink(Protocol):
    """Keeps entries: ``LIVEGATE["LEDGER_SINK"]`` names the class of one, which is made without arguments."""

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep these, all or none, before it returns; called in a thread of its own, one call after the other.

        Raises whatever it likes where it can't: the same entries are given again then, so that one that is there
        already, by its process and number, is to be left as it is.
        """
