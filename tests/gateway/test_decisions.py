"""Decisions: what is asked, and what is answered."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from livegate.gateway.decisions import Pair, View
from livegate.gateway.publications import find


def test_each_pair_is_a_question_of_its_own(viewer):
    one, other = (Pair(viewer(), find("board.Card"), "7sd8f") for _ in range(2))

    assert one != other
    assert len({one, other, one}) == 2
    with pytest.raises(FrozenInstanceError):
        one.hashid = "other"


def test_views_are_the_same_when_their_bytes_are_whether_the_frame_was_written_or_not():
    view = View(b"{}", "e7")

    assert view == View(b"{}", "e7", frame="{}")
    assert view != View(b"{}", "e8")
    assert view != View(b"[]", "e7")
    assert view is not None
