"""The site of the soak: two gateways, a broker of its own, a crowd and a scribe."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import servers

from .arena import PATIENCE, Invalid, child, counters, server
from .contestants import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .arena import Child, Ground
    from .contestants import Contestant
    from .workloads import Sizes

# How the gateways are set up. There is no sweep: what repairs itself does so by what is quicker. A client that reads
# nothing is soon found out.
SETTINGS = {
    "BENCH_SWEEP_PERIOD": str(servers.NO_SWEEP),
    "BENCH_SLOW_CLIENT_TIMEOUT": "5",
    "BENCH_SEND_BUFFER": "8192",
}
ROOM = 1 << 12  # bytes that the system keeps for a client that does not read
# What is logged while something is broken.
EXPECTED = re.compile(
    r"livegate hub_failed: The hub can't hear|livegate notices_unsent:|channels_redis\.pubsub -:"
    r"|livegate evaluation_failed:|livegate evaluation_stuck:|livegate sockets_unexamined:|livegate register_failed:"
)


class Site:
    """``gateway`` is the one that is looked at; ``beside`` it there is another, which is broken now and then."""

    def __init__(self, ground: Ground, broker: servers.Server, port: int, environment: dict[str, str]) -> None:
        self.ground = ground
        self.broker = broker
        self.broker_port = port
        self.environment = environment
        self.ports = [servers.free_port() for _ in range(2)]
        self.folder = Path(environment["BENCH_LOG"])
        logs = [{"BENCH_LOG": str(self.folder / f"gateway{number}.log")} for number in range(2)]
        self.gateway, self.beside = (
            server(port, ground, {**environment, **log}) for port, log in zip(self.ports, logs, strict=True)
        )
        self.viewers: dict[int, list[str]] = {}  # what they wish for, in hashids
        self.crowd: Child
        self.scribe: Child

    def fill(self, sizes: Sizes, random: Random) -> None:
        """Make the cards, connect everybody, and wait until they are answered."""
        sockets = sizes.soak_sockets + sizes.soak_sockets_beside
        numbers = range(sizes.soak_cards)
        wishes = {viewer: random.sample(numbers, sizes.soak_subscriptions) for viewer in range(sockets)}
        hashids = self.scribe.do("prepare", seed=sizes.seed, cards=sizes.soak_cards, wishes=wishes)
        self.viewers = {viewer: [hashids[number] for number in wished] for viewer, wished in wishes.items()}
        visitors = [
            {
                "viewer": viewer,
                "port": self.ports[viewer >= sizes.soak_sockets],
                "wishes": wished,
                "room": ROOM,
            }
            for viewer, wished in self.viewers.items()
        ]
        found = self.crowd.do("open", seed=sizes.seed, patience=PATIENCE / 2, visitors=visitors)
        if found["late"]:
            raise Invalid(f"{found['late']} of {sockets} clients were not answered")

    def counters(self, path: str = "/tables") -> dict[str, float]:
        """Of the gateway that is looked at, with what it keeps."""
        return counters(self.ports[0], path)

    def await_tables(self, sockets: int, subscriptions: int, patience: float, tasks: float = inf) -> dict[str, float]:
        """Its counters as soon as it keeps no more than so much, or when patience has ended."""
        deadline = time.monotonic() + patience
        while True:
            found = self.counters()
            is_right = (found["sockets"], found["subscriptions"]) == (sockets, subscriptions)
            if (is_right and found["tasks"] <= tasks) or time.monotonic() > deadline:
                return self.counters("/objects")
            time.sleep(0.1)

    def unexpected(self) -> list[str]:
        """What the gateways and the scribe have logged that the faults do not explain."""
        logged = (log.read_text() for log in self.folder.glob("*.log"))
        lines = [line for text in logged for line in re.findall(r"^LOGGED (.*)$", text, re.MULTILINE)]
        return [line for line in lines if not EXPECTED.match(line)]


@contextlib.contextmanager
def site(contestant: Contestant, ground: Ground) -> Iterator[Site]:
    """Start all processes, and end them."""
    port = servers.free_port()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="livegate-soak-"))
        url = urlsplit(ground.environment["REDIS_URL"])._replace(netloc=f"127.0.0.1:{port}").geturl()
        own = {"REDIS_URL": url, VARIABLE: contestant.name, "BENCH_LOG": folder, **SETTINGS}
        environment = {**ground.environment, **own}
        broker = stack.enter_context(servers.redis_server(port))
        opened = Site(ground, broker, port, environment)
        for gateway in (opened.gateway, opened.beside):
            stack.enter_context(gateway)
        for name in ("scribe", "crowd"):
            log = str(opened.folder / f"{name}.log")
            setattr(opened, name, stack.enter_context(child(name, {**environment, "BENCH_LOG": log}, ())))
        yield opened
        opened.crowd.do("close")
