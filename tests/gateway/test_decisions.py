"""Decisions: what is asked, and what is answered."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError
from json import loads

import pytest
from django.contrib.auth import get_user_model

from livegate.gateway.decisions import Asked, Pair, View, fields_of
from livegate.gateway.evaluation import evaluate
from livegate.gateway.publications import find
from livegate.gateway.solitude import decide_alone

User = get_user_model()


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


def test_what_viewers_are_shown_is_what_their_pairs_are(viewer):
    users = [User(pk=key) for key in range(6)]
    dice = random.Random(6)

    for size in range(7):
        viewers = [viewer(user) for user in users]
        asking = dice.choices(viewers, k=size)  # some of them several times
        pairs = [Pair(viewer(one.user), find("board.Card"), "7sd8f") for one in asking]
        shown = {one: View(b"{}", str(one.user.pk)) for one in dice.sample(viewers, 4)}  # also to some who do not ask

        decisions = Asked(pairs).each(shown)

        assert list(decisions.items()) == [(pair, shown.get(pair.viewer)) for pair in pairs]


@pytest.mark.parametrize("decide", [evaluate, lambda pairs: {pair: decide_alone(pair) for pair in pairs}])
@pytest.mark.django_db
def test_a_view_tells_the_names_of_the_fields_that_it_shows(demo, viewer, decide):
    pairs = [Pair(viewer(user), find("board.Card"), demo.card.hashid) for user in (demo.amira, demo.dev)]

    [of_amira, of_dev] = [fields_of(view) for view in decide(pairs).values()]

    top = tuple(loads(decide(pairs[1:])[pairs[1]].body))
    assert tuple(name for name in of_dev if "." not in name) == top
    assert set(of_amira) - set(of_dev) == {"board", "notes", "owner.email", "salary"}
    assert set(of_dev) - set(top) == {"owner.id", "owner.username"}
