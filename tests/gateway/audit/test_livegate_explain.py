"""``manage.py livegate_explain``: an explanation at a terminal, and clear words for what was misspelt."""

from __future__ import annotations

import json
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest
from board.models import Card
from django.core.management import CommandError, call_command

from livegate.gateway.audit.explanation import explain
from livegate.gateway.audit.management.commands import livegate_explain


@pytest.fixture
def run():
    def told(*given, **options):
        out = StringIO()
        call_command("livegate_explain", *given, stdout=out, **options)
        return out.getvalue()

    return told


def test_an_explanation_is_printed_for_a_user_and_for_nobody(demo, run):
    hashid = demo.card.hashid

    assert run("--user", "cleo", "board.Card", hashid) == explain(demo.cleo, demo.card).as_text()
    assert run("--anonymous", "board.Card", hashid) == explain(None, demo.card).as_text()
    assert json.loads(run("--user", "cleo", "board.Card", hashid, "--json"))["decision"] == "yes"


@pytest.mark.parametrize(("given", "seconds"), [([], 5.0), (["--timeout", "0"], 0.0)])
def test_the_processes_are_waited_for_as_long_as_is_said(demo, run, monkeypatch, given, seconds):
    waits = []

    def noted(*about, timeout):
        waits.append(timeout)
        return explain(*about)

    monkeypatch.setattr(livegate_explain, "explain", noted)

    run("--user", "cleo", "board.Card", demo.card.hashid, *given)

    assert waits == [seconds]


def test_an_object_that_is_gone_is_explained(demo, run):
    hashid = demo.card.hashid
    demo.card.delete()

    assert "May see it    ✗ no, not there" in run("--user", "amira", "board.Card", hashid)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--user", "nobody", "board.Card", "HASHID"], "There is no user nobody."),
        (["--anonymous", "board.Crad", "HASHID"], "There is no model board.Crad. A label is written as board.Card."),
        (["--anonymous", "Card", "HASHID"], "There is no model Card. A label is written as board.Card."),
        (["--anonymous", "board.card", "HASHID"], "There is no model board.card; there is board.Card."),
        (["--anonymous", "board.Card", "?"], "? is not the id of any board.Card."),
        (["--anonymous", "lab.Slug", "HASHID"], "HASHID is not the id of any lab.Slug."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_misspelt_is_told(demo, run, given, sentence):
    hashid = Card(pk=demo.card.pk).hashid
    given = [hashid if one == "HASHID" else one for one in given]

    with pytest.raises(CommandError) as raised:
        run(*given)

    assert str(raised.value) == sentence.replace("HASHID", hashid)


def test_either_a_user_or_nobody_is_to_be_named(demo, run):
    with pytest.raises(CommandError, match="one of the arguments --user --anonymous is required"):
        run("board.Card", demo.card.hashid)


@pytest.mark.parametrize(("is_terminal", "no_color", "expected"), [(True, False, True), (True, True, False)])
def test_a_terminal_has_colors_unless_told_otherwise(demo, is_terminal, no_color, expected):
    text = call_in_terminal(demo, is_terminal, no_color=no_color)

    assert ("\033[3" in text) is expected


def call_in_terminal(demo, is_terminal, **options):
    class Terminal(StringIO):
        def isatty(self):
            return is_terminal

    out = Terminal()
    call_command("livegate_explain", "--anonymous", "board.Card", demo.card.hashid, stdout=out, **options)
    return out.getvalue()


def test_a_terminal_that_has_no_such_characters_gets_others(demo):
    raw = BytesIO()
    out = TextIOWrapper(raw, encoding="ascii", write_through=True)

    call_command("livegate_explain", "--anonymous", "board.Card", demo.card.hashid, stdout=out)

    assert b"May see it    ? yes" in raw.getvalue()


def test_the_documentation_shows_what_is_printed(demo, run):
    page = (Path(__file__).parents[3] / "docs/audit.md").read_text()
    [shown] = [block for block in page.split("```") if "manage.py livegate_explain --user dev" in block]
    asked, *lines = shown.strip("\n").split("\n")
    told = iter(run(*asked.split()[4:]).splitlines())

    for line in lines:
        assert line == "…" or line in told, line  # and goes on after it
