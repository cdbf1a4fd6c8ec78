"""Outages of the ledger: what the metrics say of them, and that a sink which hangs is one that fails."""

from __future__ import annotations

import asyncio

import pytest
from board.models import Card
from board.permissions import can_see
from board.serializers import CardSerializer
from clients import until

from livegate.gateway import delivery, metrics, recorder
from livegate.gateway import hub as hub_module

pytestmark = pytest.mark.usefixtures("sink")


@pytest.fixture
def client_of(demo, connect, republish):
    """A client that is subscribed to the card, which is on record up to a level."""

    async def subscribed(level):
        republish(Card, CardSerializer, to=can_see, record=level)
        client = await connect(demo.amira)
        await client.subscribe(demo.card)
        return client

    return subscribed


def counted(name):
    return metrics.counts()[name]


async def rename(card, title):
    card.title = title
    await card.asave()


async def test_what_waits_to_be_written_is_in_the_metrics_and_what_was_written_is(client_of, demo, sink):
    written = counted("ledger_entries_written")
    client = await client_of("showings")
    sink.away = True
    await until(lambda: metrics.gauges()["ledger_queue"] == 0 or sink.calls)

    await rename(demo.card, "waits")
    assert (await client.receive())["payload"]["title"] == "waits"
    assert metrics.gauges()["ledger_queue"] > 0

    sink.away = False
    await until(lambda: metrics.gauges()["ledger_queue"] == 0)
    assert counted("ledger_entries_written") - written == len(sink.kept) == 3


async def test_where_nothing_is_on_record_nothing_is_said_of_a_queue(client_of, demo):
    await client_of("off")

    assert "ledger_queue" not in metrics.gauges()


async def test_what_is_strict_is_counted_as_written_when_it_is_shown(client_of, demo, sink):
    written = counted("ledger_entries_written")
    client = await client_of("strict")

    await rename(demo.card, "strict")

    assert (await client.receive())["payload"]["title"] == "strict"
    await until(lambda: metrics.gauges()["ledger_queue"] == 0)
    await until(lambda: counted("ledger_entries_written") - written == len(sink.kept) == 3)


async def test_what_there_is_no_room_for_is_counted_as_lost(client_of, demo, sink, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_QUEUE": 2}
    lost = counted("ledger_entries_lost")
    client = await client_of("showings")
    await until(lambda: metrics.gauges()["ledger_queue"] == 0)
    sink.away = True
    for number in range(5):
        await rename(demo.card, f"number {number}")
        await client.receive()

    sink.away = False
    await until(lambda: metrics.gauges()["ledger_queue"] == 0)
    assert [entry.missing for entry in sink.kept if entry.kind == "lost"] == [3]
    assert counted("ledger_entries_lost") - lost == 3


async def test_what_is_left_at_the_end_is_counted_as_lost(client_of, sink, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_INTERVAL": 1_000}
    lost = counted("ledger_entries_lost")
    client = await client_of("showings")
    sink.away = True

    await client.close()

    await until(lambda: not hub_module._hubs)
    assert counted("ledger_entries_lost") - lost == 3  # that it was opened, admitted and closed


async def test_a_sink_that_hangs_is_told_to_fail_also_where_nothing_waits_for_it(
    client_of, demo, sink, caplog, monkeypatch
):
    caplog.set_level("INFO", "livegate")
    client = await client_of("showings")
    await until(lambda: metrics.gauges()["ledger_queue"] == 0)
    monkeypatch.setattr(recorder, "LONGEST_WRITE", 0.01)
    sink.open.clear()

    await rename(demo.card, "hangs")
    assert (await client.receive())["payload"]["title"] == "hangs"
    await until(lambda: caplog.records)

    monkeypatch.setattr(recorder, "LONGEST_WRITE", 1_000)
    sink.open.set()
    await until(lambda: metrics.gauges()["ledger_queue"] == 0)
    assert [record.event for record in caplog.records] == ["ledger_failed", "ledger_written"]
    assert [entry.kind for entry in sink.kept] == ["opened", "admitted", "shown"]


async def test_what_waits_for_its_record_when_the_last_one_leaves_is_on_record_and_as_withheld(
    client_of, demo, connect, sink
):
    client = await client_of("strict")
    await until(lambda: metrics.gauges()["ledger_queue"] == 0)
    [hub] = hub_module._hubs.values()
    [subscription] = hub.subscriptions()
    sink.open.clear()
    calls = len(sink.calls)
    other = await connect(demo.ben)  # that they came is being written
    await until(lambda: len(sink.calls) > calls)
    await rename(demo.card, "never shown")
    await until(lambda: subscription.receipt)

    await other.close()
    closing = asyncio.create_task(client.close())
    await until(lambda: not hub.sockets)
    sink.open.set()
    await closing

    await until(lambda: not hub_module._hubs)
    kinds = {entry.number: entry.kind for entry in sink.kept}
    [withheld] = [entry for entry in sink.kept if entry.kind == "withheld"]
    assert kinds[withheld.of] == "shown"
    assert sorted(kinds) == list(range(1, len(kinds) + 1))


def test_a_view_waits_for_its_record_no_longer_than_it_lives(monkeypatch):
    monkeypatch.undo()

    assert recorder.LONGEST_WAIT <= delivery.VIEW_LIFETIME
