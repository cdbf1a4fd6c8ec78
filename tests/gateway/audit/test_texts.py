"""Texts: an explanation is read at a glance, and nothing in it commands the terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from livegate.gateway.audit.explanation import Explanation
from livegate.gateway.audit.findings import Change, Findings, GuardedField, Shown, Subscribed
from livegate.gateway.audit.texts import written
from livegate.gateway.audit.trees import Tree

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
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
    subscriptions=(
        Subscribed(1, True, NOW, NOW, "e7", True),
        Subscribed(2, True, None, None, None, False),
        Subscribed(3, False, None, None, None, False),
    ),
    last_shown=Shown(NOW, "e7", ("id", "owner"), "change"),
    shares_with=("ben", ""),
    changes=(
        Change(NOW, "told"),
        Change(NOW, "unwatched", ("salary", "title"), ("notes",)),
        Change(NOW, "unwatched", ("title",)),
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

Subscription  socket 1 since 2026-03-01 12:00:00, holds e7, current
Subscription  socket 2, holds nothing, not current
Subscription  socket 3, to be decided
Last shown    2026-03-01 12:00:00, e7: id, owner

Change        2026-03-01 12:00:00 told
Change        2026-03-01 12:00:00 no watched field changed (written: notes; watched: salary, title)
Change        2026-03-01 12:00:00 no watched field changed (watched: title)
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
        ({"subscriptions": None}, "Subscriptions unknown: this process has no sockets\n"),
        ({"subscriptions": ()}, "Subscriptions none in this process\n"),
        ({"changes": ()}, "Changes       none is known in this process\n"),
        ({"hashid": "\033[2J", "name": "a\nb"}, "board.Card �[2J for a�b, in"),
    ],
    ids=str,
)
def test_each_finding_has_words(change, line):
    assert line in written(replace(SEEN, **change), is_colored=False)


def test_what_is_not_shown_has_no_fields():
    text = written(replace(SEEN, decision="no", shares_with=()), is_colored=False)

    assert "Fields" not in text
    assert "Made for" not in text


def test_it_is_colored_only_if_told_so():
    told = Explanation(**vars(SEEN))

    assert "\033" not in told.as_text()
    assert "\033[32m✓\033[0m yes" in told.as_text(is_colored=True)
    assert told.as_text() == written(SEEN, is_colored=False)
