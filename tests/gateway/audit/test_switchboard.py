"""The register in the admin: shown to whoever may see it, narrowed as the command is, and closed from by who may."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.db import connections
from django.urls import reverse
from registers import FAR, answered, opened, watched

from livegate.gateway.audit import switchboard
from livegate.gateway.audit.models import RunningHub

PAGE = "/admin/livegate_audit/runninghub/"


@pytest.fixture
def board(demo, client, monkeypatch):
    """The page as the admin sees it, on which Amira and Dev are, and somebody who is anonymous."""
    amira, dev, nobody = opened(1, demo.amira, is_behind=True), opened(2, demo.dev), opened(3)
    client.force_login(demo.admin)
    client.answer = answered(*(watched(one, demo.card.hashid) for one in (amira, dev)), nobody, unanswered=(FAR,))
    client.closed = []

    def note(part):
        client.closed += [one.number for one in part.sockets]
        return len(part.sockets)

    monkeypatch.setattr(switchboard, "roll_call", lambda: client.answer)
    monkeypatch.setattr(switchboard, "close", note)
    return client


def allow(user, *codenames):
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))


def users(response):
    return [row.name for row, *_ in response.context["rows"]]


def test_it_has_all_that_are_there_and_who_did_not_answer(board):
    page = board.get(PAGE)

    assert users(page) == ["(anonymous)", "amira", "dev"]
    text = page.content.decode()
    assert "2 subscriptions, 3 sockets, 1 process that answered." in text
    assert "No answer came from fedcba9876543210 (web-2, process 18)" in text
    assert "0123456789abcdef:1 (behind)" in text


def test_it_is_linked_from_the_index(board):
    assert f'href="{PAGE}"' in board.get("/admin/").content.decode()


def test_it_is_narrowed_as_the_command_is(board, demo):
    southgate = demo.dev.memberships.get().organization_id

    assert users(board.get(PAGE, {"user": " amira "})) == ["amira"]
    assert users(board.get(PAGE, {"object": f"board.Card:{demo.card.hashid}"})) == ["amira", "dev"]
    assert users(board.get(PAGE, {"tenant": f"board.Organization:{southgate}"})) == ["dev"]
    assert users(board.get(PAGE, {"socket": "0123456789abcdef:3"})) == ["(anonymous)"]


def test_what_names_nothing_is_said(board):
    page = board.get(PAGE, {"user": "<zoe>"})

    assert "There is no user &lt;zoe&gt;." in page.content.decode()
    assert users(page) == []


def test_a_page_has_some_rows_and_says_how_many_more_there_are(board, monkeypatch):
    monkeypatch.setattr(switchboard, "ROWS", 2)

    page = board.get(PAGE)

    assert users(page) == ["(anonymous)", "amira"]
    assert "1 of these are not shown" in page.content.decode()


def test_the_ticked_sockets_are_closed(board):
    ticked = ["0123456789abcdef:1", "0123456789abcdef:3", "0123456789abcdef:99"]

    answer = board.post(f"{PAGE}?user=amira", {"close": ticked}, follow=True)

    assert board.closed == [1, 3]
    assert answer.redirect_chain == [(f"{PAGE}?user=amira", 302)]
    assert "Sockets that are being closed: 2." in answer.content.decode()


def test_who_may_see_may_not_close_unless_they_may(board, demo):
    allow(demo.cleo, "view_runninghub")
    board.force_login(demo.cleo)

    assert 'name="close"' not in board.get(PAGE).content.decode()
    assert board.post(PAGE, {"close": ["0123456789abcdef:1"]}).status_code == 403
    assert board.closed == []

    allow(demo.cleo, "view_runninghub", "close_sockets")
    assert 'name="close"' in board.get(PAGE).content.decode()
    assert board.post(PAGE, {"close": ["0123456789abcdef:1"]}).status_code == 302
    assert board.closed == [1]


@pytest.mark.parametrize("codenames", [[], ["close_sockets"], ["view_ledgerentry"]])
def test_who_may_not_see_it_sees_nothing_and_closes_nothing(board, demo, codenames):
    allow(demo.cleo, *codenames)
    board.force_login(demo.cleo)

    assert board.get(PAGE).status_code == 403
    assert board.post(PAGE, {"close": ["0123456789abcdef:1"]}).status_code == 403
    assert board.closed == []


def test_nothing_is_added_changed_or_deleted_there(board):
    RunningHub.objects.create(identity="p", host="h", pid=1, since="2026-03-01T12:00Z", seen="2026-03-01T12:00Z")

    assert board.get(f"{PAGE}add/").status_code == 403
    assert board.get(f"{PAGE}p/delete/").status_code == 403
    for name in ("change", "history"):
        assert board.get(reverse(f"admin:livegate_audit_runninghub_{name}", args=["p"])).url == PAGE


@pytest.mark.django_db(transaction=True)
def test_it_is_asked_outside_of_the_transaction_that_a_request_may_have(board, monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    atomic = []
    answer = board.answer
    in_one = lambda: connections["default"].in_atomic_block  # noqa: E731
    monkeypatch.setattr(switchboard, "roll_call", lambda: atomic.append(in_one()) or answer)

    board.get(PAGE)

    assert atomic == [False]
