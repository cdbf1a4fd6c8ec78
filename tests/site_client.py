"""The example site on real servers of its own, and people who use it: REST, WebSockets, another process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
import servers
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

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


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An SQLite ``file`` with the demonstration in it, to be copied, and what is ``known`` of it."""
    file = tmp_path_factory.mktemp("site") / "db.sqlite3"
    environment = {"DATABASE_URL": f"sqlite:///{file}"}
    servers.load(environment)
    return SimpleNamespace(file=file, known=known(environment))


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


PROLOGUE = "from board.models import *; from django.db import transaction; card = Card.objects.first()\n"


def work(site: SimpleNamespace, code: str) -> str:
    """Run Python code in another process, on the site's data, with ``card`` at hand; gives what it prints."""
    return servers.manage(site.environment, "shell", "-v0", "-c", PROLOGUE + code)


@contextmanager
def working(site: SimpleNamespace, code: str) -> Iterator[None]:
    """The same with code that goes on until it is ended, meanwhile."""
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", PROLOGUE + code]
    options = {"cwd": servers.ROOT / "example_site", "env": servers.site_env(site.environment)}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, **options) as worker:  # type: ignore[call-overload]
        try:
            yield
            assert worker.poll() is None
        finally:
            worker.kill()


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


async def code_of(person: Person) -> int:
    """Read what comes until the server closes; the code with which it does."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await person.socket.recv()
            except ConnectionClosed:
                return int(person.socket.close_code)


@asynccontextmanager
async def watching(site: SimpleNamespace, *people: str, hashids: Sequence[str] = ()) -> AsyncIterator[list[Person]]:
    """These people, each on a WebSocket and subscribed to the card, or to all of several cards."""
    clients = []
    try:
        for name in people:
            socket = await connect(
                f"ws://{site.address}/ws/notifications/",
                origin=f"http://{site.address}",
                subprotocols=["livegate", f"token.{site.tokens[name]}"],
            )
            clients.append(Person(socket))
        wanted = hashids or [site.hashid]
        for client in clients:
            for hashid in wanted:
                await client.send({"model": "board.Card", "id": hashid, "request_id": 0})
        for client in clients:
            for _ in wanted:
                assert (await client.receive())["type"] == "SUBSCRIBED"
        yield clients
    finally:
        for client in clients:
            await client.socket.close()
