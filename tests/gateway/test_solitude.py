"""Solitude: what one viewer's GET shows, made for that viewer; and what is made for many together is the same."""

from __future__ import annotations

import json
from contextlib import nullcontext
from contextvars import ContextVar
from random import Random

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError
from django.db.models import F, Prefetch
from django.utils import timezone, translation
from guardian.shortcuts import remove_perm
from lab import shapes
from lab.connections import elsewhere
from lab.models import Page
from lab.serializers import plain
from rest_framework import serializers

from livegate.gateway import evaluation, solitude
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.grounds import Grounds
from livegate.gateway.publications import find
from livegate.gateway.solitude import Failed, Unsettled, decide_alone, look_alone
from livegate.permissions import anyone, has_perm, is_owner, permission
from livegate.serializers.encoding import etag
from livegate.serializers.representation import Representation

pytestmark = pytest.mark.django_db
User = get_user_model()
FEW, MANY = 6, 14
PERMISSION = has_perm("view_page") | is_owner("owner") | shapes.has_a_short_name
# Without an order a database may give editors in one order to one query, and in another to the next.
IN_ORDER = Page.objects.prefetch_related(Prefetch("editors", User.objects.order_by("pk")))


@pytest.fixture
def assembled(monkeypatch):
    """Notes where texts are put together from what is behind each guard."""
    found = []
    real = Representation._make_apart

    def noted(self, *given):
        found.append(self)
        real(self, *given)

    monkeypatch.setattr(Representation, "_make_apart", noted)
    return found


@pytest.fixture
def alike(viewer, republish):
    """Whether all are shown together what each is shown alone; gives the decisions."""

    def compare(serializer, seed, size, to=PERMISSION):
        random = Random(f"{seed} {size}")
        pages, users = shapes.population(random, size)
        publication = republish(Page, serializer, to=to, queryset=IN_ORDER)
        viewers = [viewer(user) for user in users]
        viewers += [viewer(random.choice(users), **facts) for facts in shapes.CIRCUMSTANCES for _ in range(2)]
        pairs = [Pair(one, publication, page.hashid) for one in viewers for page in pages]
        random.shuffle(pairs)

        grounds, grounds_alone = Grounds(), Grounds()
        together = evaluate(pairs, grounds)

        assert together == {pair: decide_alone(pair, grounds_alone) for pair in pairs}
        assert list(map(grounds.basis, pairs)) == list(map(grounds_alone.basis, pairs))
        assert any(together.values())
        return together

    return compare


# Together as alone


@pytest.mark.parametrize("size", [FEW, MANY])
@pytest.mark.parametrize("serializer", shapes.SHARED, ids=lambda shape: shape.__name__)
def test_what_is_shared_is_byte_for_byte_what_each_is_shown_alone(alike, caplog, serializer, size):
    decisions = alike(serializer, "shared", size)

    assert caplog.records == []
    assert None in decisions.values() or size == FEW


@pytest.mark.parametrize("size", [FEW, MANY])
@pytest.mark.parametrize("serializer", shapes.PERSONAL, ids=lambda shape: shape.__name__)
def test_a_serializer_that_reaches_for_the_user_shows_each_what_is_theirs(alike, caplog, serializer, size):
    caplog.set_level("INFO", "livegate")
    evaluation.tell_personal.cache_clear()

    decisions = alike(serializer, "personal", size, to=anyone)

    told = [record for record in caplog.records if record.event == "serializer_personal"]
    assert {record.serializer for record in told} == {f"lab.shapes.{serializer.__name__}"}
    assert all(record.reason.startswith("request.") and "shapes.py:" in record.reason for record in told)
    assert [record.reason for record in told] == list(dict.fromkeys(record.reason for record in told))
    assert len({view.body for view in decisions.values() if view}) > 1


@pytest.mark.parametrize("size", [FEW, MANY])
@pytest.mark.parametrize("serializer", [shapes.chosen, shapes.InsteadOfAFact])
def test_shapes_that_are_neither_are_shown_as_alone_too(alike, serializer, size):
    for seed in range(2):
        alike(serializer, seed, size)


@pytest.mark.parametrize(
    ("serializer", "is_put_together"),
    [
        (shapes.Computed, True),
        (shapes.ComputedFacts, True),
        (shapes.Nested, True),
        (shapes.Skipping, True),
        (shapes.Representing, False),
        (shapes.Data, False),
        (shapes.Hiding, False),
        (shapes.NestedInPlain, False),
        # All that these show is in the row, or a fact: nothing has to be made.
        (shapes.Guarded, False),
        (shapes.GuardedFacts, False),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_behind_a_guard_is_made_apart_only_of_drfs_own_mapping_of_fields(
    alike, assembled, serializer, is_put_together
):
    alike(serializer, 1, MANY, to=anyone)

    assert bool(assembled) is is_put_together


@pytest.mark.parametrize("watching", [4, MANY])
def test_what_a_serializer_keeps_of_a_guarded_part_is_shown_to_nobody_else(viewer, republish, assembled, watching):
    pages, users = shapes.population(Random(0), MANY)
    publication = republish(Page, shapes.Memoizing, to=anyone, queryset=Page.objects.select_related("owner"))
    pairs = [Pair(viewer(user), publication, page.hashid) for user in users[:watching] for page in pages]

    shown = [json.loads(view.body) for view in evaluate(pairs).values()]

    assert bool(assembled) is (watching == MANY)
    assert len({frozenset(view) for view in shown}) > 2
    for view in shown:
        memories = [*view["memory"], *view.get("later", [])]
        kept = {word for memory in memories if memory for word in memory.split()}
        assert kept <= view.keys()


@pytest.mark.parametrize("serializer", [shapes.Computed, shapes.ComputedFacts, shapes.Nested])
def test_with_few_audiences_each_is_made_whole(viewer, republish, assembled, serializer):
    pages, users = shapes.population(Random(0), FEW)
    publication = republish(Page, serializer, to=anyone)
    pairs = [Pair(viewer(user), publication, pages[0].hashid) for user in users[:2] * 2]

    assert evaluate(pairs) == {pair: decide_alone(pair) for pair in pairs}
    assert assembled == []


@pytest.mark.parametrize("serializer", [shapes.Guarded, shapes.GuardedFacts, shapes.Nested, shapes.NestedInPlain])
def test_a_permission_that_sets_viewers_apart_changes_nothing_in_what_they_see(alike, serializer):
    @permission
    def sets_some_apart(viewer, page):
        key = viewer.user.pk or 0
        if key % 3 == 0:
            page.memory = key
        if key % 3 == 1:
            current.set(key)
        if key % 5 == 4:
            raise ValueError
        return True

    alike(serializer, 1, MANY, to=sets_some_apart)


current = ContextVar("current", default=None)


@pytest.mark.parametrize("size", [FEW, MANY])
@pytest.mark.parametrize("place", ["instance", "context"])
def test_a_permission_that_remembers_shows_its_viewer_what_a_get_shows(alike, size, place):
    @permission
    def remembers(viewer, page):
        if place == "instance":
            page.memory = [*getattr(page, "memory", []), viewer.user.username]
        else:
            current.set([*(current.get() or []), viewer.user.username])
        return True

    class Shows(plain(Page, "text")):
        memory = serializers.SerializerMethodField()

        class Meta:
            model = Page
            fields = ["memory"]

        def get_memory(self, page):
            return getattr(page, "memory", current.get())

    decisions = alike(Shows, 0, size, to=remembers)

    for pair, view in decisions.items():
        assert json.loads(view.body) == {"memory": [pair.viewer.user.username]}
    assert current.get() is None


# Alone


def test_alone_each_is_shown_the_bytes_of_their_get(demo, viewer, client):
    publication, path = find("board.Card"), f"/api/cards/{demo.card.hashid}/"
    for public in (True, False):
        Card.objects.update(public=public)
        for user in (demo.amira, demo.ben, demo.cleo, demo.dev, demo.nobody, demo.admin):
            view = decide_alone(Pair(viewer(user), publication, demo.card.hashid))

            client.logout()
            if user is not demo.nobody:
                client.force_login(user)
            response = client.get(path, headers={"accept": "application/json"})
            assert (view and view.body) == (response.content if response.status_code == 200 else None)
            assert view is None or view.etag == etag(response.content)


def test_gone_forbidden_malformed_and_deactivated_are_nothing_to_see(demo, viewer):
    Card.objects.update(public=False)
    User.objects.filter(pk=demo.cleo.pk).update(is_active=False)
    asked = [(demo.dev, demo.card.hashid), (demo.admin, Card(pk=77_777).hashid), (demo.admin, "?")]
    asked.append((demo.cleo, demo.card.hashid))

    assert [decide_alone(Pair(viewer(user), find("board.Card"), hashid)) for user, hashid in asked] == [None] * 4


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_what_fails_is_nothing_to_see_and_is_logged_by_its_place(demo, viewer, republish, caplog, error):
    class Fails(plain(Card, "title")):
        def to_representation(self, instance):
            raise error(f"salary {instance.salary}")

    pair = Pair(viewer(demo.amira), republish(Card, Fails, to=anyone), demo.card.hashid)

    assert decide_alone(pair) is None
    [record] = caplog.records
    assert (record.event, record.model) == ("viewer_denied", "board.Card")
    assert f"{error.__name__} at {__file__}" in record.message
    assert "84000" not in caplog.text
    with pytest.raises(Failed) as failed:
        look_alone(pair)
    assert type(failed.value.__cause__) is error


def test_what_the_database_can_not_read_is_no_failure_of_the_viewer(demo, viewer, republish):
    broken = Card.objects.extra(where=["1 = %s"], params=[object()])
    pair = Pair(viewer(demo.amira), republish(Card, plain(Card, "title"), to=anyone, queryset=broken), "")
    read = Pair(pair.viewer, pair.publication, demo.card.hashid)

    assert decide_alone(pair) is None  # stands for nothing, and nothing is read
    with pytest.raises(DatabaseError):
        decide_alone(read)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_what_the_database_refuses_for_a_reason_that_passes_can_not_be_told_yet(demo, viewer, republish, error):
    class Refused(plain(Card, "title")):
        def to_representation(self, card):
            raise error

    pair = Pair(viewer(demo.cleo), republish(Card, Refused, to=anyone), demo.card.hashid)

    with pytest.raises(Unsettled):
        decide_alone(pair)


@pytest.mark.parametrize(("error", "passes"), [(OperationalError, True), (ProgrammingError, False)])
def test_what_can_not_be_told_yet_of_one_is_left_undecided_and_touches_no_other(
    demo, viewer, republish, caplog, error, passes
):
    class Refused(plain(Card, "title")):
        def to_representation(self, card):
            if self.context["request"].user == demo.cleo:
                raise error
            return super().to_representation(card)

    publication = republish(Card, Refused, to=anyone)
    pairs = [Pair(viewer(user), publication, demo.card.hashid) for user in (demo.cleo, demo.amira)]

    decisions = evaluate(pairs)

    assert (pairs[0] in decisions) is not passes
    assert decisions[pairs[1]]
    assert [record.event for record in caplog.records] == ["evaluation_failed" if passes else "viewer_denied"]


def test_it_is_made_in_the_viewers_language_and_leaves_nothing_behind(demo, viewer, republish):
    @permission
    def sets(viewer, card):
        current.set("kept")
        return translation.get_language() == "de"

    pair = Pair(
        viewer(demo.amira, language="de", time_zone="Asia/Tokyo"),
        republish(Card, plain(Card, "title"), to=sets),
        demo.card.hashid,
    )
    before = translation.get_language(), timezone.get_current_timezone_name()

    assert decide_alone(pair)
    assert (translation.get_language(), timezone.get_current_timezone_name()) == before
    assert current.get() is None


@pytest.mark.django_db(transaction=True)
def test_where_the_database_does_not_hold_still_what_changes_meanwhile_is_not_told_yet(
    demo, viewer, republish, monkeypatch
):
    """The right is taken away, then something secret is written, each after it was asked for."""
    monkeypatch.setattr(solitude, "snapshot", lambda databases: nullcontext(False))
    looked = []

    @permission
    def loses_the_right(viewer, card):
        looked.append(card.title)
        if len(looked) == 1:
            elsewhere(lambda: (remove_perm("view_card", demo.cleo, card), Card.objects.update(title="secret")))
        return True

    publication = republish(Card, plain(Card, "title"), to=has_perm("view_card") & loses_the_right)
    pair = Pair(viewer(demo.cleo), publication, demo.card.hashid)

    with pytest.raises(Unsettled):
        decide_alone(pair)
    assert decide_alone(pair) is None
    assert looked == ["Platform engineer"]


@pytest.mark.django_db(transaction=True)
def test_what_is_not_told_yet_of_one_pair_is_left_undecided_for_that_one(demo, viewer, republish, monkeypatch):
    monkeypatch.setattr(solitude, "snapshot", lambda databases: nullcontext(False))
    monkeypatch.setattr(evaluation, "is_trusted", lambda publication: False)

    class Changes(plain(Card, "title")):
        def to_representation(self, card):
            user = self.context["request"].user
            if user == demo.cleo:
                elsewhere(lambda: Card.objects.update(viewed=F("viewed") + 1))
            return {**super().to_representation(card), "viewed": card.viewed}

    publication = republish(Card, Changes, to=anyone)
    pairs = [Pair(viewer(user), publication, demo.card.hashid) for user in (demo.amira, demo.cleo, demo.dev)]

    assert list(evaluate(pairs)) == [pairs[0], pairs[2]]
