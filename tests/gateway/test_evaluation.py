"""Who sees what: the heart, tested with no socket and no event loop."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from threading import Lock
from types import SimpleNamespace
from typing import ClassVar
from zoneinfo import ZoneInfo

import pytest
from board.models import Card, Organization
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Value
from django.db.utils import ConnectionDoesNotExist
from django.test.utils import CaptureQueriesContext
from django.utils.translation import gettext_lazy
from guardian.shortcuts import assign_perm, remove_perm
from lab import shapes
from lab.connections import elsewhere
from lab.models import Document, Note, Page
from lab.serializers import DocumentSerializer, plain
from rest_framework import serializers

from livegate.gateway import evaluation, snapshots
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.metrics import counts
from livegate.gateway.publications import find
from livegate.gateway.solitude import decide_alone
from livegate.permissions import Permission as Question
from livegate.permissions import anyone, has_model_perm, has_perm, is_authenticated, is_owner, permission, same_tenant
from livegate.serializers import HashidField, PerUserSerializerMixin
from livegate.serializers.encoding import etag
from livegate.serializers.hashids import encode

pytestmark = pytest.mark.django_db
User = get_user_model()


@pytest.fixture
def see(viewer):
    """What each of these users is shown of an instance: the payload, or None."""

    def seen(instance, *users, hashid=None, **facts):
        publication = find(instance._meta.label)
        pairs = [Pair(viewer(user, **facts), publication, hashid or instance.hashid) for user in users]
        decisions = evaluate(pairs)
        assert set(decisions) == set(pairs)
        views = [decisions[pair] and json.loads(decisions[pair].body) for pair in pairs]
        return views if len(users) > 1 else views[0]

    return seen


def test_each_of_five_viewers_sees_what_their_get_shows(demo, see, get):
    users = [demo.amira, demo.ben, demo.cleo, demo.dev, demo.nobody, demo.admin]
    path = f"/api/cards/{demo.card.hashid}/"

    def answers():
        return [None if answer == 404 else answer for answer in (get(path, user) for user in users)]

    public = see(demo.card, *users)
    assert public == answers()
    assert [("salary" in view, "notes" in view) for view in public] == [
        (True, True),
        (True, True),
        (False, True),
        (False, False),
        (False, False),
        (False, False),
    ]

    demo.card.public = False
    demo.card.save()
    private = see(demo.card, *users)
    assert private == answers()
    assert private[3:] == [None, None, None]


def test_the_etag_names_exactly_what_the_viewer_sees(demo, viewer):
    publication = find("board.Card")
    pairs = [Pair(viewer(user), publication, demo.card.hashid) for user in (demo.cleo, demo.dev, demo.nobody)]

    before = evaluate(pairs)
    Card.objects.update(salary=1)
    after = evaluate(pairs)

    assert before == after
    assert before[pairs[0]].etag == etag(before[pairs[0]].body) != before[pairs[1]].etag
    assert before[pairs[1]].etag == before[pairs[2]].etag


def test_gone_forbidden_never_existed_and_malformed_are_one_decision(demo, see):
    demo.card.public = False
    demo.card.save()
    hidden, gone = demo.card, Card.objects.create(board=demo.card.board, owner=demo.amira)
    hashid_of_gone = gone.hashid
    gone.delete()

    for hashid in (hidden.hashid, hashid_of_gone, Card(pk=2**62).hashid, Page(pk=1).hashid, "?", "x" * 1_000):
        assert see(demo.card, demo.dev, hashid=hashid) is None


def test_rights_are_read_anew_whatever_the_viewers_user_remembers(demo, see):
    Card.objects.update(public=False)
    demo.cleo.has_perm("view_card", demo.card)
    assert see(demo.card, demo.cleo)["title"]

    remove_perm("view_card", demo.cleo, demo.card)
    assert see(demo.card, demo.cleo) is None

    group = Group.objects.create(name="Team")
    assign_perm("view_card", group, demo.card)
    demo.cleo.groups.add(group)
    assert see(demo.card, demo.cleo)["title"]

    group.delete()
    assert see(demo.card, demo.cleo) is None


@pytest.mark.parametrize("end", [lambda user: user.delete(), lambda user: User.objects.update(is_active=False)])
def test_a_deleted_or_deactivated_user_sees_nothing_not_even_what_everyone_may(demo, see, end):
    assert see(demo.card, demo.cleo, demo.nobody)[0]
    cleo = User.objects.get(username="cleo")

    end(demo.cleo)

    assert see(demo.card, cleo, demo.nobody)[0] is None
    assert see(demo.card, cleo, demo.nobody)[1]


def test_an_error_about_one_viewer_denies_that_one_is_logged_and_touches_no_other(demo, see, republish, caplog):
    class Fails(plain(Card, "title")):
        def to_representation(self, instance):
            if self.context["request"].user == demo.cleo:
                raise ValueError(f"salary {instance.salary}")
            return super().to_representation(instance)

    republish(Card, Fails, to=anyone)

    assert [bool(view) for view in see(demo.card, demo.amira, demo.cleo, demo.dev)] == [True, False, True]
    [record] = caplog.records
    assert (record.event, record.model) == ("viewer_denied", "board.Card")
    assert "ValueError" in record.message
    assert "84000" not in caplog.text


@pytest.mark.parametrize("turned", [lambda rule: rule, lambda rule: ~rule, lambda rule: rule | anyone])
@pytest.mark.parametrize("answer", [None, "yes", 1, ValueError])
def test_a_permission_that_does_not_answer_denies_also_when_it_is_turned_around(
    demo, see, republish, turned, answer, caplog
):
    @permission
    def unknown(viewer, card):
        if answer is ValueError:
            raise answer
        return answer

    republish(Card, plain(Card, "title"), to=turned(unknown))

    assert see(demo.card, demo.amira) is None
    assert [record.event for record in caplog.records] == ["viewer_denied"]


@pytest.mark.parametrize("place", ["permission", "serializer"])
@pytest.mark.django_db(transaction=True)
def test_a_statement_that_the_database_refuses_denies_that_viewer_and_touches_no_other(
    demo, see, republish, place, caplog
):
    def refused(user):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column" if user == demo.cleo else "SELECT 1")
        return True

    class Refused(plain(Card, "title")):
        def to_representation(self, instance):
            refused(self.context["request"].user)
            return super().to_representation(instance)

    @permission
    def asks(viewer, card):
        return refused(viewer.user)

    if place == "permission":
        republish(Card, plain(Card, "title"), to=asks & has_perm("view_card") | asks)
    else:
        republish(Card, Refused, to=has_perm("view_card") | anyone)

    seen = see(demo.card, demo.amira, demo.cleo, demo.ben)
    assert [bool(view) for view in seen] == [True, False, True]
    assert [record.event for record in caplog.records] == ["viewer_denied"]
    assert "OperationalError" in caplog.text or "ProgrammingError" in caplog.text


def test_when_nothing_can_be_read_nothing_is_decided(demo, see, republish):
    broken = Card.objects.extra(where=["no_such_column = 1"])
    republish(Card, plain(Card, "title"), to=anyone, queryset=broken)

    with pytest.raises(DatabaseError), transaction.atomic():
        see(demo.card, demo.amira)


@pytest.mark.django_db(transaction=True)
def test_what_is_written_while_it_is_decided_is_not_shown(see, republish):
    """The attack on law 2: the right is asked for, then taken away, then something secret is written, then read."""
    document = Document.objects.create(text="before")
    owner = User.objects.create(username="owner")
    assign_perm("view_document", owner, document)
    refused = []

    def write():
        remove_perm("view_document", owner, document)
        Document.objects.update(text="secret")
        Note.objects.create(document=document, text="secret")

    @permission
    def allowed_until_asked(viewer, instance):
        if not refused and not Note.objects.exists():
            refused.append(elsewhere(write))
        return True

    republish(Document, DocumentSerializer, to=has_perm("view_document") & allowed_until_asked)

    assert see(document, owner) == {"id": document.hashid, "text": "before", "notes": []}
    if not refused[0]:  # the database let it happen, and the next look finds it
        assert Note.objects.get().text == "secret"
        assert see(document, owner) is None


def test_what_a_permission_or_serializer_remembers_on_an_instance_reaches_no_other_viewer(demo, see, republish):
    @permission
    def remembers(viewer, card):
        card.seen_by = [*getattr(card, "seen_by", []), viewer.user.username]
        card.owner.seen_by = [*getattr(card.owner, "seen_by", []), viewer.user.username]
        return True

    class Remembers(serializers.Serializer):
        seen_by = serializers.SerializerMethodField()

        def get_seen_by(self, card):
            card.owner.seen_by.append("serializer")
            return [card.seen_by, card.owner.seen_by]

    republish(Card, Remembers, to=remembers, queryset=Card.objects.select_related("owner"))

    assert see(demo.card, demo.amira, demo.ben) == [
        {"seen_by": [["amira"], ["amira", "serializer"]]},
        {"seen_by": [["ben"], ["ben", "serializer"]]},
    ]


def test_an_unmodified_serializer_finds_the_request_that_it_reads(demo, see, republish):
    class Unmodified(serializers.HyperlinkedModelSerializer):
        mine = serializers.SerializerMethodField()
        link = serializers.HyperlinkedIdentityField(view_name="card-detail", lookup_field="hashid")
        asked = serializers.SerializerMethodField()

        class Meta:
            model = Card
            fields = ["mine", "link", "asked"]

        def get_mine(self, card):
            return card.owner == self.context["request"].user

        def get_asked(self, card):
            request, view = self.context["request"], self.context["view"]
            return [request.method, view.action, view.kwargs["pk"] == card.pk, dict(request.query_params)]

    republish(Card, Unmodified, to=anyone)

    amira, dev = see(demo.card, demo.amira, demo.dev, scheme="https", host="push.example")
    assert amira["mine"] is True
    assert dev["mine"] is False
    assert amira["link"] == f"https://push.example/api/cards/{demo.card.hashid}/"
    assert amira["asked"] == ["GET", "retrieve", True, {}]


def test_a_view_is_made_in_the_language_and_time_zone_of_its_viewer(demo, see, republish):
    class Local(serializers.ModelSerializer):
        id = HashidField()
        word = serializers.SerializerMethodField()

        class Meta:
            model = User
            fields = ["id", "word", "date_joined"]

        def get_word(self, user):
            return gettext_lazy("Monday")

    republish(User, Local, to=anyone)
    hashid = encode(User, demo.amira.pk)

    german = see(demo.amira, demo.ben, hashid=hashid, language="de", time_zone="Asia/Tokyo")
    english = see(demo.amira, demo.ben, hashid=hashid)

    assert (german["word"], english["word"]) == ("Montag", "Monday")
    assert german["date_joined"] == demo.amira.date_joined.astimezone(ZoneInfo("Asia/Tokyo")).isoformat()


def test_the_same_viewer_twice_is_decided_once(demo, viewer, republish):
    asked = []

    @permission
    def counts(viewer, card):
        asked.append(viewer)
        return True

    publication = republish(Card, plain(Card, "title"), to=counts)
    evaluate([Pair(viewer(User.objects.get(pk=demo.amira.pk)), publication, demo.card.hashid) for _ in range(3)])

    assert len(asked) == 1


def test_of_several_objects_each_is_asked_about_for_those_who_watch_it(demo, viewer, republish):
    asked = []

    @permission
    def noted(viewer, card):
        asked.append((viewer.user.username, card.title))
        return True

    republish(Card, find("board.Card").serializer, to=noted)
    other = Card.objects.create(title="Other", board=demo.card.board, owner=demo.card.owner)
    watching = [(demo.amira, demo.card), (demo.ben, demo.card), (demo.ben, other), (demo.cleo, other)]
    decisions = evaluate([Pair(viewer(user), find("board.Card"), card.hashid) for user, card in watching])

    assert sorted(asked) == sorted((user.username, card.title) for user, card in watching)
    assert all(decisions.values())


@pytest.mark.parametrize("empty", [lambda: Page.objects.none(), lambda: Page.objects.filter(text__in=[])])
def test_a_queryset_that_is_known_to_be_empty_shows_nothing_and_hurts_no_other(viewer, republish, empty):
    page, document = Page.objects.create(), Document.objects.create()
    publications = [
        republish(Page, plain(Page), to=anyone, queryset=empty()),
        republish(Document, plain(Document), to=anyone),
    ]
    pairs = [Pair(viewer(), each, one.hashid) for each, one in zip(publications, (page, document), strict=True)]

    decisions = evaluate(pairs)

    assert [decisions[pair] is None for pair in pairs] == [True, False]


def test_a_queryset_that_was_given_is_written_anew_each_time(viewer, republish):
    class Today(Value):
        name = "Monday"

        def as_sql(self, compiler, connection):
            return "%s", [Today.name]

    page = Page.objects.create(text="Monday")
    publication = republish(Page, plain(Page), to=anyone, queryset=Page.objects.filter(text=Today("")))
    pair = Pair(viewer(), publication, page.hashid)

    for day, is_shown in [("Monday", True), ("Tuesday", False), ("Monday", True)]:
        Today.name = day
        assert (evaluate([pair])[pair] is not None) is is_shown


def test_objects_of_several_publications_are_decided_in_one_batch(demo, viewer):
    pages = [Page.objects.create(text=str(number)) for number in range(3)]
    for page in pages[1:]:
        assign_perm("view_page", demo.cleo, page)
    pairs = [Pair(viewer(demo.cleo), find(thing._meta.label), thing.hashid) for thing in [demo.card, *pages]]

    views = list(evaluate(pairs).values())

    assert [view and json.loads(view.body).get("text", "card") for view in views] == ["card", None, "1", "2"]


@pytest.mark.django_db(transaction=True)
def test_it_works_outside_of_a_transaction_and_inside_of_one(demo, see):
    outside = see(demo.card, demo.amira)
    with transaction.atomic():
        Card.objects.update(title="uncommitted")
        inside = see(demo.card, demo.amira)

    assert outside["title"] == "Platform engineer"
    assert inside["title"] == "uncommitted"


@pytest.mark.django_db(transaction=True)
def test_on_postgresql_the_snapshot_is_repeatable_read_and_leaves_no_trace(demo, see, republish):
    levels = []

    @permission
    def looks(viewer, card):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SHOW transaction_isolation")
                levels.append(cursor.fetchone()[0])
        return connection.in_atomic_block

    republish(Card, plain(Card, "title"), to=looks & is_authenticated)

    assert see(demo.card, demo.amira)
    assert levels == (["repeatable read"] if connection.vendor == "postgresql" else [])
    assert not connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
def test_one_event_costs_the_same_few_queries_for_one_viewer_and_for_many(demo, viewer):
    publication = find("board.Card")
    people = [User.objects.create(username=f"viewer {number}") for number in range(50)]
    for person in people:
        assign_perm("view_card", person, demo.card)

    def queries(users, hashid):
        pairs = [Pair(viewer(user), publication, hashid) for user in users]
        with CaptureQueriesContext(connection) as asked:
            evaluate(pairs)
        # SQLite's BEGIN and COMMIT are counted by Django, PostgreSQL's are not.
        return [query["sql"] for query in asked if query["sql"] not in ("BEGIN", "BEGIN IMMEDIATE", "COMMIT")]

    Card.objects.update(public=True)
    assert len(queries(people[:1], demo.card.hashid)) == len(queries(people, demo.card.hashid)) <= 7

    gone = Card(pk=77_777).hashid
    assert len(queries(people, gone)) == len(queries(people, demo.card.hashid))


def test_what_is_known_of_who_asked_before_tells_nothing_of_others(demo, viewer):
    amira, ben, nobody = (
        Pair(viewer(user), find("board.Card"), demo.card.hashid) for user in (demo.amira, demo.ben, None)
    )
    other = Pair(amira.viewer, amira.publication, "gone")

    def shown(*pairs):
        return {pair: view is not None for pair, view in evaluate(pairs).items()}

    for _ in range(2):
        assert shown(amira, ben) == {amira: True, ben: True}
        assert shown(amira, nobody) == {amira: True, nobody: True}
        assert shown(amira, other) == {amira: True, other: False}
        assert shown(ben, amira) == {amira: True, ben: True}
        assert shown(amira) == {amira: True}


def test_what_the_viewers_user_remembers_of_itself_decides_nothing(demo, viewer, republish):
    class Asks(serializers.Serializer):
        staff = serializers.SerializerMethodField()

        def get_staff(self, card):
            return self.context["request"].user.is_staff

    publication = republish(Card, Asks, to=has_model_perm("view_card"))

    def seen(user):
        pair = Pair(viewer(user), publication, demo.card.hashid)
        view = evaluate([pair])[pair]
        return view and json.loads(view.body)

    assert seen(demo.admin) == {"staff": True}
    User.objects.filter(pk=demo.admin.pk).update(is_staff=False)
    assert seen(demo.admin) == {"staff": False}
    User.objects.filter(pk=demo.admin.pk).update(is_superuser=False)
    assert seen(demo.admin) is None

    demo.cleo.user_permissions.add(Permission.objects.get(codename="view_card"))
    assert demo.cleo.has_perm("board.view_card")  # and remembers it
    assert seen(demo.cleo)
    demo.cleo.user_permissions.clear()
    assert seen(demo.cleo) is None


def test_an_account_of_another_model_is_not_the_user_of_the_same_key(demo, see):
    class Device(Organization):
        is_authenticated = is_active = True

        class Meta:
            proxy = True
            app_label = "lab"

    class Service:
        pk, is_authenticated = "service-7", True

    Card.objects.update(public=False)

    assert see(demo.card, Device(pk=demo.amira.pk), Service(), demo.amira)[:2] == [None, None]


def test_a_key_that_the_user_table_can_not_know_is_nobodys(demo, see):
    odd = User(pk="service-7")

    assert see(demo.card, odd, demo.amira)[0] is None


def test_what_is_set_in_a_context_variable_for_one_viewer_reaches_no_other(demo, see, republish):
    @permission
    def sets(viewer, card):
        if current.get() is None:
            current.set(viewer.user.username)
        return True

    class Shows(serializers.Serializer):
        current = serializers.SerializerMethodField()

        def get_current(self, card):
            return current.get()

    republish(Card, Shows, to=sets)

    assert see(demo.card, demo.amira, demo.cleo) == [{"current": "amira"}, {"current": "cleo"}]


current = ContextVar("current", default=None)


def test_a_publication_that_can_not_be_read_is_left_undecided_and_touches_no_other(demo, viewer, republish, caplog):
    page = Page.objects.create()
    broken = Page.objects.extra(where=["1 = %s"], params=[object()])
    republish(Page, plain(Page, "text"), to=anyone, queryset=broken)
    of_page, of_card = (Pair(viewer(demo.cleo), find(thing._meta.label), thing.hashid) for thing in (page, demo.card))

    decisions = evaluate([of_page, of_card])

    assert decisions.keys() == {of_card}
    assert decisions[of_card] is not None
    assert [(record.event, record.model) for record in caplog.records] == [("evaluation_failed", "lab.Page")]

    republish(Card, plain(Card, "title"), to=anyone, queryset=Card.objects.extra(where=["1 = %s"], params=[object()]))
    both = [Pair(of_page.viewer, find("lab.Page"), "x"), Pair(of_page.viewer, find("board.Card"), demo.card.hashid)]
    with pytest.raises(Exception, match="object"):
        evaluate([*both, of_page])


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, RecursionError])
def test_an_error_that_would_end_a_task_or_the_process_denies_one_viewer(demo, see, republish, error):
    class Ends(plain(Card, "title")):
        def to_representation(self, instance):
            if self.context["request"].user == demo.ben:
                raise error
            return super().to_representation(instance)

    republish(Card, Ends, to=anyone)

    assert [bool(view) for view in see(demo.card, demo.ben, demo.cleo)] == [False, True]


def test_what_a_publication_prefetches_is_fetched_once_for_all_and_shared_by_none(demo, viewer, republish):
    class Editors(serializers.Serializer):
        names = serializers.SerializerMethodField()

        def get_names(self, page):
            editors = list(page.editors.all())
            editors[0].username += f" as {self.context['request'].user.username} sees them"
            return [editor.username for editor in page.editors.all()]

    page = Page.objects.create(owner=demo.amira)
    page.editors.add(demo.ben)
    queryset = Page.objects.select_related("owner").prefetch_related("editors", "owner__groups")
    publication = republish(Page, Editors, to=is_owner("editors") | anyone, queryset=queryset)
    pairs = [Pair(viewer(user), publication, page.hashid) for user in (demo.amira, demo.ben, demo.cleo)]

    with CaptureQueriesContext(connection) as asked:
        views = evaluate(pairs).values()

    Page.objects.update(owner=None)
    assert evaluate(pairs).keys() == set(pairs)
    assert sum("page_editors" in query["sql"] for query in asked) == 1
    assert [json.loads(view.body)["names"] for view in views] == [
        [f"ben as {name} sees them"] for name in ("amira", "ben", "cleo")
    ]


def test_the_snapshot_is_of_the_database_that_the_publication_reads(demo, viewer, republish, monkeypatch):
    opened = []

    @contextmanager
    def noted(databases):
        opened.extend(databases)
        yield

    monkeypatch.setattr(evaluation, "snapshot", noted)
    publication = republish(Card, plain(Card, "title"), to=anyone, queryset=Card.objects.using("elsewhere"))

    with pytest.raises(ConnectionDoesNotExist):
        evaluate([Pair(viewer(demo.amira), publication, demo.card.hashid)])

    assert opened == ["elsewhere", "default"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_a_get_can_not_say_is_not_pushed(demo, see, republish, value):
    class Ratio(serializers.Serializer):
        ratio = serializers.SerializerMethodField()

        def get_ratio(self, card):
            return value

    republish(Card, Ratio, to=anyone)

    assert see(demo.card, demo.amira) is None


def test_a_missing_anonymous_user_is_an_error_of_the_anonymous_viewers_only(demo, see, republish):
    User.objects.filter(username="AnonymousUser").delete()
    republish(Card, plain(Card, "title"), to=~has_perm("delete_card"))

    assert [bool(view) for view in see(demo.card, demo.nobody, demo.cleo)] == [False, True]


# What is shared


def test_two_who_see_the_same_are_given_the_very_same_view(demo, viewer):
    pairs = [Pair(viewer(user), find("board.Card"), demo.card.hashid) for user in (demo.dev, demo.nobody, demo.cleo)]

    dev, nobody, cleo = evaluate(pairs).values()

    assert dev is nobody
    assert cleo is not dev


def test_it_is_counted_what_was_shared_and_what_was_made_alone(demo, viewer, republish):
    publication = republish(Page, shapes.ByMethod, to=anyone)
    page = Page.objects.create()
    before = counts()

    evaluate(Pair(viewer(user), publication, page.hashid) for user in (demo.amira, demo.ben))
    evaluate(Pair(viewer(user), find("board.Card"), demo.card.hashid) for user in (demo.amira, demo.ben, demo.cleo))

    grown = {what: number - before[what] for what, number in counts().items()}
    assert (grown["evaluations"], grown["views_alone"], grown["views_shared"]) == (2, 2, 3)


def test_what_fails_for_some_of_an_instance_touches_no_others_of_it(viewer, republish, caplog):
    publication = republish(Page, plain(Page, "text"), to=anyone)
    page = Page.objects.create(text="text")
    zones = ["UTC", "No/Where", "Asia/Tokyo"]
    pairs = [Pair(viewer(time_zone=zone), publication, page.hashid) for zone in zones]

    decisions = evaluate(pairs)

    assert [bool(view) for view in decisions.values()] == [True, False, True]
    assert [record.event for record in caplog.records] == ["viewer_denied"]


def test_what_can_not_be_asked_of_all_together_is_asked_of_each_alone(demo, viewer, republish):
    pages = [Page.objects.create(text=text) for text in ("broken", "whole")]

    class Broken(Question):
        def among(self, viewers, inquiry):
            if inquiry.instance.text == "broken":
                raise ValueError(inquiry.instance.text)
            return viewers

        def allows(self, viewer, instance):
            return viewer.user == demo.ben

    publication = republish(Page, plain(Page, "text"), to=Broken())
    User.objects.filter(pk=demo.cleo.pk).update(is_active=False)
    users = (demo.amira, demo.ben, demo.cleo)
    pairs = [Pair(viewer(user), publication, page.hashid) for page in pages for user in users]

    decisions = evaluate(pairs)

    assert [bool(decisions[pair]) for pair in pairs] == [False, True, False, True, True, False]


def test_what_can_be_asked_neither_of_all_nor_yet_of_one_is_left_undecided(demo, viewer, republish):
    class Broken(Question):
        def among(self, viewers, inquiry):
            raise ValueError

        def allows(self, viewer, instance):
            if viewer.user == demo.ben:
                raise OperationalError
            return True

    publication = republish(Page, plain(Page, "text"), to=Broken())
    page = Page.objects.create()
    pairs = [Pair(viewer(user), publication, page.hashid) for user in (demo.amira, demo.ben, demo.cleo)]

    decisions = evaluate(pairs)

    assert list(decisions) == [pairs[0], pairs[2]]
    assert all(decisions.values())


def test_an_instance_that_can_not_be_copied_is_shown_as_it_is_to_each_alone(demo, viewer, republish):
    class Held(Page):
        class Meta:
            proxy = True
            app_label = "lab"

        def __init__(self, *given):
            super().__init__(*given)
            self.lock = Lock()

    @permission
    def is_amira(viewer, page):
        return viewer.user == demo.amira

    publication = republish(Page, plain(Page, "text"), to=is_amira, queryset=Held.objects.all())
    page = Page.objects.create(text="text")
    pairs = [Pair(viewer(user), publication, page.hashid) for user in (demo.amira, demo.ben)]

    assert [bool(view) for view in evaluate(pairs).values()] == [True, False]


@pytest.mark.parametrize("serializer", [shapes.Plain, shapes.NestedInPlain])  # which reads no more, and which does
@pytest.mark.django_db(transaction=True)
def test_a_refused_statement_that_the_applications_code_swallows_spoils_nobodys_view(
    demo, viewer, republish, serializer
):
    @permission
    def swallows(viewer, page):
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column" if viewer.user == demo.ben else "SELECT 1")
            return True
        return False

    pages = [Page.objects.create(owner=demo.amira) for _ in range(4)]
    publication = republish(Page, serializer, to=swallows)
    people = [demo.ben, demo.amira, demo.cleo, demo.dev, demo.admin, demo.nobody]
    pairs = [Pair(viewer(user), publication, page.hashid) for page in pages for user in people]

    decisions = evaluate(pairs)

    assert decisions == {pair: decide_alone(pair) for pair in pairs}
    assert [bool(decisions[pair]) for pair in pairs] == [False, True, True, True, True, True] * len(pages)


def test_a_refused_statement_spoils_nobodys_view_also_where_the_users_are_in_a_database_of_their_own(
    demo, viewer, republish, monkeypatch
):
    publication = republish(Page, shapes.Plain, to=anyone)
    page = Page.objects.create(text="text")
    pairs = [Pair(viewer(user), publication, page.hashid) for user in (demo.amira, demo.ben)]
    monkeypatch.setattr(evaluation, "router", SimpleNamespace(db_for_read=lambda model: "accounts"))
    monkeypatch.setattr(evaluation, "snapshot", lambda databases: nullcontext(True))
    monkeypatch.setattr(evaluation, "is_spoiled", lambda databases: "accounts" in databases)

    one, other = evaluate(pairs).values()

    assert one == other == decide_alone(pairs[0])
    assert one is not other


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_fails_says_nothing_about_what_a_viewer_may_see(demo, viewer, republish, caplog):
    class Fails(plain(Card, "title")):
        def to_representation(self, instance):
            raise InterfaceError

    publication = republish(Card, Fails, to=anyone)
    pairs = [Pair(viewer(user), publication, demo.card.hashid) for user in (demo.amira, demo.ben)]

    assert evaluate(pairs) == {}
    assert [record.event for record in caplog.records] == ["evaluation_failed"] * 2


# What it costs


@pytest.fixture
def queries():
    """The statements that an evaluation of these pairs costs."""

    def asked(pairs):
        with CaptureQueriesContext(connection) as captured:
            evaluate(pairs)
        # SQLite's BEGIN and COMMIT are counted by Django, PostgreSQL's are not.
        return [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "BEGIN IMMEDIATE", "COMMIT")]

    return asked


@pytest.fixture
def crowd(demo):
    """Three hundred users with some rights on Amira's page."""
    page = Page.objects.create(owner=demo.amira)
    users = User.objects.bulk_create(User(username=f"viewer {number}") for number in range(300))
    for number, codename in enumerate(shapes.CODENAMES):
        assign_perm(codename, [user for user in users if user.pk >> number & 1], page)
    return page, users


@pytest.mark.parametrize("serializer", [shapes.Plain, shapes.Guarded, shapes.BehindOneGuard])
@pytest.mark.parametrize(
    "to", [has_perm("view_page"), is_owner("owner"), has_perm("view_page") | is_owner("owner"), anyone]
)
@pytest.mark.django_db(transaction=True)
def test_one_object_costs_three_hundred_viewers_no_more_queries_than_ten(
    crowd, viewer, republish, queries, serializer, to
):
    page, users = crowd
    publication = republish(Page, serializer, to=to)
    pairs = [Pair(viewer(user), publication, page.hashid) for user in users]

    of_ten, of_all = queries(pairs[:10]), queries(pairs)

    assert len(of_ten) == len(of_all) <= 6


@pytest.mark.django_db(transaction=True)
def test_a_card_of_the_example_costs_three_hundred_viewers_no_more_queries_than_ten(crowd, demo, viewer, queries):
    _, users = crowd
    assign_perm("view_card", users[::2], demo.card)
    pairs = [Pair(viewer(user), find("board.Card"), demo.card.hashid) for user in users]

    of_ten, of_all = queries(pairs[:10]), queries(pairs)

    assert len(of_ten) == len(of_all) <= 7  # one more for the memberships of which its tenants are told


@pytest.mark.parametrize("serializer", [shapes.Plain, shapes.Guarded, shapes.WithoutVariety])
@pytest.mark.django_db(transaction=True)
def test_a_storm_over_three_hundred_objects_costs_no_more_queries_than_over_ten(
    crowd, viewer, republish, queries, serializer
):
    _, users = crowd
    pages = Page.objects.bulk_create(Page(owner=user) for user in users)
    publication = republish(Page, serializer, to=has_perm("view_page") | is_owner("owner"))
    pairs = [Pair(viewer(user), publication, page.hashid) for user, page in zip(users, pages, strict=True)]

    assert len(queries(pairs[:10])) == len(queries(pairs)) <= 8
    assert all(evaluate(pairs).values())


@pytest.mark.parametrize(
    "to",
    [
        has_perm("view_page"),
        is_owner("owner"),
        has_perm("view_page") & is_authenticated,
        has_model_perm("view_page"),
        is_authenticated & ~~has_model_perm("view_page"),
        is_owner("editors"),
        is_owner("owner__groups__user"),
        same_tenant("editors__memberships__organization", "memberships__organization"),
    ],
    ids=repr,
)
@pytest.mark.django_db(transaction=True)
def test_hidden_gone_and_never_existed_cost_the_same_queries(demo, viewer, republish, queries, to):
    publication = republish(Page, shapes.Guarded, to=to)
    shown, hidden, gone = (Page.objects.create(owner=demo.amira) for _ in range(3))
    shown.editors.add(demo.amira)  # from whom all leads on that a permission here follows
    gone_hashid = gone.hashid
    gone.delete()

    evaluate([Pair(viewer(demo.amira), publication, shown.hashid)])  # content types are kept, what it takes is known

    for user in (demo.dev, demo.nobody):
        asked = [
            queries([Pair(viewer(user), publication, hashid)])
            for hashid in (hidden.hashid, gone_hashid, Page(pk=77_777).hashid, "no hashid", "")
        ]
        assert len({len(statements) for statements in asked}) == 1
        assert not any(evaluate([Pair(viewer(user), publication, hidden.hashid)]).values())


# Law 2, where the database has no snapshots


@pytest.fixture
def without_snapshots(monkeypatch):
    """Every statement sees what was committed before it, as on databases that have nothing better."""
    monkeypatch.setattr(snapshots, "CONSISTENT", ())
    monkeypatch.setattr(snapshots, "repeatable_read", lambda connection: nullcontext())
    if connection.vendor == "sqlite":  # where a transaction is a snapshot
        monkeypatch.setattr(evaluation, "snapshot", lambda databases: nullcontext(False))


@pytest.fixture
def between(monkeypatch):
    """``between(moment, work)`` does something elsewhere before the so-manieth step of the next evaluation."""

    def arrange(moment, work):
        steps = []

        def interrupted(name):
            real = getattr(evaluation, name)

            def step(*given):
                steps.append(name)
                if len(steps) == moment:
                    assert elsewhere(work) == []
                return real(*given)

            monkeypatch.setattr(evaluation, name, step)

        for name in ("fetch", "renew", "show"):
            interrupted(name)

    return arrange


@pytest.mark.parametrize("moment", range(1, 7))
@pytest.mark.django_db(transaction=True)
def test_what_is_written_after_the_right_was_taken_away_is_never_shown(
    see, viewer, without_snapshots, between, republish, moment
):
    document = Document.objects.create(text="before")
    colleague = User.objects.create(username="colleague")
    assign_perm("view_document", colleague, document)
    publication = republish(Document, DocumentSerializer, to=has_perm("view_document"))
    pair = Pair(viewer(colleague), publication, document.hashid)

    def revoke_and_write():
        remove_perm("view_document", colleague, document)
        Document.objects.update(text="secret")
        Note.objects.create(document=document, text="secret")

    between(moment, revoke_and_write)
    decisions = evaluate([pair])

    for view in decisions.values():
        assert view is None or b"secret" not in view.body
    assert (pair in decisions) is (moment in (1, 2))  # afterwards, what was seen twice is not the same
    assert evaluate([pair]) == {pair: None}


@pytest.mark.parametrize("moment", range(1, 8))
@pytest.mark.django_db(transaction=True)
def test_what_changes_while_it_is_read_twice_is_left_undecided_and_comes_right(
    demo, viewer, without_snapshots, between, republish, moment
):
    page = Page.objects.create(text="before", owner=demo.amira)
    publication = republish(Page, shapes.Guarded, to=is_owner("owner") | has_perm("view_page"))
    pairs = [Pair(viewer(user), publication, page.hashid) for user in (demo.amira, demo.dev)]

    between(moment, lambda: Page.objects.update(text="after"))
    decisions = evaluate(pairs)

    assert decisions[pairs[1]] is None
    assert (pairs[0] in decisions) is (moment not in (2, 3, 4))
    assert evaluate(pairs) == {pair: decide_alone(pair) for pair in pairs}
    assert b"after" in evaluate(pairs)[pairs[0]].body or moment == 7


@pytest.mark.parametrize("moment", range(1, 7))
@pytest.mark.django_db(transaction=True)
def test_a_right_that_is_given_while_it_is_read_twice_shows_nothing_that_was_not_asked_for(
    viewer, without_snapshots, between, republish, moment
):
    page = Page.objects.create(text="text")
    colleague = User.objects.create(username="colleague")
    publication = republish(Page, shapes.Guarded, to=has_perm("view_page"))
    pair = Pair(viewer(colleague), publication, page.hashid)

    between(moment, lambda: assign_perm("view_page", colleague, page))
    decisions = evaluate([pair])

    assert (pair in decisions) is (moment not in (3, 4, 5))
    assert evaluate([pair])[pair]


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_is_refused_only_in_the_second_look_spoils_nobodys_view(
    demo, viewer, without_snapshots, republish, monkeypatch
):
    asked = []

    @permission
    def swallows_in_the_second_look(viewer, page):
        asked.append(viewer)
        return len(asked) != 2

    page = Page.objects.create(text="text")
    publication = republish(Page, shapes.Plain, to=swallows_in_the_second_look)
    pair = Pair(viewer(demo.amira), publication, page.hashid)
    monkeypatch.setattr(evaluation, "is_spoiled", lambda databases: len(asked) == 2)

    decisions = evaluate([pair])

    assert decisions == {pair: decide_alone(pair)}
    assert decisions[pair]


@pytest.mark.django_db(transaction=True)
def test_what_can_not_be_told_in_the_second_look_is_left_undecided_and_touches_no_other(
    demo, viewer, without_snapshots, republish
):
    looks = []

    class BrokenInTheSecondLook(Question):
        def among(self, viewers, inquiry):
            looks.append(inquiry)
            if len(looks) == 2:
                raise ValueError
            return viewers

        def allows(self, viewer, instance):
            if viewer.user == demo.ben:
                raise OperationalError
            return True

    publication = republish(Page, plain(Page, "text"), to=BrokenInTheSecondLook())
    page = Page.objects.create()
    pairs = [Pair(viewer(user), publication, page.hashid) for user in (demo.amira, demo.ben, demo.cleo)]

    decisions = evaluate(pairs)

    assert list(decisions) == [pairs[0], pairs[2]]
    assert all(decisions.values())


class InPlace(Question):
    """Answers for these users by changing the set that it was given, as far as it lets itself be changed."""

    def __init__(self, change, *names):
        self.change = change
        self.names = names

    def allows(self, viewer, instance):
        return viewer.user.username in self.names

    def among(self, viewers, inquiry):
        those = {one for one in inquiry.rights.crowd.viewers if one.user.username in self.names}
        if self.change == "widen":
            viewers |= those
        if self.change == "narrow":
            viewers &= those
        return those if self.change == "refill" else viewers


class Refilled(InPlace):
    """Has one set for all its answers."""

    answer: ClassVar = set()

    def among(self, viewers, inquiry):
        found = super().among(viewers, inquiry)
        self.answer.clear()
        self.answer.update(found)
        return self.answer


def guarded_by(guard):
    class Guarded(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = Card
            fields = ["title", "salary"]
            guards = {"salary": guard}

    return Guarded


@pytest.mark.parametrize("change", ["widen", "narrow"])
def test_a_guard_that_changes_what_it_is_given_decides_about_its_field_only(demo, see, republish, change):
    amira = permission(lambda viewer, card: viewer.user == demo.amira)
    both = permission(lambda viewer, card: viewer.user in (demo.amira, demo.ben))
    guard = InPlace(change, "amira", *(["ben"] if change == "widen" else []))
    republish(Card, guarded_by(guard), to=amira if change == "widen" else both)

    assert list(see(demo.card, demo.amira)) == ["title", "salary"]
    found = see(demo.card, demo.amira, demo.ben)

    assert list(found[0]) == ["title", "salary"]
    assert found[1] == (None if change == "widen" else {"title": demo.card.title})


@pytest.mark.parametrize("kind", [InPlace, Refilled])
@pytest.mark.parametrize("change", ["widen", "refill"])
def test_nobody_is_allowed_by_both_who_is_refused_by_the_first(demo, see, republish, kind, change):
    """Also where the second answers with others than it was asked about."""
    amira = permission(lambda viewer, card: viewer.user == demo.amira)

    republish(Card, plain(Card, "title"), to=amira & kind(change, "amira", "ben"))

    amiras, bens = see(demo.card, demo.amira, demo.ben)
    assert (amiras["title"], bens) == (demo.card.title, None)


@pytest.mark.parametrize("change", ["widen", "narrow"])
def test_so_does_one_within_another_serializer(demo, see, republish, change):
    class Inner(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = Note
            fields = ["text", "secret"]
            guards = {"secret": InPlace(change, "amira", *(["ben"] if change == "widen" else []))}

    class Outer(serializers.ModelSerializer):
        notes = Inner(many=True, read_only=True)

        class Meta:
            model = Document
            fields = ["text", "notes"]

    republish(Document, Outer, to=permission(lambda viewer, document: viewer.user != demo.ben))
    document = Document.objects.create(text="t", owner=demo.amira)
    Note.objects.create(document=document, text="n", secret="s")

    amira, ben, cleo = see(document, demo.amira, demo.ben, demo.cleo)

    assert (amira["notes"], ben) == ([{"text": "n", "secret": "s"}], None)
    assert cleo["text"] == "t"


@pytest.mark.parametrize("guarded", [("amira", "ben"), ("amira",)])
def test_what_a_permission_has_answered_is_not_changed_by_its_next_answer(demo, viewer, republish, guarded):
    """Those who are shown an object in German come after those who are in English, and after their guards."""
    seeing = ("amira",) if len(guarded) == 2 else ("amira", "ben")
    publication = republish(Card, guarded_by(Refilled("refill", *guarded)), to=Refilled("refill", *seeing))
    pairs = [
        Pair(viewer(demo.amira), publication, demo.card.hashid),
        Pair(viewer(demo.ben, language="de"), publication, demo.card.hashid),
    ]

    decisions = evaluate(pairs)

    assert list(json.loads(decisions[pairs[0]].body)) == ["title", "salary"]
    assert (decisions[pairs[1]] is None) == ("ben" not in seeing)


nobody = permission(lambda viewer, instance: False)


def test_what_one_has_answered_is_not_changed_by_the_answer_of_the_other(demo, see, republish):
    republish(Card, plain(Card, "title"), to=Refilled("refill", "amira") | Refilled("refill", "ben"))

    assert all(see(demo.card, demo.amira, demo.ben))


@pytest.mark.parametrize("combined", [lambda one: one, lambda one: one | nobody, lambda one: one & ~nobody])
def test_what_a_guard_has_answered_is_not_changed_by_the_answer_of_the_next(demo, see, republish, combined):
    class Guarded(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = Card
            fields = ["title", "salary"]
            guards = {"salary": combined(Refilled("refill", "amira")), "title": combined(Refilled("refill", "ben"))}

    republish(Card, Guarded, to=anyone)

    amira, ben = see(demo.card, demo.amira, demo.ben)

    assert (list(amira), list(ben)) == (["salary"], ["title"])


class Amira(Question):
    """Allows one; of many it answers what is no collection of those whom it allows."""

    def __init__(self, answer):
        self.answer = answer

    def allows(self, viewer, instance):
        return viewer.user.username == "amira"

    def among(self, viewers, inquiry):
        return self.answer(self, viewers, inquiry)


ANSWERS = {
    "a dict of yes and no": lambda self, viewers, inquiry: inquiry.each(self.allows, viewers),
    "None": lambda self, viewers, inquiry: None,
    "an empty text": lambda self, viewers, inquiry: "",
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(
    ("combined", "seeing"),
    [
        (lambda one: one, ["amira"]),
        (lambda one: ~one, ["ben"]),
        (lambda one: one | nobody, ["amira"]),
        (lambda one: nobody | one, ["amira"]),
        (lambda one: ~(nobody | one), ["ben"]),
        (lambda one: ~(one | nobody), ["ben"]),
        (lambda one: one & anyone, ["amira"]),
        (lambda one: anyone & one, ["amira"]),
    ],
)
def test_what_does_not_say_whom_it_allows_is_no_answer_and_each_is_asked_alone(
    demo, see, republish, answer, combined, seeing
):
    class Guarded(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = Card
            fields = ["title", "salary"]
            guards = {"salary": combined(Amira(ANSWERS[answer]))}

    users = (demo.amira, demo.ben)
    republish(Card, plain(Card, "title"), to=combined(Amira(ANSWERS[answer])))
    assert [one.username for one, view in zip(users, see(demo.card, *users), strict=True) if view] == seeing

    republish(Card, Guarded, to=anyone)
    shown = zip(users, see(demo.card, *users), strict=True)
    assert [one.username for one, view in shown if "salary" in view] == seeing


def test_a_permission_that_allows_others_than_it_was_asked_about_shows_them_nothing(demo, viewer, republish):
    """One who is not there any more, and one who asks about another object only."""

    class Everybody(Question):
        def allows(self, viewer, instance):
            return True

        def among(self, viewers, inquiry):
            were_asked.append(viewers)
            return everybody

    publication = republish(Page, plain(Page, "text"), to=Everybody())
    pages = [Page.objects.create(text=text) for text in ("first", "second")]
    User.objects.filter(pk=demo.ben.pk).update(is_active=False)
    amira, ben, cleo = everybody = [viewer(user) for user in (demo.amira, demo.ben, demo.cleo)]
    everybody, were_asked = frozenset(everybody), []
    asked = [(amira, pages[0]), (ben, pages[0]), (cleo, pages[1]), (ben, pages[1]), (amira, pages[0])]
    pairs = [Pair(one, publication, page.hashid) for one, page in asked]

    decisions = evaluate(pairs)

    shown = [decisions[pair] and json.loads(decisions[pair].body)["text"] for pair in pairs]
    assert shown == ["first", None, "second", None, "first"]
    assert {*were_asked} == {frozenset({amira}), frozenset({cleo})}


@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys])
def test_a_permission_may_answer_with_any_collection(demo, see, republish, kind):
    class Odd(Question):
        def among(self, viewers, inquiry):
            return kind(viewers)

    republish(Card, plain(Card, "title"), to=Odd())

    shown = {"id": demo.card.hashid, "title": demo.card.title}
    assert see(demo.card, demo.amira, demo.ben) == [shown, shown]
