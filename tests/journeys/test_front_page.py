"""The demonstration in a real browser: a person edits, grants, revokes and deletes, and looks at five panes.

With ``SCREENSHOTS`` set to a folder, what the person sees is kept there.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import servers
from playwright.sync_api import expect, sync_playwright
from site_client import rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Locator, Page, Route, WebSocketRoute

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
# Each size and each scheme once: no size looks at the scheme.
LOOKS = [("desktop", "light"), ("phone", "dark")]
PANES = ["amira", "ben", "cleo", "dev", "anonymous"]
EVERYTHING = {"title", "status", "public", "notes", "salary", "owner", "board"}

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=servers.program("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=LOOKS, ids="-".join)
def page(request: pytest.FixtureRequest, browser: Browser, site: Any) -> Iterator[Page]:
    """The front page at its beginning, on a laptop in light and on a phone in the dark; no error in the console."""
    size, scheme = request.param
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    urlopen(f"http://{site.address}/demo/reset/", data=b"").close()
    page.goto(f"http://{site.address}/")
    for viewer in PANES:
        expect(pane(page, viewer)).to_have_attribute("data-state", "showing")
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def keep(request: pytest.FixtureRequest, page: Page) -> Callable[[str], None]:
    """Keep a screenshot under a name, where they are wanted."""

    def screenshot(name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}-{request.node.callspec.id}.png", full_page=True)

    return screenshot


def pane(page: Page, viewer: str) -> Locator:
    return page.locator(f'.pane[data-viewer="{viewer}"]')


def field(page: Page, viewer: str, name: str) -> Locator:
    return pane(page, viewer).locator(f'[data-field="{name}"]')


def expect_fields(page: Page, viewer: str, shown: set[str]) -> None:
    """Exactly these fields are shown in the pane."""
    for name in sorted(EVERYTHING):
        absent = pane(page, viewer).locator(f'[data-field="{name}"][data-absent]')
        expect(absent).to_have_count(0 if name in shown else 1)


def frames(page: Page) -> dict[str, int]:
    return {viewer: int(pane(page, viewer).locator("[data-frames]").inner_text()) for viewer in PANES}


def test_a_person_edits_grants_revokes_and_deletes_and_each_pane_shows_its_own(page: Page, keep: Any) -> None:
    public = {"title", "status", "public", "owner"}
    for viewer, shown in [
        ("amira", EVERYTHING),
        ("ben", EVERYTHING),
        ("cleo", EVERYTHING - {"salary"}),
        ("dev", public),
        ("anonymous", public),
    ]:
        expect_fields(page, viewer, shown)
    expect(field(page, "amira", "owner")).to_contain_text("amira@northwind.example")
    expect(field(page, "ben", "owner")).not_to_contain_text("amira@northwind.example")
    keep("1-start")

    before = frames(page)
    page.locator("#edit-salary").fill("91000")
    page.locator("#save").click()
    for viewer in ("amira", "ben"):
        expect(field(page, viewer, "salary")).to_have_text("91000")
    keep("2-salary-changed")
    page.locator("#edit-title").fill("Staff engineer")
    page.locator("#save").click()
    for viewer in PANES:
        expect(field(page, viewer, "title")).to_have_text("Staff engineer")
    told = {viewer: count - before[viewer] for viewer, count in frames(page).items()}
    assert told == {"amira": 2, "ben": 2, "cleo": 1, "dev": 1, "anonymous": 1}

    page.locator("#grant-view_salary").click()
    expect(field(page, "cleo", "salary")).to_have_text("91000")
    expect_fields(page, "cleo", EVERYTHING)
    keep("3-granted")

    page.locator("#edit-public").uncheck()
    page.locator("#save").click()
    for viewer in ("dev", "anonymous"):
        expect(pane(page, viewer)).to_have_attribute("data-state", "nothing")
    expect(field(page, "cleo", "public")).to_have_text("false")

    page.locator("#grant-view_salary").click()
    expect_fields(page, "cleo", EVERYTHING - {"salary"})
    page.locator("#grant-view_card").click()
    expect(pane(page, "cleo")).to_have_attribute("data-state", "nothing")
    expect(pane(page, "cleo")).not_to_contain_text("Staff engineer")
    keep("4-revoked")

    page.locator("#grant-view_card").click()
    expect(pane(page, "cleo")).to_have_attribute("data-state", "showing")

    page.locator("#delete").click()
    for viewer in PANES:
        expect(pane(page, viewer)).to_have_attribute("data-state", "nothing")
        expect(pane(page, viewer)).not_to_contain_text("Staff engineer")
    keep("5-deleted")

    notices = page.locator("#notices li")
    expect(notices.first).to_contain_text('"delete"')
    for text in notices.all_text_contents():
        assert "Staff" not in text
        assert "91000" not in text
        assert "cleo" not in text


def panel(page: Page, part: str) -> Locator:
    return page.locator(f'#why [data-part="{part}"]')


def expect_answer(page: Page, name: str, word: str) -> None:
    """What is told of a guarded field: whether it is sent."""
    expect(page.locator(f'#why [data-guarded="{name}"] summary')).to_have_text(f"{name} {word}")


def test_an_operator_is_told_why_a_viewer_sees_what_they_see_and_what_is_on_the_ledger(page: Page, keep: Any) -> None:
    button = pane(page, "cleo").locator(".ask")
    expect(page.locator("#why")).to_be_hidden()

    button.press("Enter")
    expect(page.locator("#why")).to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(panel(page, "summary")).to_have_text("Cleo may see the card, without salary and owner.email.")
    expect_answer(page, "salary", "not sent")
    refused = page.locator('#why [data-guarded="salary"] [data-answer="no"] > .line', has_text="has_perm")
    expect(refused).to_be_visible()
    expect(refused).to_contain_text('has_perm("view_salary"): no')
    shown = page.locator('#why .entries [data-kind="shown"]')
    expect(shown.first).to_contain_text("request")
    expect(shown.first.locator(".names")).to_contain_text("notes")
    expect(shown.first.locator(".names")).not_to_contain_text("salary")
    expect(shown.first.locator(".basis")).to_contain_text("is_public: yes")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    keep("6-why")

    page.locator("#grant-view_salary").click()
    expect_answer(page, "salary", "sent")
    expect(shown.first).to_contain_text("rights")
    expect(shown.first.locator(".names")).to_contain_text("salary")
    page.locator("#grant-view_salary").click()
    expect_answer(page, "salary", "not sent")
    page.locator("#grant-view_card").click()
    page.locator("#edit-public").uncheck()
    page.locator("#save").click()
    expect(panel(page, "summary")).to_have_text("Cleo may not see the card, and is told no reason.")
    expect(page.locator("#why .entries li").first).to_contain_text("taken away")
    keep("7-why-not")
    assert "84000" not in page.locator("#why").text_content()
    assert "Two strong candidates" not in page.locator("#why").text_content()

    pane(page, "dev").get_by_role("heading").click()
    expect(panel(page, "name")).to_have_text("Dev")
    expect(button).to_have_attribute("aria-expanded", "false")
    page.locator("#delete").click()
    expect(pane(page, "amira")).to_have_attribute("data-state", "nothing")
    pane(page, "amira").locator(".ask").press("Space")
    expect(panel(page, "summary")).to_have_text("Amira has nothing to see, and is told no reason.")
    expect(panel(page, "decision")).to_have_text("not there")
    panel(page, "close").press("Enter")
    expect(page.locator("#why")).to_be_hidden()
    expect(pane(page, "amira").locator(".ask")).to_be_focused()


def test_what_an_operator_is_told_follows_the_frames_of_the_pane(page: Page) -> None:
    page.clock.install()
    page.reload()
    expect(pane(page, "cleo")).to_have_attribute("data-state", "showing")
    pane(page, "cleo").locator(".ask").click()
    expect_answer(page, "salary", "not sent")
    page.clock.pause_at(page.evaluate("Date.now() + 60_000"))  # from then on nothing is asked because of the time

    page.locator("#grant-view_salary").click()
    expect_answer(page, "salary", "sent")
    page.locator("#grant-view_salary").click()
    expect_answer(page, "salary", "not sent")


def test_a_refused_viewer_is_on_the_ledger_and_what_is_folded_stays_so(page: Page) -> None:
    page.locator("#edit-public").uncheck()
    page.locator("#save").click()
    expect(pane(page, "dev")).to_have_attribute("data-state", "nothing")
    page.reload()
    expect(pane(page, "dev").locator('[data-part="reason"]')).to_contain_text("not_found")
    pane(page, "dev").locator(".ask").click()
    expect(page.locator('#why .entries [data-kind="refused"]').first).to_contain_text("is_public: no")

    pane(page, "cleo").locator(".ask").click()
    expect_answer(page, "salary", "not sent")
    salary = page.locator('#why [data-guarded="salary"]')
    expect(salary).to_have_attribute("open", "")
    salary.locator("summary").press("Enter")
    page.locator("#edit-title").fill("Staff engineer")
    page.locator("#save").click()
    expect(page.locator("#why .entries li").first).to_contain_text("change")
    expect(salary).not_to_have_attribute("open", "")


def test_an_answer_that_comes_late_is_not_taken_for_one_about_another_viewer(page: Page) -> None:
    late: list[Route] = []
    page.route(re.compile("why.*=dev"), lambda route: late.append(route))
    pane(page, "dev").locator(".ask").click()
    pane(page, "cleo").locator(".ask").click()
    expect(panel(page, "summary")).to_have_text("Cleo may see the card, without salary and owner.email.")
    panel(page, "summary").evaluate(
        """summary => {
            window.summaries = [];
            new MutationObserver(() => summaries.push(summary.textContent)).observe(summary, { childList: true });
        }"""
    )

    with page.expect_response(re.compile("why.*=dev")) as answered:
        late[0].continue_()
    answered.value.finished()
    page.locator("#grant-view_salary").click()
    expect(panel(page, "summary")).to_have_text("Cleo may see the card, without owner.email.")
    assert [text for text in page.evaluate("summaries") if "notes" in text] == []


def test_a_click_on_a_pane_asks_and_one_that_selects_or_unfolds_does_not(page: Page) -> None:
    pane(page, "ben").locator("summary").click()
    expect(pane(page, "ben").locator("details")).to_have_attribute("open", "")
    place = field(page, "ben", "title").bounding_box()
    page.mouse.move(place["x"] + 2, place["y"] + 8)
    page.mouse.down()
    page.mouse.move(place["x"] + 60, place["y"] + 8)
    page.mouse.up()
    assert page.evaluate("getSelection().isCollapsed") is False
    assert pane(page, "ben").locator(".ask").get_attribute("aria-expanded") == "false"

    field(page, "ben", "status").click()
    expect(panel(page, "name")).to_have_text("Ben")
    field(page, "ben", "status").click()
    expect(page.locator("#why")).to_be_hidden()


class Wires:
    """The sockets of the five panes, on their way to the server: what goes over them is seen, and they can be cut."""

    def __init__(self, page: Page) -> None:
        self.ends: list[WebSocketRoute] = []
        self.sent: dict[str, str] = {}  # the last ETag that the page was sent, by the token of its viewer
        self.presented: dict[str, str] = {}  # the one that the page presented
        page.route_web_socket("**/ws/notifications/", self.join)

    def join(self, to_page: WebSocketRoute) -> None:
        to_server, token = to_page.connect_to_server(), to_page.protocols[1]
        self.ends += [to_page, to_server]

        def present(text: str) -> None:
            self.presented[token] = json.loads(text)["etag"]
            to_server.send(text)

        def pass_on(text: str) -> None:
            if etag := json.loads(text).get("meta", {}).get("etag"):
                self.sent[token] = etag
            to_page.send(text)

        to_page.on_message(present)
        to_server.on_message(pass_on)

    def say(self, text: str) -> None:
        """To the page, as if the server said it on each socket."""
        for to_page in self.ends[::2]:
            to_page.send(text)

    def cut(self) -> dict[str, str]:
        """Gives what the page holds then."""
        ends, self.ends, self.presented = self.ends, [], {}
        for end in ends:
            end.close(code=1012)
        return dict(self.sent)


def test_a_page_that_was_cut_off_presents_what_it_holds_and_is_sent_what_differs(page: Page, site: Any) -> None:
    wires = Wires(page)
    page.reload()
    for viewer in PANES:
        expect(pane(page, viewer)).to_have_attribute("data-state", "showing")
    before = frames(page)

    held = wires.cut()
    rest(site, "amira", "PATCH", {"salary": 91_000})
    for viewer in ("amira", "ben"):
        expect(field(page, viewer, "salary")).to_have_text("91000")
    for viewer in ("cleo", "dev", "anonymous"):
        expect(pane(page, viewer).locator('[data-part="raw"]')).to_contain_text("SUBSCRIBED")
    assert wires.presented == held
    assert len(set(held.values())) == 4  # the two strangers hold the same

    held = wires.cut()
    rest(site, "amira", "PATCH", {"public": False})
    for viewer in ("amira", "ben", "cleo"):
        expect(field(page, viewer, "public")).to_have_text("false")
    for viewer in ("dev", "anonymous"):
        expect(pane(page, viewer)).to_have_attribute("data-state", "nothing")
        expect(pane(page, viewer).locator('[data-part="raw"]')).to_contain_text("not_found")
        expect(pane(page, viewer).locator('[data-part="said"]')).to_have_text("left the view")
    told = {viewer: count - before[viewer] for viewer, count in frames(page).items()}
    assert told == {"amira": 2, "ben": 2, "cleo": 1, "dev": 1, "anonymous": 1}


def test_a_view_that_may_be_old_is_marked_until_it_is_current(page: Page, keep: Callable[[str], None]) -> None:
    wires = Wires(page)
    page.reload()
    for viewer in PANES:
        expect(pane(page, viewer)).to_have_attribute("data-state", "showing")

    wires.say('{"type": "DELAYED"}')
    for viewer in PANES:
        expect(pane(page, viewer).locator('[data-part="connection"]')).to_have_text("may be old")
        expect(pane(page, viewer)).to_have_attribute("data-state", "showing")
    keep("delayed")
    wires.say('{"type": "CURRENT"}')
    for viewer in PANES:
        expect(pane(page, viewer).locator('[data-part="connection"]')).to_have_text("connected")


def test_whom_an_operator_has_closed_is_told_and_does_not_come_back(page: Page, site: Any) -> None:
    wires = Wires(page)
    page.reload()
    for viewer in PANES:
        expect(pane(page, viewer)).to_have_attribute("data-state", "showing")
    [closed] = [end for end in wires.ends[::2] if end.protocols[1] == f"token.{site.tokens['cleo']}"]
    wires.ends = [end for end in wires.ends if end is not closed]

    closed.close(code=4403)

    others = [viewer for viewer in PANES if viewer != "cleo"]
    for _ in range(2):  # in which time anybody would have come back
        wires.cut()
        while len(wires.presented) < len(others):
            page.wait_for_timeout(20)
    expect(pane(page, "cleo").locator('[data-part="connection"]')).to_have_text("closed by an operator")
    assert len(wires.ends) == 2 * len(others)


def test_the_page_fits_its_width_and_is_used_by_keyboard(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    order = ["edit-title", "edit-status", "save", "grant-view_card", "grant-view_salary", "delete", "reset"]
    places = [reached.index(name) for name in order]
    assert {"edit-notes", "edit-salary", "edit-public"} <= set(reached)
    assert places[0] < places[2] < places[3] < places[5]


def test_every_control_has_a_name_and_every_pane_a_heading_and_a_place_for_news(page: Page) -> None:
    for control in page.locator("input:visible, select, textarea, button").all():
        name = control.evaluate("element => (element.labels?.[0]?.innerText || element.innerText || '').trim()")
        assert name, control.evaluate("element => element.outerHTML")
    for viewer in PANES:
        assert pane(page, viewer).get_by_role("heading").count() == 1
        assert pane(page, viewer).locator("[aria-live=polite], [role=status]").count() == 1
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
