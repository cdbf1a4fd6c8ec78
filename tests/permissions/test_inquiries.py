"""Inquiries: application code is asked for each viewer, and what it leaves behind reaches no other."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from dataclasses import replace
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from threading import Lock
from types import SimpleNamespace

import pytest
from asgiref.local import Local
from board.models import Card, Membership, Organization
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import DatabaseError, connection, transaction
from django.db.models import Prefetch
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django.utils.translation import gettext
from lab.models import Badge, Document, Note, Page
from rest_framework.permissions import BasePermission

from livegate.permissions import Permission, drf, permission
from livegate.permissions.inquiries import Inquiry, Uncopied
from livegate.permissions.rights import Rights
from livegate.permissions.rules import Rule

pytestmark = pytest.mark.django_db
User = get_user_model()

current = ContextVar("current", default=None)
local = Local()


@pytest.fixture
def document():
    owner = User.objects.create(username="owner")
    document = Document.objects.create(owner=owner)
    Note.objects.create(document=document, text="note")
    Badge.objects.create(document=document)
    fetched = Document.objects.select_related("owner", "badge")
    document = fetched.prefetch_related("notes", Prefetch("notes", to_attr="listed")).get()
    document.json = {"seen": [], "number": 1, "inner": {}}
    return document


@pytest.fixture
def people(viewer):
    """So many viewers, by name in their order, of users ``user 0`` and so on."""

    def make(number, **facts):
        users = [User(username=f"user {position}") for position in range(number)]
        return [viewer(user, **facts) for user in User.objects.bulk_create(users)]

    return make


def inquire(document, viewers):
    return Inquiry(Rights(viewers), document)


def by_function(answer):
    return permission(answer)


def by_class(answer):
    class Own(Permission):
        def allows(self, viewer, instance):
            return answer(viewer, instance)

    return Own()


def by_permission_class(answer):
    class Asking(BasePermission):
        def has_object_permission(self, request, view, instance):
            return answer(request, instance)

    return drf(Asking)


def by_rule(answer):
    return Rule("rule", answer)


WRITTEN = pytest.mark.parametrize("written", [by_function, by_class, by_permission_class, by_rule])


# What is left on the instance. Each is a way to leave something, and a way to see whether it is there.

WAYS = {
    "an attribute": (lambda one: setattr(one, "left", 1), lambda one: hasattr(one, "left")),
    "a private attribute": (lambda one: setattr(one, "_left", 1), lambda one: hasattr(one, "_left")),
    "on its state": (lambda one: setattr(one._state, "left", 1), lambda one: hasattr(one._state, "left")),
    "a field": (lambda one: setattr(one, "text", "left"), lambda one: one.text == "left"),
    "an equal value of another type": (
        lambda one: setattr(one.owner, "is_active", 1),
        lambda one: type(one.owner.is_active) is int,
    ),
    "a related instance": (lambda one: setattr(one.owner, "left", 1), lambda one: hasattr(one.owner, "left")),
    "the other side": (lambda one: setattr(one.badge, "left", 1), lambda one: hasattr(one.badge, "left")),
    "another related instance": (
        lambda one: setattr(one, "owner", User.objects.create(username="other")),
        lambda one: one.owner.username == "other",
    ),
    "a prefetched instance": (
        lambda one: setattr(one.notes.all()[0], "text", "left"),
        lambda one: one.notes.all()[0].text == "left",
    ),
    "a prefetched queryset": (
        lambda one: one.notes.all()._result_cache.clear(),
        lambda one: not one.notes.all()._result_cache,
    ),
    "a prefetched list": (lambda one: one.listed.append("left"), lambda one: "left" in one.listed),
    "a dict": (lambda one: one.json.update(left=1), lambda one: "left" in one.json),
    "a dict within": (lambda one: one.json["inner"].update(left=1), lambda one: one.json["inner"] == {"left": 1}),
    "a list within": (lambda one: one.json["seen"].append("left"), lambda one: "left" in one.json["seen"]),
    "an equal value within": (
        lambda one: one.json.update(number=True),
        lambda one: one.json["number"] is True,
    ),
    "a relation taken away": (
        lambda one: one._state.fields_cache.pop("owner"),
        lambda one: "owner" not in one._state.fields_cache,
    ),
    "prefetched ones taken away": (
        lambda one: one._prefetched_objects_cache.clear(),
        lambda one: not one._prefetched_objects_cache,
    ),
    "something prefetched later": (
        lambda one: one._prefetched_objects_cache.update(left=one.notes.all()),
        lambda one: "left" in one._prefetched_objects_cache,
    ),
}


@WRITTEN
@pytest.mark.parametrize("way", WAYS)
def test_what_is_left_on_the_instance_for_one_viewer_reaches_no_other(document, people, written, way):
    leave, is_left = WAYS[way]
    viewers = people(4)
    guilty = viewers[1].user
    found = {}

    def asked(viewer, instance):
        found[viewer.user.username] = is_left(instance)
        if viewer.user == guilty:
            leave(instance)
        return True

    inquiry = inquire(document, viewers)
    allowed = written(asked).among(set(viewers), inquiry)

    assert allowed == set(viewers)
    assert found == {f"user {number}": False for number in range(4)}
    assert not is_left(document)
    assert inquiry.apart.keys() == {viewers[1]}
    assert inquiry.apart[viewers[1]].reason.endswith(" left something on the instance")
    assert is_left(inquiry.apart[viewers[1]].instance)


@pytest.mark.parametrize("way", WAYS)
def test_where_all_leave_something_each_has_left_it_alone(document, people, way):
    leave, is_left = WAYS[way]
    if way == "another related instance":
        leave, is_left = (lambda one: setattr(one, "owner", None)), (lambda one: one.owner is None)
    viewers = people(3)
    inquiry = inquire(document, viewers)

    @permission
    def leaves(viewer, instance):
        found = is_left(instance)
        leave(instance)
        return not found

    assert leaves.among(set(viewers), inquiry) == set(viewers)
    assert inquiry.apart.keys() == set(viewers)
    assert len({id(place.instance) for place in inquiry.apart.values()}) == 3


def test_what_a_permission_left_is_found_by_the_next_that_is_asked_for_the_same_viewer(document, people):
    viewers = people(3)
    inquiry = inquire(document, viewers)

    @permission
    def leaves(viewer, instance):
        if viewer.user == viewers[0].user:
            instance.left = viewer.user.username
        return True

    @permission
    def finds(viewer, instance):
        return getattr(instance, "left", None) == viewer.user.username

    assert (leaves & finds).among(set(viewers), inquiry) == {viewers[0]}
    assert (leaves & finds).among(set(viewers), inquiry) == {viewers[0]}
    assert inquiry.apart.keys() == {viewers[0]}


def test_what_is_left_although_it_fails_in_the_end_reaches_no_other(document, people):
    viewers = people(3)
    inquiry = inquire(document, viewers)

    @permission
    def fails(viewer, instance):
        instance.left = [*getattr(instance, "left", []), viewer.user.username]
        if viewer.user == viewers[1].user:
            raise ZeroDivisionError
        return len(instance.left) == 1

    assert fails.among(set(viewers), inquiry) == {viewers[0], viewers[2]}
    assert inquiry.denied.keys() == {viewers[1]}


def test_a_permission_that_merely_reads_sets_nobody_apart(document, people):
    viewers = people(3)
    inquiry = inquire(document, viewers)

    @permission
    def reads(viewer, instance):
        texts = [note.text for note in instance.notes.all()] + [note.text for note in instance.listed]
        written = instance.notes.filter(text=viewer.user.username).exists()
        return (
            texts == ["note", "note"]
            and not written
            and instance.owner != viewer.user
            and instance.badge.document is instance
            and instance.json["number"] == 1
            and not viewer.user.has_perm("lab.view_document", instance)
            and not viewer.user.has_perm("lab.view_document")
            and current.get() is None
        )

    assert reads.among(set(viewers), inquiry) == set(viewers)
    assert inquiry.apart == {}
    assert inquiry.denied == {}


def test_the_instance_itself_is_given_to_no_application_code(document, people):
    viewers = people(2)
    inquiry = inquire(document, viewers)
    given = inquiry.each(lambda viewer, instance: instance, set(viewers))

    assert len({id(instance) for instance in given.values()}) == 1  # nothing is left, so one copy will do
    assert all(instance == document and instance is not document for instance in given.values())


def test_a_tracked_instance_that_is_merely_read_sets_nobody_apart(demo, people):
    viewers = people(3)
    inquiry = inquire(Card.objects.get(), viewers)

    @permission
    def reads(viewer, card):
        return card.tracker.changed() == {} and not card.tracker.has_changed("title")

    assert reads.among(set(viewers), inquiry) == set(viewers)
    assert inquiry.apart == {}


# What is left in the context


@WRITTEN
def test_a_context_variable_that_is_set_for_one_viewer_reaches_no_other(document, people, written):
    viewers = people(4)
    guilty = viewers[1].user
    found = {}

    def sets(viewer, instance):
        found[viewer.user.username] = current.get()
        if viewer.user == guilty:
            current.set(viewer.user.username)
        return True

    inquiry = inquire(document, viewers)
    asked = written(sets)

    assert asked.among(set(viewers), inquiry) == set(viewers)
    assert set(found.values()) == {None}
    assert current.get() is None
    assert inquiry.apart.keys() == {viewers[1]}
    assert inquiry.apart[viewers[1]].reason.endswith(" set a context variable")

    asked.among(set(viewers), inquiry)
    assert found == {f"user {number}": "user 1" if number == 1 else None for number in range(4)}
    assert inquiry.apart[viewers[1]].context[current] == "user 1"


def test_a_context_variable_and_something_on_the_instance_may_both_be_left(document, people):
    viewers = people(2)
    inquiry = inquire(document, viewers)

    def leaves(viewer, instance):
        before = current.get(), hasattr(instance, "left")
        current.set(instance)
        instance.left = True
        return before

    first, second = inquiry.each(leaves, set(viewers)), inquiry.each(leaves, set(viewers))

    assert set(first.values()) == {(None, False)}
    assert second == {viewer: (inquiry.apart[viewer].instance, True) for viewer in viewers}


def test_a_context_variable_that_was_set_before_is_there_for_all(document, people):
    viewers = people(2)
    token = current.set("before")
    try:
        seen = inquire(document, viewers).each(lambda viewer, instance: current.get(), set(viewers))
    finally:
        current.reset(token)

    assert set(seen.values()) == {"before"}


class Incomparable:
    __hash__ = None

    def __eq__(self, other):
        raise ValueError


@pytest.mark.parametrize(
    "keep", [current.set, lambda value: setattr(local, "value", value)], ids=["its own", "asgiref"]
)
@pytest.mark.parametrize(("before", "left"), [(1, True), ([], []), (Incomparable(), Incomparable())])
def test_a_value_that_is_set_in_the_context_is_another_also_where_it_is_equal_or_can_not_be_compared(
    document, people, keep, before, left
):
    viewers = people(3)
    inquiry = inquire(document, viewers)

    def sets(viewer, instance):
        keep(left if viewer == viewers[1] else before)

    def ask():
        keep(before)
        inquiry.each(sets, set(viewers))

    copy_context().run(ask)

    assert inquiry.apart.keys() == {viewers[1]}
    assert inquiry.denied == {}


@pytest.mark.parametrize("make", [dict, lambda kept: SimpleNamespace(data=kept)], ids=["to 3.11", "from 3.12"])
def test_a_storage_of_asgirefs_is_the_same_as_long_as_it_holds_the_same(document, people, make):
    storage = ContextVar("asgiref.local")
    viewers = people(4)
    inquiry = inquire(document, viewers)
    kept = {"value": 1, "other": []}
    left = {viewers[1]: {**kept, "value": True}, viewers[2]: {**kept, "new": None}}

    def ask():
        storage.set(make(kept))
        inquiry.each(lambda viewer, instance: storage.set(make({**left.get(viewer, kept)})), set(viewers))

    copy_context().run(ask)

    assert inquiry.apart.keys() == left.keys()


# What is fetched


@pytest.mark.parametrize("path", ["owner", "owner.pk", "badge", "badge.document.owner"])
@pytest.mark.parametrize("number", [1, 2, 12])
def test_a_relation_that_is_fetched_for_the_first_is_fetched_once_for_all_others(people, path, number):
    Badge.objects.create(document=Document.objects.create(owner=User.objects.create(username="owner")))
    viewers = people(number)
    inquiry = inquire(Document.objects.get(), viewers)
    inquiry.each(lambda viewer, instance: None, set(viewers))  # the users are read
    follow = attrgetter(path)

    with CaptureQueriesContext(connection) as asked:
        found = inquiry.each(lambda viewer, instance: follow(instance), set(viewers))
    with CaptureQueriesContext(connection) as asked_again:
        inquiry.each(lambda viewer, instance: follow(instance), set(viewers))

    relations = [name for name in path.split(".") if name not in ("document", "pk")]
    assert len(asked) == 2 * len(relations)  # for the first, and for those who come after
    assert len(asked_again) == 0
    assert len(set(found.values())) == 1
    assert inquiry.apart == {}


def test_relations_that_are_fetched_one_after_the_other_cost_no_more_for_many(people):
    Badge.objects.create(document=Document.objects.create(owner=User.objects.create(username="owner")))

    @permission
    def by_owner(viewer, instance):
        return instance.owner.username == "owner"

    @permission
    def by_badge(viewer, instance):
        return instance.badge.document.owner.username == "owner"

    def queries(viewers):
        rights = Rights(viewers)
        rights.fresh(viewers[0])
        inquiry = Inquiry(rights, Document.objects.get())
        with CaptureQueriesContext(connection) as asked:
            assert (by_owner & by_badge).among(set(viewers), inquiry) == set(viewers)
        assert inquiry.apart == {}
        return len(asked)

    viewers = people(12)
    assert queries(viewers[:1]) == queries(viewers) == 4


def test_a_relation_that_one_viewer_was_given_otherwise_is_fetched_as_it_is_for_the_others(people):
    owner = User.objects.create(username="owner")
    viewers = people(3)
    inquiry = inquire(Document.objects.get(pk=Document.objects.create(owner=owner).pk), viewers)

    @permission
    def gives(viewer, instance):
        if viewer == viewers[1]:
            instance.owner = viewer.user
        return instance.owner == viewer.user

    assert gives.among(set(viewers), inquiry) == {viewers[1]}
    assert gives.among(set(viewers), inquiry) == {viewers[1]}
    assert inquiry.apart.keys() == {viewers[1]}
    assert inquiry.instance.owner == owner


def test_one_for_whom_something_is_fetched_and_something_left_is_set_apart(people):
    viewers = people(3)
    Document.objects.create(owner=User.objects.create(username="owner"))
    inquiry = inquire(Document.objects.get(), viewers)

    @permission
    def leaves(viewer, instance):
        found = hasattr(instance.owner, "left")
        if viewer == viewers[1]:
            instance.owner.left = True
        return not found

    assert leaves.among(set(viewers), inquiry) == set(viewers)
    assert inquiry.apart.keys() == {viewers[1]}
    assert leaves.among(set(viewers), inquiry) == {viewers[0], viewers[2]}


@pytest.mark.parametrize("name", ["nothing", "text"])
def test_what_is_left_in_the_place_of_a_relation_and_is_none_is_left_all_the_same(people, name):
    viewers = people(3)
    Document.objects.create(owner=User.objects.create(username="owner"))
    inquiry = inquire(Document.objects.get(), viewers)

    @permission
    def leaves(viewer, instance):
        found = name in instance._state.fields_cache
        if viewer == viewers[1]:
            instance._state.fields_cache[name] = viewer.user
        return not found and instance.owner.username == "owner"

    assert leaves.among(set(viewers), inquiry) == set(viewers)
    assert inquiry.apart.keys() == {viewers[1]}


def test_a_deferred_field_that_is_read_for_the_first_is_read_once_for_all_others(people):
    viewers = people(5)
    Document.objects.create(text="text")
    inquiry = inquire(Document.objects.defer("text", "owner").get(), viewers)
    inquiry.each(lambda viewer, instance: None, set(viewers))

    with CaptureQueriesContext(connection) as asked:
        found = inquiry.each(lambda viewer, instance: (instance.text, instance.owner_id), set(viewers))

    assert set(found.values()) == {("text", None)}
    assert len(asked) == 4  # two fields, for the first, and for those who come after
    assert inquiry.apart == {}


def test_a_deferred_field_that_is_set_for_one_viewer_is_as_it_is_for_the_others(people):
    viewers = people(3)
    Document.objects.create(text="text")
    inquiry = inquire(Document.objects.defer("text").get(), viewers)

    def sets(viewer, instance):
        if viewer == viewers[1]:
            instance.text = "left"
        return instance.text

    assert inquiry.each(sets, set(viewers)) == dict(zip(viewers, ["text", "left", "text"], strict=True))
    assert inquiry.apart.keys() == {viewers[1]}


# What is left on the user


def test_what_is_left_on_a_user_in_one_language_does_not_reach_the_other(document, people):
    [one] = people(1)
    both = {one, replace(one, language="de")}
    inquiry = inquire(document, both)

    def leaves(viewer, instance):
        viewer.user.word = getattr(viewer.user, "word", None) or translation.gettext("Yes")
        return viewer.user.word

    for _ in range(2):
        assert inquiry.each(leaves, both) == {viewer: {"de": "Ja"}.get(viewer.language, "Yes") for viewer in both}
    assert inquire(document, [one]).each(lambda viewer, instance: hasattr(viewer.user, "word"), {one}) == {one: False}


def test_what_is_left_on_a_user_is_found_by_the_next_that_is_asked_about_the_instance_only(document, people):
    [one] = people(1)
    rights = Rights([one])
    inquiry, other = Inquiry(rights, document), Inquiry(rights, document)

    def leaves(viewer, instance):
        viewer.user.count = getattr(viewer.user, "count", 0) + 1
        return viewer.user.count

    assert [inquiry.each(leaves, {one})[one] for _ in range(2)] == [1, 2]
    assert other.each(leaves, {one})[one] == 1


def test_what_is_left_on_what_was_fetched_with_a_user_reaches_no_other(document, people):
    viewers = people(3)
    firm = Organization.objects.create(name="firm")
    for viewer in viewers:
        Membership.objects.create(user=viewer.user, organization=firm)
    rights = Rights(viewers)
    rights.prefetch_of_users(["memberships__organization"])
    inquiry = Inquiry(rights, document)

    @permission
    def remembers(viewer, instance):
        organization = viewer.user.memberships.all()[0].organization
        if not hasattr(organization, "_is_head"):
            organization._is_head = viewer == viewers[0]
        return organization._is_head

    with CaptureQueriesContext(connection) as asked:
        assert remembers.among(set(viewers), inquiry) == {viewers[0]}
    assert len(asked) == 0


# Errors


@WRITTEN
@pytest.mark.parametrize("error", [ZeroDivisionError, RecursionError, SystemExit, GeneratorExit, KeyError])
def test_an_error_denies_one_viewer_and_touches_no_other(document, people, written, error):
    viewers = people(4)
    guilty = viewers[1].user

    def fails(viewer, instance):
        if viewer.user == guilty:
            raise error
        return True

    inquiry = inquire(document, viewers)

    assert written(fails).among(set(viewers), inquiry) == {viewers[0], viewers[2], viewers[3]}
    assert {viewer: type(why) for viewer, why in inquiry.denied.items()} == {viewers[1]: error}
    assert inquiry.apart == {}


@WRITTEN
def test_an_error_of_the_database_is_raised_through(document, people, written):
    viewers = people(3)
    guilty = viewers[1].user

    def asks(viewer, instance):
        if viewer.user == guilty:
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column")
        return True

    inquiry = inquire(document, viewers)

    with pytest.raises(DatabaseError), transaction.atomic():
        written(asks).among(set(viewers), inquiry)


def test_an_error_of_the_database_is_raised_through_also_where_a_relation_was_fetched_before(people):
    document = Document.objects.create(owner=User.objects.create(username="owner"))
    viewers = people(2)
    inquiry = inquire(Document.objects.get(pk=document.pk), viewers)

    def asks(viewer, instance):
        instance.owner.left = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column")

    with pytest.raises(DatabaseError), transaction.atomic():
        inquiry.each(asks, set(viewers))


def test_a_time_zone_that_does_not_exist_denies_its_viewers_and_touches_no_other(document, people):
    viewers = people(3)
    nowhere = replace(viewers[1], time_zone="Atlantis/Capital")
    inquiry = inquire(document, [viewers[0], nowhere, viewers[2]])

    allowed = permission(lambda viewer, instance: True).among({viewers[0], nowhere, viewers[2]}, inquiry)

    assert allowed == {viewers[0], viewers[2]}
    assert inquiry.denied.keys() == {nowhere}
    assert timezone.get_current_timezone_name() == "UTC"


def test_an_error_of_the_database_outside_of_what_is_asked_is_raised_through_too(document, people, monkeypatch):
    [one] = people(1)

    def locale(viewer):
        raise DatabaseError

    monkeypatch.setattr(type(one), "locale", locale)

    with pytest.raises(DatabaseError):
        inquire(document, [one]).each(lambda viewer, instance: True, {one})


def test_an_instance_that_can_not_be_copied_is_no_error_of_any_viewers(document, people):
    viewers = people(2)
    inquiry = inquire(document, viewers)
    document.lock = Lock()

    with pytest.raises(Uncopied) as raised:
        inquiry.each(lambda viewer, instance: True, set(viewers))

    assert type(raised.value.__cause__) is TypeError
    assert inquiry.denied == {}


def test_nor_is_it_where_it_can_be_copied_no_more_once_something_was_worked_out_for_all(people, monkeypatch):
    client = cached_property(lambda page: Lock())
    client.__set_name__(Page, "client")
    monkeypatch.setattr(Page, "client", client, raising=False)
    viewers = people(2)
    inquiry = inquire(Page.objects.create(), viewers)

    with pytest.raises(Uncopied):
        inquiry.each(lambda viewer, page: page.client is not None, set(viewers))

    assert inquiry.denied == {}


def test_where_nobody_is_asked_nothing_is_copied(document):
    document.lock = Lock()

    assert inquire(document, []).each(lambda viewer, instance: True, set()) == {}


# Who asks, and where


@WRITTEN
def test_each_is_asked_in_their_own_language_and_time_zone(document, viewer, written):
    users = [User.objects.create(username=f"user {number}") for number in range(3)]
    circumstances = [("de", "Asia/Tokyo"), ("fr", "Asia/Tokyo"), ("de", "UTC"), ("en", "Europe/Berlin")]
    viewers = {viewer(user, language=de, time_zone=zone) for user in users for de, zone in circumstances}
    before = translation.get_language(), timezone.get_current_timezone_name()
    seen = []

    def looks(viewer, instance):
        seen.append((viewer.user.username, translation.get_language(), timezone.get_current_timezone_name()))
        return True

    inquiry = inquire(document, viewers)

    assert written(looks).among(viewers, inquiry) == viewers
    assert sorted(seen) == sorted((one.user.username, one.language, one.time_zone) for one in viewers)
    assert (translation.get_language(), timezone.get_current_timezone_name()) == before
    assert inquiry.apart == {}


def test_a_language_that_a_permission_activates_is_that_viewers_own(document, people):
    viewers = people(3)
    inquiry = inquire(document, viewers)

    def activates(viewer, instance):
        found = translation.get_language()
        if viewer == viewers[1]:
            translation.activate("de")
        return found

    first, second = inquiry.each(activates, set(viewers)), inquiry.each(activates, set(viewers))

    assert set(first.values()) == {"en-us"}
    assert second == {viewers[0]: "en-us", viewers[1]: "de", viewers[2]: "en-us"}
    assert inquiry.apart.keys() == {viewers[1]}


def test_each_is_asked_with_a_user_as_the_database_has_it_now(document, people):
    viewers = people(3)
    User.objects.filter(pk=viewers[0].user.pk).update(first_name="changed")
    inquiry = inquire(document, viewers)

    users = inquiry.each(lambda viewer, instance: viewer.user, set(viewers))

    assert users[viewers[0]].first_name == "changed"
    assert all(users[viewer] == viewer.user and users[viewer] is not viewer.user for viewer in viewers)


def test_only_those_are_asked_who_are_named(document, people):
    viewers = people(3)
    seen = []

    inquire(document, viewers).each(lambda viewer, instance: seen.append(viewer), {viewers[1]})
    inquire(document, viewers).each(lambda viewer, instance: seen.append(viewer), set())

    assert seen == [viewers[1]]


def test_any_answer_is_given_and_only_a_yes_allows(document, people):
    viewers = people(3)
    inquiry = inquire(document, viewers)
    answers = dict(zip(viewers, [True, False, "yes"], strict=True))

    assert inquiry.each(lambda viewer, instance: answers[viewer], set(viewers)) == answers
    assert inquiry.one_by_one(lambda viewer, instance: answers[viewer] is True, set(viewers)) == {viewers[0]}


# What is only looked at


def override(viewer, instance):
    with translation.override("de"):
        return True


@pytest.mark.parametrize(
    "looks", [lambda viewer, page: Decimal(1) * 2 > 1, lambda viewer, page: not cache.get("x"), override]
)
def test_in_a_context_in_which_nothing_was_set_a_look_sets_nobody_apart(people, looks):
    viewers = set(people(3))
    inquiry = Inquiry(Rights(viewers), Page.objects.create())

    Context().run(inquiry.one_by_one, looks, viewers)

    assert inquiry.apart == {}


@pytest.mark.parametrize(("languages", "apart"), [(["en", "en"], 0), (["en", "de"], 2)])
def test_what_is_worked_out_for_one_is_there_for_others_of_the_same_language_only(
    people, languages, apart, monkeypatch
):
    label = cached_property(lambda page: gettext("Yes"))
    label.__set_name__(Page, "label")
    monkeypatch.setattr(Page, "label", label, raising=False)
    viewers = [replace(one, language=language) for one, language in zip(people(2), languages, strict=True)]
    inquiry = Inquiry(Rights(viewers), Page.objects.create())

    found = inquiry.each(lambda viewer, page: page.label, set(viewers))

    assert [found[viewer] for viewer in viewers] == [{"en": "Yes", "de": "Ja"}[language] for language in languages]
    assert len(inquiry.apart) == apart
