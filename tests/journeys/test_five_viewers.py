"""The whole way, on real parts: uvicorn, Redis, PostgreSQL, WebSocket clients, and a second process that saves."""

from __future__ import annotations

import asyncio

from site_client import PEOPLE, rest, watching, work


async def test_one_save_in_another_process_has_five_outcomes_each_equal_to_that_viewers_get(site):
    async with watching(site, *PEOPLE) as clients:
        await asyncio.to_thread(work, site, "card.title = 'Staff engineer'; card.public = False; card.save()")

        frames = [await client.receive() for client in clients]

    gets = [rest(site, person) for person in PEOPLE]
    assert [frame["payload"] if frame["type"] == "UPDATE_CARD" else None for frame in frames] == gets
    assert [get and sorted(get) for get in gets] == [
        ["board", "id", "notes", "owner", "public", "salary", "status", "title"],
        ["board", "id", "notes", "owner", "public", "salary", "status", "title"],
        ["board", "id", "notes", "owner", "public", "status", "title"],
        None,
        None,
    ]
    assert gets[0]["title"] == "Staff engineer"
    assert gets[0] != gets[1]  # the owner sees their own e-mail
    gone = {"type": "DELETE_CARD", "payload": {"id": site.hashid}, "meta": {"model": "board.Card", "id": site.hashid}}
    assert frames[3] == frames[4] == gone


async def test_what_is_rolled_back_elsewhere_pushes_nothing_and_what_follows_is_not_lost(site):
    async with watching(site, "amira") as [amira]:
        await asyncio.to_thread(work, site, ROLLED_BACK)

        frame = await amira.receive()

    assert frame["payload"]["title"] == "Committed after a savepoint was rolled back"


ROLLED_BACK = """
try:
    with transaction.atomic():
        card.title = 'Rolled back'
        card.save()
        raise ValueError
except ValueError:
    pass
with transaction.atomic():
    try:
        with transaction.atomic():
            card.title = 'Rolled back to a savepoint'
            card.save()
            raise ValueError
    except ValueError:
        pass
    card.title = 'Committed after a savepoint was rolled back'
    card.save()
"""


async def test_who_comes_back_presents_the_etag_and_is_sent_only_what_differs(site):
    async with watching(site, "cleo") as [cleo]:
        await cleo.send({"model": "board.Card", "id": site.hashid, "etag": None})
        held = await cleo.receive()
    assert held["payload"] == rest(site, "cleo")

    async with watching(site, "cleo") as [cleo]:
        again = {"model": "board.Card", "id": site.hashid, "request_id": "again"}
        await cleo.send({**again, "etag": held["meta"]["etag"]})
        assert (await cleo.receive())["meta"] == {"request_id": "again"}
        await asyncio.to_thread(rest, site, "amira", "PATCH", {"title": "Changed meanwhile"})
        assert (await cleo.receive())["payload"]["title"] == "Changed meanwhile"
