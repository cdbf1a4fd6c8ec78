"""Publications: which models are pushed, made by which serializer, to whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from django.core.exceptions import ImproperlyConfigured
from rest_framework.serializers import BaseSerializer

from ..permissions.queries import is_plain
from ..permissions.rules import Permission, asked_for, has_perm
from ..serializers.guards import guards_of
from ..serializers.hashids import is_uuid
from ..serializers.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django.db.models import Model, QuerySet

    from ..permissions.viewers import Viewer

    SerializerClass = type[BaseSerializer[Any]]
    Chooser = Callable[[Viewer, Any], SerializerClass]

# What of a publication is put on record: nothing; who was admitted and refused; also each view that is shown; or that,
# before it is shown.
Level = Literal["off", "subscriptions", "showings", "strict"]
LEVELS = get_args(Level)


@dataclass(frozen=True, eq=False, repr=False)
class Publication:
    """A model, its serializer, and the permission that guards it."""

    model: type[Model]
    serializer: SerializerClass | Chooser
    permission: Permission
    watch: tuple[str, ...] | None
    given_queryset: QuerySet[Any] | None
    record: Level | None = None

    def __repr__(self) -> str:
        return f"the publication of {self.label}"

    @property
    def label(self) -> str:
        """The model's label, as clients name it: ``"board.Card"``."""
        return self.model._meta.label

    @property
    def level(self) -> Level:
        """What of it is put on record."""
        level: Level = self.record or setting("LEDGER")
        return level

    @property
    def queryset(self) -> QuerySet[Any]:
        """A new queryset of all that may be shown at all."""
        return (self.model._default_manager if self.given_queryset is None else self.given_queryset).all()

    @property
    def is_stable(self) -> bool:
        """Whether that is the same query whenever it is made. One that was given may have expressions in it that are
        written anew each time: of the time zone, say."""
        return self.given_queryset is None and is_plain(self.model._default_manager)

    @cached_property
    def reads(self) -> frozenset[str]:
        """The paths that its permission and its serializer's guards follow from an instance."""
        return frozenset().union(*(permission.reads for permission in self._permissions))

    @cached_property
    def reads_of_user(self) -> frozenset[str]:
        """The paths that they follow from a viewer's user."""
        return frozenset().union(*(permission.reads_of_user for permission in self._permissions))

    @cached_property
    def asks_for(self) -> frozenset[str] | None:
        """The codenames of the object permissions on an instance that they ask for; None where it may be any."""
        return asked_for(self._permissions) if is_serializer(self.serializer) else None

    @cached_property
    def asks_of_models(self) -> bool:
        """Whether they ask for permissions on whole models."""
        return any(permission.asks_of_models for permission in self._permissions)

    @property
    def _permissions(self) -> list[Permission]:
        serializer: Any = self.serializer
        guards = guards_of(serializer) if is_serializer(serializer) else {}
        return [self.permission, *guards.values()]

    def serializer_for(self, viewer: Viewer, instance: Model) -> SerializerClass:
        """The serializer class that shows this instance to this viewer."""
        chosen = self.serializer if is_serializer(self.serializer) else self.serializer(viewer, instance)
        if not is_serializer(chosen):
            raise TypeError(
                f"The serializer of {self.label} was chosen as a {type(chosen).__name__}, no serializer class."
            )
        return chosen  # type: ignore[return-value]


_publications: dict[str, list[Publication]] = {}
# What has to be done when a model is published after the start.
watchers: list[Callable[[], None]] = []


def publish(
    model: type[Model],
    serializer: SerializerClass | Chooser,
    *,
    to: Permission | None = None,
    watch: Sequence[str] | None = None,
    queryset: QuerySet[Any] | None = None,
    record: Level | None = None,
) -> Publication:
    """Push the instances of a model to the viewers who are subscribed and permitted. For ``publications.py``.

    ``serializer`` is a serializer class, or a function of (viewer, instance) that chooses one. ``to`` is the
    permission to see an instance at all; without, the object permission ``view_<model>``. ``watch`` names the
    fields whose change counts, for a model that is not yours; one of your own inherits PushModelMixin and names a
    FieldTracker. ``queryset`` narrows what can be shown, as in a DRF view, and joins what the serializer reads.
    ``record`` says what the ledger has of it, ``"off"``, ``"subscriptions"``, ``"showings"`` or ``"strict"``; without,
    the setting ``LEDGER`` does.

    Raises TypeError for a permission or serializer that is none, ImproperlyConfigured for a watched
    field that does not exist, for a primary key that hashids can't stand for, and for any other ``record``.
    """
    if to is not None and not isinstance(to, Permission):
        raise TypeError(f"publish({model.__name__}, to=…) takes a permission such as is_owner('owner'), not {to!r}.")
    if not callable(serializer):
        raise TypeError(f"publish({model.__name__}, …) takes a serializer class, or a function that chooses one.")
    if isinstance(watch, str):
        raise TypeError(f"publish({model.__name__}, watch=…) takes a list of field names, not one text.")
    columns = {name for field in model._meta.concrete_fields for name in (field.name, field.attname)}
    if unknown := [name for name in watch or () if name not in columns]:
        raise ImproperlyConfigured(
            f"publish({model.__name__}, watch=…) names {', '.join(unknown)}, which is no column of the model. "
            "A change of a many-to-many or reverse relation is no save of the instance: tell it by notify()."
        )
    if queryset is not None and (queryset.query.is_sliced or queryset.query.combinator):
        raise ImproperlyConfigured(
            f"publish({model.__name__}, queryset=…) takes a queryset that can be filtered: no slice, no union."
        )
    if record is not None and record not in LEVELS:
        raise ImproperlyConfigured(f"publish({model.__name__}, record=…) is one of {', '.join(LEVELS)}.")
    is_uuid(model)  # raises where hashids can't stand for the keys
    publication = Publication(
        model=model,
        serializer=serializer,
        permission=to if to is not None else has_perm(f"view_{model._meta.model_name}"),
        watch=None if watch is None else tuple(watch),
        given_queryset=queryset,
        record=record,
    )
    _publications.setdefault(publication.label, []).append(publication)
    for watch_it in watchers:
        watch_it()
    return publication


def find(label: str) -> Publication | None:
    """The publication of a model, by the model's label. A model that is published twice is not published: which of
    the two permissions holds is not known (system check ``livegate.E006``)."""
    found = _publications.get(label, [])
    return found[0] if len(found) == 1 else None


def all_publications() -> Iterator[Publication]:
    """Every publication, also those of a model that is published twice."""
    for publications in _publications.values():
        yield from publications


def relatives(model: type[Model]) -> Iterator[Publication]:
    """The publications that a change of an instance of this model may show in: of the model, its proxies, and the
    models above and below it in multi-table inheritance. Their instances share the primary key."""
    tables = lineage(model)
    for publication in all_publications():
        other = lineage(publication.model)
        if model._meta.concrete_model in other or publication.model._meta.concrete_model in tables:
            yield publication


@cache
def lineage(model: type[Model]) -> set[type[Model] | None]:
    return {
        model._meta.concrete_model,
        *(parent._meta.concrete_model for parent in model._meta.get_parent_list()),
    }


def is_serializer(serializer: object) -> bool:
    return isinstance(serializer, type) and issubclass(serializer, BaseSerializer)
