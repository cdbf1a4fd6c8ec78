"""Texts: an explanation is read at a glance, and nothing in it commands the terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from livegate.gateway.audit.changes import Change
from livegate.gateway.audit.explanation import Explanation
from livegate.gateway.audit.findings import Findings, GuardedField, Shown, Subscribed
from livegate.gateway.audit.register import Process
from livegate.gateway.audit.texts import written
from livegate.gateway.audit.trees import Tree

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Process("9f2c", "web-1", 17, NOW)
UNPUBLISHED = Findings("board.Card", "7sd8f", "1", "amira", "en-us", "UTC")
TREE = Tree(
    "a & (b | ~c)",
    "unknown",
    "KeyError",
    joined="all",
    parts=(
        Tree("a", "yes"),
        Tree("b | ~c", "unknown", "KeyError", True, "any", (Tree("b", "no"), Tree("~c", "unknown", "KeyError"))),
    ),
)
SEEN = replace(
    UNPUBLISHED,
    is_published=True,
    decision="yes",
    basis="anyone: yes",
    tree=Tree("anyone", "yes"),
    guarded=(
        GuardedField("salary", False, Tree("never", "no", is_needed=False)),
        GuardedField("owner.email", True, "is_self"),
    ),
    serializer="board.serializers.CardSerializer",
    fields=("id", "owner", "owner.email"),
    etag="e7",
    processes=(HERE,),
    subscriptions=(
        Subscribed("9f2c:1", "web-1", 17, True, NOW, NOW, "e7", True),
        Subscribed("9f2c:2", "web-1", 17, True, None, None, None, False),
        Subscribed("9f2c:3", "web-1", 17, False, None, None, None, False),
    ),
    last_shown=Shown(NOW, "e7", ("id", "owner"), "change"),
    shares_with=("ben", ""),
    changes=(
        Change(NOW, "told", host="web-1", pid=17),
        Change(NOW, "unwatched", ("salary", "title"), ("notes",), "web-1", 17),
        Change(NOW, "unwatched", ("title",), (), "web-2", 18),
    ),
    reasons=("unchanged",),
)


def test_what_is_seen_is_written_line_by_line():
    assert written(SEEN, is_colored=False) == (
        """\
board.Card 7sd8f for amira, in en-us and UTC

Published     ✓ yes
May see it    ✓ yes
  ✓ anyone: yes
Serializer    board.serializers.CardSerializer
Fields        id, owner, owner.email
ETag          e7
Made for      all with the same answers, language, time zone and host
Shared with   ben, (anonymous)
Guarded field salary, not shown
  ✗ never: no, not needed
Guarded field owner.email, shown
  is_self, asked of each that is nested

Asked         all processes with sockets; answers: 1
Subscription  socket 9f2c:1 (web-1, process 17) since 2026-03-01 12:00:00, holds e7, current
Subscription  socket 9f2c:2 (web-1, process 17), holds nothing, not current
Subscription  socket 9f2c:3 (web-1, process 17), to be decided
Last shown    2026-03-01 12:00:00, e7: id, owner

Change        2026-03-01 12:00:00 (web-1, process 17) told
Change        2026-03-01 12:00:00 (web-1, process 17) no watched field changed (written: notes; watched: salary, title)
Change        2026-03-01 12:00:00 (web-2, process 18) no watched field changed (watched: title)
Nothing came? The last view that was shown is the present one: of what this user sees, nothing changed.
"""
    )


def test_a_tree_has_lines():
    assert """\
  ? all of these: unknown (KeyError)
  ├─ ✓ a: yes
  └─ ? any of these: unknown (KeyError)
     ├─ ✗ b: no
     └─ ? ~c: unknown (KeyError)
""" in written(replace(SEEN, tree=replace(TREE)), is_colored=False)
    nested = Tree("~(a & b)", "no", joined="not", parts=(replace(TREE, answer="yes", error=""),))
    both = Tree("x | y", "no", joined="any", parts=(nested, Tree("y", "no")))
    assert "  ├─ ✗ not this: no\n  │  └─ ✓ all of these: yes\n  │     ├─ ✓ a: yes\n" in written(
        replace(SEEN, tree=both), is_colored=False
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"is_published": False}, "Published     ✗ no, nothing of it is pushed\n"),
        (
            {"is_published": False, "is_published_twice": True},
            "Published     ✗ no, it is published twice, and so not at all\n",
        ),
        ({"user": "", "name": ""}, "board.Card 7sd8f for who is not logged in, in en-us and UTC\n"),
        ({"name": ""}, "board.Card 7sd8f for 1, in en-us and UTC\n"),
        ({"tree": None, "decision": "no", "basis": "not there"}, "May see it    ✗ no, not there\n"),
        ({"tree": None, "decision": "undecided", "basis": ""}, "May see it    ? undecided\n"),
        (
            {"decision": "no", "basis": "anyone: yes; failed (ValueError)"},
            "May see it    ✗ no, though allowed: making the view failed (ValueError)\n",
        ),
        ({"agrees": False}, "it answers now so and now so.\n"),
        ({"personal": "request.user was read"}, "Made for      this user alone: request.user was read\n"),
        ({"serializer": ""}, "  ✓ anyone: yes\nFields "),
        ({"processes": None}, "Asked         in this process only\n"),
        ({"processes": None, "subscriptions": None}, "Subscriptions unknown: this process has no sockets\n"),
        (
            {"processes": (), "unanswered": (HERE,), "subscriptions": None},
            "Asked         all processes with sockets; answers: 0\n"
            "No answer     from 9f2c (web-1, process 17): what it has is missing here\n"
            "Subscriptions unknown: no process answers\n",
        ),
        ({"subscriptions": ()}, "Subscriptions none\n"),
        ({"changes": ()}, "Changes       none is known\n"),
        ({"hashid": "\033[2J", "name": "a\nb"}, "board.Card �[2J for a�b, in"),
    ],
    ids=str,
)
def test_each_finding_has_words(change, line):
    assert line in written(replace(SEEN, **change), is_colored=False)


def test_however_many_have_heard_of_it_what_was_made_is_told():
    made = [Change(NOW + timedelta(seconds=second), "told", host="web-1") for second in range(9)]
    heard = [Change(NOW + timedelta(minutes=1), "heard", host=f"web-{number}") for number in range(9)]

    text = written(replace(SEEN, changes=(*made, *heard)), is_colored=False)

    lines = [line for line in text.splitlines() if line.startswith("Change")]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["told"] * 5 + ["heard"] * 5
    assert "12:00:08 (web-1" in lines[4]
    assert "(web-8" in lines[-1]


def test_what_is_not_shown_has_no_fields():
    text = written(replace(SEEN, decision="no", shares_with=()), is_colored=False)

    assert "Fields" not in text
    assert "Made for" not in text


def test_it_is_colored_only_if_told_so():
    told = Explanation(**vars(SEEN))

    assert "\033" not in told.as_text()
    assert "\033[32m✓\033[0m yes" in told.as_text(is_colored=True)
    assert told.as_text() == written(SEEN, is_colored=False)
