"""The representation: made once for all who see the same, and never shared by those who do not."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from guardian.shortcuts import assign_perm
from lab import shapes
from lab.models import Page
from rest_framework import serializers

from livegate.permissions import has_perm, is_authenticated, is_owner, is_self, permission
from livegate.permissions.inquiries import Inquiry
from livegate.permissions.rights import Rights
from livegate.serializers import PerUserSerializerMixin
from livegate.serializers.facts import FactField
from livegate.serializers.representation import Representation, is_divisible, represent

pytestmark = pytest.mark.django_db
User = get_user_model()


@pytest.fixture
def crowd():
    """Two hundred users, whose four object permissions on a page are all the combinations that there are."""
    users = User.objects.bulk_create(User(username=f"somebody {number}") for number in range(200))
    page = Page.objects.create(text="text", owner=users[0])
    for bit, codename in enumerate(shapes.CODENAMES):
        assign_perm(codename, [user for user in users if user.pk >> bit & 1], page)
    return page, users


@pytest.fixture
def made(viewer):
    """The representation of an instance for users, and the inquiry; each text is what a GET by each would show."""

    def make(serializer, instance, users):
        rights = Rights(viewer(user) for user in users)
        rights.expect([instance])
        inquiry = Inquiry(rights, instance)
        found = Representation(serializer, inquiry, rights.crowd.viewers)
        for body, audience in found.bodies:
            for one in audience:
                assert body == represent(serializer, type(instance).objects.get(pk=instance.pk), one)
        return found, inquiry

    return make


@pytest.fixture
def roots(monkeypatch):
    """Notes each time that something is represented by the outermost serializer."""
    found = []
    real = PerUserSerializerMixin.represent_without

    def noted(self, hidden, instance):
        if self.parent is None:
            found.append(type(self))
        return real(self, hidden, instance)

    monkeypatch.setattr(PerUserSerializerMixin, "represent_without", noted)
    return found


@permission
def has_a_high_key(viewer, instance):
    return viewer.user.pk % 200 > 150


class FourGuards(PerUserSerializerMixin, serializers.ModelSerializer):
    first = serializers.CharField(source="text")
    second = serializers.CharField(source="text")
    third = serializers.CharField(source="text")
    fourth = serializers.CharField(source="text")
    fifth = serializers.CharField(source="text")

    class Meta:
        model = Page
        fields = ["third", "first", "text", "second", "fifth", "fourth"]
        guards = {
            "first": has_perm("view_page"),
            "second": has_perm("change_page"),
            "third": has_perm("delete_page"),
            "fourth": has_perm("add_page"),
            "fifth": is_owner("owner"),
        }


class Computed(FourGuards):
    """The same, of which nothing shows a column."""

    first = second = third = fourth = fifth = text = None

    def get_text(self, page):
        return page.text


for name in Computed.Meta.fields:
    Computed._declared_fields[name] = serializers.SerializerMethodField(method_name="get_text")


# Made once


def made_without_checking(viewer, serializer, instance, users):
    rights = Rights(viewer(user) for user in users)
    return Representation(serializer, Inquiry(rights, instance), rights.crowd.viewers)


def test_two_hundred_viewers_of_many_kinds_cost_no_more_representations_than_guards(crowd, viewer, roots):
    page, users = crowd

    found = made_without_checking(viewer, Computed, page, users)

    assert len(found.bodies) == 17
    assert sum(len(audience) for _, audience in found.bodies) == 200
    assert len(roots) == len(Computed.Meta.guards) + 1


def test_three_audiences_cost_three_representations(crowd, viewer, roots):
    page, users = crowd
    of_kinds = [user for user in users[1:] if user.pk & 15 in (0, 1, 15)]

    found = made_without_checking(viewer, Computed, page, of_kinds)

    assert len(found.bodies) == 3
    assert len(roots) == 3


def test_where_all_fields_show_columns_no_serializer_is_run(crowd, viewer, roots):
    page, users = crowd

    found = made_without_checking(viewer, FourGuards, page, users)

    assert len(found.bodies) == 17
    assert sum(len(audience) for _, audience in found.bodies) == 200
    assert roots == []


def test_a_plain_serializer_is_not_run_either_where_all_its_fields_show_columns(crowd, made, viewer, monkeypatch):
    page, users = crowd
    [(body, _)] = made(shapes.Plain, page, users)[0].bodies
    monkeypatch.setattr(serializers.Serializer, "to_representation", None)

    found = made_without_checking(viewer, shapes.Plain, page, users)

    assert found.bodies == [(body, {viewer(user) for user in users})]


def test_columns_among_other_fields_are_shown_as_they_are(crowd, made):
    page, users = crowd

    class Some(Computed):
        second = serializers.CharField(source="text")
        fifth = serializers.PrimaryKeyRelatedField(source="owner", read_only=True)

    found, _ = made(Some, page, users)

    assert (len(found.bodies), found.alone) == (17, {})


def test_a_field_that_changes_what_a_column_holds_is_not_taken_apart_from_it(crowd, made):
    page, users = crowd

    class Changing(FourGuards):
        fourth = serializers.SerializerMethodField()

        def get_fourth(self, page):
            page.text = f"{page.text}!"
            return page.text

    found, _ = made(Changing, page, users)

    assert sum(len(audience) for _, audience in found.bodies) == 200
    assert set(found.alone.values()) == {"ValueError was raised"}
    assert {one for one in found.alone if one.user.pk & 8} == found.alone.keys()


def test_those_who_have_the_same_facts_share_what_is_made_once(crowd, viewer, roots):
    page, users = crowd

    class Counted(FourGuards):
        kind = FactField(lambda viewers, pages: {(v.user.pk, page.pk): v.user.pk % 7 for v in viewers}, default=0)

        class Meta(FourGuards.Meta):
            fields = ["kind", *FourGuards.Meta.fields]

    found = made_without_checking(viewer, Counted, page, users)

    assert len(found.bodies) > 50
    assert len(roots) <= len(Counted.Meta.guards) + 1
    bodies = {one: json.loads(body) for body, audience in found.bodies for one in audience}
    assert all(bodies[one]["kind"] == one.user.pk % 7 for one in bodies)


def test_what_is_behind_one_guard_is_made_once_and_not_read_for_those_who_may_not_see_it(crowd, viewer):
    page, users = crowd
    read = []

    class Reading(FourGuards):
        fourth = serializers.SerializerMethodField()
        fifth = serializers.SerializerMethodField()

        def get_fourth(self, page):
            read.append("fourth")

        def get_fifth(self, page):
            read.append("fifth")

    made_without_checking(viewer, Reading, page, users[1:])
    assert read == ["fourth"]

    made_without_checking(viewer, Reading, page, [user for user in users[1:] if not user.pk & 8])
    assert read == ["fourth"]


def test_the_fields_stand_in_the_order_of_the_serializer(crowd, made):
    page, users = crowd

    found, _ = made(FourGuards, page, users[:40])

    for body, _ in found.bodies:
        names = list(json.loads(body))
        assert names == [name for name in FourGuards.Meta.fields if name in names]


# Who shares


def test_what_the_only_one_of_a_kind_is_shown_is_made_as_if_there_were_others(crowd, made):
    page, users = crowd

    found, _ = made(FourGuards, page, users[:1])

    assert (len(found.bodies), found.alone) == (1, {})


def test_a_serializer_that_looks_for_the_user_is_made_for_each_and_the_place_is_told(crowd, made):
    page, users = crowd

    found, _ = made(shapes.ByMethod, page, users[:20])

    assert len(found.bodies) == 20
    [reason] = set(found.alone.values())
    assert reason.startswith("request.user was read, in get_name at ")
    assert "shapes.py:" in reason


def test_what_is_reached_for_behind_a_guard_sets_apart_those_who_may_see_it(crowd, made, viewer):
    page, users = crowd

    class Secret(PerUserSerializerMixin, serializers.Serializer):
        text = serializers.CharField()
        name = serializers.SerializerMethodField()

        class Meta:
            guards = {"name": has_perm("change_page")}

        def get_name(self, page):
            return self.context["request"].user.username

    found, _ = made(Secret, page, users[:20])

    assert {one for one in found.alone if one.user.pk & 2} == {viewer(user) for user in users[:20] if user.pk & 2}
    assert {len(audience) for _, audience in found.bodies} <= {1, 10}


def test_those_who_have_to_be_shown_alone_what_is_behind_a_guard_take_nothing_from_the_others(crowd, made):
    page, users = crowd
    page.owner = users[0]

    class Owner(PerUserSerializerMixin, serializers.Serializer):
        name = serializers.SerializerMethodField()

        class Meta:
            guards = {"name": is_self | has_a_high_key}

        def get_name(self, owner):
            return self.context["request"].user.username

    class Outer(FourGuards):
        fourth = Owner(source="owner")

    found, _ = made(Outer, page, users)

    assert sum(len(audience) for _, audience in found.bodies) == 200
    assert 0 < len(found.alone) < 100
    assert len(found.bodies) > len(found.alone) + 8


def test_once_a_serializer_looked_for_the_user_it_is_not_tried_again_in_that_evaluation(crowd, viewer):
    page, users = crowd
    tried = []

    class Tried(shapes.ByMethod):
        def get_name(self, page):
            tried.append(page)
            return super().get_name(page)

    made_without_checking(viewer, Tried, page, users[:20])

    assert len(tried) == 21


def test_nested_guards_divide_those_who_would_share(crowd, made):
    page, users = crowd
    page.editors.set(users[:3])

    class Person(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = User
            fields = ["username", "email"]
            guards = {"email": is_self}

    class Outer(serializers.Serializer):
        editors = Person(many=True)

    found, _ = made(Outer, page, users[:10])

    assert sorted(len(audience) for _, audience in found.bodies) == [1, 1, 1, 7]


def test_a_nested_guard_that_fails_for_some_denies_them(crowd, made):
    page, users = crowd

    @permission
    def fails_for_some(viewer, one):
        return bool(1 / (viewer.user.pk & 1))

    class Person(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = User
            fields = ["username", "email"]
            guards = {"email": fails_for_some}

    class Outer(serializers.Serializer):
        owner = Person()

    found, inquiry = made(Outer, page, users[:10])

    assert {one.user.pk & 1 for one in inquiry.denied} == {0}
    assert [len(audience) for _, audience in found.bodies] == [5]


def test_one_whom_a_guard_fails_for_is_shown_nothing_also_where_another_guard_had_set_them_apart(crowd, viewer):
    page, users = crowd
    failed = []

    @permission
    def leaves(viewer, page):
        page.left = viewer
        return True

    @permission
    def fails_at_first(viewer, page):
        if viewer.user == users[1] and not failed:
            failed.append(viewer)
            raise ValueError
        return True

    class Shows(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = Page
            fields = ["text", "owner"]
            guards = {"text": leaves, "owner": fails_at_first}

    inquiry = Inquiry(Rights(viewer(user) for user in users[:3]), page)
    found = Representation(Shows, inquiry, inquiry.rights.crowd.viewers)

    assert inquiry.denied.keys() == {viewer(users[1])}
    assert [one.user for _, audience in found.bodies for one in audience if one in inquiry.denied] == []
    assert {one for _, audience in found.bodies for one in audience} == {viewer(users[0]), viewer(users[2])}


@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError])
def test_what_fails_for_all_is_tried_alone_and_denied(crowd, made, error):
    page, users = crowd

    class Fails(FourGuards):
        text = serializers.SerializerMethodField()

        def get_text(self, page):
            raise error

    found, inquiry = made(Fails, page, users[:40])

    assert found.bodies == []
    assert {type(one) for one in inquiry.denied.values()} == {error}
    assert set(found.alone.values()) == {f"{error.__name__} was raised"}


@pytest.mark.parametrize("size", [1, 8])
def test_what_the_database_refuses_is_raised(crowd, made, size):
    page, users = crowd

    class Refused(shapes.Unguarded):
        def to_representation(self, page):
            raise DatabaseError

    with pytest.raises(DatabaseError):
        made(Refused, page, users[:size])


def test_a_misspelt_guard_shows_nothing_however_it_is_made(crowd, made):
    page, users = crowd

    class Misspelt(FourGuards):
        class Meta(FourGuards.Meta):
            guards = {"fith": is_authenticated}

    found, inquiry = made(Misspelt, page, users[:40])

    assert (found.bodies, len(inquiry.denied)) == ([], 40)


def test_another_field_in_the_place_of_a_fact_is_shown_as_it_is(crowd, made):
    page, users = crowd

    found, _ = made(shapes.InsteadOfAFact, page, users[:40])

    assert {json.loads(body)["variety"] for body, _ in found.bodies} == {"text"}


# What is put together


class Adding:
    """Stands between the mixin and DRF."""

    def to_representation(self, instance):
        return {**super().to_representation(instance), "added": 1}


@pytest.mark.parametrize(
    ("serializer", "divisible"),
    [
        (shapes.Guarded, True),
        (shapes.Facts, True),
        (shapes.Getting, True),
        (shapes.Plain, False),
        (shapes.Whole, False),
        (shapes.Representing, False),
        (shapes.Data, False),
        (shapes.Hiding, False),
        (type("Checks", (shapes.Guarded,), {"check_guards": lambda self: None}), False),
        (type("Hides", (shapes.Guarded,), {"represent_without": lambda self, hidden, instance: {}}), False),
        (type("Reads", (shapes.Guarded,), {"_readable_fields": []}), False),
        (type("Under", (PerUserSerializerMixin, Adding, serializers.Serializer), {}), False),
    ],
)
def test_only_what_drf_puts_together_is_taken_apart(serializer, divisible):
    assert is_divisible(serializer) is divisible
