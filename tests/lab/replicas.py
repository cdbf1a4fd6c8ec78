"""A replica that lags: a database with the content of an earlier moment, from which a router has everything read."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPLICA = "replica"
# Always the same dict: connections of other threads, that were closed, are opened again as it says then.
settings: dict[str, Any] = {}


class ReplicaRouter:
    """As Django's documentation has it: reads go to the replica, writes to the primary."""

    def db_for_read(self, model, **hints):
        return REPLICA

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, one, other, **hints):
        return True


@contextmanager
def lagging(folder: Path) -> Iterator[Callable[[], None]]:
    """Within it there is a replica, with what the database has now; it comes to have more when it is called, and not
    before."""
    usual, file = connections["default"].settings_dict, folder / "replica.sqlite3"
    if connection.vendor == "postgresql":  # a schema of the same database, which the connection takes for all there is
        own = {"OPTIONS": {**usual["OPTIONS"], "options": f"-c search_path={REPLICA}"}}
    else:
        own = {"NAME": str(file)}

    def catch_up() -> None:
        if connection.vendor == "postgresql":
            copy_tables()
        else:
            connection.ensure_connection()
            with closing(sqlite3.connect(file)) as copy:
                connection.connection.backup(copy)

    catch_up()
    settings.update({**usual, **own})
    connections.databases[REPLICA] = settings
    try:
        with override_settings(DATABASE_ROUTERS=[ReplicaRouter()]), connections_to_it():
            yield catch_up
    finally:
        connections[REPLICA].close()
        del connections[REPLICA], connections.databases[REPLICA]
        if connection.vendor == "postgresql":
            connection.cursor().execute(f"DROP SCHEMA {REPLICA} CASCADE")


@contextmanager
def connections_to_it() -> Iterator[None]:
    """Django lets a test connect to no database that was not there when it began."""
    ensure = BaseDatabaseWrapper.ensure_connection

    def ensure_connection(self):
        if self.alias == REPLICA and self.connection is None:
            self.connect()
        else:
            ensure(self)

    with patch.object(BaseDatabaseWrapper, "ensure_connection", ensure_connection):
        yield


def copy_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {REPLICA} CASCADE; CREATE SCHEMA {REPLICA}")
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f'CREATE TABLE {REPLICA}."{table}" AS SELECT * FROM "{table}"')
