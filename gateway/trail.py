"""The trail: what became of the last changes that this process made or heard of. It stays in memory, and is bounded.

For who asks why nothing arrived. It knows an object by its label and hashid, fields by their names, and no value.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .notices import Notice

# No watched field changed; it waits for the commit; it was undone with its transaction; it was posted; it was heard of.
Fate = Literal["unwatched", "waiting", "rolled back", "told", "heard"]
# Of so many changes each it is known what became of them: of those made here, and of those heard of.
MOST = 1_000
# The notices that tell of one.
CHANGES = ("create", "update", "delete")


@dataclass(eq=False, slots=True)
class Step:
    """One change of one object."""

    label: str
    hashid: str
    fate: Fate
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    watched: tuple[str, ...] = ()  # the names of the fields of which none changed
    written: tuple[str, ...] = ()  # the names of those that were written; none where all were
    # What would have told of it. A transaction that is rolled back lets go of it.
    _teller: ref[Any] | None = None

    @property
    def became(self) -> Fate:
        """Its fate as it is known now."""
        is_undone = self.fate == "waiting" and self._teller is not None and self._teller() is None
        return "rolled back" if is_undone else self.fate


_made: deque[Step] = deque(maxlen=MOST)
_heard: deque[Step] = deque(maxlen=MOST)


def note_unwatched(label: str, hashid: str, watched: Collection[str], written: Collection[str] | None) -> None:
    """An object was saved, and nothing that counts as a change was in it."""
    _made.append(Step(label, hashid, "unwatched", watched=tuple(watched), written=tuple(written or ())))


def note_waiting(notices: Sequence[Notice], teller: object) -> list[Step]:
    """These are to be posted by the teller, when the transaction commits."""
    steps = [
        Step(notice.label, notice.hashid, "waiting", _teller=ref(teller))
        for notice in notices
        if notice.kind in CHANGES
    ]
    _made.extend(steps)
    return steps


def note_told(steps: Sequence[Step]) -> None:
    """They were posted."""
    for step in steps:
        step.fate = "told"


def note_heard(notice: Notice) -> None:
    """A hub of this process heard of a change."""
    if notice.kind in CHANGES:
        _heard.append(Step(notice.label, notice.hashid, "heard"))


def steps_of(label: str, hashid: str) -> list[Step]:
    """What is known of the changes of an object, the latest last."""
    # A copy each: other threads add to them just now.
    known = [*_made.copy(), *_heard.copy()]
    return sorted((step for step in known if (step.label, step.hashid) == (label, hashid)), key=lambda step: step.at)


def forget() -> None:
    """Forget all of it."""
    _made.clear()
    _heard.clear()
