"""Attacks on the engine that once succeeded, by application code that a single GET answers rightly: each is shown here
what it is shown alone, and costs nobody else theirs."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from json import loads
from threading import Lock
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from board.models import Board, Card, Membership, Organization
from clients import hashid_of, until
from django.contrib.auth import get_user_model
from django.contrib.auth.models import UserManager
from django.db import DatabaseError, OperationalError, connection
from django.db.models import Count
from django.db.models.signals import post_init
from django.template import RequestContext, Template
from django.test.utils import CaptureQueriesContext
from django.utils.functional import cached_property
from django.utils.translation import gettext
from lab.models import Document, ForeignChild, Note, Page
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.metrics import counts
from livegate.gateway.publications import find
from livegate.gateway.solitude import decide_alone
from livegate.permissions import Permission, anyone, drf, has_perm, is_owner, permission, same_tenant
from livegate.serializers import PerUserSerializerMixin
from livegate.serializers.facts import FactField

pytestmark = pytest.mark.django_db
User = get_user_model()


def people(count):
    return User.objects.bulk_create(User(username=f"p{number}") for number in range(count))


def shows(shown, *names, guarded=None, **members):
    """A serializer of a model that shows these fields, some of them guarded."""
    meta = type("Meta", (), {"model": shown, "fields": names, "guards": guarded or {}})
    return type("Shown", (PerUserSerializerMixin, serializers.ModelSerializer), {"Meta": meta, **members})


def payload(decision):
    return decision and loads(decision.body)


def seen(pairs):
    """What is pushed about each pair, which is what a GET shows of it."""
    decisions = evaluate(pairs)
    pushed, alone = [payload(decisions[pair]) for pair in pairs], [payload(decide_alone(pair)) for pair in pairs]
    assert pushed == alone
    return pushed


@pytest.fixture
def watch(viewer, republish):
    """Publishes the model of an instance otherwise; gives the pairs of the instance and each of the users."""

    def pairs(instance, serializer, *users, to=anyone, **options):
        publication = republish(type(instance), serializer, to=to, **options)
        return [Pair(viewer(user), publication, hashid_of(instance)) for user in users]

    return pairs


def shared_and_queries(pairs):
    """How many of the pairs were shown something that was made for others too, and what all cost."""
    before = counts()["views_shared"]
    with CaptureQueriesContext(connection) as queries:
        decisions = evaluate(pairs)
    assert all(decisions.values())
    return counts()["views_shared"] - before, len(queries)


@pytest.fixture
def put_on_each_page():
    """Has a function called with each page that is made or read."""
    hooks = []

    def put(function):
        hooks.append(lambda instance, **signal: function(instance))
        post_init.connect(hooks[-1], sender=Page)

    yield put
    for hook in hooks:
        post_init.disconnect(hook, sender=Page)


# What is kept for one is not there for another


def test_what_a_permission_keeps_on_an_object_related_to_the_user_is_not_there_for_the_next_user(watch):
    boss, guest = people(2)
    organization = Organization.objects.create(name="o")
    Membership.objects.bulk_create(Membership(user=user, organization=organization) for user in (boss, guest))
    card = Card.objects.create(board=Board.objects.create(organization=organization, name="b"), owner=boss, salary=7)

    @permission
    def is_boss_of_their_organization(viewer, card):
        organization = viewer.user.memberships.all()[0].organization
        if not hasattr(organization, "_role"):  # once for each request, as one does
            organization._role = "boss" if viewer.user.username == "p0" else "guest"
        return organization._role == "boss"

    fields = shows(Card, "title", "salary", guarded={"salary": is_boss_of_their_organization})
    to = same_tenant("board__organization__name", "memberships__organization__name")
    pairs = watch(card, fields, boss, guest, to=to, queryset=Card.objects.all())

    assert ["salary" in view for view in seen(pairs)] == [True, False]


def test_what_a_permission_keeps_on_the_user_is_not_there_for_the_next_object(viewer, republish):
    @permission
    def may(viewer, page):
        if not hasattr(viewer.user, "_may"):  # a GET has one object
            viewer.user._may = page.owner_id == viewer.user.pk
        return viewer.user._may

    [user] = people(1)
    mine, other = Page.objects.create(text="mine", owner=user), Page.objects.create(text="secret of others")
    publication = republish(Page, shows(Page, "text"), to=may)

    assert seen([Pair(viewer(user), publication, page.hashid) for page in (mine, other)]) == [{"text": "mine"}, None]


def test_what_a_serializer_keeps_on_the_user_is_not_there_for_their_socket_in_another_language(viewer, republish):
    def get_day(self, page):
        user = self.context["request"].user
        if not hasattr(user, "_day"):
            user._day = gettext("Monday")
        return user._day

    [user] = people(1)
    page = Page.objects.create()
    fields = shows(Page, "day", day=serializers.SerializerMethodField(), get_day=get_day)
    publication = republish(Page, fields, to=anyone)
    pairs = [Pair(viewer(user, language=language), publication, page.hashid) for language in ("en-us", "de")]

    assert seen(pairs) == [{"day": "Monday"}, {"day": "Montag"}]


def test_a_guards_answer_about_a_row_is_not_its_answer_about_an_older_version_of_the_row(watch):
    old_owner, new_owner = people(2)
    page = Page.objects.create(text="now", owner=new_owner)
    owns = is_owner("owner")
    version = shows(Page, "text", guarded={"text": owns})

    def get_previous(self, page):  # as a library that keeps the history of a model makes it
        return version(Page(pk=page.pk, text="then", owner=old_owner), context=self.context).data

    previous = {"previous": serializers.SerializerMethodField(), "get_previous": get_previous}
    pairs = watch(page, shows(Page, "text", "previous", guarded={"text": owns}, **previous), old_owner, new_owner)

    assert seen(pairs) == [{"previous": {"text": "then"}}, {"text": "now", "previous": {}}]


def test_what_a_serializer_adds_to_the_default_of_a_fact_is_not_there_for_the_next_viewer(watch):
    badges = FactField(lambda viewers, pages: {}, default=[])

    class Badged(shows(Page, "text", "badges", badges=badges, guarded={"text": is_owner("owner")})):
        def to_representation(self, instance):
            data = super().to_representation(instance)
            if "text" in data:
                data["badges"] += [data["text"]]
            return data

    owner, stranger = people(2)
    of_owner, of_stranger = watch(Page.objects.create(text="secret", owner=owner), Badged, owner, stranger)

    evaluate([of_owner])

    assert seen([of_stranger]) == [{"badges": []}]


class Slotted:
    """Keeps things where no ``__dict__`` shows them."""

    __slots__ = ("items",)

    def __init__(self):
        self.items = ()

    def append(self, item):
        self.items += (item,)

    def __iter__(self):
        return iter(self.items)


@pytest.mark.parametrize("container", [deque, Slotted])
def test_what_a_permission_keeps_where_no_dict_shows_it_is_not_there_for_the_next(watch, put_on_each_page, container):
    def get_readers(self, page):
        return list(page.readers)

    text = shows(Page, "text")
    readers = shows(Page, "readers", readers=serializers.SerializerMethodField(), get_readers=get_readers)

    @permission
    def notes(viewer, page):
        page.readers.append(viewer.user.username)
        return True

    def choose(viewer, page):
        return text if "p0" in page.readers else readers

    put_on_each_page(lambda page: setattr(page, "readers", container()))
    pairs = watch(Page.objects.create(text="t"), choose, *people(3), to=notes)

    assert seen(pairs) == [{"text": "t"}, {"readers": ["p1"]}, {"readers": ["p2"]}]


# Everybody's answer is their own


def test_a_subclass_of_a_permission_that_answers_together_is_asked_for_each(watch):
    class AndOwner(type(is_owner("owner"))):
        def allows(self, viewer, page):
            return super().allows(viewer, page) and page.owner_id == viewer.user.pk

    owner, stranger = people(2)
    rule = AndOwner("and_owner", lambda viewer, page: True, together=lambda viewers, page, rights: viewers)
    pairs = watch(Page.objects.create(text="t", owner=owner), shows(Page, "text"), owner, stranger, to=rule)

    assert seen(pairs) == [{"text": "t"}, None]


@pytest.fixture
def two_defaults():
    def nothing(viewers, pages):
        return {}

    facts = {"flag": FactField(nothing, default=False), "note": FactField(nothing, default="none")}
    return shows(Page, *facts, **facts)


def test_two_facts_of_one_function_have_each_their_own_default(watch, two_defaults):
    pairs = watch(Page.objects.create(), two_defaults, *people(2))

    assert seen(pairs) == [{"flag": False, "note": "none"}] * 2


def test_two_facts_of_one_function_have_each_their_own_default_in_a_list_of_the_rest_api(rf, demo, two_defaults):
    page, http_request = Page.objects.create(), rf.get("/")
    http_request._force_auth_user = demo.amira
    context = {"request": Request(http_request)}

    in_a_list = two_defaults(Page.objects.all(), many=True, context=context).data

    assert in_a_list == [two_defaults(page, context=context).data] == [{"flag": False, "note": "none"}]


def test_a_fact_is_told_to_each_in_their_own_language(viewer, republish):
    def today(viewers, pages):
        return {(viewer.user.pk, page.pk): gettext("Monday") for viewer in viewers for page in pages}

    page = Page.objects.create()
    publication = republish(Page, shows(Page, "day", day=FactField(today, default="")), to=anyone)
    viewers = [viewer(user, language=own) for user, own in zip(people(2), ("en-us", "de"), strict=True)]

    assert seen([Pair(one, publication, page.hashid) for one in viewers]) == [{"day": "Monday"}, {"day": "Montag"}]


def test_a_manager_of_users_that_annotates_them_costs_nobody_their_account(watch, monkeypatch):
    class Annotating(UserManager):
        def get_queryset(self):
            return super().get_queryset().annotate(cards_count=Count("cards"))

    manager = Annotating()
    manager.model, manager.name = User, "objects"
    pairs = watch(Page.objects.create(text="t"), shows(Page, "text"), *people(3))
    monkeypatch.setitem(User._meta.__dict__, "default_manager", manager)
    assert User._default_manager is manager

    assert seen(pairs) == [{"text": "t"}] * 3


def in_a_thread(request):
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: request.user.username).result()


def in_an_event_loop(request):
    async def find_name():
        return request.user.username

    return async_to_sync(find_name)()


def in_a_template(request, written="{{ request.user.username }}"):
    return Template(written).render(RequestContext(request._request, {"request": request}))


WAYS = {
    "copy": lambda request: copy.copy(request).user.username,
    "deepcopy": lambda request: copy.deepcopy(request).user.username,
    "pickle": lambda request: pickle.loads(pickle.dumps(request._request)).user.username,
    "thread": in_a_thread,
    "event loop": in_an_event_loop,
    "template": in_a_template,
    "context processor": lambda request: in_a_template(request, "{{ user.username }}"),
}


class Named(serializers.ModelSerializer):
    """Shows the viewer's name, looked for in some way; whatever stands in that way, it goes on."""

    name = serializers.SerializerMethodField()

    class Meta:
        model = Page
        fields = ["name"]

    def get_name(self, page):
        try:
            return self.find(self.context["request"])
        except BaseException:
            return "nobody"


@pytest.mark.parametrize("way", WAYS)
def test_whatever_the_way_to_the_requests_user_each_finds_themselves(watch, monkeypatch, way):
    monkeypatch.setattr(Named, "find", staticmethod(WAYS[way]), raising=False)
    pairs = watch(Page.objects.create(), Named, *people(2))

    assert seen(pairs) == [{"name": "p0"}, {"name": "p1"}]


# What is odd about one denies no other


@pytest.mark.parametrize(
    "odd",
    [
        {"time_zone": "../x"},
        {"time_zone": ZoneInfo("Asia/Tokyo")},
        *({"language": language} for language in ("../x", "a\0b", "x" * 5_000, "é", "de-", "-")),
    ],
    ids=lambda odd: ascii(odd)[:40],
)
def test_a_viewer_of_an_odd_language_or_time_zone_takes_nothing_from_another(viewer, republish, odd):
    @permission
    def speaks(viewer, page):
        return bool(gettext("Monday"))

    usual, unusual = people(2)
    page = Page.objects.create(text="t")
    publication = republish(Page, shows(Page, "text"), to=speaks)
    pairs = [Pair(viewer(usual), publication, page.hashid), Pair(viewer(unusual, **odd), publication, page.hashid)]

    assert payload(evaluate(pairs)[pairs[0]]) == {"text": "t"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_doubt", [False, True])
def test_a_refusal_of_the_database_that_a_permission_swallows_for_one_decides_for_no_other(watch, in_doubt):
    users, asked = people(6), []
    blocked = {user.username for user in users[3:]}

    @permission
    def may(viewer, page):
        asked.append(viewer.user.username)
        refused = ["no_such_column = 1"] if viewer.user.username == asked[0] else []
        try:
            found = User.objects.extra(where=refused).get(pk=viewer.user.pk)
        except DatabaseError:
            return in_doubt
        return found.username not in blocked

    decisions = evaluate(watch(Page.objects.create(), shows(Page, "text"), *users, to=may))

    right = {user.username: user.username not in blocked for user in users} | {asked[0]: in_doubt}
    assert {pair.viewer.user.username: view is not None for pair, view in decisions.items()} == right


# What a GET can do with a class, an instance or a cache


def test_a_permission_that_is_not_hashable_can_be_a_guard(watch):
    @dataclass
    class IsCalled(Permission):
        name: str

        def allows(self, viewer, page):
            return viewer.user.username == self.name

    page = Page.objects.create(text="t")
    pairs = watch(page, shows(Page, "id", "text", guarded={"text": IsCalled("p0")}), *people(2))

    assert seen(pairs) == [{"id": page.pk, "text": "t"}, {"id": page.pk}]


def test_what_chooses_a_serializer_need_not_be_hashable(demo, viewer, watch):
    @dataclass
    class Choice:
        serializer: type

        def __call__(self, viewer, page):
            return self.serializer

    pairs = watch(Page.objects.create(text="t"), Choice(shows(Page, "text")), demo.amira)
    page, card = seen([*pairs, Pair(viewer(demo.amira), find("board.Card"), demo.card.hashid)])

    assert page == {"text": "t"}
    assert card["title"] == demo.card.title


def hold_a_lock(page):
    page._lock = Lock()


def hold_what_was_never_read(page):
    page._prefetched_objects_cache = {"editors": User.objects.none()}


@pytest.mark.parametrize("hold", [hold_a_lock, hold_what_was_never_read])
def test_an_instance_is_shown_that_holds_what_can_not_be_copied_or_was_never_read(watch, put_on_each_page, hold):
    put_on_each_page(hold)
    pairs = watch(Page.objects.create(text="t"), shows(Page, "text"), *people(2))

    assert seen(pairs) == [{"text": "t"}] * 2


def test_a_permission_may_keep_a_model_under_a_name_that_is_no_relation(watch):
    @permission
    def keeps(viewer, page):
        page._state.fields_cache["_current_editor"] = viewer.user  # as cached descriptors of one's own do
        return True

    users = people(2)
    pairs = watch(Page.objects.create(text="t", owner=users[0]), shows(Page, "text"), *users, to=keeps)

    assert seen(pairs) == [{"text": "t"}] * 2


def test_a_permission_may_follow_the_link_to_the_parent_of_a_model(watch):
    @permission
    def is_named(viewer, child):
        return child.foreign_ptr.name == "n"

    child = ForeignChild.objects.create(name="n", toy="t")
    pairs = watch(child, shows(ForeignChild, "name", "toy"), *people(3), to=is_named, watch=["name"])

    assert seen(pairs) == [{"name": "n", "toy": "t"}] * 3


# Nobody waits for ever


@pytest.mark.parametrize("stop", [StopIteration, asyncio.CancelledError, GeneratorExit])
async def test_a_queryset_that_ends_the_evaluation_leaves_others_served(demo, connect, republish, stop, caplog):
    class Stopping(type(Page.objects.all())):
        def filter(self, *args, **kwargs):
            raise stop

    republish(Page, shows(Page, "text"), to=anyone, queryset=Stopping(Page))
    page = await sync_to_async(Page.objects.create)()
    waiting, other = await connect(demo.amira), await connect(demo.amira)

    await waiting.send({"model": "lab.Page", "id": page.hashid})
    await until(lambda: "evaluation_failed" in [record.event for record in caplog.records])

    assert (await other.subscribe(demo.card))["type"] == "SUBSCRIBED"


async def test_when_the_database_can_not_answer_just_now_the_change_comes_later(demo, connect, republish):
    refusals = []

    def get_count(self, page):
        if refusals:
            raise refusals.pop()
        return 1

    fields = shows(Page, "text", "count", count=serializers.SerializerMethodField(), get_count=get_count)
    republish(Page, fields, to=anyone)
    page = await sync_to_async(Page.objects.create)(text="t")
    client = await connect(demo.amira)
    assert (await client.subscribe(page))["type"] == "SUBSCRIBED"

    refusals += [OperationalError("canceling statement due to lock timeout") for _ in range(2)]
    page.text = "changed"
    await sync_to_async(page.save)()
    assert await client.receive() == {"type": "DELAYED"}
    frame = await client.receive()

    assert refusals == []
    assert (frame["type"], frame["payload"]) == ("UPDATE_PAGE", {"text": "changed", "count": 1})


# What each is asked by themselves is made for all


@pytest.fixture
def crowd():
    people(300)
    return list(User.objects.filter(username__startswith="p"))


def test_a_nested_guard_that_follows_a_relation_leaves_the_views_shared(watch, crowd):
    @permission
    def owns_the_document(viewer, note):
        return note.document.owner == viewer.user

    document = Document.objects.create(owner=crowd[0])
    Note.objects.bulk_create(Note(document=document, text=text) for text in "abc")
    NoteFields = shows(Note, "text", "secret", guarded={"secret": owns_the_document})

    class DocumentFields(serializers.ModelSerializer):
        notes = NoteFields(many=True)

        class Meta:
            model = Document
            fields = ["text", "notes"]

    shared, queries = shared_and_queries(watch(document, DocumentFields, *crowd))

    assert shared == len(crowd)
    assert queries < 30


@pytest.mark.parametrize(
    ("read", "queryset"),
    [(lambda page: page.is_short, Page.objects.all()), (lambda page: len(page.text) < 80, Page.objects.only("id"))],
    ids=["cached property", "deferred field"],
)
def test_what_is_read_when_it_is_first_asked_for_leaves_the_views_shared(watch, crowd, monkeypatch, read, queryset):
    is_short = cached_property(lambda page: len(page.text) < 80)
    is_short.__set_name__(Page, "is_short")
    monkeypatch.setattr(Page, "is_short", is_short, raising=False)

    @permission
    def reads(viewer, page):
        return read(page)

    pairs = watch(Page.objects.create(), shows(Page, "text"), *crowd, to=reads, queryset=queryset)
    shared, queries = shared_and_queries(pairs)

    assert shared == len(crowd)
    assert queries < 30


def test_a_function_a_drf_class_and_a_nested_guard_together_leave_the_views_shared(watch, crowd):
    class InOrganization(BasePermission):
        def has_object_permission(self, request, view, card):
            return card.board.organization.name == "o"

    @permission
    def is_of_one_of_us(viewer, card):
        return card.owner.username.startswith("p")

    @permission
    def is_the_person(viewer, person):
        return person.username == viewer.user.username

    organization = Organization.objects.create(name="o")
    Membership.objects.bulk_create(Membership(user=user, organization=organization) for user in crowd)
    card = Card.objects.create(board=Board.objects.create(organization=organization, name="b"), owner=crowd[0])
    nested = {
        "owner": shows(User, "username", "email", guarded={"email": is_the_person})(),
        "board": serializers.StringRelatedField(),
    }
    fields = shows(Card, "title", "owner", "board", "salary", guarded={"salary": has_perm("view_salary")}, **nested)
    to = is_of_one_of_us & drf(InOrganization)
    shared, queries = shared_and_queries(watch(card, fields, *crowd, to=to, queryset=Card.objects.all()))

    assert shared == len(crowd)
    assert queries < 40
