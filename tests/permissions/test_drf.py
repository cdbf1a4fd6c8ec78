"""DRF permission classes as permissions: the same answer as to a GET, and no answer is no yes."""

from __future__ import annotations

import operator

import pytest
from board.models import Card
from board.permissions import CardPermission
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.permissions import (
    AllowAny,
    BasePermission,
    DjangoObjectPermissions,
    IsAdminUser,
    IsAuthenticated,
    IsAuthenticatedOrReadOnly,
)

from livegate.permissions import anyone, drf

User = get_user_model()

# Said here, for pytest-django does not see that ``demo`` asks for it, and would leave the real database in its place.
pytestmark = pytest.mark.django_db


class IsOwner(BasePermission):
    def has_object_permission(self, request, view, card):
        return card.owner_id == request.user.pk


def answering(general, particular=lambda: True):
    """A permission class with these two answers."""

    class Answering(BasePermission):
        def has_permission(self, request, view):
            return general()

        def has_object_permission(self, request, view, instance):
            return particular()

    return Answering


def raising(error):
    def answer():
        raise error

    return answer


async def a_coroutine():
    return False


@pytest.mark.parametrize(
    ("permission_class", "owner", "other", "visitor"),
    [
        (AllowAny, True, True, True),
        (IsAuthenticated, True, True, False),
        (IsAdminUser, False, False, False),
        (IsAuthenticatedOrReadOnly, True, True, True),
        (IsOwner, True, False, False),
        (IsAuthenticated & ~IsOwner, False, False, False),  # DRF's ~ also turns the yes of has_permission
        (IsAdminUser | IsOwner, True, False, False),
        (~IsAuthenticated, False, False, False),
        (~IsAuthenticated | AllowAny, True, True, True),
        ((IsAdminUser | IsAuthenticated) & IsOwner, True, False, False),
    ],
)
def test_a_permission_class_answers_as_to_a_get(viewer, permission_class, owner, other, visitor):
    card = Card(pk=3, owner_id=7)
    viewers = viewer(User(pk=7)), viewer(User(pk=8)), viewer()

    assert [drf(permission_class).allows(one, card) for one in viewers] == [owner, other, visitor]


def test_the_permission_class_of_a_view_gives_the_answer_of_its_get(demo, viewer, get):
    Card.objects.update(public=False)
    demo.card.refresh_from_db()
    asked = drf(IsAuthenticatedOrReadOnly & CardPermission)

    for user in (demo.amira, demo.ben, demo.cleo, demo.dev, demo.nobody):
        shown = isinstance(get(f"/api/cards/{demo.card.hashid}/", user), dict)
        assert asked.allows(viewer(user), demo.card) is shown


@pytest.mark.parametrize(
    ("permission_class", "printed"),
    [
        (IsOwner, "drf(IsOwner)"),
        (IsOwner & IsAdminUser, "drf((IsOwner & IsAdminUser))"),
        (IsOwner | ~(IsAdminUser & AllowAny), "drf((IsOwner | ~(IsAdminUser & AllowAny)))"),
    ],
)
def test_a_permission_class_is_printed_as_it_is_written(permission_class, printed):
    assert repr(drf(permission_class)) == printed
    assert repr(drf(permission_class) & ~anyone) == f"{printed} & ~anyone"


@pytest.mark.parametrize("place", ["general", "particular"])
@pytest.mark.parametrize(
    "refusal",
    [
        Http404(),
        PermissionDenied(),
        exceptions.NotAuthenticated(),
        exceptions.AuthenticationFailed(),
        exceptions.PermissionDenied(),
        exceptions.NotFound(),
    ],
)
def test_a_refusal_is_a_no(viewer, refusal, place):
    permission_class = answering(**{"general": lambda: True, place: raising(refusal)})

    assert drf(permission_class).allows(viewer(), Card()) is False


def test_what_is_refused_in_general_is_not_asked_in_particular(viewer):
    assert drf(answering(lambda: False, raising(ZeroDivisionError))).allows(viewer(), Card()) is False


@pytest.mark.parametrize("combined", [lambda asked: asked, operator.invert, lambda asked: asked | anyone])
@pytest.mark.parametrize("error", [ZeroDivisionError(), exceptions.Throttled(), exceptions.ValidationError()])
def test_any_other_error_is_no_answer(viewer, combined, error):
    with pytest.raises(type(error)):
        combined(drf(answering(raising(error)))).allows(viewer(), Card())


@pytest.mark.parametrize(
    ("composed", "general"),
    [
        (lambda asked: asked, True),
        (lambda asked: asked & AllowAny, True),
        (lambda asked: AllowAny & asked, True),
        (lambda asked: asked | AllowAny, True),
        (lambda asked: ~asked, False),
        (lambda asked: ~asked & AllowAny | IsAdminUser, False),
    ],
)
@pytest.mark.parametrize("place", ["general", "particular"])
def test_an_async_permission_class_is_refused_wherever_it_stands(viewer, composed, general, place):
    permission_class = answering(**{"general": lambda: general, place: a_coroutine})

    with pytest.raises(TypeError, match="async DRF permission class"):
        drf(composed(permission_class)).allows(viewer(), Card())


@pytest.mark.parametrize(("answer", "expected"), [(1, True), ("yes", True), (0, False), (None, False), ("", False)])
def test_a_truthy_answer_is_a_yes_as_in_drf(viewer, answer, expected):
    assert drf(answering(lambda: answer)).allows(viewer(), Card()) is expected
    assert drf(~answering(lambda: answer, lambda: answer)).allows(viewer(), Card()) is not expected


def test_a_permission_class_is_given_the_request_of_a_get_by_the_viewer(viewer):
    user, card, seen = User(pk=7), Card(pk=3), []

    class Looking(BasePermission):
        def has_permission(self, request, view):
            seen.append((request, view, None))
            return True

        def has_object_permission(self, request, view, instance):
            seen.append((request, view, instance))
            return True

    assert drf(Looking).allows(viewer(user), card)

    (request, view, nothing), (again, view_again, instance) = seen
    assert (again, view_again, nothing, instance) == (request, view, None, card)
    assert request is view.request
    assert request.user is user
    assert (request.method, view.action, view.kwargs) == ("GET", "retrieve", {"pk": 3})
    assert (request.query_params, request.COOKIES) == ({}, {})


def test_each_question_is_asked_with_a_new_request(viewer):
    requests = []
    asked = drf(type("Looking", (BasePermission,), {"has_permission": lambda s, request, v: requests.append(request)}))

    asked.allows(viewer(), Card())
    asked.allows(viewer(), Card())

    assert requests[0] is not requests[1]


def test_djangos_object_permissions_check_nothing_for_a_get(demo, viewer):
    asked = drf(DjangoObjectPermissions)

    assert asked.allows(viewer(demo.dev), demo.card)
    assert not asked.allows(viewer(), demo.card)
