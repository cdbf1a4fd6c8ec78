"""What once broke the promises of docs/delivery.md: silence, false alarms, and what never ended."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from channels.layers import InMemoryChannelLayer, channel_layers
from clients import PATIENCE, application, message_of, until
from django.contrib.auth import get_user_model

from livegate.gateway import courier as courier_module
from livegate.gateway import evaluator, listener, streams
from livegate.gateway import hub as hub_module
from livegate.gateway.courier import Courier
from livegate.gateway.decisions import Pair
from livegate.gateway.entries import CHANGE
from livegate.gateway.evaluation import evaluate
from livegate.gateway.messages import parse
from livegate.gateway.notices import Notice, group_name, unpack
from livegate.gateway.notifications import anotify
from livegate.gateway.publications import find

DELAYED, CURRENT = {"type": "DELAYED"}, {"type": "CURRENT"}


@pytest.fixture
def quick(monkeypatch, settings):
    """Failures are tried again at once, and silence is noticed at once."""
    settings.LIVEGATE = {**settings.LIVEGATE, "HEARTBEAT": 0.02}
    for module in (evaluator, listener, courier_module):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
        monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(listener, "ECHO_INTERVAL", 0.01)


def the_hub():
    return hub_module._hubs[asyncio.get_running_loop()]


async def rename(card, title):
    card.title = title
    await sync_to_async(card.save)()


def name_of(card):
    return {"model": "board.Card", "id": card.hashid}


async def within(seconds, awaited):
    """What comes within so many seconds; None where nothing does."""
    try:
        async with asyncio.timeout(seconds):
            return await awaited
    except TimeoutError:
        return None


class BrokenLayer(InMemoryChannelLayer):
    """While it is ``away`` it can't be joined; one more message ends its ``receive``."""

    away = False
    swallows = False

    async def new_channel(self, *args):
        if self.away:
            raise ConnectionError
        return await super().new_channel(*args)

    async def receive(self, channel):
        message = await super().receive(channel)
        if self.away:
            raise ConnectionError
        return message

    async def group_send(self, group, message):
        if not self.swallows:
            await super().group_send(group, message)

    async def go_away(self):
        self.away = True
        await super().group_send(group_name(0), message_of())


# Stale, and not told (law 7)


async def test_who_says_it_holds_what_it_held_before_a_view_that_was_on_its_way_ends_with_the_truth(
    demo, connect, settings
):
    """A -> B -> A: B is on its way when the client asks again, saying that it holds A."""
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_INTERVAL": 0.5}
    client = await connect(demo.amira)
    await rename(demo.card, "A")
    first = await client.ask({"action": "subscribe", **name_of(demo.card), "etag": None})
    assert first["payload"]["title"] == "A"

    await rename(demo.card, "B")
    await until(lambda: not client._out.empty())  # sent, and not read yet
    await rename(demo.card, "A")  # in the same interval: looked at together with what comes in it, or at its end
    await client.send({"action": "subscribe", **name_of(demo.card), "etag": first["meta"]["etag"], "request_id": 1})

    held = first["payload"]
    while (frame := await within(2, client._out.get())) is not None:
        frame = json.loads(frame["text"])
        held = frame["payload"] if frame["type"] == "UPDATE_CARD" else held
    assert held["title"] == "A"


async def test_all_retries_of_what_the_database_refuses_are_not_more_than_one_after_the_other(
    demo, connect, monkeypatch
):
    """While one object can't be decided about, it is told again and again: each adds a retry that never ends."""
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(evaluator, name, 1_000)
    evaluations, loop = [], asyncio.get_running_loop()

    def undecided(pairs):
        evaluations.append(len(pairs))
        return {}

    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    the_hub()._evaluator._pause = 1_000
    monkeypatch.setattr(evaluator, "evaluate", undecided)
    [subscription] = the_hub().subscriptions()

    for _ in range(50):  # notices, or sweeps
        before = len(evaluations)
        the_hub()._backlog.mark([subscription], CHANGE)
        await until(lambda before=before: len(evaluations) > before)
        await until(lambda: not subscription.socket.busy)

    timers = {timer: timer.when() - loop.time() for timer in loop._scheduled if not timer.cancelled()}
    assert [timer for timer, left in timers.items() if 500 < left < 1_500] == [the_hub()._evaluator._retry]


async def test_who_watches_is_told_when_the_database_does_not_answer(demo, connect, monkeypatch):
    """A database that is stopped, or behind a network that swallows, raises nothing: it never answers."""
    client, other, idle = await connect(demo.amira), await connect(demo.ben), await connect(demo.cleo)
    for one in (client, other):
        await one.subscribe(demo.card)
    answers = threading.Event()
    monkeypatch.setattr(evaluator, "LONGEST_EVALUATION", 0.05)  # which those before may have taken

    def waits(pairs):
        answers.wait(PATIENCE)
        return evaluate(pairs)

    monkeypatch.setattr(evaluator, "evaluate", waits)
    try:
        await anotify(demo.card)
        told = [await within(12, one._out.get()) for one in (client, other, idle)]
    finally:
        answers.set()

    assert [one and json.loads(one["text"]) for one in told] == [DELAYED] * 3
    assert [await one.receive() for one in (client, other, idle)] == [CURRENT] * 3


async def test_who_watches_is_told_of_deafness_also_while_an_evaluation_takes_long(
    demo, connect, layer, quick, monkeypatch
):
    """Redis and the database are on one machine, and that is gone: nobody is told of either."""
    broken = layer(BrokenLayer())
    client, idle = await connect(demo.amira), await connect(demo.ben)
    await client.subscribe(demo.card)
    answers = threading.Event()

    def waits(pairs):
        answers.wait(PATIENCE)
        return evaluate(pairs)

    monkeypatch.setattr(evaluator, "evaluate", waits)
    await anotify(demo.card)
    await until(lambda: any(socket.busy for socket in the_hub().sockets))
    await broken.go_away()
    try:
        told = await within(3, idle._out.get())  # who watches nothing has nothing to do with that evaluation
    finally:
        answers.set()

    assert told is not None
    assert json.loads(told["text"]) == DELAYED


async def test_who_asks_is_told_when_nothing_was_ever_heard(demo, connect, layer, quick):
    """From the first: the layer takes what is sent, and gives nothing back."""
    swallowing = layer(BrokenLayer())
    swallowing.swallows = True
    client = await connect(demo.amira)
    await client.send({"action": "subscribe", **name_of(demo.card), "request_id": 1})

    told = await within(5, client._out.get())  # 250 HEARTBEATs, 500 echoes

    assert told is not None
    assert json.loads(told["text"]) == DELAYED


async def test_a_layer_in_which_a_join_came_to_nothing_is_joined_again(demo, connect, layer, quick):
    """Once it was silent, it is joined anew; where nothing comes of that, it is never joined a third time."""

    class Forgetful(BrokenLayer):
        """Forgets the groups, and the next ``forgets`` joins: as a connection that is dead and says nothing."""

        forgets = 0

        async def group_add(self, group, channel):
            if self.forgets:
                self.forgets -= 1
            else:
                await super().group_add(group, channel)

    forgetful = layer(Forgetful())
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    forgetful.forgets = 1
    forgetful.groups.clear()

    assert await client.receive() == DELAYED
    told = await within(5, client._out.get())

    assert told is not None
    assert json.loads(told["text"]) == CURRENT


async def test_who_is_told_that_all_is_current_when_it_is_not_any_more_is_told(demo, connect, layer, quick):
    """It goes deaf while CURRENT is being sent."""
    broken = layer(BrokenLayer())
    client, other = await connect(demo.amira), await connect(demo.ben)
    await client.subscribe(demo.card)
    await broken.go_away()
    assert [await one.receive() for one in (client, other)] == [DELAYED] * 2
    [socket] = [one for one in the_hub().sockets if one.subscriptions]
    client.reading.clear()
    broken.away = False
    assert await other.receive() == CURRENT
    await until(lambda: socket.delivery is not None and not socket.is_behind)  # just being told so

    broken.swallows = True
    assert await other.receive() == DELAYED
    client.reading.set()

    assert await client.receive() == CURRENT
    told = await within(3, client._out.get())
    assert told is not None
    assert json.loads(told["text"]) == DELAYED


async def test_who_is_told_that_it_may_be_old_is_told_when_it_is_over(demo, connect, layer, quick):
    """It hears again while DELAYED is being sent, to one that watches nothing."""
    broken = layer(BrokenLayer())
    client, other = await connect(demo.amira), await connect(demo.ben)
    [socket] = [one for one in the_hub().sockets if one.viewer.user == demo.amira]
    client.reading.clear()
    await broken.go_away()
    assert await other.receive() == DELAYED
    await until(lambda: socket.delivery is not None and socket.is_behind)  # just being told so

    broken.away = False
    assert await other.receive() == CURRENT
    client.reading.set()

    assert await client.receive() == DELAYED
    told = await within(3, client._out.get())
    assert told is not None
    assert json.loads(told["text"]) == CURRENT


async def test_what_is_being_made_is_told_before_that_all_is_current(demo, connect, layer, quick, monkeypatch):
    """Who gives something up meanwhile is looked at anew."""
    broken = layer(BrokenLayer())
    client = await connect(demo.amira)
    await client.ask({"action": "subscribe", **name_of(demo.card), "request_id": 1})
    [socket] = the_hub().sockets
    await broken.go_away()
    assert await client.receive() == DELAYED
    await Card.objects.aupdate(title="Missed")
    answer = threading.Event()

    def held(pairs):
        assert answer.wait(PATIENCE)
        return evaluate(pairs)

    monkeypatch.setattr(evaluator, "evaluate", held)
    broken.away = False
    await until(lambda: socket.busy and not socket.dirty)
    await client.send({"action": "unsubscribe", "model": "board.Card", "id": "another"})
    the_hub().tell([socket])
    assert (await client.ask({"action": "ping"}))["type"] == "PONG"
    answer.set()

    assert (await client.receive())["payload"]["title"] == "Missed"
    assert await client.receive() == CURRENT


async def test_what_is_gone_is_told_before_that_all_is_current(demo, connect, layer, quick, monkeypatch):
    """Who asks again while nothing is heard has what left their view taken away on the beat, and then CURRENT."""
    monkeypatch.setattr(evaluator, "REFUSAL_BEAT", 0.5)
    broken = layer(BrokenLayer())
    client = await connect(demo.amira)
    await client.ask({"action": "subscribe", **name_of(demo.card), "etag": None})
    await broken.go_away()
    assert await client.receive() == DELAYED
    await client.send({"action": "subscribe", **name_of(demo.card), "request_id": 1})
    await client.ask({"action": "ping"})
    await Card.objects.all().adelete()

    broken.away = False

    assert [(await client.receive())["type"] for _ in range(3)] == ["DELETE_CARD", "ERROR", "CURRENT"]


# Rights


async def test_who_may_have_to_go_is_examined_when_more_was_told_than_is_kept(demo, connect, monkeypatch):
    """A writer that can't reach Redis keeps so many notices, then one that anything may have changed: also who may be
    connected."""
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await get_user_model().objects.filter(pk=demo.amira.pk).aupdate(is_active=False)

    layer = channel_layers["default"]
    await layer.group_send(group_name(0), message_of(streams.ANYTHING))

    frames = [await within(3, client._out.get()) for _ in range(2)]
    assert {"type": "websocket.close", "code": 4401} in frames


# Slow clients, and the end


async def test_who_takes_refusals_slowly_but_steadily_is_not_closed(world, settings, monkeypatch):
    settings.LIVEGATE = {**settings.LIVEGATE, "SLOW_CLIENT_TIMEOUT": 0.5}
    [slow] = await world.watch(1)
    hub, pairs = world.hub, []

    async def takes_its_time(message):
        await asyncio.sleep(0.1)
        slow.sent.append(message["text"])

    slow.socket.send = takes_its_time
    monkeypatch.setattr(evaluator, "evaluate", dict.fromkeys)
    for number in range(15):
        message = parse(json.dumps({"model": "board.Card", "id": f"none{number}", "request_id": number}))
        pairs.append(Pair(world.viewer, find("board.Card"), f"none{number}"))
        hub.subscribe(slow.socket, pairs[-1], message)

    await until(lambda: len(slow.sent) == 15 or slow.closed)

    assert slow.closed == []
    assert len(slow.sent) == 15


def test_what_a_loop_that_was_stopped_was_to_send_is_sent_or_logged_when_the_process_ends(monkeypatch, caplog):
    """Daphne's loop is stopped, and not closed, when it ends; notices are waiting there because Redis was away."""
    sent, is_away = [], threading.Event()
    is_away.set()

    class Layer:
        async def group_send(self, group, message):
            if is_away.is_set():
                raise ConnectionError
            sent.extend(unpack(message).notices)

    monkeypatch.setattr(streams, "get_channel_layer", Layer)
    courier, loop = Courier(), asyncio.new_event_loop()

    async def serve():
        courier.use(loop)
        courier.post([Notice("update", "board.Card", "1")])
        await until(lambda: caplog.records)
        courier.release(loop)

    loop.run_until_complete(serve())
    is_away.clear()
    courier.close()
    is_sent, events = bool(sent), [record.event for record in caplog.records]
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    courier.close()

    assert is_sent or "notices_lost" in events


async def test_who_was_sent_away_and_had_sent_more_leaves_no_error(demo):
    """What a server raises for what is sent after the close (uvicorn does) ends the consumer with a traceback."""
    incoming, outgoing = asyncio.Queue(), []

    async def send(message):
        if any(one["type"] == "websocket.close" for one in outgoing):
            raise RuntimeError(f"Unexpected ASGI message '{message['type']}', after sending 'websocket.close'")
        outgoing.append(message)

    scope = {"type": "websocket", "path": "/ws/notifications/", "headers": [], "subprotocols": [], "user": demo.amira}
    task = asyncio.create_task(application(scope, incoming.get, send))
    incoming.put_nowait({"type": "websocket.connect"})
    await until(lambda: outgoing)
    [socket] = the_hub().sockets
    the_hub().expel(socket)
    await until(lambda: len(outgoing) == 2)
    incoming.put_nowait({"type": "websocket.receive", "text": '{"action": "ping"}'})  # was on its way
    incoming.put_nowait({"type": "websocket.disconnect", "code": 4401})

    async with asyncio.timeout(PATIENCE):
        await task


async def test_a_layer_that_can_not_be_left_is_joined_again_within_one_timeout(demo, connect, layer, quick, settings):
    """With each group it is waited for SEND_TIMEOUT: 16 groups on a connection that hangs are 80 s."""
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 16, "SEND_TIMEOUT": 0.5}

    class Hanging(BrokenLayer):
        async def group_discard(self, group, channel):
            await asyncio.Event().wait()

    hanging = layer(Hanging())
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await hanging.go_away()
    assert await client.receive() == DELAYED
    hanging.away = False

    told = await within(4, client._out.get())
    assert told is not None
    assert json.loads(told["text"]) == CURRENT


async def test_who_takes_what_it_is_sent_is_not_closed_because_the_server_stood_still(world, settings):
    """The loop was blocked for longer than a client may take nothing; the client could take it before that was over."""
    settings.LIVEGATE = {**settings.LIVEGATE, "SLOW_CLIENT_TIMEOUT": 0.3}
    [slow] = await world.watch(1)
    slow.reading.clear()
    await world.change()
    await until(lambda: slow.socket.patience is not None)

    asyncio.get_running_loop().call_soon_threadsafe(slow.reading.set)  # as when the connection can be written to
    time.sleep(0.5)
    await until(lambda: slow.sent or slow.closed)

    assert slow.closed == []


async def test_who_leaves_does_not_wait_for_a_database_that_does_not_answer(demo, connect, monkeypatch):
    """The consumer of the last socket ends when the database answers, and not before: so does a server on SIGTERM."""
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    answers, asked = threading.Event(), threading.Event()

    def waits(pairs):
        asked.set()
        answers.wait(PATIENCE)
        return evaluate(pairs)

    monkeypatch.setattr(evaluator, "evaluate", waits)
    await anotify(demo.card)
    await until(asked.is_set)
    client._in.put_nowait({"type": "websocket.disconnect", "code": 1000})
    try:
        done, _ = await asyncio.wait({client.task}, timeout=5)
    finally:
        answers.set()
        await client.task

    assert done
