"""Changes: what a trail has goes through JSON as it is."""

from __future__ import annotations

import json

import pytest

from livegate.gateway.audit.changes import Change, row_of
from livegate.gateway.trail import Step


@pytest.mark.parametrize(
    "step",
    [
        Step("board.Card", "7sd8f", "unwatched", watched=("salary", "title"), written=("notes",)),
        Step("board.Card", "7sd8f", "told"),
    ],
)
def test_a_step_of_a_trail_is_a_change_on_the_other_side(step):
    row = json.loads(json.dumps(row_of(step)))

    assert Change.of_row(row, "web-1", 17) == Change(step.at, step.fate, step.watched, step.written, "web-1", 17)


def test_of_what_was_undone_it_is_told_so():
    teller = lambda: None  # noqa: E731
    step = Step("board.Card", "7sd8f", "waiting", _teller=lambda: teller)
    assert row_of(step)[1] == "waiting"

    step._teller = lambda: None

    assert row_of(step)[1] == "rolled back"
