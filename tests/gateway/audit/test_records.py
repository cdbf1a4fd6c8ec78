"""Records: who watches an object now, and what their clients hold."""

from __future__ import annotations

from datetime import UTC, datetime

from livegate.gateway.audit.records import holdings_of


async def test_the_subscriptions_of_a_user_are_told_with_what_the_client_holds(demo, viewer, connect):
    label, hashid = "board.Card", demo.card.hashid
    assert holdings_of(viewer(demo.amira), label, hashid) is None  # there may be some, in other processes

    amira, ben, nobody = await connect(demo.amira), await connect(demo.ben), await connect()
    assert (await amira.subscribe(demo.card, etag=None))["type"] == "SUBSCRIBED"
    shown = (await amira.receive())["meta"]["etag"]
    for client in (ben, nobody):
        await client.rest()

    [held] = holdings_of(viewer(demo.amira, language="de"), label, hashid)
    assert held.is_admitted
    assert held.etag == shown
    assert (datetime.now(UTC) - held.since).total_seconds() < 60
    assert holdings_of(viewer(demo.ben), label, hashid) == holdings_of(viewer(), label, hashid) == []
