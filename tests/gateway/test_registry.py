"""The registry: who is connected and who watches what, found by what a notice names, and nothing left of who goes."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from livegate.gateway.credentials import Credentials
from livegate.gateway.decisions import Pair
from livegate.gateway.notices import Notice
from livegate.gateway.publications import find
from livegate.gateway.registry import Registry
from livegate.gateway.subscriptions import Socket, Subscription


@pytest.fixture
def registry():
    return Registry(look=list)


@pytest.fixture
def sockets(registry, viewer):
    """Of two users and of nobody, each of whom watches two pages."""
    users = get_user_model()
    found = {}
    for name, user in {"one": users(pk=1), "two": users(pk=2), "nobody": None}.items():
        socket = found[name] = Socket(Credentials.of_scope({}, viewer(user)), None, None)
        registry.add(socket)
        for hashid in ("aaaaa", "bbbbb"):
            registry.watch(Subscription(socket, Pair(socket.viewer, find("lab.Page"), hashid)))
    return found


def concerned(registry, notice):
    return {(one.socket, one.pair.hashid) for one in registry.concerned_by(notice)}


def test_a_change_of_rights_to_one_object_concerns_who_watches_it(registry, sockets):
    assert concerned(registry, Notice("access", "lab.Page", "aaaaa")) == {(one, "aaaaa") for one in sockets.values()}
    assert concerned(registry, Notice("access", "lab.Page", "other")) == set()


def test_a_change_of_rights_of_one_user_to_one_object_concerns_them_and_who_is_anonymous(registry, sockets):
    notice = Notice("access", "lab.Page", "aaaaa", sockets["one"].user_token)

    assert concerned(registry, notice) == {(sockets["one"], "aaaaa"), (sockets["nobody"], "aaaaa")}


def test_a_change_of_rights_of_one_user_concerns_all_that_they_watch(registry, sockets):
    notice = Notice("access", token=sockets["one"].user_token)

    assert concerned(registry, notice) == {(sockets["one"], "aaaaa"), (sockets["one"], "bbbbb")}


def test_a_change_of_rights_of_everybody_concerns_everything(registry, sockets):
    assert len(concerned(registry, Notice("access"))) == 6


def test_of_who_goes_nothing_is_left(registry, sockets):
    for socket in sockets.values():
        registry.remove(socket)

    assert (registry.sockets, registry.watching, registry.by_token) == (set(), {}, {})
    assert [socket.subscriptions for socket in sockets.values()] == [{}] * 3


def test_a_socket_may_be_removed_twice_and_what_is_not_watched_given_up(registry, sockets):
    registry.unwatch(sockets["one"], ("lab.Page", "other"))
    for _ in range(2):
        registry.remove(sockets["one"])

    assert registry.sockets == {sockets["two"], sockets["nobody"]}
