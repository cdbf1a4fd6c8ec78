"""The canary: what would be shown to the wrong viewer is noticed before it is shown, and nothing more is shared."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection
from lab.models import Document, Page
from lab.serializers import plain
from rest_framework import serializers

from livegate.gateway import canary, metrics
from livegate.gateway.canary import is_trusted, name_of
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.metrics import counts
from livegate.gateway.publications import find
from livegate.permissions import anyone, has_perm, permission
from livegate.permissions.rights import Rights
from livegate.serializers import PerUserSerializerMixin
from livegate.serializers.hashids import encode

pytestmark = pytest.mark.django_db
User = get_user_model()


@pytest.fixture(autouse=True)
def from_nothing(monkeypatch, settings):
    monkeypatch.setattr(canary, "_distrusted", [])
    monkeypatch.setattr(canary, "_heard", [])
    monkeypatch.setattr(metrics, "_counts", Counter())
    settings.LIVEGATE = {**settings.LIVEGATE, "CANARY_SHARE": 1}


@pytest.fixture
def share(settings):
    def change(share):
        settings.LIVEGATE = {**settings.LIVEGATE, "CANARY_SHARE": share}

    return change


@pytest.fixture
def ask(viewer):
    """The pairs of these users and an instance in a publication."""

    def pairs(publication, instance, *users):
        return [Pair(viewer(user), publication, encode(type(instance), instance.pk)) for user in users]

    return pairs


class Guarded(PerUserSerializerMixin, serializers.ModelSerializer):
    class Meta:
        model = Card
        fields = ["title", "salary"]
        guards = {"salary": has_perm("view_salary")}


def leaks(monkeypatch):
    """A fault of our own: whoever is asked about holds every permission."""
    monkeypatch.setattr(Rights, "holding", lambda self, viewers, perm, obj=None: set(viewers))
    return Guarded


def shown(decisions):
    return [view and json.loads(view.body) for view in decisions.values()]


def test_a_fault_of_our_own_is_noticed_before_anything_is_shown(demo, ask, republish, monkeypatch, caplog):
    publication = republish(Card, leaks(monkeypatch), to=anyone)
    pairs = ask(publication, demo.card, demo.ben, demo.cleo, demo.dev, demo.nobody)

    decisions = evaluate(pairs)

    assert list(decisions) == pairs
    assert shown(decisions) == [
        {"title": "Platform engineer", "salary": 84_000},
        {"title": "Platform engineer"},
        {"title": "Platform engineer"},
        {"title": "Platform engineer"},
    ]
    [record] = caplog.records
    assert (record.levelname, record.event, record.model) == ("ERROR", "canary_mismatch", "board.Card")
    assert record.serializer == f"{__name__}.Guarded"
    assert "84000" not in caplog.text
    assert counts()["canary_mismatches"] == 1


def test_afterwards_nothing_of_that_serializer_is_shared_in_any_publication(
    demo, ask, republish, monkeypatch, share, django_assert_num_queries
):
    serializer = leaks(monkeypatch)
    first = republish(Card, serializer, to=anyone)
    evaluate(ask(first, demo.card, demo.cleo, demo.dev))
    shared = counts()["views_shared"]

    share(0)
    second = republish(Card, serializer, to=anyone, queryset=Card.objects.filter(public=True))

    for publication in (first, second):
        assert not is_trusted(publication)
        assert shown(evaluate(ask(publication, demo.card, demo.cleo, demo.dev))) == [{"title": "Platform engineer"}] * 2
    assert counts()["views_shared"] == shared
    assert counts()["canary_mismatches"] == 1
    assert counts()["canaries"] == 1


def test_others_go_on_to_share(demo, ask, republish, monkeypatch):
    publication = republish(Card, leaks(monkeypatch), to=anyone)
    document = Document.objects.create(text="text")
    pairs = [
        *ask(publication, demo.card, demo.cleo, demo.dev),
        *ask(find("lab.Document"), document, demo.cleo, demo.dev),
    ]
    evaluate(pairs)
    before = counts()["views_shared"]

    decisions = evaluate(pairs)

    assert is_trusted(find("lab.Document"))
    assert counts()["views_shared"] - before == 2
    assert all(decisions.values())
    assert counts()["canary_mismatches"] == 1


@pytest.mark.parametrize("place", ["class", "module"])
def test_what_a_serializer_keeps_for_the_first_viewer_is_noticed_before_another_sees_it(
    demo, ask, republish, caplog, place
):
    kept = {}

    class Keeps(Guarded):
        kept = {}

        def to_representation(self, instance):
            memory = Keeps.kept if place == "class" else kept
            if "shown" in memory:
                return memory.pop("shown")  # as what is kept for a while is forgotten
            return super().to_representation(instance)

    publication = republish(Card, Keeps, to=anyone)
    pairs = ask(publication, demo.card, demo.cleo, demo.dev)
    (Keeps.kept if place == "class" else kept)["shown"] = {"title": "Platform engineer", "salary": 84_000}

    decisions = evaluate(pairs)

    assert shown(decisions) == [{"title": "Platform engineer"}] * 2
    assert [record.event for record in caplog.records] == ["canary_mismatch"]
    assert counts()["canary_mismatches"] == 1
    assert not is_trusted(publication)


def test_what_fails_alone_is_not_shown(demo, ask, republish):
    class Fails(plain(Card, "title")):
        def to_representation(self, instance):
            from livegate.permissions.requests import audience_of

            if audience_of(self.context["request"]) is None:
                raise ValueError
            return super().to_representation(instance)

    publication = republish(Card, Fails, to=anyone)

    assert shown(evaluate(ask(publication, demo.card, demo.cleo, demo.dev))) == [None, None]
    assert counts()["canary_mismatches"] == 1


def test_what_was_wrongly_denied_is_noticed_too(demo, ask, republish, monkeypatch):
    publication = republish(Card, Guarded, to=has_perm("view_card"))
    monkeypatch.setattr(Rights, "holding", lambda self, viewers, perm, obj=None: set())

    decisions = evaluate(ask(publication, demo.card, demo.cleo, demo.dev))

    assert [bool(view) for view in decisions.values()] == [True, False]
    assert counts()["canary_mismatches"] == 1


def test_a_function_that_chooses_is_trusted_no_more_by_its_name(demo, ask, republish, monkeypatch, caplog):
    def choose(kind, viewer, card):
        return kind

    chooser = partial(choose, leaks(monkeypatch))
    publication = republish(Card, chooser, to=anyone)

    assert shown(evaluate(ask(publication, demo.card, demo.cleo))) == [{"title": "Platform engineer"}]
    assert [record.serializer for record in caplog.records] == ["functools.partial"]
    assert not is_trusted(publication)
    assert name_of(choose).endswith(".choose")


@pytest.mark.parametrize("public", [True, False])
def test_honest_serializers_are_never_suspected(demo, ask, public, caplog):
    Card.objects.update(public=public)
    people = [demo.amira, demo.ben, demo.cleo, demo.dev, demo.nobody, demo.admin]
    pairs = [
        *ask(find("board.Card"), demo.card, *people),
        *ask(find("auth.User"), demo.amira, *people),
        *ask(find("lab.Page"), Page.objects.create(), *people),
        *ask(find("board.Card"), Card(pk=77_777), *people),
    ]

    evaluate(pairs)

    assert counts()["canaries"] == len(pairs)
    assert counts()["canary_mismatches"] == 0
    assert caplog.records == []


def test_without_a_share_nothing_is_made_again(demo, ask, republish, monkeypatch, share):
    share(0)
    publication = republish(Card, leaks(monkeypatch), to=anyone)

    evaluate(ask(publication, demo.card, demo.cleo, demo.dev))

    assert (counts()["canaries"], counts()["canary_mismatches"]) == (0, 0)


@pytest.mark.parametrize(("drawn", "made_again"), [(0.49, 0), (0.5, 1)])
def test_a_part_is_made_again_and_chance_says_how_many(demo, ask, monkeypatch, share, drawn, made_again):
    share(0.25)
    monkeypatch.setattr(canary, "random", lambda: drawn)
    monkeypatch.setattr(canary, "_heard", [find("board.Card").serializer])

    evaluate(ask(find("board.Card"), demo.card, demo.cleo, demo.dev))

    assert counts()["canaries"] == made_again


def test_chance_says_which_are_made_again_and_it_may_be_any(share):
    share(0.25)
    decisions = dict.fromkeys(range(8))

    drawn = [canary.chosen_from(decisions, []) for _ in range(1_000)]

    assert {len(chosen) for chosen in drawn} == {2}
    assert set().union(*drawn) == decisions.keys()


def test_the_first_views_that_a_serializer_makes_are_made_again_for_two_viewers(demo, ask, monkeypatch, share):
    share(0.000_001)
    monkeypatch.setattr(canary, "random", lambda: 0.999)
    pairs = ask(find("board.Card"), demo.card, demo.cleo, demo.dev, demo.amira)

    for _ in range(2):
        evaluate(pairs)

    assert counts()["canaries"] == 2


def test_a_publication_that_is_not_trusted_and_can_not_be_read_touches_no_other(demo, ask, republish, caplog):
    broken = Page.objects.extra(where=["1 = %s"], params=[object()])
    publication = republish(Page, plain(Page, "text"), to=anyone, queryset=broken)
    canary._distrusted.append(publication.serializer)
    unreadable = ask(publication, Page.objects.create(), demo.cleo)
    readable = ask(find("board.Card"), demo.card, demo.cleo)

    assert list(evaluate([*unreadable, *readable])) == readable
    assert [(record.event, record.model) for record in caplog.records] == [("evaluation_failed", "lab.Page")]
    with pytest.raises(DatabaseError):
        evaluate(unreadable)


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_the_database_refuses_meanwhile_is_no_mismatch(demo, ask, republish):
    asked = []

    @permission
    def refused_when_asked_again(viewer, card):
        asked.append(viewer)
        if len(asked) == 2:
            raise DatabaseError
        return True

    publication = republish(Card, plain(Card, "title"), to=refused_when_asked_again)

    assert all(evaluate(ask(publication, demo.card, demo.cleo)).values())
    assert len(asked) == 3
    assert not connection.in_atomic_block
    assert counts()["canary_mismatches"] == 0
    assert is_trusted(publication)
