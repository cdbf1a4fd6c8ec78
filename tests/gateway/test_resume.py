"""Going on from what one holds, by a GET or from a socket that was lost: nothing is missed, nothing is told twice."""

from __future__ import annotations

import json
from itertools import combinations_with_replacement, product
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import hashid_of
from guardian.shortcuts import assign_perm, remove_perm
from lab.connections import elsewhere
from lab.models import Page
from rest_framework.test import APIClient

from livegate.gateway import evaluation as evaluation_module
from livegate.gateway import evaluator
from livegate.gateway.frames import ERRORS

# When something may be written, in the order of time. Three are within the evaluation that answers the subscription.
MOMENTS = [
    "before the GET",
    "after the GET",
    "before it is read",
    "between two reads",
    "when it was made",
    "at the end",
]


def named(instance):
    return {"model": instance._meta.label, "id": hashid_of(instance)}


@pytest.fixture
def writes(monkeypatch):
    """What is written at which moment, by another process: functions, each of them called once."""
    writes = {}

    def happen(moment):
        for write in writes.pop(moment, ()):
            assert elsewhere(write, patience=20) == []  # the register may be writing that there is a hub

    def around(evaluate):
        def evaluated(pairs):
            happen("before it is read")
            decisions = evaluate(pairs)
            happen("when it was made")
            return decisions

        return evaluated

    def then(read):
        def done(*given):
            found = read(*given)
            happen("between two reads")
            return found

        return done

    monkeypatch.setattr(evaluator, "evaluate", around(evaluator.evaluate))
    monkeypatch.setattr(evaluation_module, "fetch", then(evaluation_module.fetch))
    writes_at = SimpleNamespace(at=writes, happen=sync_to_async(happen))
    yield writes_at
    assert writes == {}


@sync_to_async
def get(user, name, **headers):
    """What a GET answers: the view and the ETag, as they come; None and None where nothing is found."""
    client = APIClient()
    client.force_authenticate(user)
    response = client.get(f"/api/cards/{name['id']}/", headers=headers)
    return (response.data, response["ETag"]) if response.status_code == 200 else (None, None)


@pytest.fixture
def go_on(demo, connect, writes):
    """Cleo GETs the card, and subscribes with the ETag of the answer. Gives the frames that she is sent; each says
    something else than she holds, and in the end she holds what a GET answers."""

    async def gone_on():
        client, name = await connect(demo.cleo), named(demo.card)
        await writes.happen("before the GET")
        held, etag = await get(demo.cleo, name)
        await writes.happen("after the GET")
        frames = [await client.ask({"action": "subscribe", **name, "etag": etag, "request_id": 1})]
        await writes.happen("at the end")
        frames += [json.loads(text) for text in await client.rest()]
        for frame in frames:
            if frame["type"] == "UPDATE_CARD":
                assert frame["payload"] != held
                held = frame["payload"]
            elif frame["type"] == "DELETE_CARD":
                assert held is not None
                held = None
            elif frame["type"] == "ERROR":
                assert held is None
        assert held == (await get(demo.cleo, name))[0]
        return [frame["type"] for frame in frames]

    return gone_on


def save(**values):
    def write():
        card = Card.objects.get()
        for name, value in values.items():
            setattr(card, name, value)
        card.save()

    return write


@pytest.mark.parametrize("moments", [*combinations_with_replacement(MOMENTS, 2)], ids=" and ".join)
async def test_whenever_something_is_written_who_gets_and_then_subscribes_is_told_what_differs(go_on, writes, moments):
    for number, moment in enumerate(moments):
        writes.at.setdefault(moment, []).append(save(title=f"New {number}"))

    told = await go_on()

    differing = sum(moment != MOMENTS[0] for moment in moments)
    assert told[0] == "SUBSCRIBED"
    assert min(differing, 1) <= len(told) - 1 <= differing
    assert set(told[1:]) <= {"UPDATE_CARD"}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_was_written_and_does_not_show_is_not_told(go_on, writes, moment):
    writes.at[moment] = [save(salary=1)]

    assert await go_on() == ["SUBSCRIBED"]


@pytest.mark.parametrize("moment", ["before the GET", "after the GET", "before it is read"])
async def test_what_was_written_and_undone_before_it_was_read_is_not_told(go_on, writes, demo, moment):
    writes.at[moment] = [save(title="New"), save(title=demo.card.title)]

    assert await go_on() == ["SUBSCRIBED"]


LOSSES = {
    "deleted": lambda demo: lambda: Card.objects.get().delete(),
    "revoked": lambda demo: lambda: remove_perm("view_card", demo.cleo, demo.card),
}


@pytest.mark.parametrize(("loss", "moment"), [*product(LOSSES, MOMENTS)])
async def test_what_is_lost_is_told_once_whenever_that_was(go_on, writes, demo, loss, moment):
    await Card.objects.aupdate(public=False)
    writes.at[moment] = [LOSSES[loss](demo)]

    told = await go_on()

    if moment == "before the GET":
        assert told == ["ERROR"]
    elif moment in ("after the GET", "before it is read"):
        assert told == ["DELETE_CARD", "ERROR"]
    elif moment == "at the end":
        assert told == ["SUBSCRIBED", "DELETE_CARD"]
    else:  # before or after what was made is sent
        assert told in (["DELETE_CARD", "ERROR"], ["SUBSCRIBED", "DELETE_CARD"])


@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_is_given_is_told_to_who_was_not_refused(go_on, writes, demo, moment):
    await sync_to_async(remove_perm)("view_card", demo.cleo, demo.card)
    writes.at[moment] = [lambda: assign_perm("view_card", demo.cleo, demo.card)]

    told = await go_on()

    assert told == (["SUBSCRIBED"] if moment == MOMENTS[0] else ["SUBSCRIBED", "UPDATE_CARD"])


async def test_an_etag_that_was_made_weak_on_the_way_names_the_same(demo, connect, settings):
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    await Card.objects.aupdate(notes="long " * 100)

    _, etag = await get(demo.amira, named(demo.card), accept_encoding="gzip")

    assert etag.startswith('W/"')
    client = await connect(demo.amira)
    assert (await client.subscribe(demo.card, etag=etag))["type"] == "SUBSCRIBED"
    await client.nothing()


async def test_who_comes_back_is_sent_of_three_objects_nothing_the_view_and_the_end(demo, connect):
    unchanged, changed, revoked = pages = [await Page.objects.acreate(text="old") for _ in range(3)]
    client, etags = await connect(demo.ben), {}
    for page in pages:
        await sync_to_async(assign_perm)("lab.view_page", demo.ben, page)
        shown = await client.ask({"action": "subscribe", **named(page), "etag": None})
        etags[page] = shown["meta"]["etag"]
    await client.close()
    changed.text = "new"
    await sync_to_async(changed.save)()
    await sync_to_async(remove_perm)("lab.view_page", demo.ben, revoked)

    again = await connect(demo.ben)
    for page in pages:
        await again.send({"action": "subscribe", **named(page), "etag": etags[page]})

    update, end, refusal = [json.loads(text) for text in await again.rest()]
    assert (update["type"], update["payload"]) == ("UPDATE_PAGE", {"id": changed.hashid, "text": "new"})
    assert end == {"type": "DELETE_PAGE", "payload": {"id": revoked.hashid}, "meta": named(revoked)}
    assert (refusal["type"], refusal["payload"]["code"]) == ("ERROR", "not_found")
    assert refusal["payload"]["detail"] == ERRORS["not_found"]
    for page in pages:  # of the third, nothing is watched any more
        page.text = "newer"
        await sync_to_async(page.save)()
    assert [json.loads(text)["meta"]["id"] for text in await again.rest()] == [unchanged.hashid, changed.hashid]
