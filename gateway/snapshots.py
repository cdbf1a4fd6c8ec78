"""Snapshots: several reads of the databases as they were at one moment."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def snapshot(databases: Iterable[str]) -> Iterator[None]:
    """Within it, every read sees these databases as they were at one moment.

    One transaction for each: REPEATABLE READ on PostgreSQL, where a transaction would otherwise see each commit of
    others; on SQLite every transaction is a snapshot. Inside a transaction that is already open, that one's view of
    the database holds.
    """
    with ExitStack() as transactions:
        for alias in dict.fromkeys(databases):
            connection = connections[alias]
            if not connection.in_atomic_block:
                transactions.enter_context(transaction.atomic(using=alias))
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
