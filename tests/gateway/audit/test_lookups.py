"""A lookup for one text among those of a JSON list: exactly that text, on whatever database."""

from __future__ import annotations

import pytest
from django.db import connection, connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import kept, made

from livegate.gateway.audit.lookups import Holds
from livegate.gateway.audit.models import LedgerEntry

pytestmark = pytest.mark.django_db

TEXTS = [
    "",
    "1",
    "11",
    "a",
    "A",
    'a"1"b',
    "a\\",
    "it's",
    "%s",
    "%",
    "_",
    "null",
    "[]",
    "Zürich",
    "ü",
    "🜁",
    "line\nbreak",
]


@pytest.fixture(params=["its own way", "the way of any other database"], autouse=True)
def way(request, monkeypatch):
    """Each test runs twice: the second time the lookup does not know the database."""
    if request.param == "the way of any other database":
        monkeypatch.setattr(connections["default"], "vendor", "other")


@pytest.mark.parametrize("text", TEXTS)
def test_a_list_is_found_by_each_of_its_texts_and_by_nothing_else(text):
    mine, without = kept(made(users=("x", text, "y")), made(users=tuple(one for one in TEXTS if one != text)))

    found = LedgerEntry.objects.filter(Holds("users", text))

    assert [entry.number for entry in found] == [mine.number]
    assert [entry.number for entry in LedgerEntry.objects.exclude(Holds("users", text))] == [without.number]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"))), max_size=5
    ),
    st.data(),
)
def test_any_texts_are_found_where_they_are(lists, data):
    LedgerEntry.objects.all()._raw_delete("default")
    entries = kept(*(made(users=tuple(texts)) for texts in lists))
    text = data.draw(st.sampled_from([text for texts in lists for text in texts] or ["?"]) | st.sampled_from(TEXTS))

    found = LedgerEntry.objects.filter(Holds("users", text)).values_list("number", flat=True)

    assert set(found) == {entry.number for entry in entries if text in entry.users}


def test_it_combines_with_other_conditions():
    first, second = kept(made(users=("1", "2"), fields=("id",)), made(users=("1",), fields=("salary",)))

    both = LedgerEntry.objects.filter(Holds("users", "1"), Holds("fields", "id"))
    either = LedgerEntry.objects.filter(Holds("users", "2") | Holds("fields", "salary"))

    assert [entry.number for entry in both] == [first.number]
    assert {entry.number for entry in either} == {first.number, second.number}


def test_postgresql_is_asked_what_its_index_answers():
    sql, _ = LedgerEntry.objects.filter(Holds("users", "1")).query.sql_with_params()

    assert ('"users" @> %s::jsonb' in sql) is (connection.vendor == "postgresql")
    assert ("json_each(" in sql) is (connection.vendor == "sqlite")
