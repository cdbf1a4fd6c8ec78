"""The workload ``revocation``: how long a right is felt after it was taken, by each path, whatever the broker does."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import servers

from . import rights
from .arena import Invalid, arena
from .paths import FIELD, PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .arena import Arena
    from .workloads import Figures, Sizes

PATIENCE = 60  # seconds that something may take which must happen
STALL = 1.0  # seconds for which a process is stopped
SILENT = "without a signal"
BESIDE = "grant removed"  # what happens in one process while another is stalled


def revocation(outer: Arena, sizes: Sizes) -> Figures:
    """Under steady saves of what everybody watches, take a right from one viewer after the other. In the end everybody
    may see it again: other workloads have the same database."""
    pools = Pools(sizes)
    try:
        return take_all(outer, sizes, pools)
    finally:
        outer.writer.do("restore", hidden=pools.may_be_hidden)


def take_all(outer: Arena, sizes: Sizes, pools: Pools) -> Figures:
    latencies: dict[str, list[float]] = {}
    with place(outer) as (field, _):
        field.fill(pools, PATHS)
        for path in PATHS:
            state = "next save" if path == SILENT else "broker up"
            latencies[f"{path}, {state}"] = field.take(path, pools.of[path])
        evaluation = field.time_event(pools.more)
    swept = {"BENCH_SWEEP_PERIOD": str(sizes.sweep_period), "BENCH_SWEEP_RATE": "4000"}
    with place(outer, **swept) as (field, broker):
        field.fill(pools, PATHS)
        latencies[f"{SILENT}, nothing saved"] = field.take(SILENT, pools.more, saves=False)
        for path in PATHS:
            field.give(path, pools.of[path])
        broker.kill()
        broker.wait()
        for path in PATHS:
            latencies[f"{path}, broker down"] = field.take(path, pools.of[path], is_given=True)
    with place(outer, **swept) as (field, _), field.beside() as other:
        field.fill(pools, PATHS)
        other.fill(pools, [], pools.more)
        for path in PATHS:
            latencies[f"{path}, process stalled"] = field.take_while_stalled(path, pools.of[path])
        field.give(BESIDE, pools.more)
        other.give(BESIDE, pools.more)
        latencies[f"{BESIDE}, another process stalled"] = field.take_while_stalled(BESIDE, pools.more, other)
    up = {case: found for case, found in latencies.items() if case.endswith("broker up")}
    unheard = ("broker down", "next save", "nothing saved")
    down = [one for case, found in latencies.items() if case.endswith(unheard) for one in found]
    bound = sizes.sweep_period + evaluation
    return {
        **{case: figures_of(found) for case, found in latencies.items()},
        "all, broker up": {
            **figures_of([one for found in up.values() for one in found]),
            "worst_p99_ms": max(figures_of(found)["p99_ms"] for found in up.values()),
        },
        "all, unheard": {**figures_of(down), "max_by_bound": max(down) / bound},
    }


def figures_of(seconds: list[float]) -> dict[str, float]:
    percentiles = quantiles(seconds, n=100, method="inclusive")
    return {
        "p50_ms": 1e3 * percentiles[49],
        "p99_ms": 1e3 * percentiles[98],
        "max_ms": 1e3 * max(seconds),
        "samples": len(seconds),
    }


class Pools:
    """The viewers from whom something is taken: for each path others, who see none of the guarded fields at first."""

    def __init__(self, sizes: Sizes) -> None:
        free = [viewer for viewer in range(2, sizes.revocation_sockets) if rights.level(viewer) == 0]
        self.all = range(sizes.revocation_sockets)
        self.may_be_hidden = [viewer for viewer in free if rights.way(viewer) == "direct"]
        self.of: dict[str, list[int]] = {}
        for path in sorted(PATHS, key=lambda path: PATHS[path].leaves != "object"):
            wanted = [one for one in free if PATHS[path].leaves != "object" or one in self.may_be_hidden]
            self.of[path] = wanted[: sizes.revocations]
            free = [viewer for viewer in free if viewer not in self.of[path]]
        self.more = free[: sizes.revocations]


class Field:
    """An arena with everybody on their sockets, and a broker of its own."""

    def __init__(self, opened: Arena, rate: float, tail: float) -> None:
        self.arena = opened
        self.rate = rate
        self.tail = tail  # seconds after which everything has taken effect

    def fill(self, pools: Pools, by_session: Sequence[str], viewers: Sequence[int] | None = None) -> None:
        """Connect them, who are to lose their session with one."""
        self.arena.writer.do("restore", hidden=pools.may_be_hidden)
        wanted = list(pools.all if viewers is None else viewers)
        with_session = [viewer for path in by_session if PATHS[path].leaves == "session" for viewer in pools.of[path]]
        keys = dict(zip(with_session, self.arena.writer.do("log_in", viewers=with_session), strict=True))
        for start in range(0, len(wanted), 250):
            some = wanted[start : start + 250]
            self.arena.open(some, [0] * len(some), sessions=keys)
        time.sleep(0.3)

    def give(self, path: str, viewers: Sequence[int]) -> None:
        """Give them what is to be taken, and wait until they have it."""
        version = self.arena.writer.do("give", path=path, viewers=viewers)
        names = [rights.username(viewer) for viewer in viewers]
        wanted = FIELD if PATHS[path].leaves == "field" else ""
        reply = self.arena.clients.do("await_version", patience=PATIENCE, names=names, version=version, holding=wanted)
        if reply["behind"]:
            raise Invalid(f"{reply['behind']} viewers were not shown what they were given")

    def take(self, path: str, viewers: Sequence[int], saves: bool = True, is_given: bool = False) -> list[float]:
        """Take it from one after the other: the seconds until it was gone."""
        if not is_given:
            self.give(path, viewers)
        taken = self.arena.writer.do("take", path=path, viewers=viewers, rate=self.rate, saves=saves)
        return self.judge(path, taken)

    def judge(self, path: str, taken: list[list[Any]]) -> list[float]:
        time.sleep(self.tail)
        samples = [[rights.username(viewer), at, version] for viewer, at, version in taken]
        reply = self.arena.clients.do("judge", leaves=PATHS[path].leaves, field=FIELD, samples=samples)
        if reply["faults"]:
            raise Invalid(f"{path}: {reply['faults'][0]}")
        found: list[float] = reply["latencies"]
        return found

    def take_while_stalled(self, path: str, viewers: Sequence[int], other: Field | None = None) -> list[float]:
        """The same while the process here is stopped; felt here, or by the same viewers in another process."""
        if other is None:
            self.give(path, viewers)
        self.arena.server.pause()
        try:
            self.arena.writer.start("take", path=path, viewers=viewers, rate=len(viewers) / STALL, saves=False)
            time.sleep(STALL)
        finally:
            self.arena.server.resume()
        return (other or self).judge(path, self.arena.writer.finish())

    def time_event(self, viewers: Sequence[int]) -> float:
        """The seconds from a save to the last of these."""
        names = [rights.username(viewer) for viewer in viewers]
        began = time.monotonic()
        version = self.arena.writer.do("give", path="deactivated", viewers=[])  # which gives nothing, and saves
        self.arena.clients.do("await_version", patience=PATIENCE, names=names, version=version, holding="")
        return time.monotonic() - began

    @contextlib.contextmanager
    def beside(self) -> Iterator[Field]:
        """Another process on the same database and broker."""
        with arena(self.arena.contestant, self.arena.ground) as opened:
            yield Field(opened, self.rate, self.tail)


@contextlib.contextmanager
def place(outer: Arena, **settings: str) -> Iterator[tuple[Field, Any]]:
    """A field with settings of its own, and its broker."""
    with servers.redis_process() as (url, broker):
        environment = {**outer.ground.environment, "REDIS_URL": url, **settings}
        with arena(outer.contestant, replace(outer.ground, environment=environment)) as opened:
            period = float(settings.get("BENCH_SWEEP_PERIOD", 0))
            yield Field(opened, rate=10, tail=period + 0.6), broker
