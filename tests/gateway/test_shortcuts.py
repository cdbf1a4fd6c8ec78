"""Attacks on what is made shorter (columns that are read once, SQL that is written once, batches that are handed out):
each viewer is shown what a GET shows them, and costs nobody else theirs."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest
from clients import hashid_of, until
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, UserManager
from django.db import connection
from django.db.models import Manager
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from guardian.shortcuts import assign_perm
from lab.models import Page
from rest_framework import serializers

from livegate.gateway.credentials import Credentials
from livegate.gateway.decisions import Made, Pair, View
from livegate.gateway.evaluation import evaluate
from livegate.gateway.hub import Hub
from livegate.gateway.publications import find
from livegate.gateway.solitude import decide_alone
from livegate.gateway.subscriptions import Socket, Subscription
from livegate.permissions import anyone, is_owner, permission
from livegate.permissions.rights import Rights
from livegate.serializers import PerUserSerializerMixin

User = get_user_model()


@pytest.fixture
def people(db):
    return User.objects.bulk_create(User(username=f"p{number}", is_staff=number < 2) for number in range(6))


@pytest.fixture
def page(people):
    return Page.objects.create(text="text", owner=people[0])


@pytest.fixture
def same(viewer, republish):
    """What is pushed to each user is what a GET shows each."""

    def check(serializer, instance, users, **options):
        publication = republish(type(instance), serializer, to=anyone, **options)
        pairs = [Pair(viewer(user), publication, hashid_of(instance)) for user in users]
        decisions = evaluate(pairs)
        pushed = [decisions[pair] and decisions[pair].body.decode() for pair in pairs]
        alone = [view and view.body.decode() for view in map(decide_alone, pairs)]
        assert pushed == alone
        return pushed

    return check


class OnPage(PerUserSerializerMixin, serializers.ModelSerializer):
    class Meta:
        model = Page
        fields = ["text", "owner"]


# What a class declares later


def test_a_guard_that_is_set_later_guards(people, page, same):
    class Later(OnPage):
        class Meta:
            model = Page
            fields = ["text", "owner"]
            guards = {}

    same(Later, page, people)
    Later.Meta.guards = {"owner": is_owner("owner")}
    pushed = same(Later, page, people)
    assert "owner" not in json.loads(pushed[1])


def test_a_field_that_is_taken_from_meta_later_is_shown_no_more(people, page, same):
    class Later(serializers.ModelSerializer):
        class Meta:
            model = Page
            fields = ["text", "owner"]

    same(Later, page, people)
    Later.Meta.fields = ["text"]
    same(Later, page, people)


# Fields of the application's own, whose visibility depends on the request


class ForStaffByProperty(serializers.CharField):
    @property
    def write_only(self):
        request = getattr(self, "parent", None) and self.context.get("request")
        return not (request and request.user.is_staff)

    @write_only.setter
    def write_only(self, value):
        pass


class ForStaffByBind(serializers.CharField):
    def bind(self, field_name, parent):
        super().bind(field_name, parent)
        request = parent.context.get("request")
        self.write_only = not (request and request.user.is_staff)


@pytest.mark.parametrize("kind", [ForStaffByProperty, ForStaffByBind])
@pytest.mark.parametrize("mixins", [(), (PerUserSerializerMixin,)])
def test_a_field_that_is_there_for_some_is_not_lost_for_all(people, page, same, kind, mixins):
    meta = type("Meta", (), {"model": Page, "fields": ["text", "noted"]})
    shown = type("S", (*mixins, serializers.ModelSerializer), {"Meta": meta, "noted": kind(source="text")})
    pushed = same(shown, page, people)
    assert "noted" in json.loads(pushed[0])
    assert "noted" not in json.loads(pushed[5])


# What a field does to the fields after it


def test_a_method_that_hides_a_later_field_hides_it(people, page, same):
    """Law 4, and a leak: a GET shows nobody the text."""

    class Hides(PerUserSerializerMixin, serializers.ModelSerializer):
        state = serializers.SerializerMethodField()

        class Meta:
            model = Page
            fields = ["state", "text", "owner"]
            guards = {"owner": is_owner("owner")}

        def get_state(self, page):
            self.fields["text"].write_only = page.text == "text"
            return "sealed"

    pushed = same(Hides, page, people)
    assert all("text" not in json.loads(body) for body in pushed)


def test_a_method_that_sets_the_time_zone_of_a_later_field_sets_it(people, same):
    class Zoned(PerUserSerializerMixin, serializers.ModelSerializer):
        state = serializers.SerializerMethodField()

        class Meta:
            model = User
            fields = ["state", "date_joined", "email"]
            guards = {"email": permission(lambda viewer, user: viewer.user.is_staff)}

        def get_state(self, user):
            self.fields["date_joined"].timezone = ZoneInfo("Asia/Tokyo")
            return ""

    same(Zoned, people[0], people)


def test_what_one_method_begins_and_another_ends_is_there_in_between(people, same):
    class Between(PerUserSerializerMixin, serializers.ModelSerializer):
        begin = serializers.SerializerMethodField()
        end = serializers.SerializerMethodField()

        class Meta:
            model = User
            fields = ["begin", "date_joined", "end", "email"]
            guards = {"email": permission(lambda viewer, user: viewer.user.is_staff)}

        def get_begin(self, user):
            self.before = timezone.get_current_timezone()
            timezone.activate(ZoneInfo("Asia/Tokyo"))

        def get_end(self, user):
            timezone.activate(self.before)

    same(Between, people[0], people)


# Code of the application's in odd places


class Masked:
    def __init__(self, page):
        self._page = page

    def __getattr__(self, name):
        return "***" if name == "text" else getattr(self._page, name)


def test_a_serializer_that_wraps_its_instance_is_asked(people, page, same):
    class Wraps(serializers.ModelSerializer):
        class Meta:
            model = Page
            fields = ["text"]

        @property
        def instance(self):
            return self._instance

        @instance.setter
        def instance(self, page):
            self._instance = page and Masked(page)

    assert set(same(Wraps, page, people)) == {'{"text":"***"}'}


def test_a_patched_field_of_drf_is_asked_with_the_request(people, page, same, monkeypatch):
    real = serializers.CharField.to_representation

    def masked(self, value):
        request = self.context.get("request")
        return real(self, value) if request is None or request.user.is_staff else "***"

    monkeypatch.setattr(serializers.CharField, "to_representation", masked)

    class Plain(serializers.ModelSerializer):
        class Meta:
            model = Page
            fields = ["text"]

    same(Plain, page, people)


class Falls(serializers.IntegerField):
    def to_representation(self, value):
        raise SystemExit


class FallsAtBind(serializers.CharField):
    def bind(self, field_name, parent):
        super().bind(field_name, parent)
        if "request" not in parent.context:
            raise SystemExit


@pytest.mark.parametrize("where", ["pk_field", "bind"])
def test_what_ends_a_process_in_a_field_costs_nobody_else_theirs(people, page, viewer, republish, where):
    fields = {
        "pk_field": {"owner": serializers.PrimaryKeyRelatedField(read_only=True, pk_field=Falls())},
        "bind": {"shown": FallsAtBind(source="text")},
    }[where]
    meta = type("Meta", (), {"model": Page, "fields": ["text", *fields]})
    broken = republish(Page, type("S", (serializers.ModelSerializer,), {"Meta": meta, **fields}), to=anyone)

    class Name(serializers.ModelSerializer):
        class Meta:
            model = User
            fields = ["username"]

    sound = republish(User, Name, to=anyone)
    pairs = [
        Pair(viewer(people[0]), broken, page.hashid),
        Pair(viewer(people[0]), sound, hashid_of(people[1])),
    ]
    try:
        decisions = evaluate(pairs)
    except SystemExit:
        decisions = {}
    assert decisions.get(pairs[1]) is not None


# What is read of the instance that all share


def test_a_deferred_guarded_field_is_not_read_for_nobody(people, page, same):
    class Guarded(OnPage):
        class Meta(OnPage.Meta):
            guards = {"text": permission(lambda viewer, page: False)}

    with CaptureQueriesContext(connection) as asked:
        same(Guarded, page, people, queryset=Page.objects.only("owner"))
    assert not [query["sql"] for query in asked if '"text"' in query["sql"]]


def test_what_a_method_finds_unread_is_unread(people, page, same):
    class Lazy(serializers.ModelSerializer):
        deferred = serializers.SerializerMethodField()

        class Meta:
            model = Page
            fields = ["deferred", "text"]

        def get_deferred(self, page):
            return sorted(page.get_deferred_fields())

    same(Lazy, page, people, queryset=Page.objects.defer("text"))


# Managers of the application's


class Todays(Manager):
    present = ["somebody"]

    def all(self):
        return super().all().filter(name__in=self.present)


class TodaysUsers(UserManager):
    present = ["somebody"]

    def filter(self, *args, **kwargs):
        return super().filter(*args, username__in=self.present, **kwargs)


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["group", "user"])
def test_rights_from_a_manager_with_an_all_or_filter_of_its_own_are_those_of_the_moment(viewer, way, monkeypatch):
    user, group = User.objects.create(username="somebody"), Group.objects.create(name="somebody")
    user.groups.add(group)
    page = Page.objects.create()
    assign_perm("view_page", group if way == "group" else user, page)
    model, kind = {"group": (Group, Todays), "user": (User, TodaysUsers)}[way]
    manager = kind()
    manager.model = model
    monkeypatch.setitem(vars(model._meta), "default_manager", manager)
    watching = viewer(user)

    def may_see():
        rights = Rights([watching])
        rights.read(Page, [page.pk], {"view_page"})
        return watching in rights.crowd.keys and watching in rights.holding({watching}, "lab.view_page", page)

    seen = []
    for there in (["somebody"], [], ["somebody"]):
        monkeypatch.setattr(kind, "present", there)
        seen.append(may_see())

    assert seen == [True, False, True]


# The hub


@pytest.fixture
async def hub():
    made = Hub()
    yield made
    await made.stop()


@pytest.fixture
def socket(viewer):
    """A socket that notes what it is sent, with two subscriptions that have been admitted."""

    async def send(frame):
        made.sent.append(frame)

    class Noting(Socket):
        sent: list[str] = []

    made = Noting(Credentials.of_scope({}, viewer()), send, None)
    made.sent = []
    for hashid in ("aaaaa", "bbbbb"):
        one = Subscription(made, Pair(made.viewer, find("lab.Page"), hashid))
        one.admitted = True
        made.subscriptions[one.key] = one
    return made


async def test_of_each_batch_something_is_sent_however_late_it_is(hub, socket):
    first, second = socket.subscriptions.values()
    made = Made({one.pair: View(b"{}", "0" * 32) for one in (first, second)}, hub._loop.time() - 1)

    hub._delivery.hand_out([(socket, [first, second], made)])
    await until(lambda: hub._delivery.runner is None)

    assert len(socket.sent) == 1
    assert list(socket.dirty) == [second]
