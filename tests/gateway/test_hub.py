"""The hub: hears, marks, has evaluated, hands out; nobody waits for anybody, and nothing it promised is lost."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from contextvars import ContextVar
from math import inf
from time import time

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from channels.layers import InMemoryChannelLayer, get_channel_layer
from clients import PATIENCE, message_of, until
from django.contrib.auth.models import Group
from django.db import OperationalError, transaction
from guardian.shortcuts import assign_perm, remove_perm
from lab.models import Page
from rest_framework import serializers

from livegate.gateway import courier as courier_module
from livegate.gateway import delivery, evaluator, listener
from livegate.gateway import hub as hub_module
from livegate.gateway.backlog import Backlog
from livegate.gateway.decisions import Made, View
from livegate.gateway.entries import CHANGE, RIGHTS, SWEEP
from livegate.gateway.evaluation import asked_by, evaluate
from livegate.gateway.evaluator import Evaluator
from livegate.gateway.metrics import counts
from livegate.gateway.notices import Notice, group_name
from livegate.gateway.notifications import anotify, notify
from livegate.permissions import anyone
from livegate.permissions.viewers import Viewer


class Gate:
    """Notes what is evaluated; an evaluation that begins while the gate is shut waits in it."""

    def __init__(self):
        self.batches = []
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.errors = []
        self.unreadable = {}  # how many times more, by label

    def evaluate(self, pairs):
        self.batches.append(set(pairs))
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if self.errors:
            raise self.errors.pop()
        decisions = evaluate(pairs)
        for label in {pair.publication.label for pair in pairs}:
            if self.unreadable.get(label, 0):
                self.unreadable[label] -= 1
                decisions = {pair: view for pair, view in decisions.items() if pair.publication.label != label}
        return decisions


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setattr(evaluator, "evaluate", gate.evaluate)
    return gate


@pytest.fixture
def quick(monkeypatch):
    """Failures are tried again at once."""
    for module in (evaluator, listener, courier_module):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
        monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(listener, "ECHO_INTERVAL", 0.01)


DELAYED, CURRENT = {"type": "DELAYED"}, {"type": "CURRENT"}


async def rename(card, title):
    card.title = title
    await sync_to_async(card.save)()


def the_hub():
    return hub_module._hubs[asyncio.get_running_loop()]


async def test_it_lives_from_the_first_socket_to_the_last_and_leaves_no_task(demo, connect):
    before = asyncio.all_tasks()
    first, second = await connect(demo.amira), await connect(demo.ben)
    hub = the_hub()

    await first.close()
    assert the_hub() is hub
    await second.close()

    assert hub_module._hubs == {}
    assert asyncio.all_tasks() == before
    third = await connect(demo.amira)
    assert (await third.subscribe(demo.card))["type"] == "SUBSCRIBED"
    assert the_hub() is not hub


@pytest.mark.parametrize("level", ["off", "showings", "strict"])
async def test_of_who_has_gone_nothing_is_kept(demo, connect, sink, on_record, level):
    on_record(level)
    one, other = await connect(demo.amira), await connect(demo.ben)
    for client in (one, other):
        await client.subscribe(demo.card)

    def kept():
        gc.collect()
        viewers = [viewer for viewer in gc.get_objects() if isinstance(viewer, Viewer)]
        return [user for user in (demo.amira, demo.ben) if any(viewer.user is user for viewer in viewers)]

    assert kept() == [demo.amira, demo.ben]
    await other.close()
    await until(lambda: len(the_hub().sockets) == 1)
    assert not asked_by.cache_info().currsize
    await until(lambda: kept() == [demo.amira])  # also while the hub waits for something to do
    await one.close()
    await until(lambda: not hub_module._hubs)
    assert kept() == []


async def test_a_burst_of_saves_costs_few_evaluations_and_ends_with_the_truth(demo, connect, gate):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    gate.batches.clear()
    gate.entered.clear()
    gate.open.clear()

    await rename(demo.card, "0")
    await asyncio.to_thread(gate.entered.wait, PATIENCE)
    for number in range(1, 100):
        await rename(demo.card, str(number))
    gate.open.set()

    titles = []
    while "99" not in titles:
        titles.append((await client.receive())["payload"]["title"])
    assert len(titles) <= 2
    assert len(gate.batches) <= 3
    await client.nothing()


async def test_a_client_that_reads_nothing_delays_nobody_and_gets_the_latest_when_it_reads(demo, connect):
    slow, quick = await connect(demo.ben), await connect(demo.cleo)
    for client in (slow, quick):
        await client.subscribe(demo.card)
    slow.reading.clear()

    for number in range(10):
        await rename(demo.card, str(number))
        assert (await quick.receive())["payload"]["title"] == str(number)
    [waiting] = [socket for socket in the_hub().sockets if socket.busy]
    assert len(waiting.dirty) == 1
    slow.reading.set()

    titles = [(await slow.receive())["payload"]["title"], (await slow.receive())["payload"]["title"]]
    assert titles == ["0", "9"]
    await slow.nothing()


async def test_views_that_waited_too_long_for_a_slow_client_are_made_anew(demo, connect, gate, monkeypatch):
    pages = await sync_to_async(Page.objects.bulk_create)([Page(text="old") for _ in range(3)])
    client = await connect(demo.admin)
    for page in pages:
        await client.subscribe(page)
    monkeypatch.setattr(delivery, "VIEW_LIFETIME", -1.0)
    gate.batches.clear()

    await Page.objects.aupdate(text="new")
    await sync_to_async(notify)(*pages)

    frames = [await client.receive() for _ in pages]
    assert {frame["meta"]["id"] for frame in frames} == {page.hashid for page in pages}
    assert {frame["payload"]["text"] for frame in frames} == {"new"}
    sizes = [len(batch) for batch in gate.batches]
    assert sizes[:3] == [3, 2, 1]
    await client.nothing()


async def test_what_is_given_up_while_it_waits_behind_a_slow_frame_is_not_made_anew(demo, connect, gate, monkeypatch):
    pages = await sync_to_async(Page.objects.bulk_create)([Page(text="old") for _ in range(2)])
    client = await connect(demo.admin)
    for page in pages:
        await client.subscribe(page)
    [socket] = the_hub().sockets
    monkeypatch.setattr(delivery, "VIEW_LIFETIME", -1.0)
    await Page.objects.aupdate(text="new")
    earlier = socket.delivery
    client.reading.clear()
    await sync_to_async(notify)(*pages)
    await until(lambda: socket.delivery is not earlier and len(socket.dirty) == 0)

    await client.send({"action": "unsubscribe", "model": "lab.Page", "id": pages[1].hashid})
    await until(lambda: len(socket.subscriptions) == 1)
    gate.batches.clear()
    client.reading.set()

    assert (await client.receive())["meta"]["id"] == pages[0].hashid
    await client.nothing()
    assert {pair.publication.label for batch in gate.batches for pair in batch} == {"lab.Unwatched"}


async def test_what_is_unsubscribed_while_it_is_evaluated_is_not_sent(demo, connect, gate):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    gate.entered.clear()
    gate.open.clear()

    await rename(demo.card, "Unseen")
    await asyncio.to_thread(gate.entered.wait, PATIENCE)
    await client.send({"action": "unsubscribe", "model": "board.Card", "id": demo.card.hashid})
    await client.ask({"action": "ping"})
    gate.open.set()

    await client.nothing()


async def test_more_than_fits_a_batch_is_evaluated_in_several(demo, connect, gate, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "BATCH_SIZE": 2}
    pages = await sync_to_async(Page.objects.bulk_create)([Page() for _ in range(5)])
    first, second = await connect(demo.admin), await connect(demo.admin)
    gate.open.clear()

    for page in pages:
        await first.send({"model": "lab.Page", "id": page.hashid, "request_id": page.pk})
        await second.send({"model": "lab.Page", "id": page.hashid, "request_id": page.pk})
    await until(lambda: [len(socket.subscriptions) for socket in the_hub().sockets] == [5, 5])
    gate.open.set()
    for client in (first, second):
        answered = {(await client.receive())["meta"]["request_id"] for _ in pages}
        assert answered == {page.pk for page in pages}

    assert max(len(batch) for batch in gate.batches) <= 2


class LateLayer(InMemoryChannelLayer):
    """As Redis may: group_add returns before the group is joined."""

    def __init__(self):
        super().__init__()
        self.joins = []

    async def group_add(self, group, channel):
        self.joins.append((group, channel))

    async def join(self):
        for group, channel in self.joins:
            await super().group_add(group, channel)


async def test_a_subscription_is_acknowledged_when_the_group_is_joined_and_not_before(demo, connect, layer, quick):
    late = layer(LateLayer())
    client = await connect(demo.amira)
    await client.send({"model": "board.Card", "id": demo.card.hashid, "request_id": 1})
    assert (await client.ask({"action": "ping"}))["type"] == "PONG"
    await until(lambda: late.joins)
    assert client._out.empty()

    await late.join()

    assert (await client.receive())["type"] == "SUBSCRIBED"
    await rename(demo.card, "Heard")
    assert (await client.receive())["payload"]["title"] == "Heard"


class BrokenLayer(InMemoryChannelLayer):
    """Fails at what it is told to, so many times."""

    def __init__(self, **times):
        super().__init__()
        self.times = times

    async def new_channel(self, *args):
        self.fail("new_channel")
        return await super().new_channel(*args)

    async def receive(self, channel):
        message = await super().receive(channel)
        self.fail("receive")
        return message

    def fail(self, what):
        if self.times.get(what, 0) > 0:
            self.times[what] -= 1
            raise ConnectionError


async def test_a_channel_layer_that_is_away_at_the_start_is_waited_for(demo, connect, layer, quick, caplog):
    broken = layer(BrokenLayer(new_channel=inf))
    client = await connect(demo.amira)

    assert await client.subscribe(demo.card) == DELAYED
    await until(lambda: len(caplog.records) > 2 and any(the_hub().subscriptions()))
    broken.times.clear()
    assert [(await client.receive())["type"] for _ in range(2)] == ["SUBSCRIBED", "CURRENT"]
    assert {record.event for record in caplog.records} == {"hub_failed"}


async def test_without_a_channel_layer_the_hub_says_so_and_goes_on_trying(demo, connect, layer, quick, caplog):
    layer(None)
    client = await connect(demo.amira)
    await until(lambda: len(caplog.records) > 1)
    assert "LookupError" in caplog.records[0].message
    assert await client.receive() == DELAYED

    layer(InMemoryChannelLayer())
    assert await client.receive() == CURRENT
    assert (await client.subscribe(demo.card))["type"] == "SUBSCRIBED"


async def test_what_was_missed_while_the_layer_failed_is_made_up_for(demo, connect, layer, quick, caplog):
    broken = layer(BrokenLayer())
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await Card.objects.aupdate(title="Missed")

    broken.times["receive"] = 1
    await broken.group_send(group_name(0), message_of())

    assert await client.receive() == DELAYED
    assert (await client.receive())["payload"]["title"] == "Missed"
    assert await client.receive() == CURRENT
    assert [record.event for record in caplog.records] == ["hub_failed"]
    await rename(demo.card, "Heard again")
    assert (await client.receive())["payload"]["title"] == "Heard again"


async def test_a_message_that_is_none_of_livegates_is_logged_and_the_next_is_heard(demo, connect, layer, caplog):
    own = layer(InMemoryChannelLayer())
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await own.group_send(group_name(0), {"type": "livegate.notices", "notices": [["salary", 84000]]})
    await rename(demo.card, "Heard")

    assert (await client.receive())["payload"]["title"] == "Heard"
    assert [record.event for record in caplog.records] == ["notice_malformed"]
    assert "84000" not in caplog.text


async def test_while_the_database_is_away_nobody_is_told_that_anything_is_gone(demo, connect, gate, quick, caplog):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    gate.errors = [OperationalError(), OperationalError()]

    await rename(demo.card, "Later")

    assert await client.receive() == DELAYED
    frame = await client.receive()
    assert (frame["type"], frame["payload"]["title"]) == ("UPDATE_CARD", "Later")
    assert await client.receive() == CURRENT
    assert [record.event for record in caplog.records] == ["evaluation_failed"] * 2


@pytest.mark.parametrize(("error", "logged"), [(OSError, []), (TypeError, ["delivery_failed"])])
async def test_a_connection_that_can_not_be_sent_to_is_closed_and_others_go_on(demo, connect, error, logged, caplog):
    broken, whole = await connect(demo.ben), await connect(demo.cleo)
    for client in (broken, whole):
        await client.subscribe(demo.card)
    [socket] = [socket for socket in the_hub().sockets if socket.viewer.user == demo.ben]

    async def fail(text):
        raise error

    socket.send = fail
    await rename(demo.card, "Heard")

    assert (await whole.receive())["payload"]["title"] == "Heard"
    assert await broken.take() == {"type": "websocket.close", "code": 1011}
    assert socket not in the_hub().sockets
    assert socket.subscriptions == {}
    assert [record.event for record in caplog.records] == logged
    await anotify(demo.card)
    await whole.nothing()


async def test_what_was_set_around_the_first_socket_shapes_no_other_viewers_view(demo, connect, republish):
    class Contextual(serializers.Serializer):
        tenant = serializers.SerializerMethodField()

        def get_tenant(self, card):
            return tenant.get()

    republish(Card, Contextual, to=anyone)
    token = tenant.set("Northwind")
    await connect(demo.amira)
    tenant.reset(token)
    dev = await connect(demo.dev)
    await dev.subscribe(demo.card, etag=None)

    assert (await dev.receive())["payload"] == {"tenant": "nobody's"}


tenant = ContextVar("tenant", default="nobody's")


async def test_a_user_whose_instance_was_deleted_silences_nobody_else(demo, connect):
    odd, whole = await connect(demo.ben), await connect(demo.cleo)
    for client in (odd, whole):
        await client.subscribe(demo.card)

    await sync_to_async(demo.ben.delete)()  # the very instance in the scope: it has no key any more
    await rename(demo.card, "Heard")

    assert (await whole.receive())["payload"]["title"] == "Heard"
    while (message := await odd.take())["type"] == "websocket.send":
        assert "DELETE_CARD" in message["text"]
    assert message == {"type": "websocket.close", "code": 4401}


async def test_a_publication_that_can_not_be_read_is_tried_again_and_keeps_nobody_waiting(
    demo, connect, gate, quick, caplog
):
    page = await sync_to_async(Page.objects.create)()
    client = await connect(demo.admin)
    gate.unreadable = {"lab.Page": 2}
    gate.open.clear()

    await client.send({"model": "lab.Page", "id": page.hashid, "request_id": "page"})
    await client.send({"model": "board.Card", "id": demo.card.hashid, "request_id": "card"})
    await until(lambda: len(list(the_hub().subscriptions())) == 2)  # both are asked for before the first try has failed
    gate.open.set()
    answers = [await client.receive() for _ in range(4)]

    told = [one["meta"]["request_id"] if "meta" in one else one["type"] for one in answers]
    assert sorted(told[:2]) == ["DELAYED", "card"]
    assert told[2:] == ["page", "CURRENT"]
    assert gate.unreadable == {"lab.Page": 0}
    await client.nothing()


async def test_what_can_not_be_evaluated_alone_keeps_nobody_else_waiting(demo, connect, gate, monkeypatch, caplog):
    monkeypatch.setattr(evaluator, "FIRST_PAUSE", 1_000)
    monkeypatch.setattr(evaluator, "LONGEST_PAUSE", 1_000)
    page = await sync_to_async(Page.objects.create)()
    odd, whole = await connect(demo.admin), await connect(demo.cleo)
    await whole.subscribe(demo.card)
    gate.errors = [TypeError()]

    await odd.send({"model": "lab.Page", "id": page.hashid, "request_id": 1})
    await until(lambda: caplog.records)
    await rename(demo.card, "Heard")

    assert (await whole.receive())["payload"]["title"] == "Heard"


async def test_what_is_given_up_before_it_is_tried_again_is_not_tried_again(demo, connect, gate, monkeypatch):
    monkeypatch.setattr(evaluator, "FIRST_PAUSE", 1_000)  # it is tried again when the test says so
    [page] = await sync_to_async(Page.objects.bulk_create)([Page()])
    client = await connect(demo.admin)
    gate.unreadable = {"lab.Page": 1}

    await client.send({"model": "lab.Page", "id": page.hashid})
    await until(lambda: gate.unreadable == {"lab.Page": 0})
    [waiting] = [subscription for socket in the_hub().sockets for subscription in socket.subscriptions.values()]
    assert await client.receive() == DELAYED
    await client.send({"action": "unsubscribe", "model": "lab.Page", "id": page.hashid})
    assert await client.receive() == CURRENT
    gate.batches.clear()
    the_hub()._backlog.mark([waiting], CHANGE)

    await client.nothing()
    assert {pair.publication.label for batch in gate.batches for pair in batch} == {"lab.Unwatched"}


async def test_nothing_is_evaluated_before_the_hub_hears(demo, connect, layer, quick, gate):
    late = layer(LateLayer())
    client = await connect(demo.amira)
    await client.send({"model": "board.Card", "id": demo.card.hashid, "request_id": 1})
    await client.ask({"action": "ping"})
    await until(lambda: late.joins)
    assert gate.batches == []

    await late.join()
    assert (await client.receive())["type"] == "SUBSCRIBED"


async def test_while_the_hub_does_not_hear_nothing_is_promised_and_afterwards_it_is(demo, connect, layer, quick, gate):
    broken = layer(BrokenLayer())
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    broken.times = {"receive": 1, "new_channel": 1_000_000}
    await broken.group_send(group_name(0), message_of())
    assert await client.receive() == DELAYED
    gate.batches.clear()

    await client.send({"model": "board.Card", "id": demo.card.hashid, "request_id": "meanwhile"})
    before = broken.times["new_channel"]
    await until(lambda: broken.times["new_channel"] < before - 3)
    assert (await client.ask({"action": "ping"}))["type"] == "PONG"
    assert gate.batches == []

    broken.times["new_channel"] = 0
    assert (await client.receive())["meta"] == {"request_id": "meanwhile"}
    assert await client.receive() == CURRENT


async def test_while_the_hub_does_not_hear_what_is_swept_is_shown_all_the_same(demo, connect, layer, quick):
    broken = layer(BrokenLayer())
    client, other = await connect(demo.amira), await connect(demo.ben)
    await client.subscribe(demo.card)
    broken.times = {"receive": 1, "new_channel": 1_000_000}
    await broken.group_send(group_name(0), message_of())
    assert [await one.receive() for one in (client, other)] == [DELAYED] * 2
    await other.send({"model": "board.Card", "id": demo.card.hashid, "request_id": "meanwhile"})
    assert (await other.ask({"action": "ping"}))["type"] == "PONG"

    await Card.objects.aupdate(title="Swept")
    the_hub().look_again(the_hub().subscriptions(), SWEEP)
    assert (await client.receive())["payload"]["title"] == "Swept"
    assert other._out.empty()

    broken.times["new_channel"] = 0
    assert (await other.receive())["meta"] == {"request_id": "meanwhile"}
    assert [await one.receive() for one in (client, other)] == [CURRENT] * 2


async def test_while_the_hub_does_not_hear_everybody_is_told_also_who_watches_nothing_and_who_comes_then(
    demo, connect, layer, quick
):
    broken = layer(BrokenLayer())
    idle, watching = await connect(demo.amira), await connect(demo.ben)
    await watching.subscribe(demo.card)
    broken.times = {"receive": 1, "new_channel": 1_000_000}
    await broken.group_send(group_name(0), message_of())

    assert [await one.receive() for one in (idle, watching)] == [DELAYED] * 2
    late = await connect(demo.cleo)
    assert await late.receive() == DELAYED
    broken.times["new_channel"] = 0
    assert [await one.receive() for one in (idle, watching, late)] == [CURRENT] * 3
    for one in (idle, watching, late):
        await one.nothing()


async def test_who_is_told_that_all_is_current_holds_what_changed_meanwhile(demo, connect, layer, quick, gate):
    broken = layer(BrokenLayer())
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    gate.unreadable = {"board.Card": 2}
    broken.times = {"receive": 1, "new_channel": 2}
    await Card.objects.aupdate(title="Missed")
    await broken.group_send(group_name(0), message_of())

    assert await client.receive() == DELAYED
    assert (await client.receive())["payload"]["title"] == "Missed"
    assert await client.receive() == CURRENT


@pytest.mark.parametrize(("owner", "part"), [(Backlog, "take"), (Evaluator, "_adapt")])
async def test_a_part_of_the_hub_that_fails_begins_again_and_nothing_is_lost(
    demo, connect, monkeypatch, caplog, owner, part
):
    monkeypatch.setattr(hub_module, "PAUSE", 0.001)
    client, other = await connect(demo.amira), await connect(demo.ben)
    for one in (client, other):
        await one.subscribe(demo.card)
    errors, whole = [RuntimeError("the secret")], getattr(owner, part)

    def fails_once(*given, **told):
        if errors:
            raise errors.pop()
        return whole(*given, **told)

    monkeypatch.setattr(owner, part, fails_once)
    await rename(demo.card, "Heard")

    assert [(await one.receive())["payload"]["title"] for one in (client, other)] == ["Heard"] * 2
    assert [record.event for record in caplog.records] == ["hub_failed"]
    assert "secret" not in caplog.text
    for one in (client, other):
        await one.nothing()


async def test_a_hub_that_stops_leaves_no_group_and_no_channel_behind(demo, connect, layer):
    own = layer(InMemoryChannelLayer())
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    assert own.groups

    await client.close()

    assert (own.groups, own.channels) == ({}, {})


class HalfJoined(InMemoryChannelLayer):
    """As channels_redis' pub/sub layer while Redis is away: the channel is in the group when the SUBSCRIBE fails."""

    failures = 3

    async def group_add(self, group, channel):
        await super().group_add(group, channel)
        self.channels.setdefault(channel, asyncio.Queue())
        if self.failures:
            self.failures -= 1
            raise ConnectionError


async def test_a_group_that_could_not_be_joined_keeps_no_channel_that_nobody_reads(demo, connect, layer, quick):
    own = layer(HalfJoined())
    client = await connect(demo.amira)

    assert await client.receive() == DELAYED
    await client.subscribe(demo.card)

    assert own.failures == 0
    assert [len(channels) for channels in own.groups.values()] == [1]
    assert len(own.channels) <= 1


async def test_a_socket_that_ends_while_it_is_sent_to_leaves_no_task(demo, connect):
    stalled, reading = await connect(demo.ben), await connect(demo.cleo)
    for client in (stalled, reading):
        await client.subscribe(demo.card)
    stalled.reading.clear()
    await rename(demo.card, "Heard")
    await reading.receive()
    [delivery] = [socket.delivery for socket in the_hub().sockets if socket.busy]

    stalled.task.cancel()  # the server gives up on it
    await asyncio.wait([stalled.task])

    await until(delivery.done)
    assert delivery.cancelled()


async def test_a_socket_that_closes_while_it_is_evaluated_is_let_go(demo, connect, gate):
    leaving, staying = await connect(demo.ben), await connect(demo.cleo)
    for client in (leaving, staying):
        await client.subscribe(demo.card)
    gate.entered.clear()
    gate.open.clear()

    await rename(demo.card, "Heard")
    await asyncio.to_thread(gate.entered.wait, PATIENCE)
    await leaving.close()
    gate.open.set()

    assert (await staying.receive())["payload"]["title"] == "Heard"


async def test_a_socket_that_closes_while_the_database_is_away_is_not_evaluated_again(demo, connect, gate, quick):
    leaving, staying = await connect(demo.ben), await connect(demo.cleo)
    for client in (leaving, staying):
        await client.subscribe(demo.card)
    gate.errors = [OperationalError()]
    gate.entered.clear()
    gate.open.clear()

    await rename(demo.card, "Heard")
    await asyncio.to_thread(gate.entered.wait, PATIENCE)
    await leaving.close()
    gate.batches.clear()
    gate.open.set()

    assert await staying.receive() == DELAYED
    assert (await staying.receive())["payload"]["title"] == "Heard"
    assert {pair.viewer.user.username for batch in gate.batches for pair in batch} == {"cleo"}


async def test_notices_are_heard_in_all_groups(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 5}
    pages = await sync_to_async(Page.objects.bulk_create)([Page() for _ in range(10)])
    client = await connect(demo.admin)
    for page in pages:
        await client.subscribe(page)

    await Page.objects.aupdate(text="told")
    await sync_to_async(notify)(*pages)

    assert {(await client.receive())["meta"]["id"] for _ in pages} == {page.hashid for page in pages}


# Changes that follow one another


@pytest.fixture
def seldom(settings):
    """A notice so soon after another waits for as long as no test does."""
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_INTERVAL": 1_000}


async def test_the_first_change_is_shown_at_once_and_those_that_follow_are_shown_together(world, seldom):
    readers = await world.watch(2)
    await world.change()
    await world.see(readers)
    await world.settled()
    [watch] = world.hub._registry.watching.values()
    world.evaluations.clear()

    await world.change()
    await until(lambda: watch.pace._timer is not None)
    timer, heard = watch.pace._timer, counts()["notices_heard"]
    await world.change()
    await world.change()
    await get_channel_layer().group_send(group_name(0), message_of(Notice("update", "lab.Page", "nobody's")))
    await until(lambda: counts()["notices_heard"] == heard + 3)

    assert world.evaluations == []
    assert watch.pace._timer is timer
    timer._run()
    timer.cancel()
    await world.see(readers)
    assert world.evaluations == [2]
    assert watch.pace._timer is None


async def test_a_change_of_what_nobody_watches_any_more_is_waited_for_by_nobody(world, seldom):
    first, last = await world.watch(2)
    for _ in range(2):
        await world.change()
    [watch] = world.hub._registry.watching.values()
    await until(lambda: watch.pace._timer is not None)
    timer = watch.pace._timer

    world.hub.unsubscribe(first.socket, ("board.Card", "7sd8f"))
    assert not timer.cancelled()
    world.hub.unsubscribe(last.socket, ("board.Card", "7sd8f"))

    assert timer.cancelled()
    assert world.hub._registry.watching == {}


# Rights that change


async def test_the_same_change_of_rights_again_and_again_is_looked_at_together(world, seldom):
    readers = await world.watch(2)
    notice = Notice("access", "board.Card", "7sd8f")
    world.evaluations.clear()
    for _ in range(3):
        world.hub._hear(notice)
    [pace] = world.hub._paces.values()
    await until(lambda: world.evaluations == [2])
    await world.settled()

    assert pace._timer is not None
    pace._timer._run()
    await until(lambda: world.evaluations == [2, 2])
    await world.settled()  # what is outdated while it is made is made anew in smaller batches
    world.hub._hear(Notice("access"))
    await until(lambda: world.evaluations == [2, 2, 2])
    await world.settled()
    assert [reader.sent for reader in readers] == [[], []]


async def test_of_changes_of_rights_that_are_over_nothing_is_kept(world, monkeypatch):
    monkeypatch.setattr(hub_module, "MOST_PACES", 1)
    await world.watch(1)
    world.hub._most_paces = 1
    for notice in (Notice("access"), Notice("access", "board.Card", "7sd8f"), Notice("access")):
        world.hub._hear(notice)

    assert list(world.hub._paces) == [Notice("access")]


async def test_many_are_examined_some_at_a_time_and_each_is_sent_away_once(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "BATCH_SIZE": 1}
    valid = [True]
    clients = [await connect(demo.cleo, is_valid=lambda: bool(valid)) for _ in range(3)]
    await clients[0].nothing()
    hub = the_hub()
    sockets = list(hub.sockets)
    valid.clear()
    hub.examine(sockets)
    for client in clients:
        assert await client.take() == {"type": "websocket.close", "code": 4401}
    for socket in sockets:
        hub.expel(socket)

    assert all(client._out.empty() for client in clients)


async def test_what_was_made_before_rights_changed_is_made_anew_and_not_sent(world):
    reader, other = await world.watch(2)
    [subscription] = reader.socket.subscriptions.values()
    world.number = 7
    reader.socket.busy = True
    # Told while it was made, and before it was handed out.
    world.hub._backlog.mark([subscription], RIGHTS, is_outdated=True)
    made = Made({subscription.pair: View(b'{"n":6}', "6")}, inf)
    world.hub._delivery.hand_out([(reader.socket, [subscription], made)])
    await world.see([reader])
    await world.settled()

    assert [len(reader.sent), other.sent] == [1, []]


async def test_what_is_known_of_a_subscription_is_that_of_the_last_decision(world):
    [reader] = await world.watch(1)
    [subscription] = reader.socket.subscriptions.values()
    for forget in (lambda: None, lambda: setattr(subscription, "etag", None)):
        forget()
        subscription.verified, subscription.basis = 0.0, "as long as it was on record"
        before = time()
        await world.change()
        await world.see([reader])
        await world.settled()
        assert (before <= subscription.verified <= time(), subscription.basis) == (True, "")
        assert subscription.causes == 0
        assert subscription.made_for == CHANGE


async def test_all_is_not_current_while_a_change_has_not_been_looked_at(world):
    [reader] = await world.watch(1)
    [watch] = world.hub._registry.watching.values()
    reader.socket.is_behind = True
    assert world.hub.has_news(reader.socket)

    world.number = 7
    world.hub._backlog.mark_all(watch.subscriptions, CHANGE)
    assert not world.hub.has_news(reader.socket)

    await until(lambda: len(reader.sent) == 2)
    assert ['"n":7' in reader.sent[0], json.loads(reader.sent[1])] == [True, CURRENT]


async def test_a_later_mark_does_not_make_what_is_outdated_worth_sending(world):
    [reader] = await world.watch(1)
    [subscription] = reader.socket.subscriptions.values()
    reader.socket.busy = True
    world.hub._backlog.mark([subscription], RIGHTS, is_outdated=True)
    world.hub.look_again([subscription], CHANGE)

    assert reader.socket.dirty == {subscription: True}
    world.hub._backlog.put_back(reader.socket, [subscription])
    assert reader.socket.dirty == {subscription: True}
    reader.socket.busy = False


async def ask_and_read_nothing(client, instance):
    """The answer is on its way, and the view that was made is not."""
    client.reading.clear()
    name = {"model": instance._meta.label, "id": instance.hashid}
    await client.send({**name, "action": "subscribe", "request_id": 1, "etag": None})
    [socket] = the_hub().sockets
    await until(lambda: socket.delivery is not None)
    return socket


async def test_what_waited_behind_an_answer_is_not_sent_after_the_revocation_was_heard(demo, connect):
    client = await connect(demo.ben)
    socket = await ask_and_read_nothing(client, demo.card)
    await sync_to_async(demo.ben.groups.clear)()
    await until(lambda: any(socket.dirty.values()))
    client.reading.set()

    assert (await client.receive())["type"] == "SUBSCRIBED"
    assert "salary" not in (await client.receive())["payload"]
    await client.nothing()


async def test_what_waited_behind_an_answer_is_not_sent_to_who_has_given_it_up(demo, connect):
    client = await connect(demo.ben)
    socket = await ask_and_read_nothing(client, demo.card)
    await client.send({"model": "board.Card", "id": demo.card.hashid, "action": "unsubscribe"})
    await until(lambda: not socket.subscriptions)
    client.reading.set()

    assert (await client.receive())["type"] == "SUBSCRIBED"
    await client.nothing()


async def test_what_waited_behind_an_answer_for_too_long_is_made_anew(demo, connect, monkeypatch):
    monkeypatch.setattr(delivery, "VIEW_LIFETIME", -1)
    client = await connect(demo.ben)
    frames = [await client.subscribe(demo.card, etag=None), await client.receive()]

    assert [frame["type"] for frame in frames] == ["SUBSCRIBED", "UPDATE_CARD"]
    await client.nothing()


async def test_who_lost_the_object_meanwhile_is_told_that_it_is_gone(demo, connect):
    page = await sync_to_async(Page.objects.create)()
    await sync_to_async(assign_perm)("lab.view_page", demo.ben, page)
    client = await connect(demo.ben)
    socket = await ask_and_read_nothing(client, page)
    await sync_to_async(remove_perm)("lab.view_page", demo.ben, page)
    await until(lambda: any(socket.dirty.values()))
    client.reading.set()

    assert [(await client.receive())["type"] for _ in range(2)] == ["SUBSCRIBED", "DELETE_PAGE"]


async def test_what_was_made_is_dropped_at_once_also_where_the_same_was_told_just_before(demo, connect, seldom):
    pages = [await sync_to_async(Page.objects.create)(text="old") for _ in range(2)]
    group = await sync_to_async(Group.objects.create)(name="some")
    await sync_to_async(demo.cleo.groups.add)(group)
    await sync_to_async(assign_perm)("lab.view_page", group, Page.objects.all())
    client = await connect(demo.cleo)
    for page in pages:
        await client.subscribe(page)
    [socket] = the_hub().sockets
    await sync_to_async(demo.cleo.save)()  # from here on, to look again because of the user has its pace
    await until(lambda: the_hub()._paces)
    await until(lambda: not socket.busy and not socket.dirty)
    client.reading.clear()

    def save():
        with transaction.atomic():
            for page in pages:
                page.text = "new"
                page.save()

    await sync_to_async(save)()
    await until(lambda: socket.delivery is not None)  # one view is on its way, the other was made
    await sync_to_async(demo.cleo.groups.clear)()
    await until(lambda: any(socket.dirty.values()))
    client.reading.set()

    assert [(await client.receive())["type"] for _ in range(3)] == ["UPDATE_PAGE", "DELETE_PAGE", "DELETE_PAGE"]


async def test_of_what_concerns_nobody_here_nothing_is_kept(demo, connect):
    await connect(demo.amira)
    hub = the_hub()
    for number in range(10):
        hub._hear(Notice("access", "lab.Page", f"of nobody {number}", "somebody"))
        hub._hear(Notice("access", token=f"nobody {number}"))

    assert hub._paces == {}


async def test_log_outs_of_long_ago_are_forgotten(demo, connect, monkeypatch):
    await connect(demo.amira)
    hub = the_hub()
    for token in ("one", "two", "one"):
        hub._log_out(token)
    assert list(hub._logged_out) == ["one", "two"]
    monkeypatch.setattr(hub_module, "LOGGED_OUT_FOR", -1)
    hub._log_out("three")

    assert list(hub._logged_out) == ["three"]


async def test_a_socket_is_closed_also_where_the_hub_stops_before(demo, connect):
    first, second = await connect(demo.cleo), await connect(demo.cleo)
    hub = the_hub()
    await until(lambda: not hub._examiner.doubted)
    second.reading.clear()
    demo.cleo.is_active = False
    await sync_to_async(demo.cleo.save)()
    assert await first.take() == {"type": "websocket.close", "code": 4401}
    await until(lambda: not hub.sockets)
    await first.close()
    second.reading.set()

    assert await second.take() == {"type": "websocket.close", "code": 4401}


async def test_an_examination_that_waits_keeps_nobodys_views_from_being_made(demo, connect):
    answer = threading.Event()
    try:
        client = await connect(demo.amira)
        await client.subscribe(demo.card)
        await connect(demo.cleo, is_valid=lambda: answer.wait(PATIENCE))
        await until(lambda: not the_hub()._examiner.doubted)
        await rename(demo.card, "new")
        assert (await client.receive())["payload"]["title"] == "new"
    finally:
        answer.set()


async def test_rights_that_change_during_every_large_evaluation_keep_nobody_from_being_answered(world, monkeypatch):
    readers = await world.watch(8)

    def disturbed(pairs):
        if len(pairs) > 2:
            heard = threading.Event()
            world.hub._loop.call_soon_threadsafe(lambda: (world.hub._hear(Notice("access")), heard.set()))
            assert heard.wait(PATIENCE)
        return world.evaluate(pairs)

    monkeypatch.setattr(evaluator, "evaluate", disturbed)
    world.evaluations.clear()
    await world.change()
    await world.see(readers)
    assert world.evaluations[:3] == [8, 4, 2]

    monkeypatch.setattr(evaluator, "evaluate", world.evaluate)
    await world.settled()
    await world.change()
    await world.see(readers)
    await world.settled()
    assert world.hub._evaluator._room > 2
