"""``manage.py livegate_subscriptions``: who is subscribed to what right now; and closes their sockets."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ....courier import courier
from ...choices import chosen
from ...listings import Row, age, rows_of
from ...register import close, roll_call
from .livegate_ledger import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...register import Process, Register


class Command(BaseCommand):
    help = "Ask all processes who is subscribed to what right now; close these sockets."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default="", help="only of this user, by name; (anonymous) for those who are")
        parser.add_argument("--object", default="", dest="instance", help="only to this one, as board.Card:7sd8f")
        parser.add_argument("--tenant", default="", help="only of its users, as board.Organization:5, by primary key")
        parser.add_argument("--socket", default="", metavar="PROCESS:NUMBER", help="only of this one")
        parser.add_argument("--close", action="store_true", help="close the sockets that are found, without asking")
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="seconds to wait; default: 5")

    def handle(self, *args: Any, timeout: float, **options: Any) -> None:
        try:
            about = chosen(**{name: options[name] for name in ("user", "instance", "tenant", "socket")})
            found = roll_call(timeout).of(**about)
        except (LookupError, ValueError) as error:
            raise CommandError(str(error)) from error
        closed, open_still = close_and_look(found, timeout) if options["close"] else (0, 0)
        if options["json"]:
            told = {"closed": closed, "open_still": open_still} if options["close"] else {}
            self.stdout.write(json.dumps(as_data(found) | told, indent=1))
            return
        for line in as_table(rows_of(found)):
            self.stdout.write(line)
        for one in found.unanswered:
            self.stdout.write(f"No answer came from {one}: its sockets are missing here.")
        if options["close"]:
            self.stdout.write(f"Closed {closed} of {closed + open_still} sockets.")


def close_and_look(register: Register, timeout: float) -> tuple[int, int]:
    """How many are closed now, and how many are not: it is looked again, for their processes may not have heard it."""
    if not close(register):
        return 0, 0
    courier.close()  # what is asked next is asked when this was sent
    after = roll_call(timeout)
    silent = {one.identity for one in after.unanswered}
    there = {one.name for one in after.sockets}
    still = [one for one in register.sockets if one.name in there or one.process.identity in silent]
    return len(register.sockets) - len(still), len(still)


def as_data(register: Register) -> dict[str, Any]:
    """Values that JSON has."""
    return {
        "subscriptions": [named(row) for row in rows_of(register)],
        "processes": [of_process(one) for one in register.processes],
        "unanswered": [of_process(one) for one in register.unanswered],
    }


def named(row: Row) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(row).items()}


def of_process(process: Process) -> dict[str, Any]:
    return {**asdict(process), "since": process.since.isoformat()}


HEAD = ("user", "model", "id", "since", "verified", "basis", "socket", "host", "pid")


def as_table(rows: list[Row]) -> Iterator[str]:
    """Columns for people, as wide as needed; times as how long they are ago."""
    cells = [HEAD, *(cells_of(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    subscriptions = sum(bool(row.model) for row in rows)
    yield f"{subscriptions:,} subscriptions, {len({row.socket for row in rows}):,} sockets."


def cells_of(row: Row) -> tuple[str, ...]:
    since, verified = (age(one) if row.model else "" for one in (row.since, row.verified))
    cells = (row.name, row.model, row.hashid, since, verified, row.basis, row.socket, row.host, str(row.pid))
    return tuple(map(printable, cells))
