"""Records: who watches an object now, what their clients hold, and what became of its changes."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from socket import gethostname
from types import SimpleNamespace

import pytest
from clients import PATIENCE
from django.db import OperationalError, connection, transaction
from registers import FAR, HERE, answered, opened, watched

from livegate.gateway import trail
from livegate.gateway.audit import records
from livegate.gateway.audit.changes import Change
from livegate.gateway.audit.explanation import explain
from livegate.gateway.audit.models import LedgerEntry
from livegate.gateway.audit.records import holdings_here, last_shown, records_of
from livegate.gateway.publications import find
from livegate.permissions import Viewer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_trail():
    trail.forget()
    yield
    trail.forget()


async def test_the_subscriptions_of_a_user_are_told_with_what_the_client_holds(demo, viewer, connect):
    label, hashid = "board.Card", demo.card.hashid
    assert holdings_here(viewer(demo.amira), label, hashid) is None  # there may be some, in other processes

    amira, ben, nobody = await connect(demo.amira), await connect(demo.ben), await connect()
    assert (await amira.subscribe(demo.card, etag=None))["type"] == "SUBSCRIBED"
    shown = (await amira.receive())["meta"]["etag"]
    for client in (ben, nobody):
        await client.rest()

    [held] = holdings_here(viewer(demo.amira, language="de"), label, hashid)
    assert held.is_admitted
    assert held.etag == shown
    assert held.socket.endswith(":1")
    assert (held.host, held.pid) == (gethostname(), os.getpid())
    assert (datetime.now(UTC) - held.since).total_seconds() < 60
    assert holdings_here(viewer(demo.ben), label, hashid) == holdings_here(viewer(), label, hashid) == []


# From all processes


@pytest.fixture
def roll(monkeypatch):
    """What the processes answer, and what they were asked."""
    roll = SimpleNamespace(register=answered(), asked=[])

    def call(timeout, *, about):
        roll.asked.append((timeout, about))
        if isinstance(roll.register, Exception):
            raise roll.register
        return roll.register

    monkeypatch.setattr(records, "roll_call", call)
    return roll


@pytest.mark.django_db(transaction=True)
def test_the_subscriptions_of_a_user_are_those_on_all_processes(demo, viewer, roll):
    german = replace(opened(2, demo.amira), process=FAR, surroundings=("de", "Asia/Tokyo", "https", "far"))
    watching = [watched(opened(1, demo.amira), "h"), watched(german, "h", since=None)]
    roll.register = answered(*watching, watched(opened(3, demo.ben), "h"), watched(opened(4), "h"))

    told = records_of(viewer(demo.amira), "board.Card", "h", 7)

    assert roll.asked == [(7, ("board.Card", "h"))]
    assert [(one.socket, one.host, one.pid, one.is_admitted, one.etag) for one in told.holdings] == [
        (f"{HERE.identity}:1", "web-1", 17, True, "e" * 32),
        (f"{FAR.identity}:2", "web-2", 18, False, "e" * 32),
    ]
    assert told.holdings[1].viewer == Viewer(demo.amira, "de", "Asia/Tokyo", "https", "far")
    assert (told.processes, told.unanswered) == ((HERE,), ())
    [nobody] = records_of(viewer(), "board.Card", "h", 7).holdings
    assert nobody.socket == f"{HERE.identity}:4"


@pytest.mark.django_db(transaction=True)
def test_who_logged_in_as_something_else_has_none_of_nobodys(demo, viewer, roll):
    roll.register = answered(watched(opened(4), "h"))

    assert records_of(viewer(SimpleNamespace(is_authenticated=True, pk=4)), "board.Card", "h", 7).holdings == []


@pytest.mark.django_db(transaction=True)
def test_who_does_not_answer_is_named(demo, viewer, roll):
    roll.register = answered(watched(opened(1, demo.amira), "h"), unanswered=(FAR,))
    some = records_of(viewer(demo.amira), "board.Card", "h", 7)
    roll.register = replace(roll.register, subscriptions=(), processes=())
    none = records_of(viewer(demo.amira), "board.Card", "h", 7)

    assert some.unanswered == none.unanswered == (FAR,)
    assert len(some.holdings) == 1
    assert none.holdings is None  # it may have some


@pytest.mark.django_db(transaction=True)
def test_each_change_is_told_once_and_those_of_this_process_too(viewer, roll):
    def at(second, fate, host="web-1", pid=17):
        return Change(NOW + timedelta(seconds=second), fate, host=host, pid=pid)

    far = [at(3, "waiting"), at(1, "told"), at(2, "heard"), at(2, "heard", "web-2"), at(3, "told"), at(2, "told")]
    roll.register = replace(answered(), changes=tuple(far))
    trail.note_unwatched("board.Card", "h", ["title"], None)
    trail.note_unwatched("board.Card", "another", ["title"], None)

    *told, here = records_of(viewer(), "board.Card", "h", 7).changes

    assert [(one.at.second, one.fate, one.host) for one in told] == [
        (1, "told", "web-1"),
        (2, "heard", "web-1"),
        (2, "heard", "web-2"),
        (2, "told", "web-1"),
        (3, "told", "web-1"),
    ]
    assert (here.fate, here.host, here.pid) == ("unwatched", gethostname(), os.getpid())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("why", ["not wanted", "a transaction", "no tables"])
def test_where_the_others_can_not_be_asked_it_is_what_this_process_has(viewer, roll, why):
    trail.note_unwatched("board.Card", "h", ["title"], None)
    roll.register = OperationalError("no such table") if why == "no tables" else answered()

    if why == "a transaction":
        with transaction.atomic():
            told = records_of(viewer(), "board.Card", "h", 7)
            assert not connection.needs_rollback
    else:
        told = records_of(viewer(), "board.Card", "h", 0 if why == "not wanted" else 7)

    assert (told.processes, told.unanswered, told.holdings) == (None, (), None)
    assert [one.fate for one in told.changes] == ["unwatched"]
    assert len(roll.asked) == (why == "no tables")


@pytest.mark.django_db(transaction=True)
def test_where_no_process_has_sockets_there_are_no_subscriptions(viewer):
    told = records_of(viewer(), "board.Card", "h", PATIENCE)

    assert (told.processes, told.unanswered, told.holdings, told.changes) == ((), (), [], ())


# From the ledger


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
