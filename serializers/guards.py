"""Guards: which fields of an instance a viewer may see, declared on its serializer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from rest_framework.serializers import ALL_FIELDS, BaseSerializer, ListSerializer

from ..permissions.requests import audience_of
from ..permissions.viewers import Viewer
from .facts import FactListSerializer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rest_framework.fields import Field

    from ..permissions.rules import Permission


class PerUserSerializerMixin:
    """Leaves out the fields that the viewer may not see: ``Meta.guards`` maps field names to permissions.

    For DRF views and for push alike, at the root, nested, and in lists; the permission is asked for the instance
    that this serializer represents. A field that the viewer may not see is not read from the instance, is absent
    from the payload, and is read-only for them: what they send for it is ignored. On a create there is no
    instance to ask about, and a guarded field can be written; in an update it can't be where nested or one of many.

    The viewer is the user of ``context["request"]``. A serializer with guards raises ImproperlyConfigured without
    one, and where a guard is for a field that does not exist: a misspelt guard would guard nothing.
    """

    _hidden: frozenset[str] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if BaseSerializer in order and order.index(PerUserSerializerMixin) > order.index(BaseSerializer):
            raise TypeError(
                f"{cls.__name__} names PerUserSerializerMixin after its serializer class, where it guards nothing. "
                "Name it first: class CardSerializer(PerUserSerializerMixin, ModelSerializer)."
            )

    def hidden_fields(self, instance: Model) -> frozenset[str]:
        """The names of the guarded fields that the viewer may not see on this instance."""
        guards = guards_of(type(self))
        if not guards:
            return frozenset()
        self.check_guards()
        request = self.context.get("request")  # type: ignore[attr-defined]
        if request is None:
            raise ImproperlyConfigured(
                f"{type(self).__name__} has guards, and nobody to ask them about. "
                'Pass the request: context={"request": request}.'
            )
        if audience := audience_of(request):
            return frozenset(guards.keys() - audience.allowed(guards, instance))
        viewer = Viewer.of_request(request)
        return frozenset(name for name, guard in guards.items() if not guard.allows(viewer, instance))

    @classmethod
    def many_init(cls, *args: Any, **kwargs: Any) -> Any:
        listing = super().many_init(*args, **kwargs)  # type: ignore[misc]
        if type(listing) is ListSerializer:
            listing.__class__ = FactListSerializer
        return listing

    def check_guards(self) -> None:
        """Raise ImproperlyConfigured where a guard is for a field that does not exist."""
        if unknown := unknown_guards(self):
            raise ImproperlyConfigured(f"{type(self).__name__} guards what is no field of it: {', '.join(unknown)}.")

    def to_representation(self, instance: Any) -> Any:
        return self.represent_without(self.hidden_fields(instance), instance)

    def represent_without(self, hidden: frozenset[str], instance: Any) -> Any:
        """The representation without the hidden fields, which are not read from the instance."""
        outer, self._hidden = self._hidden, hidden
        try:
            data = super().to_representation(instance)  # type: ignore[misc]
        finally:
            self._hidden = outer
        # Already left out by _readable_fields. That is DRF's own business, and might change; this may not.
        for name in hidden & data.keys():
            del data[name]
        return data

    @property
    def _readable_fields(self) -> Iterable[Field[Any, Any, Any, Any]]:
        for field in super()._readable_fields:  # type: ignore[misc]
            if field.field_name not in self._hidden:
                yield field

    @property
    def _writable_fields(self) -> Iterable[Field[Any, Any, Any, Any]]:
        hidden = self.unwritable_fields()
        for field in super()._writable_fields:  # type: ignore[misc]
            if field.field_name not in hidden:
                yield field

    def unwritable_fields(self) -> frozenset[str]:
        """The hidden fields of the instance that is written. Where that is not known (nested, or one of many), all
        guarded ones, unless everything is being created."""
        instance: Any = getattr(self, "instance", None)
        if isinstance(instance, Model):
            return self.hidden_fields(instance)
        creates = self.root.instance is None  # type: ignore[attr-defined]
        return frozenset() if creates else frozenset(guards_of(type(self)))


def guards_of(serializer: type[Any]) -> Mapping[str, Permission]:
    """The guards that a serializer class declares or inherits: field name to permission.

    A ``Meta`` that does not inherit its parent's still keeps the parent's guards: a guard is taken away by naming
    another permission for the field, never by leaving it out.
    """
    guards: dict[str, Permission] = {}
    for declaring in reversed(serializer.__mro__):
        guards |= getattr(vars(declaring).get("Meta"), "guards", {})
    return guards


def unknown_guards(serializer: Any) -> list[str]:
    """The names under ``guards`` that are no field of a serializer, nor of one that it is a narrower version of.

    That the model has something of that name is not enough: a field may show it under another name, unguarded.
    """
    missing = guards_of(type(serializer)).keys() - getattr(serializer, "fields", {}).keys()
    return sorted(name for name in missing if not any(lists(base, name) for base in type(serializer).__mro__))


def lists(serializer: type, name: str) -> bool:
    """Whether a serializer class declares a field, or has it by a ``Meta`` of its own."""
    if name in vars(serializer).get("_declared_fields", ()):
        return True
    meta = vars(serializer).get("Meta")
    listed = getattr(meta, "fields", ALL_FIELDS)
    if listed != ALL_FIELDS:
        return name in listed
    model = getattr(meta, "model", None)
    columns = {field.name for field in model._meta.get_fields()} if model else set()
    return name in columns.difference(getattr(meta, "exclude", ()))
