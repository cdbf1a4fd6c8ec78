"""Serializer fields that write keys as hashids, so that REST and push speak the same ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from rest_framework import serializers

from .hashids import InvalidHashid, decode, encode

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet


class HashidField(serializers.Field[Any, Any, str, Any]):
    """The hashid of the instance that is serialized; read-only.

    The model is the serializer's ``Meta.model``; a serializer without one names it: ``HashidField(model=Card)``.
    """

    def __init__(self, *, model: type[Model] | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "read_only": True})
        self.model = model

    def get_attribute(self, instance: Any) -> Any:
        return instance

    def to_representation(self, value: Any) -> str:
        model = self.model or getattr(getattr(self.parent, "Meta", None), "model", None)
        if model is None:
            raise ImproperlyConfigured(
                f"{type(self.parent).__name__}.{self.field_name} does not know whose ids it writes. "
                "Give the serializer a Meta.model, or the field model=…"
            )
        return encode(model, value.pk)


class HashidRelatedField(serializers.RelatedField[Any, str, Any]):
    """A relation to another instance, written and read as that one's hashid: ``HashidRelatedField(queryset=…)``."""

    default_error_messages = {
        "does_not_exist": "Invalid id: there is no such object.",
        "incorrect_type": "Incorrect type. Expected an id as text, received {data_type}.",
    }

    def use_pk_only_optimization(self) -> bool:
        """Whether what the relation's column holds is the other one's primary key, so that it need not be fetched."""
        model = getattr(getattr(self.parent, "Meta", None), "model", None)
        relation: Any = model and {field.name: field for field in model._meta.fields}.get(self.source)
        return bool(relation and relation.remote_field and relation.target_field.primary_key)

    def to_representation(self, value: Any) -> str:
        return encode(self.related_model(), value.pk)

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("incorrect_type", data_type=type(data).__name__)
        queryset: QuerySet[Any] = self.get_queryset()  # type: ignore[assignment]  # a writable relation has one
        try:
            return queryset.get(pk=decode(queryset.model, data))
        except (InvalidHashid, ObjectDoesNotExist):
            self.fail("does_not_exist")

    def related_model(self) -> type[Model]:
        """The model at the other end; a read-only field, which has no queryset, asks the serializer's model. What
        ``get_queryset`` would make of it for one user is not asked for."""
        queryset: Any = getattr(self, "queryset", None)  # the stubs take it for a descriptor
        field: Any = self.parent if isinstance(self.parent, serializers.ManyRelatedField) else self
        owner = getattr(getattr(field.parent, "Meta", None), "model", None)
        if queryset is None and owner is not None:
            related: type[Model] = owner._meta.get_field(field.source).related_model
            return related
        if queryset is None:
            queryset = self.get_queryset()  # where it is all that there is to ask
        if queryset is None:
            raise ImproperlyConfigured(
                f"{type(field.parent).__name__}.{field.field_name} does not know whose ids it writes. "
                "Give the serializer a Meta.model, or the field a queryset=…"
            )
        model: type[Model] = queryset.model
        return model
