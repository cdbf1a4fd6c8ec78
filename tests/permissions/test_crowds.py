"""The crowd: who asks, whatever they may do."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import weakref
from dataclasses import replace

import pytest
from django.contrib.auth import get_user_model

from livegate.permissions.crowds import KNOWN, Crowd, common

User = get_user_model()


@pytest.fixture
def several(viewer):
    """Of three users one twice, in two languages; and two who are anonymous."""
    users = [User(pk=key, username=str(key)) for key in (1, 2, 3)]
    viewers = [viewer(user) for user in users]
    return [*viewers, replace(viewers[0], language="de"), viewer(), viewer(host="push.example")]


@pytest.mark.parametrize(
    ("some", "others", "which"),
    [
        ({1, 2}, {1, 2}, "some"),
        ({1}, {1, 2}, "some"),
        ({1, 2}, {1}, "others"),
        (set(), {1}, "some"),
        ({1}, set(), "others"),
        ({1, 2}, {2, 3}, "neither"),
        ({1}, {2}, "neither"),
        ({1, 2}, {1: "a", 2: "b", 3: "c"}.keys(), "some"),
    ],
)
def test_those_in_both_are_one_of_two_sets_where_it_has_no_others(some, others, which):
    found = common(some, others)

    assert found == some & others
    assert [found is some, found is others] == [which == "some", which == "others"]


def test_those_who_are_certain_users_are_found_by_their_keys(several):
    first, second, third, german, *anonymous = several
    crowd = Crowd(several)

    assert crowd.being([1]) == {first, german}
    assert crowd.being([2, 3, 77_777]) == {second, third}
    assert crowd.being([None]) == crowd.anonymous == set(anonymous)
    assert crowd.being([77_777]) == crowd.being([]) == set()
    assert crowd.known == {first, second, third, german}
    assert crowd.viewers == set(crowd) == set(several)
    assert crowd.user_keys == {1, 2, 3}
    assert (len(crowd), first in crowd, replace(first, language="fr") in crowd) == (6, True, False)


def test_many_users_are_found_by_their_keys_as_few_are(viewer):
    viewers = [viewer(User(pk=key)) for key in range(9)]
    crowd, dice = Crowd([*viewers, *viewers]), random.Random(3)

    for _ in range(50):
        some = dice.sample(viewers, dice.randrange(10))
        assert crowd.being([*(one.user.pk for one in some), 77_777]) == set(some)


@pytest.mark.parametrize(
    ("found", "positions"),
    [
        ((), []),
        (("[]",), []),
        (("[1]",), [0, 3]),
        (("{1,2}", "[2, 77]"), [0, 1, 3]),
        (((3, None), "[2]"), [1, 2, 4, 5]),
        (((77,),), []),
    ],
)
def test_those_are_among_what_was_found_whose_keys_were(several, found, positions):
    crowd = Crowd(several)

    for _ in range(2):
        assert crowd.among(found) == {several[position] for position in positions}


def test_who_has_an_account_is_there_and_who_needs_none(several):
    first, second, _, german, *anonymous = several
    crowd = Crowd(several)

    assert set(crowd.of_accounts(("[1]", "[2]"))) == {first, second, german, *anonymous}
    assert set(crowd.of_accounts(("[2,3,4,1]",)).keys) == set(several)
    assert set(crowd.of_accounts(())) == set(anonymous)
    assert set(Crowd(anonymous).of_accounts(())) == set(anonymous)


def test_where_all_are_there_it_is_the_same_crowd(several):
    crowd = Crowd(several[:4])

    assert crowd.of_accounts(("[1,2]", (3,))) is crowd


def test_those_who_are_alike_have_all_in_common_but_the_user(viewer):
    one, other = (viewer(User(pk=key)) for key in (1, 2))
    german = [replace(one, language="de"), replace(other, language="de")]
    alone = [replace(one, time_zone="Asia/Tokyo"), replace(one, scheme="https"), replace(one, host="push.example")]

    alike = Crowd([one, other, *german, *alone, viewer()]).alike

    assert sorted(alike, key=len, reverse=True)[:2] == [{one, other, viewer()}, set(german)]
    assert {frozenset(part) for part in alike if len(part) == 1} == {frozenset([one]) for one in alone}
    assert Crowd([one, other]).alike == ({one, other},)
    assert Crowd([]).alike == (frozenset(),)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda crowd: pickle.loads(pickle.dumps(crowd))])
def test_a_crowd_may_be_copied(several, way):
    crowd = Crowd(several)
    crowd.among(("[1]",))

    copied = way(crowd)

    assert copied.keys == crowd.keys
    assert copied.among(("[1]",)) == crowd.being([1])


def test_only_so_many_lists_are_known(several):
    crowd = Crowd(several)

    for number in range(10 * KNOWN):
        assert crowd.among((f"[{number}]",)) == crowd.being([number])
        assert len(crowd._meant) <= KNOWN


def test_nothing_but_who_asks_keeps_a_crowd():
    gc.collect()
    gc.disable()
    try:
        crowd = Crowd([])
        crowd.among(("[1]",))
        assert set(crowd.of_accounts(())) == set()
        gone = weakref.ref(crowd)
        del crowd
        assert gone() is None
    finally:
        gc.enable()


def test_nobody_can_change_who_is_in_a_crowd(several):
    crowd = Crowd(several)

    with pytest.raises(TypeError):
        crowd.keys[several[0]] = 77
    kept = [crowd.viewers, crowd.known, crowd.anonymous, crowd.user_keys, crowd.among(("[1]",)), *crowd.alike]
    assert {type(one) for one in kept} == {frozenset}


def test_nobody_is_a_crowd_too():
    crowd = Crowd([])

    assert crowd.being([1, None]) == crowd.among(("[1]",)) == crowd.viewers == set()
    assert set(crowd.of_accounts(("[1]",))) == set()
