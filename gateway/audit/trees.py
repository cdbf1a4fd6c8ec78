"""Trees: a permission with every answer about one viewer, also those that the decision did without."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from django.contrib.auth import get_user_model
from django.db import router, transaction

from ...permissions.answers import ask_alone, name_of, parts_of
from ...permissions.copies import own_copy
from ...permissions.inquiries import Inquiry, Note
from ...permissions.rules import All, AnyOf, Not
from ...serializers.representation import Representation
from ..evaluation import fetch, keys_of, renew
from ..publications import is_serializer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...permissions.rules import Permission
    from ..decisions import Pair
    from ..publications import Publication

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Tree:
    """What a permission answers about a viewer, and each of the permissions that it is combined of."""

    permission: str  # as it is written
    answer: Answer
    error: str = ""  # the class of the error because of which it is unknown
    is_needed: bool = True  # False where the decision was reached without it
    joined: Literal["", "all", "any", "not"] = ""  # how it is combined of its parts; '' where it has none
    parts: tuple[Tree, ...] = ()


JOINED: dict[type, Literal["all", "any", "not"]] = {All: "all", AnyOf: "any", Not: "not"}


class Unknown(Exception):
    """A part has not answered; the class of its error is the text."""


class Witness:
    """Asks about one viewer and one object what an evaluation asks: of what is read now, in the same manner, and beside
    it. To be made and used in one snapshot."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._databases = databases_of(pair.publication)
        named = (pair.publication, pair.hashid)
        wanted = keys_of([named])
        found = fetch(wanted)
        self._instance: Any = found.get(named)
        self._rights = renew([pair.viewer], wanted)
        self._rights.expect(found.values())

    @property
    def can_tell(self) -> bool:
        """Whether there is an object, and a viewer, to ask about."""
        return self._instance is not None and self._pair.viewer in self._rights.crowd.viewers

    def tree(self, permission: Permission) -> Tree:
        return self._tree(self._ask(permission))

    def _ask(self, permission: Any) -> Note:
        """As all viewers are asked together; where that can't be done, as one is asked alone."""
        viewer, notes = self._pair.viewer, list[Note]()
        with suppress(Exception), savepoints(self._databases):
            Inquiry(self._rights, self._instance, notes).ask(permission, {viewer})
            return notes[0]
        notes = []
        try:
            with savepoints(self._databases), viewer.locale():
                fresh, instance = self._rights.fresh(viewer), own_copy(self._instance)
                copy_context().run(ask_alone, permission, fresh, instance, notes)
        except (Exception, SystemExit) as error:
            return next(iter(notes), Note(permission, {viewer}, failed={viewer: type(error).__name__}))
        return notes[0]

    def _tree(self, note: Note, is_needed: bool = True) -> Tree:
        permission: Any = note.question
        parts = [self._tree(part) for part in parts_of(note)]
        if not parts:
            return self._leaf(note, is_needed)
        answer, error = combine(permission, parts)
        flat = [
            within
            for inner, part in zip(parts_of(note), parts, strict=True)
            for within in (part.parts if type(inner.question) is type(permission) in (All, AnyOf) else [part])
        ]
        is_asked = self._pair.viewer in note.asked
        return Tree(name_of(permission), answer, error, is_asked and is_needed, JOINED[type(permission)], tuple(flat))

    def _leaf(self, note: Note, is_needed: bool) -> Tree:
        viewer, permission = self._pair.viewer, note.question
        if viewer not in note.asked:
            return self._leaf(self._ask(permission), is_needed=False)
        if viewer in note.failed:
            return Tree(name_of(permission), "unknown", note.failed[viewer], is_needed)
        return Tree(name_of(permission), "yes" if viewer in note.allowed else "no", "", is_needed)

    def serializer(self) -> type[Any] | None:
        """The one that is chosen for this viewer; None where that fails."""
        publication, viewer = self._pair.publication, self._pair.viewer
        if is_serializer(publication.serializer):
            return publication.serializer  # type: ignore[return-value]
        with suppress(Exception), savepoints(self._databases):
            return Inquiry(self._rights, self._instance).each(publication.serializer_for, {viewer}).get(viewer)
        return None

    def personal(self, serializer: type[Any]) -> str:
        """Why nothing that a serializer makes for this viewer is shared with anybody; '' where it may be."""
        with suppress(Exception), savepoints(self._databases):
            inquiry = Inquiry(self._rights, self._instance)
            return Representation(serializer, inquiry, {self._pair.viewer}).alone.get(self._pair.viewer, "")
        return "it can't be made for several together"


def combine(permission: Any, parts: list[Tree]) -> tuple[Answer, str]:
    """What a permission makes of the answers of its parts, in their order; with the error where it is unknown."""
    rest = iter(parts)

    def answer(part: Permission) -> bool:
        tree = next(rest)
        if tree.answer == "unknown":
            raise Unknown(tree.error)
        return tree.answer == "yes"

    try:
        return ("yes" if permission.decide(answer) else "no"), ""
    except Unknown as unknown:
        return "unknown", str(unknown)


def databases_of(publication: Publication) -> list[str]:
    return [publication.queryset.db, router.db_for_read(get_user_model())]


@contextmanager
def savepoints(databases: Iterable[str]) -> Iterator[None]:
    """Within it, a statement that a database refuses spoils nothing that is asked afterwards."""
    with ExitStack() as stack:
        for alias in dict.fromkeys(databases):
            stack.enter_context(transaction.atomic(using=alias))
        yield
