"""Trees: every answer of a permission about one viewer, by the code that decides."""

from __future__ import annotations

import operator
from random import Random

import pytest
from board.models import Card
from django.db import connection, transaction
from guardian.shortcuts import assign_perm
from lab.models import Page
from lab.serializers import plain

from livegate.gateway.audit.trees import Tree, Witness, databases_of
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.publications import find
from livegate.gateway.snapshots import snapshot
from livegate.permissions import Permission, anyone, has_perm, is_owner, is_self, permission

sees, owns = has_perm("view_card"), is_owner("owner")
SEES, OWNS = 'has_perm("view_card")', 'is_owner("owner")'


@permission
def fails(viewer, instance):
    raise ValueError(f"salary {instance.salary}")


@permission
def exits(viewer, instance):
    raise SystemExit


class OneByOne(Permission):
    """Which all together can't be asked."""

    def __init__(self, answer):
        self.answer = answer

    def __repr__(self):
        return "one_by_one"

    def among(self, viewers, inquiry):
        raise KeyError

    def allows(self, viewer, instance):
        if isinstance(self.answer, type):
            raise self.answer
        return self.answer


@pytest.fixture
def tree(demo, viewer, republish):
    assign_perm("view_card", demo.cleo, demo.card)

    def ask(asked, user=None, **facts):
        publication = republish(Card, plain(Card, "title"), to=asked)
        pair = Pair(viewer(user, **facts), publication, demo.card.hashid)
        with snapshot(databases_of(publication)):
            told = Witness(pair).tree(asked)
        assert (told.answer == "yes") is (evaluate([pair])[pair] is not None)
        return told

    return ask


def leaf(written, answer, error="", is_needed=True):
    return Tree(written, answer, error, is_needed)


def test_what_a_decision_did_without_is_asked_too(demo, tree):
    assert tree(sees | owns, demo.cleo) == Tree(
        f"{SEES} | {OWNS}", "yes", "", True, "any", (leaf(SEES, "yes"), leaf(OWNS, "no", is_needed=False))
    )
    assert tree(sees & owns, demo.dev).parts == (leaf(SEES, "no"), leaf(OWNS, "no", is_needed=False))
    assert tree(~sees, demo.dev) == Tree(f"~{SEES}", "yes", "", True, "not", (leaf(SEES, "no"),))


def test_what_is_combined_alike_is_one_branch(demo, tree):
    told = tree(sees | (owns | is_self) | anyone & sees, demo.dev)

    assert [part.permission for part in told.parts] == [SEES, OWNS, "is_self", f"anyone & {SEES}"]
    assert told.parts[-1].joined == "all"


def test_below_what_was_not_needed_nothing_was(demo, tree):
    told = tree(sees | ~(owns & anyone), demo.cleo)

    [_, not_needed] = told.parts
    assert not not_needed.is_needed
    assert not not_needed.parts[0].is_needed
    assert {part.is_needed for part in not_needed.parts[0].parts} == {False}
    assert (not_needed.answer, not_needed.parts[0].answer) == ("yes", "no")


@pytest.mark.parametrize(
    ("asked", "answer", "error"),
    [
        (fails, "unknown", "ValueError"),
        (~fails, "unknown", "ValueError"),
        (fails | anyone, "unknown", "ValueError"),
        (anyone | fails, "yes", ""),
        (exits & anyone, "unknown", "SystemExit"),
        (OneByOne(True), "yes", ""),
        (OneByOne(False) | sees, "yes", ""),
        (OneByOne(ValueError) | sees, "unknown", "ValueError"),
        (OneByOne(SystemExit) | sees, "unknown", "SystemExit"),
    ],
    ids=lambda value: str(value),
)
def test_an_error_is_unknown_and_told_by_its_class(demo, tree, asked, answer, error):
    told = tree(asked, demo.cleo)

    assert (told.answer, told.error) == (answer, error)
    assert "84000" not in repr(told)


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_is_refused_spoils_no_other_answer(demo, tree):
    @permission
    def refused(viewer, card):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column")

    @permission
    def swallowed(viewer, card):
        try:
            refused.answer(viewer, card)
        except Exception:
            return False

    told = tree(refused | sees, demo.cleo)
    assert told.parts[0].error in ("OperationalError", "ProgrammingError")
    assert told.parts[1] == leaf(SEES, "yes", is_needed=False)
    assert tree(sees | swallowed, demo.cleo).parts[0].answer == "yes"


def test_a_time_zone_that_there_is_not_is_an_error(demo, tree):
    assert tree(OneByOne(True) & owns, demo.amira, time_zone="No/Where").error == "ZoneInfoNotFoundError"


def test_any_permission_is_told_as_it_is_decided(demo, tree):
    random = Random(6)
    for _ in range(60):
        asked = random.choice([sees, owns, anyone, is_self, fails])
        for _ in range(random.randrange(5)):
            combine = random.choice([operator.and_, operator.or_])
            asked = combine(*random.sample([asked, random.choice([sees, owns, anyone, fails])], 2))
            asked = ~asked if random.random() < 0.3 else asked
        tree(asked, random.choice([demo.amira, demo.cleo, demo.dev, None]))


def test_there_has_to_be_somebody_and_something_to_ask_about(demo, viewer):
    publication = find("board.Card")
    hashid = demo.card.hashid
    gone = viewer(demo.dev)
    demo.dev.delete()

    assert Witness(Pair(viewer(), publication, hashid)).can_tell
    assert not Witness(Pair(gone, publication, hashid)).can_tell
    assert not Witness(Pair(viewer(), publication, "?")).can_tell


@pytest.mark.parametrize("is_wrong", [False, True])
def test_the_serializer_is_chosen_and_where_that_fails_there_is_none(demo, viewer, republish, is_wrong):
    chosen = plain(Page, "text")
    page = Page.objects.create()
    publication = republish(Page, lambda viewer, page: 1 / 0 if is_wrong else chosen, to=anyone)

    with transaction.atomic():
        witness = Witness(Pair(viewer(), publication, page.hashid))
        assert witness.serializer() is (None if is_wrong else chosen)


def test_no_instance_to_call_the_chooser_with_is_no_serializer(demo, viewer, republish, monkeypatch):
    publication = republish(Page, lambda viewer, page: plain(Page, "text"), to=anyone)
    witness = Witness(Pair(viewer(), publication, Page.objects.create().hashid))
    monkeypatch.setattr("livegate.permissions.inquiries.own_copy", None)

    assert witness.serializer() is None


def test_why_a_view_is_personal_is_told(demo, viewer, republish, monkeypatch):
    class Reads(plain(Page, "text")):
        def to_representation(self, instance):
            return {"text": str(self.context["request"].user)}

    page = Page.objects.create()
    publication = republish(Page, Reads, to=anyone)
    witness = Witness(Pair(viewer(), publication, page.hashid))

    assert witness.personal(Reads).startswith("request.user was read, in to_representation at ")
    assert witness.personal(plain(Page, "text")) == ""
    monkeypatch.setattr("livegate.gateway.audit.trees.Representation", None)
    assert witness.personal(Reads) == "it can't be made for several together"
