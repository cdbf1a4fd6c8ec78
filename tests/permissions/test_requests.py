"""The request that a viewer would make, of which DRF code sees the user, the host and the view, and nothing else."""

from __future__ import annotations

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from rest_framework.reverse import reverse

from livegate.permissions import Viewer
from livegate.permissions.requests import retrieval

User = get_user_model()


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
