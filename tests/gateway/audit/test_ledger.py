"""The questions: what the ledger answers is what its entries say, and what is no question is told."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import date, datetime, timedelta
from itertools import islice

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import shapes
from lab.models import Foreign, ForeignChild, Page, Unpublished
from lab.serializers import PageSerializer
from ledgers import CARDS, FIRST, NOON, fill, kept, made, plan, scans
from rest_framework.serializers import BaseSerializer

from livegate.gateway.audit import ledger
from livegate.gateway.audit.ledger import Refusal, Showing
from livegate.gateway.audit.models import LedgerEntry
from livegate.permissions import anyone

pytestmark = pytest.mark.django_db
User = get_user_model()

FACTS = {
    "model": "lab.Foreign",
    "key": "1",
    "hashid": "l17QO",
    "etag": "e" * 32,
    "fields": ("id", "name"),
    "basis": "is_owner=yes",
    "cause": "change",
}


def numbers(answer):
    """By the minute at which it was, the users to whom."""
    return [((one.at - NOON) // timedelta(minutes=1), one.user) for one in answer]


def test_a_showing_has_all_that_is_known_of_it():
    kept(made(users=("7", ""), sockets=(4, 5), **FACTS))

    first, second = ledger.who_saw(Foreign(pk=1))

    assert first == Showing(at=NOON, user="7", process="p", socket=4, **FACTS)
    assert (second.user, second.socket) == ("", 5)
    with pytest.raises(FrozenInstanceError):
        first.user = "8"


def test_so_has_a_refusal():
    kept(made("refused", users=("7",), sockets=(4,), **FACTS))

    [refusal] = ledger.refusals()

    known = {name: value for name, value in FACTS.items() if name not in ("etag", "fields")}
    assert refusal == Refusal(at=NOON, user="7", process="p", socket=4, **known)


def test_the_newest_comes_first_and_of_one_moment_what_was_written_last():
    kept(*(made(minute=minute, users=(str(n),), **FACTS) for n, minute in enumerate((1, 3, 2, 3, 0))))

    assert numbers(ledger.who_saw(Foreign(pk=1))) == [(3, "3"), (3, "1"), (2, "2"), (1, "0"), (0, "4")]


def test_what_was_withheld_was_not_shown_to_those_from_whom_it_was():
    shown, other = kept(
        made(users=("7", "8", "7"), sockets=(1, 2, 3), **FACTS), made(process="q", users=("7",), sockets=(1,), **FACTS)
    )
    kept(made("withheld", minute=60, users=("7", "8"), sockets=(1, 2), of=shown.number))

    seen = ledger.who_saw(Foreign(pk=1), until=NOON + timedelta(minutes=1))

    assert [(one.process, one.user, one.socket) for one in seen] == [("q", "7", 1), ("p", "7", 3)]
    assert [one.socket for one in ledger.what_was_shown_to(User(pk=8))] == []
    assert other.number != shown.number


PEOPLE = ["", "1", "2", "12"]
KEYS = ["", "1", "2"]
LABELS = ["lab.Foreign", "lab.ForeignChild", "lab.Page"]
FIELDS = ["id", "name", "salary"]


@st.composite
def events(draw):
    """Some entries of two processes, in any order, and corrections of some of those that show something."""
    entries = []
    for number in range(draw(st.integers(0, 12))):
        sockets = draw(st.lists(st.integers(1, 9), unique=True, min_size=1, max_size=4))
        entries.append(
            made(
                draw(st.sampled_from(["shown", "shown", "refused", "admitted", "taken"])),
                minute=draw(st.integers(0, 5)),
                process=draw(st.sampled_from(["p", "q"])),
                number=number,
                users=tuple(draw(st.sampled_from(PEOPLE)) for _ in sockets),
                sockets=tuple(sockets),
                model=draw(st.sampled_from(LABELS)),
                key=draw(st.sampled_from(KEYS)),
                fields=tuple(draw(st.lists(st.sampled_from(FIELDS), unique=True))),
            )
        )
    for number, entry in enumerate([entry for entry in entries if entry.kind == "shown" and draw(st.booleans())], 100):
        places = draw(st.lists(st.sampled_from(range(len(entry.users))), unique=True, min_size=1))
        entries.append(
            made(
                "withheld",
                minute=draw(st.integers(0, 9)),
                process=entry.process,
                number=number,
                of=entry.number,
                users=tuple(entry.users[place] for place in places),
                sockets=tuple(entry.sockets[place] for place in places),
            )
        )
    return entries


def told(entries, kind, *, user=None, about=None, field=None, since=None, until=None):
    """What the entries say, looked at one by one."""
    back = {(one.process, one.of, socket) for one in entries if one.kind == "withheld" for socket in one.sockets}
    return sorted(
        (entry.number, entry.process, viewer, socket)
        for entry in entries
        if entry.kind == kind
        and (about is None or (entry.model, entry.key) in about)
        and (field is None or field in entry.fields)
        and (since is None or entry.at >= since)
        and (until is None or entry.at < until)
        for viewer, socket in zip(entry.users, entry.sockets, strict=True)
        if (user is None or viewer == user) and (kind != "shown" or (entry.process, entry.number, socket) not in back)
    )


MOMENTS = st.none() | st.integers(0, 5).map(lambda minute: NOON + timedelta(minutes=minute))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=events(), since=MOMENTS, until=MOMENTS, chunk=st.sampled_from([1, 2, 3, 250]), data=st.data())
def test_every_answer_is_what_the_entries_say_looked_at_one_by_one(monkeypatch, entries, since, until, chunk, data):
    monkeypatch.setattr(ledger, "CHUNK", chunk)
    monkeypatch.setattr(ledger, "check", lambda *_: None)
    LedgerEntry.objects.all()._raw_delete("default")
    kept(*entries)
    user = data.draw(st.sampled_from(PEOPLE))
    person = User(pk=int(user)) if user else AnonymousUser()
    key = data.draw(st.sampled_from(KEYS[1:]))
    field = data.draw(st.none() | st.sampled_from(FIELDS))
    instance = data.draw(st.sampled_from([Foreign, ForeignChild, Page]))(pk=int(key))
    family = LABELS[2:] if isinstance(instance, Page) else LABELS[:2]
    about = {(label, key) for label in family}
    within = {"since": since, "until": until}
    at = {(entry.process, entry.number): entry.at for entry in entries}

    for answer, expected in [
        (ledger.who_saw(instance, field, **within), told(entries, "shown", about=about, field=field, **within)),
        (ledger.what_was_shown_to(person, **within), told(entries, "shown", user=user, **within)),
        (ledger.refusals(**within), told(entries, "refused", **within)),
        (ledger.refusals(person, **within), told(entries, "refused", user=user, **within)),
        (ledger.refusals(None, instance, **within), told(entries, "refused", about=about, **within)),
        (ledger.refusals(person, instance, **within), told(entries, "refused", user=user, about=about, **within)),
    ]:
        found = list(answer)
        assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)
        # The number of an entry is not in an answer: here, its time and the rest tell which it was.
        assert sorted((one.at, one.process, one.user, one.socket) for one in found) == sorted(
            (at[process, number], process, viewer, socket) for number, process, viewer, socket in expected
        )


def test_an_answer_is_read_while_it_is_gone_through(monkeypatch):
    monkeypatch.setattr(ledger, "CHUNK", 2)
    kept(*(made(minute=minute, users=("7",), **FACTS) for minute in range(7)))

    with CaptureQueriesContext(connection) as asked:
        answer = ledger.who_saw(Foreign(pk=1))
        before = len(asked)
        assert numbers(islice(answer, 2)) == [(6, "7"), (5, "7")]
        first = len(asked)
        kept(made(minute=99, users=("8",), **FACTS))
        rest = numbers(answer)

    assert (before, first) == (0, 2)  # the entries, and what corrects them
    assert rest == [(minute, "7") for minute in (4, 3, 2, 1, 0)]


# What is no question


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda: ledger.who_saw(Unpublished(pk=1)), LookupError, "lab.Unpublished is not published"),
        (lambda: ledger.who_saw(Page()), ValueError, "never saved"),
        (lambda: ledger.who_saw("lab.Page"), TypeError, "takes a model instance, not str"),
        (lambda: ledger.who_saw(Foreign(pk=1), "salary"), ValueError, "lab.ForeignProxy has a field 'salary'"),
        (lambda: ledger.who_saw(Page(pk=1), since=datetime(2026, 3, 1)), ValueError, "since=… .* time zone"),
        (lambda: ledger.who_saw(Page(pk=1), until=date(2026, 3, 1)), TypeError, "until=… takes a datetime, not date"),
        (lambda: ledger.what_was_shown_to("amira"), TypeError, "takes a User or an AnonymousUser, not str"),
        (lambda: ledger.what_was_shown_to(User()), ValueError, "never saved"),
        (lambda: ledger.what_was_shown_to(User(pk=1), since="today"), TypeError, "not str"),
        (lambda: ledger.refusals("amira"), TypeError, "not str"),
        (lambda: ledger.refusals(instance=Page), TypeError, "model instance"),
    ],
)
def test_what_is_wrong_in_a_question_is_raised_at_once(ask, error, words):
    with pytest.raises(error, match=words):
        ask()


def test_a_field_that_no_serializer_has_any_more_is_asked_about_where_it_is_on_record():
    kept(made(users=("7",), **{**FACTS, "fields": ("id", "salary")}))

    assert numbers(ledger.who_saw(Foreign(pk=1), "salary")) == [(0, "7")]
    assert numbers(ledger.who_saw(Foreign(pk=1), "name")) == []


class Bare(BaseSerializer):
    pass


class Difficult(PageSerializer):
    @property
    def fields(self):
        raise RuntimeError("not without a request")


@pytest.mark.parametrize("serializer", [lambda viewer, page: PageSerializer, Bare, Difficult])
def test_a_field_is_asked_about_where_it_is_not_known_which_there_are(republish, serializer):
    republish(Page, serializer, to=anyone)

    assert list(ledger.who_saw(Page(pk=1), "anything")) == []


# How fast


@pytest.fixture
def many():
    fill(120_000)


def plans_of(ask):
    with CaptureQueriesContext(connection) as asked:
        ask()
    queries = [query["sql"] for query in asked if query["sql"].startswith("SELECT")]
    assert queries
    return [plan(sql) for sql in queries]


def test_no_question_about_an_object_reads_the_whole_table(many):
    for card in (FIRST, FIRST + 3, FIRST + CARDS // 2, FIRST - 1):
        week = NOON + timedelta(days=7)
        for ask in (
            lambda: list(ledger.who_saw(Card(pk=card))),  # noqa: B023
            lambda: list(ledger.who_saw(Card(pk=card), "salary", NOON, week)),  # noqa: B023
            lambda: list(ledger.refusals(instance=Card(pk=card))),  # noqa: B023
        ):
            for lines in plans_of(ask):
                assert not scans(lines), lines


def test_on_postgresql_nor_does_one_about_a_user(many):
    """SQLite has no index of what is in a list: it walks back through time, as far as it has to."""
    for user in (FIRST, FIRST + 3, FIRST + 10_000, FIRST - 1):
        for ask in (
            lambda: list(ledger.what_was_shown_to(User(pk=user))),  # noqa: B023
            lambda: list(ledger.what_was_shown_to(User(pk=user), since=NOON)),  # noqa: B023
            lambda: list(ledger.refusals(User(pk=user))),  # noqa: B023
            lambda: list(islice(ledger.refusals(), 10)),
        ):
            for lines in plans_of(ask):
                assert not scans(lines), lines


def test_the_names_in_answers_are_those_of_entries():
    columns = {field.name for field in LedgerEntry._meta.fields} | {"user", "socket"}
    assert {field.name for field in (*fields(Showing), *fields(Refusal))} <= columns


def test_a_field_within_a_list_is_asked_about(republish):
    republish(Page, shapes.Nested, to=anyone)
    page = Page.objects.create()

    assert list(ledger.who_saw(page, field="editors.email")) == []
    with pytest.raises(ValueError, match="No serializer"):
        ledger.who_saw(page, field="editors.no")
