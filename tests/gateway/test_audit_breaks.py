"""What was found by those who tried to break the audit."""

from __future__ import annotations

import json
from time import time

import pytest
from board.models import Card
from clients import until
from django.contrib.auth import get_user_model
from django.db import OperationalError
from lab.sinks import written
from rest_framework import serializers

from livegate.gateway import evaluator, recorder
from livegate.gateway import hub as hub_module
from livegate.gateway.audit import ledger
from livegate.gateway.audit.explanation import explain
from livegate.gateway.decisions import Pair
from livegate.gateway.entries import CHANGE
from livegate.gateway.messages import parse
from livegate.gateway.notifications import anotify
from livegate.serializers.hashids import encode
from livegate.serializers.names import names_in

pytestmark = pytest.mark.usefixtures("sink")
MISSING = Card(pk=999)


def the_hub():
    [hub] = hub_module._hubs.values()
    return hub


async def rename(card, title):
    await Card.objects.filter(pk=card.pk).aupdate(title=title)
    await anotify(card)


async def hanging(sink, cause):
    """A sink that hangs, with a write that has begun."""
    await written()
    sink.open.clear()
    calls = len(sink.calls)
    await cause()
    await until(lambda: len(sink.calls) > calls)


def subscriptions_to(instance):
    return [one for one in the_hub().subscriptions() if one.key[0] == instance._meta.label]


# The sink


class Counted(serializers.ListField):
    """Shows how many there are."""

    child = serializers.CharField()

    def to_representation(self, data):
        return len(data)


class Many(serializers.ListSerializer):
    def to_representation(self, data):
        return 3


class Counting(serializers.ModelSerializer):
    title = Counted()

    class Meta:
        model = Card
        fields = ["id", "title"]


class CountedMany(serializers.Serializer):
    title = serializers.CharField()

    class Meta:
        list_serializer_class = Many


class Nesting(serializers.Serializer):
    cards = CountedMany(many=True)


@pytest.mark.parametrize(("serializer", "name"), [(Counting, "title"), (Nesting, "cards")])
@pytest.mark.parametrize("value", [3, True, 1.5])
def test_a_list_that_is_shown_as_something_else_has_a_name(serializer, name, value):
    """Breaks: the names of the fields that are shown; one payload of which they can't be told ends the ledger."""
    assert names_in(serializer, json.dumps({name: value}).encode()) == (name,)


async def test_a_view_whose_list_is_shown_as_a_number_does_not_end_the_ledger(demo, connect, sink, on_record):
    """Breaks: "strict" of everything else; the entry can't be made, and so no other is written any more."""
    on_record("strict", Counting)
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await rename(demo.card, "four")

    frame = await client.receive()
    assert (frame["type"], frame["payload"]["title"]) == ("UPDATE_CARD", 4)
    assert [entry.fields for entry in await written() if entry.kind == "shown"] == [("id", "title")]


async def test_who_leaves_while_it_is_written_leaves_no_number_missing(
    demo, connect, sink, on_record, monkeypatch, settings
):
    """Breaks: none is missing between two numbers of a process. The last client leaves, the hub stops, and what was
    being written strictly fails, or never begins."""
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await hanging(sink, lambda: rename(demo.card, "strict"))
    sink.away = True
    hub, stop = the_hub(), recorder.Recorder.stop

    async def stop_then(self):
        sink.open.set()
        await hub._recorder._worker.do(str, None)  # what hung has failed
        sink.away = False
        await stop(self)

    monkeypatch.setattr(recorder.Recorder, "stop", stop_then)
    await client.close()

    numbers = sorted(entry.number for entry in sink.kept)
    assert numbers == list(range(1, numbers[-1] + 1))
    [withheld] = [entry for entry in sink.kept if entry.kind == "withheld"]
    assert withheld.of in {entry.number for entry in sink.kept if entry.kind == "shown"}


# What else waits for what is strict


async def watch_themselves(client, user):
    """What is published, and not on record."""
    name = {"model": "auth.User", "id": encode(type(user), user.pk)}
    await client.ask({"action": "subscribe", **name, "request_id": 1})


async def test_what_is_not_strict_does_not_wait_beside_what_is(demo, connect, sink, on_record):
    """Breaks: "everything else goes on", and a view is sent within its lifetime, or decided anew (law 2). On one socket
    with something strict it was sent when the ledger had been written, or could not be, however late that was."""
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await watch_themselves(client, demo.amira)
    users = get_user_model().objects.filter(pk=demo.amira.pk)

    async def both_change():
        await Card.objects.aupdate(title="strict")
        await users.aupdate(first_name="new")
        the_hub().look_again(list(the_hub().subscriptions()), CHANGE)

    await hanging(sink, both_change)
    assert (await client.receive())["payload"]["first_name"] == "new"
    [socket] = the_hub().sockets
    assert socket.busy  # what is strict is still to come
    sink.open.set()
    assert (await client.receive())["payload"]["title"] == "strict"
    await until(lambda: not socket.busy)


async def test_requests_of_others_do_not_wait_for_the_ledger(demo, connect, sink, on_record):
    """Breaks: "everything else goes on". Somebody is refused in the batch in which somebody else is shown something
    strict: nobody's request was looked at until the ledger had been written."""
    on_record("strict")
    client, refused, other = await connect(demo.amira), await connect(demo.cleo), await connect(demo.ben)
    await client.subscribe(demo.card)
    [subscription] = subscriptions_to(demo.card)
    socket = next(one for one in the_hub().sockets if one.number == 2)

    async def both():
        await Card.objects.aupdate(title="strict")
        the_hub().look_again([subscription], CHANGE)
        request = {"action": "subscribe", "model": "board.Card", "id": MISSING.hashid, "request_id": 1}
        pair = Pair(socket.viewer, subscription.pair.publication, MISSING.hashid)
        the_hub().subscribe(socket, pair, parse(json.dumps(request)))

    await hanging(sink, both)
    assert (await refused.receive())["payload"]["code"] == "not_found"
    name = {"model": "auth.User", "id": encode(type(demo.ben), demo.ben.pk)}
    await other.send({"action": "subscribe", **name, "request_id": 1})
    [asking] = [one for one in the_hub().sockets if one.number == 3]
    await until(lambda: asking.unanswered)
    await until(lambda: not asking.unanswered)
    assert client._out.empty()
    sink.open.set()
    assert (await client.receive())["type"] == "UPDATE_CARD"


async def test_what_is_taken_away_does_not_wait_for_the_ledger(demo, connect, sink, on_record):
    """Breaks: "what is refused or taken away shows nothing, and does not wait". It does where it is on one socket
    with something strict."""
    on_record("strict")
    client = await connect(demo.dev)
    other = await Card.objects.acreate(title="other", board_id=demo.card.board_id, owner=demo.amira, public=True)
    for card in (demo.card, other):
        await client.subscribe(card)

    async def one_changes_and_one_goes():
        await Card.objects.filter(pk=demo.card.pk).aupdate(title="strict")
        await Card.objects.filter(pk=other.pk).aupdate(public=False)
        the_hub().look_again(list(the_hub().subscriptions()), CHANGE)

    await hanging(sink, one_changes_and_one_goes)
    assert (await client.receive())["type"] == "DELETE_CARD"
    assert not the_hub()._recorder.is_failing  # nor was it waited until that was given up
    sink.open.set()
    assert (await client.receive())["type"] == "UPDATE_CARD"


async def test_who_gives_up_before_it_is_begun_to_be_written_was_not_shown_it(
    demo, connect, sink, on_record, monkeypatch
):
    """Breaks: what is on record and was not shown is withheld. Who left, or gave up, after it was decided and in the
    turn of the event loop before it was given to the ledger, was on record as shown it for ever."""
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    [subscription] = the_hub().subscriptions()
    set_apart = evaluator.Evaluator._set_apart

    def given_up(self, *given):
        others = set_apart(self, *given)
        the_hub().unsubscribe(subscription.socket, subscription.key)
        return others

    monkeypatch.setattr(evaluator.Evaluator, "_set_apart", given_up)
    await rename(demo.card, "strict")
    await until(lambda: not subscription.is_current)
    await until(lambda: not subscription.socket.busy)
    await client.nothing()

    entries = await written()
    withheld = {entry.of for entry in entries if entry.kind == "withheld"}
    assert [one for one in entries if one.kind == "shown" and one.number not in withheld] == []
    assert subscription.receipt is None


# What an entry says


async def test_a_subscription_has_ended_when_it_was_given_up(demo, connect, sink, on_record):
    """Breaks: the time. It was that of the last decision, from before it was given up; two who give up at different
    times were one entry, and its cause was that of what they had been shown."""
    on_record("subscriptions")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    before = time()
    await client.send({"action": "unsubscribe", "model": "board.Card", "id": demo.card.hashid})
    await client.ask({"action": "ping"})

    [ended] = [entry for entry in await written() if entry.kind == "ended"]
    assert ended.at.timestamp() >= before


async def test_what_is_tried_again_was_still_asked_for(demo, connect, sink, on_record, monkeypatch):
    """Breaks: the cause, "several with + between". What could not be decided at first had no cause but "retry"."""
    on_record("showings")
    client = await connect(demo.amira)
    evaluate, failing = evaluator.evaluate, [True]

    def evaluate_or_fail(*given):
        if failing.pop() if failing else False:
            raise OSError
        return evaluate(*given)

    monkeypatch.setattr(evaluator, "evaluate", evaluate_or_fail)
    frames = [await client.subscribe(demo.card, etag="old")]
    while frames[-1]["type"] != "UPDATE_CARD":
        frames.append(await client.receive())

    causes = {entry.kind: entry.cause for entry in await written() if entry.cause}
    assert causes == {"admitted": "resume+retry", "shown": "resume+retry"}


async def test_a_change_that_could_not_be_put_on_record_at_first_is_still_the_cause(demo, connect, sink, on_record):
    """Breaks: the cause."""
    on_record("strict")
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await written()
    sink.away = True
    await rename(demo.card, "strict")
    assert (await client.receive())["type"] == "DELAYED"
    sink.away = False
    assert (await client.receive())["type"] == "UPDATE_CARD"

    entries = await written()
    withheld = {entry.of for entry in entries if entry.kind == "withheld"}
    [shown] = [one for one in entries if one.kind == "shown" and one.number not in withheld]
    assert shown.cause == "change+retry"


# Questions


def test_a_field_within_another_can_be_asked_for_before_anybody_saw_it(demo):
    """Breaks: it is a field that no serializer has which raises an error. One in a nested serializer did, as long as
    nobody had been shown it: the answer is that nobody has."""
    for field in ("owner.email", "owner", "salary"):
        assert list(ledger.who_saw(demo.card, field=field)) == []
    for field in ("owner.no", "salary.email", "no.email", "owner.email.no", ""):
        with pytest.raises(ValueError, match="No serializer"):
            ledger.who_saw(demo.card, field=field)


def test_an_explanation_needs_no_ledger(demo, monkeypatch):
    """Breaks: explain, for an operator at night, when the database of the ledger is down: it told nothing at all."""

    def away(*given):
        raise OperationalError("the secret")

    monkeypatch.setattr("livegate.gateway.audit.records.showings", away)

    told = explain(demo.ben, demo.card)

    assert (told.decision, told.last_shown, told.is_ledger_read) == ("yes", None, False)
    assert "the ledger can't be read" in told.as_text()


@pytest.mark.parametrize("place", ["user=%00", "label=%00", "object=%00", "object=auth.User:%00", "q=%00"])
def test_the_list_can_be_asked_for_what_can_not_be(demo, client, place):
    """Breaks: the admin, on PostgreSQL, by what it takes in no text."""
    client.force_login(demo.admin)
    response = client.get(f"/admin/livegate_audit/ledgerentry/?{place}")
    assert response.status_code == 200
