"""Decisions: what an evaluation is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ..serializers.names import names_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rest_framework.serializers import BaseSerializer

    from ..permissions.viewers import Viewer
    from .publications import Publication


@dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """A viewer and an object, named as the viewer names it; the object may not exist. Each pair is equal to itself
    only: two pairs of one viewer and one object are two questions."""

    viewer: Viewer
    publication: Publication
    hashid: str


# For loops of C's over a thousand pairs.
VIEWER, PUBLICATION = map(attrgetter, ("viewer", "publication"))


class Asked:
    """The pairs of an evaluation that are about one object, and how to get from viewers to them: to look each up takes
    longer than to decide."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self._nothing: dict[Viewer, Decision] = dict.fromkeys(map(VIEWER, pairs))
        self.viewers = frozenset(self._nothing)
        places = {viewer: place for place, viewer in enumerate(self._nothing)}
        self._places = [places[pair.viewer] for pair in pairs]

    def each(self, shown: dict[Viewer, Decision]) -> dict[Pair, Decision]:
        """What each pair is shown, given what those viewers are who are shown anything."""
        decisions = list((self._nothing | shown).values())  # those of these viewers come first, in their order
        return dict(zip(self.pairs, map(decisions.__getitem__, self._places), strict=True))


@dataclass(slots=True)
class View:
    """The decision to show: the JSON of the serialized instance, UTF-8, and its ETag."""

    body: bytes
    etag: str
    # The frame that shows it, once it was written: the same for all who are shown this view.
    frame: str | None = field(default=None, compare=False)
    # What made it.
    serializer: type[BaseSerializer[Any]] | None = field(default=None, compare=False, repr=False)


# The decision about a pair: what to show, or None where there is nothing to see.
Decision = View | None


@dataclass(frozen=True, eq=False, slots=True)
class Made:
    """What was decided in one evaluation, and until when it may be sent, in the loop's time."""

    decisions: Mapping[Pair, Decision]
    expires: float
    verified: float = 0.0  # when it was begun, in seconds since the epoch
    is_on_record: bool = False

    def of(self, pairs: Iterable[Pair]) -> Made:
        """The same of these only."""
        return Made({pair: self.decisions[pair] for pair in pairs}, self.expires, self.verified, self.is_on_record)


def fields_of(view: View) -> tuple[str, ...]:
    """The names of the fields that a view shows, those within others as ``owner.email``; never a value, nor a key of
    what is one. To be worked out for those that are on record: it reads the JSON."""
    return names_in(view.serializer, view.body)
