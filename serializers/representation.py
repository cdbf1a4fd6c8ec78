"""The representation: the JSON of one instance for many viewers, made once for all who see the same."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import Error as DatabaseFailure
from rest_framework.serializers import Serializer

from ..permissions.audiences import Audience, cells_of
from ..permissions.copies import own_copy
from ..permissions.crowds import common
from ..permissions.inquiries import Place
from ..permissions.requests import retrieval, shared_retrieval
from .blueprints import make
from .columns import columns_of
from .encoding import encode, encode_value, member, object_of
from .facts import FactField, parts_of
from .guards import PerUserSerializerMixin, guards_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from django.db.models import Model
    from rest_framework.serializers import BaseSerializer

    from ..permissions.inquiries import Inquiry
    from ..permissions.rules import Permission
    from ..permissions.viewers import Viewer
    from .columns import Columns, Stretch

    # The place of every field that is shown, and the text of some of them.
    Piece = tuple[Mapping[str, int], list[Stretch]]
    # Some text, and who may see it.
    Version = tuple[list[Stretch], AbstractSet[Viewer]]
    # An audience, and the text that it may see.
    Holding = tuple[AbstractSet[Viewer], tuple[Stretch, ...]]

Made = TypeVar("Made")


class Representation:
    """The JSON of an instance, by a serializer, for viewers who have language, time zone, scheme and host in common.

    ``bodies`` has each text with its viewers. Those for whom it fails are ``denied`` by the inquiry. ``alone`` has
    those for whom nothing could be shared, with the reason.

    Viewers with the same answers to the serializer's guards and facts are one audience. Where all fields show columns
    or are facts, they are read once, and the text of each audience is put together from what it may see. All else that
    is shared is made by the serializer itself, on a copy of the instance of its own, with a request in which nobody
    is: once for each audience or, where there are more of them than guards and facts, once for each guard.
    """

    def __init__(self, serializer: type[BaseSerializer[Any]], inquiry: Inquiry, viewers: AbstractSet[Viewer]) -> None:
        self.bodies: list[tuple[bytes, AbstractSet[Viewer]]] = []
        self.alone: dict[Viewer, str] = {}
        self._serializer = serializer
        self._inquiry = inquiry
        self._guards: Mapping[str, Permission] = {}
        self._facts: Mapping[str, FactField] = {}
        if issubclass(serializer, PerUserSerializerMixin):
            self._guards, self._facts = guards_of(serializer), facts_of(serializer)
        with next(iter(viewers)).locale():
            self._make_shared(viewers)
            for viewer in self.alone.keys() - inquiry.denied.keys():
                self._make_alone(viewer)

    def _make_alone(self, viewer: Viewer) -> None:
        """As a GET by this viewer."""
        inquiry = self._inquiry
        place = inquiry.apart.get(viewer) or Place(own_copy(inquiry.instance), copy_context())
        try:
            body = place.context.run(self._run_alone, place.instance, inquiry.fresh(viewer))
        except DatabaseFailure:
            raise
        except BaseException as error:
            inquiry.denied[viewer] = error
        else:
            self.bodies.append((body, {viewer}))

    def _run_alone(self, instance: Model, viewer: Viewer) -> bytes:
        view = retrieval(viewer, instance, self._inquiry.rights)
        return whole(make(self._serializer, instance, view.get_serializer_context()))

    def _make_shared(self, viewers: AbstractSet[Viewer]) -> None:
        inquiry = self._inquiry
        allowed: dict[str, AbstractSet[Viewer]] = {}
        for name, guard in self._guards.items():
            allowed[name] = inquiry.ask(guard, inquiry.remaining(viewers))
        for viewer, place in inquiry.apart.items():
            if viewer in viewers:
                self._leave_alone([viewer], place.reason)
        viewers = self._without_alone(inquiry.remaining(viewers))
        told: dict[str, Mapping[Viewer, bytes]] = {}
        for name, fact in self._facts.items():
            asked = allowed.get(name, viewers) & viewers
            told[name] = fact.texts(inquiry.rights, asked, inquiry.instance)
            self._leave_alone(asked - told[name].keys(), f"the fact {name} failed")
        viewers = self._without_alone(viewers)
        compartments = self._compartments()
        columns = columns_of(self._serializer, inquiry.instance)
        if columns is not None:
            self._put_together(viewers, columns, compartments, allowed, told)
            return
        audiences = cells_of(viewers, allowed.values())
        for texts in told.values():
            audiences = [part for audience in audiences for part in parts_of(audience, texts)]
        if is_divisible(self._serializer) and len(audiences) > len(compartments) + len(told):
            self._make_apart(viewers, compartments, allowed, told)
            return
        for audience in audiences:
            known = {id(guard): audience <= allowed[name] for name, guard in self._guards.items()}
            self.bodies += self._share(audience, whole, known)

    def _without_alone(self, viewers: AbstractSet[Viewer]) -> AbstractSet[Viewer]:
        return viewers - self.alone.keys() if self.alone else viewers

    def _leave_alone(self, viewers: Iterable[Viewer], reason: str) -> None:
        self.alone |= dict.fromkeys(viewers, reason)

    def _share(
        self,
        viewers: AbstractSet[Viewer],
        write: Callable[[Any], Made],
        known: Mapping[int, bool] | None = None,
    ) -> Iterator[tuple[Made, AbstractSet[Viewer]]]:
        """What is made for the viewers together, or for each of the parts into which they fall."""
        personal = self._inquiry.rights.memo.setdefault("personal", {})
        pending = [viewers] if viewers else []
        while pending:
            audience = Audience(pending.pop(), self._inquiry.rights, known)
            if self._serializer in personal:
                self._leave_alone(audience.viewers, personal[self._serializer])
                continue
            failure = ""
            try:
                made = copy_context().run(self._run, audience, write)
            except DatabaseFailure:
                raise
            except BaseException as error:
                failure = f"{type(error).__name__} was raised"
            if audience.parts:
                pending += audience.parts
            elif reason := audience.personal or failure:
                if audience.personal:
                    personal[self._serializer] = reason
                self._leave_alone(audience.viewers, reason)
            else:
                yield made, audience.viewers

    def _run(self, audience: Audience, write: Callable[[Any], Made]) -> Made:
        instance = audience.root = own_copy(self._inquiry.instance)
        view = shared_retrieval(audience, instance)
        return write(make(self._serializer, instance, view.get_serializer_context()))

    def _compartments(self) -> list[frozenset[str]]:
        """The names of the fields behind each guard, facts left out."""
        behind: dict[int, list[str]] = {}  # by identity: a permission need not be hashable
        for name, guard in self._guards.items():
            if name not in self._facts:
                behind.setdefault(id(guard), []).append(name)
        return [frozenset(names) for names in behind.values()]

    def _put_together(
        self,
        viewers: AbstractSet[Viewer],
        columns: Columns,
        compartments: list[frozenset[str]],
        allowed: Mapping[str, AbstractSet[Viewer]],
        told: Mapping[str, Mapping[Viewer, bytes]],
    ) -> None:
        """Put each audience's text together from the columns, which were read, and the facts."""
        unguarded = columns.places.keys() - self._guards.keys()
        audiences: list[Holding] = [(viewers, tuple(columns.among(unguarded)))]
        for names in compartments:
            audiences = divide(audiences, [(columns.among(names), common(allowed[next(iter(names))], viewers))])
        self._write(audiences, columns.places, viewers, told)

    def _make_apart(
        self,
        viewers: AbstractSet[Viewer],
        compartments: list[frozenset[str]],
        allowed: Mapping[str, AbstractSet[Viewer]],
        told: Mapping[str, Mapping[Viewer, bytes]],
    ) -> None:
        """Make what nothing guards, and what is behind each guard, once, and put each audience's text together."""
        places: Mapping[str, int] = {}
        audiences: list[Holding] = [(viewers, ())]
        runs = [(partial(rest, self._guards, self._facts), viewers)]
        runs += [(partial(only, names), allowed[next(iter(names))] & viewers) for names in compartments]
        for write, among in runs:
            made: list[Version] = []
            for (places, stretches), alike in self._share(among, write):  # noqa: B007
                made.append((stretches, alike))
            audiences = divide(audiences, made)
        self._write(audiences, places, viewers, told)

    def _write(
        self,
        audiences: list[Holding],
        places: Mapping[str, int],
        viewers: AbstractSet[Viewer],
        told: Mapping[str, Mapping[Viewer, bytes]],
    ) -> None:
        for name, texts in told.items():
            if name in places:
                parts = parts_of(texts.keys() & viewers, texts)
                made = [([(places[name], member(name, texts[next(iter(part))]))], part) for part in parts]
                audiences = divide(audiences, made)
        for audience, held in audiences:
            if sharing := self._without_alone(audience):
                self.bodies.append((object_of([text for _, text in sorted(held)]), sharing))


def divide(audiences: list[Holding], made: list[Version]) -> list[Holding]:
    """The audiences, divided by which version of something they have, if any; and what each of them holds then."""
    divided: list[Holding] = []
    if len(made) == 1:
        [(stretches, sharing)] = made
        for audience, held in audiences:
            if audience.isdisjoint(sharing):
                divided.append((audience, held))
            elif audience <= sharing:
                divided.append((audience, (*held, *stretches)))
            else:
                divided += [(audience & sharing, (*held, *stretches)), (audience - sharing, held)]
        return divided
    version = {viewer: number for number, (_, sharing) in enumerate(made) for viewer in sharing}
    for audience, held in audiences:
        for part in parts_of(audience, version):
            number = version.get(next(iter(part)))
            divided.append((part, held if number is None else (*held, *made[number][0])))
    return divided


def represent(serializer: type[BaseSerializer[Any]], instance: Model, viewer: Viewer) -> bytes:
    """The JSON of an instance as a GET by this viewer gives it, by nothing but DRF."""
    return whole(serializer(instance, context=retrieval(viewer, instance).get_serializer_context()))


def whole(serializer: Any) -> bytes:
    return encode(serializer.data)


def rest(guarded: Iterable[str], facts: Mapping[str, FactField], serializer: Any) -> Piece:
    """What is neither guarded nor a fact; the facts have to be those that the serializer shows."""
    for name, fact in facts.items():
        shown = serializer.fields.get(name, fact)
        if type(shown) is not FactField or (shown.function, shown.otherwise) != (fact.function, fact.otherwise):
            raise TypeError(f"{name} is declared as a fact, and another field is shown in its place.")
    return without({*guarded, *facts}, serializer)


def only(names: AbstractSet[str], serializer: Any) -> Piece:
    return without(serializer.fields.keys() - names, serializer)


def without(hidden: AbstractSet[str], serializer: Any) -> Piece:
    """The place of every field, and the members for those that are not hidden. Raises ValueError where one of them
    changes what the instance holds: in a GET, those after it would show that."""
    serializer.check_guards()
    before = vars(serializer.instance).copy()
    data = serializer.represent_without(frozenset(hidden), serializer.instance)
    if any(vars(serializer.instance).get(name) is not value for name, value in before.items()):
        raise ValueError(f"{type(serializer).__name__} changes what it shows while it shows it.")
    places = {field.field_name: place for place, field in enumerate(serializer._readable_fields)}
    return places, [(places[name], member(name, encode_value(value))) for name, value in data.items()]


def facts_of(serializer: type[Any]) -> dict[str, FactField]:
    """The facts that a serializer class declares; one of a class that makes something else of it is a field."""
    return {name: field for name, field in serializer._declared_fields.items() if type(field) is FactField}


def is_divisible(serializer: type[Any]) -> bool:
    """Whether what the serializer gives is DRF's mapping of its fields, that no code of its own puts together."""
    if not issubclass(serializer, PerUserSerializerMixin):
        return False
    makers = [kind for kind in serializer.__mro__ if "to_representation" in vars(kind)]
    return (
        makers[:2] == [PerUserSerializerMixin, Serializer]
        and all(
            definer(serializer, name) is definer(PerUserSerializerMixin, name)
            for name in ("hidden_fields", "represent_without", "check_guards", "_readable_fields")
        )
        and definer(serializer, "data") is Serializer
    )


def definer(kind: type[Any], name: str) -> type[Any]:
    """The class from which a class has something."""
    return next(one for one in kind.__mro__ if name in vars(one))
