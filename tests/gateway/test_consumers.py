"""The socket as a person uses it, and as somebody hostile does."""

from __future__ import annotations

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import Client, hashid_of, until
from guardian.shortcuts import assign_perm, remove_perm
from lab.models import Page

from livegate.gateway import consumers, hub
from livegate.gateway.backlog import Backlog
from livegate.gateway.metrics import counts
from livegate.gateway.notifications import anotify


def not_found(request_id):
    return {
        "type": "ERROR",
        "error": True,
        "payload": {"code": "not_found", "detail": "There is no such object."},
        "meta": {"request_id": request_id},
    }


async def test_one_save_has_an_outcome_of_its_own_for_each_viewer(demo, connect, get):
    users = [demo.amira, demo.ben, demo.cleo, demo.dev, demo.nobody]
    clients = [await connect(user) for user in users]
    for client in clients:
        assert (await client.subscribe(demo.card))["type"] == "SUBSCRIBED"

    demo.card.title, demo.card.public = "Renamed", False
    await sync_to_async(demo.card.save)()
    frames = [await client.receive() for client in clients]

    gets = [await sync_to_async(get)(f"/api/cards/{demo.card.hashid}/", user) for user in users]
    assert [frame["payload"] for frame in frames[:3]] == gets[:3]
    assert gets[3:] == [404, 404]
    assert [frame["type"] for frame in frames] == ["UPDATE_CARD"] * 3 + ["DELETE_CARD"] * 2
    for client in clients:
        await client.nothing()


async def test_a_change_of_what_a_viewer_may_not_see_makes_no_frame(demo, connect):
    amira, cleo, dev = [await connect(user) for user in (demo.amira, demo.cleo, demo.dev)]
    for client in (amira, cleo, dev):
        await client.subscribe(demo.card)

    demo.card.salary = 90_000
    await sync_to_async(demo.card.save)()

    assert (await amira.receive())["payload"]["salary"] == 90_000
    await cleo.nothing()
    await dev.nothing()


async def test_an_etag_brings_the_present_view_at_once_and_later_only_what_differs(demo, connect):
    client = await connect(demo.cleo)
    assert (await client.subscribe(demo.card, etag=None))["type"] == "SUBSCRIBED"
    held = (await client.receive())["meta"]["etag"]

    again = await connect(demo.cleo)
    assert (await again.subscribe(demo.card, etag=held))["type"] == "SUBSCRIBED"
    await again.nothing()

    stale = await connect(demo.cleo)
    await stale.subscribe(demo.card, etag="stale")
    assert (await stale.receive())["meta"]["etag"] == held


async def test_a_right_taken_away_looks_like_a_deleted_row_and_comes_back_like_a_new_one(demo, connect):
    demo.card.public = False
    await sync_to_async(demo.card.save)()
    client = await connect(demo.cleo)
    await client.subscribe(demo.card)

    await sync_to_async(remove_perm)("view_card", demo.cleo, demo.card)
    await anotify(demo.card)
    revoked = await client.receive()
    await sync_to_async(assign_perm)("view_card", demo.cleo, demo.card)
    await anotify(demo.card)
    restored = await client.receive()
    hashid = demo.card.hashid
    await sync_to_async(demo.card.delete)()
    deleted = await client.receive()

    assert restored["type"] == "UPDATE_CARD"
    assert (
        revoked
        == deleted
        == {
            "type": "DELETE_CARD",
            "payload": {"id": hashid},
            "meta": {"model": "board.Card", "id": hashid},
        }
    )
    await client.nothing()


async def test_what_may_not_be_seen_is_refused_like_what_never_existed_and_is_not_remembered(demo, connect):
    await Card.objects.aupdate(public=False)
    gone = await sync_to_async(Card.objects.create)(board_id=demo.card.board_id, owner=demo.amira)
    hashid_of_gone = gone.hashid
    await gone.adelete()
    client = await connect(demo.dev)

    hashids = [demo.card.hashid, hashid_of_gone, Card(pk=999).hashid, Page(pk=1).hashid, "x" * 500, "?", "aaa"]
    for number, hashid in enumerate(hashids):
        await client.send({"model": "board.Card", "id": hashid, "request_id": number})
    answers = [await client.receive() for _ in hashids]

    assert answers == [not_found(number) for number in range(len(hashids))]
    await Card.objects.aupdate(public=True)
    await anotify(demo.card)
    await client.nothing()


HOSTILE = [
    ({"text": "{"}, "invalid_json"),
    ({"text": ""}, "invalid_json"),
    ({"bytes": b"\x00\xff"}, "binary_frame"),
    ({"text": "[]"}, "invalid_message"),
    ({"text": "[" * 5_000 + "]" * 5_000}, "invalid_json"),
    ({"text": '{"model": "board.Card"}'}, "invalid_message"),
    ({"text": '{"model": 1, "id": 2}'}, "invalid_message"),
    ({"text": '{"action": "subscribe", "model": "board.Card", "id": "a", "also": 1}'}, "invalid_message"),
    ({"text": '{"action": "explode", "model": "board.Card", "id": "a"}'}, "invalid_message"),
    ({"text": '{"model": "no.Such", "id": "a"}'}, "unknown_model"),
    ({"text": '{"model": "board.Board", "id": "a"}'}, "unknown_model"),
    ({"text": '{"model": "../etc", "id": "a"}'}, "unknown_model"),
    ({"text": " " * 20_000}, "frame_too_large"),
    ({"text": '{"model": "board.Card", "id": "' + "a" * 10_000 + '"}'}, "not_found"),
]


async def test_after_every_bad_frame_the_socket_and_its_subscriptions_live_on(demo, connect):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    for frame, code in HOSTILE:
        await client.send_raw(**frame)
        answer = await client.receive()
        assert (answer["type"], answer["payload"]["code"]) == ("ERROR", code), frame

    await client.send({"action": "unsubscribe", "model": "board.Card", "id": "never subscribed"})
    demo.card.title = "Still here"
    await sync_to_async(demo.card.save)()
    assert (await client.receive())["payload"]["title"] == "Still here"


@pytest.mark.parametrize("depth", [253, 254, 900, 1_020])
@pytest.mark.parametrize("rest", ['"action": "ping", "request_id"', '"model": "board.Card", "request_id"', '"action"'])
async def test_what_is_nested_so_deep_that_it_can_just_not_be_sent_back_harms_no_socket(demo, connect, depth, rest):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await client.send_raw(text=f'{{"id": "{demo.card.hashid}", {rest}: {"[" * depth}{"]" * depth}}}')

    assert (await client.receive())["payload"]["code"] == "invalid_message"
    assert (await client.ask({"action": "ping"}))["type"] == "PONG"


@pytest.mark.parametrize("anew", [False, True])
async def test_a_request_that_comes_while_a_refusal_is_being_sent_is_answered(demo, connect, anew):
    await Card.objects.aupdate(public=False)
    client = await connect(demo.dev)
    await client.ask({"action": "ping"})
    [socket] = hub._hubs[asyncio.get_running_loop()].sockets
    name = {"model": "board.Card", "id": demo.card.hashid}
    client.reading.clear()
    await client.send({**name, "request_id": 1})
    await until(lambda: socket.busy and socket.delivery and not socket.delivery.done() and socket.unanswered == 0)

    await Card.objects.aupdate(public=True)
    if anew:
        await client.send({"action": "unsubscribe", **name})
    await client.send({**name, "request_id": 2})
    await until(lambda: socket.unanswered == 1)
    client.reading.set()

    assert await client.receive() == not_found(1)
    answer = await client.receive()
    assert (answer["type"], answer["meta"]) == ("SUBSCRIBED", {"request_id": 2})


async def test_what_is_given_up_before_it_is_answered_leaves_nothing_behind(demo, connect, settings, monkeypatch):
    settings.LIVEGATE = {**settings.LIVEGATE, "MAX_SUBSCRIPTIONS": 3}
    client = await connect(demo.amira)
    monkeypatch.setattr(Backlog, "take", lambda self, room, with_requests: self._work.clear() or {})  # nothing
    name = {"model": "board.Card", "id": demo.card.hashid}

    for number in range(5):
        await client.send({**name, "request_id": number})
        await client.send({"action": "unsubscribe", **name})

    assert (await client.ask({"action": "ping"}))["type"] == "PONG"  # and no too_many_subscriptions before it
    the_hub = hub._hubs[asyncio.get_running_loop()]
    [socket] = the_hub.sockets
    assert (socket.unanswered, socket.subscriptions, socket.dirty, the_hub._registry.watching) == (0, {}, {}, {})


async def test_the_same_subscription_twice_brings_one_frame_for_one_change(demo, connect):
    client = await connect(demo.amira)
    for request_id in (1, 2):
        answer = await client.subscribe(demo.card, request_id=request_id)
        assert (answer["type"], answer["meta"]["request_id"]) == ("SUBSCRIBED", request_id)

    demo.card.title = "Once"
    await sync_to_async(demo.card.save)()

    assert (await client.receive())["payload"]["title"] == "Once"
    await client.nothing()


async def test_after_unsubscribing_nothing_comes(demo, connect):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await client.send({"action": "unsubscribe", "model": "board.Card", "id": demo.card.hashid})
    assert await client.ask({"action": "ping", "request_id": "p"}) == {"type": "PONG", "meta": {"request_id": "p"}}
    demo.card.title = "Unseen"
    await sync_to_async(demo.card.save)()

    await client.nothing()


async def test_a_thousand_subscriptions_are_answered_and_the_one_above_the_limit_is_refused(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "MAX_SUBSCRIPTIONS": 1_000}
    pages = await sync_to_async(Page.objects.bulk_create)([Page(text="x") for _ in range(1_001)])
    client = await connect(demo.admin)

    for page in pages[:1_000]:
        await client.send({"model": "lab.Page", "id": page.hashid, "request_id": page.pk})
    answers = [await client.receive() for _ in range(1_000)]
    assert {answer["type"] for answer in answers} == {"SUBSCRIBED"}
    assert {answer["meta"]["request_id"] for answer in answers} == {page.pk for page in pages[:1_000]}

    refused = await client.subscribe(pages[1_000])
    assert refused["payload"]["code"] == "too_many_subscriptions"
    assert (await client.subscribe(pages[0]))["type"] == "SUBSCRIBED"  # it has that one

    await client.send({"action": "unsubscribe", "model": "lab.Page", "id": pages[0].hashid})
    assert (await client.subscribe(pages[1_000]))["type"] == "SUBSCRIBED"


async def test_requests_without_an_answer_yet_are_limited_too(demo, connect, settings, monkeypatch):
    settings.LIVEGATE = {**settings.LIVEGATE, "MAX_SUBSCRIPTIONS": 3}
    client = await connect(demo.amira)
    monkeypatch.setattr(Backlog, "take", lambda self, room, with_requests: self._work.clear() or {})  # nothing

    for number in range(4):
        await client.send({"model": "board.Card", "id": demo.card.hashid, "request_id": number})

    answer = await client.receive()
    assert (answer["payload"]["code"], answer["meta"]["request_id"]) == ("too_many_subscriptions", 3)


async def test_the_subprotocol_is_chosen_if_it_was_offered(connect, demo):
    offered, other = Client(demo.amira, subprotocols=["token.x", "livegate"]), Client(demo.amira, subprotocols=["x"])

    assert (await offered.open())["subprotocol"] == "livegate"
    assert (await other.open())["subprotocol"] is None
    await offered.close()
    await other.close()


async def test_a_scope_without_a_user_is_an_anonymous_viewer(demo, connect):
    client = await connect(user=None)

    assert (await client.subscribe(demo.card, etag=None))["type"] == "SUBSCRIBED"
    assert "salary" not in (await client.receive())["payload"]


async def test_a_socket_leaves_nothing_behind_also_when_its_consumer_fails(demo, connect, monkeypatch):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    assert hub._hubs

    async def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr("livegate.gateway.consumers.NotificationConsumer.carry_out", fail)
    await client.send({"action": "ping"})
    with pytest.raises(RuntimeError):
        await client.take()

    await until(lambda: not hub._hubs)


async def test_a_handshake_that_fails_is_no_socket(demo, monkeypatch):
    def fail(scope):
        raise RuntimeError

    monkeypatch.setattr(consumers.Viewer, "of_scope", fail)
    with pytest.raises(RuntimeError):
        await Client(demo.amira).open()

    assert not hub._hubs


async def test_a_restricted_user_for_everyone_and_the_full_one_for_the_user_themselves(demo, connect, get):
    """The case that started this project."""
    users = [demo.cleo, demo.amira, demo.dev]
    own, colleague, stranger = [await connect(user) for user in users]
    hashid = (await sync_to_async(get)("/api/users/" + hashid_of(demo.cleo) + "/", demo.cleo))["id"]
    for client in (own, colleague):
        await client.send({"model": "auth.User", "id": hashid, "request_id": 1})
        assert (await client.receive())["type"] == "SUBSCRIBED"
    assert await stranger.ask({"model": "auth.User", "id": hashid, "request_id": 1}) == not_found(1)

    demo.cleo.email = "cleo@new.example"
    await sync_to_async(demo.cleo.save)()

    full = await own.receive()
    assert full["type"] == "UPDATE_USER"
    assert full["payload"]["email"] == "cleo@new.example"
    assert full["payload"] == await sync_to_async(get)(f"/api/users/{hashid}/", demo.cleo)
    await colleague.nothing()  # the e-mail is none of what a colleague sees

    demo.cleo.username = "cleopatra"
    await sync_to_async(demo.cleo.save)()

    restricted = await colleague.receive()
    assert restricted["payload"] == {"id": hashid, "username": "cleopatra"}
    assert restricted["payload"] == await sync_to_async(get)(f"/api/users/{hashid}/", demo.amira)
    assert "email" in (await own.receive())["payload"]
    await stranger.nothing()


async def test_a_frame_is_json_text(demo, connect):
    client = await connect(demo.amira)
    await client.send({"model": "board.Card", "id": demo.card.hashid, "etag": None})

    message = await client.take()

    assert message["type"] == "websocket.send"
    assert json.loads(message["text"])["payload"]["title"] == "Platform engineer"


# Limits


async def test_a_client_that_sends_too_much_is_closed_and_no_other(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "MESSAGE_BURST": 3, "MESSAGE_RATE": 0.001}
    talkative, other = await connect(demo.amira), await connect(demo.amira)
    before = counts()["sockets_too_many"]

    for _ in range(3):
        assert (await talkative.ask({"action": "ping"}))["type"] == "PONG"
    await talkative.send_raw(text="{")

    assert await talkative.take() == {"type": "websocket.close", "code": 4429}
    assert (await other.ask({"action": "ping"}))["type"] == "PONG"
    assert counts()["sockets_too_many"] == before + 1


async def test_a_user_has_so_many_sockets_and_no_more_until_one_is_closed(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "MAX_SOCKETS_PER_USER": 2}
    first, second = await connect(demo.amira), await connect(demo.amira)

    assert await (await connect(demo.amira)).take() == {"type": "websocket.close", "code": 4429}
    assert (await (await connect(demo.ben)).ask({"action": "ping"}))["type"] == "PONG"
    assert (await second.ask({"action": "ping"}))["type"] == "PONG"
    await first.close()
    assert (await (await connect(demo.amira)).ask({"action": "ping"}))["type"] == "PONG"


async def test_those_who_are_anonymous_are_not_one_user(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "MAX_SOCKETS_PER_USER": 2}

    for _ in range(4):
        assert (await (await connect()).ask({"action": "ping"}))["type"] == "PONG"


@pytest.mark.parametrize(("code", "closed"), [(1011, 4011), (4401, 4401), (None, None)])
async def test_a_server_that_refuses_codes_of_its_own_closes_all_the_same(code, closed):
    sent = []

    async def send(message):  # as daphne does
        if "code" in message and not (message["code"] == 1000 or 3000 <= message["code"] < 5000):
            raise Exception("invalid close code")
        sent.append(message.get("code"))

    consumer = consumers.NotificationConsumer()
    consumer.base_send = send

    await consumer.close(code)

    assert sent == [closed]


@pytest.mark.parametrize("code", [None, 1011, 4401])
async def test_who_is_gone_is_not_closed(code):
    async def send(message):
        raise OSError

    consumer = consumers.NotificationConsumer()
    consumer.base_send = send

    with pytest.raises(OSError):
        await consumer.close(code)
