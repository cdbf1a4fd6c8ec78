"""The inquiry: questions about one instance, asked of many viewers at once."""

from __future__ import annotations

from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from django.db import DatabaseError
from django.db.models import Model, prefetch_related_objects

from .copies import Seal, own_copy, paths_held

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from contextvars import Context

    from .rights import Rights
    from .viewers import Viewer

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Place:
    """Where application code runs for a viewer: an instance, and a context; and why it is that viewer's own."""

    instance: Model
    context: Context
    reason: str = ""


class Inquiry:
    """What is asked about one instance, for viewers who are there (``rights.keys``).

    Built-in permissions answer for all viewers together; application code is called for one after the other. What it
    leaves on the instance or in a context variable sets that viewer ``apart``, and reaches no other. Viewers for
    whom it failed are ``denied``, with the error.
    """

    def __init__(self, rights: Rights, instance: Model) -> None:
        self.rights = rights
        self.instance = instance
        self.apart: dict[Viewer, Place] = {}
        self.denied: dict[Viewer, BaseException] = {}
        self._working: Model | None = None
        self._seal: Seal

    def one_by_one(self, allows: Callable[[Viewer, Model], bool], viewers: AbstractSet[Viewer]) -> set[Viewer]:
        """Those whom a function allows."""
        return {viewer for viewer, allowed in self.each(allows, viewers).items() if allowed}

    def each(self, function: Callable[[Viewer, Model], Answer], viewers: AbstractSet[Viewer]) -> dict[Viewer, Answer]:
        """What a function of the application answers, called for each viewer, in their language and time zone."""
        answers: dict[Viewer, Answer] = {}
        for _, alike in groupby(sorted(viewers, key=locale_of), key=locale_of):
            together = list(alike)
            try:
                with together[0].locale():
                    self._call_each(function, together, answers)
            except LookupError as error:  # there is no such time zone
                self.denied |= dict.fromkeys(together, error)
        return answers

    def _call_each(
        self, function: Callable[[Viewer, Model], Answer], viewers: list[Viewer], answers: dict[Viewer, Answer]
    ) -> None:
        for viewer in viewers:
            try:
                answers[viewer] = self._call(function, viewer)
            except DatabaseError:
                raise
            except BaseException as error:
                self.denied[viewer] = error

    def _call(self, function: Callable[[Viewer, Model], Answer], viewer: Viewer) -> Answer:
        if viewer in self.apart:
            place = self.apart[viewer]
            return place.context.run(function, self.rights.fresh(viewer), place.instance)
        if self._working is None:
            self._working = own_copy(self.instance)
            self._seal = Seal(self._working)
        before, place = copy_context(), Place(self._working, copy_context())
        try:
            answer = place.context.run(function, self.rights.fresh(viewer), place.instance)
        finally:
            is_broken = self._seal.is_broken
            if is_broken:
                self._working = None
        if is_broken and self._fetch_what_was_fetched(place.instance):
            return self._call(function, viewer)
        if is_broken or place.context != before:
            what = "left something on the instance" if is_broken else "set a context variable"
            self.apart[viewer] = replace(place, reason=f"{name_of(function)} {what}")
        return answer

    def _fetch_what_was_fetched(self, instance: Model) -> bool:
        """What had to be fetched for one is fetched for all, and was not left behind by anybody."""
        missing = paths_held([instance]) - paths_held([self.instance])
        with suppress(AttributeError, ValueError):  # what is no relation can't be fetched for all
            prefetch_related_objects([self.instance], *sorted(missing))
        return bool(missing & paths_held([self.instance]))


def name_of(function: Callable[..., object]) -> str:
    """What was called: the permission whose method it is, or the function."""
    return repr(getattr(function, "__self__", function))


def locale_of(viewer: Viewer) -> tuple[str, str]:
    return viewer.language, viewer.time_zone
