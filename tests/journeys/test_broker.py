"""What is on the broker is worth nothing to a thief: Redis is watched while secrets are saved."""

from __future__ import annotations

import ast
import asyncio
import re
import socket
from typing import Any
from urllib.parse import urlparse

import msgpack
from site_client import rest, watching, work

SECRETS = {"title": "SECRET-title", "notes": "SECRET-notes", "salary": 918_273_645}


class Monitor:
    """Everything that Redis is told, by its own account (MONITOR)."""

    def __init__(self, url: str) -> None:
        place = urlparse(url)
        self.connection = socket.create_connection((place.hostname, place.port), timeout=60)
        self.connection.sendall(b"MONITOR\r\n")
        assert self.connection.recv(5) == b"+OK\r\n"

    def read_until(self, last: bytes) -> bytes:
        """All commands up to one that we send ourselves, at the end."""
        told = b""
        while last not in told:
            told += self.connection.recv(65_536)
        self.connection.close()
        return told


def messages(told: bytes) -> list[Any]:
    """What was published, unpacked: MONITOR writes bytes as Python does."""
    packed = re.findall(rb'"PUBLISH" "[^"]+" ("(?:[^"\\]|\\.)*")', told)
    return [msgpack.unpackb(ast.literal_eval("b" + text.decode())) for text in packed]


def say(url: str, word: str) -> None:
    place = urlparse(url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(f"ECHO {word}\r\n".encode())
        connection.recv(100)


async def test_no_value_of_any_field_and_no_name_of_a_user_crosses_it(site, redis_url):
    people = ["amira", "ben", "cleo", "dev"]
    work(site, "from django.contrib.auth.models import User; User.objects.update(email='SECRET-email@example.com')")
    async with watching(site, *people) as clients:
        monitor = Monitor(redis_url)
        await asyncio.to_thread(work, site, f"card.__dict__.update({SECRETS!r}); card.save()")
        frames = [await client.receive() for client in clients]
        await asyncio.to_thread(rest, site, "amira", "PATCH", {"notes": "SECRET-notes, again"})
        frames += [await client.receive() for client in clients[:3]]
        await asyncio.to_thread(rest, site, "amira", "DELETE")
        frames += [await client.receive() for client in clients]
        say(redis_url, "THE-END")
        told = await asyncio.to_thread(monitor.read_until, b"THE-END")

    shown = str(frames)
    assert all(str(secret) in shown for secret in SECRETS.values())
    assert "SECRET-email" in shown
    published = messages(told)
    assert len(published) == told.count(b'"PUBLISH"') >= 3
    notices = [["update", "board.Card", site.hashid]] * 2 + [["delete", "board.Card", site.hashid]]
    assert [message["notices"] for message in published if message["notices"]] == [[notice] for notice in notices]
    for message in published:
        assert message.keys() == {"type", "notices", "stamp", "echo"}
        stream, *numbers = message["stamp"]
        assert re.fullmatch(r"[0-9a-f]{16}\.0", stream)  # made by chance, one for each process and group
        assert [type(number) for number in numbers] == [int, int]
        assert re.fullmatch(r"([0-9a-f]{32}\.0)?", message["echo"])
    for secret in [b"SECRET", b"918273645", b"Northwind", *(person.encode() for person in people)]:
        assert secret not in told, told
