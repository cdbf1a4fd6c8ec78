"""Answers: what each part of a permission answered about whom, for those who have to account for a decision."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .audiences import cells_of
from .inquiries import Note
from .rules import All, AnyOf, Not

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from django.db.models import Model

    from .rules import Permission
    from .viewers import Viewer


def basis(note: Note, viewer: Viewer) -> str:
    """The permission that was asked, with each answer about one viewer.

    ``has_perm("view_card"): no | is_owner("owner"): yes``. What was not asked, because the rest was enough, says
    ``not asked``; what failed says ``unknown``, with the class of the error.
    """
    permission: Any = note.question
    parts = [basis(part, viewer) for part in parts_of(note)]
    if type(permission) is All:
        left, right = parts
        return f"{within(permission.left, left, AnyOf)} & {within(permission.right, right, AnyOf, All)}"
    if type(permission) is AnyOf:
        left, right = parts
        return f"{left} | {within(permission.right, right, AnyOf)}"
    if type(permission) is Not:
        return f"~({parts[0]})"
    return f"{name_of(permission)}: {answer(note, viewer)}"


def parts_of(note: Note) -> list[Note]:
    """What was asked of the permissions that another is combined of. What else one asks is its own business. One that
    was not reached before another failed was asked of nobody."""
    wanted = combined(note.question)
    missing = wanted[len(note.within) :]
    return [*note.within[: len(wanted)], *(Note(part, frozenset()) for part in missing)]


def combined(permission: Any) -> list[Permission]:
    """The permissions that one is combined of by ``& | ~``."""
    if type(permission) is Not:
        return [permission.inner]
    return [permission.left, permission.right] if type(permission) in (All, AnyOf) else []


def answer(note: Note, viewer: Viewer) -> str:
    if viewer in note.failed:
        return f"unknown ({note.failed[viewer]})"
    if viewer in note.allowed:
        return "yes"
    return "no" if viewer in note.asked else "not asked"


def within(permission: Permission, text: str, *looser: type[Permission]) -> str:
    return f"({text})" if isinstance(permission, looser) else text


def name_of(permission: Any) -> str:
    """How a permission is written; that of a class which does not say so, the same in every process, is the class."""
    kind: Any = type(permission)
    with suppress(Exception):
        return str(kind.__name__) if kind.__repr__ == object.__repr__ else repr(permission)
    return str(kind.__name__)


def alike(notes: Iterable[Note], viewers: AbstractSet[Viewer]) -> list[AbstractSet[Viewer]]:
    """The viewers, divided so that those who stay together have one basis."""
    return cells_of(viewers, (allowed for note in notes for allowed in answers_in(note)))


def answers_in(note: Note) -> Iterator[AbstractSet[Viewer]]:
    parts = parts_of(note)
    for part in parts:
        yield from answers_in(part)
    if not parts:
        yield note.asked
        yield note.allowed
        for name in sorted(set(note.failed.values())):
            yield {viewer for viewer, error in note.failed.items() if error == name}


def ask_alone(permission: Any, viewer: Viewer, instance: Model, notes: list[Note]) -> bool:
    """What ``allows`` answers, with notes of it. Raises what it raises."""
    note = Note(permission, {viewer})
    notes.append(note)
    try:
        if combined(permission):
            allowed: bool = permission.decide(lambda part: ask_alone(part, viewer, instance, note.within))
        else:
            allowed = permission.allows(viewer, instance)
    except BaseException as error:
        note.failed = {viewer: type(error).__name__}
        raise
    if allowed:
        note.allowed = note.asked
    return allowed
