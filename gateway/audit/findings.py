"""Findings: all that an explanation tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .changes import Change
    from .register import Process
    from .trees import Tree

# Not decided is what could not be read, or changed while it was.
Decision = Literal["yes", "no", "undecided"]
# Why nothing may have arrived for the last save.
Reason = Literal[
    "not published",
    "unwatched",
    "rolled back",
    "waiting",
    "nothing heard",
    "no answer",
    "not subscribed",
    "hidden",
    "undecided",
    "unchanged",
]
REASONS: dict[Reason, str] = {
    "not published": "Nothing of this model is pushed.",
    "unwatched": "No watched field changed in the last save.",
    "rolled back": "The transaction of the last change was rolled back.",
    "waiting": "The last change waits for the commit of its transaction.",
    "nothing heard": "No process with sockets that was asked has heard of the last change.",
    "no answer": "A process does not answer: who is connected to it may get nothing.",
    "not subscribed": "No socket of this user is subscribed to it, where that was asked.",
    "hidden": "This user may not see it.",
    "undecided": "It can't be decided now.",
    "unchanged": "The last view that was shown is the present one: of what this user sees, nothing changed.",
}


@dataclass(frozen=True, slots=True)
class GuardedField:
    """A field with a guard: what the guard answers, and whether the view shows the field."""

    name: str
    is_shown: bool
    guard: Tree | str  # how it is written, where it is asked for each instance that is nested


@dataclass(frozen=True, slots=True)
class Shown:
    """What the ledger has on record as shown to the user last."""

    at: datetime
    etag: str
    fields: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription now."""

    socket: str  # as the register names it
    host: str
    pid: int
    is_admitted: bool
    since: datetime | None
    verified: datetime | None
    etag: str | None  # of what the client holds
    is_current: bool  # whether that is what it would be shown now


@dataclass(frozen=True)
class Findings:
    """What a user sees of an object now, and why.

    Where the model is not ``is_published``, nothing else is known. ``tree`` has every answer of the publication's
    permission, and is None where there is no object or no user to ask about, which ``basis`` tells. ``agrees`` is False
    where the tree, which is asked beside the decision, says something else: then a permission answers now so and now
    so. ``personal`` says why the view is made for this user alone; '' where it may be shared, and with whom of those
    that were named it is, is in ``shares_with``. ``last_shown`` is None where nothing is on record, or where not
    ``is_ledger_read``.

    ``processes`` are those that told of subscriptions and changes, None where this one alone was asked; what the
    ``unanswered`` have is missing. ``subscriptions`` is None where nobody was there to tell.
    """

    model: str
    hashid: str
    user: str  # the primary key as a text, '' for one who is anonymous
    name: str
    language: str
    time_zone: str
    is_published: bool = False
    is_published_twice: bool = False
    decision: Decision = "no"
    basis: str = ""
    tree: Tree | None = None
    agrees: bool = True
    guarded: tuple[GuardedField, ...] = ()
    serializer: str = ""
    personal: str = ""
    shares_with: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    etag: str = ""
    processes: tuple[Process, ...] | None = None
    unanswered: tuple[Process, ...] = ()
    subscriptions: tuple[Subscribed, ...] | None = None
    last_shown: Shown | None = None
    is_ledger_read: bool = True
    changes: tuple[Change, ...] = ()
    reasons: tuple[Reason, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told: dict[str, Any] = plain(asdict(self))
        return told


def plain(value: Any) -> Any:
    """What JSON takes, of the same."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
