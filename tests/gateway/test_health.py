"""The health view says whether the process that answers hears the channel layer, to anybody, and nothing more."""

from __future__ import annotations

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers
from clients import until
from django.test import AsyncClient
from django.test import Client as Browser
from django.utils.decorators import sync_only_middleware

from livegate.gateway import listener
from livegate.gateway.health import health
from livegate.gateway.hub import listening
from livegate.gateway.notices import group_name

URL = "/health/"


class Layer(InMemoryChannelLayer):
    """A channel layer that can be away."""

    away = False

    async def new_channel(self, prefix="specific."):
        if self.away:
            raise ConnectionError
        return await super().new_channel(prefix)

    async def receive(self, channel):
        message = await super().receive(channel)
        if self.away:
            raise ConnectionError
        return message


@pytest.fixture
def layer(monkeypatch):
    monkeypatch.setattr(channel_layers, "backends", {})
    monkeypatch.setattr(listener, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(listener, "LONGEST_PAUSE", 0.002)
    layer = Layer()
    channel_layers.set("default", layer)
    return layer


async def ask():
    """The status and the body of the answer."""
    response = await AsyncClient().get(URL)
    assert response.headers["Cache-Control"] == "no-store"
    return response.status_code, response.json()


WELL = (200, {"status": "ok"})
DEAF = (503, {"status": "unavailable", "detail": "This process does not hear the channel layer."})


async def test_without_a_socket_there_is_nothing_to_hear_and_all_is_well(layer):
    layer.away = True

    assert listening() is None
    assert await ask() == WELL


async def test_it_is_well_while_it_hears_and_unavailable_while_it_does_not(demo, connect, layer):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    assert await ask() == WELL

    layer.away = True
    await layer.group_send(group_name(0), {"type": "any"})
    await until(lambda: not listening())
    assert await ask() == DEAF

    layer.away = False
    await until(listening)
    assert await ask() == WELL


async def test_who_was_never_heard_is_unavailable(demo, connect, layer):
    layer.away = True
    await connect(demo.amira)

    assert await ask() == DEAF


@sync_only_middleware
def old_fashioned(get_response):
    return lambda request: get_response(request)


async def test_a_middleware_that_is_not_async_is_no_hindrance(demo, connect, layer, settings):
    settings.MIDDLEWARE = [f"{__name__}.old_fashioned", *settings.MIDDLEWARE]
    layer.away = True
    await connect(demo.amira)

    assert await ask() == DEAF


def test_it_asks_no_database_and_sets_no_cookie_and_is_well_where_there_is_no_loop_to_ask():
    # Pytest lets this test have no database.
    response = Browser().get(URL)

    assert (response.status_code, response.json()) == WELL
    assert response.cookies == {}


async def test_nobody_has_to_log_in_for_it(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]

    assert await ask() == WELL
    assert health.login_required is False
