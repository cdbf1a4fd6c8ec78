"""Columns: serializers whose fields show what the row of an instance holds, and nothing else.

No code of the application's runs to show one, and nobody is looked at: it is read once, for all who may see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from inspect import getattr_static
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db.models import JSONField, Model
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from model_utils.tracker import DescriptorWrapper, FullDescriptorWrapper
from rest_framework import serializers
from rest_framework.relations import PKOnlyObject
from rest_framework.serializers import HyperlinkedModelSerializer, ModelSerializer, SerializerMetaclass

from ..permissions.copies import ATOMS
from .encoding import encode
from .facts import FactField
from .fields import HashidField, HashidRelatedField
from .guards import PerUserSerializerMixin, guards_of, unknown_guards

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from rest_framework.fields import Field

    Fields = Mapping[str, Field[Any, Any, Any, Any]]

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
KNOWN = PLAIN | RELATED | {HashidField, FactField}
# What a serializer class may have of its own, and DRF alone still decides what becomes of its fields.
WITHOUT_A_SAY = {
    *("_declared_fields", "create", "update", "save", "validate", "is_valid", "run_validation", "to_internal_value"),
}
SPECIAL = {"__init__", "__new__", "__getattr__", "__getattribute__", "__setattr__", "__deepcopy__", "__iter__"}
OURS = {*HyperlinkedModelSerializer.__mro__, PerUserSerializerMixin}
WITH_A_SAY = SPECIAL | {
    name
    for names in (dir(ModelSerializer), dir(PerUserSerializerMixin), vars(ModelSerializer()))
    for name in {*names} - WITHOUT_A_SAY
    if not name.startswith("__")
}
# What of a Meta decides which fields there are.
DECLARING = ("model", "fields", "exclude", "read_only_fields", "extra_kwargs", "depth")


@dataclass(frozen=True)
class Columns:
    """What a serializer shows of an instance, all of whose fields show columns or are facts.

    ``places`` has the place of each field, ``stretches`` the text of the columns that stand beside each other behind
    the same guard, with their names.
    """

    places: Mapping[str, int]
    stretches: list[tuple[frozenset[str], Stretch]]

    def among(self, names: AbstractSet[str]) -> list[Stretch]:
        """The text of these columns, as far as what is written together is all among them."""
        return [stretch for together, stretch in self.stretches if together <= names]


def columns_of(serializer: type[Any], instance: Model) -> Columns | None:
    """The columns of an instance; None where something else than columns and facts is shown, where the application's
    code has a say in it, or where one can't be shown as it is. Then the serializer itself makes everything, and fails
    where it fails."""
    try:
        if has_a_say(serializer):  # asked each time, for a class may be altered while the process runs
            return None
        fields = fields_of(serializer, type(instance), declaration(serializer))  # type: ignore[arg-type]
        if fields is None or instance.get_deferred_fields():
            return None
        places = {name: place for place, name in enumerate(fields)}
        guards = guards_of(serializer)
        stretches = []
        for (is_fact, _), beside in groupby(fields, lambda name: (is_told(fields[name]), id(guards.get(name)))):
            if not is_fact:
                values = {name: value_of(fields[name], instance) for name in beside}
                stretches.append((frozenset(values), (places[next(iter(values))], encode(values)[1:-1])))
    except BaseException:
        return None
    return Columns(places, stretches)


def value_of(field: Field[Any, Any, Any, Any], instance: Model) -> Any:
    """What the field gives, as DRF's Serializer asks it. Raises TypeError for what no column holds, and for a field of
    which another than DRF or livegate has altered the class."""
    if not type(field).to_representation.__module__.startswith(("rest_framework.", "livegate.")):
        raise TypeError(f"{field.field_name} is shown otherwise than by DRF.")
    attribute = field.get_attribute(instance)
    held = attribute.pk if type(attribute) is PKOnlyObject or attribute is instance else attribute
    if type(held) not in ATOMS:
        raise TypeError(f"{field.field_name} holds a {type(held).__name__}.")
    return None if held is None else field.to_representation(attribute)


def declaration(serializer: type[Any]) -> tuple[Any, ...]:
    """What a serializer class declares just now; it may be changed while the process runs."""
    meta = getattr(serializer, "Meta", None)
    fields = getattr(serializer, "_declared_fields", {})
    return *(repr(getattr(meta, name, None)) for name in DECLARING), *fields.items(), *guards_of(serializer)


@lru_cache(maxsize=1_000)
def fields_of(serializer: type[Any], model: type[Model], declared: tuple[Any, ...]) -> Fields | None:
    """The fields that a serializer shows, made once; None where one of them is neither a column nor a fact."""
    if not {type(field) for field in serializer._declared_fields.values()} <= KNOWN:  # and is not even made here
        return None
    example: Any = serializer()
    fields: Fields = example.fields
    facts = {name for name, field in fields.items() if is_told(field)}
    if unknown_guards(example) or (facts and not issubclass(serializer, PerUserSerializerMixin)):
        return None
    if not all(is_known(fields[name], model) for name in fields.keys() - facts):
        return None
    return {name: field for name, field in fields.items() if not field.write_only}


def has_a_say(serializer: type[Any]) -> bool:
    """Whether a class is no Serializer of DRF's kind, or a class of the application's overrides anything of DRF's or
    livegate's that decides what is shown."""
    return type(serializer) is not SerializerMetaclass or any(
        not vars(kind).keys().isdisjoint(WITH_A_SAY) for kind in serializer.__mro__ if kind not in OURS
    )


def is_told(field: Field[Any, Any, Any, Any]) -> bool:
    """Whether a field is a fact, whose values are asked for by themselves."""
    return type(field) is FactField


def is_known(field: Field[Any, Any, Any, Any], model: type[Model]) -> bool:
    """Whether a field is of a kind that runs none of the application's code, and shows a column, or nothing."""
    return type(field) in KNOWN and (field.write_only or shows_column(field, model))


def shows_column(field: Any, model: type[Model]) -> bool:
    """Whether a field shows a column of the model, of one of Django's own kinds, and reads it from the row."""
    if any(getattr_static(model, name) is not getattr_static(Model, name) for name in ("pk", "serializable_value")):
        return False
    if type(field) is HashidField:
        column: Any = model._meta.pk
    elif type(field) in PLAIN:
        column = {column.attname: column for column in model._meta.concrete_fields}.get(field.source)
    else:
        column = {column.name: column for column in model._meta.concrete_fields}.get(field.source)
        if not (column and column.remote_field and field.use_pk_only_optimization()):
            return False
        if getattr(field, "pk_field", None) is not None:
            return False
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
