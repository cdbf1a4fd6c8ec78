"""Grounds: of each decision it can be told afterwards on what it rests."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from guardian.shortcuts import assign_perm
from lab.models import Document, Page
from lab.serializers import plain

from livegate.gateway import evaluation, snapshots
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.grounds import Ground, Grounds
from livegate.gateway.publications import find
from livegate.gateway.solitude import decide_alone
from livegate.permissions import Permission as Question
from livegate.permissions import anyone, has_perm, inquiries, is_owner, permission
from livegate.serializers import PerUserSerializerMixin

pytestmark = pytest.mark.django_db
User = get_user_model()
SEES, OWNS = 'has_perm("view_card")', 'is_owner("owner")'


@pytest.fixture
def told(republish, viewer):
    """The bases of the decisions about an instance, for each of these users; they are those of each alone, and
    the same for all together."""

    def tell(instance, *users, hashid=None, same_alone=True):
        pairs = [Pair(viewer(user), find(instance._meta.label), hashid or instance.hashid) for user in users]
        grounds, alone = Grounds(), Grounds()
        decisions = evaluate(pairs, grounds)
        if same_alone:
            assert decisions == {pair: decide_alone(pair, alone) for pair in pairs}
            assert [grounds.basis(pair) for pair in pairs] == [alone.basis(pair) for pair in pairs]
        assert grounds.bases(pairs) == {pair: grounds.basis(pair) for pair in pairs}
        return [grounds.basis(pair) for pair in pairs]

    return tell


@pytest.fixture
def cards(republish):
    return republish(Card, plain(Card, "title"), to=has_perm("view_card") | is_owner("owner"))


def test_what_is_shown_and_what_is_refused_both_have_a_basis(demo, cards, told):
    assign_perm("view_card", demo.cleo, demo.card)

    assert told(demo.card, demo.amira, demo.cleo, demo.dev, demo.nobody, demo.dev) == [
        f"{SEES}: no | {OWNS}: yes",
        f"{SEES}: yes | {OWNS}: not asked",
        *[f"{SEES}: no | {OWNS}: no"] * 3,
    ]


def test_nothing_there_and_nobody_there_are_told_apart(demo, cards, told):
    gone = Card.objects.create(board=demo.card.board, owner=demo.amira)
    hashid = gone.hashid
    gone.delete()
    User.objects.filter(pk=demo.ben.pk).update(is_active=False)
    user = User.objects.get(pk=demo.dev.pk)
    demo.dev.delete()

    assert told(demo.card, demo.ben, user, demo.cleo)[:2] == ["no such user"] * 2
    for missing in (hashid, "?", Card(pk=2**62).hashid):
        assert told(demo.card, demo.amira, demo.ben, hashid=missing) == ["not there"] * 2


def test_what_is_not_in_the_publications_queryset_is_not_there(demo, republish, told):
    republish(Card, plain(Card, "title"), to=anyone, queryset=Card.objects.exclude(pk=demo.card.pk))

    assert told(demo.card, demo.amira) == ["not there"]


def test_who_is_allowed_and_sees_nothing_because_of_an_error_is_told_so(demo, republish, told):
    class Fails(plain(Card, "title")):
        def to_representation(self, instance):
            if self.context["request"].user == demo.cleo:
                raise ValueError(f"salary {instance.salary}")
            return super().to_representation(instance)

    @permission
    def fails(viewer, card):
        if viewer.user == demo.ben:
            raise KeyError(f"salary {card.salary}")
        return True

    republish(Card, Fails, to=fails)

    assert told(demo.card, demo.amira, demo.ben, demo.cleo, demo.cleo) == [
        "fails: yes",
        "fails: unknown (KeyError)",
        *["fails: yes; failed (ValueError)"] * 2,
    ]


def test_a_language_that_there_is_not_is_an_error_that_is_told(demo, cards, viewer):
    pair, grounds = Pair(viewer(demo.amira, time_zone="Nowhere/Never"), cards, demo.card.hashid), Grounds()

    assert decide_alone(pair, grounds) is None
    assert grounds.basis(pair) == "failed (ZoneInfoNotFoundError)"
    assert grounds.bases([pair]) == {pair: "failed (ZoneInfoNotFoundError)"}


def test_what_a_composed_guard_answered_is_no_part_of_the_basis(demo, republish, told):
    class Guarded(PerUserSerializerMixin, plain(Card, "title", "salary")):
        class Meta:
            model = Card
            fields = ["title", "salary"]
            guards = {"salary": has_perm("view_salary") | is_owner("owner")}

    republish(Card, Guarded, to=anyone)

    assert told(demo.card, demo.amira, demo.dev) == ["anyone: yes"] * 2


@pytest.mark.django_db(transaction=True)
def test_a_refused_statement_has_each_decided_alone_on_a_ground_of_its_own(demo, republish, told):
    @permission
    def asks(viewer, card):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column" if viewer.user == demo.cleo else "SELECT 1")
        return True

    republish(Card, plain(Card, "title"), to=is_owner("owner") | asks)

    [amira, cleo, dev] = told(demo.card, demo.amira, demo.cleo, demo.dev)
    assert amira == f"{OWNS}: yes | asks: not asked"
    assert cleo in (f"{OWNS}: no | asks: unknown ({error})" for error in ("OperationalError", "ProgrammingError"))
    assert dev == f"{OWNS}: no | asks: yes"


def test_what_can_not_be_asked_of_all_together_has_the_basis_of_each_alone(demo, republish, told):
    class AsksAll(Question):
        def among(self, viewers, inquiry):
            raise ValueError

        def allows(self, viewer, instance):
            return viewer.user == demo.amira

    User.objects.filter(pk=demo.dev.pk).update(is_active=False)
    republish(Card, plain(Card, "title"), to=AsksAll())

    assert told(demo.card, demo.amira, demo.ben, demo.dev) == ["AsksAll: yes", "AsksAll: no", "no such user"]


def test_after_a_mismatch_the_basis_is_that_of_the_decision_made_alone(demo, republish, told, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "CANARY_SHARE": 1}

    class Lies(Question):
        def among(self, viewers, inquiry):
            return viewers

        def allows(self, viewer, instance):
            return viewer.user == demo.amira

    republish(Card, plain(Card, "title"), to=Lies())

    assert told(demo.card, demo.amira, demo.ben) == ["Lies: yes", "Lies: no"]


@pytest.mark.parametrize("is_trusted", [True, False])
@pytest.mark.django_db(transaction=True)
def test_one_publication_that_can_not_be_read_takes_no_ground_from_another(
    demo, cards, viewer, republish, monkeypatch, is_trusted
):
    broken = republish(Page, plain(Page, "text"), to=anyone, queryset=Page.objects.extra(where=["no_such_column = 1"]))
    monkeypatch.setattr(evaluation, "is_trusted", lambda publication: is_trusted)
    card, page = Pair(viewer(demo.amira), cards, demo.card.hashid), Pair(viewer(), broken, Page(pk=1).hashid)
    grounds = Grounds()

    decisions = evaluate([card, page], grounds)

    assert list(decisions) == [card]
    assert grounds.basis(card) == f"{SEES}: no | {OWNS}: yes"
    with pytest.raises(KeyError):
        grounds.basis(page)


def test_what_is_left_undecided_has_no_basis(demo, viewer, republish):
    class NotYet(Question):
        def among(self, viewers, inquiry):
            raise ValueError

        def allows(self, viewer, instance):
            raise OperationalError

    publication = republish(Document, plain(Document, "text"), to=NotYet())
    pair, grounds = Pair(viewer(demo.ben), publication, Document.objects.create().hashid), Grounds()

    assert evaluate([pair], grounds) == {}
    with pytest.raises(KeyError):
        grounds.basis(pair)


@pytest.mark.django_db(transaction=True)
def test_where_it_is_looked_twice_the_basis_is_of_the_second_look(demo, viewer, republish, monkeypatch):
    monkeypatch.setattr(snapshots, "CONSISTENT", ())
    monkeypatch.setattr(snapshots, "repeatable_read", lambda connection: nullcontext())
    looks = []

    @permission
    def first(viewer, page):
        looks.append(viewer)
        return len(looks) == 1

    publication = republish(Page, plain(Page, "text"), to=first | anyone)
    pair, grounds = Pair(viewer(demo.ben), publication, Page.objects.create().hashid), Grounds()

    assert evaluate([pair], grounds)[pair]
    assert grounds.basis(pair) == "first: no | anyone: yes"


def test_the_sockets_of_one_viewer_have_one_basis_and_each_is_found_by_it(demo, cards, viewer):
    other = Card.objects.create(board=demo.card.board, owner=demo.dev)
    pairs = [
        Pair(viewer(user), cards, card.hashid)
        for user in (demo.amira, demo.dev, demo.dev)
        for card in (demo.card, other)
    ]
    grounds = Grounds()
    evaluate(pairs, grounds)

    assert grounds.bases(pairs) == {
        **dict.fromkeys([pairs[0], pairs[3], pairs[5]], f"{SEES}: no | {OWNS}: yes"),
        **dict.fromkeys([pairs[2], pairs[4], pairs[1]], f"{SEES}: no | {OWNS}: no"),
    }
    assert grounds.bases([]) == {}


def test_a_thousand_viewers_are_divided_by_the_few_bases_that_there_are(demo, cards, viewer, monkeypatch):
    users = User.objects.bulk_create(User(username=f"user {number}") for number in range(300))
    pairs = [Pair(viewer(user), cards, demo.card.hashid) for user in (demo.amira, *users)]
    grounds, written = Grounds(), []
    evaluate(pairs, grounds)
    real = Ground.basis
    monkeypatch.setattr(Ground, "basis", lambda ground, one: written.append(one) or real(ground, one))

    assert sorted(Counter(grounds.bases(pairs).values()).values()) == [1, 300]
    assert len(written) == 2


def test_without_grounds_nothing_is_noted(demo, cards, viewer, monkeypatch):
    monkeypatch.setattr(inquiries, "Note", None)

    assert evaluate([Pair(viewer(demo.amira), cards, demo.card.hashid)])
