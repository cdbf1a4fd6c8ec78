"""Decisions: what an evaluation is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..permissions.viewers import Viewer
    from .publications import Publication


@dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """A viewer and an object, named as the viewer names it; the object may not exist. Each pair is equal to itself
    only: two pairs of one viewer and one object are two questions."""

    viewer: Viewer
    publication: Publication
    hashid: str


@dataclass(slots=True)
class View:
    """The decision to show: the JSON of the serialized instance, UTF-8, and its ETag."""

    body: bytes
    etag: str
    # The frame that shows it, once it was written: the same for all who are shown this view.
    frame: str | None = field(default=None, compare=False)


# The decision about a pair: what to show, or None where there is nothing to see.
Decision = View | None
