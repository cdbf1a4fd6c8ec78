"""Sinks: what they are given is kept, all or none, and once."""

from __future__ import annotations

import json
import logging

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from ledgers import made

from livegate.gateway.audit import sinks
from livegate.gateway.audit.models import LedgerEntry
from livegate.gateway.audit.sinks import DatabaseSink, LinesSink

FULL = {
    "number": 7,
    "users": ("1", ""),
    "sockets": (4, 5),
    "model": "board.Card",
    "key": "17",
    "hashid": "l17QO",
    "etag": "f" * 32,
    "fields": ("id", "title"),
    "basis": "is_owner=yes",
    "cause": "change+rights",
    "of": 3,
    "code": 4401,
    "missing": 2,
}


@pytest.mark.django_db
def test_every_field_of_an_entry_is_in_its_row():
    entry = made(**FULL)

    DatabaseSink().write([entry])

    [row] = LedgerEntry.objects.values()
    del row["id"]
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()} == {
        "at": entry.at,
        "kind": "shown",
        "process": "p",
        **FULL,
    }


@pytest.mark.django_db
def test_what_is_written_twice_is_there_once_and_as_it_was_first():
    first, second, third = (made(basis=basis) for basis in ("first", "second", "third"))
    DatabaseSink().write([first, second])

    DatabaseSink().write([made(number=second.number, basis="forged"), third])
    DatabaseSink().write([made(number=second.number, process="q", basis="of another process")])

    assert sorted(LedgerEntry.objects.values_list("basis", flat=True)) == [
        "first",
        "of another process",
        "second",
        "third",
    ]


@pytest.mark.django_db
def test_many_are_written_by_few_statements(monkeypatch):
    monkeypatch.setattr(sinks, "CHUNK", 100)

    with CaptureQueriesContext(connection) as asked:
        DatabaseSink().write([made() for _ in range(250)])

    assert sum(query["sql"].startswith("INSERT") for query in asked) <= 5  # SQLite takes 58 rows of ours at once
    assert LedgerEntry.objects.count() == 250


@pytest.mark.django_db(transaction=True)
def test_where_one_can_not_be_kept_none_is_and_it_is_told(monkeypatch):
    monkeypatch.setattr(sinks, "CHUNK", 2)
    bad = made(process=None)

    with pytest.raises(DatabaseError):
        DatabaseSink().write([made(), made(), made(), bad])

    assert not LedgerEntry.objects.exists()
    DatabaseSink().write([])


@pytest.mark.django_db(transaction=True)
def test_it_is_not_said_to_be_kept_inside_of_a_transaction_that_may_be_undone():
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        DatabaseSink().write([made()])


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["x" * 10_000, "\0", "\ud800", "a\0" * 64, "🜁" * 64, "'; DROP TABLE", "%s"])
def test_whatever_a_client_sends_an_entry_can_be_kept(text):
    entries = [made("refused", hashid=text, model=text, key=text, users=(text,), basis=text, fields=(text,), etag=text)]

    DatabaseSink().write([made(), *entries, made()])

    assert LedgerEntry.objects.count() == 3
    row = LedgerEntry.objects.get(kind="refused")
    assert len(row.hashid) <= 64
    assert "\0" not in row.hashid + row.basis + row.users[0]


@pytest.mark.django_db
def test_it_is_kept_where_routers_say(settings):
    class Elsewhere:
        def db_for_write(self, model, **hints):
            return "ledger" if model is LedgerEntry else None

    settings.DATABASE_ROUTERS = [Elsewhere()]

    with pytest.raises(Exception, match="ledger"):  # which is no database here
        DatabaseSink().write([made()])


def test_a_line_holds_an_entry_under_the_names_of_its_fields(caplog):
    entry, other = made(**FULL), made("refused", hashid="\n\x1b[31m\0\ud800")

    with caplog.at_level(logging.INFO, "livegate.ledger"):
        LinesSink().write([entry, other])

    lines = [record.getMessage() for record in caplog.records]
    assert all(line.isascii() and line.isprintable() for line in lines)
    expected = {"at": "2026-03-01T12:00:00+00:00", "kind": "shown", "process": "p", **FULL}
    assert json.loads(lines[0]) == {
        name: list(value) if isinstance(value, tuple) else value for name, value in expected.items()
    }
    assert json.loads(lines[1])["hashid"] == other.hashid


def test_lines_that_nobody_takes_are_not_said_to_be_kept(monkeypatch):
    monkeypatch.setattr(sinks.lines, "propagate", False)
    sinks.lines.setLevel(logging.INFO)
    try:
        with pytest.raises(RuntimeError, match=r"livegate\.ledger has no handler"):
            LinesSink().write([made()])
        sinks.lines.addHandler(handler := logging.NullHandler())
        LinesSink().write([made()])
        sinks.lines.setLevel(logging.WARNING)
        with pytest.raises(RuntimeError, match="takes no INFO"):
            LinesSink().write([made()])
    finally:
        sinks.lines.removeHandler(handler)
        sinks.lines.setLevel(logging.NOTSET)
