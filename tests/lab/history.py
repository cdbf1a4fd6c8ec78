"""The history: what a GET would have answered everybody at each moment, and who had a right to which value."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from .oracle import causes, find, fresh, values_for, view_of

if TYPE_CHECKING:
    from collections.abc import Callable

Pairs = set[tuple[str, str]]


class History:
    """One moment for each commit. Of the pairs of a person and a thing that are watched then."""

    def __init__(self, watched: Callable[[], Pairs]) -> None:
        self.watched = watched
        self.moments: list[dict[tuple[str, str], str]] = []
        # Every value that was written, and since which moment somebody has had a right to it, while it was there.
        self.marks: dict[Any, dict[str, int]] = {}
        self._numbers = count(1)
        self._views: dict[Any, tuple[str, list[Any]]] = {}

    @property
    def now(self) -> int:
        return len(self.moments) - 1

    def mark(self, field: str) -> Any:
        """A value that is written once."""
        number = next(self._numbers)
        return self.note(1_000_000 + number if field == "salary" else f"v{number}:{field}")

    def note(self, value: Any) -> Any:
        self.marks[value] = {}
        return value

    def seen_first(self, value: Any, person: str) -> int | None:
        """The first moment at which a person had a right to a value; 0 for a value that is nobody's secret."""
        return self.marks[value].get(person) if value in self.marks else 0

    def view(self, moment: int, person: str, thing: str) -> str:
        return self.moments[moment].get((person, thing), "not known")

    def expect(self, *pairs: tuple[str, str]) -> None:
        """Have these pairs in the present moment."""
        if not self.moments or not self.moments[-1].keys() >= set(pairs):
            self.take(*pairs)

    def take(self, *more: tuple[str, str]) -> None:
        """Note the present moment. To be called after each commit, and before anything else is done."""
        pairs = self.watched() | set(more)
        users = fresh({person for person, _ in pairs})
        instances = {thing: find(thing) for thing in {thing for _, thing in pairs}}
        cause = causes()
        self.moments.append({})
        for person, thing in pairs:
            # What nothing has changed of is not asked again: a GET takes as long as all else together.
            known = (person, thing, cause(person, thing))
            if known not in self._views:
                values = [] if instances[thing] is None else [*values_for(users[person], instances[thing])]
                self._views[known] = view_of(users[person], thing), values
            view, values = self._views[known]
            self.moments[-1][person, thing] = view
            for value in values:
                if value in self.marks:
                    self.marks[value].setdefault(person, self.now)
