"""What a subscription sends next: a core that decides, tested with no socket."""

from __future__ import annotations

import asyncio
import json

import pytest

from livegate.gateway import subscriptions
from livegate.gateway.credentials import Credentials
from livegate.gateway.decisions import Pair, View
from livegate.gateway.messages import parse
from livegate.gateway.metrics import counts
from livegate.gateway.publications import find
from livegate.gateway.subscriptions import Socket, Subscription

ONE, TWO = View(b'{"n":1}', "one"), View(b'{"n":2}', "two")


@pytest.fixture
def settle(viewer):
    """``settle(view, {…request…}, …)``: what is sent after these requests came and this was decided, in short."""
    subscription = Subscription(
        Socket(Credentials.of_scope({}, viewer()), send=None, close=None), Pair(viewer(), find("board.Card"), "7sd8f")
    )

    def short(text):
        frame = json.loads(text)
        match frame["type"]:
            case "UPDATE_CARD":
                return frame["meta"]["etag"]
            case "DELETE_CARD":
                return "gone"
            case "ERROR":
                return frame["payload"]["code"], frame["meta"]["request_id"]
            case _:
                return "ack", frame["meta"]["request_id"]

    def settled(view, *requests):
        for request in requests:
            subscription.requests += (parse(json.dumps({"model": "board.Card", "id": "7sd8f", **request})),)
            subscription.socket.unanswered += 1
        sent = [short(text) for text in subscription.settle(view)]
        assert subscription.socket.unanswered == 0
        return sent

    settled.subscription = subscription
    return settled


def test_the_tutorials_subscription_is_silent_until_something_changes(settle):
    assert settle(ONE, {}) == []
    assert settle(ONE) == []
    assert settle(TWO) == ["two"]
    assert settle(TWO) == []


def test_a_request_id_is_acknowledged_before_anything_else(settle):
    assert settle(ONE, {"request_id": 1, "etag": None}) == [("ack", 1), "one"]


@pytest.mark.parametrize(("etag", "sent"), [(None, ["one"]), ("", ["one"]), ("old", ["one"]), ("one", [])])
def test_an_etag_brings_the_view_unless_the_client_holds_it(settle, etag, sent):
    assert settle(ONE, {"etag": etag}) == sent
    assert settle(TWO) == ["two"]


def test_a_refused_request_is_answered_and_not_remembered(settle):
    assert settle(None, {"request_id": 1}, {"request_id": 2}) == [("not_found", 1), ("not_found", 2)]
    assert not settle.subscription.admitted


def test_who_says_that_it_holds_something_has_it_taken_away_before_it_is_refused(settle):
    assert settle(None, {"request_id": 1, "etag": "one"}) == ["gone", ("not_found", 1)]
    assert not settle.subscription.admitted


@pytest.mark.parametrize("claim", [{}, {"etag": None}, {"etag": ""}, {"etag": '""'}])
def test_who_says_that_it_holds_nothing_has_nothing_taken_away(settle, claim):
    assert settle(None, claim) == [("not_found", None)]


def test_each_request_is_refused_as_if_it_had_come_alone(settle):
    """Whether two are answered together depends on nothing but time."""
    assert settle(None, {"etag": "one"}, {"request_id": 2}, {"etag": "two", "request_id": 3}) == [
        *("gone", ("not_found", None)),
        ("not_found", 2),
        *("gone", ("not_found", 3)),
    ]


def test_what_left_the_view_is_told_once_and_told_again_when_it_is_back(settle):
    settle(ONE, {})

    assert settle(None) == ["gone"]
    assert settle(None) == []
    assert settle.subscription.admitted
    assert settle(ONE) == ["one"]


def test_the_same_subscription_twice_is_acknowledged_twice_and_shown_once(settle):
    assert settle(ONE, {"request_id": 1, "etag": None}, {"request_id": 2, "etag": None}) == [
        ("ack", 1),
        ("ack", 2),
        "one",
    ]
    assert settle(TWO, {"request_id": 3}) == [("ack", 3), "two"]


def test_who_asks_anew_for_what_has_left_the_view_is_refused_and_told_that_it_is_gone(settle):
    settle(ONE, {})

    assert settle(None, {"request_id": 2}) == ["gone", ("not_found", 2)]
    assert not settle.subscription.admitted


def test_what_is_held_and_said_to_be_held_is_taken_away_once(settle):
    settle(ONE, {})

    assert settle(None, {"etag": "one"}, {}) == ["gone", ("not_found", None), ("not_found", None)]


def test_who_says_that_it_holds_nothing_is_shown_the_view_whatever_another_request_says(settle):
    assert settle(ONE, {"etag": None}, {"etag": "one"}) == ["one"]
    assert settle(ONE, {"etag": "one"}, {"etag": "one"}) == []


def test_what_a_client_has_and_does_not_ask_for_is_a_frame_that_is_not_sent(settle):
    before = counts()["frames_suppressed"]
    for decision, *requests in [(None, {}), (ONE, {}), (ONE, {"request_id": 1}), (TWO,), (None,), (None,), (ONE,)]:
        settle(decision, *requests)
    assert counts()["frames_suppressed"] == before

    assert settle(ONE) == []
    assert counts()["frames_suppressed"] == before + 1


async def test_what_is_taken_away_is_measured_from_the_first_change_of_rights_since_it_was_decided_last(
    settle, measured
):
    subscription, now = settle.subscription, asyncio.get_running_loop().time()
    settle(ONE, {})
    subscription.doubt(now - 7)
    settle(ONE)  # rights changed, and this may be seen still
    settle(None)  # it was deleted
    assert measured == []

    settle(ONE)
    subscription.doubt(now - 5)
    subscription.doubt(now - 2)
    settle(None)
    settle(None)

    assert measured == [("revocation_seconds", pytest.approx(5, abs=1))]


async def test_what_a_client_does_not_hold_is_not_taken_away(settle, measured):
    settle.subscription.doubt(0)

    settle(None, {})

    assert measured == []


@pytest.fixture
def measured(monkeypatch):
    found = []
    monkeypatch.setattr(subscriptions, "observe", lambda *measured: found.append(measured))
    return found
