"""The workload ``fan-out``: one card, and more and more viewers of it, until the last of them is served."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from .serving import LINGER, gather_viewers, serve_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .arena import Arena
    from .workloads import Figures, Sizes

# What was measured of one save, by the name of the figure.
Event = dict[str, float]


def fan_out(arenas: Sequence[Arena], sizes: Sizes) -> list[Figures]:
    """The contestants have their turns in short blocks, and each time in the opposite order: whatever else the machine
    does meets all of them alike."""
    figures: list[Figures] = [{} for _ in arenas]
    opened = 0
    for size in sizes.fan_out:
        for arena in arenas:
            gather_viewers(arena, range(opened, size))
        opened = size
        for arena, found, events in zip(arenas, figures, in_blocks(arenas, sizes), strict=True):
            found[str(size)] = figures_of(events, size)
            if found[str(size)]["latency_ms"] < 1e3 * sizes.seconds_per_size:
                found[str(size)] |= count_event(arena)
    for arena in arenas:  # nobody was sent anything, or logged an error, while the others had their turns
        arena.checked(arena.clients.do("verify", linger=LINGER, versions={}))
    return figures


def in_blocks(arenas: Sequence[Arena], sizes: Sizes) -> list[list[Event]]:
    """The events of each."""
    measured: list[list[Event]] = [[] for _ in arenas]
    for number in range(sizes.blocks):
        in_turn = list(zip(arenas, measured, strict=True))
        for arena, events in in_turn if number % 2 == 0 else reversed(in_turn):
            measure_block(arena, events, sizes)
    return measured


def measure_block(arena: Arena, events: list[Event], sizes: Sizes) -> None:
    if has_had_its_time(events, sizes):
        return
    arena.writer.do("reload")
    serve_all(arena)  # to warm up
    for _ in range(sizes.events):
        before = arena.counters()
        served = serve_all(arena)
        after = arena.counters()
        events.append(served | {name: after[name] - before[name] for name in ("cpu", "queries")})
        if has_had_its_time(events, sizes):
            return


def has_had_its_time(events: list[Event], sizes: Sizes) -> bool:
    return sum(event["latency"] for event in events) > sizes.seconds_per_size


def figures_of(events: list[Event], sockets: int) -> dict[str, float]:
    return {
        "latency_ms": 1e3 * median(event["latency"] for event in events),
        "cpu_us_per_message": 1e6 * median(event["cpu"] for event in events) / sockets,
        "queries": median(event["queries"] for event in events),
        "clients_busy": median(event["busy"] for event in events),
    }


def count_event(arena: Arena) -> dict[str, float]:
    """One more event, not timed, in which serializations are counted."""
    arena.writer.do("reload")
    before = arena.counters("/serializations")
    serve_all(arena)
    return {"serializations": arena.counters()["serializations"] - before["serializations"]}
