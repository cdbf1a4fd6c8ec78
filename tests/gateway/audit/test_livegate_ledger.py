"""``manage.py livegate_ledger``: the same answers, for people, spreadsheets and programs; and retention."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from io import StringIO

import pytest
from board.models import Card
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from ledgers import NOON, kept, made

from livegate.gateway.audit.management.commands import livegate_ledger
from livegate.gateway.audit.models import LedgerEntry
from livegate.serializers.hashids import encode

SHOWN = {"fields": ("id", "salary"), "basis": "is_owner=yes", "cause": "change", "etag": "e" * 32}


def say(*words, **options):
    out = StringIO()
    call_command("livegate_ledger", *words, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def hashid(demo):
    """Of a card that Amira was shown, an anonymous visitor, and somebody who is gone; and Cleo was refused it."""
    hashid = encode(Card, 17)
    card = {"model": "board.Card", "key": "17", "hashid": hashid}
    amira, cleo = str(demo.amira.pk), str(demo.cleo.pk)
    kept(
        made(users=(amira, "", "77777"), **card, **SHOWN),
        made(minute=5, users=(amira,), **card, **{**SHOWN, "fields": ("id",)}),
        made("refused", minute=6, users=(cleo,), basis="is_owner=no", cause="request", **card),
        made("refused", minute=7, users=(cleo,), model="board.Card", hashid="guessed"),
    )
    return hashid


def test_a_table_tells_people_who_saw_an_object(hashid):
    lines = say("who-saw", "board.Card", hashid).splitlines()

    assert lines[0].split() == ["at", "user", "model", "hashid", "fields", "basis", "cause"]
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["2026-03-01T12:05:00+00:00", "amira"],
        ["2026-03-01T12:00:00+00:00", "amira"],
        ["2026-03-01T12:00:00+00:00", "(anonymous)"],
        ["2026-03-01T12:00:00+00:00", "(gone:"],
    ]
    assert len({line.find("is_owner") for line in lines[1:-1]}) == 1
    assert lines[-1] == "4 found."


def test_an_array_tells_programs_all(hashid, demo):
    told = json.loads(say("who-saw", "board.Card", hashid, "--field", "salary", "--format", "json"))

    assert [one["user"] for one in told] == ["amira", None, None]
    assert [one["user_key"] for one in told[1:]] == ["", "77777"]
    assert told[0] == {
        "at": "2026-03-01T12:00:00+00:00",
        "user": "amira",
        "user_key": str(demo.amira.pk),
        "process": "p",
        "socket": 0,
        "model": "board.Card",
        "key": "17",
        "hashid": hashid,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in SHOWN.items()},
    }
    assert json.loads(say("shown-to", "dev", "--format", "json")) == []


def test_a_spreadsheet_gets_a_head_and_all_columns(hashid):
    rows = list(csv.DictReader(StringIO(say("shown-to", "amira", "--format", "csv"))))

    assert [row["fields"] for row in rows] == ["id", "id, salary"]
    assert list(rows[0])[-1] == "user_key"
    assert say("shown-to", "dev", "--format", "csv") == f"{','.join(rows[0])}\n"


@pytest.mark.parametrize(("words", "times"), [([], [7, 6]), (["cleo"], [7, 6]), (["amira"], []), (["--anonymous"], [])])
def test_refusals_are_told_of_everybody_or_of_one(hashid, words, times):
    told = json.loads(say("refusals", *words, "--format", "json"))

    assert [one["at"][14:16] for one in told] == [f"{minute:02}" for minute in times]
    assert len(json.loads(say("refusals", *words, "--object", "board.Card", hashid, "--format", "json"))) == bool(times)


@pytest.mark.parametrize(("words", "count"), [(["amira"], 2), (["--key", "77777"], 1), (["--anonymous"], 1)])
def test_whoever_it_was_is_named_by_name_by_key_or_as_nobody(hashid, words, count):
    assert len(json.loads(say("shown-to", *words, "--format", "json"))) == count


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--since", "2026-03-01"], 4),
        (["--since", "2026-03-01T12:05"], 1),
        (["--until", "2026-03-01T13:05+01:00"], 3),
        (["--until", "2026-03-01"], 0),
    ],
)
def test_times_are_written_with_an_offset_or_are_those_of_the_installation(hashid, words, count):
    assert len(json.loads(say("who-saw", "board.Card", hashid, *words, "--format", "json"))) == count


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["who-saw", "board.Nothing", "x"], "no model board.Nothing"),
        (["who-saw", "Card", "x"], "no model Card"),
        (["who-saw", "board.Card", "x"], "x is not the id of any board.Card"),
        (["who-saw", "lab.Slug", "x"], "x is not the id of any lab.Slug"),
        (["who-saw", "board.Board", "{board}"], "board.Board is not published"),
        (["who-saw", "board.Card", "{card}", "--field", "wages"], "has a field 'wages'"),
        (["who-saw", "board.Card", "{card}", "--since", "yesterday"], "--since"),
        (["who-saw", "board.Card", "{card}", "--since", "2026-13-01"], "--since"),
        (["shown-to", "nobody"], "no user nobody"),
        (["shown-to", "--key", "x"], "x is not the primary key of any user"),
        (["shown-to"], "required"),
        (["shown-to", "amira", "--anonymous"], "not allowed"),
        (["prune", "--before", "2999-01-01"], "not happened yet"),
        (["prune", "--days", "-1"], "not happened yet"),
        (["prune", "--days", "9999999999"], "--days"),
        (["prune"], "required"),
        ([], "required"),
    ],
)
def test_what_is_no_question_is_told(hashid, demo, words, told):
    there = {"card": hashid, "board": encode(type(demo.card.board), demo.card.board_id)}

    with pytest.raises(CommandError, match=told):
        say(*(word.format(**there) for word in words))

    assert LedgerEntry.objects.count() == 4


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_spreadsheet_is_a_formula(text):
    kept(made("refused", users=("77777",), model="board.Card", hashid=text, basis=text, cause=text))

    [row] = csv.DictReader(StringIO(say("refusals", "--format", "csv")))

    assert {row["hashid"][0], row["basis"][0], row["cause"][0]} <= {"'", "\N{REPLACEMENT CHARACTER}"}


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["table", "csv", "json"])
def test_nothing_that_a_client_sent_moves_the_terminal(way):
    kept(made("refused", users=("77777",), model="board.Card", hashid="\x1b[2J\u202e\nforged line"))

    told = say("refusals", "--format", way)

    assert all(line.isprintable() for line in told.splitlines())
    assert not any(line.startswith("forged") for line in told.splitlines())


@pytest.mark.django_db
def test_many_are_named_by_few_queries(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(livegate_ledger, "CHUNK", 10)
    kept(made("refused", users=tuple(str(number) for number in range(10_000, 10_025))))

    with django_assert_num_queries(1 + 3):
        assert say("refusals").endswith("25 found.\n")


@pytest.mark.django_db
def test_retention_says_how_many_it_removed():
    kept(made(), made(minute=1), made(minute=2))
    days = (timezone.now() - NOON).days + 1

    assert say("prune", "--days", str(days)).startswith("Removed 0 entries from before ")
    told = say("prune", "--before", (NOON + timedelta(minutes=2)).isoformat())

    assert told == "Removed 2 entries from before 2026-03-01T12:02:00+00:00.\n"
    assert LedgerEntry.objects.count() == 1
