"""The workload ``resync``: Redis is killed and started again, and what it costs until everybody is current."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import servers

from .arena import Invalid, arena

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .arena import Arena
    from .workloads import Figures, Sizes

PATIENCE = 60  # seconds that something may take which must happen
QUIET = 1.0  # seconds after which nothing more is evaluated
AT_ONCE = 250  # sockets that are connected at once
# No sweep comes between: whatever is evaluated is for the fault.
SETTINGS = {"BENCH_SWEEP_PERIOD": str(servers.NO_SWEEP)}


def resync(outer: Arena, sizes: Sizes) -> Figures:
    """The same with few and many sockets on one object, and with many on many objects."""
    cards = list(outer.ground.common)[: sizes.resync_cards]
    return {
        "few sockets, one object": resync_once(outer, sizes, sizes.resync_few, [0]),
        "many sockets, one object": resync_once(outer, sizes, sizes.resync_many, [0]),
        "many sockets, many objects": resync_once(outer, sizes, sizes.resync_many, cards),
    }


def resync_once(outer: Arena, sizes: Sizes, sockets: int, cards: Sequence[int]) -> dict[str, float]:
    """Each socket watches one of the cards. All of these are saved while Redis is away."""
    with place(outer) as (opened, broker):
        of_sockets = [cards[viewer % len(cards)] for viewer in range(sockets)]
        for start in range(0, sockets, AT_ONCE):
            some = range(start, min(start + AT_ONCE, sockets))
            opened.open(some, [of_sockets[viewer] for viewer in some])
        time.sleep(QUIET)
        killed = time.monotonic()
        broker.kill()
        told = opened.clients.do("await_word", patience=PATIENCE, word="DELAYED")
        if told["without"]:
            raise Invalid(f"{told['without']} clients were not told that they may be behind")
        versions = {card: opened.writer.do("save", card=card)["version"] for card in cards}
        time.sleep(sizes.resync_away)
        before = opened.counters()
        broker.start()
        back = time.monotonic()
        found = opened.clients.do("await_current", patience=PATIENCE, versions=versions)
        if found["behind"]:
            raise Invalid(f"{found['behind']} clients are not current {PATIENCE} s after Redis is back")
        after = counted_at_rest(opened)
    return {
        "sockets": sockets,
        "objects": len(cards),
        "told_ms": 1e3 * (told["last"] - killed),
        "current_ms": 1e3 * (found["last"] - back),
        "queries": after["queries"] - before["queries"],
        "evaluations": after["evaluations"] - before["evaluations"],
        "cpu_ms": 1e3 * (after["cpu"] - before["cpu"]),
        "frames_per_socket": found["messages"] / sockets,
    }


def counted_at_rest(opened: Arena) -> dict[str, float]:
    """The counters, when nothing is counted any more."""
    while True:
        before = opened.counters()
        time.sleep(QUIET)
        after = opened.counters()
        if after["queries"] == before["queries"]:
            return after


@contextlib.contextmanager
def place(outer: Arena) -> Iterator[tuple[Arena, servers.Server]]:
    """An arena with a broker of its own, that can be killed and started again."""
    port = servers.free_port()
    environment = outer.ground.environment
    url = urlsplit(environment["REDIS_URL"])._replace(netloc=f"127.0.0.1:{port}").geturl()
    with (
        servers.redis_server(port) as broker,
        arena(
            outer.contestant, replace(outer.ground, environment={**environment, "REDIS_URL": url, **SETTINGS})
        ) as opened,
    ):
        yield opened, broker
