"""The faults of the soak: what is broken, and how it is mended. Each is broken on entering and mended on leaving."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from random import Random

    from .site import Site
    from .workloads import Sizes

    Fault = Callable[[Site, Sizes, Random], AbstractContextManager[None]]


@contextlib.contextmanager
def redis_killed(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    site.broker.kill()
    yield
    site.broker.start()


@contextlib.contextmanager
def redis_stopped(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    """It keeps its connections, and does nothing."""
    site.broker.pause()
    yield
    site.broker.resume()


@contextlib.contextmanager
def subscribers_reset(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    """The connections on which the gateways hear."""
    servers.told(site.broker_port, "CLIENT", "KILL", "TYPE", "pubsub")
    yield


@contextlib.contextmanager
def publishers_reset(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    """The connections on which everybody sends."""
    servers.told(site.broker_port, "CLIENT", "KILL", "TYPE", "normal")
    yield


@contextlib.contextmanager
def gateway_killed(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    """The one beside that which is looked at."""
    site.beside.kill()
    yield
    site.beside.start()


@contextlib.contextmanager
def clients_gone(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    """A tenth of them lose their connection, and come back, each after a time of their own."""
    away = {viewer: random.uniform(*sizes.soak_away) for viewer in some(site, random, 10)}
    site.crowd.do("leave", how=random.choice(["close", "reset", "abandon"]), seconds=away)
    yield


@contextlib.contextmanager
def clients_slow(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    """A twentieth of them read nothing for a while."""
    site.crowd.do("stall", seconds={viewer: random.uniform(*sizes.soak_stall) for viewer in some(site, random, 20)})
    yield


def some(site: Site, random: Random, share: int) -> list[int]:
    return random.sample(sorted(site.viewers), max(1, len(site.viewers) // share))


@contextlib.contextmanager
def postgresql_killed(site: Site, sizes: Sizes, random: Random) -> Iterator[None]:
    """It ends all its processes at once, and finds out what was committed when it starts again."""
    database = site.ground.postgresql
    database.kill(signal.SIGQUIT)
    yield
    database.start()


OF_REDIS: dict[str, Fault] = {
    "redis_killed": redis_killed,
    "redis_stopped": redis_stopped,
    "subscribers_reset": subscribers_reset,
    "publishers_reset": publishers_reset,
}
OF_OTHERS: dict[str, Fault] = {
    "gateway_killed": gateway_killed,
    "clients_gone": clients_gone,
    "clients_slow": clients_slow,
}
OF_POSTGRESQL: dict[str, Fault] = {"postgresql_killed": postgresql_killed}


def faults_on(site: Site) -> dict[str, Fault]:
    """Those that there can be."""
    return OF_REDIS | OF_OTHERS | (OF_POSTGRESQL if site.ground.postgresql else {})


def shuffled(kinds: list[str], random: Random) -> Iterator[str]:
    """Without an end, in an order that can't be foreseen, and none much more often than another."""
    while True:
        yield from random.sample(kinds, len(kinds))
