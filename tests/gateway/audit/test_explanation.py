"""The explanation: what a user sees and why, in agreement with what is decided; and why nothing arrived."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import PATIENCE, until
from django.contrib.auth.models import AnonymousUser
from django.db import connection, transaction
from guardian.shortcuts import remove_perm
from lab.models import Page, Unpublished
from lab.serializers import plain
from rest_framework import serializers

from livegate.gateway import canary, trail
from livegate.gateway.audit import attendance, explanation
from livegate.gateway.audit.explanation import explain
from livegate.gateway.audit.models import RunningHub
from livegate.gateway.audit.records import Holding, records_of
from livegate.gateway.audit.register import Process
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.publications import find, publish
from livegate.gateway.solitude import Unsettled
from livegate.permissions import anyone, is_authenticated, is_self, permission
from livegate.serializers import PerUserSerializerMixin

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_trail():
    trail.forget()
    yield
    trail.forget()


def test_what_is_shown_is_explained_with_every_guard_and_without_a_value(demo, viewer):
    demo.card.salary = 918_273_645  # is within no time and no ETag by chance, as a shorter one may be
    demo.card.save()
    told = explain(demo.cleo, demo.card)

    [view] = evaluate([Pair(viewer(demo.cleo, host=""), find("board.Card"), demo.card.hashid)]).values()
    assert (told.model, told.hashid, told.user, told.name) == (
        "board.Card",
        demo.card.hashid,
        str(demo.cleo.pk),
        "cleo",
    )
    assert (told.decision, told.etag, told.agrees, told.tree.answer) == ("yes", view.etag, True, "yes")
    assert told.tree.permission == repr(find("board.Card").permission)
    assert told.serializer == "board.serializers.CardSerializer"
    assert [(one.name, one.is_shown, getattr(one.guard, "answer", one.guard)) for one in told.guarded] == [
        ("notes", True, "yes"),
        ("salary", False, "no"),
        ("board", True, "yes"),
        ("owner.email", False, "is_self"),
    ]
    assert "salary" not in told.fields
    assert {"title", "owner.username"} <= set(told.fields)
    text = json.dumps(told.as_dict()) + told.as_text()
    assert not [value for value in (str(demo.card.salary), demo.card.title, demo.card.notes) if value in text]


@pytest.mark.parametrize("by_name", [True, False])
def test_who_may_not_see_it_is_told_why(demo, by_name):
    Card.objects.update(public=False)

    told = explain(None, "board.Card", demo.card.hashid) if by_name else explain(AnonymousUser(), demo.card)

    assert (told.user, told.name, told.decision, told.etag, told.fields) == ("", "", "no", "", ())
    assert told.tree.answer == "no"
    assert told.basis.startswith("is_public: no | same_tenant(")
    assert {one.is_shown for one in told.guarded} == {False}
    assert told.reasons == ("hidden",)


def test_rights_are_read_anew(demo):
    Card.objects.update(public=False)
    demo.cleo.has_perm("view_card", demo.card)
    assert explain(demo.cleo, demo.card).decision == "yes"

    remove_perm("view_card", demo.cleo, demo.card)

    assert explain(demo.cleo, demo.card).decision == "no"


def test_what_is_not_published_or_twice_is_said(demo, monkeypatch, republish):
    assert not explain(demo.amira, Unpublished.objects.create()).is_published
    republish(Page, plain(Page, "text"), to=anyone)
    publish(Page, plain(Page, "text"), to=anyone)

    told = explain(demo.amira, "lab.Page", "7sd8f")

    assert (told.is_published, told.is_published_twice, told.reasons) == (False, True, ("not published",))


def test_nothing_there_and_nobody_there_have_no_tree(demo):
    gone = explain(demo.amira, "board.Card", "?")
    demo.dev.is_active = False
    demo.dev.save()
    inactive = explain(demo.dev, demo.card)

    assert (gone.decision, gone.basis, gone.tree, gone.guarded) == ("no", "not there", None, ())
    assert (inactive.decision, inactive.basis, inactive.tree) == ("no", "no such user", None)
    assert gone.agrees
    assert inactive.agrees


def test_an_error_is_told_by_its_class(demo, republish):
    @permission
    def fails(viewer, page):
        raise KeyError(page.text)

    class Broken(plain(Page, "text")):
        def to_representation(self, instance):
            raise ValueError(instance.text)

    page = Page.objects.create(text="secret")
    republish(Page, plain(Page, "text"), to=fails | anyone)
    refused = explain(demo.amira, page)
    republish(Page, Broken, to=anyone)
    broken = explain(demo.amira, page)
    republish(Page, lambda viewer, page: 1 / 0, to=anyone)
    chosen = explain(demo.amira, page)

    assert (refused.decision, refused.tree.answer, refused.tree.error) == ("no", "unknown", "KeyError")
    assert (broken.decision, broken.tree.answer, broken.basis) == ("no", "yes", "anyone: yes; failed (ValueError)")
    assert (chosen.decision, chosen.basis) == ("no", "anyone: yes; failed (ZeroDivisionError)")
    assert refused.agrees
    assert broken.agrees
    assert chosen.serializer == ""
    assert "secret" not in repr([refused, broken, refused.as_text(), broken.as_text()])


def test_a_permission_that_answers_now_so_and_now_so_is_found(demo, republish):
    asked = []

    @permission
    def wavers(viewer, page):
        asked.append(viewer)
        return len(asked) % 2 == 1

    republish(Page, plain(Page, "text"), to=wavers)

    told = explain(demo.amira, Page.objects.create())

    assert (told.decision, told.tree.answer, told.agrees) == ("yes", "no", False)


def test_the_guards_of_what_is_nested_are_told_also_where_it_is_within_itself(demo, republish):
    class Inner(PerUserSerializerMixin, serializers.Serializer):
        name = serializers.CharField()

        class Meta:
            guards = {"name": is_self}

        def get_fields(self):
            return super().get_fields() | {"inner": Inner(), "several": Inner(many=True)}

    class Outer(plain(Page, "text")):
        rows = Inner(many=True, source="nothing", default=[])

        class Meta:
            model = Page
            fields = ["text", "rows"]

    republish(Page, Outer, to=anyone)

    told = explain(demo.amira, Page.objects.create())

    names = [one.name for one in told.guarded]
    assert names[:3] == ["rows.name", "rows.inner.name", "rows.inner.inner.name"]
    assert "rows.several.name" in names
    assert max(name.count(".") for name in names) == explanation.DEEPEST
    assert {one.guard for one in told.guarded} == {"is_self"}


def test_why_it_is_personal_and_with_whom_it_is_shared_is_told(demo, viewer, republish):
    class Reads(plain(Page, "text")):
        def to_representation(self, instance):
            return {"text": str(self.context["request"].user)}

    page = Page.objects.create()
    people = [viewer(user, host="") for user in (demo.ben, demo.amira, None)]
    people.append(viewer(demo.cleo, language="de", host=""))
    republish(Page, plain(Page, "text"), to=is_authenticated)
    shared = explain(demo.amira, page, among=people)
    republish(Page, Reads, to=anyone)
    personal = explain(demo.amira, page, among=people)

    assert (shared.personal, shared.shares_with) == ("", ("ben",))
    assert personal.personal.startswith("request.user was read")
    assert personal.shares_with == ()


def test_after_a_mismatch_nothing_is_shared(demo, republish, monkeypatch):
    publication = republish(Page, plain(Page, "text"), to=anyone)
    monkeypatch.setattr(canary, "_distrusted", [publication.serializer])

    told = explain(demo.amira, Page.objects.create())

    assert told.personal == "what its serializer made was once not what a GET shows"
    assert told.decision == "yes"


def test_a_viewer_is_explained_in_their_own_language(demo, viewer):
    told = explain(viewer(demo.amira, language="de", time_zone="Asia/Tokyo"), demo.card)

    assert (told.name, told.language, told.time_zone) == ("amira", "de", "Asia/Tokyo")


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_is_refused_is_decided_as_ever(demo, republish):
    @permission
    def refused(viewer, page):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column" if viewer.user == demo.ben else "SELECT 1")
        return True

    republish(Page, plain(Page, "text"), to=refused & anyone)
    page = Page.objects.create()

    for user, answer in ((demo.amira, "yes"), (demo.ben, "no")):
        told = explain(user, page)
        assert told.decision == answer
        assert told.agrees
        assert (told.tree.answer == "yes") is (answer == "yes")
        assert len(told.tree.parts) == 2


@pytest.mark.django_db(transaction=True)
def test_inside_of_a_transaction_a_refused_statement_spoils_nothing_of_it(demo, republish):
    @permission
    def refused(viewer, page):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column")

    republish(Page, plain(Page, "text"), to=refused)
    page = Page.objects.create()

    with transaction.atomic():
        told = explain(demo.amira, page)
        assert Page.objects.get() == page

    assert told.decision == ("undecided" if connection.vendor == "postgresql" else "no")


@pytest.mark.parametrize("failure", ["queryset", "unsettled"])
@pytest.mark.django_db(transaction=True)
def test_what_can_not_be_decided_is_said(demo, republish, monkeypatch, failure):
    queryset = Page.objects.extra(where=["no_such_column = 1"]) if failure == "queryset" else None
    republish(Page, plain(Page, "text"), to=anyone, queryset=queryset)
    if failure == "unsettled":

        def unsettled(*given):
            raise Unsettled

        monkeypatch.setattr("livegate.gateway.evaluation.is_trusted", lambda publication: False)
        monkeypatch.setattr("livegate.gateway.evaluation.decide_alone", unsettled)

    told = explain(demo.amira, Page.objects.create())

    assert (told.decision, told.basis) == ("undecided", "")
    assert told.reasons == ("not subscribed", "undecided")


def test_what_is_no_instance_and_no_label_is_refused(demo):
    with pytest.raises(TypeError, match="takes an instance or a model's label, not int"):
        explain(demo.amira, 5)
    with pytest.raises(ValueError, match="a Card that was never saved"):
        explain(demo.amira, Card())


def test_all_is_of_one_snapshot(demo, monkeypatch):
    """A right that is taken away after the decision, by somebody else, is still in the tree."""
    open_at = []
    for name in ("evaluate", "testified"):
        real = getattr(explanation, name)

        def noted(*given, real=real):
            open_at.append(connection.in_atomic_block)
            return real(*given)

        monkeypatch.setattr(explanation, name, noted)

    explain(demo.amira, demo.card)

    assert open_at == [True, True]


# Why nothing arrived


async def until_entered():
    async with asyncio.timeout(PATIENCE):
        while not await RunningHub.objects.aexists():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("timeout", [0, PATIENCE])
async def test_a_live_subscription_is_told_and_what_its_client_holds(demo, connect, monkeypatch, timeout):
    monkeypatch.setattr(attendance, "PAUSE", 0)
    ask = partial(sync_to_async(explain), timeout=timeout)
    client = await connect(demo.amira, headers=[(b"host", b"testserver")])
    await client.subscribe(demo.card, etag=None)
    await client.receive()
    await until_entered()

    told = await ask(demo.amira, demo.card)

    assert told.processes is None if timeout == 0 else len(told.processes) == 1

    [subscribed] = told.subscriptions
    assert subscribed.is_admitted
    assert subscribed.is_current
    assert "unchanged" in told.reasons
    assert (await ask(demo.ben, demo.card)).subscriptions == ()

    demo.card.title = "another"
    await sync_to_async(demo.card.save)()
    await client.receive()
    await until(lambda: len(trail.steps_of("board.Card", demo.card.hashid)) == 2)
    told = await ask(demo.amira, demo.card)
    assert [change.fate for change in told.changes] == ["told", "heard"]
    assert told.reasons == ("unchanged",)
    assert "not subscribed" in (await ask(demo.ben, demo.card)).reasons


def held(etag, *, is_admitted=True, **known):
    """One socket, of this process, whose client holds that; and what else is known."""

    def records(viewer, label, hashid, timeout):
        holdings = [Holding(viewer, "9f2c:1", "web-1", 17, is_admitted, None, None, etag)]
        return replace(records_of(viewer, label, hashid, timeout), **{"holdings": holdings, **known})

    return records


@pytest.fixture
def step():
    """Something became of a change, so many seconds after the first."""

    def make(demo, fate, second=0):
        deque = trail._heard if fate == "heard" else trail._made
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        deque.append(trail.Step("board.Card", demo.card.hashid, fate, at=at))

    return make


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        ([], ["nothing heard"]),
        (["heard"], []),
        (["told", "heard"], []),
        (["told"], ["nothing heard"]),
        (["told", "heard", "told"], ["nothing heard"]),
        (["told", "heard", "unwatched"], ["unwatched"]),
        (["told", "heard", "rolled back"], ["rolled back"]),
        (["waiting"], ["waiting"]),
        (["heard", "told", "heard"], []),
    ],
)
def test_what_became_of_the_last_change_is_a_reason(demo, monkeypatch, step, fates, expected):
    monkeypatch.setattr(explanation, "records_of", held("another"))
    for second, fate in enumerate(fates):
        step(demo, fate, second)

    told = explain(demo.amira, demo.card)

    assert list(told.reasons) == expected
    assert [change.fate for change in told.changes] == fates


FAR = Process("fedcba9876543210", "web-2", 18, datetime(2026, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"processes": (FAR,)}, ["nothing heard", "not subscribed"]),
        ({"processes": (FAR,), "unanswered": (FAR,)}, ["nothing heard", "no answer", "not subscribed"]),
        ({"processes": (), "unanswered": (FAR,), "holdings": None}, ["no answer"]),
        ({"processes": ()}, ["not subscribed"]),  # none is running that could hear
    ],
)
def test_who_does_not_answer_is_named_and_not_said_to_have_nothing(demo, monkeypatch, known, expected):
    monkeypatch.setattr(explanation, "records_of", held("", **{"holdings": [], **known}))

    told = explain(demo.amira, demo.card)

    assert list(told.reasons) == expected
    assert (told.processes, told.unanswered) == (known["processes"], known.get("unanswered", ()))


def test_without_sockets_nothing_could_have_been_heard(demo, step):
    step(demo, "told")

    assert explain(demo.amira, demo.card).reasons == ()


def test_a_subscription_that_is_still_to_be_decided_is_none(demo, monkeypatch, step):
    step(demo, "heard")
    monkeypatch.setattr(explanation, "records_of", held(None, is_admitted=False))

    assert explain(demo.amira, demo.card).reasons == ("not subscribed",)


def test_who_holds_the_present_view_is_sent_nothing(demo, monkeypatch, step):
    step(demo, "heard")
    monkeypatch.setattr(explanation, "records_of", held(explain(demo.amira, demo.card).etag))

    assert explain(demo.amira, demo.card).reasons == ("unchanged",)


def test_who_holds_nothing_and_may_see_nothing_is_current(demo, monkeypatch, step):
    Card.objects.update(public=False)
    step(demo, "heard")
    monkeypatch.setattr(explanation, "records_of", held(None))

    told = explain(demo.dev, demo.card)

    assert told.reasons == ("hidden",)
    assert told.subscriptions[0].is_current
