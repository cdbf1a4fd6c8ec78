"""The workloads: what is done to contestants in one round, and the figures that it gives."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from .fan_out import fan_out
from .grants import grants
from .ledger import ledger
from .questions import questions
from .refusals import refusals
from .resync import resync
from .revocation import revocation
from .rights import VIEWERS_PER_CARD, viewers_of
from .serving import AT_ONCE, EVENT_PATIENCE, LINGER, SETTLE, gather_viewers, serve_all
from .soak import soak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .arena import Arena

# The figures of one round: by case (a number of sockets, or how it was done), by name.
Figures = dict[str, dict[str, float]]

IDLE_MORE = 10  # subscriptions that an idle socket has at last, beside the first


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    fan_out: tuple[int, ...] = (10, 100, 1_000, 5_000)
    blocks: int = 4  # of each contestant, at each size: as many in the one order as in the other
    events: int = 4  # in each block
    seconds_per_size: float = 2.0  # of a contestant; no further event is begun after these
    spread: int = 1_000
    spread_rate: float = 10.0
    spread_window: int = 32
    spread_seconds: float = 4.0
    burst: int = 50
    saves: int = 100
    storm: int = 1_000
    idle: int = 1_000
    idle_seconds: float = 8.0
    sizing: tuple[int, ...] = (1_000, 4_000)
    sizing_seconds: float = 60.0
    revocations: int = 40
    revocation_sockets: int = 1_000
    sweep_period: float = 2.0
    soak_seconds: float = 600.0
    soak_warm_up: float = 20.0
    soak_sockets: int = 2_000
    soak_sockets_beside: int = 200  # on a second gateway
    soak_cards: int = 36
    soak_subscriptions: int = 5  # for each socket
    soak_rate: float = 10.0  # changes in a second
    # Seconds, from the least to the most: between two faults, until one is mended, until clients who have gone come
    # back, until slow ones read again.
    soak_pauses: tuple[float, float] = (2.0, 6.0)
    soak_faults: tuple[float, float] = (0.2, 8.0)
    soak_away: tuple[float, float] = (0.5, 20.0)
    soak_stall: tuple[float, float] = (5.0, 60.0)
    resync_few: int = 10  # sockets
    resync_many: int = 1_000
    resync_cards: int = 100
    resync_away: float = 2.0  # seconds for which Redis is away after everybody was told
    refusals: int = 300  # of each kind
    ledger_sockets: int = 1_000
    ledger_blocks: int = 8  # of each level
    ledger_events: int = 4  # in each block
    ledger_rest: float = 0.5  # seconds: at most before an event, at random; and after a block, twice as many
    ledger_rows: int = 1_000_000
    ledger_times: int = 15  # that each question is asked
    grants_rows: int = 1_000_000  # to users; a fifth as many to groups
    grants_times: int = 15  # that each evaluation is made
    seed: int = 0  # of what happens at random

    @property
    def viewers(self) -> int:
        """How many viewers there have to be."""
        soak = self.soak_sockets + self.soak_sockets_beside
        others = (
            self.burst,
            self.storm + 1,
            self.idle,
            self.revocation_sockets,
            self.resync_many,
            soak,
            self.ledger_sockets,
        )
        return max(*self.fan_out, *self.sizing, *others)


def spread(arena: Arena, sizes: Sizes) -> Figures:
    """Many cards with three viewers each: how long one takes at a steady pace, and how many there can be."""
    cards = list(range(1, sizes.spread + 1))
    for some in chunks(cards, AT_ONCE // VIEWERS_PER_CARD):
        viewers = [viewer for card in some for viewer in viewers_of(card)]
        arena.open(viewers, [card for card in some for _ in range(VIEWERS_PER_CARD)])
    time.sleep(SETTLE)
    stream(arena, "stream", cards=cards, window=sizes.spread_window, seconds=0.2)  # to warm up
    steady = stream(arena, "steady", cards=cards, rate=sizes.spread_rate, seconds=sizes.spread_seconds)
    percentiles = quantiles(latencies(steady), n=100, method="inclusive")
    before = arena.counters()
    fast = stream(arena, "stream", cards=cards, window=sizes.spread_window, seconds=sizes.spread_seconds)
    after = arena.counters()
    saves = len(fast["saved"])
    return {
        "": {
            "events_per_s": saves / (fast["ended"] - fast["started"]),
            "p50_ms": 1e3 * percentiles[49],
            "p95_ms": 1e3 * percentiles[94],
            "p99_ms": 1e3 * percentiles[98],
            "cpu_us_per_message": 1e6 * (after["cpu"] - before["cpu"]) / saves / VIEWERS_PER_CARD,
            "queries": (after["queries"] - before["queries"]) / saves,
            "server_busy": (after["cpu"] - before["cpu"]) / (fast["ended"] - fast["started"]),
        }
    }


def stream(arena: Arena, command: str, **arguments: Any) -> dict[str, Any]:
    """Have the writer save many cards, and check that every viewer received every version. Gives what the writer
    said, with the ``times`` at which the versions came, by card and viewer."""
    reads, writes = arena.done
    arena.clients.start("follow", patience=EVENT_PATIENCE, per_card=VIEWERS_PER_CARD, done=writes)
    said = arena.writer.do(command, **arguments, done=reads)
    versions: dict[str, list[int]] = {}
    for card, _, version in said["saved"]:
        versions.setdefault(str(card), []).append(version)
    arena.clients.start("verify", linger=LINGER, versions=versions)
    arena.clients.finish()  # of follow
    return {**said, "times": arena.checked(arena.clients.finish())["times"]}


def latencies(streamed: dict[str, Any]) -> list[float]:
    """The seconds from each commit to each of its viewers."""
    committed: dict[str, list[float]] = {}
    for card, at, _ in streamed["saved"]:
        committed.setdefault(str(card), []).append(at)
    return [
        received - sent
        for card, viewers in streamed["times"].items()
        for times in viewers
        for sent, received in zip(committed[card], times, strict=True)
    ]


def burst(arena: Arena, sizes: Sizes) -> Figures:
    """One card saved many times at once: until all its viewers have the last version."""
    gather_viewers(arena, range(sizes.burst))
    return {
        case: burst_once(arena, sizes, together)
        for case, together in (("one commit each", False), ("in one commit", True))
    }


def burst_once(arena: Arena, sizes: Sizes, together: bool) -> dict[str, float]:
    arena.clients.start("gather", patience=EVENT_PATIENCE, per_client=1)
    version = arena.writer.do("save", card=0)["version"]
    arena.clients.finish()
    arena.checked(arena.clients.do("verify", linger=LINGER, versions={"0": [version]}))
    before = arena.counters()
    last = version + sizes.saves
    arena.clients.start("gather_version", patience=EVENT_PATIENCE, version=last)
    said = arena.writer.do("burst", card=0, times=sizes.saves, together=together)
    gathered = arena.clients.finish()
    checked = arena.checked(arena.clients.do("verify_last", linger=0.5, version=last))
    after = arena.counters()
    return {
        "current_after_first_ms": 1e3 * (gathered["last"] - said["first"]),
        "current_after_last_ms": 1e3 * (gathered["last"] - said["last"]),
        "evaluations": after["evaluations"] - before["evaluations"],
        "frames_per_socket": checked["messages"] / sizes.burst,
        "queries": after["queries"] - before["queries"],
        "cpu_ms": 1e3 * (after["cpu"] - before["cpu"]),
    }


def storm(arena: Arena, sizes: Sizes) -> Figures:
    """Everybody connects and subscribes at once."""
    arena.open([sizes.storm], [0])  # what is made on the first connection is made
    before = arena.counters()
    took = arena.open(range(sizes.storm), [0] * sizes.storm)
    after = arena.counters()
    time.sleep(SETTLE)
    serve_all(arena)
    return {
        "": {
            "subscribed_ms": 1e3 * took,
            "queries": after["queries"] - before["queries"],
            "evaluations": after["evaluations"] - before["evaluations"],
            "cpu_us_per_socket": 1e6 * (after["cpu"] - before["cpu"]) / sizes.storm,
        }
    }


def idle(arena: Arena, sizes: Sizes) -> Figures:
    """Sockets on which nothing happens: what they weigh, and what they cost all the same, the sweep included."""
    arena.open([0], [0])
    readings = [arena.counters()]
    for some in chunks(range(1, sizes.idle), AT_ONCE):
        arena.open(some, [0] * len(some), subscribe=False)
    readings.append(arena.counters())
    arena.subscribe([[], *([[0]] * (sizes.idle - 1))])
    more = list(arena.ground.common)[:IDLE_MORE]
    readings.append(arena.counters())
    arena.subscribe([more] * sizes.idle)
    readings.append(arena.counters())
    bare, connected, subscribed, full = (reading["memory"] for reading in readings)
    rested = arena.counters()
    time.sleep(sizes.idle_seconds)
    after = arena.counters()
    serve_all(arena)
    return {
        "": {
            "kb_per_socket": (connected - bare) / (sizes.idle - 1) / 1e3,
            "kb_with_first_subscription": (subscribed - bare) / (sizes.idle - 1) / 1e3,
            "kb_per_subscription": (full - subscribed) / sizes.idle / len(more) / 1e3,
            "cpu_percent": 100 * (after["cpu"] - rested["cpu"]) / sizes.idle_seconds,
            "sweeps": after["sweeps"] - rested["sweeps"],
            "queries": after["queries"] - rested["queries"],
        }
    }


def sizing(arena: Arena, sizes: Sizes) -> Figures:
    """More and more sockets with one subscription each: what the process weighs, and what it costs when nothing
    happens but pings and the sweep."""
    bare = arena.counters()["memory"]
    figures: Figures = {"0": {"memory_mb": bare / 1e6}}
    opened = 0
    for size in sizes.sizing:
        gather_viewers(arena, range(opened, size))
        opened = size
        before = arena.counters()
        time.sleep(sizes.sizing_seconds)
        after = arena.counters()
        figures[str(size)] = {
            "memory_mb": after["memory"] / 1e6,
            "kb_per_socket": (after["memory"] - bare) / size / 1e3,
            "cpu_percent": 100 * (after["cpu"] - before["cpu"]) / sizes.sizing_seconds,
            "sweeps": after["sweeps"] - before["sweeps"],
        }
    serve_all(arena)
    return figures


def chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))


# Those that are done to several contestants beside each other give the figures of each.
BESIDE: dict[str, Callable[[Sequence[Arena], Sizes], list[Figures]]] = {"fan-out": fan_out}
ALONE: dict[str, Callable[[Arena, Sizes], Figures]] = {
    "spread": spread,
    "burst": burst,
    "storm": storm,
    "idle": idle,
    "sizing": sizing,
    "revocation": revocation,
    "resync": resync,
    "refusals": refusals,
    "ledger": ledger,
    "ledger-questions": questions,
    "grants": grants,
    "soak": soak,
}
WORKLOADS = [*BESIDE, *ALONE]


def measure(workload: str, arenas: Sequence[Arena], sizes: Sizes) -> list[Figures]:
    """The figures of each contestant; of those workloads that are done to one alone, of the only one."""
    if workload in BESIDE:
        return BESIDE[workload](arenas, sizes)
    [arena] = arenas
    return [ALONE[workload](arena, sizes)]
