"""``manage.py livegate_subscriptions`` lists who is subscribed now, and closes what it finds where it is told to."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from registers import FAR, answered, opened, watched

from livegate.gateway.audit.management.commands import livegate_subscriptions

pytestmark = pytest.mark.django_db


class Answers(list):
    """What the next roll calls find, the last of them again and again; and what was closed."""


@pytest.fixture
def answers(monkeypatch):
    found = Answers()
    found.closed = []

    def note(part):
        found.closed += part.sockets
        return len(part.sockets)

    monkeypatch.setattr(livegate_subscriptions, "roll_call", lambda timeout: found.pop(0) if found[1:] else found[0])
    monkeypatch.setattr(livegate_subscriptions, "close", note)
    return found


def say(*words):
    out = StringIO()
    call_command("livegate_subscriptions", *words, stdout=out)
    return out.getvalue()


def test_it_is_a_table_with_ages(demo, answers):
    answers.append(answered(watched(opened(1, demo.amira), "7sd8f"), opened(2)))

    table = [" ".join(line.split()) for line in say().splitlines()]

    assert table == [
        "user model id since verified basis socket host pid",
        "(anonymous) 0123456789abcdef:2 web-1 17",
        "amira board.Card 7sd8f 5 min 7 s is_owner=yes 0123456789abcdef:1 web-1 17",
        "1 subscriptions, 2 sockets.",
    ]
    assert answers.closed == []


def test_what_would_be_obeyed_by_a_terminal_is_not_written(demo, answers):
    answers.append(answered(watched(opened(1), "\x1b[2J")))

    assert "\x1b" not in say()


def test_it_says_who_did_not_answer(demo, answers):
    answers.append(answered(unanswered=(FAR,)))

    said = say().splitlines()[-1]

    assert said == "No answer came from fedcba9876543210 (web-2, process 18): its sockets are missing here."


def test_for_programs_it_is_json(demo, answers):
    answers.append(answered(watched(opened(1, demo.amira), demo.card.hashid, verified=None), unanswered=(FAR,)))

    told = json.loads(say("--json"))

    [row] = told["subscriptions"]
    assert (row["name"], row["model"], row["key"], row["verified"]) == ("amira", "board.Card", str(demo.card.pk), None)
    assert row["since"].endswith("+00:00")
    assert [one["identity"] for one in told["processes"]] == ["0123456789abcdef"]
    assert [one["host"] for one in told["unanswered"]] == ["web-2"]
    assert "closed" not in told


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        (["--user", "amira"], [1]),
        (["--user", "(anonymous)"], [3]),
        (["--object", "board.Card:{card}"], [1, 2]),
        (["--tenant", "board.Organization:{southgate}"], [2]),
        (["--socket", "0123456789abcdef:3"], [3]),
    ],
)
def test_it_lists_and_closes_what_was_chosen(demo, answers, choice, numbers):
    sockets = [opened(1, demo.amira), opened(2, demo.dev), opened(3)]
    answers += [answered(*(watched(one, demo.card.hashid) for one in sockets[:2]), sockets[2]), answered()]
    southgate = demo.dev.memberships.get().organization_id
    words = [one.format(card=demo.card.hashid, southgate=southgate) for one in choice]

    said = say(*words, "--close").splitlines()[-1]

    assert [one.number for one in answers.closed] == numbers
    assert said == f"Closed {len(numbers)} of {len(numbers)} sockets."


def test_what_is_there_still_or_where_nobody_answers_is_not_said_to_be_closed(demo, answers):
    first, second = opened(1, demo.amira), opened(2, demo.amira)
    answers += [answered(first, second), answered(first)]

    assert json.loads(say("--json", "--close")).items() >= {("closed", 1), ("open_still", 1)}

    silent = answered(unanswered=(first.process,))
    answers[:] = [answered(first, second), silent]
    assert say("--close").splitlines()[-1] == "Closed 0 of 2 sockets."


def test_where_nothing_was_found_nothing_is_closed(demo, answers):
    answers.append(answered())

    assert say("--close").splitlines()[-1] == "Closed 0 of 0 sockets."


@pytest.mark.parametrize("words", [["--user", "zoe"], ["--tenant", "board.Board:1"], ["--object", "board.Card:!"]])
def test_what_names_nothing_is_an_error(demo, answers, words):
    answers.append(answered())

    with pytest.raises(CommandError):
        say(*words)
