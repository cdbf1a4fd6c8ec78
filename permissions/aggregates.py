"""An aggregate for many keys: one list, where they would be a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.db.models import Aggregate, IntegerField, TextField

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


class Collected(Aggregate):
    """The keys at a path in a group of rows, as a list: ``queryset.values("group").annotate(users=Collected("user"))``.

    To read 1,000 rows, and make Python objects of them, takes longer than to find them.
    """

    function = "JSON_ARRAYAGG"
    name = "Collected"

    def __init__(self, path: str) -> None:
        super().__init__(path, output_field=TextField())

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, function="JSON_GROUP_ARRAY", **context)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, function="ARRAY_AGG", **context)

    def convert_value(self, value: str | list[Any], expression: Any, connection: BaseDatabaseWrapper) -> list[Any]:
        keys: list[Any] = orjson.loads(value) if isinstance(value, str) else value
        [path] = self.get_source_expressions()[:1]
        field = getattr(path.output_field, "target_field", path.output_field)
        converters = field.get_db_converters(connection)
        if not converters and type(field).to_python is IntegerField.to_python and set(map(type, keys)) <= {int}:
            return keys
        for convert in converters:
            keys = [convert(key, expression, connection) for key in keys]
        return [field.to_python(key) for key in keys]
