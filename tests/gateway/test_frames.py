"""The frames: Flux Standard Actions, as the protocol has them."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from livegate.gateway import frames
from livegate.gateway.decisions import Pair, View
from livegate.gateway.publications import find


@pytest.fixture
def pair(viewer):
    return Pair(viewer(), find("board.Card"), "7sd8f")


def test_an_acknowledgement_names_the_object_and_the_request(pair):
    assert json.loads(frames.subscribed(pair, {"any": 1})) == {
        "type": "SUBSCRIBED",
        "payload": {"model": "board.Card", "id": "7sd8f"},
        "meta": {"request_id": {"any": 1}},
    }


def test_a_view_is_sent_as_it_was_encoded(pair):
    text = frames.updated(pair, View(b'{"title":"\xc3\xa4 {}%"}', "e7"))

    assert '"payload":{"title":"ä {}%"}' in text
    assert json.loads(text) == {
        "type": "UPDATE_CARD",
        "payload": {"title": "ä {}%"},
        "meta": {"model": "board.Card", "id": "7sd8f", "etag": "e7"},
    }


def test_what_is_gone_is_told_by_its_name_alone(pair):
    assert json.loads(frames.deleted(pair)) == {
        "type": "DELETE_CARD",
        "payload": {"id": "7sd8f"},
        "meta": {"model": "board.Card", "id": "7sd8f"},
    }


def test_a_refusal_says_its_code_in_plain_words():
    assert json.loads(frames.refused("not_found", 3)) == {
        "type": "ERROR",
        "error": True,
        "payload": {"code": "not_found", "detail": "There is no such object."},
        "meta": {"request_id": 3},
    }


def test_a_ping_is_answered():
    assert json.loads(frames.pong(4)) == {"type": "PONG", "meta": {"request_id": 4}}


def test_the_codes_of_the_type_are_those_that_have_words():
    assert set(get_args(frames.ErrorCode)) == set(frames.ERRORS)


def test_news_of_the_server_name_nothing():
    assert (frames.delayed(), frames.current()) == ('{"type":"DELAYED"}', '{"type":"CURRENT"}')
