"""The register is what all processes answer at the moment, and by it sockets are closed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from board.models import Card, Organization
from clients import PATIENCE
from django.contrib.auth.models import AnonymousUser, Group
from django.db import transaction
from django.utils import timezone

from livegate.gateway import trail
from livegate.gateway.audit import attendance, register
from livegate.gateway.audit.models import RollCall, RollSheet, RunningHub
from livegate.gateway.audit.register import Asking, aroll_call, close, roll_call
from livegate.gateway.courier import courier
from livegate.gateway.hub import _hubs
from livegate.gateway.metrics import counts
from livegate.gateway.notices import Notice, token_of_socket


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(attendance, "PAUSE", 0)


@pytest.fixture
async def entered(demo, connect):
    """Amira on two sockets, subscribed to the card on both, Dev and nobody on one each; their process is entered."""
    clients = {name: await connect(getattr(demo, name.strip("2"))) for name in ("amira", "amira2", "dev", "nobody")}
    for name in ("amira", "amira2"):
        await clients[name].subscribe(demo.card)
    await until_entered()
    return clients


def the_hub():
    return _hubs[asyncio.get_running_loop()]


async def until_entered():
    while not await RunningHub.objects.aexists():
        await asyncio.sleep(0.01)


def add_hub(identity, **facts):
    """Of a process that does not answer."""
    now = timezone.now()
    return RunningHub.objects.create(identity=identity, **{"host": "far", "pid": 7, "since": now, "seen": now, **facts})


async def test_it_has_every_socket_and_every_subscription(demo, entered):
    found = await aroll_call(PATIENCE)

    [process] = found.processes
    assert process.identity == the_hub().identity
    assert str(process) == f"{process.identity} ({process.host}, process {process.pid})"
    assert [(one.number, one.user) for one in sorted(found.sockets, key=lambda one: one.number)] == [
        (1, str(demo.amira.pk)),
        (2, str(demo.amira.pk)),
        (3, str(demo.dev.pk)),
        (4, ""),
    ]
    assert found.unanswered == ()
    assert {one.socket.number for one in found.subscriptions} == {1, 2}
    for one in found.subscriptions:
        assert (one.model, one.hashid, one.key) == ("board.Card", demo.card.hashid, str(demo.card.pk))
        assert one.socket.opened <= one.since <= datetime.now(UTC)
        assert one.socket.process == process
        assert not one.socket.is_behind


async def test_when_it_was_verified_and_on_which_basis_is_what_the_hub_has(demo, entered):
    for subscription in the_hub().subscriptions():
        subscription.verified, subscription.basis, subscription.admitted = 1_700_000_000.0, "is_owner=yes", False

    one, *_ = (await aroll_call(PATIENCE)).subscriptions

    assert (one.verified, one.basis, one.since) == (datetime.fromtimestamp(1_700_000_000, UTC), "is_owner=yes", None)


async def test_a_thread_can_call_the_roll_and_nothing_is_left_of_it(entered):
    found = await sync_to_async(roll_call)(PATIENCE)

    assert len(found.sockets) == 4
    assert not await RollCall.objects.aexists()
    assert not await RollSheet.objects.aexists()


@pytest.mark.parametrize("call", [aroll_call, sync_to_async(roll_call)])
async def test_it_can_be_asked_about_one_object(demo, entered, call):
    trail.forget()
    hashid = demo.card.hashid
    trail.note_unwatched("board.Card", hashid, ["title"], ["notes"])
    trail.note_unwatched("board.Card", "another", ["title"], None)

    found = await call(PATIENCE, about=("board.Card", hashid))

    assert sorted(one.number for one in found.sockets) == [1, 2]
    assert {one.surroundings[:3] for one in found.sockets} == {("en", "UTC", "http")}
    [process], [change] = found.processes, found.changes
    assert (change.fate, change.watched, change.written) == ("unwatched", ("title",), ("notes",))
    assert (change.host, change.pid) == (process.host, process.pid)
    assert change.at == trail.steps_of("board.Card", hashid)[0].at
    trail.forget()


async def test_what_is_asked_about_is_not_on_the_broker(demo, entered, monkeypatch):
    posted = []
    post = courier.post
    monkeypatch.setattr(courier, "post", lambda notices: posted.extend(notices) or post(notices))

    await aroll_call(PATIENCE, about=("board.Card", demo.card.hashid))

    assert {replace(notice, token="") for notice in posted} == {Notice("roll", token="")}


async def test_what_is_asked_about_is_made_fit_for_the_table(entered):
    found = await aroll_call(PATIENCE, about=("board.\0Card" * 99, "\ud800" * 99))

    assert (len(found.processes), found.sockets, found.changes) == (1, (), ())


async def test_with_nobody_there_it_is_empty():
    found = await aroll_call(PATIENCE)

    assert (found.sockets, found.subscriptions, found.processes, found.unanswered) == ((), (), (), ())


async def test_it_names_who_did_not_answer_and_has_the_others(entered):
    await sync_to_async(add_hub)("far")

    found = await aroll_call(0.5)

    assert [one.identity for one in found.unanswered] == ["far"]
    assert len(found.sockets) == 4


async def test_who_was_not_seen_for_long_or_stops_meanwhile_is_not_waited_for(entered, monkeypatch):
    await sync_to_async(add_hub)("gone", seen=timezone.now() - timedelta(seconds=91))
    await sync_to_async(add_hub)("going")
    looks = []
    missing = Asking._missing

    def stop_one(asking):
        looks.append(1)
        if len(looks) == 2:
            RunningHub.objects.filter(identity="going").delete()
        return missing(asking)

    monkeypatch.setattr(Asking, "_missing", stop_one)

    found = await aroll_call(PATIENCE)

    assert found.unanswered == ()
    assert len(found.processes) == 1
    assert not await RunningHub.objects.filter(identity="gone").aexists()


async def test_it_is_called_again_where_it_was_not_heard(entered, monkeypatch):
    monkeypatch.setattr(register, "AGAIN_AFTER", 0.05)
    post, posted = courier.post, []

    def lose_the_first(notices):
        posted.append(list(notices))
        if len(posted) > 1:
            post(posted[-1])

    monkeypatch.setattr(courier, "post", lose_the_first)

    assert len((await aroll_call(PATIENCE)).sockets) == 4


async def test_what_others_have_left_is_removed_by_the_next(entered):
    for token, age in (("old", 61), ("of another", 1)):
        at = timezone.now() - timedelta(minutes=age)
        call = await RollCall.objects.acreate(token=token, at=at)
        await RollSheet.objects.acreate(roll=call, process="p", number=0, is_last=True, sockets=[])

    await aroll_call(PATIENCE)

    left = await RollCall.objects.aget()
    assert str(left) == f"roll call at {left.at}"
    assert left.token == "of another"


async def test_what_a_process_has_told_only_in_part_is_not_there(entered, monkeypatch):
    await sync_to_async(add_hub)("slow")
    is_over = Asking.is_over

    def with_a_part(asking):
        if not RollSheet.objects.filter(process="slow").exists():
            sockets = [[1, "", 0.0, False, ["en-us", "UTC", "http", ""], []]]
            RollSheet.objects.create(roll_id=asking._token, process="slow", number=0, is_last=False, sockets=sockets)
        return is_over(asking)

    monkeypatch.setattr(Asking, "is_over", with_a_part)

    found = await aroll_call(0.5)

    assert [one.identity for one in found.unanswered] == ["slow"]
    assert len(found.sockets) == 4


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_nobody_would_see_it():
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        roll_call()


# Parts of it


async def test_it_can_be_narrowed_by_whom_what_and_where(demo, entered):
    found = await aroll_call(PATIENCE)
    northwind = await Organization.objects.aget(name="Northwind")

    @sync_to_async
    def numbers(**about):
        part = found.of(**about)
        assert {one.socket for one in part.subscriptions} <= set(part.sockets)
        return sorted(one.number for one in part.sockets), len(part.subscriptions)

    assert await numbers() == ([1, 2, 3, 4], 2)
    assert await numbers(user=demo.amira) == ([1, 2], 2)
    assert await numbers(user=AnonymousUser()) == ([4], 0)
    assert await numbers(instance=demo.card) == ([1, 2], 2)
    assert await numbers(instance=Card(pk=7)) == ([], 0)
    assert await numbers(instance=demo.card, user=demo.dev) == ([], 0)
    assert await numbers(tenant=northwind) == ([1, 2], 2)
    assert await numbers(tenant=northwind, user=demo.dev) == ([], 0)
    name = found.sockets[0].name
    assert await numbers(socket=name) == ([found.sockets[0].number], len(found.of(socket=name).subscriptions))
    assert await numbers(socket="none:1") == ([], 0)


async def test_what_can_be_no_part_is_said(demo, entered):
    found = await aroll_call(PATIENCE)

    for about, error in (({"instance": Group(pk=1)}, LookupError), ({"user": 17}, TypeError)):
        with pytest.raises(error):
            found.of(**about)


async def test_of_a_client_that_holds_what_no_model_has_the_key_is_unknown(demo, entered):
    one, *_ = (await aroll_call(PATIENCE)).subscriptions
    names = [("board.Card", "not-an-id"), ("board.Gone", one.hashid)]

    assert [type(one)(one.socket, *name, None, None, "", None).key for name in names] == ["", ""]


# Closing


async def test_the_sockets_of_a_part_are_closed_and_no_others(demo, entered):
    before = counts()["sockets_closed_by_operator"]
    found = (await aroll_call(PATIENCE)).of(user=demo.amira)

    assert close(found) == 2

    for name in ("amira", "amira2"):
        assert await entered[name].take() == {"type": "websocket.close", "code": 4403}
    await entered["dev"].nothing()
    await entered["nobody"].nothing()
    assert counts()["sockets_closed_by_operator"] == before + 2
    assert len((await aroll_call(PATIENCE)).sockets) == 2


async def test_by_what_stands_for_a_user_nobody_is_closed(demo, entered):
    [socket] = [one for one in the_hub().sockets if one.number == 3]

    courier.post([Notice("close", token=token) for token in (socket.user_token, "", f"{the_hub().identity}:3", "3")])

    await entered["dev"].nothing()
    assert socket in the_hub().sockets


def test_what_stands_for_a_socket_is_not_told_without_the_secret_key(settings):
    known = token_of_socket("0123456789abcdef", 1)
    settings.SECRET_KEY = "another"

    assert token_of_socket("0123456789abcdef", 1) != known
    assert known not in (token_of_socket("0123456789abcdef", 11), token_of_socket("0123456789abcde", 1))
