"""Decisions: what an evaluation is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..permissions.viewers import Viewer
    from .publications import Publication


@dataclass(frozen=True)
class Pair:
    """A viewer and an object, named as the viewer names it; the object may not exist."""

    viewer: Viewer
    publication: Publication
    hashid: str
    _hash: int = field(init=False, repr=False, compare=False)  # pairs are looked up all the time

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.viewer, self.publication, self.hashid)))

    def __hash__(self) -> int:
        return self._hash


@dataclass
class View:
    """The decision to show: the JSON of the serialized instance, UTF-8, and its ETag."""

    body: bytes
    etag: str
    # The frame that shows it, once it was written: the same for all who are shown this view.
    frame: str | None = field(default=None, compare=False)


# The decision about a pair: what to show, or None where there is nothing to see.
Decision = View | None
