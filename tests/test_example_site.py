"""The example site is read as an example: its REST API keeps tenants apart and tells nobody what they may not know."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import clients
import pytest
from asgiref.sync import sync_to_async
from board.models import Board, Card, Organization
from config import asgi
from config import settings as site_settings
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client as Browser
from django.utils import timezone
from guardian.shortcuts import assign_perm
from ledgers import kept
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from livegate.gateway.decisions import Pair
from livegate.gateway.entries import Entry
from livegate.gateway.evaluation import evaluate
from livegate.gateway.hub import _hubs as hubs
from livegate.gateway.metrics import counts
from livegate.gateway.publications import find
from livegate.serializers.hashids import encode


@pytest.fixture
def api():
    def client(user):
        client = APIClient()
        if user.is_authenticated:
            client.force_authenticate(user)
        return client

    return client


@pytest.fixture
def theirs(demo):
    """A board of the other organization."""
    return encode(
        Board, Board.objects.create(name="Theirs", organization=Organization.objects.get(name="Southgate")).pk
    )


def test_gone_forbidden_and_malformed_are_one_answer(demo, api):
    Card.objects.update(public=False)
    gone = Card.objects.create(board=demo.card.board, owner=demo.amira)
    asked = [demo.card.hashid, gone.hashid, "aaa"]
    gone.delete()

    answers = {
        (answer.status_code, answer.content)
        for user in (demo.dev, demo.nobody)
        for hashid in asked
        for answer in [api(user).get(f"/api/cards/{hashid}/")]
    }

    assert answers == {(404, b'{"detail":"Not found."}')}


def test_a_card_is_not_moved_to_another_organization_and_none_is_made_there(demo, api, theirs):
    amira = api(demo.amira)
    nowhere = encode(Board, 10**6)

    moved = amira.patch(f"/api/cards/{demo.card.hashid}/", {"board": theirs}, format="json")
    made = [amira.post("/api/cards/", {"title": "x", "board": board}, format="json") for board in (theirs, nowhere)]

    assert moved.status_code == 400
    assert [answer.status_code for answer in made] == [400, 400]
    assert made[0].content == made[1].content
    assert theirs not in amira.get("/api/cards/", headers={"accept": "text/html"}).content.decode()


def test_a_member_makes_a_card_and_lists_what_they_may_see(demo, api):
    board = encode(Board, demo.card.board_id)

    made = api(demo.cleo).post("/api/cards/", {"title": "New", "board": board}, format="json")

    assert made.status_code == 201
    assert made.json()["owner"]["username"] == "cleo"
    assert {card["title"] for card in api(demo.cleo).get("/api/cards/").json()} == {"New", "Platform engineer"}
    assert {card["title"] for card in api(demo.dev).get("/api/cards/").json()} == {"Platform engineer"}
    assert api(demo.nobody).post("/api/cards/", {"title": "x", "board": board}).status_code == 401


def test_only_who_may_edit_a_card_does_and_nobody_writes_what_they_may_not_see(demo, api):
    path = f"/api/cards/{demo.card.hashid}/"
    assert api(demo.cleo).patch(path, {"title": "x"}).status_code == 403
    assert api(demo.dev).delete(path).status_code == 403

    assign_perm("change_card", demo.cleo, demo.card)
    assert api(demo.cleo).patch(path, {"title": "Mine", "salary": 1}).status_code == 200

    demo.card.refresh_from_db()
    assert (demo.card.title, demo.card.salary) == ("Mine", 84_000)
    form = api(demo.cleo).get(path, headers={"accept": "text/html"}).content.decode()
    assert "Mine" in form
    assert "84000" not in form


def test_grants_are_the_owners_to_give_and_members_to_have(demo, api):
    path = f"/api/cards/{demo.card.hashid}/grants/"
    grant = {"user": "cleo", "permission": "view_salary"}

    assert api(demo.ben).post(path, grant, format="json").status_code == 403
    assert api(demo.amira).post(path, {**grant, "user": "dev"}, format="json").status_code == 400
    assert api(demo.amira).post(path, grant, format="json").json()["cleo"] == ["view_card", "view_salary"]
    assert api(demo.amira).delete(path, grant, format="json").json()["cleo"] == ["view_card"]
    assert api(demo.amira).get(path).json()["ben"] == ["view_card", "view_salary"]


def test_a_user_is_seen_in_full_by_themselves_in_part_by_colleagues_and_by_nobody_else(demo, api):
    path = f"/api/users/{encode(type(demo.cleo), demo.cleo.pk)}/"

    assert "email" in api(demo.cleo).get(path).json()
    assert api(demo.amira).get(path).json().keys() == {"id", "username"}
    assert api(demo.dev).get(path).status_code == 404
    assert api(demo.nobody).get(path).status_code == 401


def test_what_is_pushed_of_a_card_is_made_once_for_all_who_see_the_same(demo, viewer):
    people = [demo.amira, demo.ben, demo.cleo, demo.dev, demo.nobody, demo.admin]
    before = counts()

    views = evaluate(Pair(viewer(user), find("board.Card"), demo.card.hashid) for user in people).values()

    assert counts()["views_shared"] - before["views_shared"] == len(people)
    assert counts()["views_alone"] == before["views_alone"]
    assert len({id(view) for view in views}) == 4  # its owner, who may see the salary, a colleague, and all others


def test_out_of_debug_there_is_no_page_with_tokens_no_known_password_and_no_tap(demo, client, settings):
    settings.DEBUG = False
    assert client.get("/").status_code == 404
    assert client.post("/demo/reset/").status_code == 404
    with pytest.raises(CommandError, match="DEBUG=1"):
        call_command("load_demo")

    code = "from config.asgi import demo_urlpatterns; print(demo_urlpatterns)"
    environment = {"DEBUG": "0", "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert run.stdout.strip() == "[]", run.stderr


# What an operator is told

WHY = "/demo/why/"


def test_only_who_may_read_the_ledger_is_told_why_others_see_what_they_see(demo, api):
    for user in (demo.nobody, demo.amira, demo.ben):
        answer = api(user).get(WHY, {"user": "cleo"})
        assert answer.status_code in (401, 403)
        assert answer.json().keys() == {"detail"}
    assert api(demo.operator).get(WHY, {"user": "cleo"}).status_code == 200
    assert api(demo.operator).get(WHY, {"user": "who"}).status_code == 404

    Card.objects.update(public=False)
    assert api(demo.operator).get(f"/api/cards/{demo.card.hashid}/").status_code == 404
    assert demo.operator.get_all_permissions() == {"livegate_audit.view_ledgerentry"}


def test_out_of_debug_nobody_is_handed_an_operators_token(demo, client, settings):
    key = Token.objects.get(user=demo.operator).key
    settings.DEBUG = True
    assert key in client.get("/").content.decode()

    settings.DEBUG = False
    assert key not in client.get("/").content.decode()
    assert client.get(WHY).status_code == 401


def guard_of(told, name):
    [guarded] = [one for one in told["explanation"]["guarded"] if one["name"] == name]
    return guarded


def test_it_is_told_why_a_field_is_withheld_and_no_value(demo, api):
    demo.card.salary = 918_273_645  # is within no time and no ETag by chance, as a shorter one may be
    demo.card.save()
    operator = api(demo.operator)
    withheld = operator.get(WHY, {"user": "cleo"})
    assign_perm("view_salary", demo.cleo, demo.card)
    given = operator.get(WHY, {"user": "cleo"})

    assert guard_of(withheld.json(), "salary")["is_shown"] is False
    assert guard_of(withheld.json(), "salary")["guard"]["answer"] == "no"
    assert guard_of(given.json(), "salary")["is_shown"] is True
    for answer in (withheld, given):
        for value in (demo.card.title, demo.card.notes, str(demo.card.salary), demo.amira.email):
            assert value not in answer.content.decode()


def test_whoever_is_shown_the_same_bytes_is_named_and_so_is_what_is_not_there(demo, api):
    operator = api(demo.operator)
    assert operator.get(WHY, {"user": "dev"}).json()["explanation"]["shares_with"] == [""]
    assert operator.get(WHY).json()["explanation"]["shares_with"] == ["dev"]
    assert operator.get(WHY, {"user": "cleo"}).json()["explanation"]["shares_with"] == []

    demo.card.delete()

    told = operator.get(WHY, {"user": "amira"}).json()["explanation"]
    assert (told["decision"], told["basis"], told["tree"]) == ("no", "not there", None)


def test_the_ledger_of_the_last_minute_has_this_viewer_and_this_card_only(demo, api):
    about = {"model": "board.Card", "key": str(demo.card.pk), "fields": ("title",), "basis": "b", "cause": "change"}
    mine, others = str(demo.cleo.pk), str(demo.dev.pk)
    now = timezone.now()
    kept(
        Entry(now - timedelta(minutes=2), "shown", "p", 1, (mine,), (1,), **about),
        Entry(now, "shown", "p", 2, (others, mine), (2, 1), **about),
        Entry(now, "taken", "p", 3, (others,), (2,), **about),
        Entry(now, "shown", "p", 4, (mine,), (1,), **{**about, "key": "1"}),
        Entry(now, "refused", "p", 5, (mine,), (3,), **{**about, "fields": ()}),
    )

    ledger = api(demo.operator).get(WHY, {"user": "cleo"}).json()["ledger"]

    assert [(entry["kind"], entry["fields"]) for entry in ledger] == [("refused", []), ("shown", ["title"])]
    assert (ledger[1]["cause"], ledger[1]["basis"]) == ("change", "b")


def test_the_demonstration_is_on_record_and_the_tests_are_not(demo):
    assert site_settings.LIVEGATE["LEDGER"] == "showings"
    assert find("board.Card").level == "off"


# Sockets


@pytest.fixture
def served(monkeypatch):
    """Clients meet what the site serves, validators and middleware and all."""
    monkeypatch.setattr(clients, "application", asgi.application)


async def cookie_of(user):
    browser = Browser()
    await sync_to_async(browser.force_login)(user)
    return (b"cookie", f"{settings.SESSION_COOKIE_NAME}={browser.session.session_key}".encode())


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "https://localhost.evil.example", None])
async def test_a_page_of_another_site_opens_no_socket_with_the_cookies_of_who_looks_at_it(demo, served, origin):
    client = clients.Client()
    sent = [(b"origin", origin.encode())] if origin is not None else []
    client.scope["headers"] = [(b"host", b"localhost"), await cookie_of(demo.amira), *sent]
    opened = await client.open()

    assert opened["type"] == "websocket.close"  # and never was accepted: a server answers 403
    await client.close()


async def test_a_page_of_this_site_opens_a_socket_as_who_is_logged_in(demo, served, connect):
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost:8000"), await cookie_of(demo.amira)]
    client = await connect(headers=headers)
    shown = await client.ask({"model": "board.Card", "id": demo.card.hashid, "action": "subscribe", "etag": None})

    assert shown["payload"]["salary"] == demo.card.salary


async def test_a_token_connects_for_as_long_as_it_is_one(demo, served, connect):
    token = await sync_to_async(Token.objects.get)(user=demo.amira)
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    mine, nobodys = [
        await connect(headers=headers, subprotocols=["livegate", f"token.{key}"]) for key in (token.key, "nobody's")
    ]
    [hub] = hubs.values()
    await sync_to_async(token.delete)()
    hub.examine(hub.sockets)

    assert await mine.take() == {"type": "websocket.close", "code": 4401}
    assert (await nobodys.ask({"action": "ping"}))["type"] == "PONG"
