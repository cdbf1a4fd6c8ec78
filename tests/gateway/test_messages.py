"""Reading what clients send, the bad and the hostile above all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livegate.gateway.frames import ERRORS
from livegate.gateway.messages import Message, Refusal, parse

NAME = {"model": "board.Card", "id": "7sd8f"}


def test_two_names_are_a_subscription():
    assert parse(json.dumps(NAME)) == Message("subscribe", "board.Card", "7sd8f", None, None, False, False)


@pytest.mark.parametrize("request_id", [None, 0, "a", [1, {"b": None}], {"c": 1.5}, True])
def test_a_request_id_of_any_kind_comes_back_as_it_was(request_id):
    message = parse(json.dumps({**NAME, "request_id": request_id}))

    assert message.wants_ack
    assert message.request_id == request_id


@pytest.mark.parametrize("etag", [None, "", "0f"])
def test_an_etag_also_null_asks_for_the_view(etag):
    message = parse(json.dumps({**NAME, "etag": etag}))

    assert message.wants_view
    assert message.etag == etag


@pytest.mark.parametrize(
    ("etag", "read"),
    [
        ('"0f"', "0f"),
        ('W/"0f"', "0f"),
        ('""', ""),
        ('w/"0f"', 'w/"0f"'),
        ('"0f', '"0f'),
        ('"0f", "1e"', '"0f", "1e"'),
        ("W/0f", "W/0f"),
        ("*", "*"),
        ('"0f"\n', '"0f"\n'),
    ],
)
def test_an_etag_is_read_also_as_it_stands_in_the_header_of_an_answer(etag, read):
    assert parse(json.dumps({**NAME, "etag": etag})).etag == read


@pytest.mark.parametrize("action", ["subscribe", "unsubscribe"])
def test_an_action_is_read(action):
    assert parse(json.dumps({**NAME, "action": action})).action == action


def test_a_ping_names_nothing():
    assert parse('{"action": "ping", "request_id": 1}') == Message("ping", "", "", 1, None, True, False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "binary_frame"),
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("NaN", "invalid_json"),
        ("[" * 10_000, "invalid_json"),
        ('"\\ud800"', "invalid_json"),
        ("\ud800", "invalid_json"),
        (" " * 16_385, "frame_too_large"),
        ('"' + "ä" * 8_192 + '"', "frame_too_large"),
        ("[]", "invalid_message"),
        ("null", "invalid_message"),
        ("7", "invalid_message"),
        ("{}", "invalid_message"),
        ('{"model": "board.Card"}', "invalid_message"),
        ('{"id": "7sd8f"}', "invalid_message"),
        ('{"model": "", "id": "7sd8f"}', "invalid_message"),
        ('{"model": "board.Card", "id": 7}', "invalid_message"),
        ('{"model": "board.Card", "id": true}', "invalid_message"),
        ('{"model": "board.Card", "id": null}', "invalid_message"),
        ('{"model": ["board.Card"], "id": "7sd8f"}', "invalid_message"),
        ('{"model": "board.Card", "id": "a\\u0000b"}', "invalid_message"),
        ('{"model": "board.Card", "id": "7sd8f", "etag": 5}', "invalid_message"),
        ('{"model": "board.Card", "id": "7sd8f", "colour": "red"}', "invalid_message"),
        ('{"model": "board.Card", "id": "7sd8f", "action": "explode"}', "invalid_message"),
        ('{"model": "board.Card", "id": "7sd8f", "action": null}', "invalid_message"),
        ('{"model": "board.Card", "id": "7sd8f", "filter": {}}', "invalid_message"),
        ('{"action": "subscribe"}', "invalid_message"),
        ('{"action": "ping", "colour": "red"}', "invalid_message"),
        ('{"request_id": ' + "[" * 500 + "]" * 500 + "}", "invalid_message"),
    ],
)
def test_what_is_no_message_is_refused_with_its_code(text, code):
    with pytest.raises(Refusal) as refusal:
        parse(text)

    assert refusal.value.code == code


def test_a_refusal_carries_the_request_id_as_far_as_it_was_read():
    with pytest.raises(Refusal) as refusal:
        parse('{"request_id": 7, "model": 5}')

    assert refusal.value.request_id == 7


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
nearly_messages = st.dictionaries(
    st.sampled_from(["action", "model", "id", "request_id", "etag", "more"]),
    json_values | st.sampled_from(["subscribe", "unsubscribe", "ping", "board.Card"]),
)


@given(st.text(max_size=50) | (json_values | nearly_messages).map(json.dumps))
def test_every_text_is_a_message_or_a_documented_refusal(text):
    try:
        message = parse(text)
    except Refusal as refusal:
        code = refusal.code
    else:
        code = None
        assert message.action == "ping" or (message.model and message.id)
    assert code is None or code in ERRORS
