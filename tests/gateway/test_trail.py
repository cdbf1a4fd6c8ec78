"""The trail: what became of a change is known in the process that made it, and in those that heard of it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import hashid_of, until
from django.db import transaction
from lab.models import Foreign

from livegate.gateway import changes, trail
from livegate.gateway.changes import watched_fields
from livegate.gateway.courier import courier
from livegate.gateway.notices import Notice
from livegate.gateway.notifications import notify
from livegate.gateway.trail import forget, note_heard, note_unwatched, steps_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_before(monkeypatch):
    monkeypatch.setattr(courier, "post", lambda notices, more: None)
    forget()
    yield
    forget()


def fates(instance):
    return [step.became for step in steps_of(instance._meta.label, instance.hashid)]


@pytest.mark.django_db(transaction=True)
def test_what_is_saved_is_told_when_it_commits(demo):
    with transaction.atomic():
        demo.card.title = "another"
        demo.card.save()
        assert fates(demo.card) == ["waiting"]

    assert fates(demo.card) == ["told"]
    notify(demo.card)
    assert fates(demo.card) == ["told", "told"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_within", [True, False])
def test_what_is_undone_with_its_transaction_or_its_savepoint_was_rolled_back(demo, is_within):
    demo.card.title = "another"
    with transaction.atomic() if is_within else nullcontext():
        with pytest.raises(KeyError), transaction.atomic():
            demo.card.save()
            assert fates(demo.card) == ["waiting"]
            raise KeyError
        assert fates(demo.card) == ["rolled back"]

    demo.card.save()
    assert fates(demo.card) == ["rolled back", "told"]


def test_a_save_that_changed_nothing_that_is_tracked_names_what_is(demo):
    demo.card.save()
    demo.card.save(update_fields=["title"])

    [first, second] = steps_of("board.Card", demo.card.hashid)
    assert first.became == second.became == "unwatched"
    assert first.watched == second.watched == tuple(sorted(Card.tracker.fields))
    assert (first.written, second.written) == ((), ("title",))


@pytest.mark.django_db(transaction=True)
def test_a_save_that_changed_nothing_that_is_watched_names_what_is():
    foreign = Foreign.objects.create(name="one")

    foreign.unwatched = "other"
    foreign.save()
    foreign.save(update_fields=["unwatched"])
    foreign.name = "secret"
    foreign.save()

    steps = steps_of("lab.Foreign", hashid_of(foreign))
    assert [step.became for step in steps] == ["told", "unwatched", "unwatched", "told"]
    assert {step.watched for step in steps[1:3]} == {tuple(watched_fields(Foreign))}
    assert [step.written for step in steps[1:3]] == [(), ("unwatched",)]
    assert "secret" not in repr(steps)


def test_what_can_not_be_noted_hinders_no_save(demo, monkeypatch):
    monkeypatch.setattr(changes, "note_unwatched", None)

    demo.card.save()

    assert fates(demo.card) == []


def test_rights_are_no_change(demo):
    note_heard(Notice("access", "board.Card", demo.card.hashid))
    note_heard(Notice("logout", token="t"))
    trail.note_waiting([Notice("access", "board.Card", demo.card.hashid)], print)

    assert fates(demo.card) == []


def test_it_is_bounded_and_what_is_heard_displaces_nothing_that_was_made(demo):
    note_unwatched("board.Card", demo.card.hashid, ["title"], None)
    for number in range(trail.MOST + 5):
        note_heard(Notice("update", "lab.Page", str(number)))

    assert fates(demo.card) == ["unwatched"]
    assert (len(trail._heard), len(trail._made)) == (trail.MOST, 1)
    for number in range(trail.MOST):
        note_unwatched("lab.Page", str(number), (), None)
    assert fates(demo.card) == []


async def test_a_hub_hears_of_it(demo, connect, monkeypatch):
    monkeypatch.undo()
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    demo.card.title = "another"
    await sync_to_async(demo.card.save)()

    await until(lambda: fates(demo.card)[-1:] == ["heard"])
