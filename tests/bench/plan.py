"""The plan of a run: who has their turn when, on which database, and at what size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .contestants import CONTESTANTS, Contestant
from .workloads import BESIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .workloads import Sizes

DATABASES = ("sqlite", "postgresql")
# Where workloads run, unless told otherwise, and where the others do: those whose ratios are promised for every
# database, and one that breaks the database, too.
WHERE: dict[str, Sequence[str]] = {
    "fan-out": DATABASES,
    "ledger": DATABASES,
    "grants": DATABASES,
    "soak": ("postgresql",),
    "ledger-questions": ("postgresql",),
}
ELSEWHERE = ("sqlite",)
# The workloads that take minutes for those that ask for each viewer anew, which have one round of them.
LONG = {"spread", "burst", "idle"}
# What is asked of livegate alone: what it is the only one to take notice of, and what it needs.
ITS_OWN = dict.fromkeys(
    ("sizing", "revocation", "resync", "refusals", "ledger", "ledger-questions", "grants", "soak"), "livegate-3"
)
# What takes minutes and hardly varies has one round; and what takes still longer, only if it is named.
ONCE = {"sizing", "ledger-questions", "grants", "soak"}
IF_NAMED = {"soak"}
# What is not worth its time: livegate-distinct is distinct on the first card only.
LEFT_OUT = {("spread", "livegate-1"), ("spread", "livegate-distinct")}
USUAL = 1_000  # sockets; with more there is one round, on the first database


@dataclass(frozen=True)
class Turn:
    """A round of one workload: one contestant's, or that of several who are measured beside each other."""

    workload: str
    number: int
    contestants: Sequence[Contestant]
    database: str
    sizes: Sizes


@dataclass(frozen=True)
class Plan:
    """What was asked for; None where it was left to us."""

    workloads: Sequence[str]
    rounds: int
    sizes: Sizes
    databases: Sequence[str] | None = None
    contestants: Sequence[str] | None = None
    sockets: Sequence[int] | None = None

    def turns(self) -> Iterator[Turn]:
        """All turns in their order: everyone's first, then everyone's second; and of these, who takes minutes comes
        last, so that those who take milliseconds are measured close together."""
        for workload in self.workloads:
            for number in range(1, self.rounds + 1):
                yield from sorted(self.turns_of(workload, number), key=asks)

    def turns_of(self, workload: str, number: int) -> Iterator[Turn]:
        """Those of one round, in any order."""
        for database in self.databases_of(workload):
            named = [CONTESTANTS[name] for name in self.contestants or CONTESTANTS]
            playing = [one for one in named if self.has_turn(workload, number, database, one)]
            # Without those with whom a block would take minutes.
            beside = [one for one in playing if workload in BESIDE and not one.asks]
            for some in (beside, *([one] for one in playing if one not in beside)):
                if some:
                    yield Turn(workload, number, some, database, self.sizes_of(number, database, some[0]))

    @property
    def all_databases(self) -> Sequence[str]:
        wanted = {name for workload in self.workloads for name in self.databases_of(workload)}
        return self.databases or [name for name in DATABASES if name in wanted]

    def databases_of(self, workload: str) -> Sequence[str]:
        return self.databases or WHERE.get(workload, ELSEWHERE)

    def has_turn(self, workload: str, number: int, database: str, contestant: Contestant) -> bool:
        if ITS_OWN.get(workload, contestant.name) != contestant.name:
            return False
        if workload in ONCE and number > 1:
            return False
        if not self.contestants and (workload, contestant.name) in LEFT_OUT:
            return False
        first = database == self.all_databases[0]
        return not contestant.asks or number == 1 or (first and workload not in LONG)

    def sizes_of(self, number: int, database: str, contestant: Contestant) -> Sizes:
        if self.sockets:
            return replace(self.sizes, fan_out=tuple(sorted(self.sockets)))
        if number > 1 or database != self.all_databases[0] or contestant.asks:
            usual = tuple(size for size in self.sizes.fan_out if size <= USUAL)
            return replace(self.sizes, fan_out=usual)
        return self.sizes


def asks(turn: Turn) -> bool:
    return any(contestant.asks for contestant in turn.contestants)
