"""Facts: fields whose value differs by viewer, worked out together, and shown to the one whom they concern."""

from __future__ import annotations

import json
from contextvars import ContextVar
from threading import Lock
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from lab import shapes
from lab.models import Page
from rest_framework import serializers

from livegate.permissions import is_owner
from livegate.permissions.inquiries import Inquiry
from livegate.permissions.requests import retrieval
from livegate.permissions.rights import Rights
from livegate.serializers import PerUserSerializerMixin
from livegate.serializers.facts import FactField
from livegate.serializers.representation import Representation

pytestmark = pytest.mark.django_db

current = ContextVar("current", default=None)


@pytest.fixture
def pages(demo):
    """Two pages of Amira's, of which Ben edits the first."""
    pages = [Page.objects.create(text=str(number), owner=demo.amira) for number in range(2)]
    pages[0].editors.set([demo.ben])
    shapes.calls.clear()
    return pages


@pytest.fixture
def context(viewer):
    """The context of a serializer in a view that answers a user."""
    return lambda user=None: {"request": retrieval(viewer(user), Page(pk=3)).request}


@pytest.fixture
def seen(viewer):
    """What each user is shown of each of the instances, in one evaluation: a list for each instance, None where it
    failed."""

    def evaluate(serializer, instances, *users):
        viewers = [viewer(user) for user in users]
        rights = Rights(viewers)
        rights.expect(instances)
        shown = []
        for instance in instances:
            inquiry = Inquiry(rights, instance)
            bodies = Representation(serializer, inquiry, rights.crowd.viewers).bodies
            views = {one: json.loads(body) for body, audience in bodies for one in audience}
            assert views.keys() | inquiry.denied.keys() == set(viewers)
            shown.append([views.get(one) for one in viewers])
        return shown

    return evaluate


def showing(function, default=None, **guards):
    class Shows(PerUserSerializerMixin, serializers.ModelSerializer):
        fact = FactField(function, default=default)

        class Meta:
            model = Page
            fields = ["text", "fact"]

    Shows.Meta.guards = guards
    return Shows


# In a GET


def test_a_fact_is_shown_to_the_one_whom_it_concerns_and_others_have_the_default(demo, pages, context):
    def edits(user, page):
        return shapes.Facts(page, context=context(user)).data["edits"]

    assert [edits(user, pages[0]) for user in (demo.amira, demo.ben, None)] == [False, True, False]
    assert edits(demo.ben, pages[1]) is False


def test_it_is_asked_once_for_a_get_and_once_for_a_list_of_any_length(demo, pages, context, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert shapes.Facts(pages[0], context=context(demo.ben)).data["edits"] is True
    with django_assert_num_queries(1):
        rows = shapes.Facts(pages, many=True, context=context(demo.ben)).data

    assert [row["edits"] for row in rows] == [True, False]


def test_it_is_asked_once_for_a_nested_list(demo, pages, context):
    pages[0].editors.set([demo.ben, demo.cleo, demo.dev])

    rows = shapes.NestedInPlain(pages[0], context=context(demo.cleo)).data["editors"]

    assert shapes.calls == {"nickname": 1}
    assert {row["username"]: row["nickname"] for row in rows} == {
        user.username: f"{demo.cleo.pk} calls {user.pk}" for user in (demo.ben, demo.cleo, demo.dev)
    }


def test_a_list_that_is_shown_anew_is_asked_about_anew(demo, pages, context):
    listing = shapes.Facts(many=True, context=context(demo.ben))
    assert [row["edits"] for row in listing.to_representation(pages)] == [True, False]

    pages[1].editors.set([demo.ben])

    assert [row["edits"] for row in listing.to_representation(Page.objects.order_by("pk"))] == [True, True]


def test_an_anonymous_viewers_key_is_none(pages, context):
    asked = []

    def fact(viewers, pages):
        asked.extend(viewer.user.pk for viewer in viewers)
        return {(None, page.pk): "nobody's" for page in pages}

    assert showing(fact)(pages[0], context=context()).data["fact"] == "nobody's"
    assert asked == [None]


def test_a_key_that_was_not_asked_for_is_an_error(demo, pages, context):
    for key in [(demo.cleo.pk, pages[0].pk), (demo.ben.pk, pages[1].pk), (demo.ben, pages[0])]:
        serializer = showing(lambda viewers, pages, key=key: {key: 1})(pages[0], context=context(demo.ben))

        with pytest.raises(LookupError, match=r"The fact fact gave a value .* not asked about.* primary keys"):
            _ = serializer.data


def test_it_can_not_be_written(demo, pages, context):
    sent = {"text": "new", "fact": 7}
    serializer = showing(lambda viewers, pages: {})(pages[0], data=sent, context=context(demo.ben))

    assert serializer.is_valid()
    assert serializer.validated_data == {"text": "new"}
    assert FactField(shapes.edits, default=0, read_only=False).read_only


@pytest.mark.parametrize("given", [{}, {"context": {}}, {"context": {"request": None}}])
def test_without_a_request_there_is_nobody_whom_it_could_concern_and_the_remedy_is_told(pages, given):
    with pytest.raises(ImproperlyConfigured, match=r'edits is a fact about the viewer.*context={"request": request}'):
        _ = shapes.WithoutVariety(pages[0], **given).data


def test_a_list_is_shown_with_whatever_stands_in_the_place_of_a_request(demo, pages):
    rows = shapes.Unguarded(pages, many=True, context={"request": SimpleNamespace(user=demo.ben)}).data

    assert [row["text"] for row in rows] == ["0", "1"]


# In an evaluation


@pytest.mark.parametrize("serializer", [shapes.WithoutVariety, shapes.FactByHand])
def test_one_query_answers_for_all_viewers_and_all_instances(demo, pages, seen, serializer):
    few, many = [demo.ben, demo.nobody, demo.cleo], [demo.ben, demo.nobody, demo.cleo, demo.amira, demo.dev, demo.admin]

    with CaptureQueriesContext(connection) as asked:
        of_few = seen(serializer, pages, *few)
        of_many = seen(serializer, pages, *many)

    assert [[view["edits"] for view in views] for views in of_few] == [[True, False, False], [False] * 3]
    assert [[view["edits"] for view in views] for views in of_many] == [[True, *[False] * 5], [False] * 6]
    assert shapes.calls == {"edits": 2}
    assert sum("page_editors" in query["sql"] for query in asked) == 2


def test_where_each_is_shown_alone_no_viewer_costs_a_query(demo, pages, seen):
    class Personal(shapes.WithoutVariety):
        name = serializers.SerializerMethodField()

        class Meta:
            model = Page
            fields = ["name", "edits"]

        def get_name(self, page):
            return self.context["request"].user.username

    shown = seen(Personal, pages, demo.ben, demo.cleo, demo.nobody)

    assert shown[0] == [
        {"name": "ben", "edits": True},
        {"name": "cleo", "edits": False},
        {"name": "", "edits": False},
    ]
    assert shapes.calls == {"edits": 1}


def test_where_the_serializer_says_that_somebody_else_looks_it_is_asked_about_that_one(demo, pages, seen):
    class AsBen(shapes.WithoutVariety):
        def to_representation(self, page):
            self.context["request"].user = demo.ben
            return super().to_representation(page)

    [shown] = seen(AsBen, pages[:1], demo.cleo, demo.nobody)

    assert [view["edits"] for view in shown] == [True, True]


def test_a_guarded_fact_is_shown_to_those_whom_the_guard_allows(demo, pages, seen):
    serializer = showing(lambda viewers, pages: {}, default="secret", fact=is_owner("owner"))

    [shown] = seen(serializer, pages[:1], demo.amira, demo.ben, demo.cleo, demo.nobody)

    assert [view.get("fact") for view in shown] == ["secret", None, None, None]
    assert [len(view) for view in shown] == [2, 1, 1, 1]


@pytest.mark.parametrize("count", [2, 6])
def test_values_that_are_equal_to_python_and_not_to_json_are_kept_apart(demo, pages, seen, count):
    users = [demo.amira, demo.ben, demo.cleo, demo.dev, demo.admin, demo.nobody]
    for values in ([1, True, 0, False, 1.0, "1"], [{"a": 1}, {"a": True}, [1], [True], {}, []]):
        of = dict(zip((user.pk for user in users), values, strict=True))

        def fact(viewers, pages, of=of):
            return {(viewer.user.pk, page.pk): of[viewer.user.pk] for viewer in viewers for page in pages}

        [shown] = seen(showing(fact), pages[:1], *users[:count])

        assert json.dumps([view["fact"] for view in shown]) == json.dumps(values[:count])


def test_what_the_function_keeps_on_an_instance_reaches_nobody(demo, pages, seen):
    def fact(viewers, pages):
        for page in pages:
            page.text = page.owner.username = "kept"
        return {}

    class Shows(showing(fact)):
        owner = serializers.CharField(source="owner.username")

        class Meta:
            model = Page
            fields = ["fact", "text", "owner"]

    [shown] = seen(Shows, pages[:1], demo.amira, demo.ben)

    assert shown == [{"fact": None, "text": "0", "owner": "amira"}] * 2


def test_what_the_function_sets_in_the_context_reaches_nobody(demo, pages, seen):
    def fact(viewers, pages):
        current.set("left")
        translation.activate("de")
        return {}

    class Shows(showing(fact)):
        context_found = serializers.SerializerMethodField()

        class Meta:
            model = Page
            fields = ["fact", "context_found"]

        def get_context_found(self, page):
            return [current.get(), translation.gettext("Yes")]

    [shown] = seen(Shows, pages[:1], demo.amira, demo.ben)

    assert shown == [{"fact": None, "context_found": [None, "Yes"]}] * 2
    assert current.get() is None


# Errors


@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError])
def test_a_fact_that_fails_denies_those_who_would_be_shown_it(demo, pages, seen, error):
    def fails(viewers, pages):
        raise error

    everyone, owners = showing(fails), showing(fails, fact=is_owner("owner"))

    assert seen(everyone, pages, demo.amira, demo.ben) == [[None, None]] * 2
    assert seen(owners, pages, demo.amira, demo.ben, demo.cleo) == [
        [None, {"text": "0"}, {"text": "0"}],
        [None, {"text": "1"}, {"text": "1"}],
    ]


def test_a_fact_that_fails_because_of_one_viewer_or_one_instance_denies_no_other(demo, pages, seen):
    def fails_for_ben(viewers, pages):
        return {(viewer.user.pk, page.pk): 1 / (viewer.user != demo.ben) for viewer in viewers for page in pages}

    def fails_for_the_second(viewers, pages):
        return {(viewer.user.pk, page.pk): 1 / (page.text == "0") for viewer in viewers for page in pages}

    sees = {"text": "0", "fact": 1.0}

    assert seen(showing(fails_for_ben), pages[:1], demo.amira, demo.ben, demo.cleo) == [[sees, None, sees]]
    assert seen(showing(fails_for_the_second), pages, demo.amira, demo.ben) == [[sees] * 2, [None] * 2]


def test_a_nested_fact_that_fails_because_of_one_viewer_denies_no_other(demo, pages, seen):
    def fails_for_ben(viewers, people):
        return {(viewer.user.pk, one.pk): 1 / (viewer.user != demo.ben) for viewer in viewers for one in people}

    class Person(PerUserSerializerMixin, serializers.Serializer):
        fact = FactField(fails_for_ben, default=0)

    class Outer(serializers.Serializer):
        owner = Person()

    [shown] = seen(Outer, pages[:1], demo.amira, demo.ben, demo.cleo)

    assert shown == [{"owner": {"fact": 1.0}}, None, {"owner": {"fact": 1.0}}]


def test_a_value_that_json_does_not_have_denies_the_one_who_has_it(demo, pages, seen):
    def odd(viewers, pages):
        return {(demo.ben.pk, page.pk): object() for page in pages}

    class Two(showing(odd, default=1)):
        other = FactField(shapes.edits, default=False)

        class Meta:
            model = Page
            fields = ["other", "fact"]

    [shown] = seen(Two, pages[:1], demo.amira, demo.ben, demo.cleo)

    assert shown == [{"other": False, "fact": 1}, None, {"other": False, "fact": 1}]


@pytest.mark.parametrize("serializer", [shapes.WithoutVariety, shapes.FactByHand])
def test_an_instance_that_can_not_be_copied_denies_nobody_what_is_shown_of_another(demo, pages, viewer, serializer):
    viewers = {viewer(user) for user in (demo.ben, demo.cleo)}
    rights = Rights(viewers)
    rights.expect(pages)
    pages[1].lock = Lock()

    inquiry = Inquiry(rights, pages[0])
    bodies = Representation(serializer, inquiry, viewers).bodies

    assert inquiry.denied == {}
    edits = {one.user: json.loads(body)["edits"] for body, audience in bodies for one in audience}
    assert edits == {demo.ben: True, demo.cleo: False}


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_key_that_was_not_asked_for_denies_all_and_leaves_no_half_of_an_answer(demo, pages, seen, by_hand):
    def fact(viewers, pages):
        return {(viewers[0].user.pk, pages[0].pk): 1, (0, pages[0].pk): 2}

    shows = showing(fact)
    if by_hand:
        shows = type("ByHand", (shapes.Unguarded,), {"get_fields": lambda self: {"fact": FactField(fact, default=0)}})

    assert seen(shows, pages, demo.amira, demo.ben) == [[None, None]] * 2


def test_what_the_database_refuses_is_raised_for_it_may_refuse_all_that_follows(demo, pages, seen):
    def refused(viewers, pages):
        raise DatabaseError

    with pytest.raises(DatabaseError):
        seen(showing(refused), pages, demo.amira, demo.ben)
