"""``manage.py livegate_ledger``: what the ledger answers, for people, spreadsheets and programs; and its retention."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from io import StringIO
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from .....serializers.hashids import InvalidHashid
from ... import ledger
from ...models import LedgerEntry
from ...objects import instance_of
from ...people import keys_named, nameless, names_of, primary_key

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterable, Iterator

    from django.db.models import Model

    Row = dict[str, Any]

# Of so many rows at once the users' names are looked up.
CHUNK = 500
# What a table for people shows.
IN_TABLE = ("at", "user", "model", "hashid", "fields", "basis", "cause")
# A cell that begins with one of these is a formula to a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MOMENT = "as 2026-03-01 or 2026-03-01T12:00+01:00; without an offset in TIME_ZONE"


class Command(BaseCommand):
    help = "Ask the ledger who saw what, what was shown to whom, and what was refused; remove old entries of it."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        saw = actions.add_parser("who-saw", help="who was shown an object, which may be gone")
        saw.add_argument("model", help="its label, as board.Card")
        saw.add_argument("hashid", help="the object's id, as clients name it")
        saw.add_argument("--field", help="only views that had this field")
        shown = actions.add_parser("shown-to", help="what was shown to a user")
        refused = actions.add_parser("refusals", help="subscriptions that were refused")
        refused.add_argument("--object", nargs=2, metavar=("MODEL", "HASHID"), help="only those to this object")
        for one, required in ((shown, True), (refused, False)):
            whom = one.add_mutually_exclusive_group(required=required)
            whom.add_argument("username", nargs="?", help="whose")
            whom.add_argument("--key", help="whose, by primary key: the user may be gone")
            whom.add_argument("--anonymous", action="store_true", help="of those who were not logged in")
        for one in (saw, shown, refused):
            one.add_argument("--since", type=moment, help=f"from then on, {MOMENT}")
            one.add_argument("--until", type=moment, help="before then")
            one.add_argument("--format", choices=FORMATS, default="table", help="default: table")
        add_retention(actions.add_parser("prune", help="remove old entries, for good"))

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "prune":
            return self.prune(options["before"])
        ask, kind = QUESTIONS[action]
        try:
            found = ask(options)
        except (LookupError, ValueError) as error:
            raise CommandError(str(error)) from error
        columns = [*(field.name for field in fields(kind)), "user_key"]
        for line in FORMATS[options["format"]](columns, rows(found)):
            self.stdout.write(line)
        return None

    def prune(self, before: datetime) -> None:
        if before > timezone.now():
            raise CommandError("What has not happened yet can't be old: give a time in the past.")
        removed = LedgerEntry.objects.prune(before)
        self.stdout.write(f"Removed {removed:,} entries from before {before.isoformat(timespec='seconds')}.")


def add_retention(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--before", type=moment, metavar="DATE", help=f"those from before then, {MOMENT}")
    which.add_argument("--days", dest="before", type=days_ago, metavar="N", help="those older than so many days")


def moment(text: str) -> datetime:
    """A time that somebody wrote."""
    parsed = parse_datetime(text if len(text) > len("2026-03-01") else f"{text}T00:00")
    if parsed is None:
        raise ValueError(text)
    return timezone.make_aware(parsed) if timezone.is_naive(parsed) else parsed


def days_ago(text: str) -> datetime:
    try:
        return timezone.now() - timedelta(days=int(text))
    except OverflowError as error:
        raise ValueError(text) from error


# The questions


def who_saw(options: Row) -> Iterator[ledger.Showing]:
    instance = instance_called(options["model"], options["hashid"])
    return ledger.who_saw(instance, options["field"], options["since"], options["until"])


def shown_to(options: Row) -> Iterator[ledger.Showing]:
    return ledger.what_was_shown_to(user_called(options), options["since"], options["until"])


def refusals(options: Row) -> Iterator[ledger.Refusal]:
    instance = instance_called(*options["object"]) if options["object"] else None
    return ledger.refusals(user_called(options), instance, options["since"], options["until"])


QUESTIONS: dict[str, tuple[Callable[[Row], Iterator[Any]], Any]] = {
    "who-saw": (who_saw, ledger.Showing),
    "shown-to": (shown_to, ledger.Showing),
    "refusals": (refusals, ledger.Refusal),
}


def instance_called(label: str, hashid: str) -> Model:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise CommandError(f"There is no model {label}.") from error
    try:
        return instance_of(model, hashid)
    except (InvalidHashid, ImproperlyConfigured) as error:
        raise CommandError(f"{hashid} is not the id of any {label}.") from error


def user_called(options: Row) -> Any:
    """A user with a primary key and nothing else; None where nobody is named."""
    if options["anonymous"]:
        return AnonymousUser()
    key = options["key"]
    if options["username"] is not None:
        key = next(iter(keys_named(options["username"])), None)
        if key is None:
            raise CommandError(f"There is no user {options['username']}. One who is gone is named by --key.")
    if key is None:
        return None
    known = primary_key(key)
    if known is None:
        raise CommandError(f"{key} is not the primary key of any user.")
    return get_user_model()(pk=known)


# The answers


def rows(found: Iterable[Any]) -> Iterator[Row]:
    """What was found, each with the username of today: None for one who is gone or was anonymous."""
    rest = iter(found)
    while some := list(islice(rest, CHUNK)):
        names = names_of({one.user for one in some})
        for one in some:
            yield {**asdict(one), "at": one.at.isoformat(), "user": names.get(one.user), "user_key": one.user}


def as_table(columns: list[str], found: Iterator[Row]) -> Iterator[str]:
    """Columns for people: those that tell most, as wide as needed. All rows are read first."""
    shown = [name for name in IN_TABLE if name in columns]
    people = ({**row, "user": row["user"] or nameless(row["user_key"])} for row in found)
    cells = [shown, *([printable(text(row[name])) for name in shown] for row in people)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    yield f"{len(cells) - 1:,} found."


def as_csv(columns: list[str], found: Iterator[Row]) -> Iterator[str]:
    """Comma-separated values, with a head; no cell is a formula."""
    for cells in chain([columns], ([harmless(printable(text(row[name]))) for name in columns] for row in found)):
        line = StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        yield line.getvalue()


def as_json(columns: list[str], found: Iterator[Row]) -> Iterator[str]:
    """One array of objects, one on each line."""
    before = "["
    for row in found:
        yield before + json.dumps({name: row[name] for name in columns})
        before = ","
    yield "]" if before == "," else "[]"


FORMATS = {"table": as_table, "csv": as_csv, "json": as_json}


def text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str("" if value is None else value)


def printable(cell: str) -> str:
    """A cell without what a terminal would obey: some of it was given by clients."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in cell)


def harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell
