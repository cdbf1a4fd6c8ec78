"""States of the database that tests begin with, kept in tables of their own and brought back by a few statements.

Otherwise each test that asks for the demonstration would load it, by a hundred queries; and after each test that
commits, Django would empty all tables, for which PostgreSQL makes new files, and make all content types and permissions
again.
"""

from __future__ import annotations

from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

# Of each state: all tables, and of those that have rows in it, the column of the primary key.
states: dict[str, dict[str, str | None]] = {}


def keep(state: str) -> None:
    """Keep all rows as they are now."""
    states[state] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f'CREATE TABLE "{state}_{table}" AS SELECT * FROM "{table}"')
            cursor.execute(f'SELECT 1 FROM "{table}" LIMIT 1')
            key = connection.introspection.get_primary_key_column(cursor, table) if cursor.fetchone() else None
            states[state][table] = key


def add(state: str) -> None:
    """Add the rows of a state that are missing, in the order in which they were kept."""
    with transaction.atomic(), connection.cursor() as cursor:
        for table, key in states[state].items():
            if key:
                missing = f'"{key}" NOT IN (SELECT "{key}" FROM "{table}")'
                cursor.execute(f'INSERT INTO "{table}" SELECT * FROM "{state}_{table}" WHERE {missing}')


def restore(state: str) -> None:
    """Bring all tables back to a state. Numbers that rows have had are not given again, as after Django's own flush."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # who is still writing is waited for, as TRUNCATE would
            tables = ", ".join(f'"{table}"' for table in states[state])
            cursor.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
        for table, key in states[state].items():
            unchanged = f'SELECT * FROM "{table}" INTERSECT SELECT * FROM "{state}_{table}"'
            others = f'WHERE "{key}" NOT IN (SELECT "{key}" FROM ({unchanged}) AS unchanged)' if key else ""
            cursor.execute(f'DELETE FROM "{table}" {others}')
        add(state)
    ContentType.objects.clear_cache()
