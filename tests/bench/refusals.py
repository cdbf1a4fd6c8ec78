"""The workload ``refusals``: whether the time that a refusal takes tells what is hidden from what never existed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import sqrt
from random import Random
from statistics import quantiles
from typing import TYPE_CHECKING

import servers

from . import rights
from .arena import Invalid, arena

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .arena import Arena
    from .workloads import Figures, Sizes

PATIENCE = 240  # seconds that it may take
VIEWER = 3  # who may see the first card by a direct grant, until that is taken
TAKEN = "not to be seen any more"  # the path by which it is
SOON = 0.02  # seconds within which it is asked again after an answer, at random
SURE = 1.96  # standard errors to either side, within which it is in 95 of 100 cases


@dataclass(frozen=True)
class Case:
    """How it is asked and refused: whether together with something that is shown, the answer to which is timed then;
    and the settings of the server."""

    is_beside: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


CASES = {
    "on the beat": Case(),
    "beside what is shown": Case(is_beside=True),
    # As it is not: this shows that there would be something to see.
    "at once": Case(settings={"BENCH_REFUSAL_BEAT": "0.000001"}),
}


def refusals(outer: Arena, sizes: Sizes) -> Figures:
    """One client asks for a card that is hidden from it, and for one that never existed, in a random order."""
    random = Random(sizes.seed)
    figures: Figures = {}
    for name, case in CASES.items():
        environment = {**outer.ground.environment, "BENCH_SWEEP_PERIOD": str(servers.NO_SWEEP), **case.settings}
        with arena(outer.contestant, replace(outer.ground, environment=environment)) as opened:
            opened.writer.do("restore", hidden=[VIEWER])
            opened.writer.do("take", path=TAKEN, viewers=[VIEWER], rate=1, saves=False)
            try:
                figures[name] = ask(opened, sizes.refusals, random, case.is_beside)
            finally:
                opened.writer.do("give", path=TAKEN, viewers=[VIEWER])
                opened.writer.do("restore", hidden=[VIEWER])
    return figures


def ask(opened: Arena, times: int, random: Random, is_beside: bool) -> dict[str, float]:
    """Each so many times."""
    hashids = {"hidden": opened.ground.hashids[0], "never": opened.writer.do("never")}
    shown = opened.ground.common[0]
    opened.open([VIEWER], [shown], subscribe=False)
    order = [name for name in hashids for _ in range(times)]
    random.shuffle(order)
    order.insert(0, "never")  # what is made for the first request is made then
    beside = [opened.subscription(opened.ground.hashids[shown])] if is_beside else []
    asked = [[opened.subscription(hashids[name]), *beside, random.uniform(0, SOON)] for name in order]
    answers = opened.clients.do("ask_in_turn", patience=PATIENCE, viewer=rights.username(VIEWER), requests=asked)
    took: dict[str, list[float]] = {"hidden": [], "never": []}
    for name, answered in list(zip(order, answers, strict=True))[1:]:
        refused = {is_refusal: seconds for seconds, is_refusal in answered}
        if refused.keys() != {True, not is_beside}:
            raise Invalid(f"what is {name} was not refused, or not in time: {answered}")
        took[name].append(refused[not is_beside])
    later = probability_later(took["hidden"], took["never"])
    return {
        **spread("hidden", took["hidden"]),
        **spread("never", took["never"]),
        "hidden_later": later,
        "give_or_take": SURE * standard_error(later, times, times),
        "told_apart": max(later, 1 - later),
    }


def spread(name: str, seconds: list[float]) -> dict[str, float]:
    """The median, and between what nine in ten are."""
    percentiles = quantiles(seconds, n=20, method="inclusive")
    return {
        f"{name}_ms": 1e3 * percentiles[9],
        f"{name}_from_ms": 1e3 * percentiles[0],
        f"{name}_to_ms": 1e3 * percentiles[18],
    }


def probability_later(some: Sequence[float], others: Sequence[float]) -> float:
    """Of one of each, taken at random, how probable it is that the first is larger: the area under the curve. 0.5 if
    they can't be told apart."""
    larger = sum((one > other) + 0.5 * (one == other) for one in some for other in others)
    return larger / (len(some) * len(others))


def standard_error(area: float, some: int, others: int) -> float:
    """Of such a probability, by so many of each; Hanley and McNeil 1982."""
    both_some, both_others = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (some - 1) * (both_some - area**2) + (others - 1) * (both_others - area**2)
    return sqrt(variance / (some * others))
