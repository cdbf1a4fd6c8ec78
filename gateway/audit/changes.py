"""Changes: what became of the last ones of an object, as the processes have it in their trails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..trail import Step


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a change, as one process has it: of one that it made, or of one that it heard of.

    ``at`` is by the clock of the process.
    """

    at: datetime
    fate: str
    watched: tuple[str, ...] = ()  # where no watched field changed: those that are
    written: tuple[str, ...] = ()  # and those that were written; none where all were
    host: str = ""
    pid: int = 0

    @classmethod
    def of_row(cls, row: list[Any], host: str, pid: int) -> Change:
        at, fate, watched, written = row
        return cls(datetime.fromisoformat(at), fate, tuple(watched), tuple(written), host, pid)


def row_of(step: Step) -> list[Any]:
    """A step of a trail, as values that JSON has."""
    return [step.at.isoformat(), step.became, [*step.watched], [*step.written]]
