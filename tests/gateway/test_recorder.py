"""The recorder: who is shown what is on record, and strictly before it is shown."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from board.models import Card
from clients import until
from lab.sinks import written

from livegate.gateway import evaluator, recorder
from livegate.gateway import hub as hub_module
from livegate.gateway.access import aaccess_changed
from livegate.gateway.entries import SWEEP
from livegate.gateway.evaluator import Evaluator
from livegate.gateway.messages import parse
from livegate.gateway.notifications import anotify
from livegate.gateway.recorder import Recorder
from livegate.serializers.hashids import encode

pytestmark = pytest.mark.usefixtures("sink")
DELAYED, CURRENT = {"type": "DELAYED"}, {"type": "CURRENT"}
MISSING = Card(pk=999)


def the_hub():
    [hub] = hub_module._hubs.values()
    return hub


def kinds(entries):
    return Counter(entry.kind for entry in entries)


async def rename(card, title):
    await Card.objects.filter(pk=card.pk).aupdate(title=title)
    await anotify(card)


async def rename_while_nothing_is_written(card, sink):
    """Until the sink is open again, what is to be shown of it waits to be on record."""
    sink.open.clear()
    calls = len(sink.calls)
    await rename(card, "strict")
    await until(lambda: len(sink.calls) > calls)


async def watch_themselves(client, user):
    """What is published, and not on record."""
    name = {"model": "auth.User", "id": encode(type(user), user.pk)}
    await client.ask({"action": "subscribe", **name, "request_id": 1})


def is_told(frame, word):
    return frame["type"] == word


# What is on record


async def test_nothing_is_on_record_unless_it_is_asked_for(demo, connect, sink):
    client = await connect(demo.amira)
    await client.subscribe(demo.card, etag=None)
    await client.receive()
    await client.close()

    assert (sink.kept, sink.calls) == ([], [])


async def test_of_subscriptions_it_has_who_came_asked_was_refused_gave_up_and_left(demo, connect, sink, on_record):
    on_record("subscriptions")
    client, stranger = await connect(demo.amira), await connect()
    await client.subscribe(demo.card, etag=None)
    await client.receive()
    await stranger.subscribe(MISSING)
    await stranger.subscribe(demo.card)
    await rename(demo.card, "new")
    await client.receive()
    await stranger.receive()
    await client.send({"action": "unsubscribe", "model": "board.Card", "id": demo.card.hashid})
    await client.ask({"action": "ping"})
    await Card.objects.aupdate(public=False)
    await anotify(demo.card)
    assert (await stranger.receive())["type"] == "DELETE_CARD"
    for one in (client, stranger):
        await one.close()

    assert kinds(sink.kept) == {"opened": 2, "admitted": 2, "refused": 1, "ended": 1, "closed": 2}
    assert len({entry.process for entry in sink.kept}) == 1
    assert sorted(entry.number for entry in sink.kept) == list(range(1, 9))
    [refused] = [entry for entry in sink.kept if entry.kind == "refused"]
    assert (refused.users, refused.sockets, refused.model, refused.key) == (("",), (2,), "board.Card", "999")
    assert (refused.hashid, refused.basis, refused.cause) == (MISSING.hashid, "not there", "request")
    assert {entry.users for entry in sink.kept if entry.kind == "admitted"} == {(str(demo.amira.pk),), ("",)}
    assert {entry.code for entry in sink.kept} == {None}


async def test_what_clients_make_up_is_on_record_with_no_key(demo, connect, sink, on_record):
    on_record("subscriptions")
    client = await connect(demo.amira)
    await client.ask({"model": "board.Card", "id": "?", "request_id": 1})

    [refused] = [entry for entry in await written() if entry.kind == "refused"]
    assert (refused.key, refused.hashid) == ("", "?")


async def test_a_socket_that_is_closed_is_on_record_with_the_code(demo, connect, sink, on_record):
    on_record("subscriptions")
    await connect(demo.amira)
    [socket] = the_hub().sockets

    the_hub().expel(socket)

    [closed] = [entry for entry in await written() if entry.kind == "closed"]
    assert (closed.code, closed.users) == (4401, (str(demo.amira.pk),))


async def test_a_showing_is_one_entry_for_all_who_are_alike_with_names_and_no_values(demo, connect, sink, on_record):
    on_record("showings")
    clients = [await connect(user) for user in (demo.amira, demo.amira, demo.cleo)]
    for client in clients:
        await client.subscribe(demo.card)
    await rename(demo.card, "the secret")
    frames = [await client.receive() for client in clients]

    shown = [entry for entry in await written() if entry.kind == "shown"]
    assert {entry.users: entry.etag for entry in shown} == {
        (str(demo.amira.pk),) * 2: frames[0]["meta"]["etag"],
        (str(demo.cleo.pk),): frames[2]["meta"]["etag"],
    }
    assert {entry.users[0]: {name for name in entry.fields if "." not in name} for entry in shown} == {
        str(demo.amira.pk): set(frames[0]["payload"]),
        str(demo.cleo.pk): set(frames[2]["payload"]),
    }
    assert {entry.cause for entry in shown} == {"change"}
    assert {(entry.key, entry.hashid) for entry in shown} == {(str(demo.card.pk), demo.card.hashid)}
    assert all(": yes" in entry.basis for entry in shown)
    assert "secret" not in repr(sink.kept)


async def test_a_view_that_does_not_change_is_no_showing_and_one_that_is_taken_away_is_on_record(
    demo, connect, sink, on_record
):
    on_record("showings")
    client = await connect(demo.dev)
    await client.subscribe(demo.card)
    [subscription] = the_hub().subscriptions()
    the_hub().look_again([subscription], SWEEP)
    await until(lambda: subscription.made_for == SWEEP and not subscription.socket.busy)

    await Card.objects.aupdate(public=False)
    await aaccess_changed(instance=demo.card)
    assert (await client.receive())["type"] == "DELETE_CARD"

    entries = await written()
    assert kinds(entries) == {"opened": 1, "admitted": 1, "taken": 1}
    assert entries[-1].cause == "rights"
    assert ": no" in entries[-1].basis


async def test_the_level_of_all_is_a_setting(demo, connect, sink, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER": "showings"}
    client = await connect(demo.amira)
    await client.subscribe(demo.card, etag=None)
    await client.receive()

    assert kinds(await written()) == {"opened": 1, "admitted": 1, "shown": 1}


# Strictly


async def test_strictly_nothing_is_shown_before_it_is_on_record_and_nobody_else_waits(demo, connect, sink, on_record):
    on_record("strict")
    client, other = await connect(demo.amira), await connect(demo.ben)
    await client.subscribe(demo.card)
    await watch_themselves(other, demo.ben)
    await written()
    sink.open.clear()
    calls = len(sink.calls)

    await rename(demo.card, "strict")
    await until(lambda: len(sink.calls) > calls)
    await type(demo.ben).objects.filter(pk=demo.ben.pk).aupdate(first_name="B.")
    await anotify(demo.ben)
    assert (await other.receive())["payload"]["first_name"] == "B."
    assert client._out.empty()

    sink.open.set()
    assert (await client.receive())["payload"]["title"] == "strict"
    assert kinds(await written())["shown"] == 1


async def test_while_it_can_not_be_written_what_is_strict_is_not_shown_and_told_and_all_else_goes_on(
    demo, connect, sink, on_record, caplog
):
    on_record("strict")
    caplog.set_level("INFO", "livegate")
    client, other = await connect(demo.amira), await connect(demo.ben)
    await client.subscribe(demo.card)
    await watch_themselves(other, demo.ben)
    await written()
    sink.away = True

    await rename(demo.card, "strict")
    assert is_told(await client.receive(), "DELAYED")
    calls = len(sink.calls)
    await until(lambda: len(sink.calls) > calls + 3)  # it is tried again
    await type(demo.ben).objects.filter(pk=demo.ben.pk).aupdate(first_name="B.")
    await anotify(demo.ben)
    assert (await other.receive())["payload"]["first_name"] == "B."
    assert client._out.empty()
    assert the_hub()._recorder.is_failing

    sink.away = False
    assert (await client.receive())["payload"]["title"] == "strict"
    assert is_told(await client.receive(), "CURRENT")
    assert [record.event for record in caplog.records] == ["ledger_failed", "ledger_written"]
    assert "secret" not in caplog.text
    entries = await written()
    withheld = [entry for entry in entries if entry.kind == "withheld"]
    shown = {entry.number: entry for entry in entries if entry.kind == "shown"}
    assert [shown.pop(entry.of).users for entry in withheld] == [entry.users for entry in withheld]
    assert len(shown) == 1


async def test_what_hangs_is_not_waited_for_longer_than_it_may_take(demo, connect, sink, on_record, monkeypatch):
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await written()
    monkeypatch.setattr(recorder, "LONGEST_WAIT", 0.01)
    sink.open.clear()

    await rename(demo.card, "strict")
    assert is_told(await client.receive(), "DELAYED")

    monkeypatch.setattr(recorder, "LONGEST_WAIT", 1_000)
    sink.open.set()
    assert (await client.receive())["payload"]["title"] == "strict"


async def test_an_error_on_the_way_to_the_record_leaves_nobody_waiting(demo, connect, on_record, monkeypatch, caplog):
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await written()
    authorize, errors = Recorder.authorize, [RuntimeError("the secret")]

    async def fails_once(self, showings):
        if errors:
            raise errors.pop()
        return await authorize(self, showings)

    monkeypatch.setattr(Recorder, "authorize", fails_once)
    await rename(demo.card, "strict")

    frames = [await client.receive() for _ in range(3)]
    assert [frame["type"] for frame in frames] == ["DELAYED", "UPDATE_CARD", "CURRENT"]
    assert [record.event for record in caplog.records] == ["hub_failed"]
    assert "secret" not in caplog.text


async def test_what_comes_too_late_to_be_shown_is_made_anew(demo, connect, sink, on_record, monkeypatch):
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await written()
    monkeypatch.setattr("livegate.gateway.delivery.VIEW_LIFETIME", -1.0)

    await rename(demo.card, "late")
    assert is_told(await client.receive(), "DELAYED")

    monkeypatch.setattr("livegate.gateway.delivery.VIEW_LIFETIME", 1_000.0)
    assert (await client.receive())["payload"]["title"] == "late"
    shown = kinds(await written())
    assert shown["shown"] - shown["withheld"] == 1


async def test_what_is_on_record_and_was_outdated_before_it_was_shown_is_withheld(demo, connect, sink, on_record):
    on_record("strict")
    client = await connect(demo.dev)
    await client.subscribe(demo.card)
    await written()
    await rename_while_nothing_is_written(demo.card, sink)

    await Card.objects.aupdate(public=False)
    await aaccess_changed(instance=demo.card)
    [subscription] = the_hub().subscriptions()
    await until(lambda: subscription.socket.dirty.get(subscription))
    sink.open.set()

    assert (await client.receive())["type"] == "DELETE_CARD"
    entries = {entry.kind: entry for entry in await written()}
    assert entries["withheld"].of == entries["shown"].number
    assert entries["withheld"].sockets == entries["shown"].sockets
    assert entries["withheld"].etag == entries["shown"].etag


async def test_what_was_not_shown_is_withheld_while_nothing_can_be_read(demo, connect, sink, on_record, monkeypatch):
    on_record("strict")
    client = await connect(demo.dev)
    await client.subscribe(demo.card)
    await written()
    await rename_while_nothing_is_written(demo.card, sink)

    def away(pairs):
        raise OSError

    monkeypatch.setattr(evaluator, "evaluate_on_record", away)
    await aaccess_changed(instance=demo.card)
    [subscription] = the_hub().subscriptions()
    await until(lambda: subscription.socket.dirty.get(subscription))
    sink.open.set()

    assert (await client.receive())["type"] == "DELAYED"
    await until(lambda: subscription.receipt is None)
    entries = {entry.kind: entry for entry in await written()}
    assert entries["withheld"].of == entries["shown"].number


async def test_who_leaves_before_it_is_shown_was_not_shown_it(demo, connect, sink, on_record):
    on_record("strict")
    clients = [await connect(demo.amira) for _ in range(2)]
    for client in clients:
        await client.subscribe(demo.card)
    await written()
    await rename_while_nothing_is_written(demo.card, sink)

    await clients[0].close()
    sink.open.set()
    assert (await clients[1].receive())["payload"]["title"] == "strict"

    entries = {entry.kind: entry for entry in await written()}
    assert (entries["shown"].sockets, entries["withheld"].sockets) == ((1, 2), (1,))


async def test_all_who_leave_before_it_is_shown_were_not_shown_it(demo, connect, sink, on_record, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_INTERVAL": 1_000}
    on_record("strict")
    clients = [await connect(demo.amira) for _ in range(3)]
    for client in clients:
        await client.subscribe(demo.card)
    await written()
    await rename_while_nothing_is_written(demo.card, sink)

    for client in clients[:2]:
        await client.close()
    sink.open.set()
    assert (await clients[2].receive())["payload"]["title"] == "strict"

    entries = {entry.kind: entry for entry in await written()}
    assert (entries["shown"].sockets, entries["withheld"].sockets) == ((1, 2, 3), (1, 2))


async def test_what_is_asked_for_after_it_was_decided_is_decided_anew(demo, connect, sink, on_record, monkeypatch):
    """Nothing was to be shown, so that nothing is on record; a client that holds something else is to be shown it."""
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await written()
    [subscription] = the_hub().subscriptions()
    name = {"action": "subscribe", "model": "board.Card", "id": demo.card.hashid, "request_id": 7, "etag": "another"}
    hand_out, asked = Evaluator._hand_out, []

    def asked_for_before(self, *given):
        if not asked:
            asked.append(True)
            the_hub().subscribe(subscription.socket, subscription.pair, parse(json.dumps(name)))
        hand_out(self, *given)

    monkeypatch.setattr(Evaluator, "_hand_out", asked_for_before)
    the_hub().look_again(list(the_hub().subscriptions()), 0)

    assert (await client.receive())["type"] == "SUBSCRIBED"
    frame = await client.receive()
    assert frame["type"] == "UPDATE_CARD"
    [shown] = [entry for entry in await written() if entry.kind == "shown"]
    assert (shown.etag, shown.cause) == (frame["meta"]["etag"], "resume")


async def test_what_is_refused_beside_something_strict_comes_on_the_beat_with_it(demo, connect, sink, on_record):
    on_record("strict")
    client = await connect(demo.amira)
    hub = the_hub()
    hub._listener.hears.clear()
    for number, card in enumerate((MISSING, demo.card)):
        name = {"action": "subscribe", "model": "board.Card", "id": card.hashid, "request_id": number}
        await client.send({**name, "etag": None})
    await until(lambda: sum(socket.unanswered for socket in hub.sockets) == 2)
    hub._listener.hears.set()
    hub._backlog.resume()

    frames = [await client.receive() for _ in range(3)]
    assert [frame["type"] for frame in frames] == ["ERROR", "SUBSCRIBED", "UPDATE_CARD"]
    assert hub._evaluator.rests


# The sink


async def test_what_there_is_no_room_for_is_counted_and_that_is_on_record(demo, connect, sink, on_record, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_QUEUE": 3}
    on_record("subscriptions")
    client = await connect(demo.amira)
    await written()
    sink.away = True
    for number in range(10):
        await client.ask({"model": "board.Card", "id": Card(pk=900 + number).hashid, "request_id": number})
    sink.away = False

    entries = await written()
    [lost] = [entry for entry in entries if entry.kind == "lost"]
    assert kinds(entries)["refused"] + lost.missing == 10
    assert lost.missing >= 7
    assert (lost.users, lost.model) == ((), "")


async def test_who_comes_when_there_is_no_room_is_counted(demo, connect, sink, on_record, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_QUEUE": 1, "LEDGER_INTERVAL": 1_000}
    on_record("subscriptions")
    for _ in range(3):
        await connect(demo.amira)

    assert {entry.kind: entry.missing for entry in await written()} == {"opened": 0, "lost": 2}


async def test_what_is_left_at_the_end_is_written_and_what_can_not_be_is_told(
    demo, connect, sink, on_record, caplog, settings
):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_INTERVAL": 1_000}
    on_record("subscriptions")
    client = await connect(demo.amira)
    await client.close()
    assert kinds(sink.kept) == {"opened": 1, "closed": 1}

    sink.away = True
    client = await connect(demo.amira)
    await client.close()
    await until(lambda: not hub_module._hubs)
    assert [record.event for record in caplog.records] == ["ledger_failed", "ledger_lost"]
    assert caplog.records[-1].getMessage().startswith("2 entries ")


async def test_a_sink_that_hangs_at_the_end_is_not_waited_for_for_ever(
    demo, connect, sink, on_record, caplog, settings, monkeypatch
):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_INTERVAL": 1_000}
    monkeypatch.setattr(recorder, "LONGEST_WRITE", 0.01)
    monkeypatch.setattr("livegate.gateway.worker.LONGEST_CLOSE", 0.01)
    on_record("subscriptions")
    client = await connect(demo.amira)
    sink.open.clear()
    await client.close()

    assert [record.event for record in caplog.records] == ["ledger_lost"]
    sink.open.set()


async def test_more_than_is_written_at_once_is_written_in_turn(demo, connect, sink, on_record, monkeypatch, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_INTERVAL": 1_000}
    monkeypatch.setattr(recorder, "MOST_AT_ONCE", 2)
    on_record("subscriptions")
    client = await connect(demo.amira)
    for number in range(4):
        await client.ask({"model": "board.Card", "id": Card(pk=900 + number).hashid, "request_id": number})

    assert kinds(await written()) == {"opened": 1, "refused": 4}
    assert sink.calls == [2, 2, 1]
