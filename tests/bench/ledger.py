"""The workload ``ledger``: what it costs to have on record who is shown what, beside the same without it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING

import servers

from .arena import Invalid, apart, arena
from .serving import gather_viewers, serve_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .arena import Arena
    from .workloads import Figures, Sizes

LEVELS = ("off", "subscriptions", "showings", "strict")
PATIENCE = 30  # seconds that the last entries may take

# What a block of events gave, by the name of the figure.
Block = dict[str, list[float]]


def ledger(outer: Arena, sizes: Sizes) -> Figures:
    """The fan-out, with a server for each level, which have their turns in short blocks, and each time in the opposite
    order: whatever else the machine does meets all of them alike."""
    random = Random(sizes.seed)
    outer.writer.do("empty_ledger")
    with contextlib.ExitStack() as stack:
        opened = {level: stack.enter_context(place(outer, level)) for level in LEVELS}
        for one in opened.values():
            gather_viewers(one, range(sizes.ledger_sockets))
            one.writer.do("reload")
            serve_all(one)  # to warm up
        blocks: dict[str, list[Block]] = {level: [] for level in LEVELS}
        for number in range(sizes.ledger_blocks):
            for level in LEVELS if number % 2 == 0 else reversed(LEVELS):
                blocks[level].append(measure_block(opened[level], sizes, random))
        compare(opened, outer, sizes.ledger_sockets)
    return {level: figures_of(blocks[level], blocks["off"]) for level in LEVELS}


def measure_block(opened: Arena, sizes: Sizes, random: Random) -> Block:
    """Some events, at moments that have nothing to do with those at which entries are written in the background; and
    whatever is written because of them."""
    opened.writer.do("reload")
    before = opened.counters()
    latencies = []
    for _ in range(sizes.ledger_events):
        time.sleep(random.uniform(0, sizes.ledger_rest))
        latencies.append(1e3 * serve_all(opened)["latency"])
    time.sleep(2 * sizes.ledger_rest)
    after = opened.counters()
    sent = sizes.ledger_events * sizes.ledger_sockets
    return {"latency_ms": latencies, "cpu_us_per_message": [1e6 * (after["cpu"] - before["cpu"]) / sent]}


def figures_of(blocks: list[Block], without: list[Block]) -> dict[str, float]:
    """Medians; ``by_off`` are those of the ratios of each block to the one without a ledger beside it."""
    latencies = [latency for block in blocks for latency in block["latency_ms"]]
    return {
        "latency_ms": median(latencies),
        "p90_ms": quantiles(latencies, n=10, method="inclusive")[8],
        "cpu_us_per_message": median(block["cpu_us_per_message"][0] for block in blocks),
        "by_off": by(blocks, without, "latency_ms"),
        "cpu_by_off": by(blocks, without, "cpu_us_per_message"),
    }


def by(blocks: list[Block], without: list[Block], figure: str) -> float:
    return median(median(block[figure]) / median(other[figure]) for block, other in zip(blocks, without, strict=True))


def compare(opened: Mapping[str, Arena], outer: Arena, sockets: int) -> None:
    """Raises Invalid unless all who were shown something, and only they, are on record, each once for each view; and
    once each who was admitted."""
    shown = {level: counted(one.clients.do("tell_shown")) for level, one in opened.items()}
    wanted = shown["showings"] + shown["strict"]
    deadline = time.monotonic() + PATIENCE
    while True:
        entries = outer.writer.do("read_ledger")
        found = counted(entries.get("shown", [])) - counted(entries.get("withheld", []))
        admitted = Counter(name for name, _ in entries.get("admitted", []))
        if found == wanted and list(admitted.values()) == [len(LEVELS) - 1] * sockets:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    missing, invented = (wanted - found).total(), (found - wanted).total()
    raise Invalid(
        f"of {wanted.total()} frames, {missing} are not on record; {invented} are which were not sent; "
        f"{admitted.total()} times somebody was admitted"
    )


def counted(views: list[list[str]]) -> Counter[tuple[str, ...]]:
    return Counter(map(tuple, views))


@contextlib.contextmanager
def place(outer: Arena, level: str) -> Iterator[Arena]:
    """An arena with a broker of its own, so that it hears of its own changes only, on the common database."""
    settings = {"BENCH_LEDGER": level, "BENCH_SWEEP_PERIOD": str(servers.NO_SWEEP)}
    with apart(outer.ground, settings) as ground, arena(outer.contestant, ground) as opened:
        yield opened
