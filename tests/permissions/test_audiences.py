"""Audiences: who is told apart by nothing is shown the same; whoever is told apart is parted, exactly."""

from __future__ import annotations

import inspect
import random
from contextlib import suppress
from dataclasses import dataclass

import pytest
from django.contrib.auth import get_user_model
from guardian.shortcuts import assign_perm
from hypothesis import given
from hypothesis import strategies as st
from lab.models import Page
from rest_framework.serializers import Serializer, SerializerMethodField

from livegate.permissions import Permission, anyone, has_perm, is_authenticated, permission
from livegate.permissions.audiences import Audience, Unshared, caller, cells_of
from livegate.permissions.requests import shared_retrieval
from livegate.permissions.rights import Rights

pytestmark = pytest.mark.django_db
User = get_user_model()


@pytest.fixture
def page():
    return Page.objects.create(owner=User.objects.create(username="owner"))


@pytest.fixture
def people(viewer):
    users = User.objects.bulk_create(User(username=f"user {number}") for number in range(6))
    return [viewer(user) for user in users]


@pytest.fixture
def audience():
    def make(viewers, **known):
        return Audience(set(viewers), Rights(viewers), **known)

    return make


def parted(audience, permissions, instance):
    """The parts into which an audience falls, that was one before."""
    with pytest.raises(Unshared):
        audience.allowed(permissions, instance)
    assert audience.personal == ""
    return sorted(sorted(viewer.user.username for viewer in part) for part in audience.parts)


# Answers


def test_what_all_are_allowed_is_allowed(audience, people, page):
    together = audience(people)

    assert together.allowed({"a": anyone, "b": ~anyone, "c": is_authenticated}, page) == {"a", "c"}
    assert together.allowed({}, page) == set()
    assert (together.parts, together.personal) == ([], "")


def test_where_the_answers_differ_it_falls_into_those_with_equal_answers(audience, people, page):
    for viewer in people[:3]:
        assign_perm("view_page", viewer.user, page)
    for viewer in people[2:4]:
        assign_perm("change_page", viewer.user, page)
    asked = {"view": has_perm("view_page"), "change": has_perm("change_page"), "all": anyone}

    together = audience(people)

    assert parted(together, asked, page) == [["user 0", "user 1"], ["user 2"], ["user 3"], ["user 4", "user 5"]]
    for part in together.parts:
        names = audience(part).allowed(asked, page)
        assert {name for name, one in asked.items() if one.allows(next(iter(part)), page)} == names


def test_one_for_whom_it_fails_is_parted_from_the_others(audience, people, page):
    @permission
    def fails(viewer, instance):
        if viewer.user in (people[1].user, people[4].user):
            raise ZeroDivisionError
        return viewer.user != people[0].user

    together = audience(people)

    assert parted(together, {"a": fails}, page) == [["user 0", "user 2", "user 3", "user 5"], ["user 1", "user 4"]]
    [failing] = [part for part in together.parts if people[1] in part]
    with pytest.raises(ZeroDivisionError):
        audience(failing).allowed({"a": fails}, page)


def test_one_for_whom_a_permission_failed_is_asked_no_other(audience, people, page):
    seen = []

    @permission
    def fails(viewer, instance):
        if viewer == people[1]:
            raise ZeroDivisionError
        return True

    @permission
    def notes(viewer, instance):
        seen.append(viewer)
        return True

    with pytest.raises(Unshared):
        audience(people).allowed({"a": fails, "b": notes}, page)

    assert set(seen) == {*people} - {people[1]}


def test_where_a_permission_leaves_something_behind_nothing_is_shared(audience, people, page):
    @permission
    def leaves(viewer, instance):
        if viewer == people[1]:
            instance.left = viewer
        return True

    together = audience(people)
    with pytest.raises(Unshared):
        together.allowed({"a": leaves}, page)

    assert "leaves left something on the instance" in together.personal
    assert together.parts == []


def test_an_answer_that_is_known_is_not_asked_for_again(audience, people, page):
    @permission
    def is_not_asked(viewer, instance):
        raise ZeroDivisionError

    negated = ~is_not_asked
    together = audience(people, known={id(is_not_asked): True, id(negated): False})
    together.root = page

    assert together.allowed({"yes": is_not_asked, "no": negated}, page) == {"yes"}
    with pytest.raises(ZeroDivisionError):  # the same row, but not the instance that was asked about
        together.allowed({"yes": is_not_asked}, Page.objects.get(pk=page.pk))


def test_a_question_may_be_asked_of_any_kind_of_permission(audience, people, page):
    @dataclass
    class Named(Permission):  # which has no hash
        name: str

        def allows(self, viewer, page):
            return viewer.user.username == self.name

    assert parted(audience(people), {"a": Named("user 0")}, page) == [["user 0"], [f"user {n}" for n in range(1, 6)]]


def test_a_randomly_divided_audience_is_divided_as_each_answers_alone(audience, people, page):
    dice = random.Random(3)

    def told(yes):
        return permission(lambda viewer, instance: viewer in yes)

    for _ in range(40):
        asked = {str(number): told(set(dice.sample(people, dice.randrange(7)))) for number in range(dice.randrange(4))}
        alike = {}
        for viewer in people:
            alike.setdefault(tuple(one.allows(viewer, page) for one in asked.values()), set()).add(viewer)

        together = audience(people)
        if len(alike) > 1:
            with pytest.raises(Unshared):
                together.allowed(asked, page)
            assert {frozenset(part) for part in together.parts} == {frozenset(part) for part in alike.values()}
        else:
            assert together.allowed(asked, page) == {name for name in asked if asked[name].allows(people[0], page)}


@given(st.frozensets(st.integers(0, 9), min_size=1), st.lists(st.frozensets(st.integers(0, 12))))
def test_cells_are_those_who_are_in_the_same_answers(viewers, answers):
    cells = cells_of(viewers, answers)

    alike = {}
    for viewer in viewers:
        alike.setdefault(tuple(viewer in answer for answer in answers), set()).add(viewer)
    assert sorted(map(sorted, cells)) == sorted(map(sorted, alike.values()))


# To agree, and to reach


def test_to_agree_is_to_be_one_cell(audience, people):
    together = audience(people)

    together.agree([set(people)])
    assert together.parts == []

    with pytest.raises(Unshared):
        together.agree([{people[0]}, {*people[1:]}])
    assert together.parts == [{people[0]}, {*people[1:]}]
    assert together.personal == ""


def test_to_reach_for_one_names_what_and_where(audience, people):
    together = audience(people)

    with pytest.raises(Unshared, match="something was read, in test_to_reach") as raised:
        together.reach("something was read")

    line = raised.traceback[0].lineno + 1
    here = "test_to_reach_for_one_names_what_and_where"
    assert together.personal == str(raised.value) == f"something was read, in {here} at {__file__}:{line}"
    assert together.parts == []


def test_it_is_known_that_somebody_reached_whatever_they_do_with_the_error(audience, people, page):
    together = audience(people)

    with suppress(BaseException):
        together.reach("something was read")

    assert together.personal
    assert not issubclass(Unshared, Exception)


def test_the_line_that_is_named_is_the_applications_and_not_on_the_way_to_it(audience, people, page):
    class Mine(Serializer):
        mine = SerializerMethodField()

        def get_mine(self, page):
            return self.context["request"].user.username

    together = audience(people)
    view = shared_retrieval(together, page)

    with pytest.raises(Unshared):
        Mine(page, context=view.get_serializer_context()).data  # noqa: B018

    lines, first = inspect.getsourcelines(Mine.get_mine)
    assert together.personal == f"request.user was read, in get_mine at {__file__}:{first + len(lines) - 1}"


@pytest.mark.parametrize(
    ("module", "is_named"),
    [
        ("livegate.permissions.rules", False),
        ("livegate.serializers.guards", False),
        ("rest_framework.fields", False),
        ("django.template.base", False),
        ("django_filters.views", True),
        ("djangoes", True),
        ("shop.django.views", True),
        ("livegate_shop.models", True),
    ],
)
def test_the_ways_are_known_by_their_modules(module, is_named):
    names = {"__name__": module, "caller": caller}
    exec("def called(): return caller()", names)

    assert names["called"]().startswith("in called at <string>:1") is is_named
    assert names["called"]().startswith(f"in test_the_ways_are_known_by_their_modules at {__file__}") is not is_named


def test_a_way_that_nobody_took_ends_where_it_began():
    """As in a thread that a library of C starts."""
    from _thread import allocate_lock, start_new_thread

    names = {"__name__": "django.somewhere", "caller": caller, "told": [], "done": allocate_lock()}
    names["done"].acquire()
    exec("def called():\n    told.append(caller())\n    done.release()", names)

    start_new_thread(names["called"], ())
    names["done"].acquire()

    assert names["told"] == ["in called at <string>:2"]
