"""Records: who watches an object now, and what their clients hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from livegate.gateway.audit.explanation import explain
from livegate.gateway.audit.models import LedgerEntry
from livegate.gateway.audit.records import holdings_of, last_shown
from livegate.gateway.publications import find


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


@pytest.mark.django_db
def test_what_was_shown_last_is_what_the_ledger_has(demo, viewer):
    publication, entry = find("board.Card"), {"process": "p", "key": str(demo.card.pk), "model": "board.Card"}
    for number, (kind, users) in enumerate(
        [("shown", [demo.amira.pk]), ("shown", [demo.ben.pk, demo.amira.pk]), ("shown", [demo.ben.pk]), ("taken", [])]
    ):
        at = datetime(2026, 1, 1, number, tzinfo=UTC)
        keys = {"users": [str(user) for user in users], "sockets": list(range(len(users)))}
        LedgerEntry.objects.create(at=at, kind=kind, number=number, etag=f"e{number}", **keys, **entry)

    hashid = demo.card.hashid
    assert last_shown(viewer(demo.amira), publication, hashid).etag == "e1"
    assert last_shown(viewer(demo.ben), publication, hashid).etag == "e2"
    assert last_shown(viewer(), publication, hashid) is last_shown(viewer(demo.ben), publication, "?") is None
    assert explain(demo.amira, demo.card).last_shown.etag == "e1"
