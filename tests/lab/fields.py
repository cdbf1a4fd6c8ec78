"""Fields of an application's own, and models that have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import connection
from django.db.models import Field, IntegerField, Model

if TYPE_CHECKING:
    from collections.abc import Iterable


def rows_with(field: Field[Any, Any], values: Iterable[Any]) -> type[Model]:
    """A model with this field, and rows that hold these values; its table goes with the transaction."""
    options = type("Meta", (), {"app_label": "lab"})
    model = type("Row", (Model,), {"__module__": "lab.models", "value": field, "Meta": options})
    del apps.all_models["lab"]["row"]
    with connection.cursor() as cursor:
        cursor.execute(connection.schema_editor().table_sql(model)[0])
    for value in values:
        model._base_manager.create(value=value)
    return model


class Shifted(IntegerField):
    """Shows a number from 1000 on for each that the column holds."""

    def from_db_value(self, value: int, expression: Any, connection: Any) -> int:
        return value + 1000

    def get_prep_value(self, value: Any) -> int:
        return super().get_prep_value(value) - 1000


class Untouched(Field):
    """A column of one type, which is given whatever it is."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def deconstruct(self) -> Any:
        name, path, arguments, options = super().deconstruct()
        return name, path, [self.kind, *arguments], options

    def db_type(self, connection: Any) -> str:
        return self.kind


class Written(Untouched):
    """The same, given and taken as a text."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str:
        return str(value)

    def get_prep_value(self, value: Any) -> str:
        return str(value)
