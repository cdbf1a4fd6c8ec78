"""The example site on real servers of its own, and people who use it: REST, WebSockets, another process."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
import servers
from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PATIENCE = 60  # seconds that something may take which must happen
PEOPLE = ["amira", "ben", "cleo", "dev", ""]


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with servers.redis() as url:
        yield url


@pytest.fixture(scope="module")
def environment(redis_url: str) -> Iterator[dict[str, str]]:
    with servers.postgresql() as url:
        yield {"DATABASE_URL": url, "REDIS_URL": redis_url}


@pytest.fixture(scope="module")
def site(environment: dict[str, str]) -> Iterator[SimpleNamespace]:
    """The site with its demonstration: ``address``, the ``hashid`` of the card, the ``tokens`` of the people, the
    ``environment`` in which another process works on the same data."""
    with servers.site(environment) as address:
        yield SimpleNamespace(address=address, environment=environment, **known(environment))


def known(environment: dict[str, str]) -> dict[str, Any]:
    """The ``hashid`` of the card and the ``tokens`` of the people, by their names."""
    told: dict[str, Any] = json.loads(servers.manage(environment, "shell", "-v0", "-c", TELL))
    return told


TELL = """
import json
from board.models import Card
from rest_framework.authtoken.models import Token
tokens = {token.user.username: token.key for token in Token.objects.select_related("user")}
print(json.dumps({"hashid": Card.objects.get().hashid, "tokens": {"": "", **tokens}}))
"""


def work(site: SimpleNamespace, code: str) -> str:
    """Run Python code in another process, on the site's data, with ``card`` at hand; gives what it prints."""
    prologue = "from board.models import *; from django.db import transaction; card = Card.objects.get()\n"
    return servers.manage(site.environment, "shell", "-v0", "-c", prologue + code)


def rest(site: SimpleNamespace, person: str, method: str = "GET", data: Any = None, path: str = "") -> Any:
    """What the REST API answers this person about the card: JSON, or None where there is no such card for them."""
    headers = {"Content-Type": "application/json"}
    if person:
        headers["Authorization"] = f"Token {site.tokens[person]}"
    url = f"http://{site.address}/api/cards/{site.hashid}/{path}"
    request = Request(url, method=method, headers=headers, data=None if data is None else json.dumps(data).encode())
    try:
        with urlopen(request, timeout=PATIENCE) as response:
            return json.loads(response.read() or "null")
    except OSError as error:
        if getattr(error, "code", None) != 404:
            raise
        error.close()  # type: ignore[attr-defined]
        return None


class Person:
    """A real WebSocket client."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def send(self, message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self.socket.recv())


@asynccontextmanager
async def watching(site: SimpleNamespace, *people: str) -> AsyncIterator[list[Person]]:
    """These people, each on a WebSocket and subscribed to the card."""
    clients = []
    try:
        for name in people:
            socket = await connect(
                f"ws://{site.address}/ws/notifications/",
                origin=f"http://{site.address}",
                subprotocols=["livegate", f"token.{site.tokens[name]}"],
            )
            clients.append(Person(socket))
        for client in clients:
            await client.send({"model": "board.Card", "id": site.hashid, "request_id": 0})
        for client in clients:
            assert (await client.receive())["type"] == "SUBSCRIBED"
        yield clients
    finally:
        for client in clients:
            await client.socket.close()
