"""The evaluator: what is refused, and what is shown beside it, comes on a beat."""

from __future__ import annotations

import asyncio

import pytest
from board.models import Card
from clients import until

from livegate.gateway import evaluator
from livegate.gateway import hub as hub_module
from livegate.gateway.notifications import anotify


@pytest.fixture
def batches(monkeypatch):
    """The hashids of each batch that was evaluated."""
    evaluate, found = evaluator.evaluate, []

    def noted(pairs):
        found.append([pair.hashid for pair in pairs])
        return evaluate(pairs)

    monkeypatch.setattr(evaluator, "evaluate", noted)
    return found


@pytest.fixture
def held(monkeypatch):
    """No beat comes by itself; calling this is one."""
    monkeypatch.setattr(evaluator, "REFUSAL_BEAT", 1_000)

    async def beat():
        await until(lambda: not the_evaluator().rests)
        [release] = the_evaluator()._releases
        assert 500 < release.when() - asyncio.get_running_loop().time() <= 1_000
        given = release._args
        release.cancel()
        the_evaluator()._releases.clear()
        the_evaluator()._hand_out_now(*given)

    return beat


def the_evaluator():
    [hub] = hub_module._hubs.values()
    return hub._evaluator


def subscribe(instance, request_id):
    return {"model": "board.Card", "id": instance.hashid, "request_id": request_id}


MISSING = Card(pk=999)


async def test_a_refusal_comes_on_the_beat_whether_there_is_something_to_hide_or_not(demo, connect, batches, held):
    await Card.objects.aupdate(public=False)
    client = await connect(demo.dev)

    for number, hashid in enumerate((demo.card.hashid, MISSING.hashid, "?")):
        await client.send({"model": "board.Card", "id": hashid, "request_id": number})
        await until(lambda number=number: len(batches) > number)
        await client.ask({"action": "ping"})  # everything else is answered
        assert client._out.empty()
        await held()
        assert (await client.receive())["payload"]["code"] == "not_found"
    assert [len(batch) for batch in batches] == [1, 1, 1]  # decided once each, and at once


async def test_what_is_decided_after_the_beat_is_refused_on_the_next(demo, connect, monkeypatch):
    monkeypatch.setattr(evaluator, "REFUSAL_BEAT", 0.2)
    client = await connect(demo.dev)
    evaluate, loop = evaluator.evaluate, asyncio.get_running_loop()

    def slow(pairs):
        asked = loop.time()
        while loop.time() < asked + 0.21:
            pass
        return evaluate(pairs)

    monkeypatch.setattr(evaluator, "evaluate", slow)
    begun = loop.time()

    assert (await client.ask(subscribe(MISSING, 1)))["payload"]["code"] == "not_found"
    assert loop.time() - begun >= 0.4


async def test_what_is_shown_beside_a_refusal_comes_with_it(demo, connect, batches, held):
    """How long it takes would tell what there is to hide; also on another socket of the same person."""
    client, other = await connect(demo.amira), await connect(demo.amira)
    [hub] = hub_module._hubs.values()
    hub._listener.hears.clear()
    for number, (asking, card) in enumerate([(client, MISSING), (client, demo.card), (other, demo.card)]):
        await asking.send(subscribe(card, number))
        await until(lambda number=number: sum(socket.unanswered for socket in hub.sockets) == number + 1)
    hub._listener.hears.set()
    hub._backlog.resume()

    await until(lambda: not the_evaluator().rests)
    assert [len(batch) for batch in batches] == [3]
    assert client._out.empty()
    assert other._out.empty()
    await held()

    assert [(await client.receive())["type"] for _ in range(2)] == ["ERROR", "SUBSCRIBED"]
    assert (await other.receive())["type"] == "SUBSCRIBED"


async def test_what_is_asked_for_meanwhile_is_not_looked_at_before_and_what_changes_is(demo, connect, batches, held):
    client, refused, other = await connect(demo.amira), await connect(demo.dev), await connect(demo.dev)
    await client.subscribe(demo.card)
    batches.clear()
    await refused.send(subscribe(MISSING, 1))
    await until(lambda: not the_evaluator().rests)

    await other.send(subscribe(demo.card, 2))
    await Card.objects.aupdate(title="new")
    await anotify(demo.card)

    assert (await client.receive())["payload"]["title"] == "new"
    assert batches == [[MISSING.hashid], [demo.card.hashid]]
    await held()
    assert (await refused.receive())["type"] == "ERROR"
    assert (await other.receive())["type"] == "SUBSCRIBED"


async def test_what_is_to_be_refused_is_refused_on_the_beat_also_when_something_changes_meanwhile(
    demo, connect, batches, held
):
    """Of what never existed, nothing changes."""
    await Card.objects.aupdate(public=False)
    client = await connect(demo.dev)
    await client.send(subscribe(demo.card, 1))
    await until(lambda: not the_evaluator().rests)
    [hub] = hub_module._hubs.values()

    hub._outdate(hub.subscriptions(), 0)
    await held()

    assert (await client.receive())["payload"]["code"] == "not_found"
    assert list(hub.subscriptions()) == []


async def test_what_is_given_up_before_the_beat_is_not_refused_and_what_is_asked_anew_is(demo, connect, held):
    client = await connect(demo.dev)
    name = {"model": "board.Card", "id": MISSING.hashid}
    await client.send({**name, "request_id": "given up"})
    await until(lambda: not the_evaluator().rests)
    [hub] = hub_module._hubs.values()
    await client.send({"action": "unsubscribe", **name})
    await until(lambda: not list(hub.subscriptions()))
    await client.send({**name, "request_id": "anew"})
    await client.ask({"action": "ping"})

    await held()
    await held()

    assert (await client.receive())["meta"] == {"request_id": "anew"}
    assert [socket.unanswered for socket in hub.sockets] == [0]
    assert client._out.empty()


async def test_refusals_come_in_the_order_in_which_was_asked(demo, connect):
    client = await connect(demo.dev)
    for number in range(20):
        await client.send(subscribe(Card(pk=900 + number), number))

    assert [(await client.receive())["meta"]["request_id"] for _ in range(20)] == list(range(20))


async def test_a_hub_that_ends_before_the_beat_leaves_nothing_behind(demo, connect, held):
    client = await connect(demo.dev)
    await client.send(subscribe(MISSING, 1))
    await until(lambda: not the_evaluator().rests)
    [release] = the_evaluator()._releases

    await client.close()
    await until(lambda: not hub_module._hubs)

    assert release.cancelled()
