"""The register as rows: one for each subscription, and one for each socket that has none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from registers import ago, answered, opened, watched

from livegate.gateway.audit.listings import age, rows_of


def test_each_subscription_has_a_row_and_each_socket_without_one(demo):
    gone = get_user_model()(pk=77_777)
    amira, nobody, other = opened(1, demo.amira, is_behind=True), opened(2), opened(3, gone)

    rows = rows_of(answered(watched(amira, "b"), watched(amira, "a"), nobody, other))

    assert [(row.name, row.user, row.socket, row.model, row.hashid) for row in rows] == [
        ("(anonymous)", "", "0123456789abcdef:2", "", ""),
        ("(gone: 77777)", "77777", "0123456789abcdef:3", "", ""),
        ("amira", str(demo.amira.pk), "0123456789abcdef:1", "board.Card", "a"),
        ("amira", str(demo.amira.pk), "0123456789abcdef:1", "board.Card", "b"),
    ]
    assert (rows[2].host, rows[2].pid, rows[2].basis, rows[2].is_behind) == ("web-1", 17, "is_owner=yes", True)


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        ({"seconds": -5}, "0 s"),
        ({"seconds": 7}, "7 s"),
        ({"seconds": 119}, "119 s"),
        ({"minutes": 3}, "3 min"),
        ({"minutes": 119}, "119 min"),
        ({"hours": 2}, "2 h"),
        ({"days": 2}, "2 d"),
    ],
)
def test_how_long_ago_something_was_is_said_briefly(passed, said):
    assert age(ago(**passed) - timedelta(milliseconds=200)) == said


def test_when_it_is_not_known_it_says_so():
    assert age(None) == "-"
