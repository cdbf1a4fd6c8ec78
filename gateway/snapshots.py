"""Snapshots: several reads of the databases as they were at one moment."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Where a transaction sees one moment: on SQLite each does, on PostgreSQL one that is REPEATABLE READ.
CONSISTENT = ("sqlite", "postgresql")
# libpq's PQTRANS_INERROR, as psycopg tells it.
IN_ERROR = 3


@contextmanager
def snapshot(databases: Iterable[str]) -> Iterator[bool]:
    """Within it, every read sees these databases as they were at one moment, if it gives True. Other databases than
    SQLite and PostgreSQL may show what was committed meanwhile.

    One transaction for each. Inside a transaction that is already open, that one's view of the database holds.
    """
    with ExitStack() as transactions:
        vendors = set()
        for alias in dict.fromkeys(databases):
            connection = connections[alias]
            vendors.add(connection.vendor)
            if not connection.in_atomic_block:
                if connection.vendor == "postgresql":
                    transactions.enter_context(repeatable_read(connection))
                if connection.vendor == "sqlite":
                    transactions.enter_context(deferred(connection))
                transactions.enter_context(transaction.atomic(using=alias))
        yield vendors.issubset(CONSISTENT)


def is_spoiled(databases: Iterable[str]) -> bool:
    """Whether PostgreSQL has refused a statement in a transaction, and now refuses all: also where the application's
    code went on as if nothing had been."""
    return any(
        connections[alias].vendor == "postgresql"
        and connections[alias].connection is not None
        and int(connections[alias].connection.info.transaction_status) == IN_ERROR
        for alias in databases
    )


@contextmanager
def repeatable_read(connection: Any) -> Iterator[None]:
    """Let what begins on a connection to PostgreSQL be REPEATABLE READ. It is said with the BEGIN, and costs no
    statement of its own."""
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    connection.ensure_connection()
    driver = connection.connection
    usual, driver.isolation_level = driver.isolation_level, IsolationLevel.REPEATABLE_READ
    try:
        yield
    finally:
        if not driver.closed:
            driver.isolation_level = usual


@contextmanager
def deferred(connection: Any) -> Iterator[None]:
    """Let what begins on a connection to SQLite take no lock before it writes, also where the settings ask for
    IMMEDIATE transactions: who only reads keeps no writer waiting."""
    connection.ensure_connection()
    usual, connection.transaction_mode = connection.transaction_mode, None
    try:
        yield
    finally:
        connection.transaction_mode = usual
