"""The worker: its connections stay open, and nothing that it does ends who waits for it."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection

from livegate.gateway.worker import connected


@pytest.mark.django_db(transaction=True)
def test_a_connection_stays_open_from_one_evaluation_to_the_next_unless_it_failed(monkeypatch):
    connection.ensure_connection()
    driver = connection.connection

    assert connected(dict.fromkeys, ["pair"]) == {"pair": None}
    assert connection.connection is driver
    connection.errors_occurred = True
    monkeypatch.setattr(connection, "is_usable", lambda: False)
    connected(str, None)
    assert connection.connection is None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError])
def test_what_would_end_the_hub_or_can_not_be_handed_to_it_is_an_error_like_others(error):
    def ends(given):
        raise error

    with pytest.raises(RuntimeError, match="ended from within"):
        connected(ends, [])
