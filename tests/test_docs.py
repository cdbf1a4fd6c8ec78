"""The documentation is true: its code is the code, its tables are the tables, its links lead somewhere."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from board.models import Card
from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm

import livegate
from livegate.gateway import publications
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.frames import ERRORS, updated
from livegate.gateway.logs import Event
from livegate.gateway.messages import parse
from livegate.gateway.metrics import Count, Gauge, Measure
from livegate.permissions import anyone
from livegate.permissions.requests import retrieval
from livegate.serializers.settings import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted(
    ".".join(["livegate", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for room in ("gateway", "permissions", "serializers")
    for path in (ROOT / room).rglob("*.py")
)


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a language on a page: where they stand, and what they say."""
    text = page.read_text()
    return [
        (f"{page.relative_to(ROOT)}:{text[: found.start()].count(chr(10)) + 1}", found[1])
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def blocks_of_all_pages(language: str) -> list[Any]:
    return [pytest.param(text, id=place) for page in PAGES for place, text in blocks(page, language)]


def source_of(block: str) -> Path | None:
    """The file of the example site that a block quotes: its first line names it, folder included."""
    named = re.match(r"# (\w+(?:/\w+)+\.py)\n", block)
    return ROOT / "example_site" / named[1] if named else None


QUOTED = [param for param in blocks_of_all_pages("python") if source_of(param.values[0])]
FREE = [param for param in blocks_of_all_pages("python") if not source_of(param.values[0])]


@pytest.mark.parametrize("block", QUOTED)
def test_quoted_code_stands_in_the_example_site_in_that_order(block: str) -> None:
    rest = iter(source_of(block).read_text().splitlines())  # type: ignore[union-attr]
    quoted = [line for line in block.splitlines()[1:] if line.strip() and line.strip() != "..." and "# …" not in line]

    assert quoted
    for line in quoted:
        assert line in rest, f"not there, or not in this order: {line}"  # and goes on after it: rest is an iterator


@pytest.mark.parametrize("block", [param for param in FREE if ">>>" not in param.values[0]])
def test_code_that_is_made_up_compiles(block: str) -> None:
    compile(block, "<docs>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in page.read_text()], ids=lambda page: page.name)
def test_the_examples_on_a_page_give_what_it_says(page: Path) -> None:
    """The examples of one page are one session."""
    session = "\n".join(block for _, block in blocks(page, "python") if ">>>" in block)
    runner = doctest.DocTestRunner()

    runner.run(doctest.DocTestParser().get_doctest(session, {}, page.name, str(page), 0))

    assert runner.tries
    assert runner.failures == 0


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_give_what_they_say(name: str) -> None:
    module = importlib.import_module(name)

    assert doctest.testmod(module, extraglobs={"livegate": livegate}).failed == 0


def links(page: Path) -> list[str]:
    outside_code = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", outside_code)


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page can be linked."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        assert "://" not in link, f"{link} is not ours, and may be gone tomorrow"
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [README]

    while ahead:
        page = ahead.pop()
        reached.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        ahead += [target for target in targets if target.suffix == ".md" and target not in reached]

    assert set(PAGES) - reached == set()


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head; cells without their backquotes."""
    section = (ROOT / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)[0].splitlines()[2:]  # type: ignore[index]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def test_the_protocol_lists_all_error_codes_and_no_others() -> None:
    assert [code for code, _ in table("docs/protocol.md", "Errors")] == list(ERRORS)


def test_the_settings_page_lists_all_settings_with_their_defaults() -> None:
    listed = {name: ast.literal_eval(default) for name, default, _ in table("docs/settings.md", "Settings")}

    assert listed == DEFAULTS


def test_the_settings_page_lists_all_system_checks() -> None:
    in_code = set(re.findall(r"livegate\.[A-Z]\d{3}", (ROOT / "gateway/checks.py").read_text()))

    assert {row[0] for row in table("docs/settings.md", "System checks")} == in_code


def test_the_settings_page_lists_all_log_words() -> None:
    assert sorted(row[0] for row in table("docs/settings.md", "Log words")) == sorted(get_args(Event))


def test_the_settings_page_has_the_level_of_each_log_word() -> None:
    levels = {"report": "ERROR", "warn": "WARNING", "tell": "INFO"}
    source = "".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    logged = {word: levels[function] for function, word in re.findall(r'\b(report|warn|tell)\(\s*"(\w+)"', source)}

    assert {word: level for word, level, *_ in table("docs/settings.md", "Log words")} == logged


EXPORTED = {"gauge": get_args(Gauge), "counter": get_args(Count), "histogram": get_args(Measure)}


def test_the_monitoring_page_lists_all_metrics_by_their_kind() -> None:
    listed = [(name, kind) for name, kind, _ in table("docs/monitoring.md", "Metrics")]

    assert listed == [(name, kind) for kind, names in EXPORTED.items() for name in names]


def exported_names() -> set[str]:
    """The names by which Prometheus knows them."""
    suffixes = {"gauge": [""], "counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {
        f"livegate_{name}{suffix}" for kind, names in EXPORTED.items() for name in names for suffix in suffixes[kind]
    }


@pytest.fixture
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs/grafana.json").read_text())
    return found


def asked_by(dashboard: dict[str, Any]) -> set[str]:
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [str(variable["query"]) for variable in dashboard["templating"]["list"]]
    return set(re.findall(r"livegate_\w+", " ".join(queries)))


def test_the_dashboard_asks_for_what_is_exported_and_for_all_of_it(dashboard: dict[str, Any]) -> None:
    shown = {re.sub(r"_(total|bucket)$", "", name).removeprefix("livegate_") for name in asked_by(dashboard)}

    assert asked_by(dashboard) <= exported_names()
    assert shown == {name for names in EXPORTED.values() for name in names}


def test_the_dashboard_can_be_imported_whatever_the_data_source_is_called(dashboard: dict[str, Any]) -> None:
    panels, variables = dashboard["panels"], dashboard["templating"]["list"]
    sources = [one["datasource"] for panel in panels for one in (panel, *panel["targets"])]
    sources += [variable["datasource"] for variable in variables if variable["type"] == "query"]

    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert variables[0] | {"name": "datasource", "type": "datasource", "query": "prometheus"} == variables[0]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)  # none lies upon another
    assert max(x for x, _ in places) < 24


def test_the_alerts_ask_for_what_is_exported() -> None:
    asked = {
        name for _, text in blocks(ROOT / "docs/monitoring.md", "yaml") for name in re.findall(r"livegate_\w+", text)
    }

    assert asked
    assert asked <= exported_names()


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = {
        "To run": project["project"]["dependencies"],
        "Only where it is asked for": [
            name for extra in project["project"]["optional-dependencies"].values() for name in extra
        ],
        "For the example site": groups["example"],
        "For the benchmark": groups["bench"],
        "For the tests": groups["test"],
        "For the checks": groups["check"],
    }
    names = {
        heading: [re.match(r"[\w-]+", entry)[0] for entry in entries if isinstance(entry, str)]  # type: ignore[index]
        for heading, entries in wanted.items()
    }

    for heading, listed in names.items():
        assert sorted(row[0] for row in table("docs/dependencies.md", heading)) == sorted(listed)


@pytest.mark.parametrize("block", blocks_of_all_pages("json"))
def test_every_frame_that_is_shown_is_one_of_the_protocol(block: str) -> None:
    frame = json.loads(block)

    if "type" not in frame:
        parse(block)  # raises what a client would be refused for
    elif frame["type"] == "ERROR":
        assert frame["payload"]["detail"] == ERRORS[frame["payload"]["code"]]
    else:
        assert re.fullmatch(r"SUBSCRIBED|PONG|DELAYED|CURRENT|(UPDATE|DELETE)_[A-Z]+", frame["type"])
        assert frame.keys() <= {"type", "payload", "meta"}


@pytest.mark.django_db(transaction=True)
def test_the_first_screen_of_the_readme_is_what_happens(demo, viewer, monkeypatch) -> None:
    """Its models, serializer and publication are made, in the app ``lab``, and looked at by its two people."""
    monkeypatch.setattr(publications, "_publications", {})
    shown = [json.loads(text) for _, text in blocks(README, "json")[:2]]
    with made(blocks(README, "python")[0][1], "Card") as names:
        card_model = names["Card"]
        card = card_model.objects.create(title="Engineer", salary=84_000, owner=demo.amira)
        kind = ContentType.objects.get_for_model(card_model)
        assign_perm(Permission.objects.create(codename="view_card", name="-", content_type=kind), demo.cleo, card)
        publication = publications.find("lab.Card")
        amira, cleo, dev = (Pair(viewer(user), publication, card.hashid) for user in (demo.amira, demo.cleo, demo.dev))

        card.title, card.salary = "Platform engineer", 90_000
        card.save()
        views = evaluate([amira, cleo, dev])
        card.salary = 95_000
        card.save()
        later = evaluate([amira, cleo, dev])

        sent = [json.loads(updated(pair, views[pair])) for pair in (amira, cleo)]
        assert [as_shown(frame) for frame in sent] == [as_shown(frame) for frame in shown]
        assert views[dev] is None
        assert later[cleo] == views[cleo]
        assert later[amira] != views[amira]


@pytest.mark.django_db(transaction=True)
def test_the_example_of_a_fact_asks_once_for_all_viewers_and_once_for_a_list(demo, viewer, republish) -> None:
    [block] = [text for _, text in blocks(ROOT / "docs/serializers.md", "python") if "def favorites" in text]
    people = [viewer(user) for user in (demo.amira, demo.ben, demo.cleo, demo.nobody)]
    with made(block, "Favorite") as names:
        serializer = names["CardSerializer"]
        names["Favorite"].objects.create(user=demo.ben, card=demo.card)
        publication = republish(Card, serializer, to=anyone)
        pairs = [Pair(one, publication, demo.card.hashid) for one in people]
        request = retrieval(people[1], demo.card).request

        with CaptureQueriesContext(connection) as pushed:
            views = evaluate(pairs)
        with CaptureQueriesContext(connection) as listed:
            rows = serializer([demo.card, Card(pk=7)], many=True, context={"request": request}).data

        marked = [json.loads(views[pair].body)["is_favorite"] for pair in pairs]  # type: ignore[union-attr]
        assert marked == [False, True, False, False]
        assert [row["is_favorite"] for row in rows] == [True, False]
        assert [sum("lab_favorite" in query["sql"] for query in asked) for asked in (pushed, listed)] == [1, 1]


@contextmanager
def made(block: str, model: str) -> Iterator[dict[str, Any]]:
    """What the code of a page makes, by its names; its model has a table meanwhile, and is of the app ``lab``."""
    names: dict[str, Any] = {"__name__": "lab.docs"}
    exec(block, names)
    with connection.schema_editor() as editor:
        editor.create_model(names[model])
    try:
        yield names
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(names[model])
        del apps.all_models["lab"][model.lower()]
        apps.clear_cache()


def as_shown(frame: dict[str, Any]) -> dict[str, Any]:
    """A frame without what differs from one installation to the next, and the README's app instead of the test's."""
    assert frame["payload"]["id"] == frame["meta"]["id"]
    assert re.fullmatch("[0-9a-f]{32}", frame["meta"]["etag"])
    payload = {name: value for name, value in frame["payload"].items() if name != "id"}
    return {**frame, "payload": payload, "meta": {"model": frame["meta"]["model"].replace("lab.", "board.")}}
