"""A notice reaches everybody over each channel layer that there may be, from another process that saves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from contextlib import AsyncExitStack, ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import servers
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis import Redis, RedisError
from site_client import PATIENCE, rest, watching, work, working

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.client import PubSub

CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
NO_SWEEP = {"SWEEP_PERIOD": 1_000_000}  # it would show what no notice told
PEOPLE = ["amira", "cleo"]
MORE = """
for number in range(7):
    Card.objects.create(board=card.board, owner=card.owner, title=f"Card {number}", public=True)
print(" ".join(card.hashid for card in Card.objects.all()))
"""
SAVE_ALL = "for card in Card.objects.all(): card.title += ', saved'; card.save()"


@pytest.fixture(scope="module")
def cards(prepared: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A site that is not served yet, with the ``hashids`` of several cards."""
    file = shutil.copy(prepared.file, tmp_path_factory.mktemp("site"))
    environment = {"DATABASE_URL": f"sqlite:///{file}", "PYTHONPATH": str(servers.ROOT / "tests")}
    site = SimpleNamespace(environment=environment, **prepared.known)
    site.hashids = work(site, MORE).split()
    return site


@contextmanager
def gateways(cards: SimpleNamespace, layer: dict[str, Any], number: int = 1, **settings: Any) -> Iterator[list[Any]]:
    """The site, served by so many processes, all of them on this channel layer."""
    variables = {"CHANNEL_LAYER": json.dumps(layer), "LIVEGATE": json.dumps({**NO_SWEEP, **settings})}
    environment = {**cards.environment, **variables, "DJANGO_SETTINGS_MODULE": "lab.deployed"}
    with ExitStack() as stack:
        addresses = [stack.enter_context(servers.uvicorn(environment))[0] for _ in range(number)]
        yield [SimpleNamespace(**{**vars(cards), "environment": environment, "address": one}) for one in addresses]


async def assert_that_every_save_arrives(sites: list[Any]) -> None:
    """Everybody on all of these receives each card that another process saves, as they would GET it."""
    async with AsyncExitStack() as stack:
        served = [(site, person) for site in sites for person in PEOPLE]
        clients = [
            (await stack.enter_async_context(watching(site, person, hashids=site.hashids)))[0]
            for site, person in served
        ]
        await asyncio.to_thread(work, sites[0], SAVE_ALL)
        frames = [[await client.receive() for _ in sites[0].hashids] for client in clients]

    for (site, person), received in zip(served, frames, strict=True):
        views = {frame["payload"]["id"]: frame["payload"] for frame in received}
        assert sorted(views) == sorted(site.hashids)
        assert views[site.hashid] == rest(site, person)
        assert all(view["title"].endswith(", saved") for view in views.values())


async def test_several_processes_on_one_redis(cards, redis_url):
    layer = {"BACKEND": PUBSUB, "CONFIG": {"hosts": [{"address": redis_url, "socket_timeout": 5}]}}

    with gateways(cards, layer, number=2) as sites:
        await assert_that_every_save_arrives(sites)


async def test_the_core_layer(cards, redis_url):
    layer = {"BACKEND": CORE, "CONFIG": {"hosts": [{"address": redis_url, "socket_timeout": 10}]}}

    with gateways(cards, layer, NOTICE_GROUPS=4) as sites:
        await assert_that_every_save_arrives(sites)


async def test_several_redis_between_which_the_groups_are_divided(cards):
    with servers.redis() as first, servers.redis() as second, tap(first) as of_first, tap(second) as of_second:
        hosts = [{"address": url, "socket_timeout": 5} for url in (first, second)]
        layer = {"BACKEND": PUBSUB, "CONFIG": {"hosts": hosts}}

        with gateways(cards, layer, NOTICE_GROUPS=4) as sites:
            await assert_that_every_save_arrives(sites)
        used = [groups_of_notices(of_first), groups_of_notices(of_second)]

    assert all(used)
    assert set.isdisjoint(*used)


@contextmanager
def tap(url: str) -> Iterator[PubSub]:
    """Hears all that is published on a Redis."""
    with Redis.from_url(url) as client, client.pubsub() as tapped:
        tapped.psubscribe("*")
        yield tapped


def groups_of_notices(tapped: PubSub) -> set[bytes]:
    """The groups in which notices were sent, and not only echoes."""
    messages = iter(lambda: tapped.get_message(), None)
    return {one["channel"] for one in messages if "board.Card" in str(one["data"])}


async def test_the_master_that_sentinel_names_and_after_it_fails_the_next(cards):
    with servers.sentinel("livegate") as (port, master):
        sentinels = {"master_name": "livegate", "sentinels": [["127.0.0.1", port]], "socket_timeout": 5}
        layer = {"BACKEND": PUBSUB, "CONFIG": {"hosts": [sentinels]}}

        with gateways(cards, layer) as [site]:
            await assert_that_every_save_arrives([site])
            async with watching(site, *PEOPLE) as clients:
                master.kill()
                with working(site, SAVE_ON):
                    frames = [await client.receive() for client in clients]

    assert all(frame["payload"]["title"].startswith("After it, ") for frame in frames)


SAVE_ON = """
from itertools import count
from time import sleep
for number in count():
    card.title = f"After it, {number}"
    card.save()
    sleep(0.05)
"""


class Way:
    """The way to a Redis, which can turn dark: it takes connections then, and nothing comes back."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.is_dark = False
        self.taken_in_the_dark = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        if self.is_dark:
            self.taken_in_the_dark.set()
            return
        beyond, back = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(back)
        await asyncio.gather(pass_on(reader, back), pass_on(beyond, writer))

    def turn_dark(self) -> None:
        self.is_dark = True
        self.cut()

    def cut(self) -> None:
        while self.writers:
            self.writers.pop().transport.abort()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while came := await reader.read(65_536):
            writer.write(came)


async def test_with_a_socket_timeout_a_layer_hears_again_after_a_redis_that_took_it_and_never_answered(redis_url):
    way = Way(servers.port_of(redis_url))
    server = await asyncio.start_server(way.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    host = {"address": f"redis://127.0.0.1:{port}/0", "socket_timeout": 0.2}
    layer = RedisPubSubChannelLayer(hosts=[host])
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    received = asyncio.create_task(layer.receive(channel))

    way.turn_dark()
    async with asyncio.timeout(PATIENCE):
        await way.taken_in_the_dark.wait()
        way.is_dark = False
        while not received.done():
            with contextlib.suppress(RedisError):
                await layer.group_send("group", {"type": "again"})
            await asyncio.wait([received], timeout=0.1)

    assert received.result() == {"type": "again"}
    await layer.flush()
    way.cut()
    server.close()
