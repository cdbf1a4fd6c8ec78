"""The ledger in the admin: read and not written, found by object and user, and never counted to its end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from ledgers import FIRST, NOON, fill, kept, made, plan, scans

from livegate.gateway.audit import admin, pages
from livegate.gateway.audit.admin import LedgerLinksMixin, ledger_buttons
from livegate.gateway.audit.models import LedgerEntry

User = get_user_model()
LIST = "/admin/livegate_audit/ledgerentry/"


@pytest.fixture
def browser(demo):
    browser = Client()
    browser.force_login(demo.admin)
    return browser


def listed(browser, query=""):
    answer = browser.get(LIST + query)
    assert answer.status_code == 200, answer.headers
    return [entry.number for entry in answer.context["cl"].result_list]


def of_card(card, **facts):
    return {"model": "board.Card", "key": str(card.pk), "hashid": card.hashid, **facts}


def test_nobody_adds_changes_or_deletes_an_entry(browser):
    [entry] = kept(made(users=("1",), basis="is_owner=yes"))
    row = LedgerEntry.objects.get()

    for method, path in [
        ("get", "add/"),
        ("post", "add/"),
        ("post", f"{row.pk}/change/"),
        ("post", f"{row.pk}/delete/"),
    ]:
        assert getattr(browser, method)(LIST + path, {"basis": "forged"}).status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})

    assert LedgerEntry.objects.get().basis == "is_owner=yes"
    assert listed(browser) == [entry.number]


def test_who_may_view_it_is_said_by_a_permission(demo):
    browser = Client()
    User.objects.filter(pk=demo.cleo.pk).update(is_staff=True)
    browser.force_login(demo.cleo)
    assert browser.get(LIST).status_code == 403

    demo.cleo.user_permissions.add(Permission.objects.get(codename="view_ledgerentry"))

    assert browser.get(LIST).status_code == 200


def test_a_row_tells_what_an_entry_says(browser, demo):
    amira = str(demo.amira.pk)
    [shown, *_] = kept(
        made(
            users=(amira, "", "77777"),
            fields=("id", "salary"),
            basis="is_owner=<yes>",
            cause="change",
            **of_card(demo.card),
        ),
        made("closed", minute=1, users=(amira,), code=4401),
        made("lost", minute=2, missing=1_200),
        made("refused", minute=3, users=("",), model="gone.Model", key="1", hashid="x"),
        made("refused", minute=4, users=("",), model="board.Card", hashid="<guessed>"),
        made("taken", minute=5, users=tuple(map(str, range(900, 909))), model="malformed", key="1"),
    )
    kept(made("withheld", minute=9, users=("",), sockets=(1,), of=shown.number))

    page = browser.get(LIST).content.decode()

    for text in (
        f'board.Card <a href="/admin/board/card/{demo.card.pk}/change/">{demo.card.hashid}</a>',
        "amira, (anonymous) (not sent), (gone: 77777)",
        "id, salary",
        "is_owner=&lt;yes&gt;",
        "code 4401",
        "1,200 not kept",
        "gone.Model x",
        "board.Card &lt;guessed&gt;",
        "(gone: 904) and 4 more",
    ):
        assert text in page, text


def test_the_page_of_an_entry_has_what_it_has(browser, demo):
    kept(made(users=tuple(map(str, range(900, 909))), **of_card(demo.card)), made("lost", missing=3))
    shown, lost = LedgerEntry.objects.order_by("pk")

    whole, little = (browser.get(f"{LIST}{entry.pk}/change/").content.decode() for entry in (shown, lost))

    assert "(gone: 908)" in whole
    assert "Viewers" in whole
    assert "Viewers" not in little
    assert "3 not kept" in little
    assert browser.get(f"{LIST}77777/change/").status_code == 302


@pytest.fixture
def various(demo):
    """Entries by what they are."""
    amira, cleo = str(demo.amira.pk), str(demo.cleo.pk)
    entries = {
        "amira": made(users=(amira,), **of_card(demo.card)),
        "cleo": made(minute=1, users=(cleo,), **of_card(demo.card)),
        "refused": made("refused", minute=2, users=(cleo,), model="board.Card", hashid="guessed"),
        "anonymous": made("refused", minute=3, users=("",), **of_card(demo.card)),
        "gone": made(minute=4, users=("77777",), model="gone.Model", key="5", hashid="y"),
        "user": made(minute=5, users=(amira,), model="auth.User", key=cleo),
    }
    kept(*entries.values())
    return {name: entry.number for name, entry in entries.items()}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["user", "gone", "anonymous", "refused", "cleo", "amira"]),
        ("?kind__exact=refused", ["anonymous", "refused"]),
        ("?label=auth.User", ["user"]),
        ("?object=board.Card:{card}", ["anonymous", "cleo", "amira"]),
        ("?object=gone.Model:5", ["gone"]),
        ("?object=board.Card:x", []),
        ("?object=nonsense", []),
        ("?user={amira}", ["user", "amira"]),
        ("?user=", ["anonymous"]),
        ("?user=77777", ["gone"]),
        ("?user={amira}&object=board.Card:{card}", ["amira"]),
        ("?q=cleo", ["refused", "cleo"]),
        ("?q={card}", ["anonymous", "cleo", "amira"]),
        ("?q={hashid}", ["anonymous", "cleo", "amira"]),
        ("?q={hashid}+cleo", ["cleo"]),
        ("?q=guessed", ["refused"]),
        ("?q=77777", ["gone"]),
        ("?q=nobody", []),
        ("?q=" + "x" * 1_000, []),
        ("?at__gte=2026-03-01T12:04:00Z", ["user", "gone"]),
    ],
)
def test_entries_are_found_by_filter_and_by_search(browser, demo, various, query, found):
    there = {"card": demo.card.pk, "hashid": demo.card.hashid, "amira": demo.amira.pk}

    assert listed(browser, query.format(**there)) == [various[name] for name in found]


def test_a_long_list_is_paged_through_by_what_is_older(browser, monkeypatch):
    for module in (admin, pages):
        monkeypatch.setattr(module, "MOST", 3)
    entries = kept(*(made(minute=minute) for minute in range(7)))

    seen, query = [], ""
    while True:
        cl = browser.get(LIST + query).context["cl"]
        seen += [entry.number for entry in cl.result_list][: cl.result_count]
        assert cl.is_older == bool(query)
        if not cl.older_url:
            break
        query = cl.older_url

    assert seen == [entry.number for entry in reversed(entries)]
    assert cl.newest_url == "?"


# The way there


def buttons(browser, path):
    page = browser.get(path)
    return dict(page.context.get("ledger_buttons") or []), page.content.decode()


def test_the_page_of_an_object_and_of_a_user_lead_to_what_is_on_record(browser, demo, various):
    of_object, page = buttons(browser, f"/admin/board/card/{demo.card.pk}/change/")
    of_user, _ = buttons(browser, f"/admin/auth/user/{demo.amira.pk}/change/")

    assert "Object permissions" in page  # guardian's page, around which it is
    assert list(of_object) == ["Who saw it"]
    assert list(of_user) == ["Who saw it", "What was shown to them"]
    query = of_object["Who saw it"].removeprefix(LIST)
    assert listed(browser, query) == [various["cleo"], various["amira"]]
    query = of_user["What was shown to them"].removeprefix(LIST)
    assert listed(browser, query) == [various["user"], various["amira"]]


def test_who_may_not_view_the_ledger_has_no_button(demo):
    User.objects.filter(pk=demo.cleo.pk).update(is_staff=True)
    demo.cleo.user_permissions.add(Permission.objects.get(codename="change_card", content_type__app_label="board"))
    browser = Client()
    browser.force_login(demo.cleo)

    assert buttons(browser, f"/admin/board/card/{demo.card.pk}/change/")[0] == {}


def test_there_is_no_button_for_what_is_not_there_nor_where_the_ledger_is_not(browser, demo, rf):
    assert buttons(browser, "/admin/board/card/add/")[0] == {}
    request = rf.get("/")
    request.user = demo.admin
    assert ledger_buttons(request, demo.card, admin.admin.site)
    assert ledger_buttons(request, demo.card, admin.admin.AdminSite()) == []
    assert ledger_buttons(request, demo.card.board, admin.admin.site) == []  # which is not published


def test_a_page_that_is_no_template_is_left_as_it_is(demo, rf):
    class Bare:
        admin_site = admin.admin.site

        def render_change_form(self, request, context, *args, **kwargs):
            return HttpResponse("bare")

    class Page(LedgerLinksMixin, Bare):
        pass

    request = rf.get("/")
    request.user = demo.admin
    assert Page().render_change_form(request, {}, obj=demo.card).content == b"bare"


# How fast


QUERIES = [
    "",
    "?p=20",
    "?kind__exact=refused",
    "?label=board.Card",
    f"?object=board.Card:{FIRST}",
    f"?object=board.Card:{FIRST + 20_000}&kind__exact=shown",
    f"?at__lte={(NOON + timedelta(days=300)).isoformat().replace('+', '%2B')}",
]
OF_USERS = [f"?user={FIRST}", f"?user={FIRST + 5_000}&kind__exact=shown", f"?q={FIRST + 5_000}", "?q=nobody"]


def test_no_page_of_the_list_reads_the_whole_table(browser):
    """Nor, on PostgreSQL, one about a user."""
    fill(120_000)
    assert Card.objects.exists()

    for query in QUERIES + (OF_USERS if connection.vendor == "postgresql" else []):
        with CaptureQueriesContext(connection) as asked:
            assert browser.get(LIST + query).status_code == 200
        about = [one["sql"] for one in asked if '"livegate_audit_ledgerentry"' in one["sql"]]
        assert 2 <= len(about) <= 4, query
        for sql in about:
            assert not scans(plan(sql)), (query, sql, plan(sql))
