"""Findings: what an explanation tells, as JSON has it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from livegate.gateway.audit.changes import Change
from livegate.gateway.audit.findings import REASONS, Findings, GuardedField, Reason
from livegate.gateway.audit.register import Process
from livegate.gateway.audit.trees import Tree

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTHING = Findings("board.Card", "7sd8f", "1", "amira", "en-us", "UTC")


def test_every_reason_has_a_sentence():
    assert set(REASONS) == set(get_args(Reason))


def test_findings_are_plain_json():
    tree = Tree("~anyone", "no", "", True, "not", (Tree("anyone", "yes"),))
    changes = (Change(NOW, "told", host="web-1", pid=17),)
    silent = (Process("9f2c", "web-2", 18, NOW),)
    guarded = (GuardedField("a.b", False, "anyone"),)
    told = replace(NOTHING, tree=tree, guarded=guarded, changes=changes, unanswered=silent)

    plain = told.as_dict()

    assert json.loads(json.dumps(plain)) == plain
    at = "2026-03-01T12:00:00+00:00"
    assert plain["changes"] == [{"at": at, "fate": "told", "watched": [], "written": [], "host": "web-1", "pid": 17}]
    assert plain["unanswered"] == [{"identity": "9f2c", "host": "web-2", "pid": 18, "since": at}]
    assert plain["processes"] is None
    assert plain["tree"]["parts"][0]["permission"] == "anyone"
    assert plain["guarded"] == [{"name": "a.b", "is_shown": False, "guard": "anyone"}]
    assert plain["subscriptions"] is None


def test_the_documentation_lists_all_reasons():
    page = (Path(__file__).parents[3] / "docs/audit.md").read_text()
    table = page.partition("| reason |")[2].partition("\n\n")[0]

    assert [row.split("`")[1] for row in table.splitlines()[2:]] == list(get_args(Reason))
