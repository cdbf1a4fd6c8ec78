"""Why nothing arrived is told by a command: in another process than those that saved it and that have the sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import servers
from site_client import PATIENCE, known, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def data(environment: dict[str, str]) -> dict[str, Any]:
    """What is known of the demonstration, which is in the database then."""
    servers.load(environment)
    return known(environment)


@contextmanager
def process(environment: dict[str, str], data: dict[str, Any]) -> Iterator[SimpleNamespace]:
    options = {"application": "saving:application"}
    with servers.uvicorn(environment, "--app-dir", str(HERE), **options) as (address, server):
        yield SimpleNamespace(address=address, pid=server.pid, environment=environment, **data)


@pytest.fixture(scope="module")
def here(environment: dict[str, str], data: dict[str, Any]) -> Iterator[SimpleNamespace]:
    with process(environment, data) as one:
        yield one


@pytest.fixture(scope="module")
def there(environment: dict[str, str], data: dict[str, Any]) -> Iterator[SimpleNamespace]:
    with process(environment, data) as one:
        yield one


async def saved(site: SimpleNamespace, way: str) -> None:
    """The process has saved the card in this way."""
    url = f"http://{site.address}/saves/{way}"
    with await asyncio.to_thread(urlopen, url, timeout=PATIENCE) as response:
        assert response.status == 204


async def explained(site: SimpleNamespace, name: str, timeout: int = 30) -> dict[str, Any]:
    """What the command tells."""
    words = ["--user", name, "board.Card", site.hashid, "--json", "--timeout", str(timeout)]
    return json.loads(await asyncio.to_thread(servers.manage, site.environment, "livegate_explain", *words))  # type: ignore[no-any-return]


async def all_entered(site: SimpleNamespace, processes: int) -> None:
    """Wait until so many have said that they are there: that is not waited for when a client is let in."""
    async with asyncio.timeout(PATIENCE):
        while len((await explained(site, "dev"))["processes"]) != processes:
            pass


async def test_the_command_tells_what_became_of_a_save_of_another_process(here, there):
    async with watching(here, "amira") as [amira], watching(there, "cleo") as [cleo]:
        await all_entered(here, 2)

        await saved(there, "unwatched")
        told = await explained(here, "amira")
        [change] = told["changes"]
        assert (change["fate"], change["pid"], change["written"]) == ("unwatched", there.pid, ["viewed"])
        assert {"title", "salary"} <= set(change["watched"])
        assert told["reasons"] == ["unwatched", "unchanged"]
        assert sorted(one["pid"] for one in told["processes"]) == sorted([here.pid, there.pid])
        [subscription] = told["subscriptions"]
        assert (subscription["pid"], subscription["is_admitted"], subscription["is_current"]) == (here.pid, True, True)

        await saved(there, "undone")
        told = await explained(here, "amira")
        assert [one["fate"] for one in told["changes"]] == ["unwatched", "rolled back"]
        assert told["reasons"] == ["rolled back", "unchanged"]
        assert "Never to be seen" not in json.dumps(told)

        await saved(here, "watched")
        for client in (amira, cleo):
            assert (await client.receive())["payload"]["title"] == "Seen by all"
        told = await explained(here, "cleo")
        *_, made, first, second = told["changes"]
        assert (made["fate"], made["pid"]) == ("told", here.pid)
        assert {(one["fate"], one["pid"]) for one in (first, second)} == {("heard", here.pid), ("heard", there.pid)}
        assert told["reasons"] == ["unchanged"]
        assert [one["pid"] for one in told["subscriptions"]] == [there.pid]
        assert (await explained(here, "dev"))["reasons"] == ["not subscribed"]


async def test_a_process_that_does_not_answer_is_named_and_the_others_are_told_of(here, there):
    async with watching(here, "amira"), watching(there, "amira"):
        await all_entered(here, 2)

        os.kill(there.pid, signal.SIGSTOP)
        try:
            told = await explained(here, "amira", timeout=2)
        finally:
            os.kill(there.pid, signal.SIGCONT)

        assert [one["pid"] for one in told["unanswered"]] == [there.pid]
        assert [one["pid"] for one in told["processes"]] == [here.pid]
        assert [one["pid"] for one in told["subscriptions"]] == [here.pid]
        assert "no answer" in told["reasons"]
