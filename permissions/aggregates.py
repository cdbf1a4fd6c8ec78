"""An aggregate for many keys: one list, where they would be a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.db.models import Aggregate, IntegerField, TextField

from .lookups import BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


# What is found in the text of a list that holds anything else than integers.
OF_OTHERS = '".eEnN'
# Keys as they are read: integers as a text, since to make objects of many takes longer than to find them.
Keys = str | tuple[Any, ...]


def listed(keys: Keys) -> Sequence[Any]:
    return keys if isinstance(keys, tuple) else orjson.loads(f"[{keys[1:-1]}]")


class Collected(Aggregate):
    """The keys at a path in a group of rows, to be ``listed``:
    ``queryset.values("group").annotate(users=Collected("user"))``.

    To read 1,000 rows takes longer than to find them.
    """

    function = "JSON_ARRAYAGG"
    name = "Collected"

    def __init__(self, path: str) -> None:
        super().__init__(path, output_field=TextField())

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, function="JSON_GROUP_ARRAY", **context)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        template = "%(function)s(%(distinct)s%(expressions)s)::text" if self._are_numbers(connection) else self.template
        return self.as_sql(compiler, connection, function="ARRAY_AGG", template=template, **context)

    @property
    def _field(self) -> Any:
        [path] = self.get_source_expressions()[:1]
        return getattr(path.output_field, "target_field", path.output_field)

    def _are_numbers(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether nothing else than integers is made of what the database has. PostgreSQL may have something else in a
        column of a field for them."""
        field = self._field
        if connection.vendor == "postgresql" and field.cast_db_type(connection) not in BITS:
            return False
        return not field.get_db_converters(connection) and type(field).to_python is IntegerField.to_python

    def convert_value(self, value: str | list[Any] | None, expression: Any, connection: BaseDatabaseWrapper) -> Keys:
        if isinstance(value, str) and self._are_numbers(connection) and not any(sign in value for sign in OF_OTHERS):
            return value
        keys: Sequence[Any] = listed(value.replace("NULL", "null")) if isinstance(value, str) else value or ()
        for convert in self._field.get_db_converters(connection):
            keys = [convert(key, expression, connection) for key in keys]
        return tuple(map(self._field.to_python, keys))
