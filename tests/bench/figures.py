"""The figures of a run: what each round gave, medians and spread over the rounds, and the ratios that are promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Round:
    """What one contestant gave in one round of one workload; ``fault`` says why it does not count, or is ''."""

    workload: str
    database: str
    contestant: str
    number: int
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Summary:
    """A figure over the rounds that count."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Summary | None:
        return cls(median(values), min(values), max(values)) if values else None


class Results:
    """All rounds of a run."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []

    def values(self, workload: str, database: str, contestant: str, case: str, figure: str) -> dict[int, float]:
        """A figure by the number of the round, for the rounds that count."""
        return {
            one.number: one.figures[case][figure]
            for one in self.rounds
            if (one.workload, one.database, one.contestant) == (workload, database, contestant)
            and not one.fault
            and figure in one.figures.get(case, {})
        }

    def summary(self, workload: str, database: str, contestant: str, case: str, figure: str) -> Summary | None:
        return Summary.of(list(self.values(workload, database, contestant, case, figure).values()))

    def ratio(self, ratio: Ratio, database: str) -> Summary | None:
        """The median of one figure by that of another, which are of the same run; the spread is that of the rounds in
        which both count."""
        above = self.values(ratio.workload, database, ratio.above, ratio.case, ratio.figure)
        if not ratio.below:
            return Summary.of(list(above.values()))
        below = self.values(ratio.workload, database, ratio.below, ratio.case, ratio.figure)
        of_rounds = [above[number] / below[number] for number in above.keys() & below.keys() if below[number]]
        if not of_rounds:
            return None
        both = median(above.values()) / median(below.values())
        return Summary(both, min(of_rounds), max(of_rounds))

    @property
    def faults(self) -> list[Round]:
        return [one for one in self.rounds if one.fault]

    def failed(self) -> list[tuple[str, str, str]]:
        """The workloads, databases and contestants of which no round counts."""
        asked = {(one.workload, one.database, one.contestant) for one in self.rounds}
        counted = {(one.workload, one.database, one.contestant) for one in self.rounds if not one.fault}
        return sorted(asked - counted)


@dataclass(frozen=True)
class Ratio:
    """A figure that is promised: one contestant's by another's, or, without ``below``, as it is. ``goal`` by database;
    ``at_most`` says on which side of it is good."""

    key: str
    workload: str
    case: str
    figure: str
    above: str
    below: str
    at_most: bool
    goal: dict[str, float]

    def reached(self, value: float, database: str) -> bool:
        goal = self.goal[database]
        return value <= goal if self.at_most else value >= goal


def both(goal: float) -> dict[str, float]:
    return {"sqlite": goal, "postgresql": goal}


def ratios(sizes: Any) -> list[Ratio]:
    """What is promised, at 1,000 sockets or the most there are below that."""
    sockets = str(max((size for size in sizes.fan_out if size <= 1_000), default=sizes.fan_out[0]))
    few = str(sizes.fan_out[0])
    latency = ("fan-out", sockets, "latency_ms")
    commits = "one commit each"
    return [
        Ratio("fanout_3_audiences_vs_floor", *latency, "livegate-3", "floor", True, both(1.5)),
        Ratio("fanout_distinct_audiences_vs_floor", *latency, "livegate-distinct", "floor", True, both(2.5)),
        Ratio("fanout_classic_vs_livegate", *latency, "classic", "livegate-3", False, both(6)),
        Ratio("fanout_naive_vs_livegate", *latency, "naive", "livegate-3", False, {"sqlite": 90, "postgresql": 120}),
        Ratio("fanout_naive_vs_personal", *latency, "naive", "livegate-personal", False, both(8)),
        Ratio("fanout_queries_few_sockets", "fan-out", few, "queries", "livegate-3", "", True, both(6)),
        Ratio("fanout_queries_many_sockets", "fan-out", sockets, "queries", "livegate-3", "", True, both(6)),
        Ratio("spread_naive_vs_livegate", "spread", "", "events_per_s", "livegate-3", "naive", False, both(5)),
        Ratio("burst_evaluations", "burst", commits, "evaluations", "livegate-3", "", True, both(3)),
        Ratio("storm_queries", "storm", "", "queries", "livegate-3", "", True, both(60)),
        Ratio("revocation_p99_ms", "revocation", "all, broker up", "worst_p99_ms", "livegate-3", "", True, both(250)),
        Ratio("revocation_max_by_bound", "revocation", "all, unheard", "max_by_bound", "livegate-3", "", True, both(1)),
        *(
            # Of one evaluation, or of two: the notice that was kept may be heard when all was looked at already.
            Ratio(f"resync_queries_{size}", "resync", case, "queries", "livegate-3", "", True, both(14))
            for size, case in (
                ("few_sockets", "few sockets, one object"),
                ("many_sockets", "many sockets, one object"),
                ("many_objects", "many sockets, many objects"),
            )
        ),
        *(
            Ratio(f"ledger_{level}_vs_off", "ledger", level, "by_off", "livegate-3", "", True, both(goal))
            for level, goal in (("showings", 1.15), ("strict", 1.4))
        ),
        Ratio("refusals_told_apart", "refusals", "on the beat", "told_apart", "livegate-3", "", True, both(0.57)),
        Ratio("soak_memory_growth", "soak", "memory", "last_third_by_middle", "livegate-3", "", True, both(1.1)),
        Ratio("soak_tasks_growth", "soak", "kept", "tasks_after_by_before", "livegate-3", "", True, both(1.02)),
    ]


def key_of(ratio: Ratio, database: str, first: str) -> str:
    """The key in the JSON: plain for the first database of the run, with the database's name for others."""
    return ratio.key if database == first else f"{ratio.key}_{database}"


def as_json(
    results: Results, wanted: list[Ratio], databases: Sequence[str], order: Callable[[str], int]
) -> dict[str, Any]:
    """One object: per workload, database, contestant and case the figures, the ratios, and the rounds that failed."""
    found: dict[str, Any] = {"workloads": {}, "ratios": {}, "invalid": []}
    for one in sorted(results.rounds, key=lambda one: order(one.contestant)):
        for case, figures in one.figures.items() if not one.fault else ():
            place = found["workloads"].setdefault(one.workload, {}).setdefault(one.database, {})
            place = place.setdefault(one.contestant, {}).setdefault(case or "all", {})
            for name in figures:
                summary = results.summary(one.workload, one.database, one.contestant, case, name)
                place[name] = {"median": summary.median, "min": summary.least, "max": summary.most}  # type: ignore[union-attr]
    for ratio in wanted:
        for database in databases:
            summary = results.ratio(ratio, database)
            if summary is not None:
                found["ratios"][key_of(ratio, database, databases[0])] = round(summary.median, 3)
    found["invalid"] = [
        {"workload": one.workload, "database": one.database, "contestant": one.contestant, "round": one.number}
        | {"fault": one.fault}
        for one in results.faults
    ]
    return found
