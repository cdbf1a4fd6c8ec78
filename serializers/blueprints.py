"""Blueprints: which fields DRF builds for a serializer class, found out once.

DRF finds it out anew for each serializer that is made, which takes longer than to show what the fields hold.
"""

from __future__ import annotations

from copy import deepcopy
from enum import Enum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from django.db.models.manager import BaseManager
from django.utils.functional import Promise
from rest_framework.serializers import ModelSerializer, SerializerMetaclass
from rest_framework.settings import api_settings

from ..permissions.copies import ATOMS
from .columns import OURS, PLAIN, RELATED, SPECIAL, declaration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import Model
    from rest_framework.serializers import BaseSerializer


# What decides in DRF which fields a serializer has.
BUILDING = {
    name for name in dir(ModelSerializer) if name.startswith(("get_", "_get_", "build_", "include_", "serializer_"))
} | {"url_field_name"}
# By what a class may have a say in it; and by what an instance may, once it is there.
OF_A_CLASS = BUILDING | (SPECIAL - {"__init__"})
OF_AN_INSTANCE = BUILDING - {"get_fields"} | {"Meta", "_declared_fields"}
# What a field copies by itself.
HANDED_ON = {"choices", "error_messages", "validators"}


def make(serializer: type[BaseSerializer[Any]], instance: Model, context: Mapping[str, Any]) -> BaseSerializer[Any]:
    """A serializer, as calling its class makes it, whose fields come from the blueprint where DRF alone builds them.

    Each field is a new one, as always.
    """
    if not is_built_by_drf(serializer):
        return serializer(instance, context=context)
    made: Any = serializer.__new__(serializer, instance, context=context)
    made.get_fields = partial(fields_for, made)
    made.__init__(instance, context=context)
    return made  # type: ignore[no-any-return]


def is_built_by_drf(serializer: type[Any]) -> bool:
    """Whether no class of the application's has a say in which fields there are, but by declaring them."""
    return (
        type(serializer) is SerializerMetaclass
        and issubclass(serializer, ModelSerializer)
        and not any(not vars(kind).keys().isdisjoint(OF_A_CLASS) for kind in serializer.__mro__ if kind not in OURS)
    )


def fields_for(serializer: Any) -> dict[str, Any]:
    """What ``serializer.get_fields()`` of its class gives."""
    kind: Any = type(serializer)  # which may be another than it was made as
    is_as_declared = is_built_by_drf(kind) and vars(serializer).keys().isdisjoint(OF_AN_INSTANCE)
    blueprint = blueprint_of(kind, declaration(kind)) if is_as_declared else None
    if blueprint is None:
        return kind.get_fields(serializer)  # type: ignore[no-any-return]
    serializer.url_field_name = api_settings.URL_FIELD_NAME  # as DRF leaves it
    declared = deepcopy(serializer._declared_fields)
    return {name: declared[name] if field is None else rebuilt(field) for name, field in blueprint.items()}


@lru_cache(maxsize=1_000)
def blueprint_of(serializer: type[Any], declared: tuple[Any, ...]) -> Mapping[str, Any] | None:
    """An example of each field that DRF builds for a serializer class, None for one that is declared; no blueprint
    where there is one that may not be alike the next time."""
    example: Any = serializer.__new__(serializer)  # type: ignore[call-overload]
    fields = example.get_fields()
    blueprint = {name: None if name in serializer._declared_fields else field for name, field in fields.items()}
    return blueprint if all(field is None or is_repeatable(field) for field in blueprint.values()) else None


def is_repeatable(field: Any) -> bool:
    """Whether a field can be built again from what it was built from: nothing of that is changed by using it."""
    given = {name: value for name, value in field._kwargs.items() if name != "validators"}  # which are for input
    return type(field) in PLAIN | RELATED and is_unchanging(given)


def is_unchanging(value: Any) -> bool:
    """Whether it is made of what nobody changes, or what DRF itself hands to every field."""
    if isinstance(value, dict):
        return all(map(is_unchanging, (*value, *value.values())))
    if isinstance(value, list | tuple):
        return all(map(is_unchanging, value))
    return type(value) in ATOMS or isinstance(value, Promise | BaseManager | Enum)


def rebuilt(field: Any) -> Any:
    """Another field, made from the same. What it might keep and change is its own; DRF, too, hands on the rest."""
    given = {
        name: deepcopy(value) if isinstance(value, dict | list) and name not in HANDED_ON else value
        for name, value in field._kwargs.items()
    }
    return type(field)(*field._args, **given)
