"""A hub says that it is there, answers who is, and is harmed by nothing that fails about that."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import PATIENCE, until
from django.db import OperationalError, connections

from livegate.gateway import trail
from livegate.gateway.audit import attendance
from livegate.gateway.audit.models import RollCall, RollSheet, RunningHub
from livegate.gateway.courier import courier
from livegate.gateway.hub import Hub, _hubs
from livegate.gateway.notices import Notice

asked = sync_to_async(list)


def the_hub():
    return _hubs[asyncio.get_running_loop()]


async def until_there(rows, *, many=1):
    """Wait for so many rows."""
    async with asyncio.timeout(PATIENCE):
        while len(await asked(rows.all())) != many:
            await asyncio.sleep(0.01)


async def call(token, **about):
    """Somebody asks who is there; gives the sheets when the last is there."""
    await sync_to_async(RollCall.objects.create)(token=token, at="2026-03-01T12:00Z", **about)
    courier.post([Notice("roll", token=token)])
    await until_there(RollSheet.objects.filter(roll=token, is_last=True))
    return await asked(RollSheet.objects.filter(roll=token).order_by("number"))


@pytest.fixture(autouse=True)
async def disconnected():
    """What asks the database in threads keeps no connection."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(attendance, "PAUSE", 0)


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(attendance, "SEEN_EVERY", 0.01)


async def test_a_hub_is_entered_while_it_is_there(demo, connect):
    client = await connect(demo.amira)
    await until_there(RunningHub.objects)
    [row] = await asked(RunningHub.objects.all())

    assert row.identity == the_hub().identity
    assert str(row).startswith(f"{row.identity} (")
    await client.close()
    assert await asked(RunningHub.objects.all()) == []


async def test_it_says_again_that_it_is_there_also_when_it_was_taken_for_gone(demo, connect, often):
    await connect(demo.amira)
    await until_there(RunningHub.objects)
    [before] = await asked(RunningHub.objects.all())

    await until_there(RunningHub.objects.filter(seen__gt=before.seen))
    await sync_to_async(RunningHub.objects.all().delete)()
    await until_there(RunningHub.objects)


async def test_it_answers_with_what_each_socket_has(demo, connect):
    amira, nobody = await connect(demo.amira), await connect()
    await amira.subscribe(demo.card, etag=None)
    await amira.receive()

    sheet, last = await call("who")

    by_number = {number: rest for number, *rest in sheet.sockets}
    user, opened, is_behind, surroundings, [subscription] = by_number[1]
    label, hashid, since, _verified, is_admitted, _basis, etag = subscription
    assert (user, is_behind, label, hashid, is_admitted) == (
        str(demo.amira.pk),
        False,
        "board.Card",
        demo.card.hashid,
        True,
    )
    assert 0 < opened <= since
    assert len(etag) == 32
    assert by_number[2][0] == ""
    assert surroundings[:3] == ["en", "UTC", "http"]
    assert by_number[2][4] == []
    assert sheet.changes == last.changes == []
    assert (sheet.number, sheet.is_last, last.number, last.is_last, last.sockets) == (0, False, 1, True, [])
    assert str(last).startswith("sheet 1 of")
    await nobody.nothing()


async def test_who_asks_about_one_object_is_told_of_that_one_alone(demo, connect, monkeypatch):
    trail.forget()
    monkeypatch.setattr(attendance, "MOST_CHANGES", 2)
    other = await sync_to_async(Card.objects.create)(board_id=demo.card.board_id, owner=demo.amira, title="another")
    amira, ben, _ = await connect(demo.amira), await connect(demo.ben), await connect(demo.cleo)
    await amira.subscribe(demo.card)
    await amira.subscribe(other)
    await ben.subscribe(other)
    trail.note_unwatched("board.Card", other.hashid, ["title"], None)
    for number in range(3):
        trail.note_unwatched("board.Card", demo.card.hashid, ["title", "salary"], [f"field_{number}"])

    sheet, last = await call("who", model="board.Card", hashid=demo.card.hashid)

    [[number, *_, subscriptions]] = sheet.sockets
    assert number == 1
    assert [one[1] for one in subscriptions] == [demo.card.hashid]
    assert sheet.changes == []
    assert [row[1:] for row in last.changes] == [
        ["unwatched", ["title", "salary"], ["field_1"]],
        ["unwatched", ["title", "salary"], ["field_2"]],
    ]
    trail.forget()


async def test_many_stand_on_several_sheets(demo, connect, monkeypatch):
    monkeypatch.setattr(attendance, "SHEET", 2)
    clients = [await connect(demo.amira) for _ in range(3)]
    await clients[0].subscribe(demo.card)

    *sheets, last = await call("who")

    assert sum(len(sheet.sockets) for sheet in sheets) == 3
    assert len(sheets) == 2
    assert last.is_last


class Crowd:
    """A hub whose sockets go while they are looked at."""

    identity = "crowd"

    def __init__(self, sockets):
        self.sockets = set(sockets)


async def test_who_goes_meanwhile_is_on_no_sheet(demo, connect, monkeypatch):
    monkeypatch.setattr(attendance, "SHEET", 1)
    for _ in range(3):
        await connect(demo.amira)
    crowd = Crowd(the_hub().sockets)

    made = attendance.sheets(crowd)
    first = next(made)
    crowd.sockets.clear()

    assert len(first) == 1
    assert list(made) == []


async def test_a_call_that_nobody_has_made_is_not_answered_and_one_that_was_only_once(demo, connect, quick):
    await connect(demo.amira)

    courier.post([Notice("roll", token="of a thief"), Notice("roll", token="\0\ud800")])
    await call("of an operator")
    courier.post([Notice("roll", token="of an operator")])
    await call("of another")

    sheets = await asked(RollSheet.objects.order_by("roll", "number").values_list("roll", "number"))
    assert sheets == [(of, number) for of in ("of an operator", "of another") for number in (0, 1)]


async def test_what_was_given_up_meanwhile_is_not_answered_to_its_end(demo, connect, monkeypatch, quick):
    await connect(demo.amira)
    hand_in = attendance.hand_in
    answered = []

    def given_up(sheet):
        if sheet.roll_id == "given up":
            RollCall.objects.filter(token="given up").delete()
        answered.append((sheet.roll_id, hand_in(sheet)))
        return answered[-1][1]

    monkeypatch.setattr(attendance, "hand_in", given_up)
    await sync_to_async(RollCall.objects.create)(token="given up", at="2026-03-01T12:00Z")
    courier.post([Notice("roll", token="given up")])
    await call("asked")

    await until(lambda: ("given up", False) in answered)
    await call("afterwards")
    assert sorted(answered) == [*[("afterwards", True)] * 2, *[("asked", True)] * 2, ("given up", False)]


async def test_however_much_is_called_it_is_looked_at_no_more_than_once_in_a_pause(demo, connect, monkeypatch):
    looks = []
    opened = attendance.open_among
    monkeypatch.setattr(attendance, "open_among", lambda called: looks.append(called) or opened(called))
    monkeypatch.setattr(attendance, "PAUSE", 1_000)
    client = await connect(demo.amira)

    await call("first")
    courier.post([Notice("roll", token=f"flood {number}") for number in range(3 * attendance.MOST_CALLS)])
    await client.nothing()  # all that was posted before was heard

    [one] = the_hub()._attendants
    assert looks == [["first"]]
    assert len(one._called) == attendance.MOST_CALLS


async def test_what_a_client_asked_for_is_made_fit_for_the_table(demo, connect, monkeypatch):
    shut = threading.Event()
    monkeypatch.setattr("livegate.gateway.evaluator.evaluate", lambda pairs: shut.wait(PATIENCE) and {})
    client = await connect(demo.amira)
    await until(lambda: the_hub().hears)
    for hashid in ("\0\ud800", "x" * 5_000):
        await client.send({"model": "board.Card", "id": hashid})
    await until(lambda: len(list(the_hub().subscriptions())))

    sheet, _ = await call("who")
    shut.set()

    [[*_, subscriptions]] = sheet.sockets
    assert [len(one[1]) for one in subscriptions][-1] <= 64
    assert not any(is_admitted for _, _, _, _, is_admitted, _, _ in subscriptions)


async def test_a_database_that_is_away_is_logged_once_and_nobody_notices(demo, connect, monkeypatch, caplog, often):
    tries, enter = [], attendance.enter

    def fail(identity):
        tries.append(identity)
        raise OperationalError("secret")

    monkeypatch.setattr(attendance, "enter", fail)
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await until(lambda: len(tries) > 2)
    assert [record.event for record in caplog.records] == ["register_failed"]
    assert "secret" not in caplog.text

    monkeypatch.setattr(attendance, "enter", enter)
    await until_there(RunningHub.objects)


async def test_a_hub_that_cant_say_that_it_goes_logs_it_and_ends(demo, connect, monkeypatch, caplog):
    def fail(identity):
        raise OperationalError("secret")

    monkeypatch.setattr(attendance, "leave", fail)
    client = await connect(demo.amira)
    await until_there(RunningHub.objects)

    await client.close()

    assert [(record.event, record.levelno) for record in caplog.records] == [("register_failed", logging.ERROR)]
    assert "secret" not in caplog.text


async def test_a_hub_waits_for_no_database_that_does_not_answer(demo, connect, monkeypatch):
    monkeypatch.setattr(attendance, "LONGEST_CLOSE", 0)
    shut = threading.Event()
    monkeypatch.setattr(attendance, "leave", lambda identity: shut.wait(PATIENCE))
    client = await connect(demo.amira)

    await client.close()

    shut.set()


async def test_of_many_hubs_each_is_entered_and_gone(demo):
    hubs = [Hub() for _ in range(3)]
    try:
        await until_there(RunningHub.objects, many=3)
    finally:
        for hub in hubs:
            await hub.stop()

    assert await asked(RunningHub.objects.all()) == []
