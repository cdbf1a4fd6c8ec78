"""A server that is told to end says so to everybody, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import sqlite3
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import servers
from bench.sockets import TEXT, frame
from site_client import PATIENCE, PEOPLE, code_of, watching, working

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

RESTARTS = 1012
CLIENTS = [*PEOPLE * 4]
# What is still there when all connections are gone: uvicorn itself, and the receiver that the channel layer stops when
# the loop is closed.
REMAINS = ["RedisSingleShardConnection._do_receiving", "Server.serve"]
# Python tells of what was not closed, and of what was never awaited.
STRICT = "always::ResourceWarning,always::RuntimeWarning"
# With several workers, uvicorn's first process leaves the socket on which all of them listen to the end of the process.
UVICORNS = ("sys:1: ResourceWarning: unclosed <socket.socket", "ResourceWarning: Enable tracemalloc")
LARGE = 16_000_000  # characters: more than there is room for between a server and its client


@pytest.fixture
def site(prepared: SimpleNamespace, redis_url: str, tmp_path: Path) -> SimpleNamespace:
    """The site before it is served: a copy of its database, and the ``log`` to be."""
    file = shutil.copy(prepared.file, tmp_path)
    tests = str(servers.ROOT / "tests")
    more = {"REDIS_URL": redis_url, "PYTHONPATH": tests, "PYTHONWARNINGS": STRICT}
    environment = {"DATABASE_URL": f"sqlite:///{file}", **more}
    return SimpleNamespace(file=file, log=tmp_path / "log", environment=environment, **prepared.known)


@contextmanager
def serving(site: SimpleNamespace, *arguments: str) -> Iterator[subprocess.Popen]:
    """The process of its server, which a test ends."""
    options: dict[str, Any] = {"application": "lab.farewell:application", "log": site.log}
    with servers.uvicorn(site.environment, *arguments, **options) as (address, server):
        site.address = address
        yield server


async def wait_for(server: subprocess.Popen) -> int:
    return await asyncio.to_thread(server.wait, PATIENCE)


def said(site: SimpleNamespace) -> list[str]:
    """What the server said, of what is more than usual."""
    usual = ("INFO:", "Left:", *UVICORNS)
    return [line for line in site.log.read_text().splitlines() if line and not line.startswith(usual)]


def left(site: SimpleNamespace) -> list[list[str]]:
    return [found.split() for found in re.findall("^Left: (.*)$", site.log.read_text(), re.MULTILINE)]


async def test_everybody_is_told_to_come_back_and_no_task_is_left(site):
    with serving(site) as server:
        async with watching(site, *CLIENTS) as clients:
            server.send_signal(signal.SIGTERM)

            codes = await asyncio.gather(*map(code_of, clients))
        ended = await wait_for(server)

    assert codes == [RESTARTS] * len(CLIENTS)
    assert ended == -signal.SIGTERM  # by the signal that it was sent, when everything was done
    assert left(site) == [REMAINS]
    assert said(site) == []


SAVE_ON = """
from itertools import count
for number in count():
    card.title = f"Title {number}"
    card.save()
"""


async def test_so_it_is_with_several_workers_while_saves_go_on(site):
    with serving(site, "--workers", "2") as server:
        async with watching(site, *CLIENTS) as clients:
            with working(site, SAVE_ON):
                await asyncio.gather(*(client.receive() for client in clients[:3]))
                server.send_signal(signal.SIGTERM)

                codes = await asyncio.gather(*map(code_of, clients))
        ended = await wait_for(server)

    assert codes == [RESTARTS] * len(CLIENTS)
    assert ended == 0
    assert len(left(site)) == 2
    assert all(set(tasks) <= set(REMAINS) for tasks in left(site))
    assert said(site) == []


@contextmanager
def stalled(site: SimpleNamespace) -> Iterator[None]:
    """A client that was sent more than fits into all the buffers on the way, and asks on, but reads nothing."""
    host, port = site.address.split(":")
    greeting = (
        f"GET /ws/notifications/ HTTP/1.1\r\nHost: {site.address}\r\nOrigin: http://{site.address}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: livegate, token.{site.tokens['amira']}\r\n\r\n"
    )
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(PATIENCE)
        client.connect((host, int(port)))
        client.sendall(greeting.encode())
        while b"\r\n\r\n" not in client.recv(4_096, socket.MSG_PEEK):
            pass
        assert b" 101 " in client.recv(4_096)
        subscribe = {"action": "subscribe", "model": "board.Card", "id": site.hashid, "etag": None}
        client.sendall(frame(TEXT, json.dumps(subscribe).encode()))
        assert client.recv(1, socket.MSG_PEEK)  # all of it is on its way
        for _ in range(3):
            client.sendall(frame(TEXT, b'{"action": "ping"}'))
        yield


async def test_a_client_that_reads_nothing_is_waited_for_only_as_long_as_the_server_was_told(site):
    with closing(sqlite3.connect(site.file)) as database:
        database.execute("UPDATE board_card SET notes = ?", ["x" * LARGE])
        database.commit()
    with serving(site, "--timeout-graceful-shutdown", "1") as server:
        async with watching(site, *PEOPLE) as clients:
            with stalled(site):
                begun = time.monotonic()
                server.send_signal(signal.SIGTERM)

                codes = await asyncio.gather(*map(code_of, clients))
                ended = await wait_for(server)
                took = time.monotonic() - begun

    assert codes == [RESTARTS] * len(PEOPLE)
    assert ended == -signal.SIGTERM
    assert took >= 1
    assert [re.sub(r"\d", "…", line) for line in said(site)] == [
        "ERROR:    Cancel … running task(s), timeout graceful shutdown exceeded"
    ]
