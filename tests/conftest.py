"""What all tests share: the people and the card of the demonstration, and clients on sockets."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from board.demo import load
from board.models import Card
from board.permissions import can_see
from board.serializers import CardSerializer
from channels.layers import channel_layers
from clients import connected
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from hypothesis import HealthCheck, settings
from lab.sinks import MemorySink
from lab.states import add, keep, restore
from readers import World
from rest_framework.test import APIClient

from livegate.gateway import evaluator, publications, recorder
from livegate.gateway.courier import courier
from livegate.gateway.publications import publish
from livegate.permissions import Viewer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from django.db.models import Model
    from pytest_django.plugin import DjangoDbBlocker

    from livegate.gateway.publications import Publication

# How long an example takes depends on what else the machine does, and is not what a test is about.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Async tests run threads, which see only what was committed: no transaction around the test. And whoever loads
    the demonstration does so in the database of the tests, which pytest-django makes for tests that are marked."""
    for item in items:
        is_async = asyncio.iscoroutinefunction(getattr(item, "obj", None))
        if is_async or ("demo" in item.fixturenames and item.get_closest_marker("django_db") is None):
            item.add_marker(pytest.mark.django_db(transaction=is_async), append=False)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The database of the tests, and beside it the states that tests begin with."""
    with django_db_blocker.unblock():
        keep("migrated")
        load()
        courier.close()  # what it gives notice of is sent now, and not to the hub that a test begins
        keep("demonstration")
        restore("migrated")
        connections.close_all()


@pytest.fixture
def demo() -> SimpleNamespace:
    """The demonstration, as if just loaded: ``demo.card``, ``demo.amira`` (its owner), ``demo.ben`` (may see the
    salary), ``demo.cleo`` (a colleague), ``demo.dev`` (of another organization), ``demo.admin`` (a superuser),
    ``demo.nobody`` (anonymous)."""
    add("demonstration")
    ContentType.objects.get_for_model(Card)  # who loads it has looked this up, and Django keeps it in memory
    users = {user.username: user for user in get_user_model().objects.exclude(username="AnonymousUser")}
    return SimpleNamespace(card=Card.objects.get(), nobody=AnonymousUser(), **users)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does an evaluation: nobody is told that one takes long, unless a test says so."""
    monkeypatch.setattr("livegate.gateway.evaluator.LONGEST_EVALUATION", 1_000.0)


@pytest.fixture
def viewer() -> Callable[..., Viewer]:
    """A viewer of a user, anonymous without one: in English, in UTC, at http://testserver, unless told otherwise."""

    def make(user: object = None, **facts: str) -> Viewer:
        usual = {"language": "en-us", "time_zone": "UTC", "scheme": "http", "host": "testserver"}
        return Viewer(user=user or AnonymousUser(), **{**usual, **facts})  # type: ignore[arg-type]

    return make


@pytest.fixture
def get() -> Callable[..., object]:
    """What a GET through the REST API answers a user: its JSON, or the status code when it is no success."""

    def fetch(path: str, user: object = None, **headers: str) -> object:
        client = APIClient()
        if user is not None and user.is_authenticated:  # type: ignore[attr-defined]
            client.force_authenticate(user)
        response = client.get(path, headers=headers)
        return response.json() if response.status_code == 200 else response.status_code

    return fetch


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., object]]:
    """``await connect(user)`` gives a client on a socket of its own; all are closed at the end."""
    async with connected() as opened:
        yield opened
    await sync_to_async(connections.close_all)()


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Puts another channel layer in the place of the usual one."""
    monkeypatch.setattr(channel_layers, "backends", {})

    def install(layer: Any) -> Any:
        channel_layers.set("default", layer)
        return layer

    return install


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, viewer: Callable[..., Viewer]) -> AsyncIterator[World]:
    """A card that readers watch, and what they are sent of it."""
    world = World(viewer)
    monkeypatch.setattr("livegate.gateway.evaluator.evaluate", world.evaluate)
    yield world
    await world.end()


@pytest.fixture
def republish(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Publication]:
    """Publish a model otherwise, for the time of the test."""

    def again(model: type[Model], serializer: Any, **options: Any) -> Publication:
        monkeypatch.setitem(publications._publications, model._meta.label, [])
        return publish(model, serializer, **options)

    return again


@pytest.fixture
def sink(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[MemorySink]]:
    """Where the ledger is kept: in memory, at once; what fails is tried again at once, and nothing depends on how long
    a test holds it."""
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER_SINK": "lab.sinks.MemorySink", "LEDGER_INTERVAL": 0}
    for name, value in (("kept", []), ("calls", []), ("away", False)):
        monkeypatch.setattr(MemorySink, name, value)
    for module in (recorder, evaluator):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
        monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(recorder, "LONGEST_WAIT", 1_000)
    MemorySink.open.set()
    yield MemorySink
    MemorySink.open.set()


@pytest.fixture
def on_record(republish: Callable[..., Publication]) -> Callable[..., Publication]:
    """Cards are put on record, up to a level."""

    def publish(level: str, serializer: Any = CardSerializer) -> Publication:
        return republish(Card, serializer, to=can_see, record=level)

    return publish
