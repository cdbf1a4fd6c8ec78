"""The workload ``soak``: thousands of clients, steady writes, and one fault after the other; and then everybody holds
what a GET shows them, and nothing has grown."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from random import Random
from statistics import mean, quantiles
from typing import TYPE_CHECKING, Any

from .arena import Invalid, child
from .faults import OF_REDIS, faults_on, shuffled
from .site import site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .arena import Arena
    from .site import Site
    from .workloads import Figures, Sizes

# Seconds after the last fault within which everybody has to hold the truth.
LIMIT = 30.0
# Seconds within which the gateway finds out that clients have gone.
FOUND_OUT = 60.0
# The task in which the channel layer hears stays, once there is one.
OF_THE_LAYER = 1
# What of the gateway is compared before and after.
KEPT = ("sockets", "subscriptions", "tasks", "files", "objects")
# What is in the hub's tables, and what the crowd calls it.
IN_TABLES = {"sockets": "up", "subscriptions": "subscribed"}
# How often memory is read in a run.
READINGS = 60


@dataclass(frozen=True)
class Reading:
    """What the gateway kept at a moment, in seconds since the start."""

    at: float
    counters: dict[str, float]

    @property
    def megabytes(self) -> float:
        return self.counters["memory"] / 1e6


class Watch:
    """Reads the counters of the gateway every so often."""

    def __init__(self, opened: Site, seconds: float) -> None:
        self.site = opened
        self.period = seconds / READINGS
        self.started = time.monotonic()
        self.readings: list[Reading] = []
        self.read()

    def read(self) -> None:
        self.readings.append(Reading(time.monotonic() - self.started, self.site.counters()))

    def rest(self, seconds: float) -> None:
        """Let so many seconds pass, and read when it is time to."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            due = self.started + self.readings[-1].at + self.period - time.monotonic()
            if due <= 0:
                self.read()
            else:
                time.sleep(min(left, due))


def soak(outer: Arena, sizes: Sizes) -> Figures:
    """See the module."""
    random = Random(sizes.seed)
    print(f"soak: --seed {sizes.seed}", file=sys.stderr, flush=True)
    with site(outer.contestant, outer.ground) as opened:
        alone = opened.counters("/objects")
        opened.fill(sizes, random)
        opened.scribe.start("write", rate=sizes.soak_rate)
        time.sleep(sizes.soak_warm_up)
        before = opened.counters("/objects")
        watch = Watch(opened, sizes.soak_seconds)
        faults, mended = break_things(opened, sizes, random, watch)
        written = opened.scribe.finish()  # of write
        opened.scribe.finish()  # of stop
        opened.crowd.do("calm")
        settled = settle(opened, mended)
        standing = opened.crowd.do("standing")
        port = str(opened.ports[0])
        after = opened.await_tables(standing["up"][port], standing["subscribed"][port], FOUND_OUT)
        unknown = {name: after[name] - standing[of][port] for name, of in IN_TABLES.items()}
        verify(opened, standing, settled, written, unknown)
        opened.crowd.do("close")
        left = opened.await_tables(0, 0, FOUND_OUT, alone["tasks"] + OF_THE_LAYER)  # when the hub has ended, too
    return {
        "faults": {**faults, "all": sum(faults.values()), "seed": sizes.seed},
        "changes": figures_of_changes(written),
        "clients": figures_of_clients(standing, settled),
        "kept": {
            **{f"{name}_before": before[name] for name in KEPT},
            **{f"{name}_after": after[name] for name in KEPT},
            "tasks_after_by_before": after["tasks"] / before["tasks"],
            **{f"{name}_unknown": number for name, number in unknown.items()},
            **{f"{name}_left": left[name] - alone[name] for name in KEPT},
        },
        "memory": figures_of_memory(before, watch.readings, after),
    }


def break_things(opened: Site, sizes: Sizes, random: Random, watch: Watch) -> tuple[Counter[str], float]:
    """One fault after the other, for so long; and one of Redis's at last, in which the writing ends: nothing that is
    written later makes up for what was missed. How many there were of each kind, and when the last was mended."""
    faults = faults_on(opened)
    done: Counter[str] = Counter()
    for kind in shuffled(list(faults), random):
        watch.rest(random.uniform(*sizes.soak_pauses))
        if time.monotonic() > watch.started + sizes.soak_seconds and done.keys() == faults.keys():
            break
        with faults[kind](opened, sizes, random):
            watch.rest(random.uniform(*sizes.soak_faults))
        done[kind] += 1
    last = random.choice(list(OF_REDIS))
    with OF_REDIS[last](opened, sizes, random):
        time.sleep(random.uniform(*sizes.soak_faults))
        opened.scribe.start("stop")
    done[last] += 1
    return done, time.monotonic()


@dataclass(frozen=True)
class Settled:
    """How it ended: clients who hold something else than a GET shows them, those of them who hold what they may not
    see at all, those for whom it took too long; and after how many seconds the last one was current."""

    stale: list[str]
    forbidden: list[str]
    late: list[str]
    seconds: float
    views: int


def settle(opened: Site, mended: float) -> Settled:
    """Wait until everybody holds the truth, within the limit."""
    wanted = [[viewer, hashid] for viewer, hashids in opened.viewers.items() for hashid in hashids]
    with child("truth", {**opened.environment, "BENCH_LOG": str(opened.folder / "truth.log")}, ()) as truth:
        found = truth.do("views", wanted=wanted)
    right = {(str(viewer), hashid): view for (viewer, hashid), view in zip(wanted, found, strict=True)}
    while True:
        held = opened.crowd.do("views")
        judged = compare(held, right, mended)
        if not judged.stale or time.monotonic() > mended + LIMIT:
            return judged
        time.sleep(0.2)


def compare(held: dict[str, Any], right: dict[tuple[str, str], str | None], mended: float) -> Settled:
    """What clients hold, and since when, with the truth."""
    stale, forbidden, late = [], [], []
    last = mended
    for viewer, client in held.items():
        wrong = {hashid: held for hashid, held in client["views"].items() if held[0] != right[viewer, hashid]}
        if wrong or not client["settled"]:
            stale.append(f"viewer{viewer}, since {client['changed'] - mended:.1f} s: {wrong or 'behind'}")
        if any(right[viewer, hashid] is None for hashid in wrong):
            forbidden.append(f"viewer{viewer} holds what a GET does not show them: {wrong}")
        if client["changed"] > mended + LIMIT:
            late.append(f"viewer{viewer} after {client['changed'] - mended:.1f} s")
        last = max(last, client["changed"])
    return Settled(stale, forbidden, late, last - mended, sum(len(client["views"]) for client in held.values()))


def verify(
    opened: Site, standing: dict[str, Any], settled: Settled, written: dict[str, Any], unknown: dict[str, float]
) -> None:
    """Raises Invalid where somebody holds what is not right, was ever shown what they never had a right to, a save
    failed, or the gateway keeps what no client knows of."""
    leaks = leaked(opened.crowd.do("shown"), opened.scribe.do("allowed"))
    found = {
        "stale": settled.stale,
        "forbidden": settled.forbidden,
        "late": settled.late,
        "shown what they had no right to": leaks,
        "failed": written["failed"],
        "faults of clients": standing["faults"],
        "logged": opened.unexpected(),
        "more in the tables than there is": [f"{name}: {number:+}" for name, number in unknown.items() if number],
    }
    for one in chain.from_iterable(wrong[:10] for wrong in found.values()):
        print(f"soak: {one}", file=sys.stderr)
    if any(found.values()):
        raise Invalid(", ".join(f"{len(wrong)} {what} ({wrong[0]})" for what, wrong in found.items() if wrong))


def leaked(shown: Sequence[Sequence[Any]], allowed: Sequence[Sequence[Any]]) -> list[str]:
    """Which versions of which objects, or of their salaries, were shown to somebody who had no right to them at any
    time while they were there."""
    may_see = {(hashid, version): masks for hashid, version, *masks in allowed}
    found = []
    for hashid, version, *masks in shown:
        rights = may_see.get((hashid, version), ["0x0", "0x0"])
        for what, seen, right in zip(("the card", "the salary"), masks, rights, strict=True):
            if wrong := int(seen, 16) & ~int(right, 16):
                found.append(f"{what} of version {version} of {hashid}: to {wrong.bit_count()} viewers")
    return found


def figures_of_changes(written: dict[str, Any]) -> dict[str, float]:
    percentiles = quantiles(written["taken"], n=100, method="inclusive")
    return {
        "saves": written["done"]["save"],
        "of_rights": sum(written["done"].values()) - written["done"]["save"],
        "failed": len(written["failed"]),
        "database_away": written["unsure"],
        "p50_ms": 1e3 * percentiles[49],
        "p99_ms": 1e3 * percentiles[98],
        "slowest_ms": 1e3 * max(written["taken"]),
    }


def figures_of_clients(standing: dict[str, Any], settled: Settled) -> dict[str, float]:
    return {
        "sockets": sum(standing["up"].values()),
        "views": settled.views,
        "stale": len(settled.stale),
        "forbidden": len(settled.forbidden),
        "late": len(settled.late),
        "current_after_s": settled.seconds,
        "frames": sum(standing["frames"].values()),
        "told_delayed": standing["frames"].get("DELAYED", 0),
        **{f"closed_{code.replace(' ', '_')}": times for code, times in sorted(standing["closed"].items())},
    }


def figures_of_memory(before: dict[str, float], readings: list[Reading], after: dict[str, float]) -> dict[str, float]:
    """In megabytes: after warming up, after each minute, and at the end; and what it is in the last third of the time
    by what it was in the middle one."""
    found = [one.megabytes for one in readings]
    third = len(found) // 3
    minutes = range(1, int(readings[-1].at // 60) + 1)
    return {
        "warm": before["memory"] / 1e6,
        **{f"minute_{minute}": next(one.megabytes for one in readings if one.at >= 60 * minute) for minute in minutes},
        "end": after["memory"] / 1e6,
        "last_third_by_middle": mean(found[2 * third :]) / mean(found[third : 2 * third]),
    }
