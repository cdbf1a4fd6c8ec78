"""The catalogue of leaks: what others have got wrong, each with a test that bears its name, and what else could be.

| where | what went wrong there | the test |
|---|---|---|
| djangochannelsrestframework | after a revocation, a 403 frame and then the payload | ``dcrf_sends_no_403_…`` |
| | deletes are told to all | ``dcrf_tells_a_delete_…`` |
| | a group is never left | ``dcrf_leaves_…`` |
| | what a savepoint rolled back is pushed | ``dcrf_pushes_nothing_…`` |
| django-rest-live | only the queryset is looked at again | ``rest_live_asks_more_…`` |
| | other objects reach who subscribed to one | ``rest_live_tells_of_no_other_…`` |
| | what one viewer may not see silences the rest | ``rest_live_is_not_silenced_…`` |
| | nothing waits for the commit | ``rest_live_waits_…`` |
| Parse LiveQuery | what one subscriber's permission changed on the object reaches another | ``parse_shows_nobody_…`` |
| | new content in the event that takes the access away | ``parse_shows_nothing_new_…`` |
| | a filter on a hidden field is an oracle | ``parse_answers_no_question_…`` |
| Supabase Realtime | deletes are not authorized | ``supabase_authorizes_…`` |
| | "subscribed" before it is | ``supabase_promises_…`` |
| | events vanish under load | ``supabase_loses_…`` |
| | work for each subscriber of an event | ``supabase_looks_once_…`` |
| graphql-ruby | shared bytes became a shared decision | ``graphql_ruby_shares_…`` |
| | an empty frame tells that something changed | ``graphql_ruby_sends_no_…`` |
| Directus | an error of one viewer's ends the others' turn | ``directus_goes_on_…`` |
| | a change of role goes unnoticed | ``directus_notices_…`` |
| AnyCable | a session that is resumed is not authorized again | ``anycable_authorizes_…`` |
| Channels | a log out, an expiry, a deactivation do not reach a live socket | ``channels_…`` |
| turbo-rails | steady change starves whoever waits for a pause | ``turbo_rails_…`` |
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from contextlib import suppress

import clients
import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from channels.auth import AuthMiddlewareStack
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.routing import URLRouter
from clients import all_is_sent, hashid_of, until
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection, transaction
from django.db.models import Prefetch, prefetch_related_objects
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import gettext
from guardian.models import UserObjectPermission
from guardian.shortcuts import assign_perm, remove_perm
from guardian.utils import clean_orphan_obj_perms, get_anonymous_user
from lab.models import Document, Foreign, ForeignChild, ForeignProxy, Note, Page
from lab.serializers import plain
from rest_framework import serializers

from livegate.gateway import evaluator
from livegate.gateway import hub as hub_module
from livegate.gateway.evaluation import evaluate
from livegate.gateway.frames import ERRORS
from livegate.gateway.metrics import Count, counts
from livegate.gateway.notices import token_of_session, token_of_user
from livegate.gateway.notifications import anotify
from livegate.gateway.routing import websocket_urlpatterns
from livegate.permissions import anyone, has_perm, is_authenticated, is_owner, permission
from livegate.serializers import FactField, PerUserSerializerMixin

User = get_user_model()
SECRET = "hunter2-the-secret"


def named(instance):
    return {"model": instance._meta.label, "id": hashid_of(instance)}


def shows(shown, *names, guarded=None, **members):
    """A serializer of a model that shows these fields, some of them guarded."""
    meta = type("Meta", (), {"model": shown, "fields": names, "guards": guarded or {}})
    return type("Shown", (PerUserSerializerMixin, serializers.ModelSerializer), {"Meta": meta, **members})


async def look(client, instance):
    """Subscribe with nothing in hand; the frame with the present view, or the refusal."""
    return await client.ask({"action": "subscribe", **named(instance), "etag": None})


async def frames_of(client):
    return [json.loads(text) for text in await client.rest()]


def deleted(instance, hashid=None):
    name = {"model": instance._meta.label, "id": hashid or hashid_of(instance)}
    kind = f"DELETE_{type(instance).__name__.upper()}"
    return {"type": kind, "payload": {"id": name["id"]}, "meta": name}


def refusal(code, request_id=None):
    payload = {"code": code, "detail": ERRORS[code]}
    return {"type": "ERROR", "error": True, "payload": payload, "meta": {"request_id": request_id}}


@sync_to_async
def make(model=Page, **values):
    return model.objects.create(**values)


@sync_to_async
def change(instance, **values):
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save()


assign, remove = sync_to_async(assign_perm), sync_to_async(remove_perm)


def the_hub():
    return hub_module._hubs[asyncio.get_running_loop()]


class Recording(InMemoryChannelLayer):
    """Keeps whatever is put on it."""

    def __init__(self):
        super().__init__()
        self.messages = []

    async def group_send(self, group, message):
        self.messages.append((group, message))
        await super().group_send(group, message)

    async def send(self, channel, message):
        self.messages.append((channel, message))
        await super().send(channel, message)

    def notices(self):
        return [tuple(notice) for _, message in self.messages for notice in message["notices"]]


@pytest.fixture
def wire(monkeypatch):
    monkeypatch.setattr(channel_layers, "backends", {})
    return channel_layers.set("default", Recording()) or channel_layers["default"]


@pytest.fixture
def batches(monkeypatch):
    """The pairs of each evaluation, and what it cost in queries."""
    seen = []

    def noted(pairs):
        with CaptureQueriesContext(connection) as queries:
            decisions = evaluate(pairs)
        seen.append((pairs, [query["sql"] for query in queries]))
        return decisions

    monkeypatch.setattr(evaluator, "evaluate", noted)
    return seen


@pytest.fixture
async def granted(demo):
    """A page that ben and cleo may see by a grant of their own each."""
    page = await make(text="old")
    for user in (demo.ben, demo.cleo):
        await assign("lab.view_page", user, page)
    return page


# What others got wrong


async def test_dcrf_sends_no_403_and_no_payload_after_a_revocation(demo, connect, granted):
    client, other = await connect(demo.ben), await connect(demo.cleo)
    for one in (client, other):
        await look(one, granted)

    await remove("lab.view_page", demo.ben, granted)
    await change(granted, text="new")

    assert await frames_of(client) == [deleted(granted)]
    assert [frame["payload"]["text"] for frame in await frames_of(other)] == ["new"]


async def test_dcrf_tells_a_delete_to_none_but_those_who_saw_the_row(demo, connect, granted):
    saw, refused, elsewhere = await connect(demo.ben), await connect(demo.dev), await connect(demo.amira)
    await look(saw, granted)
    assert await look(refused, granted) == refusal("not_found")
    await look(elsewhere, demo.card)
    expected = deleted(granted)

    await granted.adelete()

    assert await frames_of(saw) == [expected]
    assert await frames_of(refused) == await frames_of(elsewhere) == []


async def test_dcrf_leaves_what_is_given_up_and_a_second_subscription_is_not_a_second_frame(
    demo, connect, granted, wire
):
    client, stays = await connect(demo.ben), await connect(demo.cleo)
    await stays.subscribe(granted)
    for _ in range(3):
        await client.subscribe(granted)
        await client.send({"action": "unsubscribe", **named(granted)})
    await client.ask({"action": "ping"})

    assert [len(watch.subscriptions) for watch in the_hub()._registry.watching.values()] == [1]
    assert [len(channels) for channels in wire.groups.values()] == [1]
    await change(granted, text="new")
    assert await frames_of(client) == []
    assert len(await frames_of(stays)) == 1
    await client.subscribe(granted)
    await change(granted, text="newer")
    assert len(await frames_of(client)) == 1


async def test_dcrf_pushes_nothing_of_a_savepoint_that_is_rolled_back(demo, connect, wire):
    kept, undone = [await make(Document, text="old") for _ in range(2)]
    client = await connect(demo.ben)
    for document in (kept, undone):
        await look(client, document)
    wire.messages.clear()

    @sync_to_async
    def save_both():
        with transaction.atomic():
            for document in (undone, kept):
                with suppress(ZeroDivisionError), transaction.atomic():
                    document.text = "undone"
                    document.save()
                    1 / 0  # noqa: B018
            kept.text = "kept"
            kept.save()

    await save_both()

    assert [frame["payload"]["text"] for frame in await frames_of(client)] == ["kept"]
    assert hashid_of(undone) not in str(wire.messages)


async def test_rest_live_asks_more_than_the_queryset(demo, connect, republish):
    republish(Page, plain(Page, "text"), to=is_owner("owner"), queryset=Page.objects.filter(text__contains="e"))
    page = await make(text="here", owner=demo.ben)
    client = await connect(demo.ben)
    await look(client, page)

    await change(page, owner=demo.cleo, text="here too")

    assert await frames_of(client) == [deleted(page)]


async def test_rest_live_tells_of_no_other_object_than_the_one_that_was_asked_for(demo, connect):
    mine, other = [await make(Document, owner=demo.ben) for _ in range(2)]
    client = await connect(demo.ben)
    await look(client, mine)

    await change(other, text="changed")
    await make(Document, owner=demo.ben)
    await change(mine, text="changed")
    await other.adelete()

    assert [frame["meta"]["id"] for frame in await frames_of(client)] == [mine.hashid]


async def test_rest_live_is_not_silenced_by_what_one_may_not_see(demo, connect, republish):
    republish(Page, plain(Page, "text"), to=is_owner("owner"))
    pages = [await make(owner=demo.ben) for _ in range(3)]
    first, other = await connect(demo.ben), await connect(demo.ben)
    for client in (first, other):
        for page in pages:
            await look(client, page)

    await change(pages[0], owner=demo.cleo)  # which both are the first to be asked about
    for page in pages[1:]:
        await change(page, text="new")

    for client in (first, other):
        frames = await frames_of(client)
        assert frames[0] == deleted(pages[0])
        assert {frame["meta"]["id"] for frame in frames[1:]} == {page.hashid for page in pages[1:]}


async def test_rest_live_waits_for_the_commit(demo, connect, wire):
    document = await make(Document, text="old")
    client = await connect(demo.ben)
    await look(client, document)
    wire.messages.clear()
    waiting = []

    @sync_to_async
    def save():
        with transaction.atomic():
            document.text = "new"
            document.save()
            waiting.append(not all_is_sent())

    await save()

    assert waiting == [False]
    assert [frame["payload"]["text"] for frame in await frames_of(client)] == ["new"]


async def test_parse_shows_nobody_what_anothers_permission_did_to_the_object(demo, connect, republish):
    @permission
    def reveals(viewer, page):
        if viewer.user.username == "ben":
            page.text = page.owner.username = SECRET
        return True

    republish(Page, shows(Page, "text", "owner", owner=serializers.CharField(source="owner.username")), to=reveals)
    page = await make(text="public", owner=demo.amira)
    everybody = [await connect(user) for user in (demo.cleo, demo.ben, demo.dev)]
    for client in everybody:
        await look(client, page)

    await change(page, text="changed")

    cleos, bens, devs = [[frame["payload"] for frame in await frames_of(client)] for client in everybody]
    assert cleos == devs == [{"text": "changed", "owner": "amira"}]
    assert bens == []  # to whom everything looks as before


async def test_parse_shows_nothing_new_in_the_event_that_takes_the_access_away(demo, connect, republish):
    republish(Page, plain(Page, "text"), to=is_owner("owner"))
    page = await make(text="old", owner=demo.ben)
    client = await connect(demo.ben)
    await look(client, page)

    await change(page, text=SECRET, owner=demo.cleo)

    texts = await client.rest()
    assert [json.loads(text) for text in texts] == [deleted(page)]
    assert SECRET not in "".join(texts)


async def test_parse_answers_no_question_about_a_hidden_field(demo, connect):
    client = await connect(demo.dev)
    guesses = [{"salary": demo.card.salary}, {"salary": 0}, {"salary__gte": 1}, {}]

    answers = [
        await client.ask({"action": "subscribe", **named(demo.card), "request_id": 1, "filter": guess})
        for guess in guesses
    ]

    assert answers == [refusal("invalid_message", 1)] * len(guesses)


async def test_supabase_authorizes_the_delete_too(demo, connect, granted):
    revoked, admitted = await connect(demo.ben), await connect(demo.cleo)
    for client in (revoked, admitted):
        await look(client, granted)
    expected = deleted(granted)
    await remove("lab.view_page", demo.ben, granted)
    assert await frames_of(revoked) == [expected]

    await granted.adelete()

    assert await frames_of(revoked) == []
    assert await frames_of(admitted) == [expected]


async def test_supabase_promises_nothing_before_it_holds(demo, connect, monkeypatch):
    document = await make(Document, text="old")
    once, heard, hear = [document], threading.Event(), hub_module.Hub._hear

    def noted(hub, notice):
        hear(hub, notice)
        heard.set()

    def overtaken(pairs):
        decisions = evaluate(pairs)
        if once and document.hashid in {pair.hashid for pair in pairs}:
            changed = once.pop()
            changed.text = "written after it was read and before it was acknowledged"
            heard.clear()
            changed.save()
            assert heard.wait(clients.PATIENCE)
        return decisions

    monkeypatch.setattr(hub_module.Hub, "_hear", noted)
    monkeypatch.setattr(evaluator, "evaluate", overtaken)
    client = await connect(demo.ben)

    assert (await client.subscribe(document))["type"] == "SUBSCRIBED"
    assert (await client.receive())["payload"]["text"] == document.text


async def test_supabase_loses_nothing_under_load(demo, connect):
    documents = await sync_to_async(Document.objects.bulk_create)([Document() for _ in range(40)])
    readers, stalled = [await connect(demo.ben) for _ in range(3)], await connect(demo.cleo)
    for client in (*readers, stalled):
        for document in documents:
            await client.send({"action": "subscribe", **named(document)})
    await until(lambda: sum(one.admitted for one in the_hub().subscriptions()) == 4 * len(documents))
    stalled.reading.clear()

    @sync_to_async
    def save_all():
        for number in range(4):
            for document in documents:
                document.text = str(number)
                document.save()

    await save_all()
    stalled.reading.set()

    for client in (*readers, stalled):
        held = {frame["meta"]["id"]: frame["payload"]["text"] for frame in await frames_of(client)}
        assert held == {document.hashid: "3" for document in documents}


async def test_supabase_looks_once_for_all_who_watch(demo, connect, batches):
    document = await make(Document)
    costs = {}
    for number in (2, 20):
        everybody = [await connect(demo.ben) for _ in range(number)]
        for client in everybody:
            await client.subscribe(document)
        batches.clear()
        await change(document, text=str(number))
        for client in everybody:
            await client.receive()
        [(pairs, queries)] = batches
        assert len(pairs) == number
        costs[number] = len(queries)
        for client in everybody:
            await client.close()

    assert costs[2] == costs[20]


async def test_graphql_ruby_shares_the_bytes_and_not_the_decision(demo, connect, granted):
    staying, revoked = [await connect(demo.cleo) for _ in range(2)], await connect(demo.ben)
    for client in (*staying, revoked):
        await look(client, granted)
    rows = UserObjectPermission.objects.filter(user=demo.ben)
    await sync_to_async(lambda: rows._raw_delete(rows.db))()
    shared = counts()["views_shared"]

    await change(granted, text="new")

    assert await frames_of(revoked) == [deleted(granted)]
    for client in staying:
        assert [frame["payload"]["text"] for frame in await frames_of(client)] == ["new"]
    assert counts()["views_shared"] >= shared + 2


async def test_graphql_ruby_sends_no_frame_where_nothing_may_be_seen(demo, connect, granted):
    colleague, knows, refused = await connect(demo.cleo), await connect(demo.ben), await connect(demo.dev)
    for client in (colleague, knows):
        await look(client, demo.card)
    await look(refused, granted)

    await change(demo.card, salary=1)
    await change(granted, text="new")

    assert await colleague.rest() == await refused.rest() == []
    assert [frame["payload"]["salary"] for frame in await frames_of(knows)] == [1]


@pytest.mark.parametrize("failing", ["amira", "ben", "cleo"])
@pytest.mark.parametrize("error", [ValueError, DatabaseError, KeyboardInterrupt])
async def test_directus_goes_on_with_the_others_where_one_fails(demo, connect, republish, failing, error):
    raised = []

    @permission
    def fails(viewer, document):
        if document.text == "new" and viewer.user.username == failing:
            raised.append(error)
            raise error(SECRET)
        return True

    republish(Document, plain(Document, "text"), to=fails)
    document = await make(Document, text="old")
    everybody = {user.username: await connect(user) for user in (demo.amira, demo.ben, demo.cleo)}
    for client in everybody.values():
        await look(client, document)

    await change(document, text="new")

    for name, client in everybody.items():
        frames = await frames_of(client)
        if name == failing:
            assert frames == [deleted(document)]
        else:
            assert [frame["payload"]["text"] for frame in frames] == ["new"]
    assert raised


async def test_directus_notices_that_a_role_changed(demo, connect):
    client = await connect(demo.ben)
    assert "salary" in (await look(client, demo.card))["payload"]

    await sync_to_async(demo.ben.groups.clear)()
    [frame] = await frames_of(client)
    assert "salary" not in frame["payload"]

    await sync_to_async(demo.ben.groups.set)([await Group.objects.aget(name="Payroll")])
    [frame] = await frames_of(client)
    assert frame["payload"]["salary"] == demo.card.salary


@pytest.mark.parametrize("told", [True, False])
async def test_anycable_authorizes_a_session_anew_that_is_resumed(demo, connect, granted, told):
    client = await connect(demo.ben)
    etag = (await look(client, granted))["meta"]["etag"]
    await client.close()
    rows = UserObjectPermission.objects.filter(user=demo.ben)
    await sync_to_async(lambda: rows.get().delete() if told else rows._raw_delete(rows.db))()

    again = await connect(demo.ben)
    await again.send({"action": "subscribe", **named(granted), "etag": etag})
    await again.send({"action": "subscribe", **named(granted), "etag": etag, "request_id": 2})

    # What is held of it is taken away, as often as somebody says that they hold something.
    gone = deleted(granted)
    assert await frames_of(again) == [gone, refusal("not_found"), gone, refusal("not_found", 2)]


@pytest.fixture
def with_sessions(monkeypatch):
    """Who connects is who their session's cookie says."""
    monkeypatch.setattr(clients, "application", AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))


async def logged_in(user):
    browser = Browser()
    await sync_to_async(browser.force_login)(user)
    return browser, scope_of(browser)


def scope_of(browser):
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={browser.session.session_key}"
    return {"headers": [(b"host", b"testserver"), (b"cookie", cookie.encode())]}


async def expire(browser, user):
    await Session.objects.aupdate(expire_date=timezone.now() - timezone.timedelta(seconds=1))
    the_hub().examine(the_hub().sockets)  # as the sweep does


ENDINGS = {
    "log out": lambda browser, user: sync_to_async(browser.logout)(),
    "expiry": expire,
    "deactivation": lambda browser, user: change(user, is_active=False),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_channels_a_live_socket_ends_with_the_right_to_be_there(demo, connect, with_sessions, republish, ending):
    republish(Document, plain(Document, "text"), to=anyone)
    document = await make(Document, text="old")
    browser, scope = await logged_in(demo.cleo)
    client, visitor = await connect(**scope), await connect()
    for one in (client, visitor):
        await look(one, document)

    await ENDINGS[ending](browser, demo.cleo)

    message = await client.take()
    if message["type"] == "websocket.send":  # who is not active any more sees nothing, which may be noticed first
        assert json.loads(message["text"]) == deleted(document)
        message = await client.take()
    assert message == {"type": "websocket.close", "code": 4401}
    await change(document, text=SECRET)
    assert [frame["payload"]["text"] for frame in await frames_of(visitor)] == [SECRET]
    assert client._out.empty()


async def test_turbo_rails_steady_change_starves_nobody(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_INTERVAL": 0.2}
    document = await make(Document, text="0")
    client = await connect(demo.ben)
    await look(client, document)
    is_enough = asyncio.Event()

    async def change_steadily():
        number = 0
        while not is_enough.is_set():
            number += 1
            await change(document, text=str(number))

    writing = asyncio.create_task(change_steadily())
    seen = [int((await client.receive())["payload"]["text"]) for _ in range(3)]
    assert not writing.done()
    is_enough.set()
    await writing

    assert seen == sorted(set(seen))


# What else could leak: what is shared, and with whom


async def test_a_language_a_time_zone_and_a_host_are_not_another_sockets(demo, connect, republish):
    def get_link(self, card):
        return self.context["request"].build_absolute_uri("/")

    def get_day(self, card):
        return gettext("Monday")

    members = {"day": serializers.SerializerMethodField(), "link": serializers.SerializerMethodField()}
    joined = serializers.DateTimeField(source="owner.date_joined", format="%H:%M %Z")
    fields = shows(Card, "day", "link", "joined", "title", joined=joined, get_day=get_day, get_link=get_link, **members)
    republish(Card, fields, to=anyone)
    await User.objects.aupdate(date_joined=timezone.datetime(2026, 1, 1, 12, tzinfo=timezone.get_fixed_timezone(0)))
    scopes = {
        ("Monday", "12:00 UTC", "http://testserver/"): {},
        ("Montag", "12:00 UTC", "http://testserver/"): {"language": "de"},
        ("Monday", "21:00 JST", "http://testserver/"): {"time_zone": "Asia/Tokyo"},
        ("Monday", "12:00 UTC", "http://push.example/"): {"headers": [(b"host", b"push.example")]},
        ("Monday", "12:00 UTC", "https://testserver/"): {"scheme": "wss"},
    }
    everybody = {seen: await connect(demo.ben, **scope) for seen, scope in scopes.items()}
    for client in everybody.values():
        await look(client, demo.card)

    await change(demo.card, title="new")

    for seen, client in everybody.items():
        [payload] = [frame["payload"] for frame in await frames_of(client)]
        assert (payload["day"], payload["joined"], payload["link"]) == seen


async def test_a_host_that_is_not_ours_is_in_nobodys_links(demo, connect, republish):
    def get_link(self, card):
        return self.context["request"].build_absolute_uri("/")

    republish(
        Card, shows(Card, "link", "title", link=serializers.SerializerMethodField(), get_link=get_link), to=anyone
    )
    usual = await connect(demo.ben)
    odd = await connect(demo.ben, headers=[(b"host", b"evil.example"), (b"x-forwarded-host", b"evil.example")])
    await look(usual, demo.card)
    first = await look(odd, demo.card)

    await change(demo.card, title="new")

    assert [frame["payload"]["link"] for frame in await frames_of(usual)] == ["http://testserver/"]
    assert "evil" not in json.dumps([first, *await frames_of(odd)])


async def test_what_a_serializer_prefetches_for_one_is_not_what_the_next_is_shown(demo, connect, republish):
    def get_mine(self, document):
        mine = Note.objects.filter(secret=self.context["request"].user.username)
        prefetch_related_objects([document], Prefetch("notes", queryset=mine))
        return [note.text for note in document.notes.all()]

    mine = {"mine": serializers.SerializerMethodField(), "get_mine": get_mine}
    republish(Document, shows(Document, "text", "mine", **mine), to=anyone)
    document = await make(Document, text="old")
    for name in ("ben", "cleo"):
        await make(Note, document=document, text=f"for {name}", secret=name)
    everybody = {user.username: await connect(user) for user in (demo.ben, demo.cleo, demo.dev)}
    for client in everybody.values():
        await look(client, document)

    await change(document, text="new")

    seen = {name: [frame["payload"]["mine"] for frame in await frames_of(one)] for name, one in everybody.items()}
    assert seen == {"ben": [["for ben"]], "cleo": [["for cleo"]], "dev": [[]]}


async def test_a_nested_guard_is_asked_for_each_and_its_field_is_never_in_anothers_frame(demo, connect):
    document = await make(Document, owner=demo.ben)
    await make(Note, document=document, text="open", secret=SECRET)
    owner, stranger = await connect(demo.ben), await connect(demo.cleo)
    for client in (owner, stranger):
        await look(client, document)

    await change(document, text="new")
    told, others = await owner.rest(), await stranger.rest()
    assert [SECRET in text for text in told] == [True]
    assert [json.loads(text)["payload"]["notes"] for text in others] == [[{"text": "open"}]]
    await change(document, owner=demo.cleo)

    assert [json.loads(text)["payload"]["notes"] for text in await owner.rest()] == [[{"text": "open"}]]
    assert [SECRET in text for text in await stranger.rest()] == [True]


async def test_a_proxy_a_parent_and_a_child_are_each_asked_about_by_their_own_publication(demo, connect, republish):
    republish(Foreign, plain(Foreign, "name"), to=is_authenticated, watch=["name"])
    republish(ForeignProxy, plain(ForeignProxy, "name"), to=has_perm("view_foreign"), watch=["name"])
    child = await make(ForeignChild, name="old", toy="ball")
    parent, proxy = await Foreign.objects.aget(), await ForeignProxy.objects.aget()
    await assign("lab.view_foreign", demo.ben, proxy)
    visitor, user, granted_one = await connect(), await connect(demo.cleo), await connect(demo.ben)
    answers = {
        client: [(await look(client, one))["type"] for one in (child, parent, proxy)]
        for client in (visitor, user, granted_one)
    }
    assert answers == {
        visitor: ["UPDATE_FOREIGNCHILD", "ERROR", "ERROR"],
        user: ["UPDATE_FOREIGNCHILD", "UPDATE_FOREIGN", "ERROR"],
        granted_one: ["UPDATE_FOREIGNCHILD", "UPDATE_FOREIGN", "UPDATE_FOREIGNPROXY"],
    }

    await change(parent, name="new")

    for client, types in answers.items():
        frames = await frames_of(client)
        assert {frame["type"] for frame in frames} == {*types} - {"ERROR"}
        assert ["toy" in frame["payload"] for frame in frames] == [
            frame["type"] == "UPDATE_FOREIGNCHILD" for frame in frames
        ]
    await sync_to_async(child.delete)(keep_parents=True)
    gone = deleted(child, hashid_of(ForeignChild(pk=parent.pk)))
    assert [await frames_of(client) for client in answers] == [[gone]] * 3
    await remove("lab.view_foreign", demo.ben, proxy)
    assert [await frames_of(client) for client in answers] == [[], [], [deleted(proxy)]]


async def test_what_leaves_a_publications_queryset_leaves_everybodys_view(demo, connect, republish):
    republish(Document, plain(Document, "text"), to=anyone, queryset=Document.objects.exclude(text=SECRET))
    document, never = await make(Document, text="open"), Document()
    watching = [await connect(user) for user in (demo.admin, demo.ben, None)]
    for client in watching:
        await look(client, document)

    await change(document, text=SECRET)

    assert [await frames_of(client) for client in watching] == [[deleted(document)]] * 3
    late = await connect(demo.admin)
    assert await look(late, document) == await look(late, never) == refusal("not_found")
    await change(document, text="open again")
    for client in watching:
        assert [frame["payload"]["text"] for frame in await frames_of(client)] == ["open again"]


# When rights end


async def test_what_is_written_after_a_revocation_is_in_no_frame(demo, connect, granted):
    client = await connect(demo.ben)
    await look(client, granted)

    @sync_to_async
    def come_and_go():
        for number in range(15):
            granted.text = f"shut {number}"
            granted.save()
            assign_perm("lab.view_page", demo.ben, granted)
            granted.text = f"open {number}"
            granted.save()
            remove_perm("lab.view_page", demo.ben, granted)
            granted.text = f"{SECRET} {number}"
            granted.save()

    await come_and_go()

    texts = await client.rest()
    assert json.loads(texts[-1]) == deleted(granted)
    assert SECRET not in "".join(texts)


async def test_a_view_that_waits_behind_a_slow_frame_is_not_sent_when_the_right_ends(demo, connect, granted):
    second = await make(text="old")
    await assign("lab.view_page", demo.ben, second)
    client = await connect(demo.ben)
    for page in (granted, second):
        await look(client, page)
    await client.ask({"action": "ping"})
    [socket] = the_hub().sockets
    client.reading.clear()

    @sync_to_async
    def save_both():
        with transaction.atomic():
            for page in (granted, second):
                page.text = "pending"
                page.save()

    await save_both()
    await until(lambda: socket.delivery is not None and socket.busy)
    await remove("lab.view_page", demo.ben, granted)
    await remove("lab.view_page", demo.ben, second)
    await until(lambda: list(socket.dirty.values()) == [True, True])
    client.reading.set()

    first, *rest = await frames_of(client)
    assert first["payload"]["text"] == "pending"  # was on its way
    assert sorted(rest, key=str) == sorted([deleted(granted), deleted(second)], key=str)


async def test_who_is_no_superuser_any_more_sees_what_anybody_sees(demo, connect, republish):
    republish(Page, shows(Page, "text", guarded={"text": has_perm("change_page")}), to=anyone)
    page, hidden = await make(text=SECRET), await make(Document, owner=demo.amira)
    republish(Document, plain(Document, "text"), to=has_perm("view_document"))
    client, again = await connect(demo.admin), await connect(demo.admin)
    for one in (client, again):
        assert (await look(one, page))["payload"] == {"text": SECRET}
        await look(one, hidden)

    await change(demo.admin, is_superuser=False)

    for one in (client, again):
        frames = {frame["type"]: frame for frame in await frames_of(one)}
        assert frames.pop("UPDATE_PAGE")["payload"] == {}
        assert frames == {"DELETE_DOCUMENT": deleted(hidden)}


async def test_what_guardians_anonymous_user_is_granted_is_for_visitors_alone(demo, connect):
    page = await make(text="open")
    nobody = await sync_to_async(get_anonymous_user)()
    await assign("lab.view_page", nobody, page)
    visitors, user = [await connect() for _ in range(2)], await connect(demo.ben)
    for visitor in visitors:
        assert (await look(visitor, page))["type"] == "UPDATE_PAGE"
    assert await look(user, page) == refusal("not_found")

    await remove("lab.view_page", nobody, page)

    for visitor in visitors:
        assert await frames_of(visitor) == [deleted(page)]
    assert await frames_of(user) == []


async def test_another_user_in_the_same_session_is_not_shown_to_the_old_ones_socket(demo, connect, with_sessions):
    browser, scope = await logged_in(demo.cleo)
    client = await connect(**scope)
    assert "salary" not in (await look(client, demo.card))["payload"]
    before = browser.session.session_key

    await sync_to_async(browser.force_login)(demo.amira)
    await change(demo.card, title="new")
    assert ["salary" in frame["payload"] for frame in await frames_of(client)] == [False]
    the_hub().examine(the_hub().sockets)

    assert await client.take() == {"type": "websocket.close", "code": 4401}
    assert browser.session.session_key != before
    amiras = await connect(**scope_of(browser))
    assert "salary" in (await look(amiras, demo.card))["payload"]


async def test_a_primary_key_that_is_used_again_has_the_grants_that_guardian_left_as_a_get_has(demo, connect, granted):
    key, client = granted.pk, await connect(demo.ben)
    await look(client, granted)
    await granted.adelete()
    assert await frames_of(client) == [deleted(granted, Page(pk=key).hashid)]

    again = await make(pk=key, text="new")

    assert await sync_to_async(demo.ben.has_perm)("lab.view_page", again)
    assert [frame["payload"]["text"] for frame in await frames_of(client)] == ["new"]
    await again.adelete()
    await frames_of(client)
    await sync_to_async(clean_orphan_obj_perms)()
    await make(pk=key, text=SECRET)
    assert await client.rest() == []


# What tells nothing: ETags, sizes, numbers of frames and of queries


async def test_the_etag_and_the_size_of_a_frame_tell_nothing_of_a_hidden_field(demo, connect):
    client = await connect(demo.dev)
    await client.subscribe(demo.card)
    seen = set()
    for salary, notes in ((1, "short"), (1_000_000, "long " * 100)):
        await change(demo.card, salary=salary, notes=notes)
        again = await connect(demo.dev)
        await again.send({"action": "subscribe", **named(demo.card), "etag": None})
        seen.add((await again.take())["text"])

    [text] = seen
    assert json.loads(text)["meta"].keys() == {"model", "id", "etag"}
    assert await client.rest() == []


async def test_another_viewers_etag_is_worth_nothing(demo, connect):
    knows, colleague = await connect(demo.ben), await connect(demo.cleo)
    etag = (await look(knows, demo.card))["meta"]["etag"]
    own = await look(colleague, demo.card)
    await colleague.send({"action": "unsubscribe", **named(demo.card)})
    assert "salary" not in own["payload"]

    answers = []
    for guess in (etag, "0" * 32, "", None, own["meta"]["etag"]):
        await colleague.send({"action": "subscribe", **named(demo.card), "etag": guess})
        answers.append(await frames_of(colleague))
        await colleague.send({"action": "unsubscribe", **named(demo.card)})

    assert answers == [[own]] * 4 + [[]]


async def hide_by_grant(page, user):
    await sync_to_async(lambda: UserObjectPermission.objects.filter(user=user)._raw_delete("default"))()


async def remove_row(page, user):
    await sync_to_async(lambda: Page.objects.filter(pk=page.pk)._raw_delete("default"))()


@pytest.mark.parametrize("asks_again", [False, True])
async def test_deleted_and_revoked_are_the_same_frames_in_the_same_order_for_the_same_queries(
    demo, connect, batches, asks_again
):
    observed = []
    for vanish in (hide_by_grant, remove_row):
        page = await make(text="old")
        await assign("lab.view_page", demo.ben, page)
        client = await connect(demo.ben)
        await look(client, page)
        name = named(page)
        await vanish(page, demo.ben)
        batches.clear()
        if asks_again:
            await client.send({"action": "subscribe", **name, "request_id": 1, "etag": "held"})
            frames = [await client.receive(), await client.receive()]
        else:
            await anotify(page)
            frames = [await client.receive()]
        [(_, queries)] = batches
        assert await client.rest() == []
        observed.append((json.dumps(frames).replace(name["id"], "ID"), len(queries)))
        await client.close()

    assert observed[0] == observed[1]
    assert '"type": "DELETE_PAGE"' in observed[0][0]


async def test_refused_deleted_and_never_existed_are_the_same_frames_for_the_same_queries(
    demo, connect, batches, granted
):
    gone = await make()
    document = await make(Document)
    names = [named(granted), named(gone), {"model": "lab.Page", "id": hashid_of(Page(pk=77_777))}]
    names += [{"model": "lab.Page", "id": text} for text in (hashid_of(document), "aaaaa", "ü", "a" * 500)]
    await gone.adelete()
    observed = []
    for name in names:
        client = await connect(demo.dev)
        batches.clear()
        texts = []
        for more in ({"request_id": 1}, {}, {"etag": None}, {"etag": ""}, {"etag": "x", "request_id": 2}):
            await client.send({"action": "subscribe", **name, **more})
            for _ in range(2 if more.get("etag") else 1):
                texts.append((await client.take())["text"].replace(f'"{name["id"]}"', '"ID"'))
        assert list(the_hub().subscriptions()) == []
        queries = {len(queries) for _, queries in batches}
        await client.send({"action": "unsubscribe", **name})
        await client.send({"action": "unsubscribe", **name})
        observed.append((texts, queries, await client.rest()))
        await client.close()

    assert observed == [observed[0]] * len(observed)
    assert [json.loads(text)["type"] for text in observed[0][0]] == [*["ERROR"] * 4, "DELETE_PAGE", "ERROR"]
    assert observed[0][2] == []


async def test_what_is_not_published_looks_like_what_is_no_model(demo, connect):
    client = await connect(demo.admin)
    names = ["board.Board", "auth.Group", "no.Such", "board.card", "BOARD.CARD", "lab.Slug", "sessions.Session"]

    answers = [await client.ask({"model": name, "id": "aaaaa", "request_id": 1}) for name in names]

    assert answers == [refusal("unknown_model", 1)] * len(names)


async def test_a_request_id_comes_back_to_its_own_socket_as_it_was_and_nowhere_else(demo, connect):
    document = await make(Document)
    first, second = await connect(demo.ben), await connect(demo.cleo)
    ids = [None, 0, -1.5, "", "ü\u0000", [], {"a": [{"b": None}]}, True, SECRET]

    for request_id in ids:
        await first.send({"action": "subscribe", **named(document), "request_id": request_id})
        assert (await first.receive())["meta"] == {"request_id": request_id}
        assert (await first.ask({"action": "ping", "request_id": request_id}))["meta"] == {"request_id": request_id}
        refused = await first.ask({"action": "none", "request_id": request_id})
        assert refused["meta"] == {"request_id": request_id}
    assert (await second.subscribe(document, request_id="own"))["meta"] == {"request_id": "own"}
    await change(document, text="new")

    texts = await second.rest()
    assert [json.loads(text)["payload"]["text"] for text in texts] == ["new"]
    assert await first.rest() == texts


async def test_the_detail_of_an_error_says_nothing_that_was_sent(demo, connect):
    client = await connect(demo.ben)
    for frame in (
        {"text": SECRET},
        {"text": json.dumps([SECRET])},
        {"text": json.dumps({SECRET: SECRET})},
        {"text": json.dumps({"action": SECRET})},
        {"text": json.dumps({"action": "subscribe", "model": SECRET, "id": SECRET})},
        {"text": json.dumps({"action": "subscribe", "model": "lab.Page", "id": SECRET})},
        {"text": json.dumps({"action": "subscribe", "model": "lab.Page", "id": "a", "etag": [SECRET]})},
        {"text": SECRET * 2_000},
        {"bytes": SECRET.encode()},
    ):
        await client.send_raw(**frame)
        text = (await client.take())["text"]
        assert json.loads(text)["payload"]["code"] in ERRORS
        assert SECRET not in text


# What is on the channel layer, in the logs, and in the metrics


async def test_nothing_on_the_channel_layer_names_a_user_a_session_or_a_value(demo, connect, wire, with_sessions):
    page = await make(text=SECRET, owner=demo.ben)
    browser, scope = await logged_in(demo.ben)
    key = browser.session.session_key
    client = await connect(**scope)
    await assign("lab.view_page", demo.ben, page)
    await look(client, page)
    await look(client, demo.card)

    await change(page, text=f"{SECRET} again")
    await change(demo.card, notes=SECRET, salary=123_456)
    await change(demo.ben, email="ben@private.example", first_name=SECRET)
    await change(demo.ben, username="renamed")
    await remove("lab.view_page", demo.ben, page)
    await sync_to_async(demo.cleo.groups.set)([await Group.objects.aget(name="Payroll")])
    dev = await User.objects.aget(pk=demo.dev.pk)
    await sync_to_async(demo.dev.delete)()
    name = await Page.objects.aget(pk=page.pk)
    await sync_to_async(name.delete)()
    await sync_to_async(browser.logout)()
    message = await client.take()
    while message["type"] != "websocket.close":
        message = await client.take()

    users = [demo.amira, demo.ben, demo.cleo, demo.admin, dev]
    hashids = {*map(hashid_of, [page, demo.card, *users])}
    tokens = {token_of_session(key), *(token_of_user(user.pk) for user in users)}
    assert {frozenset(message) for _, message in wire.messages} == {frozenset({"type", "notices", "stamp", "echo"})}
    assert {message["echo"] == "" or message["notices"] == [] for _, message in wire.messages} == {True}
    assert all(isinstance(number, int) for _, message in wire.messages for number in message["stamp"][1:])
    assert len({message["stamp"][0] for _, message in wire.messages}) == 1  # the process, by a number of chance
    assert {message["type"] for _, message in wire.messages} == {"livegate.notices"}
    kinds, labels, named_ids, by_token = zip(*((*notice, "")[:4] for notice in wire.notices()), strict=True)
    assert {*kinds} == {"create", "update", "delete", "access", "logout"}
    assert {*labels} <= {"", "lab.Page", "board.Card", "auth.User", "lab.Unwatched"}
    assert {*named_ids} <= {"", *hashids}
    assert {""} < {*by_token} <= {"", *tokens}
    assert not any(str(name) in token for token in tokens for name in (key, *users))


def fails_with(error):
    def fail(*given):
        raise error(f"{SECRET} of {given}")

    return fail


def by_permission(fail):
    return {"to": permission(fail)}


def by_guard(fail):
    return {"serializer": shows(Page, "text", guarded={"text": permission(fail)})}


def by_method(fail):
    method = serializers.SerializerMethodField()
    return {"serializer": shows(Page, "text", "method", method=method, get_method=fail)}


def by_chooser(fail):
    return {"serializer": fail}


def by_fact(fail):
    return {"serializer": shows(Page, "text", "fact", fact=FactField(fail, default=0))}


def by_class(fail):
    return {"serializer": type("Fails", (serializers.Serializer,), {"to_representation": fail})}


WHERE = [by_permission, by_guard, by_method, by_chooser, by_fact, by_class]


@pytest.mark.parametrize("error", [ValueError, DatabaseError, SystemExit, StopIteration, asyncio.CancelledError])
@pytest.mark.parametrize("where", WHERE, ids=lambda function: function.__name__)
async def test_no_logger_is_told_the_text_of_an_error_of_the_applications(
    demo, connect, republish, caplog, where, error
):
    caplog.set_level(logging.DEBUG)
    unhandled = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    options = {"serializer": plain(Page, "text"), "to": anyone, **where(fails_with(error))}
    page = await make(text="a value of one row")
    client = await connect(demo.ben)
    republish(Page, options.pop("serializer"), **options)

    assert await look(client, page) == refusal("not_found")

    denied = [record.message for record in caplog.records if getattr(record, "event", "") == "viewer_denied"]
    assert all(f"({error.__name__} at {__file__}" in message for message in denied)
    assert denied
    for record in caplog.records:
        written = f"{record.getMessage()} {record.exc_text} {record.exc_info} {vars(record)}"
        assert not any(text in written for text in (SECRET, "a value of one row", demo.ben.username, demo.ben.email))
    assert unhandled == []


async def test_no_logger_is_told_what_could_not_be_sent(demo, connect, caplog):
    caplog.set_level(logging.DEBUG)
    document = await make(Document)
    client = await connect(demo.ben)
    await client.subscribe(document)
    [socket] = the_hub().sockets

    async def send(message):
        raise TypeError(f"can't send {message}")

    socket.send = send
    await change(document, text=SECRET)

    assert await client.take() == {"type": "websocket.close", "code": 1011}
    assert "delivery_failed" in {getattr(record, "event", "") for record in caplog.records}
    assert SECRET not in "".join(f"{vars(record)} {record.exc_text}" for record in caplog.records)


async def test_the_metrics_name_nobody_and_no_model(demo, connect, granted):
    client = await connect(demo.ben)
    await look(client, granted)
    await change(demo.ben, is_active=False)
    while (await client.take())["type"] != "websocket.close":
        pass

    assert counts().keys() == {*Count.__args__}
    assert {type(number) for number in counts().values()} == {int}
