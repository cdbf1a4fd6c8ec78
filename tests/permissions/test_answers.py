"""Answers: a decision is accounted for by what each part of the permission said about this viewer."""

from __future__ import annotations

import operator
from random import Random

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from guardian.shortcuts import assign_perm
from rest_framework.permissions import IsAdminUser

from livegate.permissions import Permission, anyone, drf, has_perm, is_authenticated, is_owner, is_self, permission
from livegate.permissions.answers import alike, ask_alone, basis
from livegate.permissions.inquiries import Inquiry
from livegate.permissions.rights import Rights
from livegate.permissions.rules import Rule
from livegate.permissions.viewers import refresh

pytestmark = pytest.mark.django_db
User = get_user_model()


@permission
def fails_for_ben(viewer, instance):
    if viewer.user.username == "ben":
        raise ValueError(f"salary {instance.salary}")
    return viewer.user.username != "cleo"


class Own(Permission):
    """It does not say how it is written; and asks another permission, which is its own business."""

    def allows(self, viewer, instance):
        return viewer.user.is_authenticated

    def among(self, viewers, inquiry):
        return inquiry.ask(is_authenticated & anyone, viewers)


class Unspeakable(Permission):
    def allows(self, viewer, instance):
        return True

    def __repr__(self):
        raise KeyError


owns, sees = is_owner("owner"), has_perm("view_card")
OWNS, SEES, FAILS = 'is_owner("owner")', 'has_perm("view_card")', "fails_for_ben"


@pytest.fixture
def crowd(demo, viewer):
    assign_perm("view_card", demo.cleo, demo.card)
    return {user.username: viewer(user) for user in (demo.amira, demo.ben, demo.cleo, demo.dev)} | {"": viewer()}


def ask(asked, instance, viewers):
    notes = []
    Inquiry(Rights(viewers), instance, notes).ask(asked, viewers)
    [note] = notes
    return note


def bases(asked, instance, viewers):
    """The basis for each, of what is asked of all together; which is that of what is asked about each alone."""
    note = ask(asked, instance, set(viewers))
    together = {viewer: basis(note, viewer) for viewer in viewers}
    for viewer, fresh in refresh(viewers).items():
        notes = []
        try:
            allowed = ask_alone(asked, fresh, Card.objects.get(pk=instance.pk), notes)
        except Exception:
            allowed = False
        assert [basis(one, viewer) for one in notes] == [together[viewer]]
        assert (viewer in note.allowed) is allowed is (viewer in notes[0].allowed)
    cells = alike([note], set(viewers))
    assert sorted(map(len, cells)) == sorted(map(list(together.values()).count, set(together.values())))
    assert all(len({together[viewer] for viewer in cell}) == 1 for cell in cells)
    return together


@pytest.mark.parametrize(
    ("asked", "who", "expected"),
    [
        (sees | owns, "amira", f"{SEES}: no | {OWNS}: yes"),
        (sees | owns, "cleo", f"{SEES}: yes | {OWNS}: not asked"),
        (sees & owns, "dev", f"{SEES}: no & {OWNS}: not asked"),
        (sees & owns, "cleo", f"{SEES}: yes & {OWNS}: no"),
        (~sees & owns, "amira", f"~({SEES}: no) & {OWNS}: yes"),
        (~(sees | owns), "dev", f"~({SEES}: no | {OWNS}: no)"),
        (~~sees, "cleo", f"~(~({SEES}: yes))"),
        (anyone & (sees | owns), "dev", f"anyone: yes & ({SEES}: no | {OWNS}: no)"),
        ((sees | owns) & anyone, "dev", f"({SEES}: no | {OWNS}: no) & anyone: not asked"),
        (sees | owns & is_self, "amira", f"{SEES}: no | {OWNS}: yes & is_self: no"),
        (sees | (owns | is_self), "dev", f"{SEES}: no | ({OWNS}: no | is_self: no)"),
        (sees & (owns & is_self), "dev", f"{SEES}: no & ({OWNS}: not asked & is_self: not asked)"),
        (fails_for_ben, "ben", f"{FAILS}: unknown (ValueError)"),
        (~fails_for_ben, "ben", f"~({FAILS}: unknown (ValueError))"),
        (fails_for_ben & owns | sees, "ben", f"{FAILS}: unknown (ValueError) & {OWNS}: not asked | {SEES}: not asked"),
        (owns | fails_for_ben, "ben", f"{OWNS}: no | {FAILS}: unknown (ValueError)"),
        (owns & (fails_for_ben | sees), "", f"{OWNS}: no & ({FAILS}: not asked | {SEES}: not asked)"),
        (Own() & owns, "dev", f"Own: yes & {OWNS}: no"),
        (Unspeakable() | owns, "dev", f"Unspeakable: yes | {OWNS}: not asked"),
        (drf(IsAdminUser) | anyone, "dev", "drf(IsAdminUser): no | anyone: yes"),
        (sees & sees, "cleo", f"{SEES}: yes & {SEES}: yes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_basis_is_the_printed_permission_with_each_answer(demo, crowd, asked, who, expected):
    told = bases(asked, demo.card, crowd.values())

    assert told[crowd[who]] == expected
    assert "84000" not in "".join(told.values())


def test_any_permission_has_for_all_together_the_basis_that_it_has_for_each_alone(demo, crowd):
    random = Random(6)
    leaves = [sees, owns, anyone, is_self, fails_for_ben, Own(), drf(IsAdminUser), is_owner("no_such_path")]
    for _ in range(120):
        asked = random.choice(leaves)
        for _ in range(random.randrange(6)):
            combine = random.choice([operator.and_, operator.or_])
            asked = combine(*random.sample([asked, random.choice(leaves)], 2))
            asked = ~asked if random.random() < 0.3 else asked
        bases(asked, demo.card, crowd.values())


def test_what_is_answered_is_the_same_with_notes_and_without(demo, crowd):
    viewers = set(crowd.values())

    for asked in (sees | owns, ~sees & owns, fails_for_ben | sees):
        inquiry = Inquiry(Rights(viewers), demo.card)
        assert inquiry.ask(asked, viewers) == ask(asked, demo.card, viewers).allowed
        assert inquiry.notes is None


def test_an_error_that_ends_the_inquiry_leaves_its_notes_in_order(demo, crowd):
    class Ends(Permission):
        def among(self, viewers, inquiry):
            raise ZeroDivisionError

    notes, viewers = [], set(crowd.values())
    inquiry = Inquiry(Rights(viewers), demo.card, notes)
    with pytest.raises(ZeroDivisionError):
        inquiry.ask(Ends() & owns, viewers)
    inquiry.ask(owns, viewers)

    assert [basis(note, crowd["amira"]) for note in notes] == [f"Ends: no & {OWNS}: not asked", f"{OWNS}: yes"]


def test_the_sets_that_were_asked_are_kept_and_not_copied(demo, crowd):
    viewers = frozenset(crowd.values())  # as an evaluation has them

    note = ask(anyone | owns, demo.card, viewers)

    assert note.asked is note.within[0].asked is note.within[0].allowed is note.allowed is viewers


def test_one_whose_repr_is_pythons_own_is_written_by_its_class():
    made = ask(Rule("by a rule", lambda viewer, instance: True), None, set())

    assert basis(made, None) == "by a rule: not asked"
