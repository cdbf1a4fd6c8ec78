"""Metrics: how often what happened, and how it was distributed, in this process since it started; and how it stands.

No name and no value is of a user, a model or an instance.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from threading import RLock
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

Count = Literal[
    "notices_posted",
    "notices_heard",
    "evaluations",
    "pairs_evaluated",
    "views_shared",
    "views_alone",
    "views_taken",
    "canaries",
    "canary_mismatches",
    "frames_sent",
    "frames_suppressed",
    "refusals",
    "messages_refused",
    "sockets_opened",
    "sockets_closed_by_operator",
    "sockets_expelled",
    "sockets_too_many",
    "sockets_too_slow",
    "sockets_failed",
    "sweeps",
    "ledger_entries_written",
    "ledger_entries_lost",
]
Measure = Literal["evaluation_seconds", "evaluation_audiences", "revocation_seconds"]
Gauge = Literal["sockets", "subscriptions", "sweep_age_seconds", "ledger_queue"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# The upper bounds of what is told apart in each measure.
BOUNDS: dict[Measure, tuple[float, ...]] = {
    "evaluation_seconds": SECONDS,
    "evaluation_audiences": (0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000),
    "revocation_seconds": SECONDS,
}


@dataclass(frozen=True)
class Distribution:
    """How many values were at most each bound, in ascending order, the last one infinite; and the sum of all."""

    up_to: dict[float, int]
    sum: float


# May be taken again by the thread that has it: a signal handler or finalizer may count in the middle of a count.
_lock = RLock()
_counts: Counter[Count] = Counter()
_buckets: dict[Measure, list[int]] = {}
_sums: dict[Measure, float] = {}
_gauges: dict[Gauge, Callable[[], float | None]] = {}


def count(what: Count, times: int = 1) -> None:
    """Something happened, so many times."""
    with _lock:
        _counts[what] += times


def observe(what: Measure, value: float) -> None:
    """Something was measured."""
    place = bisect_left(BOUNDS[what], value)
    with _lock:
        _buckets.setdefault(what, [0] * (len(BOUNDS[what]) + 1))[place] += 1
        _sums[what] = _sums.get(what, 0.0) + value


def gauge(name: Gauge, function: Callable[[], float | None]) -> None:
    """Ask this function when somebody wants to know how it stands, from any thread; None where there is nothing to
    say. The last function given for a name is asked."""
    _gauges[name] = function


def counts() -> dict[Count, int]:
    """What was counted so far; what never happened is 0."""
    with _lock:
        return {name: _counts[name] for name in get_args(Count)}


def distributions() -> dict[Measure, Distribution]:
    """What was measured so far."""
    with _lock:
        return {name: _distribution(name) for name in get_args(Measure)}


def _distribution(name: Measure) -> Distribution:
    bounds = (*BOUNDS[name], inf)
    found = _buckets.get(name, [0] * len(bounds))
    return Distribution(dict(zip(bounds, accumulate(found), strict=True)), _sums.get(name, 0.0))


def gauges() -> dict[Gauge, float]:
    """How it stands now, as far as there is something to say."""
    asked = {name: _gauges[name]() for name in get_args(Gauge) if name in _gauges}
    return {name: value for name, value in asked.items() if value is not None}


def start_over() -> None:
    """Forget what was counted and measured: a forked child has done none of it. Its lock may be held by a thread that
    is missing there."""
    global _lock
    _lock = RLock()
    _counts.clear()
    _buckets.clear()
    _sums.clear()


os.register_at_fork(after_in_child=start_over)
