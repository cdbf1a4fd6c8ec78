"""Ledgers: entries as the hub makes them, by hand, and by the million."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from django.db import connection

from livegate.gateway.audit.models import LedgerEntry
from livegate.gateway.audit.sinks import DatabaseSink
from livegate.gateway.entries import Entry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# What stands for the people of a ledger that was filled, and for its cards, begins there: far from any that are real.
FIRST = 5_000_000
USERS = 20_000
CARDS = 50_000

_numbers = count(1)


def made(kind: Any = "shown", *, minute: float = 0, **facts: Any) -> Entry:
    """An entry so many minutes after noon, of a process and with a number of its own."""
    usual = {"process": "p", "number": next(_numbers)}
    if "users" in facts and "sockets" not in facts:
        facts["sockets"] = tuple(range(len(facts["users"])))
    return Entry(at=NOON + timedelta(minutes=minute), kind=kind, **{**usual, **facts})


def kept(*entries: Entry) -> tuple[Entry, ...]:
    """Entries that are in the database now."""
    DatabaseSink().write(entries)
    return entries


def fill(rows: int) -> None:
    """So many entries, one each half minute until now, made by the database: of every 100, 90 are views shown, 4
    refusals, and the others come and go. Few cards and few users have most of them, as it is in life. One entry in 50
    has a hundred viewers, the others up to three; one in 1,000 takes another back."""
    columns = ", ".join(f'"{field.column}"' for field in LedgerEntry._meta.concrete_fields if not field.primary_key)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT setseed(0.5)")
        made_here = FILL[connection.vendor].format(
            rows=rows, first=FIRST, cards=CARDS, users=USERS, kind=KIND, viewers=VIEWERS
        )
        cursor.execute(f"INSERT INTO {LedgerEntry._meta.db_table} ({columns}) {made_here}")
        cursor.execute("ANALYZE")


def plan(sql: str) -> list[str]:
    """How the database goes about a query."""
    with connection.cursor() as cursor:
        how = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{how} {sql}")
        return [str(row[-1]) for row in cursor.fetchall()]


def scans(lines: list[str]) -> list[str]:
    """The parts of a plan that read the whole table; not those that walk along an index until they have enough."""
    return [
        line for line in lines if "Seq Scan" in line or (line.startswith("SCAN livegate_audit") and "INDEX" not in line)
    ]


KIND = """CASE WHEN i % 1000 = 999 THEN 'withheld' WHEN i % 100 < 90 THEN 'shown' WHEN i % 100 < 94 THEN 'refused'
    WHEN i % 100 < 96 THEN 'admitted' WHEN i % 100 = 96 THEN 'ended' WHEN i % 100 = 97 THEN 'taken'
    WHEN i % 100 = 98 THEN 'opened' ELSE 'closed' END"""
VIEWERS = "CASE WHEN i % 50 = 0 THEN 100 ELSE 1 + i % 3 END"
# The same in two languages. A number below 1 to the power of three is small more often than not.
FILL = {
    "postgresql": """
SELECT now() - ({rows} - i) * interval '30 seconds', {kind}, 'process-' || i / 1000 % 4, i, users, sockets,
    'board.Card', card::text, 'hash' || card, md5(i::text), '["id", "title", "salary"]'::jsonb,
    'is_public=no | same_tenant=yes & is_owner(owner)=no & has_perm(view_card)=yes', 'change',
    CASE WHEN i % 1000 = 999 THEN i - 20 END, NULL, 0
FROM generate_series(1, {rows}) AS i,
    LATERAL (SELECT {first} + floor({cards} * random() ^ 3)::bigint AS card WHERE i > 0) AS object,
    LATERAL (
        SELECT jsonb_agg(({first} + floor({users} * random() ^ 3)::bigint)::text) AS users, jsonb_agg(n) AS sockets
        FROM generate_series(1, {viewers}) AS n
    ) AS crowd
ORDER BY i
""",
    "sqlite": """
WITH RECURSIVE counted(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counted WHERE i < {rows}),
    hundred(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM hundred WHERE n < 100),
    thrown AS (SELECT i, abs(random()) % 1000000 / 1e6 AS r FROM counted)
SELECT strftime('%Y-%m-%d %H:%M:%f', 'now', ((i - {rows}) * 30) || ' seconds'), {kind},
    'process-' || i / 1000 % 4, i,
    (SELECT json_group_array(CAST({first} + CAST({users} * u * u * u AS INT) AS TEXT))
        FROM (SELECT abs(random()) % 1000000 / 1e6 AS u FROM hundred WHERE n <= {viewers})),
    (SELECT json_group_array(n) FROM hundred WHERE n <= {viewers}),
    'board.Card', CAST({first} + CAST({cards} * r * r * r AS INT) AS TEXT), 'hash', 'etag', '["id", "title", "salary"]',
    'is_public=no', 'change', CASE WHEN i % 1000 = 999 THEN i - 20 END, NULL, 0
FROM thrown
""",
}
