"""The pace: at once at first, then seldom, and never not at all."""

from __future__ import annotations

import asyncio

import pytest
from clients import until

from livegate.gateway.paces import LONGEST_INTERVAL, Pace


@pytest.fixture
def acted():
    return []


@pytest.fixture
def pace(acted):
    made = Pace(lambda: acted.append("acted"))
    yield made
    made.cancel()


@pytest.fixture
def seldom(settings):
    """An interval as long as no test is."""
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_INTERVAL": 1_000}


def run_out(pace):
    """The interval has passed."""
    timer = pace._timer
    timer._run()
    timer.cancel()


async def test_the_first_is_acted_upon_at_once_and_those_that_follow_together(pace, acted, seldom):
    pace.tell()
    assert acted == ["acted"]
    pace.tell()
    timer = pace._timer
    pace.tell()
    assert acted == ["acted"]
    assert pace._timer is timer
    run_out(pace)
    assert acted == ["acted"] * 2
    assert pace._timer is None


async def test_while_it_goes_on_the_interval_doubles_up_to_a_limit_and_after_a_rest_it_is_short_again(
    pace, acted, seldom
):
    pace.tell()
    intervals = [pace._interval]
    for _ in range(4):
        pace.tell()
        assert pace._timer.when() == pace._acted + pace._interval
        assert not pace.is_over
        run_out(pace)
        intervals.append(pace._interval)
    pace._acted -= intervals[-1]
    assert pace.is_over
    pace.tell()

    assert LONGEST_INTERVAL == 4
    assert [*intervals, pace._interval] == [1_000, 2_000, 4_000, 4_000, 4_000, 1_000]
    assert len(acted) == 6


async def test_where_the_shortest_is_the_longest_it_does_not_double(acted, seldom):
    pace = Pace(lambda: acted.append("acted"), longest=1)
    for _ in range(3):
        pace.tell()
        pace.tell()
        run_out(pace)

    assert pace._interval == 1_000


async def test_without_an_interval_each_is_acted_upon(pace, acted, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_INTERVAL": 0}
    for _ in range(3):
        pace.tell()

    assert len(acted) == 3


async def test_it_is_acted_upon_by_itself(pace, acted, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_INTERVAL": 0.001}
    pace.tell()
    for _ in range(3):
        number = len(acted)
        pace.tell()
        await until(lambda number=number: len(acted) > number)


async def test_what_is_cancelled_does_not_happen(pace, acted, seldom):
    pace.tell()
    pace.tell()
    timer = pace._timer
    pace.cancel()
    pace.cancel()
    await asyncio.sleep(0)

    assert timer.cancelled()
    assert acted == ["acted"]
