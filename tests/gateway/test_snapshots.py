"""Snapshots: all reads within one see the same moment, and nothing of it is left behind."""

from __future__ import annotations

import tempfile

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from lab.connections import elsewhere
from lab.models import Page

from livegate.gateway import snapshots
from livegate.gateway.snapshots import repeatable_read, snapshot

pytestmark = pytest.mark.django_db(transaction=True)


def level():
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return cursor.fetchone()[0]


@pytest.fixture
def levels():
    """The isolation level of the moment, where the database has levels to choose from."""
    return lambda expected: connection.vendor != "postgresql" or level() == expected


def test_within_it_nothing_changes_that_is_changed_elsewhere():
    page = Page.objects.create(text="before")

    with snapshot(["default"]) as is_consistent:
        first = list(Page.objects.values_list("text"))
        refused = elsewhere(lambda: Page.objects.update(text="after"))
        second = list(Page.objects.values_list("text"))

    assert is_consistent
    assert first == second == [("before",)]
    page.refresh_from_db()
    assert page.text == ("before" if refused else "after")


def test_on_postgresql_it_is_repeatable_read_within_and_as_usual_afterwards(levels):
    assert levels("read committed")
    with snapshot(["default", "default"]):
        assert levels("repeatable read")
        with snapshot(["default"]):
            assert levels("repeatable read")

    assert levels("read committed")
    with transaction.atomic():
        assert levels("read committed")
    assert not connection.in_atomic_block


def test_an_error_within_it_leaves_nothing_behind(levels):
    with pytest.raises(ZeroDivisionError), snapshot(["default"]):
        Page.objects.count()
        raise ZeroDivisionError

    assert not connection.in_atomic_block
    assert levels("read committed")


def test_it_costs_no_statement_but_the_transactions_own():
    with CaptureQueriesContext(connection) as asked, snapshot(["default"]):
        Page.objects.count()

    own = [query["sql"] for query in asked if query["sql"] not in ("BEGIN", "BEGIN IMMEDIATE", "COMMIT")]
    assert len(own) == 1


def test_the_level_is_said_with_the_begin():
    if connection.vendor != "postgresql":
        return
    Page.objects.count()
    with tempfile.TemporaryFile() as sent:
        connection.connection.pgconn.trace(sent.fileno())
        with snapshot(["default"]):
            Page.objects.count()
        connection.connection.pgconn.untrace()
        sent.seek(0)
        messages = sent.read().decode()

    statements = [line for line in messages.splitlines() if "\tQuery\t" in line or "\tParse\t" in line]
    assert [line.split('"')[1 if "Query" in line else 3].split()[0] for line in statements] == [
        "BEGIN",
        "SELECT",
        "COMMIT",
    ]
    assert "REPEATABLE READ" in statements[0]


def test_inside_of_a_transaction_that_is_open_that_ones_view_holds(levels):
    with transaction.atomic():
        Page.objects.create(text="uncommitted")
        with snapshot(["default"]) as is_consistent:
            assert Page.objects.get().text == "uncommitted"
            assert levels("read committed")
        assert connection.in_atomic_block

    assert is_consistent
    assert Page.objects.count() == 1


def test_of_a_database_that_may_show_several_moments_it_says_so(monkeypatch):
    monkeypatch.setattr(snapshots, "CONSISTENT", ())

    with snapshot(["default"]) as is_consistent:
        assert connection.in_atomic_block

    assert not is_consistent
    assert not connection.in_atomic_block


def test_a_connection_that_broke_meanwhile_is_no_second_error():
    if connection.vendor != "postgresql":
        return

    with repeatable_read(connection):
        connection.connection.close()

    connection.close()
    assert level() == "read committed"
    with pytest.raises(OperationalError), repeatable_read(connection), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    connection.close()
    assert level() == "read committed"
