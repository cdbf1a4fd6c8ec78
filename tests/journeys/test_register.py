"""Two server processes are asked by a third who is subscribed; and from there sockets are closed on both."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import servers
from site_client import PATIENCE, code_of, rest, watching

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

CLOSED = 4403


@pytest.fixture(scope="module")
def other(site: SimpleNamespace) -> Iterator[SimpleNamespace]:
    """Another process of the same site; ``server`` is that."""
    with servers.uvicorn(site.environment) as (address, server):
        yield SimpleNamespace(**{**vars(site), "address": address, "server": server})


async def listed(site: SimpleNamespace, *words: str) -> dict[str, Any]:
    """What the command tells."""
    return json.loads(await asyncio.to_thread(servers.manage, site.environment, *COMMAND, *words))  # type: ignore[no-any-return]


async def all_entered(site: SimpleNamespace, processes: int) -> dict[str, Any]:
    """The same, as soon as so many processes have said that they are there: that is not waited for when a client is
    let in."""
    async with asyncio.timeout(PATIENCE):
        while len((found := await listed(site, "30"))["processes"]) != processes:
            pass
    return found


COMMAND = ("livegate_subscriptions", "--json", "--timeout")


@contextmanager
def standing_still(server: subprocess.Popen) -> Iterator[None]:
    server.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send_signal(signal.SIGCONT)


async def test_the_register_has_what_is_on_both_processes_and_closes_it_there(site, other):
    async with watching(site, "amira", "cleo", "") as here, watching(other, "amira", "dev") as there:
        found = await all_entered(site, 2)
        assert sorted((row["name"], row["hashid"]) for row in found["subscriptions"]) == [
            (name, site.hashid) for name in ("(anonymous)", "amira", "amira", "cleo", "dev")
        ]
        assert len({row["pid"] for row in found["subscriptions"]}) == 2
        assert other.server.pid in {row["pid"] for row in found["subscriptions"]}
        assert found["unanswered"] == []

        closed = await listed(site, "30", "--user", "amira", "--close")
        assert (closed["closed"], closed["open_still"]) == (2, 0)
        assert [await code_of(client) for client in (here[0], there[0])] == [CLOSED] * 2

        [dev] = [row for row in found["subscriptions"] if row["name"] == "dev"]
        assert (await listed(site, "30", "--socket", dev["socket"], "--close"))["closed"] == 1
        assert await code_of(there[1]) == CLOSED

        left = await listed(site, "30", "--object", f"board.Card:{site.hashid}")
        assert [row["name"] for row in left["subscriptions"]] == ["(anonymous)", "cleo"]
        await asyncio.to_thread(rest, site, "amira", "PATCH", {"title": "Still shown"})
        for client in here[1:]:
            assert (await client.receive())["payload"]["title"] == "Still shown"


async def test_who_does_not_answer_is_named_and_what_is_there_is_not_said_to_be_closed(site, other):
    async with watching(site, "cleo") as [here], watching(other, "amira") as [there]:
        await all_entered(site, 2)

        with standing_still(other.server):
            found = await listed(site, "2", "--close")

        assert [row["name"] for row in found["subscriptions"]] == ["cleo"]
        assert [one["pid"] for one in found["unanswered"]] == [other.server.pid]
        assert found["closed"] == 1
        assert await code_of(here) == CLOSED
        await there.send({"action": "ping"})
        assert (await there.receive())["type"] == "PONG"


async def test_a_process_that_was_killed_is_named_until_it_counts_as_gone(site):
    with servers.uvicorn(site.environment) as (address, server):
        killed = SimpleNamespace(**{**vars(site), "address": address})
        async with watching(killed, "amira"):
            await all_entered(site, 1)
            os.kill(server.pid, signal.SIGKILL)

            found = await listed(site, "1")

    assert [one["pid"] for one in found["unanswered"]] == [server.pid]
    assert found["subscriptions"] == []
