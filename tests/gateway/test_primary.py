"""The primary: what is shown, to whom, and who may stay is read from there, also where a router has a replica read.

The replica of these tests is another database, that has what there was when the test began. With ``READ_PRIMARY`` off
all is as that one has it, so these tests would notice.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager

import clients
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from board.models import Board, Card, Membership, Organization
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.db import connection, connections, router
from django.db.models import Max
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from guardian.models import UserObjectPermission
from guardian.shortcuts import remove_perm
from guardian.utils import get_anonymous_user
from lab.connections import elsewhere
from lab.models import Page
from lab.replicas import REPLICA, ReplicaRouter, lagging
from lab.serializers import plain
from rest_framework import serializers
from rest_framework.authtoken.models import Token

from livegate.gateway import access, evaluation, solitude
from livegate.gateway.access import EVERYBODY
from livegate.gateway.credentials import Credentials, ended
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.metrics import counts
from livegate.gateway.primary import from_primary
from livegate.gateway.publications import find
from livegate.gateway.routing import websocket_urlpatterns
from livegate.gateway.solitude import decide_alone
from livegate.permissions import (
    Viewer,
    anyone,
    has_model_perm,
    has_perm,
    is_authenticated,
    is_owner,
    permission,
    same_tenant,
)

pytestmark = pytest.mark.django_db(transaction=True)
User = get_user_model()
OLD, NEW = "Platform engineer", "new"


@pytest.fixture
def replica(demo, tmp_path):
    """Reads go to a replica, that has the demonstration and nothing that came after it; called, it catches up."""
    with lagging(tmp_path) as catch_up:
        yield catch_up


@pytest.fixture(params=[True, False], ids=["from the primary", "as the router has it"])
def reads_primary(request, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "READ_PRIMARY": request.param}
    return request.param


@contextmanager
def asked_of_the_replica(nothing):
    """In this thread: nothing at all, or something."""
    with CaptureQueriesContext(connections[REPLICA]) as asked:
        yield
    assert (len(asked) == 0) == nothing, [query["sql"] for query in asked]


# What is shown


def rename_everything():
    Card.objects.update(title=NEW)
    Board.objects.update(name=NEW)
    Organization.objects.filter(name="Northwind").update(name=NEW)
    Group.objects.update(name=NEW)
    User.objects.filter(username="ben").update(first_name=NEW)


def test_what_is_shown_was_written_last(demo, replica, reads_primary, viewer, settings, caplog):
    settings.LIVEGATE = {**settings.LIVEGATE, "CANARY_SHARE": 1}
    before = counts()["canaries"]
    pairs = [Pair(viewer(user), find("board.Card"), demo.card.hashid) for user in (demo.amira, demo.cleo, demo.nobody)]
    rename_everything()

    with asked_of_the_replica(nothing=reads_primary), caplog.at_level(logging.ERROR):
        views = evaluate(pairs)

    assert [json.loads(view.body)["title"] for view in views.values()] == [NEW if reads_primary else OLD] * 3
    assert counts()["canaries"] == before + 3
    assert caplog.messages == []


def in_another_thread(read):
    """As async code of the application's has it done; the connections of that thread end with it."""

    def read_and_close():
        try:
            return read()
        finally:
            connections.close_all()

    return async_to_sync(sync_to_async(read_and_close, thread_sensitive=False))()


boards = Board.objects.filter(cards__isnull=False)  # made when nothing was there yet

READS = {
    "a queryset": lambda card, user: Card.objects.get(pk=card.pk).title,
    "a queryset that was made before": lambda card, user: boards.get().name,
    "a count": lambda card, user: Card.objects.filter(title=NEW).count(),
    "an aggregate": lambda card, user: Card.objects.aggregate(name=Max("title")),
    "a raw query": lambda card, user: Card.objects.raw("SELECT * FROM board_card")[0].title,
    "an iterator": lambda card, user: [one.title for one in Card.objects.iterator()],
    "a relation": lambda card, user: card.board.name,
    "a relation of a relation": lambda card, user: card.board.organization.name,
    "a relation that is joined": lambda card, user: Card.objects.select_related("board").get().board.name,
    "a relation that is fetched beside": lambda card, user: (
        Board.objects.prefetch_related("cards").get(pk=card.board_id).cards.all()[0].title
    ),
    "the other side of a relation": lambda card, user: card.board.cards.get().title,
    "a relation of many to many": lambda card, user: user.groups.get().name,
    "the other side of a relation of many to many": lambda card, user: Group.objects.get().user_set.get().first_name,
    "a generic relation": lambda card, user: UserObjectPermission.objects.first().content_object.title,
    "a field that was deferred": lambda card, user: Card.objects.defer("title").get().title,
    "an instance that is read again": lambda card, user: (card.refresh_from_db(), card.title),
    "the user": lambda card, user: user.first_name,
    "the user as others have it": lambda card, user: User.objects.get(pk=user.pk).first_name,
    "async code": lambda card, user: in_another_thread(lambda: Card.objects.get().title),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_a_serializer_reads_for_itself_was_written_last(demo, replica, reads_primary, viewer, republish, read):
    class Reading(serializers.Serializer):
        read = serializers.SerializerMethodField()

        def get_read(self, card):
            return read(card, self.context["request"].user)

    publication = republish(Card, Reading, to=anyone)
    pairs = [Pair(viewer(demo.ben), publication, demo.card.hashid) for _ in range(2)]
    before = evaluate(pairs)
    rename_everything()

    with asked_of_the_replica(nothing=reads_primary):
        now = evaluate(pairs)
        alone = decide_alone(pairs[0])

    assert None not in [*before.values(), *now.values()]
    assert [now[pair] != before[pair] for pair in pairs] == [reads_primary] * 2
    assert alone == now[pairs[0]]


class BoardSerializer(serializers.ModelSerializer):
    cards = plain(Card, "title")(many=True)

    class Meta:
        model = Board
        fields = ["name", "cards"]


class NestingSerializer(serializers.ModelSerializer):
    board = BoardSerializer()

    class Meta:
        model = Card
        fields = ["board"]


@pytest.mark.parametrize(
    "queryset",
    [Card.objects.all(), Card.objects.select_related("board"), Card.objects.prefetch_related("board__cards")],
    ids=["as it comes", "joined", "fetched beside"],
)
def test_what_is_nested_was_written_last(demo, replica, reads_primary, viewer, republish, queryset):
    publication = republish(Card, NestingSerializer, to=anyone, queryset=queryset)
    rename_everything()

    with asked_of_the_replica(nothing=reads_primary):
        [view] = evaluate([Pair(viewer(demo.ben), publication, demo.card.hashid)]).values()

    board = json.loads(view.body)["board"]
    assert (board["name"], board["cards"][0]["title"]) == ((NEW, NEW) if reads_primary else ("Hiring", OLD))


# To whom


@permission
def has_a_token(viewer, card):
    return Token.objects.filter(user=viewer.user.pk).exists()


in_the_house = same_tenant("board__organization", "memberships__organization")
# By what somebody sees the card, and how that is taken from them.
REVOCATIONS = {
    "a grant": (has_perm("view_card"), "cleo", lambda demo: remove_perm("board.view_card", demo.cleo, demo.card)),
    "a grant to a group": (
        has_perm("view_card"),
        "ben",
        lambda demo: remove_perm("board.view_card", Group.objects.get(), demo.card),
    ),
    "a group": (has_perm("view_card"), "ben", lambda demo: demo.ben.groups.clear()),
    "a permission on the model": (
        has_model_perm("board.view_card"),
        "dev",
        lambda demo: demo.dev.user_permissions.clear(),
    ),
    "the rights of an administrator": (
        has_perm("view_card"),
        "admin",
        lambda demo: User.objects.filter(pk=demo.admin.pk).update(is_superuser=False),
    ),
    "an owner": (is_owner("owner"), "amira", lambda demo: Card.objects.update(owner=demo.ben)),
    "one of several owners": (
        is_owner("board__cards__owner"),
        "dev",
        lambda demo: Card.objects.filter(owner=demo.dev).delete(),
    ),
    "a tenant": (in_the_house, "cleo", lambda demo: Membership.objects.filter(user=demo.cleo).delete()),
    "an account": (is_authenticated, "cleo", lambda demo: User.objects.filter(pk=demo.cleo.pk).update(is_active=False)),
    "an account that is gone": (is_authenticated, "cleo", lambda demo: demo.cleo.delete()),
    "what a function looks for": (has_a_token, "cleo", lambda demo: Token.objects.filter(user=demo.cleo).delete()),
    "the object": (anyone, "nobody", lambda demo: Card.objects.all().delete()),
}


@pytest.mark.parametrize(("to", "name", "revoke"), REVOCATIONS.values(), ids=REVOCATIONS)
def test_a_right_is_gone_when_it_was_taken(demo, replica, reads_primary, viewer, republish, to, name, revoke):
    demo.dev.user_permissions.add(Permission.objects.get(codename="view_card"))
    Card.objects.create(board=demo.card.board, owner=demo.dev)
    replica()
    publication = republish(Card, plain(Card, "title"), to=to)
    pair = Pair(viewer(getattr(demo, name)), publication, demo.card.hashid)
    assert evaluate([pair])[pair] is not None

    revoke(demo)

    with asked_of_the_replica(nothing=reads_primary):
        decision, alone = evaluate([pair])[pair], decide_alone(pair)
    assert (decision is None) == (alone is None) == reads_primary


@pytest.mark.parametrize("module", [evaluation, solitude])
def test_the_snapshot_is_of_the_database_that_is_read(demo, replica, reads_primary, viewer, monkeypatch, module):
    opened, real = [], module.snapshot

    def noted(databases):
        opened.append([*databases])
        return real(opened[-1])

    monkeypatch.setattr(module, "snapshot", noted)
    pair = Pair(viewer(demo.ben), find("board.Card"), demo.card.hashid)
    decide = decide_alone if module is solitude else lambda pair: evaluate([pair])[pair]

    assert decide(pair) is not None
    assert opened == [["default" if reads_primary else REPLICA] * 2]


# Who may stay


def given(user, **scope):
    scope = {"headers": [], "user": user, **scope}
    return Credentials.of_scope(scope, Viewer.of_scope(scope))


def session_of(user):
    """A session in which the user has logged in, and that was looked into, as AuthMiddleware does."""
    browser = Browser()
    browser.force_login(user)
    session = type(browser.session)(browser.session.session_key)
    with from_primary():
        session.get(SESSION_KEY)
    return session


ENDS = {
    "deactivated": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "deleted": lambda user: user.delete(),
    "logged out": lambda user: Session.objects.all().delete(),
    "with another password": lambda user: (user.set_password("another"), user.save()),
    "without a token": lambda user: Token.objects.filter(user=user).delete(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_who_has_no_right_to_be_there_any_more_has_to_go(demo, replica, reads_primary, end):
    key = Token.objects.get(user=demo.cleo).key
    one = given(demo.cleo, session=session_of(demo.cleo), is_valid=Token.objects.filter(key=key).exists)
    replica()
    assert ended([one]) == set()

    end(demo.cleo)

    with asked_of_the_replica(nothing=reads_primary):
        assert ended([one]) == ({one} if reads_primary else set())


# On sockets


def named(instance):
    return {"model": instance._meta.label, "id": instance.hashid}


async def test_a_change_is_pushed_before_the_replica_has_it(demo, replica, connect):
    client = await connect(demo.ben)
    assert (await client.ask({**named(demo.card), "action": "subscribe", "etag": None}))["payload"]["title"] == OLD

    demo.card.title = NEW
    await sync_to_async(demo.card.save)()

    assert (await client.receive())["payload"]["title"] == NEW
    await client.nothing()
    await sync_to_async(replica)()
    demo.card.salary = 1
    await sync_to_async(demo.card.save)()
    assert (await client.receive())["payload"]["salary"] == 1


async def test_what_is_new_is_there_to_subscribe_to_before_the_replica_has_it(demo, replica, connect):
    client = await connect(demo.ben)
    card = await sync_to_async(Card.objects.create)(board_id=demo.card.board_id, owner=demo.ben, title=NEW)

    assert (await client.ask({**named(card), "action": "subscribe", "etag": None}))["payload"]["title"] == NEW
    await sync_to_async(Card.objects.filter(pk=demo.card.pk).delete)()
    refused = await client.ask({**named(demo.card), "action": "subscribe", "request_id": 1})
    assert refused["payload"]["code"] == "not_found"


async def test_what_is_written_after_a_revocation_is_not_shown_though_the_replica_still_grants(demo, replica, connect):
    demo.card.public = False
    await sync_to_async(demo.card.save)()
    await sync_to_async(replica)()
    client, other = await connect(demo.cleo), await connect(demo.ben)
    for one in (client, other):
        await one.ask({**named(demo.card), "action": "subscribe", "etag": None})

    await sync_to_async(remove_perm)("board.view_card", demo.cleo, demo.card)
    assert (await client.receive())["type"] == "DELETE_CARD"
    demo.card.title = NEW
    await sync_to_async(demo.card.save)()

    assert (await other.receive())["payload"]["title"] == NEW
    await client.nothing()


async def test_who_is_deactivated_is_closed_though_the_replica_still_has_them_active(demo, replica, connect):
    client, other = await connect(demo.cleo), await connect(demo.ben)

    demo.cleo.is_active = False
    await sync_to_async(demo.cleo.save)()

    assert await client.take() == {"type": "websocket.close", "code": 4401}
    await other.nothing()


async def test_who_is_let_in_with_a_session_that_only_the_replica_still_has_is_closed(
    demo, replica, connect, monkeypatch
):
    """The middleware of the application asks its routers; whom it lets in is examined at once."""
    browser = Browser()
    await sync_to_async(browser.force_login)(demo.cleo)
    await sync_to_async(replica)()
    await sync_to_async(Session.objects.all().delete)()
    monkeypatch.setattr(clients, "application", AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
    cookie = f"sessionid={browser.cookies['sessionid'].value}".encode()

    client = await connect(headers=[(b"host", b"testserver"), (b"cookie", cookie)])

    assert await client.take() == {"type": "websocket.close", "code": 4401}


# Whom a notice concerns


def test_whom_a_change_concerns_is_looked_up_on_the_primary(demo, replica, monkeypatch):
    """There, guardian's anonymous user was just renamed back; the replica knows it by another name."""
    told = []
    monkeypatch.setattr(access, "post_after_commit", lambda notices, using: told.extend(notices))
    anonymous, name = get_anonymous_user(), get_anonymous_user().username
    User.objects.filter(pk=anonymous.pk).update(username="somebody")
    replica()
    User.objects.filter(pk=anonymous.pk).update(username=name)

    Group.objects.get().user_set.add(anonymous)

    assert told == EVERYBODY


# The router itself


class Elsewhere:
    def db_for_read(self, model, **hints):
        return "elsewhere"


class ByInstance:
    """A router that has each instance written where its owner belongs."""

    def db_for_read(self, model, **hints):
        return REPLICA

    def db_for_write(self, model, instance=None, **hints):
        return f"of {instance}" if instance else None


def read_from():
    return Card.objects.all().db


def test_it_lasts_as_long_as_it_is_within(demo, replica):
    assert read_from() == REPLICA
    with from_primary():
        assert read_from() == "default"
        with from_primary():
            assert read_from() == "default"
        assert read_from() == "default"
        with pytest.raises(ZeroDivisionError), from_primary():
            raise ZeroDivisionError
        assert read_from() == "default"
    assert read_from() == REPLICA


def test_others_read_meanwhile_as_ever(demo, replica):
    found = []

    with from_primary():
        elsewhere(lambda: found.append(read_from()))

    assert found == [REPLICA]


def test_it_comes_before_routers_that_are_put_in_later(settings):
    settings.DATABASE_ROUTERS = [ReplicaRouter()]
    with from_primary():
        pass

    router.routers.insert(0, Elsewhere())
    with from_primary():
        assert read_from() == "default"
    assert read_from() == "elsewhere"

    settings.DATABASE_ROUTERS = [Elsewhere(), ReplicaRouter()]
    with from_primary():
        assert read_from() == "default"
    assert read_from() == "elsewhere"


def test_it_stands_there_once_and_leaves_the_list_alone_that_others_go_through(settings):
    settings.DATABASE_ROUTERS = [ReplicaRouter()]
    before = router.routers
    with from_primary():
        pass
    first = router.routers
    router.routers = [Elsewhere(), *first]
    with from_primary():
        pass

    assert [len(before), len(first), len(router.routers)] == [1, 2, 3]


def test_where_there_are_no_routers_it_is_none_either(demo, viewer):
    evaluate([Pair(viewer(demo.ben), find("board.Card"), demo.card.hashid)])

    assert router.routers == []


def test_the_others_are_told_all_that_is_known_about_what_is_read(settings):
    settings.DATABASE_ROUTERS = [ByInstance()]

    with from_primary():
        assert router.db_for_read(Card, instance="amira") == "of amira"
        assert router.db_for_read(Card) == "default"
        assert router.db_for_read(Card, instance=Page()) == f"of {Page()}"


def test_what_names_its_database_is_read_there(demo, replica):
    with from_primary():
        assert Card.objects.using(REPLICA).db == REPLICA
        card = Card.objects.using(REPLICA).get()
        assert card._state.db == REPLICA
        assert card.board._state.db == "default"


def test_the_lagging_replica_is_one(demo, replica):
    """What these tests stand on."""
    Card.objects.update(title=NEW)
    assert (Card.objects.get().title, Card.objects.using("default").get().title) == (OLD, NEW)
    replica()
    assert Card.objects.get().title == NEW
    assert connections[REPLICA] is not connection
