"""The request that a viewer would make, of which DRF code sees the user, the host and the view, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from copy import copy, deepcopy
from pickle import dumps
from types import SimpleNamespace

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from rest_framework.request import Request, clone_request
from rest_framework.reverse import reverse

from livegate.permissions import Viewer
from livegate.permissions.audiences import Audience, Unshared
from livegate.permissions.requests import audience_of, retrieval, rights_of, shared_retrieval
from livegate.permissions.rights import Rights

User = get_user_model()


@pytest.fixture
def audience(db, viewer):
    """Three viewers, one of them anonymous, with a language, a time zone and a host of their own."""
    users = [User.objects.create(username=name) for name in ("amira", "ben")]
    facts = {"language": "de", "time_zone": "Asia/Tokyo", "scheme": "https", "host": "push.example"}
    viewers = {viewer(user, **facts) for user in [*users, None]}
    return Audience(viewers, Rights(viewers))


@pytest.fixture
def request_of_all(audience):
    return shared_retrieval(audience, Card(pk=3)).request


@pytest.mark.parametrize("user", [User(pk=7), AnonymousUser()])
def test_the_user_of_the_request_is_the_viewers_and_stays_it(viewer, user):
    request = retrieval(viewer(user), Card(pk=3)).request

    assert request.user is user
    assert request.auth is None
    assert request.user is user
    assert request._request.user is user


def test_the_view_is_in_the_middle_of_answering_a_get_of_the_instance(viewer):
    view = retrieval(viewer(), Card(pk=3))

    assert (view.request.method, view.action) == ("GET", "retrieve")
    assert (view.args, view.kwargs, view.format_kwarg) == ((), {"pk": 3}, None)
    assert view.get_queryset().model is Card
    assert view.get_serializer_context() == {"request": view.request, "format": None, "view": view}
    assert view.request.parser_context["view"] is view


def test_nothing_of_the_socket_but_the_viewer_is_in_the_request():
    socket = {
        "headers": [(b"host", b"push.example"), (b"cookie", b"sessionid=secret"), (b"x-token", b"secret")],
        "query_string": b"token=secret",
        "client": ("192.0.2.1", 1234),
        "path": "/ws/secret/",
    }

    request = retrieval(Viewer.of_scope(socket), Card(pk=3)).request

    assert request.query_params == {}
    assert request.COOKIES == {}
    assert request.headers == {"Host": "push.example"}
    assert "REMOTE_ADDR" not in request.META
    assert "secret" not in repr(request.META)
    assert request.path == "/"


def test_links_are_those_of_the_viewers_host(viewer):
    request = retrieval(viewer(scheme="https", host="push.example"), Card(pk=3)).request

    assert reverse("card-list", request=request) == "https://push.example/api/cards/"


# The request of an audience

LOOKS = {
    "user": lambda request: request.user,
    "user of user": lambda request: request.user.is_authenticated,
    "auth": lambda request: request.auth,
    "authenticator": lambda request: request.successful_authenticator,
    "django's user": lambda request: request._request.user,
    "hasattr": lambda request: hasattr(request, "user"),
    "hasattr of django's": lambda request: hasattr(request._request, "user"),
    "default": lambda request: getattr(request, "user", None),
    "default of django's": lambda request: getattr(request._request, "user", None),
    "another request": lambda request: Request(request._request).user,
    "auth of another request": lambda request: Request(request._request).auth,
    "a clone": lambda request: clone_request(request, "PUT").user,
    "authenticators": lambda request: request.authenticators[0].force_user,
    "authenticate": lambda request: request._authenticate(),
    "viewer": Viewer.of_request,
    "viewer of django's": lambda request: Viewer.of_request(request._request),
}


@pytest.mark.parametrize("look", LOOKS)
def test_to_look_for_the_user_of_a_shared_request_ends_the_sharing(audience, request_of_all, look):
    with pytest.raises(Unshared):
        LOOKS[look](request_of_all)

    otherwise = look in ("another request", "auth of another request")  # where DRF itself sets a nobody
    what = "authenticators was read" if "authenticators" in look or look == "a clone" else "user was read"
    assert audience.personal.startswith(f"request.{'user was set' if otherwise else what}, in ")
    assert f"in <lambda> at {__file__}:" in audience.personal or look.startswith("viewer")


def swallow_everything(look, request):
    try:
        look(request)
    except:  # noqa: E722
        return "swallowed"


def return_whatever_comes(look, request):
    try:
        look(request)
    finally:
        return "swallowed"  # noqa: B012


def suppress_what_is_an_error(look, request):
    with suppress(BaseException):
        look(request)
    return "swallowed"


@pytest.mark.parametrize("swallow", [swallow_everything, return_whatever_comes, suppress_what_is_an_error])
@pytest.mark.parametrize("look", LOOKS)
def test_that_somebody_looked_is_known_also_where_the_error_is_swallowed(audience, request_of_all, look, swallow):
    assert swallow(LOOKS[look], request_of_all) == "swallowed"

    assert audience.personal.startswith("request.")


@pytest.mark.parametrize("which", [lambda request: request, lambda request: request._request])
@pytest.mark.parametrize("swallow", [swallow_everything, suppress_what_is_an_error])
def test_to_say_who_the_user_is_ends_the_sharing_too(audience, request_of_all, which, swallow):
    with pytest.raises(Unshared):
        which(request_of_all).user = User(pk=7)
    assert audience.personal.startswith("request.user was set, in test_to_say_who_the_user_is_ends")

    audience.personal = ""
    assert swallow(lambda request: setattr(request, "user", User(pk=7)), which(request_of_all)) == "swallowed"
    assert audience.personal


@pytest.mark.parametrize("copied", [copy, deepcopy, dumps])
def test_a_shared_request_can_not_be_copied_and_its_user_be_asked_of_the_copy(audience, request_of_all, copied):
    with pytest.raises(Unshared):
        copied(request_of_all._request)

    assert audience.personal.startswith("request was copied, in ")


@pytest.mark.parametrize("error", [Exception, AttributeError, TypeError])
def test_no_ordinary_error_handling_catches_the_end_of_sharing(request_of_all, error):
    with pytest.raises(Unshared), suppress(error):
        request_of_all.user  # noqa: B018


def test_all_that_an_audience_has_in_common_can_be_looked_at(audience, request_of_all):
    assert request_of_all.get_host() == "push.example"
    assert (request_of_all.scheme, request_of_all.is_secure()) == ("https", True)
    assert request_of_all.build_absolute_uri("/cards/") == "https://push.example/cards/"
    assert reverse("card-list", request=request_of_all) == "https://push.example/api/cards/"
    assert (request_of_all.method, request_of_all.path) == ("GET", "/")
    assert (request_of_all.query_params, request_of_all.GET, request_of_all.COOKIES) == ({}, {}, {})
    assert (request_of_all.data, request_of_all.POST, request_of_all.FILES) == ({}, {}, {})
    assert request_of_all.headers == {"Host": "push.example"}
    assert getattr(request_of_all, "session", None) is None
    assert not hasattr(request_of_all, "tenant")
    assert "GET" in repr(request_of_all)
    assert (audience.personal, audience.parts) == ("", [])


def test_a_shared_request_has_what_the_request_of_one_has_except_who_it_is(audience, request_of_all):
    one = next(iter(audience.viewers))
    alone = retrieval(one, Card(pk=3)).request

    def facts(request):
        meta = {name: value for name, value in request.META.items() if name != "wsgi.input"}
        return meta, request.method, request.encoding, request.content_type, request.get_full_path()

    assert facts(request_of_all) == facts(alone)
    assert audience.personal == ""


def test_the_view_of_a_shared_request_is_that_of_one(audience):
    view = shared_retrieval(audience, Card(pk=3))

    assert (view.request.method, view.action) == ("GET", "retrieve")
    assert (view.args, view.kwargs, view.format_kwarg) == ((), {"pk": 3}, None)
    assert view.get_queryset().model is Card
    assert view.get_serializer_context() == {"request": view.request, "format": None, "view": view}
    assert view.request.parser_context["view"] is view
    assert audience.personal == ""


def test_each_shared_request_is_of_its_own_audience(audience, viewer):
    other = Audience({viewer()}, Rights([viewer()]))
    request, request_of_others = (shared_retrieval(one, Card(pk=3)).request for one in (audience, other))

    with pytest.raises(Unshared):
        request_of_others.user  # noqa: B018

    assert other.personal
    assert not audience.personal
    assert (audience_of(request), audience_of(request_of_others)) == (audience, other)


def test_the_audience_and_the_rights_are_found_in_the_request(audience, request_of_all):
    for request in (request_of_all, request_of_all._request):
        assert audience_of(request) is audience
        assert rights_of(request) is audience.rights
    assert audience.personal == ""


def test_the_request_of_one_has_no_audience_and_the_rights_that_it_was_made_with(audience, viewer, rf):
    with_rights = retrieval(viewer(), Card(pk=3), audience.rights).request
    without = retrieval(viewer(), Card(pk=3)).request

    for request in (with_rights, with_rights._request):
        assert (audience_of(request), rights_of(request)) == (None, audience.rights)
    for request in (without, without._request, rf.get("/"), Request(rf.get("/")), None):
        assert (audience_of(request), rights_of(request)) == (None, None)


@pytest.mark.parametrize("thing", [SimpleNamespace(user=User(pk=7)), "request", 7, {}], ids=lambda thing: type(thing))
def test_what_stands_in_the_place_of_a_request_has_neither(thing):
    assert (audience_of(thing), rights_of(thing)) == (None, None)
