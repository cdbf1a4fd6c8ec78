"""The sweep: what no notice told is noticed, at a bounded rate, and costs nobody a frame who need not know."""

from __future__ import annotations

import asyncio
from itertools import chain
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import until
from django.contrib.auth import get_user_model
from guardian.models import GroupObjectPermission

from livegate.gateway import hub as hub_module
from livegate.gateway import sweep as sweep_module
from livegate.gateway.entries import SWEEP
from livegate.gateway.metrics import counts
from livegate.gateway.sweep import keep_sweeping, sweep

User = get_user_model()


@pytest.fixture
def sweeping(settings):
    """Sweeps without a rest."""
    settings.LIVEGATE = {**settings.LIVEGATE, "SWEEP_PERIOD": 0.01, "SWEEP_RATE": 1_000_000}


async def shown(client, card):
    return await client.ask({"action": "subscribe", "model": "board.Card", "id": card.hashid, "etag": None})


async def test_content_that_was_changed_without_a_word_is_shown(demo, connect, sweeping):
    client = await connect(demo.amira)
    await shown(client, demo.card)
    await sync_to_async(Card.objects.update)(title="changed")

    assert (await client.receive())["payload"]["title"] == "changed"


async def test_rights_that_were_taken_without_a_word_are_gone(demo, connect, sweeping):
    client, other = await connect(demo.ben), await connect(demo.amira)
    assert "salary" in (await shown(client, demo.card))["payload"]
    await shown(other, demo.card)

    def take():
        rows = GroupObjectPermission.objects.filter(permission__codename="view_salary")
        assert rows._raw_delete(rows.db)

    await sync_to_async(take)()
    assert "salary" not in (await client.receive())["payload"]
    sweeps = counts()["sweeps"]
    await until(lambda: counts()["sweeps"] > sweeps + 1)
    await other.nothing()


async def test_a_user_who_was_deactivated_without_a_word_has_to_go(demo, connect, sweeping):
    client = await connect(demo.ben)
    await sync_to_async(User.objects.filter(pk=demo.ben.pk).update)(is_active=False)

    assert (await client.take()) == {"type": "websocket.close", "code": 4401}


class Listed:
    """A hub that notes what is looked at again, and what of it at once."""

    def __init__(self, number):
        self.watched = list(range(number))
        self.sockets = {f"socket {number}" for number in range(number)}
        self.looked_at, self.examined = [], []

    def subscriptions(self):
        return iter(self.watched)

    def look_again(self, some, cause):
        assert cause == SWEEP
        self.looked_at.append(list(some))

    def examine(self, some):
        self.examined.append(list(some))


@pytest.fixture
def rests(monkeypatch):
    """The seconds of each rest, which takes none."""
    seen = []

    async def rest(seconds):
        seen.append(seconds)
        if len(seen) > 20:
            raise asyncio.CancelledError

    clock = SimpleNamespace(sleep=rest, get_running_loop=asyncio.get_running_loop)
    monkeypatch.setattr(sweep_module, "asyncio", clock)
    return seen


async def test_everything_is_looked_at_once_a_few_at_a_time(rests, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "SWEEP_RATE": 100}
    hub = Listed(600)
    await sweep(hub)

    assert [len(some) for some in hub.looked_at] == [len(some) for some in hub.examined] == [250, 250, 100]
    assert [*chain(*hub.looked_at)] == hub.watched
    assert {*chain(*hub.examined)} == hub.sockets
    assert rests == [2.5, 2.5, 1.0] * 2


async def test_it_begins_at_another_time_in_each_process_and_rests_for_what_is_left(rests, settings, caplog):
    settings.LIVEGATE = {**settings.LIVEGATE, "SWEEP_PERIOD": 100.0, "SWEEP_RATE": 100}
    with pytest.raises(asyncio.CancelledError):
        await keep_sweeping(Listed(1))

    assert 0 <= rests[0] < 100
    assert rests[1:3] == [0.01, 0.01]
    assert 90 < rests[3] <= 100
    assert caplog.records == []


async def test_a_sweep_that_takes_longer_than_its_period_is_told(rests, settings, caplog):
    settings.LIVEGATE = {**settings.LIVEGATE, "SWEEP_PERIOD": 1e-9}
    with pytest.raises(asyncio.CancelledError):
        await keep_sweeping(Listed(1))

    assert {record.event for record in caplog.records} == {"sweep_late"}
    assert rests[3] == 0


async def test_it_ends_with_the_hub(demo, connect, sweeping):
    client = await connect(demo.amira)
    [hub] = hub_module._hubs.values()
    tasks = set(hub._tasks)
    await client.close()

    assert all(task.done() for task in tasks)
