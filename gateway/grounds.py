"""Grounds: on what each decision of an evaluation rests, for those who have to account for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..permissions.answers import alike, basis
from .decisions import VIEWER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..permissions.inquiries import Note
    from ..permissions.viewers import Viewer
    from .decisions import Pair

# Nothing is there, or the hashid stands for nothing; the viewer's user does not exist, or is not active.
NOT_THERE, NO_USER = "not there", "no such user"


@dataclass(eq=False, slots=True)
class Ground:
    """On what the decisions about one instance rest: a word, or what the publication's permission answered."""

    word: str = ""
    notes: list[Note] = field(default_factory=list)  # of the permission; none before it was asked
    # For whom something else failed, though they are allowed: the class of the error.
    failed: dict[Viewer, str] = field(default_factory=dict)

    def fail(self, denied: Mapping[Viewer, BaseException]) -> None:
        """These see nothing because of an error."""
        self.failed = {
            viewer: type(error).__name__
            for viewer, error in denied.items()
            if not self.notes or viewer in self.notes[0].allowed
        }

    def basis(self, viewer: Viewer) -> str:
        if self.word:
            return self.word
        if not all(viewer in note.asked for note in self.notes):
            return NO_USER
        said = [basis(note, viewer) for note in self.notes]
        if viewer in self.failed:
            said.append(f"failed ({self.failed[viewer]})")
        return "; ".join(said)

    def divide(self, viewers: Iterable[Viewer]) -> dict[str, set[Viewer]]:
        """The viewers by the basis of the decision about them."""
        divided: dict[str, set[Viewer]] = {}
        for cell in alike(self.notes, set(viewers)):
            failed = cell & self.failed.keys()
            for part in [cell - failed, *({viewer} for viewer in failed)]:
                if part:
                    divided.setdefault(self.basis(next(iter(part))), set()).update(part)
        return divided


class Grounds:
    """On what each decision rests, by pair; filled by ``evaluate``. It holds, for all viewers of an instance together,
    what was answered about them, and writes it down for those only about whom it is asked."""

    def __init__(self) -> None:
        self._grounds: dict[Pair, Ground] = {}

    def basis(self, pair: Pair) -> str:
        """The permission with each answer about this viewer: ``has_perm("view_card"): no | is_owner("owner"): yes``.

        ``not there`` where there is no instance, ``no such user`` where the viewer is gone or inactive. Raises KeyError
        where nothing was decided.
        """
        return self._grounds[pair].basis(pair.viewer)

    def failure(self, pair: Pair) -> str:
        """The class of the error because of which a viewer who is allowed sees nothing; '' without one."""
        return self._grounds[pair].failed.get(pair.viewer, "")

    def bases(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """The basis of each. Costs a few set operations for each instance, not a text for each pair."""
        by_ground: dict[Ground, list[Pair]] = {}
        for pair in pairs:
            by_ground.setdefault(self._grounds[pair], []).append(pair)
        bases: dict[Pair, str] = {}
        for ground, those in by_ground.items():
            texts = {one: text for text, some in ground.divide(map(VIEWER, those)).items() for one in some}
            bases.update(zip(those, map(texts.__getitem__, map(VIEWER, those)), strict=True))
        return bases

    def rest(self, pairs: Iterable[Pair], ground: Ground) -> None:
        """The decisions about these rest on this, and on nothing that was decided about them before."""
        self._grounds |= dict.fromkeys(pairs, ground)

    def forget(self, pairs: Iterable[Pair]) -> None:
        """Nothing was decided about these."""
        for pair in pairs:
            self._grounds.pop(pair, None)
