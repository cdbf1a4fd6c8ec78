"""JSON of a push: what DRF's renderer makes of the same data, and a name for it."""

from __future__ import annotations

import datetime
import json
import string
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from board.models import Card
from django.utils.functional import lazystr
from django.utils.safestring import SafeString
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.renderers import JSONRenderer

from livegate.serializers.encoding import encode, encode_value, etag, member, object_of


@dataclass
class Data:
    value: int


time_zones = st.none() | st.sampled_from([datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))])
texts = st.text(st.characters(exclude_categories=["Cs"]))
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**100), max_value=2**100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | texts.map(lazystr)
    | texts.map(SafeString)
    | st.sampled_from(Card.Status)
    | st.decimals(min_value=-(10**20), max_value=10**20, allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes(timezones=time_zones)
    | texts.map(str.encode)
)
keys = texts | st.integers() | st.booleans() | st.none()
containers = st.recursive(
    st.lists(leaves) | st.dictionaries(keys, leaves),
    lambda inner: (
        st.lists(inner | leaves) | st.lists(inner | leaves).map(tuple) | st.dictionaries(keys, inner | leaves)
    ),
    max_leaves=10,
)


@given(containers)
def test_a_push_says_in_json_what_a_get_says(data):
    assert encode(data) == JSONRenderer().render(data)


@pytest.mark.parametrize(
    "data",
    [
        {"id": "7sd8f", "title": "Größe \u2028", "salary": 84_000, "owner": None, "share": 0.1},
        {"big": 2**64, "small": -(2**63) - 1},
        [datetime.datetime(2024, 2, 29, 12, 30, 0, 1000, tzinfo=datetime.UTC), datetime.time(12, 30)],
    ],
)
def test_examples_are_the_same_byte_for_byte(data):
    assert encode(data) == JSONRenderer().render(data)
    assert json.loads(encode(data))


@pytest.mark.parametrize(
    "data",
    [
        [float("nan")],
        {datetime.date(2024, 2, 29): 1},
        {"a": object()},
        {"a": Data(1)},
        {(1, 2): 3},
        [datetime.time(1, tzinfo=datetime.UTC)],
        ["\ud800"],
        [b"\xff"],
    ],
)
def test_what_a_get_can_not_show_is_not_pushed_either(data):
    with pytest.raises((TypeError, ValueError)) as of_get:
        JSONRenderer().render(data)

    with pytest.raises(of_get.type):
        encode(data)


def test_what_a_generator_yields_is_not_lost():
    assert encode({"all": (number for number in range(3))}) == b'{"all":[0,1,2]}'


def test_nothing_is_no_view():
    with pytest.raises(TypeError, match="gave None"):
        encode(None)


@contextmanager
def rendering(compact, unicode):
    """As the settings COMPACT_JSON and UNICODE_JSON say, which the renderer reads when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONRenderer, "compact", compact)
        patch.setattr(JSONRenderer, "ensure_ascii", not unicode)
        yield


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("unicode", [True, False])
@given(st.dictionaries(texts, containers | leaves))
@example({})
@example({"": 1, '"': 2, "\\": {}, "\u2028": ["\u2029"], "a\n": [], "ä": "ö", ": ": ", "})
def test_members_make_the_object_that_is_made_of_the_whole(compact, unicode, data):
    with rendering(compact, unicode):
        together = object_of(member(name, encode_value(value)) for name, value in data.items())

        assert together == encode(data) == JSONRenderer().render(data)


@pytest.mark.parametrize("value", [float("nan"), object(), {(1, 2): 3}])
def test_a_value_that_is_no_json_is_none_by_itself_either(value):
    with pytest.raises((TypeError, ValueError)):
        encode_value(value)


@given(st.binary(), st.binary())
@example(b'{"salary":84000}', b'{"salary":84001}')
def test_an_etag_names_exactly_these_bytes(one, other):
    assert (etag(one) == etag(other)) is (one == other)
    assert etag(bytes(bytearray(one))) == etag(one)
    assert len(etag(one)) == 32
    assert set(etag(one)) <= set(string.hexdigits.lower())
