"""Objects: which entries are about an instance, under whatever label it was shown."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from board.models import Card
from lab.models import Document, Foreign, ForeignChild, ForeignProxy, SpecialTracked, Tracked, Unpublished
from ledgers import kept, made

from livegate.gateway.audit.models import LedgerEntry
from livegate.gateway.audit.objects import called, instance_of, named, text_of
from livegate.serializers.hashids import InvalidHashid, encode

pytestmark = pytest.mark.django_db


def labels(about):
    return sorted(LedgerEntry.objects.filter(about).values_list("model", "key"))


@pytest.fixture
def entries():
    kept(
        *(
            made(model=label, key=key)
            for label in ("lab.Foreign", "lab.ForeignProxy", "lab.ForeignChild", "lab.Tracked", "board.Card")
            for key in ("1", "2", "11")
        )
    )


@pytest.mark.parametrize(
    ("instance", "shown_as"),
    [
        (Foreign(pk=1), ["Foreign", "ForeignChild", "ForeignProxy"]),
        (ForeignProxy(pk=1), ["Foreign", "ForeignChild", "ForeignProxy"]),
        (ForeignChild(pk=1), ["Foreign", "ForeignChild", "ForeignProxy"]),
        (Tracked(pk=1), ["Tracked"]),
        (SpecialTracked(pk=1), ["Tracked"]),
    ],
)
def test_an_instance_is_asked_about_under_all_labels_that_it_is_shown_by(entries, instance, shown_as):
    assert labels(named(instance)) == [(f"lab.{name}", "1") for name in shown_as]


def test_one_whose_parent_has_another_key_is_asked_about_by_both(entries, monkeypatch):
    monkeypatch.setattr(
        "livegate.gateway.audit.objects.key_in",
        lambda model, instance: 2 if model is ForeignChild else 1,
    )

    assert labels(named(ForeignChild(pk=2))) == [
        ("lab.Foreign", "1"),
        ("lab.ForeignChild", "2"),
        ("lab.ForeignProxy", "1"),
    ]


@pytest.mark.parametrize(
    ("instance", "error"),
    [("board.Card", TypeError), (Card, TypeError), (Card(), ValueError), (Unpublished(pk=1), LookupError)],
)
def test_what_is_no_instance_that_was_ever_shown_is_an_error(instance, error):
    with pytest.raises(error):
        named(instance)


def test_a_key_is_written_one_way():
    key = uuid4()

    assert text_of(Document, key.hex) == text_of(Document, key) == str(key)
    assert text_of(Card, "017") == "17"


def test_an_instance_that_is_gone_is_had_by_its_hashid():
    key = uuid4()

    assert instance_of(Card, encode(Card, 17)).pk == 17
    assert instance_of(Document, encode(Document, key)).pk == UUID(str(key))
    with pytest.raises(InvalidHashid):
        instance_of(Card, "17")


def test_a_word_is_a_hashid_a_key_or_a_hashid_that_stood_for_nothing():
    key = uuid4()
    kept(
        made(model="board.Card", key="17", hashid=encode(Card, 17)),
        made(model="lab.Page", key="17"),
        made(model="lab.Document", key=str(key)),
        made("refused", model="board.Card", hashid="guessed"),
        made("refused", model="board.Card", hashid="another"),
        made(model="gone.Model", key="17"),
    )

    def found(word):
        about, *rest = called(word)
        for one in rest:
            about |= one
        return labels(about)

    assert found("17") == [("board.Card", "17"), ("lab.Page", "17")]
    assert found(encode(Card, 17)) == [("board.Card", "17")]
    assert found(str(key)) == found(encode(Document, key)) == [("lab.Document", str(key))]
    assert found("guessed") == [("board.Card", "")]
    assert found("nothing") == []
