"""The delivery: nobody waits for anybody, and who takes nothing has to go."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from math import inf
from time import time

import pytest
from asgiref.sync import sync_to_async
from clients import until

from livegate.gateway import delivery, frames
from livegate.gateway import hub as hub_module
from livegate.gateway.decisions import Made, View
from livegate.gateway.delivery import Delivery
from livegate.gateway.entries import CHANGE
from livegate.gateway.hub import leave
from livegate.gateway.messages import parse
from livegate.gateway.metrics import counts
from livegate.gateway.subscriptions import Subscription

TASKS = 6  # which hear, evaluate, examine, sweep, record and attend to roll calls


@pytest.mark.parametrize("stalled", [[0], [3], [0, 1], [0, 3], [1, 2, 3]])
async def test_a_send_that_never_ends_delays_no_other_and_costs_nothing_afterwards(world, stalled):
    readers = await world.watch(5)
    slow = [readers[number] for number in stalled]
    quick = [reader for reader in readers if reader not in slow]
    for reader in slow:
        reader.reading.clear()

    await world.change()
    await world.see(quick)
    await world.settled()
    tasks = world.tasks
    for _ in range(5):
        await world.change()
        await world.see(quick)
        await world.settled()

    assert world.tasks == tasks
    assert [reader.sent for reader in slow] == [[]] * len(slow)
    assert {reader.socket.delivery for reader in slow} <= tasks
    assert len({reader.socket.delivery for reader in slow}) == len(slow)
    assert {reader.socket.delivery for reader in quick} == {None}
    assert [len(reader.runners) for reader in slow] == [1] * len(slow)

    for reader in slow:
        reader.reading.set()
    await world.see(slow)
    assert [len(reader.sent) for reader in slow] == [2] * len(slow)  # the one that waited, and the latest


@pytest.mark.parametrize("asks", [False, True])
async def test_a_client_that_takes_nothing_keeps_nothing_that_was_made_for_others(world, asks):
    slow, other = await world.watch(2)
    [subscription] = slow.socket.subscriptions.values()
    slow.reading.clear()
    if asks:
        world.hub.subscribe(slow.socket, subscription.pair, parse('{"model": "board.Card", "id": "7sd8f"}'))
    for _ in range(2):
        await world.change()
        await world.see([other])
        await world.settled()

    local = slow.socket.delivery.get_coro().cr_frame.f_locals
    kept = [local["made"], *(made for _, _, made in slow.socket.parcels)]
    assert {pair for made in kept for pair in made.decisions} <= {subscription.pair}


@pytest.mark.parametrize("stalled", [1, 2])
async def test_a_stalled_socket_can_be_left_and_leaves_no_task(world, stalled):
    readers = await world.watch(3)
    for reader in readers[:stalled]:
        reader.reading.clear()
    await world.change()
    await world.see(readers[stalled:])
    deliveries = [reader.socket.delivery for reader in readers[:stalled]]

    for reader in readers[:stalled]:
        await leave(reader.socket, world.hub)

    await until(lambda: all(delivery.done() for delivery in deliveries))
    assert all(delivery.cancelled() for delivery in deliveries)
    assert len(world.tasks) == TASKS
    await world.change()
    await world.see(readers[stalled:])


async def test_the_last_sockets_may_all_be_stalled_and_leave_no_task(world):
    before = asyncio.all_tasks()
    readers = await world.watch(3)
    for reader in readers:
        reader.reading.clear()
    await world.change()
    await until(lambda: all(reader.runners for reader in readers))

    for reader in readers:
        await leave(reader.socket, world.hub)

    assert hub_module._hubs == {}
    assert asyncio.all_tasks() == before


async def test_a_socket_that_is_left_before_its_turn_is_sent_nothing(world):
    readers = await world.watch(3)

    async def leave_the_last(message):
        world.hub.abandon(readers[2].socket)

    readers[0].socket.send = leave_the_last
    await world.change()
    await world.see(readers[1:2])
    await world.settled()

    assert readers[2].sent == []
    assert readers[2].socket.delivery is None


async def test_three_hundred_are_sent_the_same_frame_one_after_the_other_in_one_task(world):
    readers = await world.watch(300)

    await world.change()
    await world.see(readers)
    await world.settled()

    assert len({runner for reader in readers for runner in reader.runners}) == 1
    assert [len(reader.sent) for reader in readers] == [1] * 300
    assert len({id(text) for reader in readers for text in reader.sent}) == 1  # written once
    assert {reader.socket.delivery for reader in readers} == {None}


async def test_everything_else_has_its_turn_between_so_many_sends(world, monkeypatch):
    monkeypatch.setattr(delivery, "SENDS_IN_A_ROW", 10)
    readers = await world.watch(35)
    loop, turns = asyncio.get_running_loop(), []

    def turn():
        turns.append(sum(len(reader.sent) for reader in readers))
        if turns[-1] < 35:
            loop.call_soon(turn)

    turn()
    await world.change()
    await world.see(readers)

    sent_in_a_turn = [later - earlier for earlier, later in pairwise(turns)]
    assert max(sent_in_a_turn) == 10
    assert len({runner for reader in readers for runner in reader.runners}) == 1


# Of uvicorn's, for a connection that it closes because no ping was answered, and to which it still has to write.
CLOSING = RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")


@pytest.mark.parametrize("error", [OSError(), CLOSING, TypeError(), RuntimeError(), asyncio.CancelledError()])
@pytest.mark.parametrize("close_error", [None, OSError(), asyncio.CancelledError()])
async def test_a_send_that_fails_or_is_cancelled_closes_its_socket_and_no_other_notices(
    world, error, close_error, caplog
):
    readers = await world.watch(5)
    readers[2].error, readers[2].close_error = error, close_error
    others = [reader for reader in readers if reader is not readers[2]]

    for _ in range(3):
        await world.change()
        await world.see(others)
        await world.settled()

    assert readers[2].closed == [1011]
    assert readers[2].socket not in world.hub.sockets
    assert readers[2].socket.delivery is None
    assert len(world.tasks) == TASKS
    is_gone = error is CLOSING or isinstance(error, OSError)
    assert [record.event for record in caplog.records] == ([] if is_gone else ["delivery_failed"])


@pytest.mark.parametrize("close_error", [None, OSError])
async def test_a_close_that_never_ends_delays_no_other_and_can_be_left(world, close_error):
    readers = await world.watch(3)
    readers[0].error = OSError()
    readers[0].reading.clear()

    async def close(code):
        readers[0].closed.append(code)
        try:
            await readers[0].reading.wait()
        finally:
            if close_error:
                raise close_error

    readers[0].socket.close = close
    for _ in range(2):
        await world.change()
        await world.see(readers[1:])
    delivery = readers[0].socket.delivery

    await leave(readers[0].socket, world.hub)

    await until(delivery.done)
    await world.settled()
    assert len(world.tasks) == TASKS


async def test_who_is_given_up_as_soon_as_it_begins_to_wait_is_not_waited_for(world):
    gone, other = await world.watch(2)

    async def send(message):
        gone.runners.append(asyncio.current_task())
        world.hub.abandon(gone.socket)  # as another part of the hub may, before anything else has its turn
        await asyncio.Event().wait()

    gone.socket.send = send
    await world.change()
    await world.see([other])
    await until(gone.runners[0].done)

    assert gone.socket.patience is None
    assert gone.socket not in world.hub.sockets


async def test_while_one_batch_waits_to_be_sent_the_next_is_evaluated_and_no_more(world, monkeypatch):
    relieved = []
    monkeypatch.setattr(Delivery, "_be_patient", lambda self, runner: relieved.append(runner))  # as if it took a second
    readers = await world.watch(4)
    readers[0].reading.clear()
    world.evaluations.clear()

    def mark(reader):
        [subscription] = reader.socket.subscriptions.values()
        world.hub._backlog.mark([subscription], CHANGE)

    world.number = 1
    mark(readers[0])
    mark(readers[1])
    await until(lambda: readers[0].runners)
    mark(readers[2])
    await until(lambda: len(world.evaluations) == 2)
    mark(readers[3])
    for _ in range(100):
        await asyncio.sleep(0)

    assert world.evaluations == [2, 1]
    assert world.seen(readers) == [""] * 4
    readers[0].reading.set()
    await world.see(readers)
    assert world.evaluations == [2, 1, 1]


# Clients that take nothing


@pytest.fixture
def impatient(settings):
    """A client that takes nothing is closed at once, nearly."""
    settings.LIVEGATE = {**settings.LIVEGATE, "SLOW_CLIENT_TIMEOUT": 0.01}


async def test_who_takes_nothing_is_closed_when_it_reads_again_and_no_other_notices(world, impatient):
    slow, quick = await world.watch(2)
    before = counts()["sockets_too_slow"]
    slow.reading.clear()

    await world.change()
    await world.see([quick])
    await until(lambda: slow.closed)
    await world.change()
    await world.see([quick])

    assert slow.closed == [4408]
    assert slow.socket not in world.hub.sockets
    assert quick.closed == []
    assert counts()["sockets_too_slow"] == before + 1
    await world.settled()
    assert len(world.tasks) == TASKS


async def test_who_takes_something_now_and_then_stays(world, settings, monkeypatch):
    settings.LIVEGATE = {**settings.LIVEGATE, "SLOW_CLIENT_TIMEOUT": 1_000}
    [slow] = await world.watch(1)
    slow.reading.clear()
    texts = ["one", "two", "three"]
    monkeypatch.setattr(Delivery, "_only_frame", lambda *given: None)
    monkeypatch.setattr(Subscription, "settle", lambda subscription, decision: texts)

    await world.change()
    await until(lambda: slow.socket.patience is not None)
    first = slow.socket.patience
    slow.reading.set()
    await until(lambda: slow.sent == texts)
    await world.settled()

    assert first.cancelled()
    assert slow.socket.patience is None
    assert slow.closed == []


async def test_who_is_being_sent_a_view_when_all_goes_deaf_is_told_afterwards(world):
    """All was well when that was begun, and who is being sent to is told nothing meanwhile."""
    slow, other = await world.watch(2)
    slow.reading.clear()
    await world.change()
    await world.see([other])
    await until(lambda: slow.socket.delivery is not None)

    world.hub._go_deaf()
    await until(lambda: other.sent[-1:] == [frames.delayed()])
    assert slow.sent == []
    slow.reading.set()

    await until(lambda: slow.sent[1:] == [frames.delayed()])
    assert slow.socket.is_behind


async def test_an_answer_that_is_not_taken_closes_its_socket_too(demo, connect, impatient):
    client, other = await connect(demo.amira), await connect(demo.ben)
    await other.subscribe(demo.card)
    client.reading.clear()
    await client.send({"action": "ping"})
    [hub] = hub_module._hubs.values()
    await until(lambda: len(hub.sockets) == 1)
    client.reading.set()

    assert await client.take() == {"type": "websocket.close", "code": 4408}
    await sync_to_async(demo.card.save)()
    assert (await other.ask({"action": "ping"}))["type"] == "PONG"


# What is on record


async def test_when_it_was_decided_is_known_of_what_is_not_on_record(world):
    [reader] = await world.watch(1)
    [subscription] = reader.socket.subscriptions.values()
    subscription.basis = "by which it was on record before"  # until its publication no longer was
    before = time()

    await world.change()
    await world.see([reader])

    assert before <= subscription.verified <= time()
    assert subscription.basis == ""


async def test_what_is_strict_and_not_on_record_is_not_shown_but_made_anew(world):
    [reader] = await world.watch(1)
    [subscription] = reader.socket.subscriptions.values()
    subscription.level, subscription.basis = "strict", "anyone: yes"
    view = View(b'{"n":0}', "not on record")
    made = Made({subscription.pair: view}, expires=inf, is_on_record=True)
    world.evaluations.clear()

    reader.socket.busy += 1
    world.hub._delivery.hand_out([(reader.socket, (subscription,), made)])
    await until(lambda: world.evaluations)
    await world.settled()

    assert [frame for frame in reader.sent if "not on record" in frame] == []
    subscription.level, subscription.basis = "strict", "anyone: yes"
    subscription.receipt = view, 1
    reader.socket.busy += 1
    world.hub._delivery.hand_out([(reader.socket, (subscription,), made)])
    await world.settled()
    assert ["not on record" in frame for frame in reader.sent] == [True]
    assert subscription.receipt is None


# News of the server


async def test_what_is_made_while_news_are_being_told_comes_after_them_and_delays_nobody(world):
    slow, quick = await world.watch(2)
    slow.reading.clear()
    world.hub._go_deaf()
    await until(lambda: slow.socket.delivery is not None and quick.sent)

    await world.change()
    await world.see([slow, quick][1:])
    await until(lambda: slow.socket.parcels)
    assert slow.sent == []
    slow.reading.set()
    await world.see([slow])

    assert ["DELAYED" in slow.sent[0], len(slow.sent)] == [True, 2]
    assert slow.socket.parcels == ()


async def test_all_that_is_made_while_news_are_being_told_comes_in_its_order(world):
    [slow] = await world.watch(1)
    slow.reading.clear()
    world.hub._go_deaf()
    await until(lambda: slow.socket.delivery is not None)
    [subscription] = slow.socket.subscriptions.values()

    for etag in ("1", "2", "3"):
        slow.socket.busy += 1
        made = Made({subscription.pair: View(b"{}", etag)}, expires=inf)
        world.hub._delivery.hand_out([(slow.socket, (subscription,), made)])
        await until(lambda: not world.hub._delivery.due)
    slow.reading.set()
    await until(lambda: not slow.socket.busy)

    assert [json.loads(frame).get("meta", {}).get("etag") for frame in slow.sent] == [None, "1", "2", "3"]


async def test_what_waited_behind_news_for_too_long_is_made_anew(world, monkeypatch):
    [slow] = await world.watch(1)
    slow.reading.clear()
    world.hub._go_deaf()
    await until(lambda: slow.socket.delivery is not None)
    monkeypatch.setattr(delivery, "VIEW_LIFETIME", -1.0)
    await world.change()
    await until(lambda: slow.socket.parcels)
    monkeypatch.setattr(delivery, "VIEW_LIFETIME", 1_000.0)
    world.evaluations.clear()
    world.number += 1  # as if a right had been taken of which nobody heard

    slow.reading.set()
    await world.see([slow])

    assert world.evaluations == [1]
    assert len(slow.sent) == 2  # DELAYED, and what is true now
