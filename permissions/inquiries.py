"""The inquiry: questions about one instance, asked of many viewers at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from decimal import getcontext
from functools import cached_property
from inspect import getattr_static
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from django.core.cache import caches
from django.core.exceptions import FieldError
from django.db import Error as DatabaseFailure
from django.db.models import Model, prefetch_related_objects
from django.db.models.query_utils import DeferredAttribute
from django.utils.functional import cached_property as django_cached_property

from .copies import Seal, own_copy, paths_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet
    from contextvars import Context, ContextVar

    from .rights import Rights
    from .viewers import Viewer

Answer = TypeVar("Answer")


class Uncopied(Exception):
    """The instance can't be copied, which is no error of any viewer's; why is the cause."""


class Question(Protocol):
    """A permission, as far as it is known here."""

    def among(self, viewers: AbstractSet[Viewer], inquiry: Inquiry) -> AbstractSet[Viewer]: ...


@dataclass(slots=True)
class Note:
    """What a question answered, and to whom; and what was asked within it, in that order."""

    question: Question
    asked: AbstractSet[Viewer]
    allowed: AbstractSet[Viewer] = frozenset()
    # For whom it failed: the class of the error. An error itself holds on to all that was there when it was raised.
    failed: dict[Viewer, str] = field(default_factory=dict)
    within: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where application code runs for a viewer: an instance, and a context; and why it is that viewer's own."""

    instance: Model
    context: Context
    reason: str = ""


class Inquiry:
    """What is asked about one instance, for viewers who are there (``rights.crowd.keys``).

    Built-in permissions answer for all viewers together; application code is called for one after the other. What it
    leaves on the instance or in a context variable sets that viewer ``apart``, and reaches no other. Viewers for
    whom it failed are ``denied``, with the error. What is asked by ``ask`` is noted in ``notes``, where that is a
    list; the sets of viewers are kept as they are.
    """

    def __init__(self, rights: Rights, instance: Model, notes: list[Note] | None = None) -> None:
        self.rights = rights
        self.instance = instance
        self.notes = notes
        self.apart: dict[Viewer, Place] = {}
        self.denied: dict[Viewer, BaseException] = {}
        self._fresh: dict[Viewer, Viewer] = {}
        self._working: Model | None = None
        self._seal: Seal

    def fresh(self, viewer: Viewer) -> Viewer:
        """The viewer as they are now, with a user of their own for all that is asked about this instance."""
        if viewer not in self._fresh:
            self._fresh[viewer] = self.rights.fresh(viewer)
        return self._fresh[viewer]

    def remaining(self, viewers: Iterable[Viewer]) -> frozenset[Viewer]:
        """Those of the viewers who were not denied; nearly always all. A permission of the application's that is given
        them changes nothing in place."""
        remaining = frozenset(viewers)
        return remaining - self.denied.keys() if self.denied else remaining

    def ask(self, question: Question, viewers: AbstractSet[Viewer]) -> frozenset[Viewer]:
        """Those whom a permission allows. Raises TypeError for what is no answer."""
        if self.notes is None:
            return answer_of(question, viewers, self)
        note, notes, before = Note(question, viewers), self.notes, len(self.denied)
        notes.append(note)
        self.notes = note.within
        try:
            note.allowed = allowed = answer_of(question, viewers, self)
        finally:
            self.notes = notes
        note.failed = {one: type(error).__name__ for one, error in islice(self.denied.items(), before, None)}
        return allowed

    def one_by_one(self, allows: Callable[[Viewer, Model], bool], viewers: AbstractSet[Viewer]) -> set[Viewer]:
        """Those whom a function allows."""
        return {viewer for viewer, allowed in self.each(allows, viewers).items() if allowed}

    def each(self, function: Callable[[Viewer, Model], Answer], viewers: AbstractSet[Viewer]) -> dict[Viewer, Answer]:
        """What a function of the application answers, called for each viewer, in their language and time zone.

        Raises Uncopied where there can be no instance to call it with.
        """
        getcontext(), caches.all()  # what is made where it is first looked for is made before anybody looks
        answers: dict[Viewer, Answer] = {}
        by_locale: dict[tuple[str, str], list[Viewer]] = {}
        for viewer in viewers:
            by_locale.setdefault((viewer.language, viewer.time_zone), []).append(viewer)
        for alike in by_locale.values():
            try:
                with alike[0].locale():
                    self._call_each(function, alike, answers)
            except (DatabaseFailure, Uncopied):
                raise
            except Exception as error:  # of those who have no such language or time zone
                self.denied |= dict.fromkeys(alike, error)
        return answers

    def _call_each(
        self, function: Callable[[Viewer, Model], Answer], viewers: list[Viewer], answers: dict[Viewer, Answer]
    ) -> None:
        for viewer in viewers:
            try:
                answers[viewer] = self._call(function, viewer)
            except (DatabaseFailure, Uncopied):
                raise
            except BaseException as error:
                self.denied[viewer] = error

    def _call(self, function: Callable[[Viewer, Model], Answer], viewer: Viewer) -> Answer:
        if viewer in self.apart:
            place = self.apart[viewer]
            return place.context.run(function, self.fresh(viewer), place.instance)
        before, place = copy_context(), Place(self._working_copy(), copy_context())
        try:
            answer = place.context.run(function, self.fresh(viewer), place.instance)
        finally:
            is_broken = self._seal.is_broken
            if is_broken:
                self._working = None
        if is_broken and self._fetch_what_was_fetched(place.instance):
            return self._call(function, viewer)
        if is_broken or not is_same(place.context, before):
            what = "left something on the instance" if is_broken else "set a context variable"
            self.apart[viewer] = replace(place, reason=f"{name_of(function)} {what}")
        return answer

    def _working_copy(self) -> Model:
        if self._working is None:
            try:
                working = own_copy(self.instance)
                self._seal = Seal(working)
            except Exception as error:
                raise Uncopied from error
            self._working = working
        return self._working

    def _fetch_what_was_fetched(self, instance: Model) -> bool:
        """What had to be read for one, and does not depend on who asks, is read for all: relations, fields that were
        deferred, cached properties. Nobody has left it behind then."""
        one_locale = len(self.rights.crowd.alike) == 1  # else what is worked out for one may be in another's language
        before = known_of(self.instance, one_locale)
        missing = known_of(instance, one_locale) - before
        with suppress(AttributeError, ValueError, FieldError):  # what is no relation can't be fetched for all
            prefetch_related_objects([self.instance], *sorted(paths_held([instance]) - paths_held([self.instance])))
        for name in missing:
            getattr(self.instance, name, None)
        return bool(missing & known_of(self.instance, one_locale))


def answer_of(question: Question, viewers: AbstractSet[Viewer], inquiry: Inquiry) -> frozenset[Viewer]:
    """What it answers now, which does not change when it is asked again: any collection of those whom it allows. None
    and a text are no answer, of which ``~`` would make a yes; nor is a dict that may say no of some."""
    allowed: Any = question.among(viewers, inquiry)
    if isinstance(allowed, str) or (
        isinstance(allowed, Mapping) and any(told is not None for told in allowed.values())
    ):
        raise TypeError(f"{question!r} answered a {type(allowed).__name__}, and not those whom it allows.")
    return frozenset(allowed)


def known_of(instance: Model, with_properties: bool) -> set[str]:
    """The names of what was read that is read when somebody first asks for it."""
    kinds = (DeferredAttribute, cached_property, django_cached_property) if with_properties else (DeferredAttribute,)
    lazily = {name for name in vars(instance) if isinstance(getattr_static(type(instance), name, None), kinds)}
    return lazily | paths_held([instance])


def is_same(context: Context, before: Context) -> bool:
    """Whether no context variable has another value; by identity, as a Seal looks."""
    return len(context) == len(before) and all(
        variable in before and is_held(variable, value, before[variable]) for variable, value in context.items()
    )


def is_held(variable: ContextVar[Any], now: Any, then: Any) -> bool:
    """asgiref, in which Django keeps its own, makes a new storage each time, also where it then holds the same: a dict,
    or from 3.12 on something with a dict for its ``data``."""
    if now is then or variable.name != "asgiref.local":
        return now is then
    kept, before = getattr(now, "data", now), getattr(then, "data", then)
    return kept.keys() == before.keys() and all(value is before[name] for name, value in kept.items())


def name_of(function: Callable[..., object]) -> str:
    """What was called: the permission whose method it is, or the function."""
    return repr(getattr(function, "__self__", function))
