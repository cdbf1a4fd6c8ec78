"""Metrics: how often what happened, counted in this process since it started."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Literal

Count = Literal[
    "evaluations",
    "views_shared",
    "views_alone",
    "canaries",
    "canary_mismatches",
    "sockets_closed",
    "sockets_expelled",
    "sockets_too_many",
    "sockets_too_slow",
    "sweeps",
]

_counts: Counter[Count] = Counter()
_lock = Lock()


def count(what: Count, times: int = 1) -> None:
    """Something happened, so many times."""
    with _lock:
        _counts[what] += times


def counts() -> dict[Count, int]:
    """What was counted so far; what never happened is 0."""
    return {name: _counts[name] for name in Count.__args__}  # type: ignore[attr-defined]
