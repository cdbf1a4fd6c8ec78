"""Sinks: what keeps the entries of the ledger."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from django.db import IntegrityError, router, transaction

from ...permissions.lookups import Among
from .models import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..entries import Entry

    Name = tuple[str, int]  # a process, and a number there

# How many rows one statement writes.
CHUNK = 1_000

lines = logging.getLogger("livegate.ledger")


class DatabaseSink:
    """Keeps entries in the table of the app ``livegate.gateway.audit``: in the database that routers say for
    ``LedgerEntry``, in one transaction, which is committed when ``write`` returns.

    An entry that is there already is left as it is. Raises what the database raises, and has kept nothing then.
    """

    def write(self, entries: Sequence[Entry]) -> None:
        rows = {(entry.process, entry.number): LedgerEntry.of_entry(entry) for entry in reversed(entries)}
        try:
            insert(rows)
        except IntegrityError:
            there = known(rows)
            if not there:
                raise
            insert({name: row for name, row in rows.items() if name not in there})


def insert(rows: Mapping[Name, LedgerEntry]) -> None:
    """All or none. Not with ``ignore_conflicts``: on SQLite and MySQL that ignores every reason not to keep a row."""
    using = router.db_for_write(LedgerEntry)
    with transaction.atomic(using=using, durable=True):
        LedgerEntry.objects.using(using).bulk_create(list(rows.values())[::-1], batch_size=CHUNK)


def known(rows: Mapping[Name, LedgerEntry]) -> set[Name]:
    """Which of them, by process and number, are there already."""
    there = LedgerEntry.objects.using(router.db_for_write(LedgerEntry)).filter(
        Among("process", {process for process, _ in rows}), Among("number", {number for _, number in rows})
    )
    return set(there.values_list("process", "number"))


class LinesSink:
    """Gives each entry, as a line of JSON, to the logger ``livegate.ledger``, at level INFO.

    The names in a line are those of the fields of ``Entry``; all are in each line. Raises RuntimeError where that
    logger takes no INFO or has no handler. What handlers do with a line is theirs: Python's own do not raise
    where they can't write it, so that with this sink nothing is proven to be kept.
    """

    def write(self, entries: Sequence[Entry]) -> None:
        if not (lines.isEnabledFor(logging.INFO) and lines.hasHandlers()):
            raise RuntimeError("The logger livegate.ledger has no handler, or takes no INFO: see LOGGING.")
        for entry in entries:
            lines.info("%s", json.dumps({**asdict(entry), "at": entry.at.isoformat()}))
