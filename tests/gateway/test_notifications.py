"""notify: from anywhere, after the commit, without ever failing the one who calls."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from django.db import models, transaction
from django.test.utils import isolate_apps
from lab.models import Page, Tracked, Unpublished
from lab.serializers import plain

from livegate.gateway import publications
from livegate.gateway.courier import courier
from livegate.gateway.notices import Notice, unpack
from livegate.gateway.notifications import anotify, flush, notices_of, notify
from livegate.gateway.publications import publish
from livegate.permissions import anyone
from livegate.serializers.hashids import encode

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def posts(monkeypatch):
    """What was handed to the courier, one list for each time."""
    seen = []
    monkeypatch.setattr(courier, "post", lambda notices, more=False: seen.append(notices))
    return seen


def test_several_instances_of_several_models_are_told_at_once(posts):
    pages, tracked = [Page.objects.create(), Page.objects.create()], Tracked.objects.create()
    posts.clear()

    notify(*pages, tracked)

    assert posts == [
        [Notice("update", "lab.Page", page.hashid) for page in pages]
        + [Notice("update", "lab.Tracked", tracked.hashid)]
    ]


def test_inside_a_transaction_it_waits_for_the_commit_and_is_undone_with_it(posts):
    page = Page.objects.create()
    posts.clear()

    with transaction.atomic():
        notify(page)
        assert posts == []
    assert len(posts) == 1

    with pytest.raises(RuntimeError), transaction.atomic():
        notify(page)
        raise RuntimeError
    assert len(posts) == 1


def test_the_last_that_a_commit_tells_of_says_that_nothing_follows(monkeypatch):
    pages = [Page.objects.create() for _ in range(3)]
    told = []
    monkeypatch.setattr(courier, "post", lambda notices, more: told.append((notices[0].hashid, more)))

    with transaction.atomic():
        notify(pages[0])
        with pytest.raises(RuntimeError) as raised, transaction.atomic():
            notify(pages[1])
            raise RuntimeError
        notify(pages[2])
    assert told == [(pages[0].hashid, True), (pages[2].hashid, False)]
    assert raised  # which holds on to all that was there when it was raised

    notify(pages[1])
    assert told[2:] == [(pages[1].hashid, False)]


def test_what_has_no_publication_has_no_viewers(posts):
    notify(Unpublished.objects.create())

    assert posts == []


def test_what_is_no_instance_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match=r"notify\(\*queryset\)"):
        notify(Page.objects.all())


def test_an_instance_that_was_never_saved_is_refused():
    with pytest.raises(ValueError, match="never saved"):
        notify(Page())


def test_one_instance_that_has_no_hashid_loses_no_others_notice(posts, caplog):
    page = Page.objects.create()
    posts.clear()

    notify(page, Page(pk=-1))

    assert posts == [[Notice("update", "lab.Page", page.hashid)]]
    assert [record.event for record in caplog.records] == ["notices_lost"]


@isolate_apps("lab")
def test_a_child_with_a_key_of_its_own_is_told_under_its_parents_key(monkeypatch):
    class Parent(models.Model):
        class Meta:
            app_label = "lab"

    class Child(Parent):
        own = models.AutoField(primary_key=True)
        link = models.OneToOneField(Parent, on_delete=models.CASCADE, parent_link=True)

        class Meta:
            app_label = "lab"

    monkeypatch.setattr(publications, "_publications", {})
    publish(Parent, plain(Parent), to=anyone)

    assert list(notices_of("update", Child(own=7, link_id=3, id=3))) == [
        Notice("update", "lab.Parent", encode(Parent, 3)),
    ]


def test_without_a_salt_the_save_succeeds_and_what_is_missing_is_logged(posts, settings, caplog):
    settings.LIVEGATE = {}

    page = Page.objects.create()

    assert Page.objects.get() == page
    assert posts == []
    assert [record.event for record in caplog.records] == ["notices_lost"]


async def test_a_queryset_update_is_told_from_async_code(demo, connect):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await Card.objects.aupdate(title="Renamed")
    await client.nothing()
    await anotify(demo.card)

    assert (await client.receive())["payload"]["title"] == "Renamed"


async def test_a_bulk_update_of_several_is_told_to_the_viewers_of_each(demo, connect):
    other = await sync_to_async(Card.objects.create)(board_id=demo.card.board_id, owner=demo.amira, title="Other")
    client = await connect(demo.amira)
    for card in (demo.card, other):
        await client.subscribe(card)

    await Card.objects.aupdate(title="Renamed")
    await sync_to_async(lambda: notify(*Card.objects.order_by("pk")))()

    frames = [await client.receive(), await client.receive()]
    assert {frame["meta"]["id"] for frame in frames} == {demo.card.hashid, other.hashid}
    assert {frame["payload"]["title"] for frame in frames} == {"Renamed"}


def test_flush_returns_when_everything_is_sent_and_what_follows_is_sent_too(monkeypatch):
    class Layer:
        async def group_send(self, group, message):
            await asyncio.sleep(0.01)
            sent.extend(unpack(message).notices)

    sent = []
    monkeypatch.setattr("livegate.gateway.streams.get_channel_layer", Layer)
    pages = [Page.objects.create(), Page.objects.create()]
    flush()
    sent.clear()

    for number, page in enumerate(pages, 1):
        notify(page)
        flush()
        assert len(sent) == number
    flush()

    assert sent == [Notice("update", "lab.Page", page.hashid) for page in pages]
