"""Hashids: every key has one, in one spelling, of one model; and whatever else comes is refused."""

from __future__ import annotations

import contextlib
from uuid import UUID, uuid4

import pytest
from board.models import Board, Card, Organization
from django.core.exceptions import ImproperlyConfigured
from hashids import Hashids
from hypothesis import example, given
from hypothesis import strategies as st
from lab.models import Badge, Document, Foreign, ForeignChild, ForeignProxy, Slug

from livegate.serializers import hashids
from livegate.serializers.hashids import InvalidHashid, decode, encode

ALPHABET = Hashids.ALPHABET
arbitrary = st.text(max_size=80) | st.text(ALPHABET, max_size=80)


@given(st.integers(0, 2**63 - 1))
@example(0)
@example(2**63 - 1)
def test_an_integer_key_comes_back(pk):
    assert decode(Card, encode(Card, pk)) == pk


@given(st.uuids() | st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number)))
@example(UUID(int=0))
@example(UUID(int=1))
@example(UUID(int=2**128 - 1))
@example(UUID("00000000-0000-4000-8000-000000000000"))
def test_a_uuid_key_comes_back_with_its_leading_zeros(pk):
    assert decode(Document, encode(Document, pk)) == pk
    assert encode(Document, str(pk)) == encode(Document, pk)


@pytest.mark.parametrize("model", [Card, Document])
@given(text=arbitrary)
@example(text="")
@example(text="7sd8f ")
def test_whatever_text_comes_is_the_one_spelling_of_a_key_or_invalid(model, text):
    try:
        pk = decode(model, text)
    except InvalidHashid:
        return

    assert encode(model, pk) == text


@given(st.integers(0, 2**63 - 1), arbitrary)
def test_a_hashid_with_anything_before_or_after_it_is_another_one_or_none(pk, more):
    for text in (encode(Card, pk) + more, more + encode(Card, pk)):
        try:
            assert decode(Card, text) != pk or not more
        except InvalidHashid:
            assert more


@pytest.mark.parametrize("salt", ["short", "a long text, longer than the 45 characters which hashids reads of a salt"])
def test_hashids_of_one_model_say_nothing_to_another(settings, salt):
    settings.LIVEGATE = {"HASHID_SALT": salt}
    understood = []

    for pk in range(1, 1_001):
        hashid = encode(Card, pk)
        for other in (Board, Foreign, Document):
            with contextlib.suppress(InvalidHashid):
                understood.append((pk, decode(other, hashid)))

    assert len(understood) < 100
    assert all(read != pk for pk, read in understood)


def test_a_model_a_proxy_and_a_child_write_the_same_key_in_different_ways():
    assert len({encode(model, 7) for model in (Foreign, ForeignProxy, ForeignChild, Card, Organization)}) == 5


@pytest.mark.parametrize("salt", ["another", "the same for a hundred characters" * 3 + ", and then another"])
def test_another_salt_makes_other_hashids(settings, salt):
    settings.LIVEGATE = {"HASHID_SALT": "the same for a hundred characters" * 3}
    before = encode(Card, 7)

    settings.LIVEGATE = {"HASHID_SALT": salt}

    assert encode(Card, 7) != before
    assert decode(Card, encode(Card, 7)) == 7


@pytest.mark.parametrize(("model", "numbers"), [(Card, ()), (Card, (1, 2)), (Document, (1, 2)), (Card, (2**63,))])
def test_text_of_the_right_salt_that_is_not_one_key_is_invalid(model, numbers):
    text = hashids.codec_of(model).encode(*numbers)

    with pytest.raises(InvalidHashid):
        decode(model, text)


def test_a_number_that_no_uuid_can_be_is_invalid():
    with pytest.raises(InvalidHashid):
        decode(Document, hashids.codec_of(Document).encode(2**128))


def test_text_of_more_than_64_characters_is_refused_unread(monkeypatch):
    read = []
    real = hashids.codec_of

    class Codec:
        def decode(self, text):
            read.append(len(text))
            return real(Card).decode(text)

    monkeypatch.setattr(hashids, "codec_of", lambda model: Codec())
    for length in (64, 65, 200_000):
        with pytest.raises(InvalidHashid):
            decode(Card, "a" * length)

    assert read == [64]


@pytest.mark.parametrize("length", [0, 5, 20, 64])
def test_hashids_are_padded_to_the_length_that_is_set(settings, length):
    settings.LIVEGATE = {**settings.LIVEGATE, "HASHID_MIN_LENGTH": length}

    for pk in (0, 1, 2**20):
        assert len(encode(Card, pk)) >= max(length, 1)
        assert decode(Card, encode(Card, pk)) == pk


def test_hashids_have_five_letters_or_digits_unless_told_otherwise():
    assert len(encode(Card, 1)) == 5
    assert encode(Card, 2**62).isalnum()


@pytest.mark.parametrize("model", [Card, Document])
@pytest.mark.parametrize("pk", [None, -1, "", "seven", object()])
def test_a_key_that_no_saved_instance_has_is_refused(model, pk):
    with pytest.raises(ValueError):
        encode(model, pk)


def test_a_uuid_is_no_key_where_keys_are_integers():
    with pytest.raises(ValueError, match=r"board\.Card has no hashid for a primary key of type UUID"):
        encode(Card, uuid4())


def test_a_relation_for_a_key_is_written_as_the_key_that_it_is():
    pk = uuid4()

    assert decode(Badge, encode(Badge, pk)) == pk
    assert decode(ForeignChild, encode(ForeignChild, 7)) == 7
    assert encode(Badge, pk) != encode(Document, pk)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: encode(Slug, "a"),
        lambda: encode(Slug, 1),
        lambda: decode(Slug, hashids.codec_of(Slug).encode(1)),
    ],
)
def test_a_key_that_hashids_can_not_write_is_a_mistake_of_the_application(ask):
    with pytest.raises(ImproperlyConfigured, match=r"lab\.Slug has a SlugField as primary key"):
        ask()


@pytest.mark.parametrize("livegate", [{}, {"HASHID_SALT": ""}, {"HASHID_SALT": None}])
@pytest.mark.parametrize("ask", [lambda: encode(Card, 1), lambda: decode(Card, "7sd8f")])
def test_without_a_salt_there_are_no_hashids_and_the_remedy_is_told(settings, livegate, ask):
    settings.LIVEGATE = livegate

    with pytest.raises(ImproperlyConfigured, match="Set it to a long random text of its own: not SECRET_KEY"):
        ask()


def test_a_key_given_as_text_is_the_key_that_it_becomes():
    document = Document()

    assert encode(Card, "7") == encode(Card, 7)
    assert encode(Document, str(document.pk)) == encode(Document, document.pk)


@pytest.mark.parametrize("wrong", [["x"], {"x": 1}, b"x", bytearray(b"x"), None, 1])
def test_what_is_no_text_is_no_hashid(wrong):
    with pytest.raises(InvalidHashid):
        decode(Card, wrong)
