"""The allowance: so much in a row, and in the long run so much in a second."""

from __future__ import annotations

import pytest

from livegate.gateway import allowances
from livegate.gateway.allowances import Allowance


@pytest.fixture
def clock(monkeypatch, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "MESSAGE_BURST": 3, "MESSAGE_RATE": 2}
    now = [100.0]
    monkeypatch.setattr(allowances, "monotonic", lambda: now[0])
    return now


def test_so_many_in_a_row_are_allowed_and_no_more(clock):
    allowance = Allowance()

    assert [allowance.take() for _ in range(5)] == [True, True, True, False, False]


def test_as_time_goes_by_more_are_allowed(clock):
    allowance = Allowance()
    for _ in range(3):
        allowance.take()

    clock[0] += 0.4
    assert not allowance.take()
    clock[0] += 0.2
    assert [allowance.take() for _ in range(2)] == [True, False]


def test_what_is_not_used_adds_up_to_no_more_than_so_many(clock):
    allowance = Allowance()
    clock[0] += 1_000

    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
