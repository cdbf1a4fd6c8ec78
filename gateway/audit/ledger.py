"""The questions that the ledger answers: who saw what, what was shown to whom, what was refused.

Each answer is read while it is gone through, some entries at a time, the newest first; what is wrong in a question is
raised at once. ``since`` and ``until`` are aware datetimes, of which the first is within and the second is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone
from rest_framework.fields import ListField
from rest_framework.serializers import BaseSerializer, ListSerializer

from ...permissions.lookups import Among
from ...serializers.names import example
from ..publications import is_serializer, relatives
from .lookups import Holds
from .models import LedgerEntry
from .objects import named
from .people import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model


Kind = LedgerEntry.Kind

# How many entries are read at once. Each may have as many viewers as there are sockets.
CHUNK = 250


@dataclass(frozen=True, slots=True)
class Showing:
    """A view of an instance that was sent to one viewer.

    ``user`` is the primary key as a text, '' for one who was anonymous; ``socket`` a number in ``process``; ``fields``
    are the names of those that were in the view. The rest is what it is in an ``Entry``.
    """

    at: datetime
    user: str
    process: str
    socket: int
    model: str
    key: str
    hashid: str
    etag: str
    fields: tuple[str, ...]
    basis: str
    cause: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A subscription that one viewer asked for and did not get. ``key`` is '' where the hashid stands for nothing."""

    at: datetime
    user: str
    process: str
    socket: int
    model: str
    key: str
    hashid: str
    basis: str
    cause: str


def who_saw(
    instance: Model, field: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Showing]:
    """Every view of this instance that was shown to anybody, or every one with this field in it.

    Also as an instance of the models above and below it and of their proxies, where these are published. The instance
    needs its primary key only: ``who_saw(Card(pk=17))`` asks about one that is gone.

    Raises TypeError or ValueError for what is no instance with a key, for a time that is none or is naive, and for a
    field that no serializer has and that is on no record; LookupError for a model that is not published.
    """
    about = named(instance)
    asked = LedgerEntry.objects.filter(about & between(since, until), kind=Kind.SHOWN)
    if field is not None:
        check(field, instance, about)
        asked = asked.filter(Holds("fields", field))
    return showings(asked)


def what_was_shown_to(user: Any, since: datetime | None = None, until: datetime | None = None) -> Iterator[Showing]:
    """Every view that was shown to this user, on any socket; for an AnonymousUser, to any of those who were that.

    The user needs a primary key only, and may be gone. Raises TypeError or ValueError for what is no user with a key,
    and for a time that is none or is naive.
    """
    key = key_of(user)
    asked = LedgerEntry.objects.filter(Holds("users", key) & between(since, until), kind=Kind.SHOWN)
    return showings(asked, key)


def refusals(
    user: Any = None, instance: Model | None = None, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Refusal]:
    """Every subscription that was refused: to this user, to this instance, or both; to anybody without.

    Raises what ``what_was_shown_to`` and ``who_saw`` raise.
    """
    asked = LedgerEntry.objects.filter(between(since, until), kind=Kind.REFUSED)
    if instance is not None:
        asked = asked.filter(named(instance))
    key = None if user is None else key_of(user)
    if key is not None:
        asked = asked.filter(Holds("users", key))
    return refused(asked, key)


# How they are answered


def showings(asked: Any, only: str | None = None) -> Iterator[Showing]:
    """What these entries say was shown, and was not withheld; to one user only, if that is given."""
    for entries in chunks(asked):
        withheld = withheld_of(entries)
        for entry in entries:
            for user, socket in viewers(entry, only):
                if (entry.process, entry.number, socket) not in withheld:
                    yield Showing(
                        entry.at,
                        user,
                        entry.process,
                        socket,
                        entry.model,
                        entry.key,
                        entry.hashid,
                        entry.etag,
                        tuple(entry.fields),
                        entry.basis,
                        entry.cause,
                    )


def refused(asked: Any, only: str | None) -> Iterator[Refusal]:
    for entries in chunks(asked):
        for entry in entries:
            for user, socket in viewers(entry, only):
                yield Refusal(
                    entry.at,
                    user,
                    entry.process,
                    socket,
                    entry.model,
                    entry.key,
                    entry.hashid,
                    entry.basis,
                    entry.cause,
                )


def viewers(entry: LedgerEntry, only: str | None) -> Iterator[tuple[str, int]]:
    """The user and the socket of each viewer of an entry."""
    for user, socket in zip(entry.users, entry.sockets, strict=True):
        if only is None or user == only:
            yield user, socket


def withheld_of(entries: list[LedgerEntry]) -> set[tuple[str, int, int]]:
    """What was not shown of what these entries say was: the process and number of the entry, and the socket."""
    corrections = LedgerEntry.objects.filter(
        Among("process", {entry.process for entry in entries}),
        Among("of", {entry.number for entry in entries}),
        kind=Kind.WITHHELD,
    )
    return {
        (process, number, socket)  # type: ignore[misc]  # of which each has a number
        for process, number, sockets in corrections.values_list("process", "of", "sockets")
        for socket in sockets
    }


def chunks(asked: Any) -> Iterator[list[LedgerEntry]]:
    """The entries, the newest first, some at a time. Nothing is held open between two of them, and what is added
    meanwhile is not among them."""
    newest_first = asked.order_by("-at", "-pk")
    entries = list(newest_first[:CHUNK])
    while entries:
        yield entries
        last = entries[-1]
        older = Q(at__lte=last.at) & (Q(at__lt=last.at) | Q(pk__lt=last.pk))
        entries = list(newest_first.filter(older)[:CHUNK]) if len(entries) == CHUNK else []


def between(since: datetime | None, until: datetime | None) -> Q:
    within = Q()
    for name, lookup, moment in (("since", "at__gte", since), ("until", "at__lt", until)):
        if moment is None:
            continue
        if not isinstance(moment, datetime):
            raise TypeError(f"{name}=… takes a datetime, not {type(moment).__name__}.")
        if timezone.is_naive(moment):
            raise ValueError(f"{name}=… takes a datetime with a time zone, such as django.utils.timezone.now() gives.")
        within &= Q(**{lookup: moment})
    return within


def check(field: str, instance: Model, about: Q) -> None:
    """Raise ValueError for a field that no view of the instance can have or had."""
    publications = list(relatives(type(instance)))
    for publication in publications:
        serializer: Any = publication.serializer
        shown = example(serializer) if is_serializer(serializer) else None
        if shown is None or has(shown, field.split(".")):
            return
    if not LedgerEntry.objects.filter(about, Holds("fields", field)).exists():
        labels = " or ".join(sorted({publication.label for publication in publications}))
        raise ValueError(f"No serializer of {labels} has a field {field!r}, and none is on record for this instance.")


def has(field: Any, names: list[str]) -> bool:
    """Whether there is a field of these names within another, each in the one before; also where that depends on who
    looks, or can't be told without a request."""
    while isinstance(field, ListSerializer | ListField):
        field = field.child
    if not names or not isinstance(field, BaseSerializer):
        return not names
    try:
        fields = field.fields  # type: ignore[attr-defined]  # a BaseSerializer may have none
    except Exception:
        return True
    name, *rest = names
    return name in fields and has(fields[name], rest)
