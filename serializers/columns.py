"""Columns: fields that show what the row of an instance holds, and nothing else.

No code of the application's runs to show one, and nobody is looked at: it is read once, for all who may see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from inspect import getattr_static
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseFailure
from django.db.models import JSONField, Model
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from model_utils.tracker import DescriptorWrapper, FullDescriptorWrapper
from rest_framework import serializers
from rest_framework.relations import PKOnlyObject
from rest_framework.serializers import HyperlinkedModelSerializer, ModelSerializer, Serializer, SerializerMetaclass

from ..permissions.copies import ATOMS
from .encoding import encode
from .fields import HashidField, HashidRelatedField
from .guards import PerUserSerializerMixin, guards_of, unknown_guards

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from rest_framework.fields import Field

# The text of some members that stand beside each other in a JSON object, and the place of the first of them.
Stretch = tuple[int, bytes]

# Fields that write down what they get from the instance, by their exact type: what a subclass does is not known.
PLAIN = {
    getattr(serializers, f"{name}Field")
    for name in (
        *("Boolean", "Char", "Choice", "Date", "DateTime", "Decimal", "Duration", "Email", "Float", "Integer"),
        *("IPAddress", "ReadOnly", "Regex", "Slug", "Time", "URL", "UUID"),
        *(["BigInteger"] if hasattr(serializers, "BigIntegerField") else []),  # not in every version
    )
}
RELATED = {serializers.PrimaryKeyRelatedField, HashidRelatedField}
# What a serializer class may have of its own, and DRF alone still decides what becomes of its fields.
WITHOUT_A_SAY = {
    *("_declared_fields", "create", "update", "save", "validate", "is_valid", "run_validation", "to_internal_value"),
}
SPECIAL = {"__init__", "__new__", "__getattr__", "__getattribute__", "__setattr__", "__deepcopy__", "__iter__"}
OURS = {*HyperlinkedModelSerializer.__mro__, PerUserSerializerMixin}
WITH_A_SAY = SPECIAL | {
    name
    for kind in (ModelSerializer, PerUserSerializerMixin)
    for name in {*dir(kind)} - WITHOUT_A_SAY
    if not name.startswith("__")
}


@dataclass(frozen=True)
class Columns:
    """What the columns of one instance are shown as by a serializer, written once.

    ``places`` has the place of each field that the serializer shows, ``values`` what the columns among them give.
    ``stretches`` are the columns that stand beside each other behind the same guard, by the name of the first.
    """

    places: Mapping[str, int]
    values: Mapping[str, Any]
    stretches: Mapping[str, Stretch]

    def among(self, names: AbstractSet[str]) -> list[Stretch]:
        """The columns of a compartment: of all fields behind one guard, or of all that nothing guards."""
        return [stretch for first, stretch in self.stretches.items() if first in names]


@dataclass(frozen=True)
class Layout:
    """The fields that a serializer class shows of a model, those of them that show a column, and which of these stand
    beside each other behind the same guard."""

    places: Mapping[str, int]
    columns: Mapping[str, Field[Any, Any, Any, Any]]
    stretches: Sequence[Sequence[str]]


def columns_of(serializer: type[Any], instance: Model) -> Columns | None:
    """The columns of an instance; None where the application's code has a say in what becomes of them, or one of them
    can't be shown as it is. Then the serializer itself makes everything, and fails where it fails."""
    layout = layout_of(serializer, type(instance))  # type: ignore[arg-type]  # a class is hashable
    if layout is None:
        return None
    try:
        values = {name: value_of(field, instance) for name, field in layout.columns.items()}
        stretches = {
            names[0]: (layout.places[names[0]], encode({name: values[name] for name in names})[1:-1])
            for names in layout.stretches
        }
    except DatabaseFailure:
        raise
    except Exception:
        return None
    return Columns(layout.places, values, stretches)


def value_of(field: Field[Any, Any, Any, Any], instance: Model) -> Any:
    """What the field gives, as DRF's Serializer asks it. Raises TypeError for what no column holds."""
    attribute = field.get_attribute(instance)
    held = attribute.pk if type(attribute) is PKOnlyObject or attribute is instance else attribute
    if type(held) not in ATOMS:
        raise TypeError(f"{field.field_name} holds a {type(held).__name__}.")
    return None if held is None else field.to_representation(attribute)


@lru_cache(maxsize=1_000)
def layout_of(serializer: type[Any], model: type[Model]) -> Layout | None:
    """None where the application's code has a say in which fields there are, or in what becomes of them; and where
    the serializer can't be made, which is told when somebody is to be shown something."""
    if not issubclass(serializer, Serializer) or has_a_say(serializer):
        return None
    try:
        example: Any = serializer()
        fields = {field.field_name: field for field in example._readable_fields}
        columns = {name: field for name, field in fields.items() if shows_column(field, model)}
        if unknown_guards(example):
            return None
    except Exception:
        return None
    guards = guards_of(serializer)
    stretches = [
        list(names)
        for (is_column, _), names in groupby(fields, lambda name: (name in columns, id(guards.get(name))))
        if is_column
    ]
    return Layout({name: place for place, name in enumerate(fields)}, columns, stretches)


def has_a_say(serializer: type[Any]) -> bool:
    """Whether a class of the application's overrides anything of DRF's or livegate's that decides what is shown."""
    return type(serializer) is not SerializerMetaclass or any(
        not vars(kind).keys().isdisjoint(WITH_A_SAY) for kind in serializer.__mro__ if kind not in OURS
    )


def shows_column(field: Field[Any, Any, Any, Any], model: type[Model]) -> bool:
    """Whether a field shows a column of the model, of one of Django's own kinds, and reads it from the row."""
    if any(getattr_static(model, name) is not getattr_static(Model, name) for name in ("pk", "serializable_value")):
        return False
    source: str | None = None
    if type(field) is HashidField:
        source = model._meta.pk.attname
    elif type(field) in PLAIN:
        source = field.source
    elif type(field) in RELATED and field.use_pk_only_optimization():  # type: ignore[attr-defined]
        source = f"{field.source}_id"
    column = {column.attname: column for column in model._meta.concrete_fields}.get(source or "")
    return (
        column is not None
        and type(column).__module__.startswith("django.db.models.")
        and not isinstance(column, JSONField)  # which may hold anything
        and type(column.choices) in (list, tuple, type(None))  # and no function that makes them anew each time
        and is_read_from_the_row(getattr_static(model, column.attname))
    )


def is_read_from_the_row(descriptor: Any) -> bool:
    while type(descriptor) in (DescriptorWrapper, FullDescriptorWrapper):  # a FieldTracker's
        descriptor = descriptor.descriptor
    return type(descriptor) in (DeferredAttribute, ForeignKeyDeferredAttribute)
